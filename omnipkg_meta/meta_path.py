"""``sys.meta_path``, made realm-aware in place.

Code that brings a finder along appends it to ``sys.meta_path``, and may take away
what it finds there: six, and each of its many copies, the finder of an earlier copy
of itself.  There is one such list in a process; so while the hooks are in, the list
is of a subclass that shows each realm's code, and lets it change, a list of its own:
main's finders and those that the realm's code put among them.  Main's list changes
by what main's code does, and by nothing else.

Importlib itself (``_find_spec`` in ``Lib/importlib/_bootstrap.py``) always sees
main's finders, ours first: what is found by going through the list becomes a module
of main, and main stays main.  Ours asks the finders of a realm, for that realm.

Until a realm has a list of its own nothing but changes comes to Python code: the
list is iterated over in C.

This file must not know what a finder finds, nor the rules.
"""

from __future__ import annotations

import importlib._bootstrap
import operator
import sys
import threading
from collections.abc import Iterator
from functools import partial
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from omnipkg_meta.asking import who
from omnipkg_meta.kinds import Kind, kind_of
from omnipkg_meta.realm import CLAIMED, MAIN, Realm
from omnipkg_meta.retype import prove_list, set_type

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = [
    "after_fork",
    "all_brought",
    "any_brought",
    "before_path_finder",
    "brought_by",
    "home_of",
    "install",
    "keep",
    "of_main",
    "seen_by",
    "uninstall",
]

_getframe = sys._getframe
_item, _iterate, _length = list.__getitem__, list.__iter__, list.__len__
_bootstrap: Any = importlib._bootstrap
_FIND_SPEC = _bootstrap._find_spec.__code__

#: Code that goes through the list to ask each finder, and never by number.
_ASKS_EACH = frozenset({Kind.TRANSPARENT, Kind.METADATA, Kind.LOADER, Kind.LAZY})


class _View:
    """The list that the code of one realm sees.

    Attributes:
        finders: as that code has arranged them.
        mains: main's, as they were when ``finders`` was last brought up to date.
    """

    __slots__ = ("finders", "mains")

    def __init__(self, mains: list[Any]) -> None:
        self.finders = list.copy(mains)
        self.mains = list.copy(mains)

    def follow(self, mains: list[Any]) -> None:
        """Do what main has done to its list since: each new finder comes after its neighbour."""
        if _same(self.mains, list.copy(mains)):
            return
        with _lock:
            # Once more: another thread may have been here with a later state of it.
            mains = list.copy(mains)
            before, self.mains = self.mains, mains
            kept = [one for one in self.finders if _has(mains, one) or not _has(before, one)]
            place = 0
            for one in mains:
                if _has(kept, one):
                    place = _index(kept, one) + 1
                elif not _has(before, one):  # else the realm's code took it out
                    kept.insert(place, one)
                    place += 1
            self.finders[:] = kept

    def own(self) -> list[Any]:
        """Return the finders that are not main's too."""
        return [one for one in self.finders if not _has(self.mains, one)]


# By identity: ``==`` of a finder is somebody's code.
def _has(finders: list[Any], wanted: Any) -> bool:
    return any(one is wanted for one in finders)


def _index(finders: list[Any], wanted: Any) -> int:
    return next(place for place, one in enumerate(finders) if one is wanted)


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


#: The lists of realms whose code has changed theirs; kept as long as the realm is.
_views: dict[Realm, _View] = {}
#: The lists that are realm-aware: the one that was there first, and any that
#: ``sys.meta_path`` was bound to since.
_live: list[Any] = []
#: Our own finder, while it is in.
_ours: Any = None
_lock = threading.RLock()


#: Methods whose last argument may be an iterator.
_DRAWING = frozenset({"extend", "__iadd__", "__setitem__"})


def _changing(name: str) -> Callable[..., Any]:
    """Make a method of list that changes the list which the caller sees."""
    operation = getattr(list, name)

    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        home = who(_getframe().f_back).home
        if name in _DRAWING:
            # Not to run somebody's generator with the lock held.
            arguments = (*arguments[:-1], _drawn(*arguments))
        if home is None or home is MAIN:
            try:
                result = operation(self, *arguments, **keywords)
            finally:
                _keep_ours(self)
        else:
            with _lock:
                view = _made_view(home, self)
                result = operation(view.finders, *arguments, **keywords)
            _choose_type(self)
        # ``+=`` and ``*=`` give the list itself, to be bound to the same name.
        return self if name in ("__iadd__", "__imul__") else result

    method.__name__ = name
    return method


