"""A store on a disk that is full, at whatever moment that shows."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.errors import StoreError
from omnipkg_meta.store import build, builders, filling, staging
from omnipkg_meta.store.store import Store
from tests.wheels import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Wheelhouse

KB = 1024
SIZE = 600 * KB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room; only root may have that."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "none", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        pytest.skip(f"nothing can be mounted: {error}")
    if done.returncode:
        pytest.skip("nothing can be mounted here; test_build.py limits the size of files instead")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def outcome(store: Store, wheelhouse: Wheelhouse) -> str:
    """Build a bubble; see that it is whole, or that the disk is full and nothing is there."""
    try:
        bubble = build.install(["leaf"], store=store, index_options=wheelhouse.options)
    except StoreError as error:
        told = (error.errno, error.message, store.bubbles(), store.broken())
        return "full" if told == (errno.ENOSPC, "the store has no room", [], []) else str(told)
    problems = store.verify(bubble)
    store.remove(bubble)
    return "done" if not problems else str(problems)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs tmpfs")
@pytest.mark.skipif(builders.find_uv() is None, reason="needs uv, to be quick")
def test_a_disk_that_is_full_at_whatever_moment_is_a_store_error_and_leaves_nothing(
    wheelhouse: Wheelhouse, small_disk: Path
) -> None:
    files: dict[str, str | bytes] = {
        f"leaf/m{n}.py": f"x{n} = '{n}'\n" + f"# {'x' * 70}\n" * 80 for n in range(20)
    }
    wheelhouse.make("leaf", "1.0", files)
    store = Store(small_disk / "store")
    ballast = small_disk / "ballast"
    outcomes = []
    for room in (0, 12, 40, 100, 160, 220, 300, SIZE // KB):
        ballast.write_bytes(b"x" * max(SIZE - room * KB, 0))
        outcomes.append(outcome(store, wheelhouse))
        ballast.unlink()
        store.gc()
        assert not store.tag_path.exists() or names(store.tag_path) == []
    assert outcomes[:3] == ["full"] * 3
    assert outcomes[-1] == "done"
    assert outcomes == sorted(outcomes, reverse=True), "the more room the better"
    assert set(outcomes) == {"full", "done"}


def test_a_disk_that_breaks_when_the_manifest_is_written_through_is_an_error(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("leaf", "1.0")

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(StoreError) as caught:
        build.install(["leaf"], store=store, index_options=wheelhouse.options)
    assert caught.value.errno == errno.EIO
    assert store.bubbles() == []
    assert names(store.tag_path) == []


def test_a_file_system_that_cannot_write_a_directory_through_will_do(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("leaf", "1.0")

    def unknown(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("os.fsync", unknown)
    bubble = build.install(["leaf"], store=store, index_options=wheelhouse.options)
    assert store.bubbles() == [bubble]


@pytest.mark.skipif(os.name == "nt", reason="it is not done there")
def test_manifest_lock_and_directories_are_written_through_before_the_bubble_can_be_seen(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("leaf", "1.0")
    synced: list[tuple[str, bool]] = []
    sync = staging.sync

    def note(path: Path) -> None:
        synced.append((path.name, bool(store.bubbles())))
        sync(path)

    for place in (build, filling):
        monkeypatch.setattr(place, "sync", note)
    build.install(["leaf"], store=store, index_options=wheelhouse.options)
    before = [name for name, visible in synced if not visible]
    assert before[:3] == ["pylock.toml", "manifest.json", "site-packages"]
    assert before[3] == "bubble"
    assert synced[4:] == [(store.tag_path.name, True)]
