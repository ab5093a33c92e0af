"""What ``%bubbles`` returns: some bubbles, shown as a table.

Owns the columns, in plain text and in HTML.  Must not know which bubbles, nor why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from omnipkg_meta.hypertext import table
from omnipkg_meta.requirements import name_of

if TYPE_CHECKING:
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["Bubbles"]

_HEADER = ("MADE FOR", "HOLDS", "CREATED", "ID")


class Bubbles(Sequence["Bubble"]):
    """Some of the installed bubbles, as ``%bubbles`` lists them.

    Args:
        bubbles: the bubbles.
        note: what there is to say about them.
    """

    def __init__(self, bubbles: Sequence[Bubble], note: str = "") -> None:
        self._bubbles = tuple(bubbles)
        self._note = note

    @overload
    def __getitem__(self, index: int) -> Bubble: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Bubble]: ...
    def __getitem__(self, index: int | slice) -> Bubble | Sequence[Bubble]:
        return self._bubbles[index]

    def __len__(self) -> int:
        return len(self._bubbles)

    def __repr__(self) -> str:
        lines = [_HEADER, *map(_row, self)] if self else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*text, self._note] if self._note else text)

    def _repr_html_(self) -> str:
        return table(_HEADER if self else (), map(_row, self), note=self._note)


def _row(bubble: Bubble) -> tuple[str, ...]:
    roots = [name_of(one) for one in bubble.requested]
    holds = [f"{one} {bubble.distributions[one]}" for one in roots if one in bubble.distributions]
    more = len(bubble.distributions) - len(holds)
    return (
        ", ".join(bubble.requested),
        ", ".join(holds) + (f" and {more} more" if more else ""),
        bubble.created[:10],
        bubble.id,
    )
