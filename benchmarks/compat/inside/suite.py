"""The tests that a package ships, run by pytest, and what each of them did.

    python suite.py JOB.json EVENTS.jsonl

With requirements in the job the tests run inside a scope, after main has imported
its own version of the package; without, in a plain environment.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder: none of its names may stand before a package's
sys.path.insert(0, str(Path(__file__).parent))
from witness import Events

sys.path.pop(0)


class Recorder:
    """A pytest plugin that writes the outcome of each phase of each test."""

    def __init__(self, say: Events) -> None:
        self._say = say

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write how a test went; what passed in its set-up and tear-down says nothing."""
        if report.when != "call" and report.outcome == "passed":
            return
        outcome = report.outcome if report.when == "call" else f"{report.when} {report.outcome}"
        if hasattr(report, "wasxfail"):
            outcome = f"expected to fail, {outcome}"
        detail = str(report.longrepr)[-2000:] if report.outcome == "failed" else ""
        self._say("outcome", id=report.nodeid, outcome=outcome, detail=detail)

    def pytest_collectreport(self, report: Any) -> None:
        """Write which files could not be collected."""
        if report.outcome != "passed":
            detail = str(report.longrepr)[-2000:]
            self._say(
                "outcome", id=report.nodeid, outcome=f"collect {report.outcome}", detail=detail
            )


def main() -> int:
    """Run the suite, and return pytest's exit code."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    say = Events(sys.argv[2])
    packages = Path(job["site_packages"])
    root, adopted = packages, []
    if job["copied"]:
        root, adopted = Path.cwd(), [_copied(packages, *job["copied"])]
        sys.path.insert(0, str(root))
    with contextlib.ExitStack() as stack:
        if job["requirements"]:
            importlib.import_module(job["package"])  # main's
            import omnipkg_meta as om

            stack.enter_context(om.use(*job["requirements"], adopt=adopted))
        import pytest

        options = ["-q", "-p", "no:cacheprovider", "-W", "default", "-c", "/dev/null"]
        code = pytest.main(
            [*options, "--rootdir", str(root), *job["arguments"]], plugins=[Recorder(say)]
        )
        file = importlib.import_module(job["package"]).__file__
    say("done", code=int(code), file=file)
    return 0


def _copied(site_packages: Path, package: str, absent: str) -> str:
    """Copy a package of tests to where it may be given a directory that no wheel has.

    Returns:
        The name that it is imported by there.
    """
    name = package.rpartition(".")[2]
    shutil.copytree(site_packages / package.replace(".", "/"), name)
    Path(name, absent).mkdir()
    return name


if __name__ == "__main__":
    sys.exit(main())
