"""How many activations threads and tasks do that alternate between three versions.

Owns which figures are made of what ``inside/throughput.py`` says.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

from benchmarks.speed.places import VERSIONS
from benchmarks.speed.rows import Other, Row

if TYPE_CHECKING:
    from benchmarks.speed.places import Places

__all__ = ["rows"]

_THREADS, _TASKS = 8, 1000
#: What omnipkg's page on PyPI says of ten threads and three versions of numpy.
_PUBLISHED = 502
_LEAST = 1000


def rows(places: Places, *, quick: bool) -> list[Row | Other]:
    """Measure both."""
    count, rounds = (6_000, 1) if quick else (600_000, 5)
    numbers = [str(one) for one in (_THREADS, _TASKS, count)]
    told = [
        json.loads(places.run(places.main, places.program("throughput.py"), *numbers, *VERSIONS))
        for _ in range(rounds)
    ]
    of = {key: statistics.median(one[key] for one in told) for key in told[0]}
    what = f"{_THREADS} threads alternating three versions with an import, beside 1 thread"
    tasks = f"{_TASKS} asyncio tasks alternating three versions with two imports, beside no scope"
    published = f"omnipkg's published {_PUBLISHED} swaps a second"
    work = "10 threads and 3 versions of numpy, on another machine"
    seconds = 1 / _PUBLISHED
    return [
        Row(f"an activation of {what}", of["one thread"], of["threads"]),
        Row(f"use(...), {what}", of["one thread, use"], of["threads, use"]),
        Row(f"an activation of {tasks}", of["plain tasks"], of["tasks"]),
        Other(published, f"{work}; ours: {_THREADS} threads", seconds, of["threads"], _LEAST),
        Other(published, f"{work}; ours: the same, with use(...)", seconds, of["threads, use"]),
    ]
