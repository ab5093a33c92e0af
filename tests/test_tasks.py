"""asyncio: tasks that interleave keep their scopes apart, and none is left behind."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


@pytest.fixture
def name(world: World) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, and 0.5 in main."""
    name = world.name()
    world.versions(
        name,
        "1.0",
        "2.0",
        main="0.5",
        files={
            f"{name}/__init__.py": "__version__ = 'VERSION'\n",
            f"{name}/sub.py": "version = 'VERSION'\n",
        },
    )
    return name


class Turns:
    """Lets tasks run in a fixed order, one step each."""

    def __init__(self, tasks: int) -> None:
        self._events = [asyncio.Event() for _ in range(tasks)]
        self._events[0].set()

    async def take(self, task: int) -> None:
        await self._events[task].wait()
        self._events[task].clear()

    def give(self, task: int) -> None:
        self._events[(task + 1) % len(self._events)].set()


async def look(turns: Turns, task: int, name: str, version: str | None) -> list[str]:
    found = []
    if version is None:
        for _ in range(4):
            await turns.take(task)
            found.append(seen(name))
            turns.give(task)
        return found
    await turns.take(task)
    async with om.use(f"{name}=={version}"):
        for _ in range(3):
            found.append(seen(name))
            turns.give(task)
            await turns.take(task)
        found.append(importlib.import_module(f"{name}.sub").version)
    turns.give(task)
    return found


def test_tasks_that_interleave_see_a_version_each_and_a_bystander_sees_main(name: str) -> None:
    async def main() -> list[list[str]]:
        turns = Turns(3)
        versions = ("1.0", None, "2.0")
        return await asyncio.gather(
            *[look(turns, task, name, version) for task, version in enumerate(versions)]
        )

    assert asyncio.run(main()) == [["1.0"] * 4, ["0.5"] * 4, ["2.0"] * 4]
    assert seen(name) == "0.5"


def test_many_tasks_with_awaits_inside_the_scope(name: str) -> None:
    async def alternate(task: int) -> bool:
        right = True
        for turn in range(20):
            version = ("1.0", "2.0")[(task + turn) % 2]
            with om.use(f"{name}=={version}"):
                await asyncio.sleep(0)
                right &= seen(name) == version
                await asyncio.sleep(0)
                right &= sys.modules[name].__version__ == version
            await asyncio.sleep(0)
            right &= seen(name) == "0.5"
        return right

    async def main() -> list[bool]:
        return await asyncio.gather(*map(alternate, range(20)))

    assert asyncio.run(main()) == [True] * 20


def test_a_task_keeps_the_scope_in_which_it_was_made(name: str) -> None:
    async def main() -> tuple[str, str]:
        with om.use(f"{name}==1.0"):
            task = asyncio.create_task(later())
        return await task, seen(name)

    async def later() -> str:
        await asyncio.sleep(0)
        return seen(name)

    assert asyncio.run(main()) == ("1.0", "0.5")


def test_a_scope_that_a_task_enters_does_not_reach_its_maker(name: str) -> None:
    async def main() -> tuple[str, str]:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def stay() -> str:
            async with om.use(f"{name}==1.0"):
                entered.set()
                await leave.wait()
                return seen(name)

        task = asyncio.create_task(stay())
        await entered.wait()
        found = seen(name)
        leave.set()
        return found, await task

    assert asyncio.run(main()) == ("0.5", "1.0")


