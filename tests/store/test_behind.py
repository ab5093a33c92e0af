"""Stores that are only read, behind the one that is written."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om
from omnipkg_meta import config
from omnipkg_meta.errors import BubbleNotFoundError, ConfigError
from omnipkg_meta.store import build
from omnipkg_meta.store.store import Store
from tests.wheels import names

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Wheelhouse


@pytest.fixture
def image(wheelhouse: Wheelhouse, tmp_path: Path) -> Store:
    """A store of an image, with one bubble."""
    wheelhouse.make("leaf_behind", "1.0")
    wheelhouse.make("leaf_behind", "2.0")
    image = Store(tmp_path / "image")
    build.install(["leaf_behind==1.0"], store=image, index_options=wheelhouse.options)
    return image


def test_bubbles_behind_are_found_and_not_built_again(
    image: Store, wheelhouse: Wheelhouse, tmp_path: Path
) -> None:
    (there,) = image.bubbles()
    store = Store(tmp_path / "mine", behind=[image.path])
    assert store.bubbles() == [there]
    assert store.find(["leaf-behind"]) == there
    assert store.get(there.id) == there
    options = wheelhouse.options
    assert build.install(["leaf_behind==1.0"], store=store, index_options=options) == there
    assert not store.path.exists(), "nothing had to be made"
    newer = build.install(["leaf_behind==2.0"], store=store, index_options=options)
    assert newer.path.is_relative_to(store.path)
    assert store.find(["leaf_behind"]) == newer
    assert store.find(["leaf_behind<2"]) == there


def test_one_made_afresh_stands_before_the_one_behind(
    image: Store, wheelhouse: Wheelhouse, tmp_path: Path
) -> None:
    store = Store(tmp_path / "mine", behind=[image.path])
    own = build.install(
        ["leaf_behind==1.0"], store=store, index_options=wheelhouse.options, reinstall=True
    )
    assert own.path.parent == store.tag_path
    assert store.bubbles() == [own]
    assert store.get(own.id) == own
    store.remove(own)
    assert store.bubbles() == image.bubbles()


def test_nothing_behind_is_removed_or_collected(image: Store, tmp_path: Path) -> None:
    (there,) = image.bubbles()
    store = Store(tmp_path / "mine", behind=[image.path])
    for what in (there, there.id):
        with pytest.raises(BubbleNotFoundError, match=r"image.* is only read"):
            store.remove(what)
    assert store.gc(max_size=0).removed == ()
    assert image.bubbles() == [there]


def test_a_list_of_paths_in_the_variable_is_one_store_with_others_behind(
    image: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    monkeypatch.setenv(config.STORE, os.pathsep.join([str(mine), str(image.path), str(mine)]))
    store = Store()
    assert store == Store(mine, behind=[image.path]) != Store(mine)
    assert config.store_path() == mine
    assert config.store_paths() == (mine, image.path)
    assert pickle.loads(pickle.dumps(store)) == store
    with om.use("leaf_behind"):
        import leaf_behind  # type: ignore[import-not-found]
    assert leaf_behind.__version__ == "1.0"
    monkeypatch.setenv(config.STORE, os.pathsep.join([str(mine), "relative"]))
    with pytest.raises(ConfigError, match="not absolute"):
        Store()


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_a_store_that_cannot_be_written_is_used_and_leased_all_the_same(
    image: Store, tmp_path: Path
) -> None:
    from omnipkg_meta.store import lease

    (there,) = image.bubbles()
    before = sorted(image.path.rglob("*"))
    for path in [image.path, *before]:
        path.chmod(path.stat().st_mode & ~0o222)
    store = Store(tmp_path / "mine", behind=[image.path])
    assert store.verify(there) == []
    there.hold()
    assert lease.in_use(there.path)
    assert sorted(image.path.rglob("*")) == before
    assert not (tmp_path / "mine").exists()
    for path in [image.path, *before]:
        path.chmod(path.stat().st_mode | 0o200)
    assert names(image.tag_path) == [there.id]
