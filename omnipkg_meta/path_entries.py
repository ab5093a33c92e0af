"""Whose the entries of ``sys.path`` are: main's, or of the realm in whose bubble they lie.

There is one ``sys.path``, and code of bubbles puts directories of their own on it.  This
file sorts it, for all who look modules up; what is done about the entries is theirs.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from omnipkg_meta.realm import MAIN, Realm, number, side_of

__all__ = ["bubbles_on_path", "main_path", "path_of"]


class _SearchPath(NamedTuple):
    """``sys.path``, sorted by whose its entries are.

    Attributes:
        entries: as it was.
        realms: how many realms there were.
        mains: the entries of main; without what is no text, which ``PathFinder`` passes over.
        inside: realms to entries that lie in their bubbles; those that stand before
            something of main's, and those that stand after all of it.
    """

    entries: list[object]
    realms: int
    mains: list[str]
    inside: dict[Realm, tuple[list[str], list[str]]]


_search_path = _SearchPath([], 0, [], {})


def _sorted_path() -> _SearchPath:
    global _search_path  # noqa: PLW0603
    entries: list[object] = sys.path  # type: ignore[assignment]
    known = _search_path
    # Mostly the very same strings: a few nanoseconds each.
    if entries != known.entries or number() != known.realms:
        _search_path = known = _sort_path([*entries], number())
    return known


def _sort_path(entries: list[object], realms: int) -> _SearchPath:
    mains: list[str] = []
    inside: dict[Realm, tuple[list[str], list[str]]] = {}
    for entry in reversed(entries):
        if not isinstance(entry, str):
            continue
        realm = side_of(entry)
        if realm is MAIN:
            mains.insert(0, entry)
        else:
            inside.setdefault(realm, ([], []))[not mains].insert(0, entry)
    return _SearchPath(entries, realms, mains, inside)


def main_path() -> list[str]:
    """Return the entries of ``sys.path`` where main's modules are found.

    Those that lie in the bubble of a realm are not among them, whoever put them there.
    """
    return list(_sorted_path().mains)


def bubbles_on_path() -> bool:
    """Tell whether ``sys.path`` has an entry that lies in the bubble of a realm."""
    return bool(_sorted_path().inside)


def path_of(realm: Realm) -> list[str]:
    """Return where a realm's top-level modules are found, in order.

    In its directories; and in whatever of ``sys.path`` lies in its bubble, as cv2 puts
    its own package there: before them, unless it stands at the very end.
    """
    before, after = _sorted_path().inside.get(realm, ((), ()))
    return list(dict.fromkeys((*before, *realm.directories, *after)))
