"""Many files, digested by helper processes: the same answers as without them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.store import native_files, record, verify, worker

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from tests.conftest import MakeBubble

INFO = "leaf-1.0.dist-info"


@pytest.fixture
def bubble(make_bubble: MakeBubble, monkeypatch: pytest.MonkeyPatch) -> Bubble:
    monkeypatch.setattr(verify, "_MANY_FILES", 10)
    monkeypatch.setattr(verify, "processors", lambda: 2)
    files: dict[str, str | bytes] = {
        f"leaf/{'m' * (n % 50)}{n}.py": f"x = {n}\n" for n in range(99)
    }
    files["leaf/ümläut x.txt"] = "x"
    files["leaf/large.bin"] = b"x" * 600_000
    return make_bubble({"leaf==1.0": files})


def both(bubble: Bubble) -> tuple[list[verify.Difference], list[verify.Difference], int]:
    """Return what is found alone and with helpers, and how many files these had."""
    present = dict(record.files(bubble.site_packages))
    recorded = verify.expected(bubble.site_packages, [INFO])
    alone = verify.compare(bubble.site_packages, recorded, present=present)
    with verify.digesting(bubble.site_packages, recorded, present) as apart:
        found = verify.compare(bubble.site_packages, recorded, present=present, apart=apart)
    return sorted(alone), sorted(found), len(apart.paths)


def test_helpers_find_what_is_found_without_them(bubble: Bubble, tmp_path: Path) -> None:
    assert both(bubble)[:2] == ([], [])
    root = bubble.site_packages / "leaf"
    changes = {"m1.py": "x = 2\n", "large.bin": "y", "ümläut x.txt": "y", "added.py": ""}
    for name, text in changes.items():
        (root / name).unlink(missing_ok=True)
        (root / name).write_text(text)
    (root / "mm2.py").unlink()
    (root / "mmm3.py").unlink()
    (root / "mmm3.py").symlink_to(tmp_path / "outside")
    alone, found, count = both(bubble)
    assert found == alone
    assert {one.path.removeprefix("leaf/") for one in found} == {*changes, "mm2.py", "mmm3.py"}
    assert count > 90


def test_where_a_helper_ends_early_its_work_is_done_without_it(
    bubble: Bubble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bubble.site_packages / "leaf" / "m1.py").unlink()
    (bubble.site_packages / "leaf" / "m1.py").write_text("x = 2\n")
    program = tmp_path / "worker.py"
    program.write_text("import os\nos.read(0, 4096)\nos._exit(3)\n")
    monkeypatch.setattr(worker, "__file__", str(program))
    alone, found, count = both(bubble)
    assert found == alone == [verify.Difference("leaf/m1.py", "was changed")]
    assert count > 90


def test_a_digest_that_is_none_is_not_handed_on(bubble: Bubble) -> None:
    path = bubble.site_packages / INFO / "RECORD"
    lines = path.read_text("utf-8")
    path.unlink()  # it may be a link into a cache
    digest = record.digest(bubble.site_packages / "leaf" / "m1.py")
    assert digest in lines
    path.write_text(lines.replace(digest, f"{digest}\0leaf/x"), "utf-8")
    alone, found, _ = both(bubble)
    assert found == alone
    assert "leaf/m1.py" in [one.path for one in found]  # before 3.11 it is no CSV at all


def test_few_files_are_not_worth_a_process(
    make_bubble: MakeBubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    present = dict(record.files(bubble.site_packages))
    monkeypatch.setattr(os, "pipe", None)
    recorded = verify.expected(bubble.site_packages, [INFO])
    with verify.digesting(bubble.site_packages, recorded, present) as apart:
        assert apart.paths == frozenset()
        assert apart.unlike() == []


def test_who_reads_a_file_anyway_digests_it(bubble: Bubble) -> None:
    root = bubble.site_packages / "leaf"
    for name in ("a.so", "b.so", "c.so", "d.so", "e.so"):
        (root / name).write_bytes(name.encode() * 300_000)
    os.link(root / "a.so", root / "a2.so")
    wanted = {
        "leaf/a.so": record.digest(root / "a.so"),
        "leaf/a2.so": record.digest(root / "a2.so", "sha384"),
        "leaf/b.so": record.digest(root / "b.so").replace("sha256", "SHA256"),
        "leaf/c.so": "shake_128=AA",
        "leaf/d.so": "nonesuch=AA",
        "leaf/m1.py": "sha256=A",
    }
    native = record.natives(dict(record.files(bubble.site_packages)))
    owned = native_files.own(native, wanted)
    known = {path: digest.word() for path, digest in owned.items()}
    assert known == {**dict.fromkeys(native), **dict(list(wanted.items())[:3])}
    assert set(native) == {f"leaf/{name}.so" for name in ("a", "a2", "b", "c", "d", "e")}
    assert (root / "a.so").stat().st_nlink == (root / "a2.so").stat().st_nlink == 1
    assert (root / "a2.so").read_bytes() == b"a.so" * 300_000
    # What is known of a file decides, and the file is not read again: it has changed since.
    for name in ("a.so", "b.so"):
        (root / name).write_bytes(b"changed")
    present = dict(record.files(bubble.site_packages))
    recorded = verify.Expected({**wanted, "leaf/b.so": "sha256=other"}, [], {})
    found = verify.compare(bubble.site_packages, recorded, present=present, known=known)
    about = {one.path: one.what for one in found if one.path in wanted}
    assert about == {
        "leaf/b.so": "was changed",
        "leaf/c.so": "has a digest of an unknown kind: shake_128",
        "leaf/d.so": "has a digest of an unknown kind: nonesuch",
        "leaf/m1.py": "was changed",
    }


def test_this_process_joins_the_helpers(bubble: Bubble, monkeypatch: pytest.MonkeyPatch) -> None:
    (bubble.site_packages / "leaf" / "m1.py").unlink()
    (bubble.site_packages / "leaf" / "m1.py").write_text("x = 2\n")
    by_this_one: list[str] = []
    digest = worker.digest

    def noted(path: str) -> str | None:
        by_this_one.append(path)
        return digest(path)

    monkeypatch.setattr(worker, "digest", noted)
    monkeypatch.setattr(
        worker, "__file__", os.devnull
    )  # a program that does nothing, and ends well
    alone, found, count = both(bubble)
    assert found == alone == [verify.Difference("leaf/m1.py", "was changed")]
    assert len(by_this_one) == count > 90


@pytest.mark.parametrize("wanted", ["sha256=A", "sha384=A", "nonesuch=A", "", None])
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2500])
def test_a_digest_is_renewed_from_where_a_file_changed(
    tmp_path: Path, size: int, wanted: str | None
) -> None:
    file = tmp_path / "file"
    data = bytearray(n % 251 for n in range(size))
    digest = record.Digest(wanted)
    for start in range(0, size, 1000):
        digest.update(memoryview(data)[start : start + 1000])
    for first in {0, 998, 999, 1000, size - 1, size}:
        if 0 <= first <= size:
            changed = data[:first] + b"!" * (size - first)
            file.write_bytes(changed)
            assert digest.renewed(file, first) == record.digest(file)
    file.write_bytes(data)
    if (wanted or "").startswith("sha"):
        assert digest.word() == record.digest(file, str(wanted).partition("=")[0])
    else:
        assert digest.word() is None
