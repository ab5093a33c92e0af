"""Which bubbles hold what is asked for, and which of them is the best.

Owns the order of merit, and the search by the catalogue (catalogue.py): what is
looked at is what it says may fit, and what it does not know.  What is found was
opened, and fits by its manifest.  Must not know where a store is, nor its layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta import requirements
from omnipkg_meta.errors import BubbleInvalidError
from omnipkg_meta.requirements import Asked, Found
from omnipkg_meta.store.catalogue import Catalogue, Noted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.version import Version

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Held", "best", "holding", "look", "satisfies"]


class Held(NamedTuple):
    """The bubbles that hold some distributions.

    Attributes:
        bubbles: those that are whole, by id; those of stores behind come after a store's own.
        broken: what is wrong with those that may hold them, and cannot be used.
    """

    bubbles: list[Bubble]
    broken: list[BubbleInvalidError]


def holding(store: Store, names: Iterable[str]) -> Held:
    """Return the bubbles of a store, and of those behind it, that hold all of these.

    Args:
        store: the store.
        names: normalized names of distributions.

    Raises:
        StoreError: the store cannot be read.
    """
    wanted = list(dict.fromkeys(names))
    found = Held([], [])
    for one in (store, *store.behind):
        ids = {bubble.id for bubble in found.bubbles}
        for bubble_id in sorted(_candidates(one, wanted, found.broken)):
            bubble = _opened(one, bubble_id, found.broken)
            if bubble is None or bubble_id in ids:
                continue
            if all(name in bubble.distributions for name in wanted):
                found.bubbles.append(bubble)
    return found


def best(store: Store, wanted: Sequence[Asked]) -> Bubble | None:
    """Return the best bubble of a store, and of those behind it, that satisfies all requirements.

    The best has the highest versions of what was asked, in the order asked; then the
    fewest roots that were not asked for; then the fewest distributions; then it is
    the newest.

    Raises:
        StoreError: the store cannot be read.
    """
    names = list(dict.fromkeys(one.name for one in wanted))
    places: dict[str, list[Store]] = {}
    # By their versions: those of a bubble are compared one by one, and most have the same.
    groups: dict[tuple[str, ...], list[tuple[tuple[int, int, str], str]]] = {}
    broken: list[BubbleInvalidError] = []
    for one in (store, *store.behind):
        for bubble_id, noted in _candidates(one, names, broken).items():
            if bubble_id not in places:
                others = len(set(noted.roots).difference(names))
                merit = (-others, -noted.size, noted.created)
                groups.setdefault(noted.versions, []).append((merit, bubble_id))
            places.setdefault(bubble_id, []).append(one)
    for versions in sorted(groups, key=_highest, reverse=True):
        held = dict(zip(names, versions, strict=True))
        if not all(asked.allows(held[asked.name]) for asked in wanted):
            continue
        for _, bubble_id in sorted(groups[versions], reverse=True):
            # Of two with one id the first that is whole counts.
            tried = (_opened(one, bubble_id, broken) for one in places[bubble_id])
            bubble = next((found for found in tried if found is not None), None)
            if bubble is not None and satisfies(bubble, wanted):
                return bubble
    return None


def look(store: Store) -> None:
    """See that all bubbles of a store are in its catalogue, so that it can be searched at once.

    Raises:
        StoreError: the store cannot be read.
    """
    with Catalogue(store.tag_path) as catalogue:
        _read_unknown(store, catalogue, store.ids(), [])


def satisfies(bubble: Bubble, wanted: Sequence[Asked]) -> bool:
    """Tell whether a bubble satisfies all requirements, by its manifest."""
    for one in wanted:
        if one.name not in bubble.distributions:
            return False
        if one.sha256 is not None and bubble.digests[one.name] != one.sha256:
            return False

    def find(name: str) -> Found | None:
        version = bubble.distributions.get(name)
        return None if version is None else Found(version, bubble.requires[name])

    return requirements.satisfied(wanted, find)


def _highest(versions: tuple[str, ...]) -> list[Version]:
    return [requirements.version_key(one) for one in versions]


def _candidates(
    store: Store, names: Sequence[str], broken: list[BubbleInvalidError]
) -> dict[str, Noted]:
    """Return what is known of the bubbles of one store that hold all of these, by id.

    Args:
        store: the store.
        names: normalized names of distributions.
        broken: gets what is wrong with bubbles that had to be read, and cannot be used.
    """
    ids = store.ids()
    if not ids:
        return {}
    with Catalogue(store.tag_path) as catalogue:
        read = _read_unknown(store, catalogue, ids, broken)
        found = catalogue.holding(names)
    for bubble in read:
        if (noted := Noted.of(bubble, names)) is not None:
            found[bubble.id] = noted
    return found


def _read_unknown(
    store: Store, catalogue: Catalogue, ids: Sequence[str], broken: list[BubbleInvalidError]
) -> list[Bubble]:
    """Return the bubbles of which nothing is noted, and note what they hold."""
    if catalogue.covers(ids):
        return []
    opened = (_opened(store, bubble_id, broken) for bubble_id in catalogue.unknown(ids))
    read = [bubble for bubble in opened if bubble is not None]
    catalogue.add(read, ids)
    return read


def _opened(store: Store, bubble_id: str, broken: list[BubbleInvalidError]) -> Bubble | None:
    """Return a bubble of one store; None if it cannot be used, or was removed meanwhile."""
    try:
        return store.open(bubble_id)
    except BubbleInvalidError as error:
        if error.path.exists() and all(one.path != error.path for one in broken):
            broken.append(error)
        return None
