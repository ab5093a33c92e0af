"""Which bubbles hold what is asked for, and which of them is the best.

Owns the order of merit, and the search by the catalogue (catalogue.py): what is
looked at is what it says may fit, and what it does not know.  What is found was
opened, and fits by its manifest; or was found before, for the same request, among the
same bubbles, which never change.  Must not know where a store is, nor its layout.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta import __version__, requirements
from omnipkg_meta.errors import BubbleInvalidError
from omnipkg_meta.requirements import Asked, Found
from omnipkg_meta.store.catalogue import Catalogue, Noted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.version import Version

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Held", "best", "find", "holding", "look", "satisfies"]


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


def find(store: Store, asked: Sequence[str | Asked]) -> Bubble | None:
    """Return what :func:`best` finds; what it found before is not looked for again.

    Args:
        store: the store.
        asked: PEP 508 strings, or what :func:`omnipkg_meta.requirements.parse` made of them.

    Raises:
        RequirementError: one is malformed.
        StoreError: the store cannot be read.
    """
    texts = [one for one in asked if isinstance(one, str)]
    pairs = [pair for pair in map(requirements.at_sight, texts) if pair is not None]
    if len(pairs) < len(asked) or not pairs:
        wanted = requirements.parse(asked)
        return best(store, wanted) if wanted else None
    places = [(one, one.ids()) for one in (store, *store.behind)]
    request = _request(texts, [ids for _, ids in places])
    with Catalogue(store.tag_path) as catalogue:
        known = catalogue.answer(request)
    if known is not None:
        tried = (_opened(one, known, []) for one, _ in places)
        bubble = next((one for one in tried if one is not None), None)
        if bubble is not None and _holds(bubble, pairs):
            return bubble
    found = best(store, requirements.parse(texts))
    # One that could not be read may be mended, and be better, under the same id.
    if found is not None and all(_is_noted(one, ids) for one, ids in places):
        with Catalogue(store.tag_path) as catalogue:
            catalogue.answered(request, found.id, places[0][1])
    return found


def _holds(bubble: Bubble, wanted: Iterable[tuple[str, str | None]]) -> bool:
    """Tell whether a bubble holds these versions, spelt alike, by its manifest."""
    held = bubble.distributions
    return all(name in held and version in (None, held[name]) for name, version in wanted)


def _request(texts: Sequence[str], stores: Sequence[Sequence[str]]) -> bytes:
    """Return the digest of what is asked for, and of which bubbles there are in which store."""
    lists = [[__version__], texts, *stores]
    words = "\0\0".join("\0".join(one) for one in lists)
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest().encode()


def _is_noted(store: Store, ids: Sequence[str]) -> bool:
    with Catalogue(store.tag_path) as catalogue:
        return not ids or catalogue.covers(ids)


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
