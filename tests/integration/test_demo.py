"""``omnipkg-meta demo``, from nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Scene

pytestmark = pytest.mark.world


@pytest.mark.parametrize("main", ["main", "bare"])
def test_the_demo_holds_in_all_its_lines_whatever_main_has(
    scene: Scene, tmp_path: Path, main: str
) -> None:
    environment = scene.bare if main == "bare" else scene.main
    words: list[str | Path] = ["-m", "omnipkg_meta", "demo", "--store", tmp_path / "demo"]
    for _ in range(2):  # from nothing, and with everything there
        done = scene.run(*words, environment=environment, builds=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "FAIL" not in done.stdout
        held = len(re.findall(r"^ +ok ", done.stdout, re.MULTILINE))
        assert f"All {held} checks held" in done.stdout
        assert held >= 12
        assert "\x1b" not in done.stdout  # nobody sees colours in a pipe
    assert {path.name.split("-")[0] for path in (tmp_path / "demo").glob("*/*")} == {
        "rich",
        "numpy",
    }


def test_a_demo_that_cannot_build_says_why_and_fails(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = scene.run("-m", "omnipkg_meta", "demo", "--store", tmp_path / "file", builds=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
