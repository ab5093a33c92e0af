"""What native code keeps for the whole interpreter, kept apart by realm.

pybind11 registers C++ types in a capsule, and modules in a cache by name, under
keys that begin with ``__pybind11_``; nanobind keeps a capsule under a key that
begins with ``__nb_internals_``.  The keys lie in the dict that
``PyInterpreterState_GetDict`` gives, or, for pybind11's internals up to version
4 (``get_python_state_dict`` in ``pybind11/detail/internals.h``), in that of
``builtins``.  So a second version of a package would be handed the types of the
first one, or refuse to register its own.

Each realm has a set of these keys.  While an extension module of a realm
initialises, the set of that realm stands in the two dicts; else main's does.
All extension modules, main's too, come through one place
(:mod:`omnipkg_meta.native_entry`).

**No thread comes between.**  pybind11 and nanobind read their key first of all in
``PyInit_*`` and in the exec slot, and keep the pointer in a static of the shared
object.  The interpreter switches threads between bytecode instructions only
(``eval_breaker`` in ``Python/ceval.c``), so the set is put in place, and the C
function entered, by calls of C functions that are called by C functions (``map``
over ``functools.partial``): there is no instruction between them.  They look up
what stands when they run, not when they were put together.  Before 3.12 an
allocation may collect garbage and so run finalizers; the collector is off for
that moment.  (A free-threaded build has no such guarantee: two extension modules
of two realms that initialise at one instant may see each other's set.  So may
they where an audit hook written in Python runs before ``PyInit_*``.)

What is read later is safe wherever it lies: the other keys contain the address of
a static of the shared object (``get_local_internals``,
``gil_safe_call_once_and_store``).  What is *written* later is one thing: the
module cache, at the end of the exec slot (``cache_completed_module``).  It is a
dict that sends each module to the cache of its realm (:class:`ModuleCache`).

Nothing is touched until an extension module of a realm is loaded.  The proof at
run time is :func:`_prove`; the undo is :func:`uninstall`: main's set stands, and
the sets of realms stay alive where they are, since native code points to them.

This file must not know how a module is found.
"""

from __future__ import annotations

import builtins
import gc
import sys
import threading
from collections import deque
from functools import partial
from itertools import chain, repeat, tee
from operator import attrgetter, methodcaller, setitem, sub
from types import FunctionType
from typing import TYPE_CHECKING, Any

from omnipkg_meta.errors import HookError
from omnipkg_meta.realm import MAIN, Realm, realm_of_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ENTRY", "after_fork", "initialise", "realm_of_module", "separate", "uninstall"]

#: What the keys begin with that each realm has for itself.
PREFIXES = ("__pybind11_", "__nb_internals_")

#: pybind11's cache of modules (``get_cached_module`` in ``pybind11/pybind11.h``).
MODULE_CACHE = "__pybind11_module_cache"

#: Where the sets are kept as long as the interpreter lives: native code points into them
#: while the interpreter takes its modules apart.
_KEEPER = "__omnipkg_meta_native_state__"


class State:
    """One realm's set of keys.

    Attributes:
        interpreter: those that belong into the dict of ``PyInterpreterState_GetDict``.
        builtins: those that belong into the dict of ``builtins``.
    """

    __slots__ = ("builtins", "interpreter")

    def __init__(self) -> None:
        self.interpreter: dict[str, Any] = {MODULE_CACHE: ModuleCache()}
        self.builtins: dict[str, Any] = {}


class ModuleCache(dict):  # type: ignore[type-arg]
    """pybind11's cache of modules, full name to module, of one realm.

    pybind11 reads the storage (``PyDict_Contains``) but writes by the mapping
    protocol (``PyObject_SetItem``), after code of any kind may have run: whatever
    stands then, the module goes to the realm that it belongs to.
    """

    __slots__ = ()

    def __setitem__(self, name: Any, module: Any) -> None:
        state = _states.get(realm_of_module(module))
        cache = self if state is None else _cache(state)
        dict.__setitem__(cache, name, module)


class _Flight:
    """One extension module that is initialising, in one thread."""

    __slots__ = ("state", "thread")

    def __init__(self, state: State) -> None:
        self.state = state
        self.thread = threading.get_ident()


