"""The scoped executor as an executor: futures, order, cancelling, ending, and what it refuses."""

from __future__ import annotations

import asyncio
import functools
import pickle
import sys
import threading
import weakref
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures import TimeoutError as FuturesTimeoutError
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import BindError, BubbleNotFoundError
from omnipkg_meta.executor import ScopedExecutor
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Install, Wheelhouse


@pytest.fixture
def name(world: World) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, and 0.5 in main."""
    name = world.name()
    world.versions(name, "1.0", "2.0", main="0.5")
    return name


class Sending(Executor):
    """An executor that pickles what it is given and what comes of it, as one of processes does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            sent = pickle.loads(pickle.dumps(functools.partial(fn, *args, **kwargs)))
            future.set_result(pickle.loads(pickle.dumps(sent())))
        except Exception as error:  # noqa: BLE001  # the future carries it
            future.set_exception(error)
        return future


def later(barrier: threading.Event, name: str) -> str:
    assert barrier.wait(60)
    return seen(name)


def fails(name: str) -> None:
    raise KeyError(seen(name))


def test_threads_run_each_function_in_the_scope_of_its_executor(name: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        one, two = (ScopedExecutor(pool, f"{name}=={version}") for version in ("1.0", "2.0"))
        futures = [executor.submit(seen, name) for executor in (one, two) * 20]
        assert [future.result() for future in futures] == ["1.0", "2.0"] * 20
        assert pool.submit(seen, name).result() == "0.5"
        error = one.submit(fails, name).exception()
        assert isinstance(error, KeyError)
        assert error.args == ("1.0",)
        assert one.submit(lambda: seen(name)).result() == "1.0"
        assert one.scope is om.use(f"{name}==1.0")
        assert "ThreadPoolExecutor" in repr(one)


def test_map_keeps_the_order_and_takes_chunks_and_a_timeout(name: str) -> None:
    def look(number: int, other: int) -> tuple[int, int, str]:
        return number, other, seen(name)

    with ScopedExecutor(lambda: ThreadPoolExecutor(4), f"{name}==1.0") as executor:
        expected = [(number, number + 100, "1.0") for number in range(10)]
        for size in (1, 3, 50):
            found = executor.map(look, range(10), range(100, 110), chunksize=size)
            assert list(found) == expected
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(look, [1], [2], chunksize=0)
        event = threading.Event()
        results = executor.map(functools.partial(later, event), [name], timeout=0.01)
        with pytest.raises(FuturesTimeoutError):
            next(results)
        event.set()


def test_futures_are_those_that_everybody_knows(name: str) -> None:
    event = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        executor = ScopedExecutor(pool, f"{name}==1.0")
        first = executor.submit(later, event, name)
        second = executor.submit(later, event, name)
        third = executor.submit(seen, name)
        assert not second.running()
        assert second.cancel()
        assert second.cancelled()
        assert second.cancel()
        with pytest.raises(CancelledError):
            second.result(60)
        called: list[Future[str]] = []
        third.add_done_callback(called.append)
        event.set()
        assert first.result(60) == "1.0"
        assert not first.cancel()
        assert set(as_completed([first, second, third], 60)) == {first, second, third}
        assert wait([first, second, third], 60).not_done == set()
        assert called == [third]

        async def in_a_loop() -> str:
            return await asyncio.wrap_future(executor.submit(seen, name))

        assert asyncio.run(in_a_loop()) == "1.0"


def test_an_executor_that_was_given_stays_open_and_one_made_here_ends(name: str) -> None:
    made: list[ThreadPoolExecutor] = []

    def make() -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(1))
        return made[0]

    with ThreadPoolExecutor(1) as pool:
        given = ScopedExecutor(pool, f"{name}==1.0")
        own = ScopedExecutor(make, f"{name}==1.0")
        event = threading.Event()
        running, waiting = (given.submit(later, event, name) for _ in range(2))
        given.shutdown(wait=False, cancel_futures=True)
        assert waiting.cancelled()
        event.set()
        given.shutdown()
        assert running.done()
        assert running.result() == "1.0"
        own.shutdown()
        for closed in (given, own):
            with pytest.raises(RuntimeError, match="after shutdown"):
                closed.submit(seen, name)
        assert pool.submit(seen, name).result() == "0.5"
        with pytest.raises(RuntimeError, match="after shutdown"):
            made[0].submit(seen, name)


def test_errands_are_opened_in_the_scope_and_so_are_their_answers(
    world: World, wheelhouse: Wheelhouse, install: Install
) -> None:
    only = world.name("only")
    text = (
        "class Thing:\n    pass\nclass Trouble(Exception):\n    def __init__(self):\n        pass\n"
    )
    wheelhouse.make(only, "1.0", {f"{only}.py": text})
    install(only)
    with om.use(only):
        module = __import__(only)
    executor = ScopedExecutor(Sending(), only)
    assert type(executor.submit(same, module.Thing()).result()) is module.Thing
    assert (
        list(map(type, executor.map(same, [module.Thing()] * 5, chunksize=2))) == [module.Thing] * 5
    )
    error = executor.submit(throw, module.Trouble()).exception()
    assert error is not None
    assert type(error) is module.Trouble
    assert "in throw" in str(error.__cause__)
    for unsendable in (threading.Lock, give_a_local):
        problem = executor.submit(unsendable).exception()
        assert isinstance(problem, BindError)
        assert "returned cannot be sent" in problem.message
    problem = executor.submit(same, threading.Lock()).exception()
    assert isinstance(problem, BindError)
    assert problem.message == "a call of 'same' cannot be sent to another process"
    problem = executor.submit(throw_a_local).exception()
    assert isinstance(problem, BindError)
    assert "throw_a_local" in str(problem.__cause__)


