"""What native code is told when it asks the interpreter itself, and not the import system.

``PyImport_GetModuleDict`` and ``PySys_GetObject("modules")`` give native code the dict
behind ``sys.modules``.  Some goes on by the mapping protocol, and is answered as anybody
(:mod:`omnipkg_meta.modules`).  But Cython writes its module into the storage, cffi writes
a library into it, and mypyc (since 1.20) reads a package's own modules from there whenever
one imports another: past every override, and modules of claimed names are not there.
And ``PyThreadState_GetDict`` gives all versions of a package the same dict: lxml keeps its
log of errors in it, numpy before 2 its handling of errors, each under a fixed key.

So the native code of a realm, main's too, gets a table of its own, whose storage holds
what code of the realm sees (:class:`NativeModules`).  What is written into it goes to the
realm that it belongs to, at the latest when the extension module has initialised; in
between it is seen by native code of that realm only.  Code of a bubble also gets, in each
thread, a dict of its realm in the place of the thread's; main keeps the thread's own.

The calls are redirected library by library as they are loaded (:mod:`omnipkg_meta.relink`).
Where that is not possible, native code gets what it always got, and the storage is guarded
while it initialises (:mod:`omnipkg_meta.storage`).

The functions that stand in are written in Python.  So native code must not call them with
an error pending, which the interpreter's own would forgive; and an exception that a signal
handler raises within them is reported, and goes no further (``sys.unraisablehook``).

This file must not know how a module is found, nor who loads one.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import takewhile
from operator import ne
from typing import TYPE_CHECKING, Any

from omnipkg_meta import relink, storage, symbols
from omnipkg_meta.activation import OVERLAYS
from omnipkg_meta.answering import decision
from omnipkg_meta.asking import Asker
from omnipkg_meta.belonging import Entry
from omnipkg_meta.path_entries import main_path
from omnipkg_meta.realm import MAIN, Realm, realm_of_file
from omnipkg_meta.resolution import reach

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NativeModules", "after_fork", "install", "settle", "uninstall", "watch"]

_GET_MODULES, _GET_OBJECT = "PyImport_GetModuleDict", "PySys_GetObject"
_GET_THREADS = "PyThreadState_GetDict"

_NOTHING = object()
_SUFFIXES = tuple(EXTENSION_SUFFIXES)
_STANDARD_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))
_STANDARD = frozenset({_STANDARD_LIBRARY, os.path.join(_STANDARD_LIBRARY, "lib-dynload")})


class _Source:
    """A table, and how far it has been read.

    A dict keeps the order in which entries came, so what is new is at its end, among what
    was put there again (:func:`omnipkg_meta.storage.put`).
    """

    __slots__ = ("known", "last", "owner", "table")

    def __init__(self, table: dict[Any, Any], owner: Realm | None) -> None:
        self.table = table
        self.owner = owner
        self.known: set[Any] = set()
        self.last: Any = _NOTHING

    def new(self) -> list[Any] | None:
        """Return the names that came since the last time; None where others have gone."""
        # Without an instruction in between in which another thread could write.
        names = list(takewhile(partial(ne, self.last), dict.__reversed__(self.table)))
        self.known.update(names)
        if names:
            self.last = names[0]
        return names[::-1] if len(self.known) == dict.__len__(self.table) else None


class NativeModules(dict):  # type: ignore[type-arg]
    """The table of modules as the native code of one realm sees it.

    By the mapping protocol it is live.  Its storage is brought up to date whenever
    native code asks for it (:meth:`refresh`), and what was written into the storage
    meanwhile is taken from there (:meth:`settle`).

    Args:
        home: the realm.
    """

    __slots__ = ("_asked", "_asker", "_home", "_lock", "_provided", "_shown", "_sources")

    def __init__(self, home: Realm) -> None:
        super().__init__()
        self._home = home
        self._asker = Asker(None if home is MAIN else home, "", "", None, native=True)
        self._lock = threading.RLock()
        #: What was put into the storage; what differs from it, native code wrote.
        self._shown: dict[Any, Any] = {}
        self._asked = False
        #: The tables that it is made of, and how far each has been read.
        self._sources: list[_Source] = []
        self._provided = home.provided

    def refresh(self) -> None:
        """Bring the storage up to date."""
        with self._lock:
            self.settle()
            self._asked = True
            if not self._read_on():
                self._read_all()

    def _read_on(self) -> bool:
        """Add what is new in the tables; False where that is not all that has changed."""
        owners = [source.owner for source in self._sources]
        if self._provided is not self._home.provided or owners != [None, *self._reach()]:
            return False
        for source in self._sources:
            new = source.new()
            if new is None:
                return False
            for name in new:
                if self._admits(name, source.owner):
                    self._show(name, dict.get(source.table, name))
        own = (sys.modules, *(realm.modules for realm in self._home.chain()))
        return all(dict.items(table) <= dict.items(self) for table in own)

    def _read_all(self) -> None:
        before = self._shown
        self._shown, self._provided = {}, self._home.provided
        self._sources = [
            _Source(sys.modules, None),
            *(_Source(realm.modules, realm) for realm in self._reach()),
        ]
        for source in self._sources:
            for name in source.new() or ():
                if self._admits(name, source.owner):
                    self._show(name, dict.get(source.table, name))
        for name in before.keys() - self._shown.keys():
            dict.pop(self, name, None)

    def _reach(self) -> dict[Realm, None]:
        """Return the realms whose modules may be seen here.

        No scope is asked: what scopes adopt for the home is among them anyway.
        """
        home = self._home
        return {MAIN: None} if home is MAIN else reach(home, (), None, OVERLAYS[0])

    def _admits(self, name: Any, owner: Realm | None) -> bool:
        if not storage.is_claimed(name):
            return owner is None
        return self._answering(name) is owner

    def _answering(self, name: str) -> Realm:
        """Return the realm that a claimed name is of here.

        All threads share this table, so main's must not follow the scope of one of them.
        """
        return MAIN if self._home is MAIN else decision(name, self._asker).realm

    def _show(self, name: Any, module: Any) -> None:
        self._shown[name] = module
        dict.__setitem__(self, name, module)

    def settle(self) -> None:
        """Give what native code wrote into the storage to the realms that it belongs to."""
        with self._lock:
            before = self._shown
            if not self._asked and len(self) == len(before):
                return
            self._asked = False
            if dict.__eq__(self, before):
                return
            for name, module in list(dict.items(self)):
                if before.get(name, _NOTHING) is not module:
                    self[name] = module
            for name in before.keys() - dict.keys(self):
                self._apply(dict.pop, name, None)
                before.pop(name, None)

    def empty(self) -> None:
        """Let go of everything."""
        with self._lock:
            self.settle()
            self._shown, self._sources = {}, []
            dict.clear(self)

    def drop(self, name: object) -> None:
        """Let go of a module that somebody took away; what still stands is shown again."""
        with self._lock:
            self.settle()
            self._shown.pop(name, None)
            dict.pop(self, name, None)
            self._sources = []

    def _apply(self, operation: Callable[..., Any], name: Any, *arguments: Any) -> Any:
        # Under the lock that names are claimed under.
        with storage.lock():
            table: dict[Any, Any] = sys.modules
            if storage.installed() and storage.is_claimed(name):
                table = self._answering(name).modules
            return operation(table, name, *arguments)

    def __getitem__(self, name: Any) -> Any:
        found = self.get(name, _NOTHING)
        if found is _NOTHING:
            raise KeyError(name)
        return found

    def get(self, name: Any, default: Any = None) -> Any:  # noqa: D102
        written = dict.get(self, name, _NOTHING)
        if written is not _NOTHING and written is not self._shown.get(name, _NOTHING):
            return written
        return self._apply(dict.get, name, default)

    def __contains__(self, name: object) -> bool:
        return self.get(name, _NOTHING) is not _NOTHING

    def __setitem__(self, name: Any, module: Any) -> None:
        with self._lock:
            if storage.installed():
                storage.take_for(None if self._home is MAIN else self._home, name, module)
            # What is replaced dies without the lock of the storage.
            replaced = self._apply(storage.put, name, module)  # noqa: F841
            self._show(name, module)

    def __delitem__(self, name: Any) -> None:
        self.pop(name)

    def pop(self, name: Any, *default: Any) -> Any:  # noqa: D102
        with self._lock:
            self.settle()
            self._shown.pop(name, None)
            dict.pop(self, name, None)
            return self._apply(dict.pop, name, *default)

    def setdefault(self, name: Any, default: Any = None) -> Any:  # noqa: D102
        found = self.get(name, _NOTHING)
        if found is _NOTHING:
            found = self[name] = default
        return found


class _Answers:
    """What the native code of one realm calls instead of functions of the interpreter."""

    def __init__(self, home: Realm) -> None:
        import ctypes

        self.modules = NativeModules(home)
        address = id(self.modules)
        # ``PyImport_GetModuleDict`` never gives NULL, and a callback gives whatever it
        # finds where an exception comes out of it: that of a signal, before the first
        # line.  So it is called by C code (``max``, of one item, asks for its key), which
        # no signal interrupts, through another callback, which reports the exception.
        refresh = ctypes.PYFUNCTYPE(None, ctypes.py_object)(NativeModules.refresh)
        get_modules: Any = partial(max, (self.modules,), key=refresh)
        get_object: Any = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(
            (_GET_OBJECT, ctypes.pythonapi)
        )

        def get(name: bytes) -> int | None:
            if name == b"modules":
                get_modules()
                return address
            found: int | None = get_object(name)
            return found

        self._callbacks = {
            # Not borrowed, as it should be: the table gets references, and lives for ever.
            _GET_MODULES: ctypes.PYFUNCTYPE(ctypes.py_object)(get_modules),
            _GET_OBJECT: ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(get),
        }
        if home is not MAIN:
            self._callbacks[_GET_THREADS] = ctypes.PYFUNCTYPE(ctypes.c_void_p)(_thread_dict(home))
        self.functions = {
            name: (relink.address_of(name), ctypes.cast(callback, ctypes.c_void_p).value or 0)
            for name, callback in self._callbacks.items()
        }


def _thread_dict(home: Realm) -> Callable[[], int]:
    """Return a function that gives the address of a realm's dict in the calling thread.

    It lies in the thread's own dict, and dies with it.
    """
    import ctypes

    threads: Any = ctypes.PYFUNCTYPE(ctypes.py_object)((_GET_THREADS, ctypes.pythonapi))
    keep = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", ctypes.pythonapi))

    def get() -> int:
        table: dict[Any, Any] = threads()
        keep(table)  # the C function gives a borrowed reference, and ctypes takes an owned one
        try:
            return id(table[home])
        except KeyError:
            return id(table.setdefault(home, {}))

    return get


_lock = threading.RLock()
_answers: dict[Realm, _Answers] = {}
#: Where a library lies, and what was changed in it; the interpreter closes none.
_places: dict[int, list[relink.Place]] = {}
#: The names of libraries that were looked at.
_seen: set[str] = set()
_active = False


def install() -> None:
    """Have main's native code, as far as it is loaded, see main's table."""
    global _active  # noqa: PLW0603
    with _lock:
        _active = relink.possible()
        if not _active:
            return
        before = list(_seen)  # the hooks may have been in already
        _seen.clear()
        # The storage itself: no name is claimed yet, or main's are in its table.
        modules = [*dict.values(sys.modules), *MAIN.modules.values()]
        files = [Entry.of(module).file or "" for module in modules]
        for file in [*before, *(file for file in files if file.endswith(_SUFFIXES))]:
            _look(file)


def uninstall() -> None:
    """Have all native code call the interpreter's own functions again."""
    global _active  # noqa: PLW0603
    with _lock:
        _active = False
        for places in _places.values():
            relink.restore(places)
        _places.clear()
        for answers in _answers.values():
            # Native code may have kept the table, which from now on is ``sys.modules``.
            answers.modules.empty()


