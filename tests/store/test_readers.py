"""Whoever reads a store while others remove from it sees whole bubbles, or none."""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.errors import BubbleInUseError, BubbleInvalidError, BubbleNotFoundError
from omnipkg_meta.store import build
from tests.worlds import World, world_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store
    from tests.conftest import Wheelhouse

__all__ = ["world_fixture"]


pytestmark = pytest.mark.skipif(os.name == "nt", reason="an open file is what guards it there")


class Reader(threading.Thread):
    """Looks at a store until it is told to stop.

    Attributes:
        seen: what came of it.
        wrong: what should not have.
    """

    def __init__(self, world: World, name: str, lasting: Bubble, done: threading.Event) -> None:
        super().__init__()
        self.store, self.wanted, self.lasting, self.done = world.store, name, lasting, done
        self.seen: set[str] = set()
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.done.is_set():
            try:
                self.seen.add(self.look())
            except Exception as error:  # noqa: BLE001, PERF203  # whatever it is, it is wrong
                self.wrong.append(f"{type(error).__name__}: {error}")

    def look(self) -> str:
        if self.lasting not in self.store.bubbles():
            self.wrong.append("what nobody removes was not listed")
        try:
            found = self.store.require([self.wanted])
        except BubbleNotFoundError:
            return "not found"
        try:
            # Bubbles made by hand have no lock.
            problems = [one for one in self.store.verify(found) if "pylock" not in one]
        except BubbleInvalidError:
            return "just removed"
        if problems:
            self.wrong.append(f"verified: {problems}")
        return "found"


def test_a_reader_during_removals_sees_whole_bubbles_or_none_and_documented_errors(
    world: World,
) -> None:
    bubble, lasting = world.make("fleeting", "1.0"), world.make("lasting", "1.0")
    template = world.path / "template"
    shutil.copytree(bubble.path, template)
    done = threading.Event()
    readers = [Reader(world, "fleeting", lasting, done) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(75):
        world.store.remove(bubble, force=True)  # under those who are verifying it, too
        copy = world.store.tag_path / ".copy"
        shutil.copytree(template, copy)
        copy.rename(bubble.path)
    done.set()
    for reader in readers:
        reader.join()
    assert [one for reader in readers for one in reader.wrong] == []
    assert {"found", "not found"} <= set().union(*(reader.seen for reader in readers))


def test_a_bubble_cannot_be_removed_between_being_put_in_place_and_being_returned(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("leaf", "1.0")
    refused = []

    def sync(path: Path) -> None:
        if path == store.tag_path:  # it can be seen from now on
            (bubble,) = store.bubbles()
            with pytest.raises(BubbleInUseError):
                store.remove(bubble)
            refused.append(bubble)

    monkeypatch.setattr(build, "sync", sync)
    bubble = build.install(["leaf"], store=store, index_options=wheelhouse.options)
    assert refused == [bubble]
    store.remove(bubble)


def test_the_old_bubble_is_deleted_when_the_one_made_afresh_is_in_its_place(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("leaf", "1.0")
    old = build.install(["leaf"], store=store, index_options=wheelhouse.options)
    there: list[bool] = []

    def discard(path: Path) -> None:
        there.append((old.path / "manifest.json").exists())
        shutil.rmtree(path)

    monkeypatch.setattr(build, "discard", discard)
    new = build.install(["leaf"], store=store, index_options=wheelhouse.options, reinstall=True)
    assert there == [True]
    assert new.created > old.created
    assert [one.name for one in store.tag_path.iterdir()] == [new.id]
