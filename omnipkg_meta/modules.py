"""``sys.modules``, made realm-aware in place.

The import statement, ``PyImport_Import``, ``pickle`` and the rest look in the
interpreter's own dict, whatever ``sys.modules`` is bound to; but each of them
takes the mapping protocol where that dict is not *exactly* a dict
(``import_get_module`` in ``Python/import.c``).  So the type of the live dict is
changed to a subclass of the same memory layout.

Modules of claimed names are kept out of the dict's own storage, each in the
table of its realm.  The subclass defines ``__missing__`` and not
``__getitem__``: a hit of an unclaimed name stays in C, and only claimed names
ever reach Python code.

This file owns the view; who answers is decided in :mod:`omnipkg_meta.asking`.
"""

from __future__ import annotations

import functools
import importlib._bootstrap
import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta import storage
from omnipkg_meta.activation import CURRENT
from omnipkg_meta.answering import (
    SETTLED,
    at_home,
    decide_aloud,
    decision,
    reach,
    realm_for,
    settle,
    settle_at_home,
)
from omnipkg_meta.asking import IMPORT_NAME, Asker, who
from omnipkg_meta.namespaces import portion
from omnipkg_meta.realm import CLAIMED, MAIN
from omnipkg_meta.resolution import Rule, in_scope
from omnipkg_meta.storage import ORDINARY, gone, is_claimed, leave_alone, put, spare, take
from omnipkg_meta.views import Items, Keys, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from omnipkg_meta.realm import Realm

__all__ = ["install", "uninstall"]


def before_import() -> None:
    """Do what is due before an import of a claimed name, or in a scope; set by the finder."""


_getframe = sys._getframe
_current = CURRENT.get
_NOTHING = object()
_MAINS = MAIN.modules


