"""Small statements, each timed with pyperf in processes of its own, beside its reference.

Owns the set-ups, the statements and their limits.  Must not know where they are run.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.speed.rows import Row

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.speed.places import Places

__all__ = ["SETUPS", "Measure", "has_accelerator", "measures", "rows"]

#: What runs before the timed statement, by the name of the set-up.
SETUPS = {
    "plain": "import sys, rich, json, importlib; check = lambda: rich.__file__",
    "hooked": (
        "import sys, rich, json, importlib, omnipkg_meta as om\n"
        "main = rich.__file__\n"
        "scope = om.use('rich==13.5.3')\n"
        "with scope:\n    import rich.markup as inside\n"
        "import rich\nassert rich.__file__ == main\n"
        "assert inside.__file__ != main and '13.5.3' in inside.__file__\n"
    ),
}
SETUPS["inside"] = (
    SETUPS["hooked"] + "scope.__enter__()\nimport rich\nassert '13.5.3' in rich.__file__\n"
)
SETUPS["home"] = SETUPS["hooked"] + (
    "exec('def ask():\\n    import rich\\n    return rich', inside.__dict__)\n"
    "ask = inside.__dict__['ask']\nassert '13.5.3' in ask().__file__\n"
)
SETUPS["plain-home"] = SETUPS["plain"] + "\ndef ask():\n    import rich\n    return rich\n"
SETUPS["bound"] = SETUPS["hooked"] + (
    "\ndef function(): return 1\nbound = om.bind(function, 'rich==13.5.3')\nassert bound() == 1\n"
)
SETUPS["inside-ask"] = SETUPS["inside"] + (
    "def ask():\n    import rich\n    return rich\nassert '13.5.3' in ask().__file__\n"
)
SETUPS["pinned"] = SETUPS["inside"] + (
    "from pinning import ask\nassert '13.4.2' in ask().__file__ and '13.5.3' in rich.__file__\n"
)
SETUPS["declared"] = SETUPS["inside"] + (
    "from declaring import ask\nassert ask().__file__ == main and '13.5.3' in rich.__file__\n"
)
SETUPS["marked"] = SETUPS["hooked"] + (
    "from omnipkg_meta import marks\n"
    "with marks.loading(inside.__realm__):\n"
    "    exec('import sys; sys._mark = 1', inside.__dict__)\n"
    "assert '_mark' not in vars(sys) and not hasattr(sys, '_mark')\n"
)
SETUPS["context"] = (
    "from contextvars import ContextVar\nvariable = ContextVar('v', default=None)\n"
    "class Scope:\n"
    "    def __enter__(self): variable.set(self)\n"
    "    def __exit__(self, *_): variable.set(None)\n"
    "scope = Scope()\n"
)
SETUPS["context-plain"] = SETUPS["plain"] + "\n" + SETUPS["context"]
_VERSION = "from importlib.metadata import version\nassert version('rich') == {!r}\n"
SETUPS["inside-version"] = SETUPS["inside"] + _VERSION.format("13.5.3")
SETUPS["plain-version"] = SETUPS["plain"] + "\n" + _VERSION.format("13.7.1")


class Measure(NamedTuple):
    """One figure: a statement under a set-up, and the reference it is divided by.

    Attributes:
        what: what is measured.
        setup: the set-up.
        statement: the statement.
        reference: set-up and statement of the reference.
        limit: what the ratio may be at most, or None.
        accelerated: with the accelerator.
        most: what the statement may take at most, in seconds, or None.
        check: what has to hold of what the statement has bound, as an expression.
        hot: whether its instructions are counted, too; not of what takes millions of them.
    """

    what: str
    setup: str
    statement: str
    reference: tuple[str, str]
    limit: float | None = None
    accelerated: bool = False
    most: float | None = None
    check: str = "True"
    hot: bool = True

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.limit is not None or self.most is not None


#: At most, beside plain Python: of a name that nobody claimed, and of one that is claimed.
_UNCLAIMED, _CLAIMED, _ACCELERATED = 1.05, 3.0, 1.5

_IN_MAIN, _IN_SCOPE = "rich.__file__ == main", "'13.5.3' in rich.__file__"
_FROM = "from rich import get_console"
_IMPORT_MODULE = "sys.modules['importlib'].import_module({!r})"

MEASURES = (
    Measure(
        "cached import of an unclaimed name, hooks in",
        "hooked",
        "import json",
        ("plain", "import json"),
        _UNCLAIMED,
    ),
    Measure(
        "cached import of an unclaimed name, by from",
        "hooked",
        "from json import loads",
        ("plain", "from json import loads"),
        _UNCLAIMED,
    ),
    Measure(
        "importlib.import_module of an unclaimed name",
        "hooked",
        _IMPORT_MODULE.format("json"),
        ("plain", _IMPORT_MODULE.format("json")),
        _UNCLAIMED,
    ),
    Measure(
        "sys.modules[unclaimed name]",
        "hooked",
        "sys.modules['json']",
        ("plain", "sys.modules['json']"),
        _UNCLAIMED,
    ),
    Measure(
        "cached import of a claimed name, outside a scope",
        "hooked",
        "import rich",
        ("plain", "import rich"),
        _CLAIMED,
        check=_IN_MAIN,
    ),
    Measure(
        "cached import of a claimed name, inside a scope",
        "inside",
        "import rich",
        ("plain", "import rich"),
        _CLAIMED,
        check=_IN_SCOPE,
    ),
    Measure(
        "cached import of a claimed name, by from, inside a scope",
        "inside",
        _FROM,
        ("plain", _FROM),
        _CLAIMED,
        check="'13.5.3' in get_console.__code__.co_filename",
    ),
    Measure(
        "cached import of a claimed name, in a bubble's own code",
        "home",
        "ask()",
        ("plain-home", "ask()"),
        _CLAIMED,
    ),
    Measure(
        "the same in a pinned package, beside one in a scope",
        "pinned",
        "ask()",
        ("inside-ask", "ask()"),
        1.5,
    ),
    Measure(
        "the same in main's code that declares it, beside one in a scope",
        "declared",
        "ask()",
        ("inside-ask", "ask()"),
        1.5,
    ),
    Measure(
        "importlib.import_module of a claimed name, inside",
        "inside",
        _IMPORT_MODULE.format("rich"),
        ("plain", _IMPORT_MODULE.format("rich")),
        _CLAIMED,
        check=f"{_IMPORT_MODULE.format('rich')} is rich",
    ),
    Measure(
        "sys.modules[claimed name], inside",
        "inside",
        "sys.modules['rich']",
        ("plain", "sys.modules['rich']"),
        _CLAIMED,
        check="sys.modules['rich'] is rich",
    ),
    Measure(
        "reading an attribute of sys, hooks in",
        "hooked",
        "sys.argv",
        ("plain", "sys.argv"),
        1.10,
    ),
    Measure(
        "the same while a bubble's package has a mark on sys",
        "marked",
        "sys.argv",
        ("plain", "sys.argv"),
    ),
    Measure(
        "entering and leaving a warm scope",
        "hooked",
        "with scope: pass",
        ("context", "with scope: pass"),
        most=0.4e-6,
    ),
    Measure(
        "entering a warm scope, a cached import, and leaving",
        "hooked",
        "with scope: import rich",
        ("context-plain", "with scope: import rich"),
        check=_IN_SCOPE,
    ),
    Measure(
        "use(...), entering and leaving",
        "hooked",
        "with om.use('rich==13.5.3'): pass",
        ("context", "with scope: pass"),
    ),
    Measure(
        "calling a bound function, beside calling the function",
        "bound",
        "bound()",
        ("bound", "function()"),
    ),
    Measure(
        "importlib.metadata.version of a bubble's distribution, inside",
        "inside-version",
        "version('rich')",
        ("plain-version", "version('rich')"),
        1.2,
        hot=False,
    ),
)

#: The same with the compiled accelerator, where there is one to compare with.
ACCELERATED = tuple(
    one._replace(what=f"{one.what}, accelerated", limit=_ACCELERATED, accelerated=True)
    for one in MEASURES
    if one.what.startswith("cached import of a claimed name")
)

#: The program that times a statement; pyperf runs it in several processes.
_PROGRAM = """\
import pyperf
from time import perf_counter
{setup}

