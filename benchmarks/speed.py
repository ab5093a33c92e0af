"""What the hooks cost, as ratios to plain Python measured in the same run.

    python -m benchmarks.speed [--quick] [--markdown docs/performance.md] [--json FILE]

Every figure stands beside its reference, taken in turns with it, so that a noisy
machine is noisy for both; and every measured piece of code checks that it saw
the right version.  Small things are timed with pyperf in processes of their own;
first imports in fresh interpreters, plain and hooked alternating.

Needs ``pyperf`` and ``uv`` (the ``dev`` and ``all`` extras) and the package index.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import duration, write_figures

ROOT = Path(__file__).resolve().parent.parent

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


#: Installed in main: a package that is pinned, and one that declares what it imports.
_ASK = "def ask():\n    import rich\n    return rich\n"
_LIBRARIES = {
    "pinning": ("import omnipkg_meta\nomnipkg_meta.pin(__name__, 'rich==13.4.2')\n" + _ASK, ()),
    "declaring": (_ASK, ("rich",)),
}


class Measure(NamedTuple):
    """One figure: a statement under a set-up, and the reference it is divided by."""

    what: str
    setup: str
    statement: str
    reference: tuple[str, str]
    limit: float | None
    accelerated: bool = False


MEASURES = (
    Measure(
        "cached import of an unclaimed name, hooks in",
        "hooked",
        "import json",
        ("plain", "import json"),
        1.10,
    ),
    Measure(
        "cached import of a claimed name, outside a scope",
        "hooked",
        "import rich",
        ("plain", "import rich"),
        5,
    ),
    Measure(
        "cached import of a claimed name, inside a scope",
        "inside",
        "import rich",
        ("plain", "import rich"),
        5,
    ),
    Measure(
        "cached import of a claimed name, in a bubble's own code",
        "home",
        "ask()",
        ("plain-home", "ask()"),
        5,
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
        None,
    ),
    Measure(
        "entering and leaving a warm scope",
        "hooked",
        "with scope: pass",
        ("context", "with scope: pass"),
        4,
    ),
    Measure(
        "calling a bound function, beside calling the function",
        "bound",
        "bound()",
        ("bound", "function()"),
        None,
    ),
    Measure(
        "use(...), entering and leaving",
        "hooked",
        "with om.use('rich==13.5.3'): pass",
        ("context", "with scope: pass"),
        None,
    ),
    Measure(
        "importlib.import_module of a claimed name, inside",
        "inside",
        "sys.modules['importlib'].import_module('rich')",
        ("plain", "sys.modules['importlib'].import_module('rich')"),
        None,
    ),
    Measure(
        "sys.modules[claimed name], inside",
        "inside",
        "sys.modules['rich']",
        ("plain", "sys.modules['rich']"),
        None,
    ),
)

#: The same with the compiled accelerator, where there is one to compare with.
ACCELERATED = tuple(
    one._replace(
        what=f"{one.what}, accelerated",
        # A scope is one question more, and its answer is two tables away.
        limit=1.75 if one.setup == "inside" else 1.5,
        accelerated=True,
    )
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
    return perf_counter() - start

pyperf.Runner().bench_time_func("statement", run, inner_loops=10)
"""

#: A fresh interpreter: how long one import statement takes, and what it found.
FIRST_PLAIN = "import time; t = time.perf_counter(); import {module}; t = time.perf_counter() - t"
FIRST_BUBBLE = (
    "import time, omnipkg_meta as om; scope = om.use({requirement!r}); scope.__enter__()\n"
    "t = time.perf_counter(); import {module}; t = time.perf_counter() - t"
)
_REPORT = "\nimport sys; print(t, sys.modules[{module!r}].__file__)"


class Row(NamedTuple):
    """One line of the result: both times in seconds, and what is allowed."""

    what: str
    plain: float
    ours: float
    limit: float | None

    @property
    def ratio(self) -> float:
        """Ours divided by plain."""
        return self.ours / self.plain


def main() -> int:
    """Measure, print, and say by the exit code whether all limits held."""
    parser = argparse.ArgumentParser(description="what the hooks cost, as ratios to plain Python")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer repetitions: for CI, where only wrong results count",
    )
    parser.add_argument("--markdown", type=Path, help="write the table into this file")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), quick=arguments.quick)
        rows = [bench.small(measure) for measure in measures()]
        rows += [bench.first_import(*case) for case in first_imports()]
        if has_accelerator():
            rows += [bench.first_import(*case, accelerated=True) for case in first_imports()]
        rows.append(bench.library())
    table = _table(rows)
    print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps([row._asdict() for row in rows], indent=1), "utf-8")
    if arguments.markdown:
        write_figures(arguments.markdown, table)
    over = [row for row in rows if row.limit is not None and row.ratio > row.limit]
    for row in over:
        print(f"over its limit: {row.what}: {row.ratio:.2f} > {row.limit}")
    return 1 if over and not arguments.quick else 0


def has_accelerator() -> bool:
    """Tell whether the accelerator is installed where this runs; then it is measured, too."""
    return importlib.util.find_spec("omnipkg_meta_accelerator") is not None


def measures() -> tuple[Measure, ...]:
    """Return what is timed statement by statement."""
    return (*MEASURES, *(ACCELERATED if has_accelerator() else ()))


def first_imports() -> tuple[tuple[str, str], ...]:
    """Return the modules whose first import is measured, each with its requirement."""
    pandas = "pandas==2.1.4" if sys.version_info < (3, 13) else "pandas<3"
    return (("rich.console", "rich==13.5.3"), ("pandas", pandas))


