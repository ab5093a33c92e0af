"""What labels are made of.  All of this file sees the attrs that lies in ``_vendor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Executor, Future


def _capitals(text: str) -> str:
    return text.upper()


@attrs.frozen
class Address:
    """Where something goes; nobody outside gets to see it."""

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    street: str
    town: str = attrs.field(converter=_capitals)


def label(address: Mapping[str, str]) -> str:
    """Write a label.

    Args:
        address: a ``name``, a ``street`` and a ``town``.

    Raises:
        ValueError: the name is empty.
        TypeError: a part is missing, or there is one too many.
    """
    return "\n".join(attrs.astuple(Address(**address)))


def labels_later(addresses: Iterable[Mapping[str, str]], executor: Executor) -> list[Future[str]]:
    """Write labels in threads of somebody else's."""
    return [executor.submit(label, address) for address in addresses]


def fields() -> list[str]:
    """Return the parts of an address."""
    import attr  # the older name of the same package, and not before it is needed

    return [field.name for field in attr.fields(Address)]


def versions() -> dict[str, str]:
    """Return the version of attrs in three ways, which have to agree."""
    import sys
    from importlib import metadata

    return {
        "import": attrs.__version__,
        "sys.modules": str(sys.modules["attrs"].__version__),
        "metadata": metadata.version("attrs"),
    }
