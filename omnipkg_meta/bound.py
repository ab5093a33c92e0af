"""Bound functions: ``bind``, a callable that runs in a scope wherever it is called.

Owns how a bound function is called, and how it is pickled.  Must not know how a
scope gets to another process.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from omnipkg_meta import scope
from omnipkg_meta.errors import BindError
from omnipkg_meta.passage import Parcel, by_name, check_pickler
from omnipkg_meta.realm import CLAIMED
from omnipkg_meta.scope import Scope

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from omnipkg_meta.passage import Pickler
    from omnipkg_meta.sources import Source
    from omnipkg_meta.store.store import Store

__all__ = ["Bound", "bind", "name_of", "run_in", "scope_of"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: The modules that call a function whose result is pickled outside of its scope: of the
#: standard library, and of Dask, which tries for ever to send another worker what it cannot
#: pickle.
_POOLS = frozenset(
    {
        *("concurrent.futures.process", "multiprocessing.pool"),
        *("dask._task_spec", "dask.core", "dask.utils", "distributed.worker"),
    }
)


class Bound(Generic[_P, _R]):
    """A function bound to a scope: it runs there, in this process or another one.

    Made by :func:`bind`.  It is called, inspected and documented like the function.
    """

    # None: what was sent has not been opened yet.
    _run: Callable[_P, _R] | None

    def __init__(
        self, function: Callable[_P, _R], inside: Scope, pickler: Pickler | None = None
    ) -> None:
        self._parcel: Parcel | None = None
        self._bind(function, inside, pickler)
        self._run = run_in(inside, function)

    def _bind(self, function: Callable[_P, _R], inside: Scope, pickler: Pickler | None) -> None:
        functools.update_wrapper(self, function, updated=())
        self._packed: tuple[object, Parcel] | None = None
        self._name = name_of(function)
        self._function = function
        self._scope = inside
        self._pickler = pickler
        self._mark(asynchronous=inspect.iscoroutinefunction(function))

    def _mark(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous
        if asynchronous and sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)

    @property
    def scope(self) -> Scope:
        """The scope that the function runs in."""
        return self._scope if self._parcel is None else self._parcel.passage.scope()

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run the function in its scope.

        Where it was sent from another process, that comes first: its bubble is found, or
        built from its lock, and the function is unpickled inside the scope.

        Raises:
            BubbleNotFoundError: the bubble is not here, and may not be built.
            BindError: what the function returned, or raised, is the bubble's, and is to be
                pickled by a pool that knows nothing of scopes.
        """
        run = self._run
        return self._first(*args, **kwargs) if run is None else run(*args, **kwargs)

    def __repr__(self) -> str:
        where = self._scope if self._parcel is None else "its scope, not entered yet"
        return f"<{self._name} bound to {where}>"

    def __copy__(self) -> Bound[_P, _R]:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Bound[_P, _R]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        parcel = self._parcel or self._pack()
        return _arrive, (parcel, self._asynchronous)

    def _pack(self) -> Parcel:
        function: object = self._function
        if self._pickler is not None or not isinstance(function, FunctionType):
            return Parcel.pack(self._name, function, self._scope, self._pickler)
        # pickle writes down no more of a function than its name: as long as that leads to the
        # same, the parcel of one task is that of the next.
        found = _of_its_name(function)
        if self._packed is None or self._packed[0] is not found:
            sent = _Original(function) if _gave_its_name(function, found) else function
            self._packed = found, Parcel.pack(self._name, sent, self._scope, None)
        return self._packed[1]

    def _open(self) -> Callable[_P, _R]:
        """Open what was sent, and return it as it runs where a pool may have called it."""
        parcel = self._parcel
        if parcel is not None:  # else another thread was faster
            inside = parcel.passage.scope()
            function = parcel.open(inside)
            if parcel.pickler is None and isinstance(function, FunctionType):
                vars(self).update(_opened(function, inside))
            else:
                self._take(function, inside, parcel.find_pickler())
            self._parcel = None
        if self._run is None:
            raise AssertionError(self)
        return self._run

    def _take(self, function: Callable[_P, _R], inside: Scope, pickler: Pickler | None) -> None:
        """Be bound to what was sent."""
        self._bind(function, inside, pickler)
        # Without this object in it: in a circle, what it holds would be freed much later.
        self._run = functools.partial(_deliver, self._name, run_in(inside, function))

    def _first(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Open what was sent, and run it."""
        if self._asynchronous:
            return self._first_awaited(*args, **kwargs)  # type: ignore[return-value]
        return self._open()(*args, **kwargs)

    async def _first_awaited(self, *args: Any, **kwargs: Any) -> Any:
        """Open a coroutine function; where a bubble has to be built, asyncio's loop goes on."""
        if (parcel := self._parcel) is not None and "asyncio" in sys.modules:
            asyncio = sys.modules["asyncio"]
            if asyncio._get_running_loop() is not None:
                await asyncio.to_thread(parcel.passage.scope)
        return await self._open()(*args, **kwargs)  # type: ignore[misc]  # a coroutine function


def bind(
    function: Callable[_P, _R],
    *sources: Source | Scope,
    install: bool | None = None,
    share: Sequence[str] = (),
    adopt: Sequence[str] = (),
    hermetic: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
    dumps: Pickler | None = None,
) -> Bound[_P, _R]:
    """Bind a function to a scope: it runs there from any thread, executor or process.

    In this process the function is called inside the scope.  A bound function can be
    pickled: with it go the function and the locks of its bubbles.  Where it is called
    the very same bubbles are used, or built from their locks if that is allowed, and
    the function, with arguments that a ``functools.partial`` holds, is unpickled inside
    the scope::

        with ProcessPoolExecutor() as pool:
            pool.submit(om.bind(work, "numpy==1.26.4"), 3)

    Args:
        function: a function with a name, a method, a ``functools.partial`` of such, or a
            class; also a coroutine function or a generator, whose body runs in the scope.
        sources: as for ``use``; or one scope, for example that of ``om.home(obj)``.
        install: build the bubbles if they are missing, here or where the function is
            called; by default as configured there (``OMNIPKG_META_INSTALL``).
        share: as for ``use``; main is that of the process where the function is called.
        adopt: as for ``use``, and of that main.
        hermetic: as for ``use``.
        store: the store to look in, here and there; by default the configured one.
        dumps: what pickles the function instead of ``pickle.dumps``, for example
            ``cloudpickle.dumps``, whose pickles hold functions of the program itself; the
            other process has to have it too.  ``pickle.loads`` loads its pickles.

    Returns:
        The bound function, with the same signature.

    Raises:
        BindError: it is a lambda, which nobody could find by its name.
        RequirementError: a requirement is malformed.
        TypeError: it cannot be called, or a source is none.
    """
    if not callable(function):
        raise TypeError(f"bind() takes a function, and {function!r} cannot be called")
    if getattr(function, "__name__", "") == "<lambda>":
        raise BindError(
            "a lambda cannot be bound",
            cause="it has no name by which another process could find it",
            tip="make it a function with a name, at the top of a module",
        )
    if dumps is not None:
        check_pickler(dumps)
    options = {"share": share, "adopt": adopt, "hermetic": hermetic}
    return Bound(function, scope_of(sources, install=install, store=store, **options), dumps)


def scope_of(sources: tuple[Source | Scope, ...], **options: Any) -> Scope:
    """Return the scope of sources, or the one scope that was given in their place.

    Raises:
        TypeError: a scope was given with anything besides.
    """
    scopes = [one for one in sources if isinstance(one, Scope)]
    if not scopes:
        return scope.use(*(one for one in sources if not isinstance(one, Scope)), **options)
    if len(sources) > 1 or any(options.values()):
        raise TypeError("a scope is given alone: it says already what it is made of")
    return scopes[0]


def run_in(inside: Scope, function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function that calls another one inside a scope, as the decorator does."""

    def make(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with inside:
            return function(*args, **kwargs)

    return make if inspect.isclass(function) else inside(function)


def name_of(function: object) -> str:
    """Return what to call a function in messages."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", repr(function)))


