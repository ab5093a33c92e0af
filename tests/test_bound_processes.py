"""Bound functions and scoped executors in other processes, however those are started."""

from __future__ import annotations

import json
import multiprocessing
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.wheels import names
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.conftest import Install, Wheelhouse
    from tests.worlds import World

METHODS = [
    pytest.param(
        method,
        marks=pytest.mark.skipif(
            method not in multiprocessing.get_all_start_methods(), reason="not on this system"
        ),
    )
    for method in ("fork", "spawn", "forkserver")
]

SOURCE = """
    __version__ = "VERSION"
    class Thing:
        version = "VERSION"
        def __init__(self, value=0):
            self.value = value
        def more(self, by):
            if by < 0:
                raise Trouble(self, by)
            return Thing(self.value + by)
    class Trouble(Exception):
        version = "VERSION"
    """

#: A module of the user's, which is bound to main's version in every process.
TASKS = """
    import os
    import {name} as mains

    def look():
        import {name} as here
        return [here.__version__, mains.__version__, os.getpid()]

    def tell(pipe):
        pipe.send(look())
        pipe.close()

    def add(thing, by=1):
        import {name} as here
        return [type(thing) is here.Thing, thing.version, thing.value + by]

    def more(thing, by=1):
        return thing.more(by)
    """

START = """
    import functools, json, multiprocessing, os, sys
    from concurrent.futures import ProcessPoolExecutor
    import omnipkg_meta as om
    import {name}, tasks

    ONE, TWO = "{name}==1.0", "{name}==2.0"
    """


@pytest.fixture
def name(world: World, wheelhouse: Wheelhouse, install: Install) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, 0.5 in main, and a module of the user's."""
    name = world.name()
    text = textwrap.dedent(SOURCE)
    for version in ("1.0", "2.0"):
        wheelhouse.make(name, version, {f"{name}.py": text.replace("VERSION", version)})
        install(f"{name}=={version}")
    world.versions(name, main="0.5", files={f"{name}.py": text})
    world.module("tasks", TASKS.format(name=name))
    return name


def run(world: World, name: str, code: str, method: str) -> Any:
    program = textwrap.dedent(START.format(name=name)) + textwrap.dedent(code)
    # A fork in a program with threads is deprecated from 3.12, and pools have threads.
    options = () if method == "fork" else ("-W", "error")
    done = world.run(program, method, options=options)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("method", METHODS)
def test_processes_and_plain_pools_run_bound_functions_of_two_versions_in_turn(
    world: World, name: str, method: str
) -> None:
    code = """
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        seen = []
        for requirement in (ONE, TWO):
            ours, theirs = context.Pipe(duplex=False)
            # The connection goes with the payload.
            target = om.bind(functools.partial(tasks.tell, theirs), requirement)
            process = context.Process(target=target)
            process.start()
            theirs.close()
            seen.append(ours.recv())
            process.join()
        one, two = om.bind(tasks.look, ONE), om.bind(tasks.look, TWO)
        with context.Pool(2) as pool:
            asked = [pool.apply_async(bound) for bound in (one, two) * 4]
            seen += [one.get() for one in asked]
            seen += pool.starmap(one, [()] * 2)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            seen += [future.result() for future in [pool.submit(bound) for bound in (one, two) * 4]]
        assert os.getpid() not in [process for _, _, process in seen]
        print(json.dumps([versions for *versions, _ in seen]))
    """
    one, two = ["1.0", "0.5"], ["2.0", "0.5"]
    expected = [one, two] + [one, two] * 4 + [one] * 2 + [one, two] * 4
    assert run(world, name, code, method) == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_scoped_executor_carries_arguments_results_and_errors_of_its_bubble(
    world: World, name: str, method: str
) -> None:
    code = """
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        found = []
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            for requirement in (ONE, TWO):
                scope = om.use(requirement)
                with scope:
                    import {name} as here
                with om.ScopedExecutor(pool, requirement) as scoped:
                    thing = here.Thing(40)
                    found.append(scoped.submit(tasks.add, thing, by=2).result())
                    result = scoped.submit(tasks.more, thing).result()
                    found.append([type(result) is here.Thing, result.value])
                    things = [here.Thing(number) for number in range(5)]
                    for size in (1, 2):
                        results = list(scoped.map(tasks.more, things, [10] * 5, chunksize=size))
                        found.append([one.value for one in results])
                        found.append({type(one) for one in results} == {here.Thing})
                    error = scoped.submit(tasks.more, thing, -1).exception()
                    found.append([type(error) is here.Trouble, error.args[0].value, error.args[1]])
                    found.append("in more" in str(error.__cause__))
                    error = scoped.submit(functools.partial(tasks.more, 3)).exception()
                    found.append(type(error).__name__)
                    error = scoped.submit(lambda: 3).exception()
                    found.append(type(error).__name__)
            found.append(pool.submit(len, "open still").result())
        print(json.dumps(found))
    """
    sums = [10, 11, 12, 13, 14]

    def of(version: str) -> list[Any]:
        return [
            *([True, version, 42], [True, 41], sums, True, sums, True),
            *([True, 40, -1], True, "AttributeError", "BindError"),
        ]

    code = code.replace("{name}", name)
    assert run(world, name, code, method) == [*of("1.0"), *of("2.0"), 10]


