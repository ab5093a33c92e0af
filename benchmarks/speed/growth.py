"""What grows with realms, scopes, bubbles and entries of ``sys.path``, in short.

The measuring is the scale bench's, with smaller numbers; ``docs/scale.md`` says more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import scale
from benchmarks.speed.rows import Row

if TYPE_CHECKING:
    from benchmarks.speed.places import Places

__all__ = ["rows"]

_WHOLE = scale.Sizes(1000, 100, 8, 20, 1000, 3, ())
_QUICK = scale.Sizes(40, 5, 2, 3, 20, 1, ())


def rows(places: Places, *, quick: bool) -> list[Row]:
    """Measure what the scale bench does in one process, and in fresh ones."""
    place = places.directory / "growth"
    place.mkdir()
    bench = scale.Bench(place, _QUICK if quick else _WHOLE)
    found = [*bench.in_one_process(), *bench.cold()]
    return [Row(one.what, one.few, one.many, one.limit) for one in found]