@functools.lru_cache(maxsize=256)
def _opened(function: FunctionType, inside: Scope) -> dict[str, Any]:
    """Return what a bound function has of a function that is found by its name.

    The same for each of thousands of tasks, which are called once, each.
    """
    bound: Bound[..., Any] = Bound.__new__(Bound)
    bound._take(function, inside, None)
    return vars(bound)


def _of_its_name(function: FunctionType) -> object:
    """Return what the name of a function leads to; None for nothing."""
    found: object = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found


def _gave_its_name(function: FunctionType, found: object) -> bool:
    """Tell whether a bound function has the name of its function: ``f = bind(f, ...)``."""
    return isinstance(found, Bound) and found._parcel is None and found._function is function


class _Original:
    """The function that a bound one of the same name was made of."""

    def __init__(self, function: FunctionType) -> None:
        self._place = (function.__module__, function.__qualname__)

    def __reduce__(self) -> tuple[Any, ...]:
        return _original, self._place


def _original(module: str, qualified_name: str) -> object:
    found = by_name(module, qualified_name)
    return found._function if isinstance(found, Bound) else found


def _arrive(parcel: Parcel, asynchronous: bool) -> Bound[Any, Any]:
    # Nothing more: an error while a pool unpickles a task ends the worker, or hangs the pool.
    bound: Bound[Any, Any] = Bound.__new__(Bound)
    bound._parcel = parcel
    bound._name = parcel.what
    bound._run = None
    bound._mark(asynchronous=asynchronous)
    return bound


def _deliver(name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that was sent here; what a pool could not pickle is said clearly."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    if frame.f_globals.get("__name__") not in _POOLS:
        return call(*args, **kwargs)
    try:
        result = call(*args, **kwargs)
    except Exception as error:
        if _is_known_outside(error):
            raise
        raise _undeliverable(name, f"raised {type(error).__qualname__}: {error}", error) from error
    if not _is_known_outside(result):
        raise _undeliverable(name, "returned an object", result)
    return result


def _is_known_outside(thing: object) -> bool:
    """Tell whether the class of an object is found by its name outside of the scope."""
    module: object = type(thing).__module__
    if not isinstance(module, str) or module.partition(".")[0] not in CLAIMED:
        return True
    try:
        pickle.dumps(type(thing))
    except (pickle.PicklingError, ImportError, AttributeError):
        return False
    return True


def _undeliverable(name: str, did: str, thing: object) -> BindError:
    kind = type(thing)
    return BindError(
        f"{name} {did}, which this pool cannot carry",
        cause=f"{kind.__module__}.{kind.__qualname__} is the bubble's, and the pool pickles "
        "outside of the scope",
        tip="use omnipkg_meta.ScopedExecutor, or return plain data",
    )