_lock = threading.RLock()
_states: dict[Realm, State] = {}
#: The dict of ``PyInterpreterState_GetDict`` and that of ``builtins``, with the attribute
#: of a :class:`State` that belongs to it.  Empty until a realm loads an extension module.
_live: list[tuple[dict[Any, Any], str]] = []
#: What initialises now, the latest last; the first stands for main and stays.
_flights: list[_Flight] = []
#: The one whose set stands.
_standing: list[_Flight] = []
_active = False


def separate(realm: Realm) -> None:
    """Give a realm a set of its own; called before its extension modules are loaded.

    Raises:
        HookError: this interpreter keeps such state elsewhere; nothing was changed.
    """
    if _active and realm in _states:
        return
    with _lock:
        if not _active:
            _begin()
        if realm not in _states:
            state = State()
            _keep(state)
            _states[realm] = state


def _begin() -> None:
    """See that sets can be kept apart, and give main its own."""
    global _active  # noqa: PLW0603
    if not _live:
        _live.append((_interpreter_dict(), "interpreter"))
        _live.append((vars(builtins), "builtins"))
        _flights.append(_Flight(State()))
        _standing.append(_flights[0])
        try:
            _prove()
        except BaseException:
            for one in (_live, _flights, _standing):
                one.clear()
            raise
        _states[MAIN] = _flights[0].state
        _keep(_flights[0].state)
    # Main's own cache, if there is one, goes on as one that knows realms.
    interpreter, _ = _live[0]
    interpreter[MODULE_CACHE] = ModuleCache(interpreter.get(MODULE_CACHE, {}))
    del _flights[1:]
    _active = True


def uninstall() -> None:
    """Put main's set in place, to stay."""
    global _active  # noqa: PLW0603
    with _lock:
        if not _active:
            return
        _active = False
        # Other threads' initialisations end as they must, with main's set in place.
        _in_one_go([partial(_flights.append, _flights[0]), *_settle()])
        interpreter, _ = _live[0]
        cache = interpreter.pop(MODULE_CACHE, None)
        if cache:
            interpreter[MODULE_CACHE] = dict(cache)


