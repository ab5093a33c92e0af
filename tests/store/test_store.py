"""The store: which bubble is the best, what is listed, removal, verification."""

from __future__ import annotations

import json
import pickle
import shutil
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.errors import (
    BubbleInvalidError,
    BubbleNotFoundError,
    RequirementError,
    StoreError,
)
from omnipkg_meta.store.store import Store
from tests.wheels import names

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Install, MakeBubble, Wheelhouse


@pytest.fixture
def shelf(wheelhouse: Wheelhouse) -> None:
    for version in ("1.0", "2.0", "2.5b1"):
        wheelhouse.make("leaf", version)
    wheelhouse.make("leaf-user", "1.0", requires=["leaf==2.0"])
    wheelhouse.make("helper", "1.0")
    wheelhouse.make("top", "1.0", extras={"more": ["helper>=1"], "all": ["top[more]"]})


@pytest.mark.usefixtures("shelf")
def test_the_highest_version_that_fits_is_found(install: Install, store: Store) -> None:
    old, new = install("leaf==1.0"), install("leaf==2.0")
    assert store.find(["leaf"]) == new
    assert store.find(["leaf<2"]) == old
    assert store.find(["leaf==3"]) is None
    assert store.find(["leaf", "helper"]) is None
    assert store.find(['leaf; python_version < "3"']) is None


@pytest.mark.usefixtures("shelf")
def test_a_prerelease_that_is_there_counts(install: Install, store: Store) -> None:
    install("leaf==2.0")
    beta = install("leaf==2.5b1")
    assert store.find(["leaf"]) == beta
    assert store.find(["leaf>=2.1"]) == beta


@pytest.mark.usefixtures("shelf")
def test_with_equal_versions_the_bubble_made_for_the_least_else_is_found(
    install: Install, store: Store
) -> None:
    crowded = install("leaf==2.0", "helper")
    assert store.find(["leaf"]) == crowded
    indirect = install("leaf-user")
    exact = install("leaf==2.0")
    assert store.find(["leaf"]) == exact
    assert store.find(["leaf", "helper"]) == crowded
    assert store.find(["leaf-user"]) == indirect


@pytest.mark.usefixtures("shelf")
def test_the_first_requirement_weighs_most(make_bubble: MakeBubble, store: Store) -> None:
    one = make_bubble({"a==2.0": None, "b==1.0": None}, "a==2.0", "b==1.0")
    two = make_bubble({"a==1.0": None, "b==2.0": None}, "a==1.0", "b==2.0")
    assert store.find(["a", "b"]) == one
    assert store.find(["b", "a"]) == two


@pytest.mark.usefixtures("shelf")
def test_an_extra_is_satisfied_only_with_its_dependencies(install: Install, store: Store) -> None:
    plain = install("top")
    assert store.find(["top"]) == plain
    assert store.find(["top[more]"]) is None
    assert store.find(["top[all]"]) is None
    more = install("top[more]")
    assert store.find(["top[more]"]) == more
    assert store.find(["top[all]"]) == more
    assert store.find(["top"]) == plain


@pytest.mark.usefixtures("shelf")
def test_a_missing_bubble_is_an_error_whose_last_line_is_the_command(
    install: Install, store: Store, tmp_path: Path
) -> None:
    install("leaf==2.0")
    install("leaf==1.0")
    with pytest.raises(BubbleNotFoundError) as caught:
        store.require(["Leaf == 3", "top[more]"])
    error = caught.value
    assert error.available == ["leaf 1.0", "leaf 2.0"]
    assert "leaf 1.0, leaf 2.0" in str(error)
    assert str(error).splitlines()[-1] == "tip: omnipkg-meta install 'Leaf == 3' 'top[more]'"
    assert isinstance(error, RuntimeError)
    elsewhere = Store(tmp_path / "it's elsewhere").not_found(["leaf"])
    assert elsewhere.command.endswith("--store '" + str(tmp_path) + "/it'\"'\"'s elsewhere'")


def test_malformed_requirements_are_refused_before_the_store_is_read(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    for text in ("leaf=1", "../leaf", "", "a/b==1"):
        with pytest.raises(RequirementError):
            Store(place).find([text])
    with pytest.raises(RequirementError, match="nothing was asked"):
        Store(place).find([])


def test_a_store_that_is_not_there_is_empty(store: Store) -> None:
    assert store.bubbles() == []
    assert store.broken() == []
    assert store.find(["leaf"]) is None
    assert store.get("leaf-1.0-000000000000") is None
    assert not store.path.exists()


def test_a_store_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "file").bubbles()
    assert caught.value.errno
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.errno, again.path, str(again)) == (
        caught.value.errno,
        caught.value.path,
        str(caught.value),
    )


