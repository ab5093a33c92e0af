"""``sys.path``, bound to another list while packages load.

A package that puts directories on ``sys.path`` while it loads may take them away by
binding ``sys.path`` to the copy that it took before, as OpenCV does.  What another
thread has put there meanwhile, for a package that it loads, would be lost, and what
another one took away would come back.

So each side has the word over its own entries: a realm over those that lie in its
bubble, and main over the rest.  What is another realm's stays as it stands, whatever
list is bound.  Main and a bubble may mean each other's entries; but what one side has
put there for what it is loading just now the other one does not take away, and what a
side took away meanwhile nobody else brings back from an older copy.  The binding
itself is as ever: ``sys.path`` is the very list that was given.

This file owns the rule.  It must not know how a binding is noticed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta.realm import MAIN, Realm, side_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["bind", "forget", "merged"]

#: Entries that some side took away by a binding, and which, while packages load.
_withdrawn: dict[str, Realm] = {}


def merged(
    wanted: list[Any],
    current: list[Any],
    binder: Realm,
    *,
    loading: Collection[Realm],
    withdrawn: dict[str, Realm],
    side: Callable[[Any], Realm],
) -> list[Any]:
    """Return the entries that ``sys.path`` is to have.

    Args:
        wanted: the list that it is bound to.
        current: the one that it was bound to.
        binder: the side whose code binds it.
        loading: the realms, main perhaps, of which other threads are loading modules now.
        withdrawn: entries that were taken away while these load, and by which side.
        side: gives the side that has the word over an entry.
    """

    def others(entry: Any) -> bool:
        owner = side(entry)
        if owner is binder:
            return False
        # Main's code may mean an entry in a bubble, as pytest does, and code of a bubble
        # one of main's; but not one that its own side needs just now.
        return owner in loading or MAIN not in (owner, binder)

    def stale(entry: Any) -> bool:
        if entry in current:
            return False
        owner = side(entry)
        return (owner is not binder and MAIN not in (owner, binder)) or (
            withdrawn.get(entry, binder) is not binder
        )

    result = [entry for entry in wanted if not stale(entry)]
    place = 0
    for entry in current:
        if entry in result:
            place = result.index(entry) + 1
        elif others(entry):
            result.insert(place, entry)
            place += 1
    return result


def bind(wanted: Any, binder: Realm, loading: Collection[Realm]) -> None:
    """Bind ``sys.path``.

    Args:
        wanted: what it is to be bound to.
        binder: the side whose code does it.
        loading: the realms, main perhaps, of which other threads are loading modules now.
    """
    namespace = vars(sys)
    before = namespace.get("path")
    if type(wanted) is not list or not isinstance(before, list) or wanted is before:
        namespace["path"] = wanted
        return
    seen = None
    # Another thread may put something on the old list until nobody finds that any more.
    while seen != before:
        seen = list(before)
        entries = merged(wanted, seen, binder, loading=loading, withdrawn=_withdrawn, side=side_of)
        if entries != wanted:
            wanted[:] = entries
        namespace["path"] = wanted
    if loading:
        _withdrawn.update(
            (entry, binder) for entry in before if isinstance(entry, str) and entry not in wanted
        )


def forget() -> None:
    """Forget what was taken away: nothing is being loaded any more."""
    _withdrawn.clear()
