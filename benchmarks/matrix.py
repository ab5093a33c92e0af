"""One library on several versions of what it needs: ``pytest --bubbles`` beside nox.

    python -m benchmarks.matrix [--rounds N] [--markdown docs/testing.md] [--json FILE]

The same tests of the same library are run on the same versions, by one process with
a bubble for each, and by nox with an environment for each (uv as its backend; tox does
the same).  Cold is what a fresh machine does, from uv's warm cache of archives, so that
the network is not measured: bubbles, or environments, are made and the tests run.  Warm
is what a developer does all day: they are there, and the tests run (``nox -R``).

Both take turns, and in each round every test has to pass, on every version.

Needs ``nox`` and ``uv`` (the ``dev`` and ``all`` extras) and the package index.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.environments import ROOT, environment, run
from benchmarks.figures import measured_on, write_figures

VERSIONS = ("1.10.*", "2.5.*", "2.8.*", "2.11.*")
CASES = 50

_FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "orders"
version = "0.1"
dependencies = ["pydantic"]

[tool.pytest.ini_options]
testpaths = ["tests"]
""",
    "orders/__init__.py": """\
import pydantic


class Order(pydantic.BaseModel):
    number: int
    articles: dict[str, int]

    def as_json(self) -> str:
        return self.model_dump_json() if hasattr(self, "model_dump_json") else self.json()


def read(text: str) -> Order:
    new = getattr(Order, "model_validate_json", None)
    return new(text) if new is not None else Order.parse_raw(text)
""",
    "tests/test_orders.py": f"""\
import pydantic
import pytest

from orders import Order, read


@pytest.fixture(scope="module")
def version():
    return pydantic.VERSION


@pytest.mark.parametrize("number", range({CASES - 1}))
def test_roundtrip(number):
    order = Order(number=number, articles={{"pen": number}})
    assert read(order.as_json()) == order


def test_wrong(version):
    with pytest.raises(pydantic.ValidationError):
        Order(number="many", articles={{}})
    print("pydantic", version)
""",
    "noxfile.py": f"""\
import nox

nox.options.default_venv_backend = "uv"


@nox.session
@nox.parametrize("pydantic", {list(VERSIONS)!r})
def tests(session, pydantic):
    session.install("-e", ".", "pytest", f"pydantic=={{pydantic}}")
    session.run("pytest", "-q", "-rP", "-p", "no:cacheprovider")
""",
}


class Bench:
    """The library, an environment to test it in, and how each way is started.

    Args:
        path: an empty directory.
    """

    def __init__(self, path: Path) -> None:
        self.project = path / "orders"
        for name, text in _FILES.items():
            file = self.project / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self._main = path / "main"
        self._store = path / "store"
        project = (f"{ROOT}[all]", "pytest", "-e", str(self.project))
        environment(self._main, *project, compiled=False)

    def bubbles(self, *options: str) -> float:
        """Run the tests by one process, and return how many seconds it took."""
        words = [word for one in VERSIONS for word in ("--bubbles", f"pydantic=={one}")]
        command = (str(self._main / "bin" / "pytest"), "-q", "-rP", "-p", "no:cacheprovider")
        return self._timed([*command, *words, *options])

    def environments(self, *options: str) -> float:
        """Run the tests by nox, and return how many seconds it took."""
        return self._timed([sys.executable, "-m", "nox", "-s", "tests", *options])

    def clean(self) -> None:
        """Remove bubbles and environments."""
        shutil.rmtree(self._store, ignore_errors=True)
        shutil.rmtree(self.project / ".nox", ignore_errors=True)

    def _timed(self, command: list[str]) -> float:
        variables = {**os.environ, "OMNIPKG_META_STORE": str(self._store)}
        began = time.perf_counter()
        text = run(*command, cwd=self.project, variables=variables)
        took = time.perf_counter() - began
        passed = sum(map(int, re.findall(r"(\d+) passed", text)))
        # Each version prints itself once: the right ones, and each of them.
        seen = re.findall(r"^pydantic (\d+\.\d+)", text, re.MULTILINE)
        if passed != CASES * len(VERSIONS) or seen != [one[:-2] for one in VERSIONS]:
            raise SystemExit(f"{passed} passed, on {seen}:\n{text}")
        return took


def measure(path: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of both ways, cold and warm: one process, environments."""
    bench = Bench(path)
    bench.bubbles("--bubble-install")  # fills the caches
    bench.environments()
    taken: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": []}
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        bench.clean()
        taken["cold"].append((bench.bubbles("--bubble-install"), bench.environments()))
        taken["warm"].append((bench.bubbles(), bench.environments("-R")))
    return {
        name: (statistics.median(one for one, _ in pairs), statistics.median(x for _, x in pairs))
        for name, pairs in taken.items()
    }


def as_markdown(taken: dict[str, tuple[float, float]]) -> str:
    """Return the figures as a table."""
    what = {"cold": "made, and run", "warm": "run"}
    lines = [
        "| | `pytest --bubbles` | nox, an environment each | ratio |",
        "|---|---|---|---|",
    ]
    for name, (ours, theirs) in taken.items():
        lines.append(f"| {what[name]} | {ours:.1f} s | {theirs:.1f} s | {theirs / ours:.1f} x |")
    return "\n".join(lines)


def main() -> int:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="write the table into this page")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="matrix-") as path:
        taken = measure(Path(path), arguments.rounds)
    table = as_markdown(taken)
    how = f"{CASES} tests on {len(VERSIONS)} versions of pydantic"
    how += f", medians of {arguments.rounds} rounds"
    print(f"{measured_on(how)}\n\n{table}")
    if arguments.markdown is not None:
        write_figures(arguments.markdown, table, how)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(taken, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
