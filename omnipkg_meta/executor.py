"""An executor that carries a scope: what is submitted to it runs there, in threads or processes.

Owns what is handed to the executor that does the work, and how its answer comes back.
Must not know how a scope gets to another process.
"""

from __future__ import annotations

import itertools
import sys
import threading
import traceback
from concurrent.futures import Executor, Future, wait
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar

from omnipkg_meta import scope
from omnipkg_meta.bound import name_of, run_in, scope_of
from omnipkg_meta.errors import BindError
from omnipkg_meta.passage import Parcel, check_pickler, dumps, loads
from omnipkg_meta.sources import main

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from omnipkg_meta.passage import Pickler
    from omnipkg_meta.scope import Scope
    from omnipkg_meta.sources import Source
    from omnipkg_meta.store.store import Store

__all__ = ["RemoteTraceback", "ScopedExecutor"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ScopedExecutor(Executor):
    """An executor whose functions run in a scope, done by another executor.

    Where that one has processes, functions, arguments, results and exceptions are
    pickled and unpickled inside the scope, so that all of them may be the bubble's::

        with om.ScopedExecutor(ProcessPoolExecutor, "numpy==1.26.4") as pool:
            means = pool.map(mean, arrays)

    Args:
        executor: an executor, which stays the caller's and is not shut down with this
            one, so that several scopes can share it; or what makes one when it is
            called, for example ``ProcessPoolExecutor`` or a ``functools.partial`` of it.
        sources: as for ``bind``.
        install: as for ``bind``.
        share: as for ``bind``.
        adopt: as for ``bind``.
        hermetic: as for ``bind``.
        store: as for ``bind``.
        dumps: as for ``bind``; it pickles arguments, results and exceptions, too.

    Raises:
        TypeError: it is no executor, or one of subinterpreters, which the hooks do not reach;
            or a source is none.
        RequirementError: a requirement is malformed.
    """

    def __init__(
        self,
        executor: Executor | Callable[[], Executor],
        *sources: Source | Scope,
        install: bool | None = None,
        share: Sequence[str] = (),
        adopt: Sequence[str] = (),
        hermetic: bool = False,
        store: Store | str | os.PathLike[str] | None = None,
        dumps: Pickler | None = None,
    ) -> None:
        options = {"share": share, "adopt": adopt, "hermetic": hermetic}
        self._scope = scope_of(sources, install=install, store=store, **options)
        if dumps is not None:
            check_pickler(dumps)
        self._pickler = dumps
        self._owned = not isinstance(executor, Executor)
        self._executor = executor if isinstance(executor, Executor) else executor()
        try:
            _check(self._executor)
        except TypeError:
            if self._owned and isinstance(self._executor, Executor):
                self._executor.shutdown()
            raise
        self._lock = threading.RLock()  # an executor may call what it is given at once
        self._futures: set[Future[Any]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<{self._executor!r} in {self._scope!r}>"

    @property
    def scope(self) -> Scope:
        """The scope that functions run in."""
        return self._scope

    def submit(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]:
        """Have a function called in the scope.

        Returns:
            A future of what it returns.  Its ``exception()`` is a ``BindError`` where
            something could not be pickled inside the scope either, and what
            :meth:`Bound.__call__ <omnipkg_meta.bound.Bound.__call__>` raises where the bubble
            is missing.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            inner = self._executor.submit(Errand(self._scope, self._pickler, fn, args, kwargs))
            future: Carried[_R] = Carried(inner)
            self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        inner.add_done_callback(partial(_settle, future, self._scope))
        return future

    def map(
        self,
        fn: Callable[..., _R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **options: Any,
    ) -> Iterator[_R]:
        """Have a function called for each of many arguments, as ``Executor.map`` does.

        Args:
            fn: the function.
            iterables: of its arguments.
            timeout: seconds to wait for the results.
            chunksize: how many calls are sent at once.
            **options: what this Python's ``Executor.map`` takes besides.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **options)
        batches = _batches(zip(*iterables, strict=False), chunksize)
        several = super().map(Each(fn), batches, timeout=timeout, **options)
        return itertools.chain.from_iterable(several)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more functions; end the executor that does the work if it was made here.

        Args:
            wait: wait until all that was submitted here is done.
            cancel_futures: cancel what was submitted here and has not begun.
        """
        with self._lock:
            self._closed = True
            pending = list(self._futures)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if self._owned:
            self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            _wait(pending)


_wait = wait


def _check(executor: object) -> None:
    if not isinstance(executor, Executor):
        raise TypeError(f"an executor is needed, or what makes one, and not {executor!r}")
    # Looked up, and not imported: nobody has one whose module is not loaded.
    interpreters = sys.modules.get("concurrent.futures.interpreter")
    if interpreters is not None and isinstance(executor, interpreters.InterpreterPoolExecutor):
        raise BindError(
            "an InterpreterPoolExecutor cannot carry a scope",
            cause="a subinterpreter has modules of its own, out of reach of this one's hooks",
            tip="use ThreadPoolExecutor or ProcessPoolExecutor",
        )


class Each(Generic[_R]):
    """A function called for several arguments at once."""

    def __init__(self, function: Callable[..., _R]) -> None:
        self._function = function
        self.__qualname__ = name_of(function)

    def __call__(self, batch: Sequence[tuple[Any, ...]]) -> list[_R]:
        return [self._function(*arguments) for arguments in batch]


def _batches(items: Iterable[_R], size: int) -> Iterator[list[_R]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


class Carried(Future[_R]):
    """The future of what an errand brings back."""

    def __init__(self, inner: Future[Any]) -> None:
        super().__init__()
        self._inner: Future[Any] | None = inner

    def cancel(self) -> bool:
        """Cancel the errand, unless it has begun."""
        inner = self._inner
        return super().cancel() if inner is None else inner.cancel()

    def running(self) -> bool:
        """Tell whether the errand is being run."""
        inner = self._inner
        return inner is not None and inner.running()

    def let_go(self) -> None:
        """Hold the answer itself no longer, which may be large: it is there, opened."""
        self._inner = None

    def withdraw(self) -> None:
        """Note that the errand was cancelled, and tell those who wait."""
        super().cancel()
        self.set_running_or_notify_cancel()


def _settle(future: Carried[Any], inside: Scope, inner: Future[Any]) -> None:
    """Give a future what its errand brought back; unpickle it inside the scope."""
    if inner.cancelled():
        future.withdraw()
    elif (error := inner.exception()) is not None:
        future.set_exception(error)
    elif isinstance(answer := inner.result(), Answer):
        _unpack(future, inside, answer)
    else:
        future.set_result(answer)
    future.let_go()


def _unpack(future: Carried[Any], inside: Scope, answer: Answer) -> None:
    try:
        value = loads(answer.data, inside if answer.inside else scope.use(main))
    except Exception as problem:  # noqa: BLE001  # whoever waits for the future has to see it
        future.set_exception(problem)
        return
    if answer.done:
        future.set_result(value)
    else:
        value.__cause__ = RemoteTraceback(answer.trace)
        future.set_exception(value)


class RemoteTraceback(Exception):  # noqa: N818  # it is no error, and named as multiprocessing's
    """The traceback of an exception in the process where it was raised, as a text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Answer(NamedTuple):
    """What an errand brings back from another process.

    Attributes:
        done: whether the function returned.
        data: the pickle of what it returned or raised.
        inside: whether that was pickled inside the scope.
        trace: the traceback of what it raised.
    """

    done: bool
    data: bytes
    inside: bool = True
    trace: str = ""


class Errand:
    """A function and its arguments, on the way to whoever calls it.

    Called in this process it gives what the function gives.  Pickled, it becomes
    one that gives an :class:`Answer`: so no executor has to be asked what it does.
    """

    def __init__(
        self,
        inside: Scope,
        pickler: Pickler | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._scope = inside
        self._pickler = pickler
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return run_in(self._scope, self._function)(*self._args, **self._kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        things = (self._function, self._args, self._kwargs)
        what = f"a call of {name_of(self._function)!r}"
        return SentErrand, (Parcel.pack(what, things, self._scope, self._pickler),)


class SentErrand:
    """An errand in the process that it was sent to."""

    def __init__(self, parcel: Parcel) -> None:
        self._parcel = parcel

    def __reduce__(self) -> tuple[Any, ...]:
        return SentErrand, (self._parcel,)

    def __call__(self) -> Answer:
        inside: Scope | None = None
        pickler: Pickler | None = None
        try:
            inside = self._parcel.passage.scope()
            function, args, kwargs = self._parcel.open(inside)
            pickler = self._parcel.find_pickler()
            result = run_in(inside, function)(*args, **kwargs)
            what = f"what {name_of(function)!r} returned"
            return Answer(done=True, data=dumps(result, inside, what=what, pickler=pickler))
        except BaseException as error:  # noqa: BLE001  # as a pool does: it is raised at the sender
            return _failure(error, inside, pickler)


def _failure(error: BaseException, inside: Scope | None, pickler: Pickler | None) -> Answer:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    where = inside or scope.use(main)
    try:
        data = dumps(error, where, what=f"the error {error!r}", pickler=pickler)
    except BindError as problem:
        data = dumps(problem, where, what="an error")
    return Answer(done=False, data=data, inside=inside is not None, trace=trace)
