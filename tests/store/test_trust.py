"""A store that somebody else could write into is refused, and the error says how to mend it."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli import main
from omnipkg_meta.errors import StoreError
from omnipkg_meta.store import build, trust
from omnipkg_meta.store.bubble import Bubble
from omnipkg_meta.store.store import Store
from tests.worlds import World, world_fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeBubble, Wheelhouse

__all__ = ["world_fixture"]

if sys.platform == "win32":
    pytest.skip("owners and modes are POSIX", allow_module_level=True)

STRANGER = 54321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files away")


@pytest.fixture(autouse=True)
def _look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found good in this process is not looked at again."""
    monkeypatch.setattr(trust, "_good", {})


@pytest.fixture(name="tmp_path")
def tmp_path_fixture() -> Iterator[Path]:
    """A directory that others can enter: pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp(prefix="trust-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def refused(store: Store, path: Path) -> StoreError:
    """See that nothing can be read through *path*; return the error."""
    trust._good.clear()
    with pytest.raises(StoreError) as caught:
        store.find(["anything"])
    error = caught.value
    mode = stat.S_IMODE(path.lstat().st_mode)
    assert error.path == path
    assert str(path) in error.message
    assert f"(user {path.lstat().st_uid}, " in str(error.cause)
    assert f"mode {mode:04o}" in str(error.cause)
    return error


def mend(error: StoreError) -> None:
    command = str(error.tip).partition("  (or ")[0]
    assert "OMNIPKG_META_STORE" in str(error.tip)
    words = [word for word in shlex.split(command) if word != "sudo"]
    subprocess.run(words, check=True)
    trust._good.clear()


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o775])
@pytest.mark.parametrize("level", ["store", "tag", "bubble", "site-packages"])
def test_a_directory_that_others_can_write_is_refused_until_it_is_mended(
    world: World, level: str, mode: int
) -> None:
    bubble = world.make(f"open_{level[:3]}_{mode:o}", "1.0")
    path = {
        "store": world.store.path,
        "tag": world.store.tag_path,
        "bubble": bubble.path,
        "site-packages": bubble.site_packages,
    }[level]
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, -1, STRANGER)  # not this user's own group
    elif mode == 0o775 and trust._is_own_group(path.stat().st_gid):
        pytest.skip("this user's group has no other member")
    mend(refused(world.store, path))
    assert world.store.bubbles() == [bubble]


@pytest.mark.parametrize("name", ["manifest.json", "pylock.toml"])
def test_a_manifest_or_lock_that_others_can_write_is_refused(world: World, name: str) -> None:
    bubble = world.make(f"open_{name[:6]}", "1.0")
    file = bubble.path / name
    file.touch()
    file.chmod(0o666)
    with pytest.raises(StoreError, match=name):
        Bubble.open(bubble.path)
    mend(refused(world.store, file))
    assert world.store.bubbles() == [bubble]


@needs_root
@pytest.mark.parametrize("level", ["store", "bubble", "manifest"])
def test_what_belongs_to_somebody_else_is_refused(world: World, level: str) -> None:
    bubble = world.make(f"foreign_{level}", "1.0")
    path = {
        "store": world.store.path,
        "bubble": bubble.path,
        "manifest": bubble.path / "manifest.json",
    }[level]
    os.chown(path, STRANGER, STRANGER)
    error = refused(world.store, path)
    assert f"belongs to {STRANGER} (user {STRANGER}" in str(error.cause)
    mend(error)
    assert world.store.bubbles() == [bubble]


def test_a_directory_on_the_way_that_others_can_write_is_refused_unless_it_is_sticky(
    tmp_path: Path,
) -> None:
    way = tmp_path / "way"
    way.mkdir()
    store = Store(way / "store")
    (store.tag_path).mkdir(parents=True)
    way.chmod(0o777)
    refused(store, way)
    way.chmod(0o1777)
    trust._good.clear()
    assert store.bubbles() == []


def test_a_link_is_followed_and_every_place_that_decides_where_it_leads_is_checked(
    world: World, tmp_path: Path
) -> None:
    bubble = world.make("linked", "1.0")
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    (unsafe / "second").symlink_to(world.store.path)
    (tmp_path / "first").symlink_to("unsafe/../unsafe/./second")
    store = Store(tmp_path / "first")
    assert [one.id for one in store.bubbles()] == [bubble.id]
    unsafe.chmod(0o777)
    refused(store, unsafe)
    unsafe.chmod(0o755)
    world.store.path.chmod(0o777)
    refused(store, world.store.path)


@needs_root
def test_a_link_that_somebody_else_has_made_is_refused(world: World, tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "store"
    link.symlink_to(world.store.path)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    refused(Store(link), link)


def test_a_circle_of_links_is_no_endless_loop(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(StoreError):
        Store(tmp_path / "a").bubbles()


def test_what_nobody_else_can_reach_nobody_else_can_write(world: World) -> None:
    bubble = world.make("closed", "1.0")
    (bubble.path / "manifest.json").chmod(0o666)
    refused(world.store, bubble.path / "manifest.json")
    world.store.path.chmod(0o700)
    trust._good.clear()
    assert world.store.bubbles() == [bubble]


def test_a_group_of_which_the_user_is_the_only_member_is_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = world.make("own_group", "1.0")
    bubble.path.chmod(0o775)
    monkeypatch.setattr(trust, "_is_own_group", lambda _: False)
    refused(world.store, bubble.path)
    monkeypatch.setattr(trust, "_is_own_group", lambda number: number == os.getegid())
    assert world.store.bubbles() == [bubble]


def test_nothing_is_built_where_somebody_else_could_write(
    wheelhouse: Wheelhouse, tmp_path: Path
) -> None:
    wheelhouse.make("leaf", "1.0")
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    for reinstall in (False, True):
        with pytest.raises(StoreError, match="cannot be trusted"):
            build.install(
                ["leaf"],
                store=Store(place / "store"),
                index_options=wheelhouse.options,
                reinstall=reinstall,
            )
    assert list(place.iterdir()) == []


def test_no_index_is_asked_where_somebody_else_could_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    monkeypatch.setattr("subprocess.Popen", None)
    for more in ([], ["--reinstall"]):
        assert main(["install", "--no-index", "--store", str(place / "store"), "leaf", *more]) == 1
    assert list(place.iterdir()) == []


def test_a_bubble_is_its_owners_alone_whatever_the_umask(
    make_bubble: MakeBubble, store: Store
) -> None:
    before = os.umask(0)
    try:
        bubble = make_bubble({"leaf==1.0": None})
    finally:
        os.umask(before)
    for path in (store.path, store.tag_path, bubble.path, bubble.site_packages):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in (bubble.path / "manifest.json", bubble.lock):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in (store.path, store.tag_path):
        path.chmod(0o755)
    trust._good.clear()
    assert store.bubbles() == [bubble]
