"""Small runs of the two harnesses in ``benchmarks``: killed builds, and processes at random."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omnipkg_meta.store import builders

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.skipif(builders.find_uv() is None, reason="needs uv, to be quick"),
]


def harness(name: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, told["wrong"]) == (0, [])
    return told


def test_builds_and_removals_killed_at_random_leave_whole_bubbles_and_litter_for_gc() -> None:
    told = harness("crashes", "--count", "15")
    assert sum(told["while"].values()) == 15
    assert len(told["while"]) >= 3, "they were killed at different moments"


def test_processes_that_share_a_store_at_random_never_see_what_the_model_forbids() -> None:
    told = harness("traffic", "--processes", "3", "--steps", "20")
    assert sum(told["seen"].values()) == 60
    assert told["seen"]["install: done"] > 0


def test_processes_that_want_a_missing_bubble_at_the_same_moment_build_it_once_and_all_use_it() -> (
    None
):
    told = harness("traffic", "--processes", "12", "--steps", "1")
    assert (told["rush"]["built"], told["rush"]["used"]) == (1, 12)


@pytest.mark.slow
def test_a_full_disk_and_calls_that_fail_leave_whole_bubbles_and_litter_for_gc() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--count", "25"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    for kind in ("full", "failing"):
        assert "left out" in told[kind] or told[kind]["wrong"] == []
    assert done.returncode == 0