def _reading(name: str) -> Callable[..., Any]:
    """Make a method of list that reads the list which the caller sees."""
    operation = getattr(list, name)

    def method(self: Any, *arguments: Any) -> Any:
        frame = _getframe().f_back
        if frame is not None and frame.f_code is _FIND_SPEC:
            return operation(self, *arguments)
        seen = _seen(self, frame)
        return operation(seen, *(seen if one is self else one for one in arguments))

    method.__name__ = name
    return method


class RealmMetaPath(list):  # type: ignore[type-arg]
    """The type of ``sys.meta_path`` while no realm has a list of its own, and ours is first."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Only the live list is of this type; whoever makes another wants a list.
        return list(*args, **kwargs)

    append = _changing("append")
    extend = _changing("extend")
    insert = _changing("insert")
    remove = _changing("remove")
    pop = _changing("pop")
    clear = _changing("clear")
    sort = _changing("sort")
    reverse = _changing("reverse")
    __setitem__ = _changing("__setitem__")
    __delitem__ = _changing("__delitem__")
    __iadd__ = _changing("__iadd__")
    __imul__ = _changing("__imul__")

    def __copy__(self) -> list[Any]:
        return list.copy(_seen(self, _getframe().f_back))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (list.copy(_seen(self, _getframe().f_back)),)


class DividedMetaPath(RealmMetaPath):
    """The same where not everybody sees the same list."""

    __slots__ = ()

    def __len__(self) -> int:
        # ``_find_spec`` asks it first whether it is empty, then each of its finders.
        frame = _getframe().f_back
        if frame is None or frame.f_code is _FIND_SPEC:
            return _length(self)
        return _length(_seen(self, frame))

    def __iter__(self) -> Iterator[Any]:
        frame = _getframe().f_back
        if frame is None or frame.f_code is _FIND_SPEC:
            return _iterate(
                self if _length(self) and _item(self, 0) is _ours else _ours_first(self)
            )
        seen = _seen(self, frame)
        if kind_of(frame.f_code.co_filename) in _ASKS_EACH:
            seen = _ours_first(seen)
        return _iterate(seen)

    def __radd__(self, other: Any) -> Any:
        # ``[finder] + sys.meta_path``: list's own would read the storage.
        return list.__add__(other, _seen(self, _getframe().f_back))

    copy = _reading("copy")
    count = _reading("count")
    index = _reading("index")
    __contains__ = _reading("__contains__")
    __getitem__ = _reading("__getitem__")
    __reversed__ = _reading("__reversed__")
    __repr__ = _reading("__repr__")
    __add__ = _reading("__add__")
    __mul__ = _reading("__mul__")
    __rmul__ = _reading("__rmul__")
    __eq__ = _reading("__eq__")
    __ne__ = _reading("__ne__")
    __lt__ = _reading("__lt__")
    __le__ = _reading("__le__")
    __gt__ = _reading("__gt__")
    __ge__ = _reading("__ge__")
    __hash__ = None  # type: ignore[assignment]


_TYPES = (RealmMetaPath, DividedMetaPath)


def _seen(path: Any, frame: FrameType | None) -> list[Any]:
    """Return the list that a frame sees in the place of ``sys.meta_path``."""
    home = who(frame).home if _views else None
    view = None if home is None else _views.get(home)
    if view is None:
        found: list[Any] = path
        return found
    view.follow(path)
    return view.finders


def _drawn(*arguments: Any) -> Any:
    """Return what an iterator gives, as a list; anything else, also one finder, as it is."""
    values = arguments[-1]
    one = len(arguments) > 1 and not isinstance(arguments[0], slice)
    return list(values) if isinstance(values, Iterator) and not one else values


def _made_view(realm: Realm, mains: list[Any]) -> _View:
    with _lock:
        view = _views.get(realm)
        if view is None:
            view = _views[realm] = _View(mains)
    view.follow(mains)
    return view


def _ours_first(path: list[Any]) -> list[Any]:
    try:
        if _item(path, 0) is _ours:
            return path
    except IndexError:
        pass
    return [_ours, *(one for one in list.copy(path) if one is not _ours)]


def _keep_ours(path: Any) -> None:
    """Put our finder back if main's code took it out; where it stands is main's to say."""
    if type(path) in _TYPES:
        with _lock:
            if _ours is not None and not _has(list.copy(path), _ours):
                list.insert(path, 0, _ours)
        _choose_type(path)


def _choose_type(path: Any) -> None:
    with _lock:
        if type(path) in _TYPES:
            whole = not _views and _ours_first(path) is path
            wanted = RealmMetaPath if whole else DividedMetaPath
            if type(path) is not wanted:
                set_type(path, wanted)


def of_main() -> list[Any]:
    """Return the finders that main's code sees, without our own."""
    path: Any = sys.meta_path
    finders = list.copy(path) if isinstance(path, list) else list(path)
    return [one for one in finders if one is not _ours]


