"""Scopes as decorators: in force whenever the body runs, and never in its caller."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def name(world: World) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, and 0.5 in main."""
    name = world.name()
    world.versions(name, "1.0", "2.0", main="0.5")
    return name


def test_a_decorated_function_runs_in_the_scope_and_keeps_its_name(name: str) -> None:
    @om.use(f"{name}==1.0")
    def look(prefix: str, *, suffix: str) -> str:
        """Look."""
        return prefix + seen(name) + suffix

    assert look("<", suffix=">") == "<1.0>"
    assert (look.__name__, look.__doc__) == ("look", "Look.")
    assert seen(name) == "0.5"


def test_a_decorated_method_and_a_partial_run_in_the_scope(name: str) -> None:
    class Looker:
        @om.use(f"{name}==1.0")
        def look(self) -> str:
            return seen(name)

    assert Looker().look() == "1.0"
    assert om.use(f"{name}==2.0")(functools.partial(seen, name))() == "2.0"


def test_a_decorated_coroutine_function_runs_in_the_scope(name: str) -> None:
    @om.use(f"{name}==1.0")
    async def look() -> tuple[str, str]:
        before = seen(name)
        await asyncio.sleep(0)
        return before, seen(name)

    async def main() -> tuple[tuple[str, str], str]:
        return await look(), seen(name)

    assert inspect.iscoroutinefunction(look)
    assert asyncio.run(main()) == (("1.0", "1.0"), "0.5")


def test_a_decorated_generator_is_in_the_scope_and_its_caller_is_not(name: str) -> None:
    @om.use(f"{name}==1.0")
    def look() -> Iterator[str]:
        yield seen(name)
        yield seen(name)

    found = []
    for one in look():
        found += [one, seen(name)]
    assert inspect.isgeneratorfunction(look)
    assert found == ["1.0", "0.5", "1.0", "0.5"]


def test_two_decorated_generators_that_interleave_keep_apart(name: str) -> None:
    def look() -> Iterator[str]:
        while True:
            yield seen(name)

    one, two = om.use(f"{name}==1.0")(look)(), om.use(f"{name}==2.0")(look)()
    assert [next(one), next(two), next(one), next(two)] == ["1.0", "2.0", "1.0", "2.0"]


def test_a_decorated_generator_is_sent_to_thrown_into_and_returns_in_its_scope(name: str) -> None:
    log: list[str] = []

    @om.use(f"{name}==1.0")
    def look() -> Any:
        log.append((yield "first") + seen(name))
        try:
            yield "second"
        except KeyError:
            log.append("thrown " + seen(name))
        yield "third"
        return "returned " + seen(name)

    generator = look()
    assert next(generator) == "first"
    assert generator.send("sent ") == "second"
    assert generator.throw(KeyError()) == "third"
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "returned 1.0"
    assert log == ["sent 1.0", "thrown 1.0"]
    assert seen(name) == "0.5"


def test_a_decorated_generator_is_closed_in_its_scope(name: str) -> None:
    log = []

    @om.use(f"{name}==1.0")
    def look() -> Iterator[None]:
        try:
            yield
        finally:
            log.append(seen(name))

    generator = look()
    next(generator)
    generator.close()  # type: ignore[attr-defined]
    assert log == ["1.0"]


def test_an_error_that_a_decorated_generator_does_not_catch_comes_out(name: str) -> None:
    @om.use(f"{name}==1.0")
    def look() -> Iterator[None]:
        yield

    generator = look()
    next(generator)
    with pytest.raises(KeyError):
        generator.throw(KeyError())  # type: ignore[attr-defined]
    assert seen(name) == "0.5"


def test_a_decorated_async_generator_is_in_the_scope_and_its_caller_is_not(name: str) -> None:
    log = []

    @om.use(f"{name}==1.0")
    async def look() -> AsyncIterator[str]:
        try:
            yield seen(name)
            await asyncio.sleep(0)
            yield seen(name)
        except KeyError:
            yield "thrown " + seen(name)
        finally:
            await asyncio.sleep(0)
            log.append("closed " + seen(name))

    async def main() -> list[str]:
        found = []
        async for one in look():
            found += [one, seen(name)]
        generator = look()
        await generator.__anext__()
        found.append(await generator.athrow(KeyError()))  # type: ignore[attr-defined]
        await generator.aclose()  # type: ignore[attr-defined]
        return [*found, seen(name)]

    assert inspect.isasyncgenfunction(look)
    assert asyncio.run(main()) == ["1.0", "0.5", "1.0", "0.5", "thrown 1.0", "0.5"]
    assert log == ["closed 1.0", "closed 1.0"]
