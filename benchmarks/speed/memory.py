"""What a process keeps: of activations, which is to be nothing more, and of each realm.

Owns which figures are made of what ``inside/memory.py`` says.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

from benchmarks.speed.places import VERSIONS
from benchmarks.speed.rows import Row

if TYPE_CHECKING:
    from benchmarks.speed.places import Places

__all__ = ["rows"]

_COUNTS = (1, 10, 1000)
#: Nothing more, in whole percents.
_FLAT = 1.005


def rows(places: Places, *, quick: bool) -> list[Row]:
    """Measure what is kept."""
    program, wanted = places.program("memory.py"), [f"rich=={one}" for one in VERSIONS]
    rounds = 1 if quick else 5
    kept: list[list[int]] = []
    plain, realms = [], []
    for _ in range(rounds):
        counts = [str(one) for one in _COUNTS]
        told = places.run(places.main, program, "activations", wanted[0], *counts)
        kept.append(json.loads(told)["bytes"])
        ours = json.loads(places.run(places.main, program, "realms", *wanted))
        # The first one also brings what the library itself needs.
        realms.append(statistics.mean(ours["bytes"][1:]))
        told = places.run(places.main, program, "plain", *ours["modules"])
        plain.extend(json.loads(told)["bytes"])
    first, *later = (statistics.median(one) for one in zip(*kept, strict=True))
    found = [
        Row(f"memory after {count} activations, beside after 1", first, more, _FLAT, memory=True)
        for count, more in zip(_COUNTS[1:], later, strict=True)
    ]
    of_one = statistics.median(plain), statistics.median(realms)
    what = "memory of one more realm with rich.console, beside a plain import"
    return [*found, Row(what, *of_one, memory=True)]
