"""What parcels are made of.  All of this file sees the pydantic 2 that the package is pinned to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError, computed_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from threading import Thread


class Thing(BaseModel):
    """One of the things in a parcel."""

    name: str
    grams: int = Field(gt=0)
    count: int = 1


class Parcel(BaseModel):
    """A parcel; nobody outside gets to see it."""

    things: list[Thing] = Field(exclude=True)

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation has it
    @property
    def grams(self) -> int:
        """What it weighs."""
        return sum(thing.grams * thing.count for thing in self.things)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def heavy(self) -> bool:
        """Whether it takes two to carry it."""
        return self.grams > 20_000


def weigh(things: Iterable[Mapping[str, object]]) -> dict[str, Any]:
    """Say what a parcel weighs.

    Args:
        things: each with a ``name``, its ``grams``, and a ``count`` if there are several.

    Raises:
        ValueError: a thing is none; the message says what is wrong with it.
    """
    try:
        return Parcel.model_validate({"things": list(things)}).model_dump()
    except ValidationError as error:
        # A pydantic error is a ValueError, but one of this version: none of the program's.
        raise ValueError(str(error)) from None


def weigh_later(
    things: Iterable[Mapping[str, object]], done: Callable[[dict[str, Any]], object]
) -> Thread:
    """Weigh a parcel in a thread of its own, and hand over the result there."""
    from threading import Thread

    thread = Thread(target=lambda: done(weigh(things)))
    thread.start()
    return thread


def schema() -> dict[str, Any]:
    """Return the JSON schema of what a parcel holds."""
    from pydantic import TypeAdapter  # pydantic 2 only, and not before it is needed

    return TypeAdapter(list[Thing]).json_schema()


def versions() -> dict[str, str]:
    """Return the version of pydantic in three ways, which have to agree."""
    import sys
    from importlib import metadata

    import pydantic

    return {
        "import": pydantic.VERSION,
        "sys.modules": str(sys.modules["pydantic"].VERSION),
        "metadata": metadata.version("pydantic"),
    }
