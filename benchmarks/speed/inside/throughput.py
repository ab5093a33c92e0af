"""How often threads and tasks alternate between versions: run in main by ``throughput.py``.

    python throughput.py THREADS TASKS COUNT VERSION...

Prints one JSON object: the seconds of one activation, in which the package is imported and
found to be that of the version.  ``plain tasks`` do the same without a scope.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from contextlib import nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Any

import omnipkg_meta as om

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Measure, and print the seconds."""
    threads, tasks, count = map(int, sys.argv[1:4])
    versions = sys.argv[4:]
    scopes = [om.use(f"rich=={one}") for one in versions]
    pairs = [(scope, _module(scope, one)) for scope, one in zip(scopes, versions, strict=True)]
    seconds = {
        "one thread": _threads(_entering, pairs, 1, count),
        "threads": _threads(_entering, pairs, threads, count),
        "one thread, use": _threads(_using, pairs, 1, count // 4),
        "threads, use": _threads(_using, pairs, threads, count // 4),
    }
    import rich

    turns = max(count // tasks, 1)
    plain = [(nullcontext(), rich)] * len(pairs)
    seconds["plain tasks"] = asyncio.run(_tasks(plain, tasks, turns))
    seconds["tasks"] = asyncio.run(_tasks(pairs, tasks, turns))
    print(json.dumps(seconds))


def _module(scope: Any, version: str) -> Any:
    with scope:
        import rich
    if version not in (rich.__file__ or ""):
        raise SystemExit(f"the wrong version was seen: {rich.__file__}")
    return rich


def _entering(pairs: list[tuple[Any, Any]], turns: int) -> None:
    for _ in range(turns):
        for scope, expected in pairs:
            with scope:
                import rich

                if rich is not expected:
                    raise AssertionError(f"the wrong version was seen: {rich.__file__}")


def _using(pairs: list[tuple[Any, Any]], turns: int) -> None:
    asked = [(scope.sources[0], expected) for scope, expected in pairs]
    for _ in range(turns):
        for requirement, expected in asked:
            with om.use(requirement):
                import rich

                if rich is not expected:
                    raise AssertionError(f"the wrong version was seen: {rich.__file__}")


def _threads(
    work: Callable[[list[tuple[Any, Any]], int], None],
    pairs: list[tuple[Any, Any]],
    threads: int,
    count: int,
) -> float:
    """Return the seconds of one activation, where so many threads do them."""
    turns = count // threads // len(pairs)
    ready = threading.Barrier(threads + 1)
    wrong: list[BaseException] = []

    def run(number: int) -> None:
        # Each begins with another version.
        mine = pairs[number % len(pairs) :] + pairs[: number % len(pairs)]
        ready.wait()
        try:
            work(mine, turns)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
            wrong.append(error)

    working = [threading.Thread(target=run, args=(one,)) for one in range(threads)]
    for one in working:
        one.start()
    ready.wait()
    start = perf_counter()
    for one in working:
        one.join()
    taken = perf_counter() - start
    if wrong:
        raise SystemExit(f"{len(wrong)} of {threads} threads failed: {wrong[0]!r}")
    return taken / (turns * threads * len(pairs))


async def _tasks(pairs: list[tuple[Any, Any]], tasks: int, turns: int) -> float:
    """Return the seconds of one activation, where tasks give way to each other in each."""

    async def work(number: int) -> None:
        for turn in range(turns):
            scope, expected = pairs[(number + turn) % len(pairs)]
            with scope:
                import rich

                before = rich
                await asyncio.sleep(0)
                import rich

                if not (rich is before is expected):
                    raise AssertionError(f"the wrong version was seen: {rich.__file__}")

    start = perf_counter()
    await asyncio.gather(*(work(number) for number in range(tasks)))
    return (perf_counter() - start) / (tasks * turns)


if __name__ == "__main__":
    main()
