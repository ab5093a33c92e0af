"""What tasks of several versions take on a Dask cluster of this machine.

    python on_dask.py NAME TASKS TURNS WORKERS FIRST REQUIREMENT...

A copy of it and of ``cluster_tasks.py``, outside of the checkout, is run by
``benchmarks/distributed.py`` and by its test; it prints one JSON object, in seconds (of turns
by the clock, and of the processor's time): of TURNS turns of TASKS tasks, which say where they
found the package NAME, without versions and with one REQUIREMENT after another, submitted one
by one and mapped; and of the first task of FIRST, a requirement of which the store has a
bubble, or not.  Every task has to have seen its own version.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from cluster_tasks import look
from distributed import Client, LocalCluster

import omnipkg_meta as om
from omnipkg_meta.integrations.dask import Bubbles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: How many versions take turns.
_VERSIONS = 3
_THREADS = 2


def main() -> None:
    """Measure, and print the seconds."""
    name, *counts, first = sys.argv[1:6]
    tasks, turns, workers = map(int, counts)
    requirements = sys.argv[6:]
    logging.getLogger("distributed").setLevel(logging.ERROR)
    options = {"n_workers": workers, "threads_per_worker": _THREADS, "dashboard_address": None}
    with (
        LocalCluster(**options) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        client.wait_for_workers(workers)
        begun = perf_counter()
        client.register_plugin(Bubbles(first, install=True))
        found = client.submit(om.bind(look, first), name, 0).result()
        took: dict[str, Any] = {"first": perf_counter() - begun}
        _check(name, [found], [first])
        client.register_plugin(Bubbles(*requirements))
        took |= _turns(client, name, requirements, tasks, turns)
    print(json.dumps(took))


def _turns(
    client: Any, name: str, requirements: Sequence[str], tasks: int, turns: int
) -> dict[str, list[tuple[float, float]]]:
    ways: dict[str, Sequence[Callable[..., Any]]] = {
        "without": [look],
        "with": [om.bind(look, one) for one in requirements],
    }
    took: dict[str, list[tuple[float, float]]] = {}
    for turn in range(turns + 1):
        # Whoever is first in one turn is last in the next.
        for way, functions in sorted(ways.items(), reverse=bool(turn % 2)):
            for how, send in _SENDING.items():
                used, begun = _used(client), perf_counter()
                found = client.gather(send(client, functions, name, tasks))
                seconds, used = perf_counter() - begun, _used(client) - used
                asked = ["" if way == "without" else one for one in requirements]
                _check(name, found, asked[: len(functions)])
                if turn:  # the first one loads the package in each worker
                    took.setdefault(f"{how}, {way}", []).append((seconds, used))
    return took


def _used(client: Any) -> float:
    """Return the processor's time of all workers, the scheduler and the client."""
    return process_time() + float(sum(client.run(process_time).values()))


def _submitted(
    client: Any, functions: Sequence[Callable[..., Any]], name: str, tasks: int
) -> list[Any]:
    count = len(functions)
    return [
        client.submit(functions[number % count], name, number, pure=False)
        for number in range(tasks)
    ]


def _mapped(
    client: Any, functions: Sequence[Callable[..., Any]], name: str, tasks: int
) -> list[Any]:
    futures: list[Any] = []
    for first in range(_VERSIONS):  # as many calls of map for both
        numbers = range(first, tasks, _VERSIONS)
        function = functions[first % len(functions)]
        futures += client.map(function, [name] * len(numbers), numbers, pure=False)
    return futures


_SENDING = {"submitted": _submitted, "mapped": _mapped}


def _check(name: str, found: Sequence[tuple[int, str]], asked: Sequence[str]) -> None:
    """See that each task has seen the version that it asked for; nothing stands for main's."""
    places = [om.Store().require([one]).path if one else None for one in asked]
    main = str(importlib.import_module(name).__file__)
    for number, file in found:
        place = places[number % len(places)]
        right = file == main if place is None else file.startswith(f"{place}/")
        if not right:
            raise AssertionError(f"task {number} saw {file}, and not {place or main}")


if __name__ == "__main__":
    main()