@pytest.mark.parametrize("method", ["spawn"])
def test_what_a_plain_pool_cannot_carry_is_said_and_the_pool_lives_on(
    world: World, name: str, method: str
) -> None:
    code = """
    def told(error):
        return [type(error).__name__, *str(error).splitlines()]

    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        with om.use(ONE):
            import {name} as here
            thing = here.Thing(1)
        more = om.bind(functools.partial(tasks.more, thing), ONE)
        found = []
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found.append(told(pool.submit(more).exception()))
            found.append(told(pool.submit(more, -1).exception()))
            found.append(pool.submit(om.bind(tasks.look, ONE)).result()[:2])
        with context.Pool(1) as pool:
            try:
                pool.apply(more)
            except om.errors.BindError as error:
                found.append(told(error))
            found.append(pool.apply(om.bind(tasks.look, ONE))[:2])
        print(json.dumps(found))
    """
    code = code.replace("{name}", name).replace("om.errors.BindError", "TypeError")
    returned, raised, look, again, look_again = run(world, name, code, method)
    assert returned[:2] == ["BindError", "more returned an object, which this pool cannot carry"]
    assert returned[2].startswith(f"cause: {name}.Thing is the bubble's")
    assert returned[3].startswith("tip: use omnipkg_meta.ScopedExecutor")
    assert raised[1].startswith("more raised Trouble: (<")
    assert again == returned
    assert look == look_again == ["1.0", "0.5"]


@pytest.mark.parametrize("method", METHODS)
def test_workers_whose_store_lacks_the_bubble_build_it_once_from_the_lock(
    world: World, name: str, method: str
) -> None:
    code = """
    def facts():
        (bubble,) = om.current().bubbles
        version, *_ = tasks.look()
        return [version, str(bubble.path), dict(bubble.digests), bubble.lock.read_text()]

    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        (bubble,) = om.use(ONE).bubbles
        there = [dict(bubble.digests), bubble.lock.read_text()]
        bound = om.bind(facts, ONE, install=True)
        refused = om.bind(facts, TWO)
        bound.scope.bubbles, refused.scope.bubbles
        # The workers have another store; so has this process, from here on.
        os.environ["OMNIPKG_META_STORE"] = other = os.environ["OMNIPKG_META_STORE"] + "-of-workers"
        with ProcessPoolExecutor(4, mp_context=context) as pool:
            futures = [pool.submit(bound) for _ in range(16)]
            error = pool.submit(refused).exception()
            found = [future.result() for future in futures]
        print(json.dumps([
            [one[0] == "1.0", one[1].startswith(other), one[2:4] == there] for one in found
        ] + [type(error).__name__, str(error).splitlines()[-1]]))
        assert len({one[1] for one in found}) == 1
    """
    *found, error, tip = run(world, name, code, method)
    assert found == [[True, True, True]] * 16
    assert error == "BubbleNotFoundError"
    assert f"--store {world.store.path}" in tip
    other = world.store.tag_path.relative_to(world.store.path)
    assert len(names(world.path / "store-of-workers" / other)) == 1, "litter was left"


def test_a_worker_that_dies_breaks_the_pool_and_the_future_says_so(world: World, name: str) -> None:
    code = """
    if __name__ == "__main__":
        make = functools.partial(
            ProcessPoolExecutor, 1, mp_context=multiprocessing.get_context(sys.argv[1])
        )
        with om.ScopedExecutor(make, ONE) as pool:
            error = pool.submit(os._exit, 3).exception(60)
        print(json.dumps(type(error).__name__))
    """
    assert run(world, name, code, "spawn") == "BrokenProcessPool"
