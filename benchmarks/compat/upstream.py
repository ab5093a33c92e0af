"""The tests that packages ship: plain, and inside a scope; every outcome the same.

    python -m benchmarks.compat.upstream [--only NAME] [--quick] [--again]

Main has the newest version of the package, imports it, and runs the tests of an
older one, which is in a bubble, with its own pytest.  Tests that do not do the
same thing twice in a plain environment are told apart by running both again.

Exit code: 0 no difference; 1 differences; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.compat import report
from benchmarks.compat.places import INSIDE, ROOT, Outcome, Places, fingerprint, run
from benchmarks.compat.table import Resolver, Row, Version, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LIMIT = 1200.0


@dataclass(frozen=True)
class Suite:
    """The tests of a package that are run.

    Attributes:
        name: the distribution.
        package: what it is imported as.
        parts: what pytest is given with ``--pyargs``.
        needs: what the tests need besides, in the bubble and in the plain environment.
        options: further options of pytest.
        whole: whether the parts are all there is.
        copied: the package that the tests are in, and a directory in it without which they
            refuse to run, and which wheels do not have: a copy of the package gets an empty
            one, in both environments.
    """

    name: str
    package: str
    parts: tuple[str, ...]
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    whole: bool = False
    copied: tuple[str, str] | None = None

    @property
    def arguments(self) -> list[str]:
        """What pytest is given."""
        if self.copied is None:
            return [*self.options, "--pyargs", *self.parts]
        return [*self.options, *(f"{'/'.join(one.split('.')[-2:])}.py" for one in self.parts)]


#: The slow ones in a fixed part that takes less than three minutes; of mpmath the files that
#: leave its precision as they find it: a conftest that no wheel has puts it back for the rest.
SUITES = (
    Suite("simplejson", "simplejson", ("simplejson",), whole=True),
    Suite(
        *("mpmath", "mpmath"),
        tuple(
            f"mpmath.tests.test_{part}"
            for part in (
                *("fp", "identify", "linalg", "matrices", "power", "rootfinding"),
                *("special", "trig"),
            )
        ),
        needs=("hypothesis",),
    ),
    Suite(
        *("joblib", "joblib", ("joblib.test",)),
        needs=("threadpoolctl",),
        # It forks while threads run, and waits for ever in a plain environment as well.
        options=("-k", "not test_error_capture"),
    ),
    Suite(
        *("tornado", "tornado", ("tornado.test",)),
        options=("-o", "python_files=*_test.py"),
        whole=True,
    ),
    Suite("h5py", "h5py", ("h5py.tests",), whole=True),
    Suite(
        *("numpy", "numpy", ("numpy.linalg", "numpy.fft", "numpy.polynomial", "numpy.ma")),
        needs=("hypothesis",),
    ),
    Suite(
        *("pandas", "pandas", ("pandas.tests.groupby", "pandas.tests.reshape")),
        needs=("hypothesis",),
    ),
    Suite(
        *("scipy", "scipy", ("scipy.fft", "scipy.cluster", "scipy.interpolate", "scipy.ndimage")),
        needs=("hypothesis",),
    ),
    Suite(
        *("scikit-learn", "sklearn"),
        ("sklearn.cluster", "sklearn.tree", "sklearn.svm", "sklearn.neighbors"),
    ),
    Suite(
        *("matplotlib", "matplotlib"),
        tuple(
            f"matplotlib.tests.test_{part}"
            for part in ("colors", "cbook", "ticker", "transforms", "path", "ft2font", "rcparams")
        ),
        copied=("matplotlib.tests", "baseline_images"),
    ),
)
QUICK = ("simplejson", "numpy")
#: In CI a part of a part: ``--quick``.
_QUICK_PARTS = {"numpy": ("numpy.linalg",)}


@dataclass
class Bench:
    """Runs suites."""

    places: Places
    resolver: Resolver
    again: bool

    def suite(self, suite: Suite) -> dict[str, Any]:
        """Run a suite plain and in a scope, and return what it did and what differs."""
        row = next((row for row in rows() if row.name == suite.name), Row(suite.name, ()))
        newest = self.resolver.newest(row)
        older = next(iter(self.resolver.older(row, newest)))
        plains = self.resolver.together(older, *suite.needs, "pytest")
        file = self.places.results / f"upstream-{suite.name}.json"
        key = [
            *(self.places.library, fingerprint(INSIDE, "suite.py", "witness.py")),
            *(repr(suite), *newest.pins, *plains),
        ]
        if file.exists() and not self.again:
            kept: dict[str, Any] = json.loads(file.read_text("utf-8"))
            if kept["key"] == key:
                return kept
        python = self.places.environment(f"{suite.name}-{older.version}-suite", plains)
        plain = self._run(suite, python, [], _site_packages(python))
        main = self._main(suite, newest)
        asked = [older.requirement, *suite.needs]
        bubble = self._bubble(suite, asked)
        scope = self._run(suite, main, asked, bubble)
        found = differences([plain], [scope])
        unstable: list[str] = []
        if found:  # are they what a scope makes of them, or does plain differ from plain?
            second = self._run(suite, python, [], _site_packages(python))
            again = self._run(suite, main, asked, bubble)
            firm = differences([plain, second], [scope, again])
            unstable = sorted(set(found) - set(firm))
            found = firm
        result = {
            "key": key,
            "name": suite.name,
            "main": newest.version,
            "older": older.version,
            "parts": suite.parts,
            "whole": suite.whole,
            "plain": totals(plain),
            "scope": totals(scope),
            "seconds": [plain.seconds, scope.seconds],
            "differences": [self.places.brief(line) for line in found],
            "unstable": [self.places.brief(line) for line in unstable],
        }
        file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        return result

    def _main(self, suite: Suite, newest: Version) -> Path:
        return self.places.environment(
            f"main-{suite.name}-suite", [str(self.places.wheel()), *newest.pins, "pytest"]
        )

    def _bubble(self, suite: Suite, asked: list[str]) -> Path:
        done = run(
            self.places.builder(),
            "build.py",
            {"requirements": asked},
            self.places.path / "runs" / f"{suite.name}-suite-build",
            limit=_LIMIT,
            variables=self.places.variables,
        )
        bubble = done.of("bubble")
        if not bubble:
            raise SystemExit(f"no bubble of {asked}: {done.of('done')} {done.stderr}")
        return Path(bubble[0]["site_packages"])

    def _run(self, suite: Suite, python: Path, asked: list[str], packages: Path) -> Outcome:
        where = "scope" if asked else "plain"
        job = {
            "package": suite.package,
            "requirements": asked,
            "site_packages": str(packages),
            "arguments": suite.arguments,
            "copied": suite.copied,
        }
        done = run(
            python,
            "suite.py",
            job,
            self.places.path / "runs" / f"{suite.name}-suite-{where}",
            limit=_LIMIT,
            variables={
                **self.places.variables,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONDONTWRITEBYTECODE": "1",  # nothing goes into a bubble
                "PYTHONHASHSEED": "0",  # parameters made from sets
                "MPLBACKEND": "agg",
            },
        )
        for event in done.of("done"):
            if not event["file"].startswith(str(packages)):
                done.ended = f"the tests were those of {event['file']}"
        _tell(f"  {where}: {totals(done)} in {done.seconds:.0f} s {done.end}")
        return done


def outcomes(done: Outcome) -> dict[str, Counter[str]]:
    """Return the outcomes by test."""
    found: dict[str, Counter[str]] = {}
    for event in done.of("outcome"):
        name = re.sub(r"\b0x[0-9a-f]+", "0x…", event["id"])
        found.setdefault(name, Counter())[event["outcome"]] += 1
    return found


def differences(plain: Sequence[Outcome], scope: Sequence[Outcome]) -> list[str]:
    """Return the tests that did in no run in a scope what they did in a plain run.

    A run that did not come to its end, or in which no test passed, is a difference too.
    """
    found = [f"{one.end}: {one.stderr[-500:]}" for one in (*plain, *scope) if one.end]
    found += [
        f"no test passed: {totals(one)}"
        for one in (*plain, *scope)
        if not any(counts["passed"] for counts in outcomes(one).values())
    ]
    before, after = [outcomes(one) for one in plain], [outcomes(one) for one in scope]
    nothing: Counter[str] = Counter()
    for name in sorted({name for one in (*before, *after) for name in one}):
        was = [one.get(name, nothing) for one in before]
        then = [one.get(name, nothing) for one in after]
        if not any(one in then for one in was):
            found.append(f"{name}: plain: {_words(was[0])}; in a scope: {_words(then[0])}")
    return found


def totals(done: Outcome) -> str:
    """Return how many tests did what."""
    counts = sum(outcomes(done).values(), Counter[str]())
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))


def page(results: Sequence[dict[str, Any]], python: str) -> str:
    """Return the part of the page that the command makes."""
    return "\n".join(_lines(results, python))


def main() -> int:
    """Run the suites that were asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="only this package")
    parser.add_argument("--quick", action="store_true", help="only the part for CI")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to use")
    parser.add_argument(
        "--work", type=Path, default=ROOT / ".compat", help="where results and environments go"
    )
    parser.add_argument("--markdown", type=Path, help="write the table into this file")
    parser.add_argument("--json", type=Path, help="write all results into this file")
    arguments = parser.parse_args()
    names = QUICK if arguments.quick else arguments.only
    if names and set(names) - {suite.name for suite in SUITES}:
        parser.error(f"the suites are {', '.join(suite.name for suite in SUITES)}")
    chosen = [suite for suite in SUITES if not names or suite.name in names]
    if arguments.quick:
        chosen = [
            Suite(
                *(suite.name, suite.package, _QUICK_PARTS.get(suite.name, suite.parts)),
                *(suite.needs, suite.options),
            )
            for suite in chosen
        ]
    places = Places(arguments.work, arguments.python)
    resolver = Resolver(arguments.python, places.path / "versions.json", afresh=False)
    bench = Bench(places, resolver, arguments.again)
    results = []
    for suite in chosen:
        _tell(suite.name)
        results.append(bench.suite(suite))
        for line in results[-1]["differences"][:5]:
            _tell(f"  DIFFERENT: {line[:500]}")
    print(page(results, places.python_version))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if arguments.markdown:
        report.write(arguments.markdown, page(results, places.python_version), "upstream")
    return 1 if any(result["differences"] for result in results) else 0


def _lines(results: Sequence[dict[str, Any]], python: str) -> Iterator[str]:
    yield f"CPython {python}."
    yield ""
    yield "| tests of | version | in main | parts | outcomes, plain | differences |"
    yield "|---|---|---|---|---|---|"
    for one in results:
        parts = "all" if one["whole"] else ", ".join(one["parts"])
        yield (
            f"| {one['name']} | {one['older']} | {one['main']} | {parts} | {one['plain']} "
            f"| {len(one['differences'])} |"
        )
    for title, kind in (
        ("Different inside a scope", "differences"),
        ("Not the same in two plain runs either, or the same in a second try", "unstable"),
    ):
        lines = [f"- `{line[:300]}`" for one in results for line in one[kind]]
        if lines:
            yield from ("", f"### {title}", "", *(line.replace("\n", " ") for line in lines[:60]))
            if len(lines) > 60:
                yield f"- and {len(lines) - 60} more"


def _site_packages(python: Path) -> Path:
    (found,) = python.parent.parent.glob("lib/python*/site-packages")
    return found


def _words(counted: Counter[str]) -> str:
    return (
        ", ".join(f"{one} ({n} times)" if n > 1 else one for one, n in counted.items()) or "not run"
    )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
