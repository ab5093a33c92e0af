"""What a process with many realms, threads and scopes measures of itself.

    python benchmarks/in_one_process.py STORE REALMS THREADS NESTED ENTRIES

Run by ``benchmarks/scale.py``; prints one JSON object, the seconds that each thing
took.  Every import is checked to be that of the right bubble.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import omnipkg_meta as om

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnipkg_meta.scope import Scope

_LOOPS = 10_000
_ROUNDS = 9
#: Imports by all threads together.
_TOGETHER = 1_000_000


def main() -> None:
    """Measure, and print the seconds."""
    store, *counts = sys.argv[1:]
    realms, threads, nested, entries = map(int, counts)
    bubbles = om.Store(store).bubbles()
    scopes = [om.use(bubble) for bubble in bubbles if "common" in bubble.distributions]
    spare = scopes[realms:]
    del scopes[realms:]
    for scope in scopes:
        _load(scope)
    seconds = {
        "import": _inside(scopes[0], _imports),
        "scope": _best(lambda: _enters(scopes[0])),
        "modules": _best(lambda: [_timed(lambda: list(sys.modules)) for _ in range(5)][-1]),
        "load": _best(lambda: _timed(lambda: _load(spare.pop()))),
    }
    with _Waiting(scopes, threads):
        seconds["import, threads"] = _inside(scopes[0], _imports)
        seconds["scope, threads"] = _best(lambda: _enters(scopes[0]))
    with ExitStack() as stack:
        for number in range(nested):
            stack.enter_context(scopes[number % len(scopes)])
        seconds["import, nested"] = _inside(scopes[0], _imports)
        seconds["scope, nested"] = _best(lambda: _enters(scopes[0]))
    seconds["together"] = _together(scopes, threads)
    with tempfile.TemporaryDirectory() as place:
        _lengthen(Path(place), entries)
        seconds["import, entries"] = _inside(scopes[0], _imports)
        seconds["load, entries"] = _best(lambda: _timed(lambda: _load(spare.pop())))
    print(json.dumps(seconds))


def _load(scope: Scope) -> None:
    with scope:
        import common  # type: ignore[import-not-found]
    (bubble,) = scope.bubbles
    if not common.__file__.startswith(str(bubble.path)):
        raise SystemExit(f"the wrong module was imported: {common.__file__}")


def _lengthen(place: Path, entries: int) -> None:
    """Put so many directories before the others on ``sys.path``."""
    made = [place / str(number) for number in range(entries)]
    for one in made:
        one.mkdir()
    sys.path[:0] = map(str, made)


def _inside(scope: Scope, measure: Callable[[], float]) -> float:
    _load(scope)
    with scope:
        return _best(measure)


def _best(measure: Callable[[], float]) -> float:
    # The least: what the machine does besides only ever adds to it.
    return min(measure() for _ in range(_ROUNDS))


def _timed(action: Callable[[], Any]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


def _imports(loops: int = _LOOPS) -> float:
    turns = range(loops)
    start = perf_counter()
    for _ in turns:
        import common  # noqa: F401
    return (perf_counter() - start) / loops


def _enters(scope: Scope) -> float:
    turns = range(_LOOPS)
    start = perf_counter()
    for _ in turns:
        with scope:
            pass
    return (perf_counter() - start) / _LOOPS


class _Waiting:
    """Threads that each are in a scope of their own, have imported there, and wait."""

    def __init__(self, scopes: list[Scope], count: int) -> None:
        self._scopes = scopes
        self._count = count
        self._leave = threading.Event()
        self._there = threading.Barrier(count + 1)
        self._pool = ThreadPoolExecutor(count)

    def __enter__(self) -> _Waiting:
        self._waiting = [
            self._pool.submit(self._wait, self._scopes[number % len(self._scopes)])
            for number in range(self._count)
        ]
        self._there.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for one in self._waiting:
            one.result()
        self._pool.shutdown()

    def _wait(self, scope: Scope) -> None:
        with scope:
            _load(scope)
            self._there.wait()
            self._leave.wait()


def _together(scopes: list[Scope], count: int) -> float:
    """Return the seconds of an import where so many threads import in turns, each its own."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)  # else each would do all of its work in its first turn
    ready = threading.Barrier(count + 1)

    def work(scope: Scope) -> None:
        with scope:
            import common

            mine = common
            ready.wait()
            for _ in range(_TOGETHER // count // 100):
                _imports(100)
                import common

                if common is not mine:
                    raise SystemExit(f"a thread got the module of another: {common.__file__}")

    try:
        with ThreadPoolExecutor(count) as pool:
            working = [pool.submit(work, scopes[one % len(scopes)]) for one in range(count)]
            ready.wait()
            start = perf_counter()
            for one in working:
                one.result()
            return (perf_counter() - start) / _TOGETHER
    finally:
        sys.setswitchinterval(interval)


if __name__ == "__main__":
    main()