class RealmModules(dict):  # type: ignore[type-arg]
    """The type of ``sys.modules`` while the hooks are in.

    Every method agrees with what the asking code would get from an import.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Only the live dict is of this type; whoever makes another wants a dict.
        return dict(*args, **kwargs)

    def __missing__(self, name: str) -> Any:
        # The fast path: an import statement in code that has a home, and in the
        # user's own code where nothing is pinned.  It decides nothing of its
        # own: it remembers what ``_missing`` was told for the same question.
        # (Subscripts in one ``try`` are what is fastest where they succeed.)
        frame = None
        try:
            frame = _getframe(1)
            code = frame.f_code
            if code.co_code[frame.f_lasti] == IMPORT_NAME:
                namespace, modules = SETTLED[code.co_filename]
                if namespace is frame.f_globals:
                    if modules is not None:
                        return modules[name]
                    activation = _current()
                    return (_MAINS if activation is None else activation.memo[name])[name]
        except (KeyError, ValueError):
            # ValueError: C code imports, and no Python code runs (``python -m``).
            pass
        return _missing(name, frame)

    def __contains__(self, name: object) -> bool:
        if not is_claimed(name):
            found = dict.__contains__(self, name)
            # What is claimed meanwhile stands in main's table before it is gone from here.
            if found or not is_claimed(name):
                return found
        frame = _getframe().f_back
        realm = realm_for(name, frame)
        if realm is not None:
            return name in realm.modules
        return bool(_apply(dict.__contains__, self, name, frame))

    def get(self, name: Any, default: Any = None) -> Any:
        found = dict.get(self, name, _NOTHING)
        if found is not _NOTHING:
            return found
        if is_claimed(name):
            realm = realm_for(name, _getframe().f_back)
            found = dict.get(self if realm is None else realm.modules, name, _NOTHING)
            if found is not _NOTHING:
                return found
            before_import()
        elif _current() is not None:
            before_import()
        return default

    def __setitem__(self, name: Any, module: Any) -> None:
        frame = _getframe().f_back
        if dict.get(self, name, _NOTHING) is not module:  # else it goes to the end, and no more
            take(name, module, frame)
        _apply(put, self, name, frame, module)

    def __delitem__(self, name: Any) -> None:
        spare(name, _getframe().f_back)
        _apply(dict.pop, self, name, _getframe().f_back)
        gone(name)

    def setdefault(self, name: Any, default: Any = None) -> Any:
        take(name, default, _getframe().f_back)
        return _apply(dict.setdefault, self, name, _getframe().f_back, default)

    def pop(self, name: Any, *default: Any) -> Any:
        frame = _getframe().f_back
        # By identity: to compare two code objects is to compare all that is in them.
        code = None if frame is None else frame.f_code
        if not default and (code is _LOAD or code is _RELOAD):
            # importlib takes a module out to put it in again at the end at once (:func:`put`).
            # Unlike that of a plain dict, our copy is not atomic: ``dict(sys.modules)``
            # of another thread would trip over the gap.
            found = dict.get(self, name, _NOTHING)
            if found is _NOTHING:
                found = _apply(dict.__getitem__, self, name, frame)
            return found
        spare(name, frame)
        taken = _apply(dict.pop, self, name, frame, *default)
        gone(name)
        return taken

    def popitem(self) -> tuple[Any, Any]:
        claimed = _claimed(who(_getframe().f_back))
        if not claimed:
            return dict.popitem(self)
        name = next(reversed(claimed))
        return name, claimed[name].modules.pop(name)

    def clear(self) -> None:
        for name, realm in _claimed(who(_getframe().f_back)).items():
            realm.modules.pop(name, None)
        dict.clear(self)

    def update(self, *args: Any, **kwargs: Any) -> None:
        _update(self, dict(*args, **kwargs), _getframe().f_back)

    def __ior__(self, other: Any) -> Any:
        _update(self, dict(other), _getframe().f_back)
        return self

    def copy(self) -> dict[Any, Any]:
        return _view(self, _getframe().f_back)

    __copy__ = copy

    def __or__(self, other: Any) -> Any:
        return (
            _view(self, _getframe().f_back) | other if isinstance(other, dict) else NotImplemented
        )

    def __ror__(self, other: Any) -> Any:
        return (
            other | _view(self, _getframe().f_back) if isinstance(other, dict) else NotImplemented
        )

    def __eq__(self, other: object) -> bool:
        return other is self or _view(self, _getframe().f_back) == other

    def __ne__(self, other: object) -> bool:
        return other is not self and _view(self, _getframe().f_back) != other

    __hash__ = None

    def __len__(self) -> int:
        return len(_view(self, _getframe().f_back))

    def __iter__(self) -> Iterator[Any]:
        names: list[Any] = list(_view(self, _getframe().f_back))
        return iter(names)

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(_view(self, _getframe().f_back))[::-1])

    def keys(self) -> Any:
        return Keys(self, functools.partial(_view, self))

    def values(self) -> Any:
        return Values(self, functools.partial(_view, self))

    def items(self) -> Any:
        return Items(self, functools.partial(_view, self))

    def __repr__(self) -> str:
        return repr(_view(self, _getframe().f_back))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (_view(self, _getframe().f_back),)

    @classmethod
    def fromkeys(cls, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


#: The functions of importlib that move a module to the end of the table.
_bootstrap: Any = importlib._bootstrap
_LOAD = _bootstrap._load_unlocked.__code__
_RELOAD = _bootstrap._exec.__code__


class GuardedModules(RealmModules):
    """The same, while an extension module is being initialised.

    Cython writes its module straight into the storage
    (``PyDict_SetItemString(PyImport_GetModuleDict(), ...)``), past every
    override.  Until that entry is swept, no look-up may trust the storage.
    """

    __slots__ = ()

    def __getitem__(self, name: Any) -> Any:
        frame = _getframe().f_back
        if is_claimed(name):
            return _missing(name, frame, guarded=True)
        if ORDINARY.get(name) != id(dict.get(self, name)):
            leave_alone(name, frame)
            if is_claimed(name):
                return _missing(name, frame)
        return dict.__getitem__(self, name)

    def get(self, name: Any, default: Any = None) -> Any:
        leave_alone(name, _getframe().f_back)
        realm = realm_for(name, _getframe().f_back)
        return dict.get(self, name, default) if realm is None else realm.modules.get(name, default)


def _apply(
    operation: Callable[..., Any],
    modules: dict[Any, Any],
    name: object,
    frame: FrameType | None,
    *arguments: object,
) -> Any:
    """Apply a method of dict to the table that holds a name for a frame, and return its result.

    The name may be claimed by another thread between the question and the answer.
    """
    realm = realm_for(name, frame)
    if realm is None:
        with storage.lock():
            if not is_claimed(name):
                return operation(modules, name, *arguments)
        realm = realm_for(name, frame)
    table = modules if realm is None else realm.modules
    return operation(table, name, *arguments)


def _missing(name: object, frame: FrameType | None, *, guarded: bool = False) -> Any:
    if not isinstance(name, str) or (top := name.partition(".")[0]) not in CLAIMED:
        raise KeyError(name)
    if frame is not None and (at := at_home(top, frame)) is not None:
        module = at.modules.get(name, _NOTHING)
        if module is _NOTHING:
            before_import()
            raise KeyError(name)
        if settle_at_home(at, frame):
            return module
    elif guarded:
        leave_alone(name, frame)
    asker = who(frame)
    answer = decide_aloud(name, asker)
    realm = answer.realm
    try:
        module = realm.modules[name]
    except KeyError:
        before_import()
        raise KeyError(name) from None
    activation = _current()
    if (
        activation is not None
        and answer.rule is not Rule.HOME
        and realm is in_scope(top, activation)
    ):
        activation.memo[name] = realm.modules
    if frame is not None:
        settle(name, asker, answer, frame)
    return module


def _claimed(asker: Asker) -> dict[str, Realm]:
    """Return the modules of claimed names that somebody sees, each with its realm."""
    answers: dict[str, Realm] = {}
    seen: dict[str, Realm] = {}
    for realm in reach(asker):
        for name in list(realm.modules):
            part = portion(name)
            answer = answers.get(part)
            if answer is None:
                answer = answers[part] = decision(part, asker).realm
            if answer is realm:
                seen[name] = realm
    return seen


def _view(modules: dict[Any, Any], frame: FrameType | None) -> dict[Any, Any]:
    """Return the table that a frame sees, as a plain dict of its own."""
    # ``dict(modules)`` would call the overridden ``keys``.
    view = dict(dict.items(modules))
    if storage.is_guarded():
        view = {name: module for name, module in view.items() if not is_claimed(name)}
    for name, realm in _claimed(who(frame)).items():
        module = realm.modules.get(name, _NOTHING)
        if module is not _NOTHING:
            view[name] = module
    return view


def _update(modules: dict[Any, Any], new: dict[Any, Any], frame: FrameType | None) -> None:
    for name, module in new.items():
        take(name, module, frame)
        _apply(put, modules, name, frame, module)


def install() -> None:
    """Make ``sys.modules`` realm-aware.

    Raises:
        HookError: this interpreter cannot do it; nothing was changed.
    """
    storage.install(RealmModules, GuardedModules)


def uninstall() -> None:
    """Put ``sys.modules`` back: its type, and main's modules of claimed names."""
    storage.uninstall()
