"""Tasks of several versions on a cluster: Dask's throughput, and how soon a first task is done.

    python -m benchmarks.distributed [--quick] [--markdown docs/distributed.md] [--json FILE]

Two Dask workers, processes of two threads each, run ten thousand tasks that import rich, one
version after another from three bubbles, and as many that see main's: in turns, so that a busy
machine is busy for both; and since it may be busier for one of them, the limit is on the
processor's time of client, scheduler and workers together.  The first task of a version of
which there is no bubble yet, on a cluster that runs, stands beside the same on Ray in a scope,
and in the environment that Ray makes with uv (``runtime_env``); uv has the wheels in its cache.
Every task is checked to have seen its own version.

Needs ``uv`` (the ``all`` extra) and the package index.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.environments import ROOT, environment, run
from benchmarks.figures import duration, measured_on, write_figures

MAIN = "rich==13.7.1"
VERSIONS = ("13.7.0", "13.5.3", "13.4.2")
#: Of which there is no bubble until a task asks for it.
MISSING = "13.6.0"
#: What the throughput with versions has to be of that without, for the same processor's time.
AT_LEAST = 0.95
_WORKERS = 2


class Sizes(NamedTuple):
    """How many tasks in a turn, how many turns, and how many processes for first tasks."""

    tasks: int
    turns: int
    rounds: int


_WHOLE, _QUICK = Sizes(200, 50, 5), Sizes(60, 1, 1)


class Bench:
    """An environment with Dask and Ray, a store of three bubbles, and copies of the programs.

    In the checkout they would count as code of this library, where that is installed in place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._variables = {**os.environ, "OMNIPKG_META_STORE": str(path / "store")}
        wanted = (f"{ROOT}[dask]", MAIN, "ray", "uv", "virtualenv", "pip")
        self._python = environment(path / "main", *wanted, compiled=False)
        for version in (*VERSIONS, MISSING):  # the last fills uv's cache
            self._command("install", f"rich=={version}")
        for name in ("cluster_tasks.py", "on_dask.py", "on_ray.py"):
            shutil.copy(Path(__file__).with_name(name), path)

    def dask(self, tasks: int, turns: int) -> Any:
        """Return what benchmarks/on_dask.py says."""
        self._command("remove", "--yes", f"rich=={MISSING}")
        versions = [f"rich=={one}" for one in (MISSING, *VERSIONS)]
        counts = [str(one) for one in (tasks, turns, _WORKERS)]
        return self._program("on_dask.py", "rich", *counts, *versions)

    def ray(self) -> Any:
        """Return what benchmarks/on_ray.py says."""
        self._command("remove", "--yes", f"rich=={MISSING}")
        return self._program("on_ray.py", "rich", *VERSIONS[1:], MISSING)

    def _program(self, name: str, *arguments: str) -> Any:
        told = self._run(str(self._path / name), *arguments)
        return json.loads(told.splitlines()[-1])

    def _command(self, *words: str) -> None:
        self._run("-m", "omnipkg_meta", *words)

    def _run(self, *words: str) -> str:
        return run(str(self._python), *words, cwd=self._path, variables=self._variables)


class Throughput(NamedTuple):
    """One line of the first table, in seconds of all turns; ratios are medians of the turns.

    Attributes:
        what: how the tasks are sent.
        without: the seconds without versions.
        versions: the seconds with.
        ratio: the throughput with versions, divided by that without.
        used: the same for the processor's time.
    """

    what: str
    without: float
    versions: float
    ratio: float
    used: float

    @classmethod
    def of(cls, how: str, took: dict[str, list[tuple[float, float]]]) -> Throughput:
        """Return what the turns have come to."""
        pairs = list(zip(took[f"{how}, without"], took[f"{how}, with"], strict=True))
        without, versions = (sum(one[way][0] for one in pairs) for way in (0, 1))
        by_clock, by_processor = (
            statistics.median(plain[kind] / ours[kind] for plain, ours in pairs) for kind in (0, 1)
        )
        return cls(how, without, versions, by_clock, by_processor)


def measure(path: Path, sizes: Sizes) -> tuple[list[Throughput], dict[str, float]]:
    """Return the throughput of each way to send tasks, and the median seconds of the rest."""
    bench = Bench(path)
    took = bench.dask(sizes.tasks, sizes.turns)
    rows = [Throughput.of(how, took) for how in ("submitted", "mapped")]
    found: dict[str, list[float]] = {}
    for number in range(sizes.rounds):
        print(f"round {number + 1} of {sizes.rounds}", file=sys.stderr)
        found.setdefault("dask", []).append(bench.dask(12, 1)["first"])
        for key, seconds in bench.ray().items():
            found.setdefault(key, []).append(seconds)
    return rows, {key: statistics.median(seconds) for key, seconds in found.items()}


def as_markdown(rows: list[Throughput], firsts: dict[str, float], sizes: Sizes) -> str:
    """Return the figures as two tables."""
    tasks = sizes.tasks * sizes.turns
    shown = "without versions | three versions in turn | throughput | by processor's time"
    lines = [f"| {tasks} tasks | {shown} | at least |", "|---|---|---|---|---|---|"]
    for row in rows:
        times = f"{duration(row.without)} | {duration(row.versions)}"
        ratios = f"{row.ratio:.2f} x | {row.used:.2f} x | {AT_LEAST} x"
        lines.append(f"| {row.what} | {times} | {ratios} |")
    ways = ("Dask, `Bubbles`", "Ray, a scope", 'Ray, `runtime_env={"uv": ...}`')
    lines += ["", f"| of a version | {' | '.join(ways)} |", "|---|---|---|---|"]
    made = (firsts[key] for key in ("dask", "scope, to be made", "uv, to be made"))
    lines.append(f"| the first task, and what it needs | {' | '.join(map(duration, made))} |")
    later = (firsts[key] for key in ("scope, alternating", "uv, alternating"))
    shown = " | ".join(map(duration, later))
    lines.append(f"| each later task, alternating with another version | | {shown} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and say by the exit code whether the throughput is what it has to be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="less of all: only results count")
    parser.add_argument("--turns", type=int, help="how many turns, if not as many as usual")
    parser.add_argument("--rounds", type=int, help="how many clusters, if not as many as usual")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page")
    parser.add_argument("--json", type=Path, help="write the figures there, in seconds")
    arguments = parser.parse_args()
    sizes = _QUICK if arguments.quick else _WHOLE
    sizes = sizes._replace(
        turns=arguments.turns or sizes.turns, rounds=arguments.rounds or sizes.rounds
    )
    with tempfile.TemporaryDirectory(prefix="distributed-") as path:
        rows, firsts = measure(Path(path), sizes)
    tables = as_markdown(rows, firsts, sizes)
    how = f"medians of {sizes.turns} turns of {sizes.tasks} tasks, and of {sizes.rounds} clusters"
    print(f"{measured_on(how)}\n\n{tables}")
    if arguments.markdown is not None:
        write_figures(arguments.markdown, tables, how)
    if arguments.json is not None:
        told = {"throughput": [row._asdict() for row in rows], "first": firsts}
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    low = [row for row in rows if row.used < AT_LEAST]
    for row in low:
        print(f"below its limit: {row.what}: {row.used:.2f} < {AT_LEAST}")
    return 1 if low and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
