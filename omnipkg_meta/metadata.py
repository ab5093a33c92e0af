"""``importlib.metadata``, and its backport, as seen by whoever asks.

Each copy of ``importlib.metadata`` in a process (the standard library's, the
``importlib_metadata`` backport, vendored ones) asks every finder on
``sys.meta_path`` in turn, with one context object.  Ours comes first: it answers
with the distributions of the realms that answer for the asker, then with what
the other finders have, less the names that a realm answers for; and leaves the
context with nothing more to find, so that main's copies do not show up a second
time.

Distributions are of the class that belongs to the copy that asks.
"""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta import meta_path
from omnipkg_meta.answering import decision, reach
from omnipkg_meta.asking import who
from omnipkg_meta.path_entries import bubbles_on_path, main_path
from omnipkg_meta.realm import MAIN, Realm, normalize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from omnipkg_meta.asking import Asker

__all__ = ["find_distributions"]

#: Whether ``Distribution.from_name`` of the standard library makes a context for each finder.
_EACH_ANEW = sys.version_info < (3, 11)


def find_distributions(finder: object, context: Any, frame: FrameType | None) -> Iterable[Any]:
    """Yield the distributions that match a context, as the asker sees them.

    Args:
        finder: our own finder, which must not be asked again.
        context: a ``DistributionFinder.Context`` of any copy of the library.
        frame: the nearest frame outside of the finder.
    """
    if getattr(context, "path", sys.path) != sys.path:
        return ()  # somebody says where to look; there the ordinary finders look
    if context is None:
        from importlib.metadata import DistributionFinder

        context = DistributionFinder.Context()
    if "path" in vars(context) and context.path is not sys.path:
        return ()  # somebody looks into directories of their own, whatever is active
    asker = who(frame)
    others = [one for one in meta_path.seen_by(asker.home) if one is not finder]
    if bubbles_on_path():
        # Code of a bubble puts its directories on ``sys.path``: main is not led into them.
        vars(context)["path"] = main_path()
    if context.name is not None:
        return _named(asker, others, context, frame)
    answers = _answers(asker)
    if asker.home is not None and asker.home.hermetic:
        return _of_hermetic(asker, answers, others, context)
    return _of_all(answers, others, context) if answers else ()


def _named(asker: Asker, others: list[Any], context: Any, frame: FrameType | None) -> Iterable[Any]:
    realm = decision(normalize(context.name), asker, importable=False).realm
    anew = _asks_each_anew(frame)
    if realm is MAIN and not (anew and bubbles_on_path()):
        return ()
    if not anew:
        return _of_one(realm, context)
    found = list(_of_all({}, others, context) if realm is MAIN else _of_one(realm, context))
    if not found:
        raise sys.modules[type(context).__module__].PackageNotFoundError(context.name)
    return found


def _asks_each_anew(frame: FrameType | None) -> bool:
    """Tell whether each finder gets a context of its own, so that the next one would answer."""
    return _EACH_ANEW and frame is not None and frame.f_code.co_name == "from_name"


def _answers(asker: Asker) -> dict[str, Realm]:
    """Return which realm answers for which distribution, those that main answers for left out."""
    answers = {}
    for realm in reach(asker):
        for name in realm.distributions:
            if name not in answers:
                answers[name] = decision(name, asker, importable=False).realm
    return {name: realm for name, realm in answers.items() if realm is not MAIN}


def _of_one(realm: Realm, context: Any) -> Iterator[Any]:
    yield from _in_realm(realm, context)
    _exhaust(context)


def _of_hermetic(
    asker: Asker, answers: dict[str, Realm], others: list[Any], context: Any
) -> Iterator[Any]:
    """Yield the same, but of main only what the asker's bubble shares with it."""
    for distribution in _of_all(answers, others, context):
        name = _name_of(distribution)
        if name in answers or decision(name, asker, importable=False).realm is MAIN:
            yield distribution


def _of_all(answers: dict[str, Realm], others: list[Any], context: Any) -> Iterator[Any]:
    for realm in dict.fromkeys(answers.values()):
        for distribution in _in_realm(realm, context):
            if answers.get(_name_of(distribution)) is realm:
                yield distribution
    for other in others:
        find = getattr(other, "find_distributions", None)
        if find is None:
            continue
        for distribution in find(copy.copy(context)):
            if _name_of(distribution) not in answers:
                yield distribution
    _exhaust(context)


def _name_of(distribution: Any) -> str:
    # From the directory's name where the library can: reading METADATA is slow.
    name = getattr(distribution, "_normalized_name", None) or distribution.metadata["Name"]
    return normalize(name or "")


def _in_realm(realm: Realm, context: Any) -> Iterator[Any]:
    # The library that asks: its MetadataPathFinder makes its kind of distribution.
    library = sys.modules[type(context).__module__]
    ours = copy.copy(context)
    # What is adopted has its metadata in main still, whether its files were copied or not.
    vars(ours)["path"] = main_path() if realm.adopts else realm.directories
    for distribution in library.MetadataPathFinder().find_distributions(ours):
        if realm.adopts and _name_of(distribution) not in realm.distributions:
            continue
        # Read by ``EntryPoint.load``'s asker: an entry point loads in its bubble.
        distribution.__realm__ = realm
        yield distribution


def _exhaust(context: Any) -> None:
    """Leave nothing for the finders behind ours: no path to search, and no name that matches."""
    vars(context).update(path=[], name="omnipkg-meta-has-answered")
