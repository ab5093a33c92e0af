"""What grows with the number of bubbles, realms, scopes and threads, and what does not.

Run from the root of the project::

    python -m benchmarks.scale [--quick] [--markdown docs/scale.md] [--json FILE]

Each figure with few stands beside the one with many, taken in turns in the same run, so
that a busy machine is busy for both; the ratio decides.  Of commands and of builds, which
are several processes, the processor's time is measured as well: a limit on the time by the
clock counts only where the machine has nothing else to do.  What is measured checks that
it saw the right version.  A store of ten thousand bubbles is made for it, in seconds.

Needs ``uv`` (the ``test`` extra) and, for the last part, the package index.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.figures import duration, write_figures
from benchmarks.many import COMMON, WANTED, fill
from omnipkg_meta.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

#: A program that uses one bubble: what ``use`` takes of it.
_USES = """\
import time, omnipkg_meta as om
start = time.perf_counter()
with om.use("{name}==1.0"):
    seconds = time.perf_counter() - start
    import {name}
assert {name}.__file__.startswith({store!r}), {name}.__file__
print(seconds)
"""
_LISTS = """\
import time, omnipkg_meta as om
start, used = time.perf_counter(), time.process_time()
bubbles = om.Store().bubbles()
print(time.perf_counter() - start, time.process_time() - used)
assert len(bubbles) == {count}
"""

#: What in_one_process.py measures: by its key, what it is.
_IN_ONE_PROCESS = (
    ("import", "cached import in a scope, with {realms} realms"),
    ("scope", "entering and leaving a warm scope, with {realms} realms"),
    ("modules", "list(sys.modules) outside a scope, with {realms} realms"),
    ("load", "use and first import of one more bubble, with {realms} realms"),
    ("import, threads", "cached import, beside {threads} threads in scopes"),
    ("scope, threads", "a warm scope, beside {threads} threads in scopes"),
    ("import, nested", "cached import, in {nested} scopes around it"),
    ("scope, nested", "a warm scope, in {nested} scopes around it"),
    ("together", "an import of {threads} threads that take turns"),
    ("import, entries", "cached import in a scope, with {entries} more entries of sys.path"),
    ("load, entries", "use and first import of one more bubble, with {entries} more of them"),
)

#: What has byte code made at once, by both.
_COMPILE = "--compile-bytecode"

_INSTALLED = ("rich==13.5.3", "django==4.2.*", "pandas<3")


class Row(NamedTuple):
    """One line of the result: both times in seconds, and what is allowed of the ratio."""

    what: str
    few: float
    many: float
    limit: float | None

    @property
    def ratio(self) -> float:
        """Many divided by few."""
        return self.many / self.few


class Total(NamedTuple):
    """What a command takes with many bubbles.

    Attributes:
        what: the command.
        seconds: its time.
        used: the processor's time.
        memory: the most memory that it had, in bytes; 0 where that was not measured.
        limit: the seconds that it may use, or None.
    """

    what: str
    seconds: float
    used: float
    memory: int
    limit: float | None


class Took(NamedTuple):
    """What a process took, with those that it started: seconds, and bytes."""

    seconds: float
    used: float
    memory: int


class Sizes(NamedTuple):
    """How many of each, and how often."""

    bubbles: int
    realms: int
    threads: int
    nested: int
    entries: int
    rounds: int
    installed: tuple[str, ...]


_WHOLE = Sizes(10_000, 300, 256, 100, 1000, 5, _INSTALLED)
_QUICK = Sizes(500, 20, 16, 10, 20, 2, _INSTALLED[:1])
_FEW = 10


def main() -> int:
    """Measure, print, and say by the exit code whether all limits held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="less of all: for CI, where only wrong results count"
    )
    parser.add_argument("--rounds", type=int, help="how often, if not as often as usual")
    parser.add_argument("--no-install", action="store_true", help="without the package index")
    parser.add_argument("--markdown", type=Path, help="write the tables into this file")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    arguments = parser.parse_args()
    sizes = _QUICK if arguments.quick else _WHOLE
    sizes = sizes._replace(rounds=arguments.rounds or sizes.rounds)
    with tempfile.TemporaryDirectory(prefix="scale-") as directory:
        bench = Bench(Path(directory), sizes)
        rows = [*bench.cold(), *bench.in_one_process()]
        totals = bench.commands()
        if not arguments.no_install:
            rows += bench.installs()
    tables = f"{_ratios(rows)}\n\n{_totals(totals, sizes.bubbles)}"
    print(tables)
    if arguments.json:
        told = {
            "ratios": [{**row._asdict(), "ratio": row.ratio} for row in rows],
            "totals": [total._asdict() for total in totals],
            **sizes._asdict(),
        }
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    if arguments.markdown:
        write_figures(arguments.markdown, tables)
    over = [
        f"{row.what}: {row.ratio:.2f} > {row.limit}"
        for row in rows
        if row.limit is not None and row.ratio > row.limit
    ]
    over += [
        f"{one.what}: {one.used:.2f} s > {one.limit} s"
        for one in totals
        if one.limit is not None and one.used > one.limit
    ]
    for text in over:
        print(f"over its limit: {text}")
    return 1 if over and not arguments.quick else 0


