"""importlib once for each realm: what loads a module there looks into one table only.

For each module that it loads, importlib looks some thirteen times into ``sys.modules``
and ``_module_locks``.  Code that has a home gets the same answer each time; so it is
asked once who asks, and the rest is done by a copy of importlib's own functions whose
``sys.modules`` is the table of the realm that answers, and whose ``_module_locks`` is
that realm's own.

Locks by realm are more than speed.  importlib takes one lock per module *name* while it
loads: two versions of a package that load in two threads would take the same locks in
different orders, and ``_DeadlockError`` would be raised where there is no cycle.  Main's
locks stay where they always were, so that a module of main that is just being loaded
while its name is claimed keeps its lock.

The hack: two functions of ``Lib/importlib/_bootstrap.py`` are replaced by ones that ask
who asks, and call a copy or the original: ``_find_and_load``, which C calls by that name
(``import_find_and_load`` in ``Python/import.c``), and ``_get_module_lock``, which all
that takes a lock there calls.  The copies share the code objects of the originals, and
the replacements bear their file name: so ``remove_importlib_frames`` in
``Python/import.c`` takes all of them out of tracebacks, and :mod:`omnipkg_meta.asking`
takes them for importlib.  What a copy's functions call beside each other is the one
there is, and so is the search for deadlocks.

The proof at run time is :func:`_prove`.  Where somebody has put a function of his own in
the place of one that would be copied, importlib's own load everything, so that his is
called: each look-up then asks who asks, which takes longer.  Whoever does so later keeps
his when ours go.

This file must not know the rules, nor how a module is found.
"""

from __future__ import annotations

import _imp
import importlib._bootstrap
import sys
from importlib.machinery import ModuleSpec
from types import FunctionType
from typing import TYPE_CHECKING, Any

from omnipkg_meta.answering import BOOTSTRAP, at_home, realm_for
from omnipkg_meta.errors import HookError
from omnipkg_meta.locks import without_import_lock
from omnipkg_meta.meta_path import keep
from omnipkg_meta.realm import CLAIMED, MAIN
from omnipkg_meta.storage import gone, put

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from types import ModuleType

    from omnipkg_meta.realm import Realm

__all__ = ["LOADED_INTO", "install", "share", "uninstall"]

_getframe = sys._getframe
_bootstrap: Any = importlib._bootstrap
_globals: dict[str, Any] = vars(_bootstrap)

#: The name that says, in the namespace of a copy, which realm it loads modules into: a finder
#: that it asks need not find out.
LOADED_INTO = "__loaded_into__"

#: The functions that look into ``sys.modules`` or ``_module_locks`` on the way to a
#: module, and those through which they call one another.  One that is missing here, or in
#: some version of Python, costs time only: importlib's own asks each time who asks.
_COPIED = (
    "_find_and_load",
    "_find_and_load_unlocked",
    "_find_spec",
    "_get_module_lock",
    "_load_unlocked",
    "_lock_unlock_module",
    "_resolve_parents",  # since 3.15
)