class Bench:
    """A scratch environment for main, one plain environment per case, and a store."""

    def __init__(self, directory: Path, *, quick: bool) -> None:
        self._directory = directory
        self._quick = quick
        self.variables = {
            **os.environ,
            "OMNIPKG_META_STORE": str(directory / "store"),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self.variables.pop("PYTHONPATH", None)
        self.main = self.environment("main", "rich==13.7.1", "pyperf", str(ROOT))
        for name, (source, requires) in _LIBRARIES.items():
            self._library(name, source, requires)
        for requirement in ("rich==13.4.2", *(one for _, one in first_imports())):
            # With byte code, as the plain environments have it.
            words = ("install", "--compile-bytecode", requirement)
            self.run(self.main, "-m", "omnipkg_meta", *words)
        self._pyperf: dict[tuple[str, str], float] = {}

    @functools.cached_property
    def accelerated(self) -> Path:
        """The interpreter of an environment like main's that has the accelerator, too."""
        ours = str(ROOT), str(ROOT / "accelerator")
        return self.environment("accelerated", "rich==13.7.1", "pyperf", *ours)

    def environment(self, name: str, *requirements: str) -> Path:
        """Make a virtual environment, if this one is not there yet; return its interpreter."""
        path = self._directory / name
        python = path / ("Scripts" if os.name == "nt" else "bin") / "python"
        if path.exists():
            return python
        subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(path)], check=True)
        install = ["uv", "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
        subprocess.run([*install, *requirements], check=True)
        return python

    def _library(self, name: str, source: str, requires: tuple[str, ...]) -> None:
        """Put into main what an installer leaves of a package of one module."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(self.run(self.main, "-c", code).strip())
        (site / f"{name}.py").write_text(source, "utf-8")
        information = site / f"{name}-1.dist-info"
        information.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1"]
        lines += [f"Requires-Dist: {one}" for one in requires]
        (information / "METADATA").write_text("\n".join([*lines, ""]), "utf-8")
        (information / "RECORD").write_text(f"{name}.py,,\n", "utf-8")

    def run(self, python: Path, *arguments: str) -> str:
        """Run a program with the bench's store; return what it prints."""
        command = [str(python), *arguments]
        done = subprocess.run(
            command, env=self.variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        return done.stdout

    def _time(self, python: Path, setup: str, statement: str, turn: int) -> float:
        # A program of its own, and not ``pyperf timeit``: that one runs the
        # statement in a bare namespace, which has no identity to ask with.
        program = self._directory / f"{setup}.py"
        program.write_text(_PROGRAM.format(setup=SETUPS[setup], statement=statement), "utf-8")
        result = self._directory / f"{turn}.json"
        result.unlink(missing_ok=True)
        speed = ["--fast"] if self._quick else ["-p", "4"]
        self.run(
            python,
            str(program),
            "-q",
            *speed,
            "--inherit-environ",
            "OMNIPKG_META_STORE",
            "-o",
            str(result),
        )
        import pyperf

        return float(pyperf.Benchmark.load(str(result)).median())

    def small(self, measure: Measure) -> Row:
        """Time a statement and its reference in turns; the median of the ratios decides."""
        python = self.accelerated if measure.accelerated else self.main
        pairs = []
        for turn in range(1 if self._quick else 3):
            plain = self._time(self.main, *measure.reference, turn)
            pairs.append((plain, self._time(python, measure.setup, measure.statement, turn)))
        plain, ours = sorted(pairs, key=lambda pair: pair[1] / pair[0])[len(pairs) // 2]
        return Row(measure.what, plain, ours, measure.limit)

    def first_import(self, module: str, requirement: str, *, accelerated: bool = False) -> Row:
        """Time the first import of a module, in a plain environment and in a bubble, in turns."""
        python = self.accelerated if accelerated else self.main
        plain_python = self.environment(f"plain-{module}", requirement)
        report = _REPORT.format(module=module)
        plain_code = FIRST_PLAIN.format(module=module) + report
        bubble_code = FIRST_BUBBLE.format(module=module, requirement=requirement) + report
        plain, ours = [], []
        for _ in range(3 if self._quick else 15):
            plain.append(self._first(plain_python, plain_code, "plain-"))
            ours.append(self._first(python, bubble_code, "store"))
        return Row(
            f"first import of {module}{', accelerated' if accelerated else ''}",
            statistics.median(plain),
            statistics.median(ours),
            1.10,
        )

    def _first(self, python: Path, code: str, expected: str) -> float:
        seconds, file = self.run(python, "-c", code).split(maxsplit=1)
        if expected not in file:
            raise SystemExit(f"the wrong module was imported: {file}")
        return float(seconds)

    def library(self) -> Row:
        """Time the import of this library, beside that of a small standard module."""
        ours, plain = [], []
        for _ in range(3 if self._quick else 15):
            ours.append(self._import_time("omnipkg_meta"))
            plain.append(self._import_time("json"))
        return Row(
            "import omnipkg_meta (beside import json)",
            statistics.median(plain),
            statistics.median(ours),
            None,
        )

    def _import_time(self, module: str) -> float:
        code = (
            f"import time; t = time.perf_counter(); import {module}; t = time.perf_counter() - t\n"
            "import sys; print(t)\n"
            "assert not {'ctypes', 'asyncio', 'importlib_metadata'} & set(sys.modules)"
        )
        return float(self.run(self.main, "-c", code))


def _table(rows: list[Row]) -> str:
    lines = ["| what | plain | with omnipkg_meta | ratio | at most |", "|---|---|---|---|---|"]
    for row in rows:
        limit = "" if row.limit is None else f"{row.limit:g} x"
        times = f"{duration(row.plain)} | {duration(row.ours)}"
        lines.append(f"| {row.what} | {times} | {row.ratio:.2f} x | {limit} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