def after_fork() -> None:
    """Make the locks new in a forked child, where another thread's hold on them never ends."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    for answers in _answers.values():
        answers.modules._lock = threading.RLock()


def watch(file: str, realm: Realm) -> None:
    """Load the library of a realm's extension module, and see to what it calls before it does."""
    if not _active or os.path.dirname(file) in _STANDARD:
        return
    # Without a lock: what a library does while it is loaded is its own affair.
    symbols.load(file, realm)
    with _lock:
        _look(file)


def _let_go(name: object) -> None:
    for answers in list(_answers.values()):
        if dict.__contains__(answers.modules, name):
            answers.modules.drop(name)


storage.ON_REMOVAL.append(_let_go)


def settle(realm: Realm) -> None:
    """Give what a realm's native code wrote into its table to the realms that it belongs to."""
    answers = _answers.get(realm)
    if answers is not None:
        answers.modules.settle()


def _look(file: str) -> None:
    """See to a library, and to those that it needs."""
    prefixes = tuple(os.path.join(one, "") for one in main_path() if one and one not in _STANDARD)
    names = [file]
    while names:
        name = names.pop()
        library = None if name in _seen else relink.loaded(name)
        _seen.add(name)
        if library is None or library.base in _places:
            continue
        home = realm_of_file(library.path)
        if home is MAIN and not library.path.startswith(prefixes):
            continue  # the system's, or the interpreter's own
        answers = _answers.get(home)
        if answers is None:
            answers = _answers[home] = _Answers(home)
        _places[library.base] = relink.redirect(library, answers.functions)
        names += relink.needed(library)
