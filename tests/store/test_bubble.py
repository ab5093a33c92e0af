"""One bubble: what its manifest says, and what opening a damaged one says."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from omnipkg_meta.errors import BubbleInvalidError, BubbleTagError
from omnipkg_meta.store.bubble import Bubble

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeBubble


def edit(bubble: Bubble, **changes: Any) -> None:
    path = bubble.path / "manifest.json"
    entry = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del entry[key]
        else:
            entry[key] = value
    path.write_text(json.dumps(entry))


@pytest.fixture
def bubble(make_bubble: MakeBubble) -> Bubble:
    return make_bubble({"leaf==1.0": {"leaf/__init__.py": ""}})


def test_bubbles_are_equal_when_they_are_the_same_directory(bubble: Bubble) -> None:
    again = Bubble.open(bubble.path / ".." / bubble.path.name)
    assert again == bubble
    assert len({again, bubble}) == 1
    assert bubble != object()
    assert str(bubble.path) in repr(bubble)


def test_a_bubble_cannot_be_changed(bubble: Bubble) -> None:
    with pytest.raises(AttributeError):
        bubble.id = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        bubble.distributions["leaf"] = "2"  # type: ignore[index]


def test_a_pickled_bubble_is_opened_and_checked_by_whoever_reads_it(bubble: Bubble) -> None:
    data = pickle.dumps(bubble)
    assert pickle.loads(data) == bubble
    shutil.rmtree(bubble.path)
    with pytest.raises(BubbleInvalidError):
        pickle.loads(data)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 0, "library": "omnipkg-meta 9.9"}, "written by omnipkg-meta 9.9"),
        ({"schema": None}, "format None"),
        ({"tag": None}, "lacks 'tag'"),
        ({"requested": "leaf"}, "lacks 'requested'"),
        ({"builder": None}, "lacks 'builder'"),
        ({"distributions": {}}, "names no distribution"),
        ({"distributions": {"../x": {}}}, "'../x'"),
        ({"distributions": {"leaf": []}}, "'leaf'"),
        ({"distributions": {"leaf": {"version": "../1", "sha256": "0"}}}, "'../1'"),
        ({"import_names": {"a/b": []}}, "'a/b'"),
        ({"import_names": {"a": "b"}}, "lacks 'a'"),
        ({"scripts": {"../x": "a:b"}}, "'../x'"),
        ({"native_files": ["../../x.so"]}, "outside the bubble"),
        ({"native_files": ["/x.so"]}, "outside the bubble"),
        ({"native_files": ["x\0.so"]}, "outside the bubble"),
        ({"native": []}, "lacks 'native'"),
        ({"native": {"private": {}}}, "lacks 'public'"),
        ({"native": {"private": {"a.so": "../b"}, "public": {}, "untouched": {}}}, "'../b'"),
        ({"native": {"private": {}, "public": {"a.so": 1}, "untouched": {}}}, "lacks 'a.so'"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(
    bubble: Bubble, changes: dict[str, Any], said: str
) -> None:
    edit(bubble, **changes)
    with pytest.raises(BubbleInvalidError) as caught:
        Bubble.open(bubble.path)
    assert said in str(caught.value)
    assert caught.value.path == bubble.path
    assert "omnipkg-meta remove" in (caught.value.tip or "")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(bubble: Bubble, text: bytes) -> None:
    (bubble.path / "manifest.json").write_bytes(text)
    with pytest.raises(BubbleInvalidError, match="manifest"):
        Bubble.open(bubble.path)


def test_half_deleted_bubbles_are_refused(bubble: Bubble, tmp_path: Path) -> None:
    shutil.rmtree(bubble.site_packages / "leaf-1.0.dist-info")
    with pytest.raises(BubbleInvalidError, match=r"leaf 1\.0 is gone"):
        Bubble.open(bubble.path)
    shutil.rmtree(bubble.site_packages)
    with pytest.raises(BubbleInvalidError, match="site-packages directory is gone"):
        Bubble.open(bubble.path)
    (bubble.path / "manifest.json").unlink()
    with pytest.raises(BubbleInvalidError, match="manifest cannot be read"):
        Bubble.open(bubble.path)
    with pytest.raises(BubbleInvalidError, match="no such directory"):
        Bubble.open(tmp_path / "nowhere")


def test_a_bubble_of_another_interpreter_is_refused_with_the_command_to_run(bubble: Bubble) -> None:
    edit(bubble, tag="cp39-plan9_vax")
    with pytest.raises(BubbleTagError) as caught:
        Bubble.open(bubble.path)
    assert caught.value.tag == "cp39-plan9_vax"
    assert caught.value.expected == bubble.tag
    assert str(caught.value).splitlines()[-1].endswith("omnipkg-meta install leaf==1.0")
    assert pickle.loads(pickle.dumps(caught.value)).tag == "cp39-plan9_vax"


def test_import_names_are_what_can_be_imported_and_nothing_else() -> None:
    from omnipkg_meta.store.record import import_names

    names = import_names(
        {
            "one": [
                "one/__init__.py",
                "one/__pycache__/x.cpython-311.pyc",
                "single.py",
                "_fast.cpython-311-x86_64-linux-gnu.so",
                "_abi.abi3.so",
                "85ca__mypyc.cpython-311-x86_64-linux-gnu.so",
                "85ca.py",
                "win.pyd",
                "shared/part1/mod.py",
                "one-1.0.dist-info/RECORD",
                "one.libs/libz-1234.so.1",
                "bin/tool.py",
                "share/man/man1/tool.py",
                "etc/conf.py",
                "not-a-name/x.py",
                "data_only/table.csv",
                "deep/not-a-name/x.py",
                "../../bin/tool",
                "one.pth",
            ],
            "two": ["shared/part2/mod.py", "lib/__init__.py", "class.py"],
        }
    )
    assert names == {
        "85ca__mypyc": ["one"],
        "_abi": ["one"],
        "_fast": ["one"],
        "class": ["two"],
        "lib": ["two"],
        "one": ["one"],
        "shared": ["one", "two"],
        "single": ["one"],
        "win": ["one"],
    }


def test_opening_a_bubble_imports_neither_packaging_nor_platformdirs(bubble: Bubble) -> None:
    code = (
        "import sys; from omnipkg_meta.store.bubble import Bubble; Bubble.open(sys.argv[1]);"
        "print([n for n in ('packaging', 'platformdirs', 'importlib.metadata', 'ctypes', 'hashlib',"
        " 'subprocess', 'shutil') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(bubble.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