class _Table:
    """``sys.modules`` of a copy: the table of a realm, written as ``RealmModules`` writes it."""

    __slots__ = ("_modules", "get", "pop")

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules = modules
        self.get = modules.get
        # ``_load_unlocked`` takes a module out to put it in again at once: it stays, so
        # that nobody trips over the gap (see ``RealmModules.pop``).
        self.pop = modules.__getitem__

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> ModuleType:
        return self._modules[name]

    def __setitem__(self, name: str, module: ModuleType) -> None:
        put(self._modules, name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        gone(name)


class _System:
    """``sys`` of a copy: all of it but ``modules``."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self.modules = _Table(modules)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


class Importer:
    """A copy of the functions of importlib that load a module.

    Attributes:
        system: what they take for ``sys``.
        locks: names to weak references to locks, as in ``_module_locks``.
        find_and_load: ``_find_and_load``.
        get_module_lock: ``_get_module_lock``.
        whole: whether all that is copied was importlib's own.
    """

    __slots__ = ("find_and_load", "get_module_lock", "locks", "system", "whole")

    def __init__(self, modules: dict[str, ModuleType], realm: Realm | None = None) -> None:
        self.system = _System(modules)
        self.locks: dict[str, weakref.ref[Any]] = {}
        namespace = {**_found, "sys": self.system, "_module_locks": self.locks}
        namespace[LOADED_INTO] = realm
        originals = {name: _found[name] for name in _COPIED if name in _found}
        self.whole = all(map(_is_importlibs, originals.values()))
        for name, function in originals.items():
            namespace[name] = _bound(function, namespace)
        manager = _found["_ModuleLockManager"]
        enter = _bound(manager.__enter__, namespace)
        namespace["_ModuleLockManager"] = type(manager)(
            manager.__name__, (manager,), {"__enter__": enter}
        )
        self.find_and_load: Callable[..., ModuleType] = namespace["_find_and_load"]
        self.get_module_lock: Callable[[str], Any] = namespace["_get_module_lock"]


def _is_importlibs(function: Any) -> bool:
    return isinstance(function, FunctionType) and function.__globals__ is _globals


def _bound(function: Any, namespace: dict[str, Any]) -> Any:
    """Make a function of importlib's anew over another namespace; anybody else's stays itself."""
    if not _is_importlibs(function):
        return function
    made = FunctionType(
        function.__code__,
        namespace,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


_importers: dict[Realm, Importer] = {}


def _importer(realm: Realm) -> Importer:
    known = _importers.get(realm)
    # Of two threads that come at once, both get the one that is kept.
    return known or _importers.setdefault(realm, Importer(realm.modules, realm))


#: The names for which it is asked who asks: the claimed ones while the hooks are in.  Ours
#: may be called later, too: by somebody who put his own function in the place of it.
_names: AbstractSet[str] = frozenset()

#: What stood in importlib where one of ours stands; kept when ours goes, which may be running.
_replaced: dict[str, Any] = {}

#: Where ours stands, perhaps beneath somebody else's.
_placed: set[str] = set()

#: importlib's namespace as it was when the hooks came in, without ours.  Not as it is when
#: a realm is first loaded into: what a test puts there for a moment would stay in the copy.
_found: dict[str, Any] = {}


def _as_importlibs(function: Any) -> Any:
    """Let the frames of a function pass for importlib's own."""
    function.__code__ = function.__code__.replace(co_filename=BOOTSTRAP)
    return function


@_as_importlibs
def _find_and_load(name: str, import_: Any, **keywords: Any) -> Any:
    top = name.partition(".")[0]
    if top in _names:
        frame = _getframe().f_back
        realm = None if frame is None else at_home(top, frame)
        if realm is not None and realm is not MAIN:
            keep()  # no look-up comes to ``RealmModules`` that would see to it
            return _importer(realm).find_and_load(name, import_, **keywords)
    return _replaced["_find_and_load"](name, import_, **keywords)


@_as_importlibs
def _get_module_lock(name: str) -> Any:
    top = name.partition(".")[0]
    if top in _names:
        frame = _getframe().f_back
        realm = None if frame is None else at_home(top, frame)
        if realm is None:
            with without_import_lock():
                realm = realm_for(name, frame)
        if realm is not None and realm is not MAIN:
            return _importer(realm).get_module_lock(name)
    return _replaced["_get_module_lock"](name)


_OURS = {"_find_and_load": _find_and_load, "_get_module_lock": _get_module_lock}


def share(name: str, realm: Realm) -> None:
    """Let the lock that was taken for a name, before it was claimed, be a realm's from now on.

    A finder finds out, while a module is being looked for, that a realm provides it:
    the thread that looks holds the lock of the plain name, and the next one will ask
    for the realm's.
    """
    locks = _importer(realm).locks
    _imp.acquire_lock()
    try:
        reference = _bootstrap._module_locks.get(name)
        known = locks.get(name)
        if reference is not None and (known is None or known() is None):
            # Dead in the end, and then replaced: ``_get_module_lock`` looks whether it is.
            locks[name] = reference
    finally:
        _imp.release_lock()


class _Proof:
    """Finds and loads one module, and sees where the lock of it is meanwhile."""

    NAME = "_omnipkg_meta_proof"

    def __init__(self, importer: Importer) -> None:
        self._importer = importer
        self.locked = False

    def find_spec(self, name: str, *_: object) -> ModuleSpec:
        return ModuleSpec(name, self)  # type: ignore[arg-type]  # a loader by what it does

    def create_module(self, _: ModuleSpec) -> None:
        return None

    def exec_module(self, _: ModuleType) -> None:
        self.locked = _is_apart(self._importer)


def _is_apart(importer: Importer) -> bool:
    """Tell whether the lock of the module of the proof is the copy's, and not main's."""
    name, mains = _Proof.NAME, _bootstrap._module_locks
    return type(mains) is dict and name not in mains and importer.locks.keys() == {name}


def _prove() -> bool:
    """Lock and load a module by a copy: it has to come into the copy's tables alone.

    Returns:
        Whether what loads can be copied; what locks has to be.

    Raises:
        HookError: it came elsewhere.
    """
    name = _Proof.NAME
    modules: dict[str, ModuleType] = {}
    try:
        importer = Importer(modules)
        lock = importer.get_module_lock(name)
        right = _is_apart(importer)
        del lock
        if importer.whole:
            proof = _Proof(importer)
            vars(importer.system)["meta_path"] = [proof]
            loaded = {name: importer.find_and_load(name, None)}
            right &= proof.locked and modules == loaded
            right &= not dict.__contains__(sys.modules, name)
    except Exception as error:
        raise HookError(_UNKNOWN) from error
    if not right or importer.locks:
        raise HookError(_UNKNOWN)
    return importer.whole


_UNKNOWN = "importlib loads modules in a way that this library cannot keep apart by realm."


def install() -> None:
    """Have modules of claimed names loaded, and locked, in their realms.

    Raises:
        HookError: this interpreter's importlib works in another way; nothing was changed.
    """
    global _names, _found  # noqa: PLW0603
    if _names is CLAIMED:
        return
    _found = {**_globals, **{name: _replaced[name] for name in _placed}}
    names = _OURS if _prove() else ("_get_module_lock",)
    for name in names:
        there = _globals[name]
        # Else ours is beneath somebody's, and to put it over his would make a circle.
        if name not in _placed or there is _replaced[name]:
            _replaced[name] = there
            _placed.add(name)
            _globals[name] = _OURS[name]
    _names = CLAIMED


def uninstall() -> None:
    """Put importlib's functions back; locks of bubbles' modules die with their users."""
    global _names  # noqa: PLW0603
    _names = frozenset()
    for name, ours in _OURS.items():
        if _globals.get(name) is ours:
            _globals[name] = _replaced[name]
            _placed.discard(name)
    _importers.clear()
