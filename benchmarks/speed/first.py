"""What happens once in an interpreter: first imports, first activations, the library's own import.

Owns the programs, each of which is run in fresh interpreters, plain and ours in turns.
Must not know where they are run.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.many import COMMON, fill
from benchmarks.speed.places import bubbles_of
from benchmarks.speed.rows import Row
from benchmarks.speed.statements import has_accelerator

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.speed.places import Places

__all__ = ["FIRST_BUBBLE", "FIRST_PLAIN", "first_imports", "rows"]

#: How long one import statement takes, and what it found.
FIRST_PLAIN = "import time; t = time.perf_counter(); import {module}; t = time.perf_counter() - t"
FIRST_BUBBLE = (
    "import time, omnipkg_meta as om; scope = om.use({requirement!r}); scope.__enter__()\n"
    "t = time.perf_counter(); import {module}; t = time.perf_counter() - t"
)
_REPORT = "\nimport sys; print(t, sys.modules[{module!r}].__file__)"
#: The same, and what is done before: the bubble is found, the hooks go in, its names are claimed.
_ACTIVATION = (
    "import time, omnipkg_meta as om\n"
    "t = time.perf_counter()\n"
    "with om.use({requirement!r}):\n"
    "    import {module}\n"
    "    t = time.perf_counter() - t\n"
    "    import sys; print(t, sys.modules[{module!r}].__file__)"
)

#: What takes part, and the module that is imported of each.
_MODULES = {
    "rich": "rich.console",
    "numpy": "numpy",
    "pandas": "pandas",
    "django": "django.db.models",
}
_LIMITS = {"pandas": 1.05}

#: The first import of modules that nobody claimed: of the standard library, and of main.
_TREES = {
    "import asyncio, email, http.client": ("asyncio", "email", "http.client"),
    "import jinja2 (main's)": ("jinja2",),
}
_REALMS = 10
_LOADS = f"""\
import sys, omnipkg_meta as om
for bubble in om.Store(sys.argv[1]).bubbles()[:{_REALMS}]:
    with om.use(bubble):
        import {COMMON}
        assert {COMMON}.__file__.startswith(str(bubble.path))
"""
#: What the hooks have loaded by then is loaded in the plain interpreter before, too.
_NAMES = f"""\
ours = "__main__", "omnipkg_meta", {COMMON!r}
print(*(name for name in list(sys.modules) if name.partition(".")[0] not in ours))
"""
_SAME = """\
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
_TREE = """\
import time
names = {names!r}
assert names[-1] not in sys.modules
t = time.perf_counter()
import {listed}
t = time.perf_counter() - t
print(t, sys.modules[names[-1]].__file__)
"""

_LIBRARY = """\
import time; t = time.perf_counter(); import {module}; t = time.perf_counter() - t
import sys; print(t, sys.modules[{module!r}].__file__)
assert not {{'ctypes', 'asyncio', 'importlib_metadata'}} & set(sys.modules)
"""


class _Case(NamedTuple):
    """One figure: a program in a bubble, beside the import of a module in a plain environment."""

    what: str
    module: str
    requirement: str
    python: Path
    code: str
    limit: float | None


def first_imports() -> tuple[tuple[str, str], ...]:
    """Return the modules whose first import is measured, each with its requirement."""
    return tuple((_MODULES[name], bubbles_of(name)) for name in ("rich", "pandas"))


def rows(places: Places, *, quick: bool) -> list[Row]:
    """Measure all that happens once."""
    rounds = 3 if quick else 15
    found = [_library(places, rounds)]
    for name in ("rich",) if quick else _MODULES:
        found += [_beside(places, case, rounds) for case in _cases(places, name)]
    return found + _trees(places, rounds)


def _cases(places: Places, name: str) -> list[_Case]:
    module, requirement = _MODULES[name], bubbles_of(name)
    places.bubble(requirement)
    cases = []
    for python, more in (
        (places.main, ""),
        *([(places.accelerated, ", accelerated")] if has_accelerator() else ()),
    ):
        asked = module, requirement, python
        if asked[:2] in first_imports():
            what = f"first import of {module}{more}"
            cases.append(_Case(what, *asked, FIRST_BUBBLE + _REPORT, 1.10))
        what = f"first activation with import of {module}{more}"
        cases.append(_Case(what, *asked, _ACTIVATION, _LIMITS.get(name)))
    return cases


def _beside(places: Places, case: _Case, rounds: int) -> Row:
    """Time what happens in a bubble and in a plain environment, in turns."""
    plain_python = places.plain(case.module, case.requirement)
    told = {"module": case.module, "requirement": case.requirement}
    plain_code, code = (one.format(**told) for one in (FIRST_PLAIN + _REPORT, case.code))
    plain, ours = [], []
    for _ in range(rounds):
        plain.append(_timed(places, plain_python, "plain-", "-c", plain_code))
        ours.append(_timed(places, case.python, "store", "-c", code))
    return Row(case.what, statistics.median(plain), statistics.median(ours), case.limit)


def _trees(places: Places, rounds: int) -> list[Row]:
    """Time first imports of unclaimed names, with the hooks in and ten realms, and without."""
    place = places.directory / "realms"
    place.mkdir()
    store = str(fill(place, _REALMS + 2).path)
    same = places.run(places.main, "-c", _LOADS + _NAMES, store).split()
    found = []
    for what, names in _TREES.items():
        tree = _TREE.format(names=names, listed=", ".join(names))
        plain, ours = [], []
        for _ in range(rounds):
            plain.append(_timed(places, places.main, "", "-c", _SAME + tree, *same))
            ours.append(_timed(places, places.main, "", "-c", _LOADS + tree, store))
        label = f"first {what}, hooks in, {_REALMS} realms"
        found.append(Row(label, statistics.median(plain), statistics.median(ours), 1.03))
    return found


def _library(places: Places, rounds: int) -> Row:
    """Time the import of this library, beside that of a small standard module."""
    taken: dict[str, list[float]] = {"json": [], "omnipkg_meta": []}
    for _ in range(rounds):
        for module, seconds in taken.items():
            seconds.append(_timed(places, places.main, "", "-c", _LIBRARY.format(module=module)))
    plain, ours = map(statistics.median, taken.values())
    return Row("import omnipkg_meta (beside import json)", plain, ours, most=5e-3)


def _timed(places: Places, python: Path, expected: str, *arguments: str) -> float:
    """Return the seconds that a program tells, which has to have seen what was expected."""
    seconds, file = places.run(python, *arguments).split(maxsplit=1)
    if expected not in file:
        raise SystemExit(f"the wrong module was imported: {file}")
    return float(seconds)
