"""What receipts are made of.  All of this file sees pydantic 1: the package is pinned to it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError, validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Executor, Future


class Item(BaseModel):
    """One line of a receipt; nobody outside gets to see it."""

    name: str
    price: Decimal
    count: int = 1

    @validator("price")
    def _is_not_negative(cls, price: Decimal) -> Decimal:  # noqa: N805  # as pydantic 1 wants it
        if price < 0:
            raise ValueError("a price is not negative")
        return price


def total(items: Iterable[Mapping[str, object]]) -> str:
    """Add up the items of a receipt.

    Args:
        items: each with a ``name``, a ``price``, and a ``count`` if there are several.

    Raises:
        ValueError: an item is none; the message says what is wrong with it.
    """
    try:
        checked = [Item.parse_obj(item) for item in items]
    except ValidationError as error:
        # Plain data goes in and out, and plain errors: a pydantic error of this
        # version is none of the program's.
        raise ValueError(str(error)) from None
    return str(sum((item.price * item.count for item in checked), Decimal()))


def total_later(items: Iterable[Mapping[str, object]], executor: Executor) -> Future[str]:
    """Add up the items of a receipt in a thread of somebody else's."""
    return executor.submit(total, items)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a receipt."""
    from pydantic import schema_of  # pydantic 1 only, and not before it is needed

    described: dict[str, Any] = schema_of(list[Item], title="Receipt")
    return described


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
