"""What a program has loaded before makes no difference to what it loads next."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from omnipkg_meta.store.bubble import Bubble
    from tests.conftest import MakeBubble

#: Enters each bubble and imports from it; counts all calls, of C functions too, of some.
_PROGRAM = """\
import json, os, sys
import omnipkg_meta as om

def steps():
    seen = list(sys.modules.items())
    import importlib.metadata
    return [len(seen), importlib.metadata.version("leaf")]

counts = []
count = 0
def note(frame, event, argument):
    global count
    count += event in ("call", "c_call")

for number, path in enumerate(sorted(os.listdir(sys.argv[1]))):
    bubble = om.Bubble.open(os.path.join(sys.argv[1], path))
    before, told = count, None
    sys.setprofile(note)
    with om.use(bubble):
        import leaf, dep
        told = steps()
    sys.setprofile(None)
    counts.append(count - before)
    assert leaf.__file__.startswith(str(bubble.path)) and leaf.dep is dep
    assert dep.__file__.startswith(str(bubble.path))
    del leaf, dep
print(json.dumps(counts))
"""


@pytest.fixture
def many(make_bubble: MakeBubble, tmp_path: Path) -> Path:
    """A directory of bubbles of one package, each with a copy of its dependency."""
    model: Bubble = make_bubble(
        {"leaf==1.0": {"leaf.py": "import dep\n"}, "dep==1.0": {"dep.py": "x = 1\n"}}
    )
    place = tmp_path / "many"
    place.mkdir(mode=0o700)
    for number in range(40):
        shutil.copytree(model.path, place / f"leaf-{number:03}", symlinks=True)
    return place


def test_using_one_more_bubble_takes_as_many_calls_after_forty_others_as_after_five(
    many: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(many)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts: list[Any] = json.loads(done.stdout)
    assert len(counts) == 40
    early, late = min(counts[5:10]), min(counts[35:])
    assert late <= early * 1.02, counts