def same(thing: Any) -> Any:
    return thing


def throw(error: BaseException) -> None:
    raise error


def give_a_local() -> object:
    return lambda: None


def throw_a_local() -> None:
    class Local(Exception):  # noqa: N818
        pass

    raise Local


class Unloadable(Exception):  # noqa: N818  # as many a library has it
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


def test_an_error_that_cannot_be_unpickled_is_the_futures_and_not_the_pools_end(
    world: World, wheelhouse: Wheelhouse, install: Install
) -> None:
    some = world.name()
    wheelhouse.make(some, "1.0")
    install(some)
    executor = ScopedExecutor(Sending(), some)
    assert isinstance(executor.submit(throw, Unloadable(1, 2)).exception(), TypeError)
    assert executor.submit(same, 3).result() == 3


def test_a_missing_bubble_is_the_futures_error(
    world: World, wheelhouse: Wheelhouse, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = world.name()
    wheelhouse.make(some, "1.0")
    install(some)
    refused = ScopedExecutor(Sending(), some)
    builds = ScopedExecutor(Sending(), some, install=True)
    assert (refused.submit(seen, some).result(), builds.submit(seen, some).result()) == (
        "1.0",
        "1.0",
    )
    monkeypatch.setenv("OMNIPKG_META_STORE", str(world.path / "other"))
    error = refused.submit(seen, some).exception()
    assert isinstance(error, BubbleNotFoundError)
    assert builds.submit(seen, some).result() == "1.0"
    assert refused.submit(seen, some).result() == "1.0"
    with ThreadPoolExecutor(1) as pool:
        missing = ScopedExecutor(pool, f"{some}==9").submit(seen, some).exception()
    assert isinstance(missing, BubbleNotFoundError)


def test_what_is_no_executor_is_refused(name: str) -> None:
    for wrong in (3, "thread", lambda: 3):
        with pytest.raises(TypeError):
            ScopedExecutor(wrong, f"{name}==1.0")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs at least one"):
        ScopedExecutor(ThreadPoolExecutor)
    with ScopedExecutor(ProcessPoolExecutor, f"{name}==1.0") as unused:
        assert repr(unused).startswith("<<concurrent.futures.process.ProcessPoolExecutor")


def test_an_executor_of_subinterpreters_is_refused_and_ended_if_it_was_made_here(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            ended.append(self)
            super().shutdown(wait, cancel_futures=cancel_futures)

    if sys.version_info >= (3, 14):
        from concurrent.futures import interpreter

        monkeypatch.setattr(interpreter, "InterpreterPoolExecutor", Pool)
    else:
        stand_in: Any = ModuleType("concurrent.futures.interpreter")
        stand_in.InterpreterPoolExecutor = Pool
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    with pytest.raises(BindError, match="InterpreterPoolExecutor cannot carry a scope"):
        ScopedExecutor(Pool, f"{name}==1.0")
    assert len(ended) == 1
    with Pool() as pool:
        with pytest.raises(BindError, match="InterpreterPoolExecutor cannot carry a scope"):
            ScopedExecutor(pool, f"{name}==1.0")
        assert len(ended) == 1


def test_what_an_errand_brought_back_is_held_once(
    world: World, wheelhouse: Wheelhouse, install: Install
) -> None:
    some = world.name()
    wheelhouse.make(some, "1.0")
    install(some)
    inner = Sending()
    answers: list[weakref.ref[Future[Any]]] = []
    submit = inner.submit

    def noted(*arguments: Any) -> Future[Any]:
        future = submit(*arguments)
        answers.append(weakref.ref(future))
        return future

    inner.submit = noted  # type: ignore[method-assign]
    future = ScopedExecutor(inner, some).submit(bytes, 1000)
    assert future.result() == bytes(1000)
    assert not future.cancel()
    assert not future.running()
    assert [answer() for answer in answers] == [None]


def test_a_bound_function_that_arrived_is_freed_with_its_last_name(
    world: World, wheelhouse: Wheelhouse, install: Install
) -> None:
    some = world.name()
    wheelhouse.make(some, "1.0")
    install(some)
    bound = pickle.loads(pickle.dumps(om.bind(functools.partial(same, Held()), some)))
    held = weakref.ref(bound())
    assert held() is not None
    del bound
    assert held() is None, "it waits for the garbage collector"


class Held:
    pass


def test_many_threads_submit_while_others_run_and_all_see_their_version(name: str) -> None:
    barrier = threading.Barrier(6, timeout=60)
    wrong: list[object] = []

    def submit(executor: ScopedExecutor, version: str) -> None:
        barrier.wait()
        futures = [executor.submit(seen, name) for _ in range(50)]
        wrong.extend(one for one in futures if one.result(60) != version)

    with ThreadPoolExecutor(3) as pool:
        scoped = {version: ScopedExecutor(pool, f"{name}=={version}") for version in ("1.0", "2.0")}
        threads = [
            threading.Thread(target=submit, args=(scoped[version], version))
            for version in ("1.0", "2.0") * 3
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