# New in 3.11, and so unknown to a type checker that looks as 3.10.
TaskGroup: Any = vars(asyncio).get("TaskGroup")
Group: Any = vars(builtins).get("BaseExceptionGroup")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup came with 3.11")
def test_the_tasks_of_a_task_group_keep_apart(name: str) -> None:
    async def main() -> list[str]:
        async with om.use(f"{name}==1.0"):
            async with TaskGroup() as group:
                inherited = group.create_task(step(None))
                own = group.create_task(step("2.0"))
                outside = group.create_task(step("main"))
            return [inherited.result(), own.result(), outside.result(), seen(name)]

    async def step(version: str | None) -> str:
        await asyncio.sleep(0)
        if version is None:
            return seen(name)
        async with om.use(om.main if version == "main" else f"{name}=={version}"):
            await asyncio.sleep(0)
            return seen(name)

    assert asyncio.run(main()) == ["1.0", "2.0", "0.5", "1.0"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup came with 3.11")
def test_a_task_group_that_fails_inside_the_scope_leaves_it(name: str) -> None:
    log: list[str] = []

    async def fail(inside: asyncio.Event) -> None:
        await inside.wait()
        raise ValueError

    async def wait(inside: asyncio.Event) -> None:
        async with om.use(f"{name}==2.0"):
            inside.set()
            try:
                await asyncio.Event().wait()
            finally:
                log.append(seen(name))

    async def main() -> str:
        inside = asyncio.Event()
        with pytest.raises(Group) as caught:  # noqa: PT012
            async with om.use(f"{name}==1.0"), TaskGroup() as group:
                group.create_task(wait(inside))
                group.create_task(fail(inside))
        assert [type(one) for one in caught.value.exceptions] == [ValueError]
        return seen(name)

    assert asyncio.run(main()) == "0.5"
    assert log == ["2.0"]


@pytest.mark.parametrize("form", ["with", "async with", "decorator"])
def test_cancellation_inside_the_scope_leaves_it(name: str, form: str) -> None:
    log = []
    scope = om.use(f"{name}==1.0")

    async def wait(inside: asyncio.Event) -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("inside " + seen(name))

    async def stay(inside: asyncio.Event) -> None:
        try:
            if form == "with":
                with scope:
                    await wait(inside)
            elif form == "async with":
                async with scope:
                    await wait(inside)
            else:
                await scope(wait)(inside)
        finally:
            log.append("after " + seen(name))

    async def main() -> str:
        inside = asyncio.Event()
        task = asyncio.create_task(stay(inside))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen(name)

    assert asyncio.run(main()) == "0.5"
    assert log == ["inside 1.0", "after 0.5"]


def test_a_scope_is_caught_by_cancellation_while_it_is_prepared_and_changes_nothing(
    name: str,
) -> None:
    async def main() -> str:
        async def enter() -> None:
            async with om.use(f"{name}==1.0"):
                await asyncio.Event().wait()

        task = asyncio.create_task(enter())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen(name)

    assert asyncio.run(main()) == "0.5"


def test_an_async_generator_that_is_closed_in_another_context_leaves_the_scope(name: str) -> None:
    log = []

    async def look() -> AsyncGenerator[str, None]:
        async with om.use(f"{name}==1.0"):
            try:
                yield seen(name)
            finally:
                log.append("closed")

    async def main() -> tuple[str, str]:
        generator = look()

        async def start() -> str:
            return await generator.__anext__()

        async def close() -> None:
            await generator.aclose()

        first = await asyncio.create_task(start())
        await asyncio.create_task(close())
        return first, seen(name)

    assert asyncio.run(main()) == ("1.0", "0.5")
    assert log == ["closed"]


def test_an_async_generator_that_is_left_open_is_closed_by_the_loop(name: str) -> None:
    log = []

    @om.use(f"{name}==1.0")
    async def look() -> AsyncIterator[str]:
        try:
            yield seen(name)
        finally:
            log.append("closed " + seen(name))

    async def main() -> str:
        async for one in look():
            return one
        return "nothing"

    assert asyncio.run(main()) == "1.0"
    assert log == ["closed 1.0"]


def test_to_thread_takes_the_scope_along_and_an_executor_does_not(name: str) -> None:
    async def main() -> tuple[str, str]:
        async with om.use(f"{name}==1.0"):
            loop = asyncio.get_running_loop()
            return await asyncio.to_thread(seen, name), await loop.run_in_executor(None, seen, name)

    assert asyncio.run(main()) == ("1.0", "0.5")


def test_callbacks_of_the_loop_run_in_the_scope_in_which_they_were_given(name: str) -> None:
    async def main() -> list[str]:
        found: list[str] = []
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        with om.use(f"{name}==1.0"):
            loop.call_soon(lambda: found.append(seen(name)))
        loop.call_soon(lambda: found.append(seen(name)))
        loop.call_soon(done.set)
        await done.wait()
        return found

    assert asyncio.run(main()) == ["1.0", "0.5"]


def test_a_scope_is_entered_with_async_with_outside_of_asyncio(name: str) -> None:
    async def look() -> str:
        async with om.use(f"{name}==1.0"):
            return seen(name)

    coroutine = look()
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == "1.0"