def test_hidden_names_do_not_exist_for_the_store(make_bubble: MakeBubble, store: Store) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    shutil.copytree(bubble.path, store.tag_path / ".build-1234")
    assert store.bubbles() == [bubble]
    assert store.get(".build-1234") is None
    with pytest.raises(BubbleNotFoundError):
        store.remove(".build-1234")


def test_broken_bubbles_are_reported_and_never_found(make_bubble: MakeBubble, store: Store) -> None:
    good, bad = make_bubble({"leaf==1.0": None}), make_bubble({"leaf==2.0": None})
    assert store.find(["leaf"]) == bad  # and now it has been read once
    shutil.rmtree(bad.site_packages)
    assert store.find(["leaf"]) == good
    (error,) = store.broken()
    assert error.path == bad.path
    with pytest.raises(BubbleInvalidError):
        store.get(bad.id)
    with pytest.raises(BubbleNotFoundError, match="1 more could not be read"):
        store.require(["leaf==2.0"])
    store.remove(bad.id)
    assert store.broken() == []


def test_names_cannot_lead_out_of_the_store(
    make_bubble: MakeBubble, store: Store, tmp_path: Path
) -> None:
    make_bubble({"leaf==1.0": None})
    (tmp_path / "precious").mkdir()
    for name in ("../../precious", "..", ".", "", str(tmp_path / "precious"), "a\0b", "..\\x"):
        assert store.get(name) is None
        with pytest.raises(BubbleNotFoundError):
            store.remove(name)
    assert (tmp_path / "precious").is_dir()


def test_removing_takes_the_bubble_away_in_one_step(
    make_bubble: MakeBubble, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    # Killed between the two halves of a removal.
    monkeypatch.setattr("omnipkg_meta.store.store.discard", lambda _: None)
    store.remove(bubble)
    monkeypatch.undo()
    assert store.bubbles() == []
    assert store.broken() == []
    (left,) = names(store.tag_path)
    assert left.startswith(".trash-")
    with pytest.raises(BubbleNotFoundError):
        store.remove(bubble)


def test_a_bubble_of_another_store_is_not_removed(make_bubble: MakeBubble, tmp_path: Path) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    with pytest.raises(BubbleNotFoundError):
        Store(tmp_path / "other").remove(bubble)
    assert bubble.path.is_dir()


def test_stores_are_equal_by_place_and_can_be_pickled(store: Store) -> None:
    assert pickle.loads(pickle.dumps(store)) == store == Store()
    assert len({store, Store()}) == 1
    assert Store(tag="cp399-plan9") != store
    assert store != 1


def test_verify_finds_every_kind_of_damage(
    make_bubble: MakeBubble, store: Store, tmp_path: Path
) -> None:
    bubble = make_bubble(
        {"leaf==1.0": {f"leaf/{name}.py": "x = 1\n" for name in ("__init__", "a", "b")}}
    )
    assert store.verify(bubble) == []
    package = bubble.site_packages / "leaf"
    (package / "a.py").unlink()
    (package / "b.py").unlink()
    (package / "b.py").write_text("x = 2\n")
    (package / "c.py").write_text("")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "ghost.cpython-311.pyc").write_text("")
    (package / "__init__.py").unlink()
    (package / "__init__.py").symlink_to(tmp_path / "outside.py")
    (bubble.site_packages / "evil.pth").write_text("import evil\n")
    (bubble.path / "extra").write_text("")
    bubble.lock.write_text("")
    (bubble.path / "bin").mkdir()
    (bubble.path / "bin" / "evil").write_text("")
    problems = store.verify(bubble)
    assert set(problems) == {
        "leaf/a.py is missing",
        "leaf/b.py was changed",
        "leaf/c.py was added",
        "leaf/__pycache__/ghost.cpython-311.pyc was added",
        "leaf/__init__.py is a link that points outside",
        "evil.pth was added",
        "extra was added",
        "pylock.toml was changed",
        "bin/evil was added",
    }


def test_verify_compares_the_manifest_with_the_metadata(
    make_bubble: MakeBubble, store: Store
) -> None:
    bubble = make_bubble({"leaf==1.0": None, "other==1.0": None})
    manifest = bubble.path / "manifest.json"
    entry = json.loads(manifest.read_text())
    entry["distributions"]["leaf"]["version"] = "9.0"
    del entry["distributions"]["other"], entry["import_names"]["other"]
    entry["id"] = "somebody-else"
    manifest.write_text(json.dumps(entry))
    changed = store.get(bubble.id)
    assert changed is not None
    problems = store.verify(changed)
    assert "leaf is 1.0 by its metadata, and 9.0 by the manifest" in problems
    assert "other-1.0.dist-info is not in the manifest" in problems
    assert "the manifest is that of 'somebody-else'" in problems