def run(loops):
    turns = range(loops)
    start = perf_counter()
    for _ in turns:
        {statement}
        {statement}
        {statement}
        {statement}
        {statement}
        {statement}
        {statement}
        {statement}
        {statement}
        {statement}
    taken = perf_counter() - start
    if not ({check}):
        raise SystemExit("the wrong version was seen")
    return taken

pyperf.Runner().bench_time_func("statement", run, inner_loops=10)
"""

#: How pyperf is to go about it; for CI in one process, without a calibration.
_WHOLE, _QUICK = ("-p", "4"), ("-p", "1", "-w", "0", "-n", "1", "-l", "100")


def has_accelerator() -> bool:
    """Tell whether the accelerator is installed where this runs; then it is measured, too."""
    return importlib.util.find_spec("omnipkg_meta_accelerator") is not None


def measures() -> tuple[Measure, ...]:
    """Return what is timed statement by statement."""
    return (*MEASURES, *(ACCELERATED if has_accelerator() else ()))


def rows(places: Places, *, quick: bool) -> list[Row]:
    """Time each statement and its reference in turns; the median of the ratios decides."""
    return [_row(places, one, quick=quick) for one in measures()]


def _row(places: Places, one: Measure, *, quick: bool) -> Row:
    python = places.accelerated if one.accelerated else places.main
    pairs = []
    for _ in range(1 if quick else 3):
        plain = _time(places, places.main, *one.reference, quick=quick)
        ours = _time(places, python, one.setup, one.statement, one.check, quick=quick)
        pairs.append((plain, ours))
    plain, ours = sorted(pairs, key=lambda pair: pair[1] / pair[0])[len(pairs) // 2]
    return Row(one.what, plain, ours, one.limit, one.most)


def _time(
    places: Places, python: Path, setup: str, statement: str, check: str = "True", *, quick: bool
) -> float:
    # A program of its own, and not ``pyperf timeit``: that one runs the
    # statement in a bare namespace, which has no identity to ask with.
    program, result = places.directory / "statement.py", places.directory / "statement.json"
    text = _PROGRAM.format(setup=SETUPS[setup], statement=statement, check=check)
    program.write_text(text, "utf-8")
    result.unlink(missing_ok=True)
    told = ("-q", "--inherit-environ", "OMNIPKG_META_STORE", "-o", str(result))
    places.run(python, str(program), *(_QUICK if quick else _WHOLE), *told)
    import pyperf

    return float(pyperf.Benchmark.load(str(result)).median())
