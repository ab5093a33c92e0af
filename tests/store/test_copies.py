"""Copies of bubbles: made once, whole or not there, and part of their bubble."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli import main
from omnipkg_meta.errors import StoreError
from omnipkg_meta.store import copies
from omnipkg_meta.store.bubble import COPIES, MANIFEST
from omnipkg_meta.store.bytecode import compile_rest
from omnipkg_meta.store.staging import sweep
from tests.wheels import names

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store
    from tests.conftest import MakeBubble

TERMS = ["sharing lower"]


@pytest.fixture
def bubble(make_bubble: MakeBubble) -> Bubble:
    """Make a bubble of two packages."""
    return make_bubble(
        {
            "upper==1.0": {f"upper/m{n}.py": f"x = {n}\n" for n in range(30)},
            "lower==1.0": {"lower/__init__.py": "", "lower/data.txt": "data", "lower.so": "native"},
        }
    )


def made(bubble: Bubble) -> Bubble:
    return copies.of_bubble(bubble, {"lower"}, TERMS)


def files(path: Path) -> set[str]:
    return {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()}


def test_a_copy_holds_what_the_bubble_holds_but_for_what_is_left_out(
    bubble: Bubble, store: Store
) -> None:
    compile_rest(bubble.site_packages)
    copy = made(bubble)
    assert dict(copy.distributions) == {"upper": "1.0"}
    assert dict(copy.import_names) == {"upper": ("upper",)}
    assert copy.native_files == ()
    left = {one for one in files(bubble.site_packages) if not one.startswith("lower")}
    assert files(copy.site_packages) == left
    assert any(one.endswith(".pyc") for one in left)
    assert copy.path.parent == store.tag_path / COPIES / bubble.id
    assert copy.id.startswith("sharing-lower-")


def test_a_copy_is_made_once_for_the_same_terms(bubble: Bubble, store: Store) -> None:
    copy = made(bubble)
    before = (copy.path / MANIFEST).stat()
    assert made(bubble) == copy
    assert (copy.path / MANIFEST).stat() == before
    whole = copies.of_bubble(bubble, (), ["hermetic"])
    assert dict(whole.distributions) == dict(bubble.distributions)
    assert sorted(one.path for one in store.copies(bubble)) == sorted([copy.path, whole.path])


def test_native_files_of_a_copy_are_its_own_and_the_others_are_links(bubble: Bubble) -> None:
    copy = copies.of_bubble(bubble, (), ["hermetic"])
    for path, same in (("lower.so", False), ("lower/data.txt", True), ("upper/m1.py", True)):
        files = (bubble.site_packages / path, copy.site_packages / path)
        assert files[0].samefile(files[1]) is same, path
        assert files[0].read_bytes() == files[1].read_bytes()


def test_where_there_are_no_links_files_are_copied_with_their_times(
    bubble: Bubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", link)
    copy = made(bubble)
    mine, bubbles = (one.site_packages / "upper/m1.py" for one in (copy, bubble))
    assert not mine.samefile(bubbles)
    assert mine.stat().st_mtime_ns == bubbles.stat().st_mtime_ns


def test_copies_are_no_bubbles_and_go_when_their_bubble_goes(bubble: Bubble, store: Store) -> None:
    made(bubble)
    assert store.bubbles() == [bubble]
    assert store.broken() == []
    assert store.find(["upper"]) == bubble
    store.remove(bubble)
    assert names(store.tag_path / COPIES) == []
    assert store.copies(bubble) == []


def test_verify_reads_the_copies_too(bubble: Bubble, store: Store) -> None:
    copy = made(bubble)
    assert store.verify(bubble) == []
    target = copy.site_packages / "upper/m1.py"
    target.unlink()
    target.write_text("x = 100\n")
    (copy.site_packages / "upper/new.txt").write_text("")
    assert sorted(store.verify(bubble)) == [
        f"its copy {copy.id}: upper/m1.py was changed",
        f"its copy {copy.id}: upper/new.txt was added",
    ]
    (copy.path / MANIFEST).write_text("{")
    (problem,) = store.verify(bubble)
    assert copy.id in problem
    assert store.copies(bubble) == []


@pytest.mark.parametrize("damage", ["manifest", "distribution"])
def test_a_copy_that_is_broken_is_made_anew(bubble: Bubble, store: Store, damage: str) -> None:
    copy = made(bubble)
    if damage == "manifest":
        (copy.path / MANIFEST).unlink()
    else:
        shutil.rmtree(copy.dist_info("upper"))
    again = made(bubble)
    assert again == copy
    assert store.verify(bubble) == []
    assert names(store.tag_path) == sorted([COPIES, bubble.id])


def test_a_bubble_that_was_made_anew_has_other_copies(
    bubble: Bubble, make_bubble: MakeBubble, store: Store
) -> None:
    before = made(bubble)
    store.remove(bubble)
    again = make_bubble({"upper==1.0": {"upper/m.py": ""}, "lower==1.0": None})
    after = made(again)
    assert before.id != after.id
    assert {one for one in files(after.site_packages / "upper") if one.endswith(".py")} == {"m.py"}
    assert store.copies(again) == [after]


def test_a_bubble_elsewhere_that_may_only_be_read_has_its_copies_in_the_configured_store(
    bubble: Bubble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    from omnipkg_meta.store import staging
    from omnipkg_meta.store.writing import unwritable

    mine = tmp_path / "mine"
    monkeypatch.setenv("OMNIPKG_META_STORE", str(mine))
    claim = staging._claim

    def refuse(tag_path: Path) -> tuple[Path, int]:
        if tag_path.is_relative_to(store.path):
            raise unwritable(tag_path, PermissionError(13, "Permission denied"))
        return claim(tag_path)

    monkeypatch.setattr(staging, "_claim", refuse)
    copy = made(bubble)
    assert copy.path.is_relative_to(mine)
    assert made(bubble) == copy
    monkeypatch.setenv("OMNIPKG_META_STORE", str(store.path))
    with pytest.raises(StoreError):
        made(bubble)


def test_the_commands_show_verify_and_remove_copies(
    bubble: Bubble, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = made(bubble)
    assert main(["list", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["bubbles"]] == [bubble.id]
    assert main(["show", bubble.id]) == 0
    assert f"copy:         {copy.id}\n" in capsys.readouterr().out
    assert main(["show", bubble.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["copies"] == [str(copy.path)]
    assert main(["verify", "--all"]) == 0
    (copy.site_packages / "upper/new.txt").write_text("")
    assert main(["verify", "--all"]) == 1
    assert f"its copy {copy.id}: upper/new.txt was added" in capsys.readouterr().out
    assert main(["remove", "--yes", bubble.id]) == 0
    assert not copy.path.exists()


MAKE = """
import os, sys, time
from omnipkg_meta.store import copies
from omnipkg_meta.store.bubble import Bubble
bubble = Bubble.open(sys.argv[1])
while sys.argv[2] and not os.path.exists(sys.argv[2]):
    time.sleep(0.001)
