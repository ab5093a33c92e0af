"""The tests that numpy ships: in a bubble, from main's pytest, beside main's numpy."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import NUMPY

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

#: Counts in a plain environment, on CPython 3.11 with numpy 1.26.4.
KNOWN = {
    "numpy.linalg": "414 passed, 2 skipped, 1 xfailed",
    "numpy.ma": "4286 passed, 2 xfailed",
}


@pytest.mark.parametrize(
    "package",
    [
        "numpy.linalg",
        pytest.param("numpy.ma", marks=pytest.mark.slow),
        pytest.param("numpy.lib", marks=pytest.mark.slow),
    ],
)
def test_numpys_own_tests_give_the_same_counts_as_in_a_plain_environment(
    scene: Scene, plain: Path, program: Program, package: str
) -> None:
    script = program(
        f"""
        import sys

        import numpy  # main's
        import omnipkg_meta as om
        import pytest

        # Together with hypothesis, which makes arrays for some of the tests: main's
        # hypothesis was installed with main's numpy, and answers to that one.
        with om.use({NUMPY!r}, "hypothesis", install=True):
            sys.exit(pytest.main(sys.argv[1:]))
        """,
    )
    words = ["-q", "-p", "no:cacheprovider", "-W", "default", "--pyargs", package]
    with ThreadPoolExecutor(2) as pool:
        # Without byte code: pytest would leave that of the tests beside them.
        in_bubble = pool.submit(scene.run, "-B", script, *words, timeout=1500)
        in_plain = pool.submit(
            scene.run, "-B", "-m", "pytest", *words, environment=plain, timeout=1500
        )
    ours, theirs = in_bubble.result(), in_plain.result()
    assert counts(ours) == counts(theirs), ours.stdout
    assert ours.returncode == theirs.returncode, ours.stderr
    if sys.version_info[:2] == (3, 11) and package in KNOWN:
        assert counts(ours) == KNOWN[package]


def counts(done: subprocess.CompletedProcess[str]) -> str:
    """Return what pytest's last line says, without the time and the warnings."""
    found = re.search(r"^(\d.*) in [\d.]+s", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    return re.sub(r", \d+ warnings?", "", found[1])
