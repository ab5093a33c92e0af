"""The command: which parts are measured, and where the figures go.

Exit code: 0 all limits held, 1 some did not; a quick run only looks for wrong results.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import write_figures
from benchmarks.speed import first, growth, memory, others, statements, throughput
from benchmarks.speed.places import Places
from benchmarks.speed.rows import over, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.speed.rows import Other, Row


def main() -> int:
    """Measure, print, and say by the exit code whether all limits held."""
    parts: dict[str, Callable[..., Sequence[Row | Other]]] = {
        "statements": statements.rows,
        "first": first.rows,
        "memory": memory.rows,
        "throughput": throughput.rows,
        "growth": growth.rows,
        "others": others.rows,
    }
    parser = argparse.ArgumentParser(description="what the hooks cost, as ratios to plain Python")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer repetitions: for CI, where only wrong results count",
    )
    parser.add_argument("--only", action="append", choices=parts, help="measure only this part")
    parser.add_argument(
        "--ray", action="store_true", help="beside Ray, too, also where it is not installed"
    )
    parser.add_argument("--markdown", type=Path, help="write the tables into this page")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    arguments = parser.parse_args()
    if arguments.markdown and (arguments.only or arguments.quick):
        parser.error("--markdown is for a whole run")
    ray = arguments.ray or importlib.util.find_spec("ray") is not None
    parts["others"] = functools.partial(others.rows, ray=ray)
    chosen = arguments.only or list(parts)
    found: dict[str, list[Row | Other]] = {}
    with tempfile.TemporaryDirectory(prefix="speed-") as directory:
        start = time.monotonic()
        places = Places(Path(directory))
        for name in chosen:
            print(f"[{time.monotonic() - start:4.0f} s] {name}", file=sys.stderr)
            found[name] = [*parts[name](places, quick=arguments.quick)]
        print(f"[{time.monotonic() - start:4.0f} s] done", file=sys.stderr)
    rows = [row for part in found.values() for row in part]
    print(tables(rows))
    if arguments.json:
        told = {
            name: [{**row._asdict(), "ratio": row.ratio, "over": row.over} for row in part]
            for name, part in found.items()
        }
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    if arguments.markdown:
        write_figures(arguments.markdown, tables(rows))
    for text in over(rows):
        print(f"over its limit: {text}")
    return 1 if over(rows) and not arguments.quick else 0


if __name__ == "__main__":
    sys.exit(main())