def after_fork() -> None:
    """Forget, in a forked child, what other threads were doing."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    if not _flights:
        return
    me = threading.get_ident()
    mine = [one for one in _flights[1:] if one.thread == me]
    _in_one_go([partial(_flights.__setitem__, slice(1, None), mine), *_settle()])


def _keep(state: State) -> None:
    interpreter, _ = _live[0]
    interpreter.setdefault(_KEEPER, []).append(state)


def _interpreter_dict() -> dict[Any, Any]:
    """Return the dict of ``PyInterpreterState_GetDict``."""
    import ctypes

    # Prototypes of our own: ``ctypes.pythonapi`` is everybody's.
    this = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyInterpreterState_Get", ctypes.pythonapi))
    get = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)(
        ("PyInterpreterState_GetDict", ctypes.pythonapi)
    )
    found: Any = get(this())
    # The C function gives a borrowed reference, and ctypes takes an owned one.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
    if type(found) is not dict:
        raise HookError(
            "The interpreter keeps what native code stores with it in no dict.",
            cause=f"it is a {type(found).__name__}",
        )
    return found


def _prove() -> None:
    """Show, with a key of no importance, that a set stands for one call and no longer.

    Raises:
        HookError: it does not.
    """
    key = f"{PREFIXES[0]}proof_of_omnipkg_meta"
    flight = _Flight(State())
    for _, attribute in _live:
        getattr(flight.state, attribute)[key] = attribute
    looks = [partial(live.get, key) for live, _ in _live]
    calls = [
        *looks,
        partial(_flights.append, flight),
        *_settle(),
        *looks,
        partial(_flights.remove, flight),
        *_settle(),
        *looks,
    ]
    if any(isinstance(call.func, FunctionType) for call in calls):
        raise HookError("The sets of native code cannot be changed without code of Python.")
    answers = _in_one_go(calls)
    seen = [answer for call, answer in zip(calls, answers, strict=True) if call in looks]
    if seen != [None, None, "interpreter", "builtins", None, None]:
        raise HookError(
            "What native code keeps with the interpreter cannot be kept apart by realm.",
            cause=f"a set of keys was put in place, and {seen} was seen",
        )


def realm_of_module(module: Any) -> Realm:
    """Return the realm that a module belongs to."""
    namespace = getattr(module, "__dict__", {})
    realm = namespace.get("__realm__")
    if isinstance(realm, Realm):
        return realm
    return realm_of_file(str(getattr(namespace.get("__spec__"), "origin", None)))


def initialise(realm: Realm, name: str, file: str, call: partial[Any]) -> Any:
    """Call a function of ``_imp`` with the set of a realm in place.

    Args:
        realm: the realm that the extension module belongs to.
        name: its full name.
        file: its file.
        call: what creates it, or executes it.
    """
    if not _active:
        return call()
    separate(realm)
    flight = _Flight(_states[realm])
    entering = [partial(_flights.append, flight), *_settle()]
    leaving = [partial(_flights.remove, flight), *_settle()]
    in_one_go = _in_one_go if realm is MAIN else _in_the_name_of(realm, name, file)
    try:
        return in_one_go([*entering, call, *leaving])[len(entering)]
    finally:
        if flight in _flights:  # it failed, or was interrupted
            _in_one_go([partial(_flights.remove, flight), *_settle()])


def _in_one_go(calls: list[partial[Any]]) -> tuple[Any, ...]:
    """Call each, without an instruction of Python in between."""
    return tuple(map(partial.__call__, calls))


#: The code of the frame from which extension modules are initialised.
ENTRY = _in_one_go.__code__


def _in_the_name_of(
    realm: Realm, name: str, file: str
) -> Callable[[list[partial[Any]]], tuple[Any, ...]]:
    """Return :func:`_in_one_go` as a function of an extension module, which has none of its own.

    So code that it calls, imports and warnings, finds its name in the nearest frame
    (``PyEval_GetGlobals``), and whoever asks who asks need not look further.
    """
    namespace = {"__builtins__": builtins, "__name__": name, "__file__": file, "__realm__": realm}
    return FunctionType(ENTRY, {**namespace, "partial": partial})


_is_text = partial(type.__instancecheck__, str)
_has_prefix = methodcaller("startswith", PREFIXES)
#: Keys of the two dicts that are none of these, so that few are looked at.
_others: list[frozenset[Any]] = [frozenset(), frozenset()]


def _settle() -> Iterator[partial[Any]]:
    """Yield calls that take the standing set out and put that of the latest flight in.

    They are iterators of the standard library, written in C, that look at nothing
    before they are consumed.
    """
    collects = sys.version_info < (3, 12) and gc.isenabled()
    if collects:
        yield partial(gc.disable)
    state = attrgetter("state")
    for place, (live, attribute) in enumerate(_live):
        table = attrgetter(attribute)
        others = _others[place]
        if len(live) > 2 * len(others):
            others = frozenset(key for key in list(live) if not _is_ours(key))
            _others[place] = others
        # Each key of the dict that is one goes into the table of what stands.
        keys = chain.from_iterable(map(sub, (live.keys(),), (others,)))
        one, other = tee(filter(_has_prefix, filter(_is_text, keys)))
        tables = map(table, map(state, map(_standing.__getitem__, repeat(0))))
        yield partial(deque, map(setitem, tables, one, map(live.pop, other)), 0)
    # From here on the latest flight's is what stands,
    yield partial(deque, map(_standing.__setitem__, (0,), map(_flights.__getitem__, (-1,))), 0)
    for live, attribute in _live:
        # and its table goes into the dict.
        tables = map(attrgetter(attribute), map(state, map(_standing.__getitem__, (0,))))
        yield partial(deque, map(live.update, tables), 0)
    if collects:
        yield partial(gc.enable)


def _is_ours(key: object) -> bool:
    return isinstance(key, str) and key.startswith(PREFIXES)


def _cache(state: State) -> dict[Any, Any]:
    """Return the module cache of a realm, which stands or rests."""
    table = _live[0][0] if _standing[0].state is state else state.interpreter
    cache: dict[Any, Any] = table.setdefault(MODULE_CACHE, ModuleCache())
    return cache
