"""The command: which rows, and where the result goes.

    python benchmarks/compat [--only NAME] [--quick] [--no-figures] [--again] [--failed]
                             [--markdown docs/compatibility.md] [--json FILE]

What is done already is not done again: each row's results are kept in the work
folder, by version and by a fingerprint of this library's sources.  Needs uv and
the package index; the whole takes hours, and some 10 GB at a time.

Exit code: 0 every row passes or has no wheel here; 1 some do not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)

from benchmarks.compat import report  # noqa: E402  (this is a script; the path comes first)
from benchmarks.compat.places import Places  # noqa: E402
from benchmarks.compat.rows import Bench, interpreter  # noqa: E402
from benchmarks.compat.table import QUICK, Resolver, rows  # noqa: E402


def main() -> int:
    """Run the rows that were asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="only this row")
    parser.add_argument("--quick", action="store_true", help="only the part for CI, no figures")
    parser.add_argument("--no-figures", action="store_true", help="measure no time and memory")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--failed", action="store_true", help="only rows that did not pass before")
    parser.add_argument("--keep", action="store_true", help="leave environments and bubbles")
    parser.add_argument("--python", default=interpreter(), help="the interpreter to run rows with")
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".compat", help="where results and environments go"
    )
    parser.add_argument("--markdown", type=Path, help="write the table into this file")
    parser.add_argument("--json", type=Path, help="write all results into this file")
    arguments = parser.parse_args()

    chosen = rows()
    names = QUICK if arguments.quick else arguments.only
    if names:
        unknown = set(names) - {row.name for row in chosen}
        if unknown:
            parser.error(f"no such row: {', '.join(sorted(unknown))}")
        chosen = [row for row in chosen if row.name in names]
    places = Places(arguments.work, arguments.python)
    if arguments.failed:
        chosen = [row for row in chosen if not _passed(places, row.name)]
    resolver = Resolver(arguments.python, places.path / "versions.json", afresh=arguments.again)
    bench = Bench(
        places,
        resolver,
        again=arguments.again,
        keep=arguments.keep,
        figures=not (arguments.quick or arguments.no_figures),
        say=_tell,
    )
    results = []
    start = time.monotonic()
    for number, row in enumerate(chosen, 1):
        _tell(f"[{number}/{len(chosen)} {time.monotonic() - start:5.0f} s] {row.name}")
        result = bench.row(row)
        results.append(result)
        versions = f"{result.get('newest', '')} + {result.get('older', '')}"
        _tell(f"  {row.name} {versions}: {result['status']} {result.get('reason', '')[:300]}")
        _keep(places, row.name, result)
    print(report.page(results, places.python_version))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if arguments.markdown:
        report.write(arguments.markdown, report.page(results, places.python_version))
    return 0 if all(result["status"] in ("passes", "no wheel") for result in results) else 1


def _passed(places: Places, name: str) -> bool:
    file = places.results / name / "row.json"
    return file.exists() and json.loads(file.read_text("utf-8"))["status"] in ("passes", "no wheel")


def _keep(places: Places, name: str, result: dict[str, object]) -> None:
    file = places.results / name / "row.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
