"""``omnipkg-meta map``: the program runs as it would, and leaves its map however it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World


def run(world: World, *words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "omnipkg_meta", "map", *map(str, words)],
        env=world.environment,
        cwd=world.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def data(world: World, name: str = "omnipkg-map.json") -> Any:
    return json.loads((world.path / name).read_text())


def test_a_program_that_enters_scopes_leaves_a_page(world: World) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1", main="2")
    (world.path / "app.py").write_text(
        f"import sys, omnipkg_meta as om\n"
        f"with om.use('{name}==1'):\n    import {name}\n"
        f"print({name}.__version__, sys.argv)\n"
    )
    done = run(world, "-o", "out.html", "app.py", "-o", "theirs")
    assert done.stdout == "1 ['app.py', '-o', 'theirs']\n"
    assert done.stderr == f"map: {world.path / 'out.html'}\n"
    page = (world.path / "out.html").read_text("utf-8")
    assert bubble.id in page
    assert "app.py -o theirs" in page


def test_a_bubble_laid_over_the_program_is_on_the_map(world: World) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1", main="2")
    run(world, "--json", "--with", f"{name}==1", "-c", f"import {name}")
    told = data(world)
    (edge,) = (one for one in told["edges"] if one["top"] == name)
    sides = {one["key"]: one["name"] for one in told["realms"]}
    assert (edge["by"], sides[edge["realm"]], edge["how"]) == ("__main__", bubble.id, "statement")
    assert told["run"]["ended"] == "it came to its end"


@pytest.mark.parametrize(
    ("code", "status", "ended"),
    [
        ("raise SystemExit(3)", 3, "it came to its end"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_program_that_fails_leaves_its_map_too(
    world: World, code: str, status: int, ended: str
) -> None:
    run(world, "--json", "-c", code, status=status)
    assert data(world)["run"]["ended"] == ended


def test_imports_of_the_whole_program_are_recorded_until_its_own_exit_functions(
    world: World,
) -> None:
    first, last = world.name("first"), world.name("last")
    for one in (first, last):
        world.module(one, "")
    run(
        world,
        "--json",
        "-c",
        f"import atexit, {first}\natexit.register(lambda: __import__('{last}'))",
    )
    (main,) = data(world)["realms"]
    timed = {one["name"]: one for one in main["modules"] if one["total"] is not None}
    assert {first, last} <= timed.keys()
    assert timed[first]["by"] == ["__main__", "main"]


def test_children_leave_no_map_in_the_place_of_their_parents(world: World) -> None:
    code = (
        "import os, subprocess, sys\n"
        "assert 'OMNIPKG_META_MAP' not in os.environ\n"
        "subprocess.run([sys.executable, '-c', 'pass'], check=True)\n"
        "if hasattr(os, 'fork'):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        raise SystemExit(0)\n"
        "    os.waitpid(child, 0)\n"
        "    assert not os.path.exists('omnipkg-map.json')\n"
        "print(os.getpid())\n"
    )
    done = run(world, "--json", "-c", code)
    assert data(world)["run"]["pid"] == int(done.stdout)


def test_what_cannot_be_written_is_said_before_the_program_runs(world: World) -> None:
    done = run(world, "-o", "no/such/place.html", "-c", "print('ran')", status=2)
    assert "cannot be written" in done.stderr
    assert "ran" not in done.stdout
    done = run(world, "--json", "-o", "page.html", "-c", "pass", status=2)
    assert "go together" in done.stderr
    assert not list(world.path.glob("*.html"))


@pytest.mark.skipif(os.name == "nt", reason="no such permissions there")
def test_a_place_that_vanishes_while_the_program_runs_is_an_error_and_not_a_traceback(
    world: World,
) -> None:
    (world.path / "gone").mkdir()
    done = run(world, "-o", "gone/map.html", "-c", "import os; os.rmdir('gone')")
    assert done.stderr.startswith("error: the map cannot be written to ")
    assert "Traceback" not in done.stderr