class Bench:
    """Two stores, one with few bubbles and one with many, and what is done in them."""

    def __init__(self, directory: Path, sizes: Sizes) -> None:
        self._directory = directory
        self._sizes = sizes
        self._few = self._filled("few", _FEW)
        self._many = self._filled("many", sizes.bubbles)
        # Away from the checkout: code there belongs to a project that is installed in place.
        program = Path(__file__).with_name("in_one_process.py")
        self._program = str(shutil.copy(program, directory / "program.py"))

    def _filled(self, name: str, count: int) -> Store:
        place = self._directory / name
        place.mkdir()
        return fill(place, count)

    def _run(self, store: Store, *words: str) -> str:
        variables = {
            **os.environ,
            "OMNIPKG_META_STORE": str(store.path),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        done = subprocess.run(
            [sys.executable, *words],
            env=variables,
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
        return done.stdout

    def cold(self) -> list[Row]:
        """Use one bubble in a fresh process, of few and of many, in turns."""
        many = self._sizes.bubbles
        rows = []
        for name, what, limit in (
            (WANTED, "", 1.2),
            (COMMON, ", where nearly every bubble holds it", None),
        ):
            stores = (self._few, self._many)
            codes = [_USES.format(name=name, store=str(store.path)) for store in stores]
            whole: tuple[list[float], list[float]] = ([], [])
            inside: tuple[list[float], list[float]] = ([], [])
            for turn in range(4 * self._sizes.rounds + 1):
                for number, store in enumerate(stores):
                    start = perf_counter()
                    told = float(self._run(store, "-c", codes[number]))
                    if turn:  # the first time nothing is noted of the bubbles
                        whole[number].append(perf_counter() - start)
                        inside[number].append(told)
            of = f"of one of {many} bubbles{what}"
            for label, (few, more) in (
                ("a program's first use", inside),
                ("a program with a use", whole),
            ):
                rows.append(
                    Row(f"{label} {of}", statistics.median(few), statistics.median(more), limit)
                )
        return rows

    def in_one_process(self) -> list[Row]:
        """Measure what a process with one of each does, and one with many."""
        sizes = self._sizes
        few, many = ["1"] * 4, [str(one) for one in sizes[1:5]]
        found: list[tuple[dict[str, float], dict[str, float]]] = []
        for _ in range(sizes.rounds):
            a, b = (
                json.loads(self._run(self._many, self._program, str(self._many.path), *counts))
                for counts in (few, many)
            )
            found.append((a, b))
        rows = []
        for key, what in _IN_ONE_PROCESS:
            pairs = [(a[key], b[key]) for a, b in found]
            # The least of each: what the machine does besides only ever adds to it.
            rows.append(
                Row(
                    what.format(**sizes._asdict()),
                    min(a for a, _ in pairs),
                    min(b for _, b in pairs),
                    1.1,
                )
            )
        return rows

    def commands(self) -> list[Total]:
        """Measure what looks at every bubble."""
        code, rounds = _LISTS.format(count=self._sizes.bubbles), self._sizes.rounds
        pairs = [self._run(self._many, "-c", code).split() for _ in range(rounds)]
        seconds, used = (statistics.median(map(float, one)) for one in zip(*pairs, strict=True))
        totals = [Total("Store().bubbles()", seconds, used, 0, 1.0)]
        for words, limit, count in (
            (("list",), 1.0, rounds),
            (("list", "--size"), None, 1),
            (("gc", "--dry-run"), None, 1),
            (("verify", "--all"), None, 1),
            (("doctor",), None, 1),
        ):
            runs = [self._command(self._many, *words) for _ in range(count)]
            seconds, used = (statistics.median(one[at] for one in runs) for at in (0, 1))
            memory = max(one.memory for one in runs)
            totals.append(Total(f"omnipkg-meta {' '.join(words)}", seconds, used, memory, limit))
        return totals

    def _command(self, store: Store, *words: str) -> Took:
        return self._took([sys.executable, "-m", "omnipkg_meta", *words], store)

    def _took(self, command: list[str], store: Store) -> Took:
        variables = {
            **os.environ,
            "OMNIPKG_META_STORE": str(store.path),
            "PYTHONDONTWRITEBYTECODE": "",  # what we run has been run before, and is compiled
        }
        nothing = subprocess.DEVNULL
        start = perf_counter()
        child = subprocess.Popen(
            command, env=variables, cwd=self._directory, stdout=nothing, stderr=nothing
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        unit = 1 if sys.platform == "darwin" else 1024
        return Took(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)

    def installs(self) -> list[Row]:
        """Build bubbles, beside uv with the same set and the same work, in turns, caches warm."""
        # Who starts more processes gets more of a machine that others use, too.
        idle = os.getloadavg()[0] < (os.cpu_count() or 1)
        rows = []
        for requirement in self._sizes.installed:
            ways: tuple[tuple[str, Callable[[str], Took]], ...] = (
                ("uv", self._by_uv),
                ("ours", self._by_us),
                ("uv, compiled", lambda one: self._by_uv(one, _COMPILE)),
                ("ours, compiled", lambda one: self._by_us(one, _COMPILE)),
            )
            took: dict[str, list[Took]] = {name: [] for name, _ in ways}
            for turn in range(self._sizes.rounds + 1):
                for name, way in ways:
                    once = way(requirement)
                    if turn:  # the first one fills the caches
                        took[name].append(once)
            clock, used = (
                {name: statistics.median(one[at] for one in took[name]) for name in took}
                for at in (0, 1)
            )
            what, limit = f"install {requirement}, beside uv", 1.25 if idle else None
            more = f"install {_COMPILE} {requirement}, beside uv"
            rows += [
                Row(what, clock["uv"], clock["ours"], limit),
                Row(f"{what}: processor", used["uv"], used["ours"], None),
                Row(more, clock["uv, compiled"], clock["ours, compiled"], limit),
                Row(f"{more}: processor", used["uv, compiled"], used["ours, compiled"], 1.25),
            ]
        return rows

    def _by_uv(self, requirement: str, *words: str) -> Took:
        target = self._directory / "target"
        command = ["uv", "pip", "install", "--quiet", "--only-binary", ":all:", *words]
        command += ["--python", sys.executable, "--target", str(target), requirement]
        took = self._took(command, self._many)
        shutil.rmtree(target)
        return took

    def _by_us(self, requirement: str, *words: str) -> Took:
        store = Store(self._directory / "installed")
        took = self._command(store, "install", "--builder", "uv", *words, requirement)
        (bubble,) = store.bubbles()
        if problems := store.verify(bubble):
            raise SystemExit(f"{bubble.id}: {problems}")
        shutil.rmtree(store.path)
        return took


def _ratios(rows: list[Row]) -> str:
    lines = ["| what | with few | with many | ratio | at most |", "|---|---|---|---|---|"]
    for row in rows:
        limit = "" if row.limit is None else f"{row.limit:g} x"
        times = f"{duration(row.few)} | {duration(row.many)}"
        lines.append(f"| {row.what} | {times} | {row.ratio:.2f} x | {limit} |")
    return "\n".join(lines)


def _totals(totals: list[Total], bubbles: int) -> str:
    lines = [f"| with {bubbles} bubbles | time | processor | memory | at most |"]
    lines.append("|---|---|---|---|---|")
    for one in totals:
        memory = f"{one.memory / 1e6:.0f} MB" if one.memory else ""
        limit = "" if one.limit is None else f"{one.limit:g} s"
        times = f"{duration(one.seconds)} | {duration(one.used)}"
        lines.append(f"| `{one.what}` | {times} | {memory} | {limit} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