print(copies.of_bubble(bubble, {"lower"}, ["sharing lower"]).path)
"""


def start(bubble: Bubble, barrier: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(bubble.path), str(barrier or "")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_processes_that_make_the_same_copy_all_get_the_same(
    bubble: Bubble, store: Store, tmp_path: Path
) -> None:
    barrier = tmp_path / "go"
    processes = [start(bubble, barrier) for _ in range(4)]
    barrier.touch()
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert {text for text, _ in outputs} == {f"{store.copies(bubble)[0].path}\n"}
    assert store.verify(bubble) == []
    assert names(store.tag_path) == sorted([COPIES, bubble.id])


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_that_is_killed_leaves_a_whole_copy_or_none(bubble: Bubble, store: Store) -> None:
    began = time.monotonic()
    process = start(bubble)
    process.communicate()
    whole = time.monotonic() - began
    for part in range(12):
        shutil.rmtree(store.tag_path / COPIES, ignore_errors=True)
        process = start(bubble)
        time.sleep(whole * (part + 6) / 16)  # from the start of the work to its end
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for copy in store.copies(bubble):
            assert dict(copy.distributions) == {"upper": "1.0"}
        assert store.verify(bubble) == []
    sweep(store.tag_path)
    assert set(names(store.tag_path)) <= {COPIES, bubble.id}
