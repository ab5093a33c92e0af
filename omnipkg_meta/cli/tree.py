"""A bubble's distributions as a tree: what it was made for, and what each of that needs.

Owns which line stands under which.  Must not know where the lines go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnipkg_meta.store.bubble import Bubble

__all__ = ["branches"]

_UNICODE = ("├── ", "└── ", "│   ", "    ")
_ASCII = ("|-- ", "`-- ", "|   ", "    ")


def branches(bubble: Bubble, *, unicode: bool = True) -> Iterator[str]:
    """Yield the lines of the tree: each distribution once with what it needs, then by name.

    Args:
        bubble: the bubble.
        unicode: whether lines may be drawn with other characters than ASCII.
    """
    from omnipkg_meta.agreement import demands_of
    from omnipkg_meta.requirements import name_of

    needs: dict[str, list[str]] = {name: [] for name in bubble.distributions}
    for by, one in demands_of(bubble):
        if one.name in needs and one.name not in needs[by] and one.name != by:
            needs[by].append(one.name)
    roots: list[str] = []
    reached: set[str] = set()
    needed = {name for others in needs.values() for name in others}
    # What was asked for; then what nobody needs (it was asked for by a path, say); then
    # what is left in circles.
    asked = [one for one in map(name_of, bubble.requested) if one in needs]
    for name in (*asked, *(one for one in needs if one not in needed), *needs):
        if name not in reached or (name in asked and name not in roots):
            roots.append(name)
            reached |= _reached(name, needs)
    signs = _UNICODE if unicode else _ASCII
    told: set[str] = set()
    # Last first: each is a name, and what stands before it and before those under it.
    pending = [*_under(roots, "", signs)]
    while pending:
        name, before, under = pending.pop()
        again = name in told and bool(needs[name])
        yield f"{before}{name} {bubble.distributions[name]}{' (see above)' if again else ''}"
        if not again:
            told.add(name)
            pending += _under(sorted(needs[name]), under, signs)


def _under(
    names: list[str], before: str, signs: tuple[str, str, str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield names that stand under the same one, the last of them first."""
    middle, end, through, nothing = signs
    for index, name in enumerate(reversed(names)):
        yield name, before + (middle if index else end), before + (through if index else nothing)


def _reached(root: str, needs: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    pending = [root]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += needs[name]
    return found