def seen_by(realm: Realm | None) -> list[Any]:
    """Return the finders that the code of a realm sees, in its order, without our own."""
    view = None if realm is None else _views.get(realm)
    if view is None:
        return of_main()
    path: Any = sys.meta_path
    view.follow(path if isinstance(path, list) else list(path))
    return [one for one in list.copy(view.finders) if one is not _ours]


def before_path_finder(realm: Realm) -> tuple[Any, ...]:
    """Return the finders that code of a realm sees in front of ``PathFinder``.

    Without those of built-in and frozen modules: they know nothing of files.
    """
    global _in_front  # noqa: PLW0603
    if realm in _views:
        return _front(seen_by(realm))
    path: Any = sys.meta_path
    finders = list.copy(path) if isinstance(path, list) else list(path)
    known, front = _in_front
    # The same ones in the same order, as at nearly every import.
    if len(finders) != len(known) or not all(map(operator.is_, finders, known)):
        front = _front([one for one in finders if one is not _ours])
        _in_front = finders, front
    return front


#: What stood on ``sys.meta_path``, and what of it stood in front of ``PathFinder``.
_in_front: tuple[list[Any], tuple[Any, ...]] = ([], ())


def _front(finders: list[Any]) -> tuple[Any, ...]:
    ahead = takewhile(partial(operator.is_not, PathFinder), finders)
    return tuple(one for one in ahead if one not in (BuiltinImporter, FrozenImporter))


def brought_by(realm: Realm) -> list[Any]:
    """Return the finders that the code of a realm put on ``sys.meta_path``, for itself alone."""
    view = _views.get(realm)
    return [] if view is None else view.own()


def all_brought() -> list[Any]:
    """Return the finders that the code of all realms put there."""
    return [finder for view in list(_views.values()) for finder in view.own()]


def any_brought() -> bool:
    """Tell whether the code of any realm has changed its ``sys.meta_path``."""
    return bool(_views)


def home_of(finder: object) -> Realm | None:
    """Return the realm whose code made a finder; main only where that code's name is claimed."""
    find = getattr(finder, "find_spec", None) or getattr(finder, "find_module", None)
    namespace = getattr(getattr(find, "__func__", find), "__globals__", {})
    home = namespace.get("__realm__")
    if isinstance(home, Realm):
        return home
    return MAIN if str(namespace.get("__name__")).partition(".")[0] in CLAIMED else None


def install(finder: object) -> None:
    """Make ``sys.meta_path`` realm-aware, with our finder first.

    Raises:
        HookError: this interpreter cannot do it; nothing was changed.
    """
    global _ours  # noqa: PLW0603
    prove_list(*_TYPES)
    _ours = finder
    keep()


def keep() -> None:
    """Make the list realm-aware that ``sys.meta_path`` is bound to, if somebody bound another.

    One that is not exactly a list keeps its type; our finder goes to its front.
    """
    path: Any = sys.meta_path
    if type(path) in _TYPES or not isinstance(path, list):
        return
    with _lock:
        if _ours is None or type(path) in _TYPES:
            return
        finders = list(path)
        mains = [one for one in finders if home_of(one) in (None, MAIN)]
        # Of code that made a list of its own it cannot be told any more who it was:
        # whose the finders are has to say it.
        for one in finders:
            home = home_of(one)
            if home is not None and home is not MAIN and not _has(brought_by(home), one):
                _made_view(home, mains).finders.append(one)
        wanted = _ours_first(mains)
        if not _same(finders, wanted):
            path[:] = wanted
        if type(path) is list:
            set_type(path, RealmMetaPath)
            _live.append(path)
            _choose_type(path)


def uninstall() -> None:
    """Put each list back: its type, and main's finders without our own."""
    global _ours, _in_front
    with _lock:
        ours, lists = _ours, [*_live, sys.meta_path]
        _ours, _in_front = None, ([], ())
        _live.clear()
        for path in lists:
            if type(path) in _TYPES:
                set_type(path, list)
            if isinstance(path, list):
                while _has(path, ours):
                    del path[_index(path, ours)]


def after_fork() -> None:
    """Make the lock new in a forked child, where another thread's hold on it never ends."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
