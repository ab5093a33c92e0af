"""How many instructions the hot paths take: a count that a busy machine does not change.

    python -m benchmarks.instructions [--quick] [--write]

Each figure is the number of instructions of a statement with the hooks in, divided by
that of its reference in plain Python, counted by valgrind's callgrind in processes that
run the statement a different number of times; so what happens before it cancels out.
The ratios are compared with those in ``instructions.json`` beside this file, which hold
for one interpreter: where a hot path takes 5 % more than there, the exit code is 1.
``--write`` notes what was counted as what is to be expected from now on.

Needs ``valgrind`` (Debian's package) and ``uv``, and the package index.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed.first import FIRST_BUBBLE, FIRST_PLAIN, first_imports
from benchmarks.speed.places import Places
from benchmarks.speed.statements import SETUPS, has_accelerator, measures

EXPECTED = Path(__file__).with_suffix(".json")
TOLERANCE = 1.05

#: How often a statement runs in one process, and in the other.
_FEW, _MANY = 500, 2500

_PROGRAM = """\
import sys
{setup}
turns = range(int(sys.argv[1]))

def run():
    for _ in turns:
        {statement}

run()
"""


class Row(NamedTuple):
    """One figure: instructions of the reference, and ours."""

    what: str
    plain: float
    ours: float

    @property
    def ratio(self) -> float:
        """Ours divided by plain."""
        return self.ours / self.plain


def main() -> int:
    """Count, print, and say by the exit code whether anything takes more than it did."""
    parser = argparse.ArgumentParser(description="instructions of the hot paths, beside plain ones")
    parser.add_argument("--quick", action="store_true", help="cached imports and scopes only")
    parser.add_argument("--write", action="store_true", help="expect these figures from now on")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("nothing was counted: there is no valgrind here (apt-get install valgrind)")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        rows = Counter(Path(directory)).rows(quick=arguments.quick)
    expected = json.loads(EXPECTED.read_text("utf-8")) if EXPECTED.exists() else {}
    known = expected.setdefault(_interpreter(), {})
    print("| what | plain | with omnipkg_meta | ratio | expected |\n|---|---|---|---|---|")
    for row in rows:
        before = f"{known[row.what]:.3f} x" if row.what in known else "unknown"
        print(f"| {row.what} | {row.plain:.0f} | {row.ours:.0f} | {row.ratio:.3f} x | {before} |")
    if arguments.write:
        known.update({row.what: round(row.ratio, 3) for row in rows})
        EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n", "utf-8")
        return 0
    if not known:
        print(f"there is nothing to compare with for {_interpreter()}")
    worse = [row for row in rows if row.ratio > known.get(row.what, row.ratio) * TOLERANCE]
    for row in worse:
        print(f"takes more than it did: {row.what}: {row.ratio:.3f} > {known[row.what]:.3f}")
    return 1 if worse else 0


def _interpreter() -> str:
    """Return what the counts depend on."""
    compiler = platform.python_compiler()
    shared = "shared" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "static"
    return f"CPython {platform.python_version()}, {platform.machine()}, {compiler}, {shared}"


class Counter:
    """Counts in the environments of the speed bench."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._places = Places(directory)
        # The order of sets and dicts decides how often hashes collide.
        self._places.variables["PYTHONHASHSEED"] = "0"
        self._known: dict[tuple[Path, str, str], float] = {}

    def rows(self, *, quick: bool) -> list[Row]:
        """Count all figures."""
        rows = []
        for one in measures():
            if one.hot and (one.limited or not quick):
                python = self._places.accelerated if one.accelerated else self._places.main
                plain = self._statement(self._places.main, *one.reference)
                rows.append(Row(one.what, plain, self._statement(python, one.setup, one.statement)))
        if not quick:
            rows += [self._first(*case) for case in first_imports()]
            if has_accelerator():
                rows += [self._first(*case, accelerated=True) for case in first_imports()]
        return rows

    def _statement(self, python: Path, setup: str, statement: str) -> float:
        key = (python, setup, statement)
        if key not in self._known:
            program = self._directory / "program.py"
            program.write_text(_PROGRAM.format(setup=SETUPS[setup], statement=statement), "utf-8")
            few, many = (self._count(python, str(program), str(turns)) for turns in (_FEW, _MANY))
            self._known[key] = (many - few) / (_MANY - _FEW)
        return self._known[key]

    def _first(self, module: str, requirement: str, *, accelerated: bool = False) -> Row:
        main = self._places.accelerated if accelerated else self._places.main
        plain = self._places.plain(module, requirement)
        self._places.bubble(requirement)
        counts = []
        for python, code in (
            (plain, FIRST_PLAIN.format(module=module)),
            (main, FIRST_BUBBLE.format(module=module, requirement=requirement)),
        ):
            before, _, _ = code.partition("t = time")
            self._places.run(python, "-c", code)  # byte code, and the files in memory
            counts.append(self._count(python, "-c", code) - self._count(python, "-c", before))
        return Row(f"first import of {module}{', accelerated' if accelerated else ''}", *counts)

    def _count(self, python: Path, *arguments: str) -> int:
        """Return how many instructions a program takes."""
        log = self._directory / "callgrind.log"
        self._places.run(
            Path("valgrind"),
            "--tool=callgrind",
            f"--callgrind-out-file={self._directory / 'callgrind.out'}",
            f"--log-file={log}",
            str(python),
            *arguments,
        )
        found = re.search(r"Collected : (\d+)", log.read_text("utf-8"))
        if found is None:
            raise SystemExit(f"valgrind did not count:\n{log.read_text('utf-8')}")
        return int(found[1])


if __name__ == "__main__":
    sys.exit(main())
