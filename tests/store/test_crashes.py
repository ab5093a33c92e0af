"""Builds that are killed, and builds that race: what everybody else sees."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.store import builders
from omnipkg_meta.store.staging import staging, sweep
from tests.wheels import names

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.store import Store
    from tests.conftest import Install, Wheelhouse

BUILD = """
import json, os, sys, time
from omnipkg_meta.store.build import install
from omnipkg_meta.store.store import Store
while sys.argv[4] and not os.path.exists(sys.argv[4]):
    time.sleep(0.001)
print(install([sys.argv[1]], store=Store(sys.argv[2]), index_options=json.loads(sys.argv[3])).path)
"""


def start(
    requirement: str, store: Store, wheelhouse: Wheelhouse, barrier: Path | None = None
) -> subprocess.Popen[str]:
    arguments = [requirement, str(store.path), json.dumps(wheelhouse.options), str(barrier or "")]
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.skipif(builders.find_uv() is None, reason="needs uv, to be quick")
def test_a_build_that_is_killed_at_any_moment_leaves_nothing_that_can_be_seen(
    wheelhouse: Wheelhouse, install: Install, store: Store
) -> None:
    files: dict[str, str | bytes] = {f"leaf/m{n}.py": f"x = {n}\n" for n in range(30)}
    wheelhouse.make("leaf", "1.0", files)
    wheelhouse.make("other", "1.0")
    began = time.monotonic()
    process = start("leaf", store, wheelhouse)
    process.communicate()
    assert process.returncode == 0
    whole = time.monotonic() - began
    (complete,) = store.bubbles()
    store.remove(complete)
    chance = random.Random(4)  # noqa: S311 (the same moments every time)
    for _ in range(25):
        process = start("leaf", store, wheelhouse)
        time.sleep(chance.uniform(0, whole * 1.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert store.broken() == []
        for bubble in store.bubbles():  # it was in place already
            assert store.verify(bubble) == []
            store.remove(bubble)
    install("other")
    deadline = time.monotonic() + 10
    while len(names(store.tag_path)) > 1 and time.monotonic() < deadline:
        sweep(store.tag_path)  # a killed build's uv may take a moment more to end
        time.sleep(0.05)
    assert [bubble.requested for bubble in store.bubbles()] == [("other",)]
    assert names(store.tag_path) == [store.bubbles()[0].id], "litter was left"


@pytest.mark.parametrize("count", [2, 6])
def test_processes_that_build_the_same_bubble_at_once_all_succeed_and_one_remains(
    wheelhouse: Wheelhouse, store: Store, tmp_path: Path, count: int
) -> None:
    wheelhouse.make("leaf", "1.0")
    barrier = tmp_path / "barrier"
    processes = [start("leaf", store, wheelhouse, barrier) for _ in range(count)]
    time.sleep(0.3)
    barrier.write_text("")
    outcomes = [process.communicate() for process in processes]
    assert [errors for _, errors in outcomes] == [""] * count
    (bubble,) = store.bubbles()
    assert {path.strip() for path, _ in outcomes} == {str(bubble.path)}
    assert store.verify(bubble) == []
    assert names(store.tag_path) == [bubble.id]


def test_a_build_that_fails_leaves_no_litter(install: Install, store: Store) -> None:
    from omnipkg_meta.errors import BuildError

    with pytest.raises(BuildError):
        install("leaf")
    assert names(store.tag_path) == []


def test_an_interrupted_build_leaves_no_litter(wheelhouse: Wheelhouse, store: Store) -> None:
    from omnipkg_meta.store.build import install as build

    wheelhouse.make("leaf", "1.0")

    def interrupt(text: str) -> None:
        if text.startswith("installing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(["leaf"], store=store, index_options=wheelhouse.options, progress=interrupt)
    assert names(store.tag_path) == []


def test_a_directory_in_use_is_never_swept_and_an_abandoned_one_is(store: Store) -> None:
    with staging(store.tag_path) as stage:
        assert sweep(store.tag_path) == 0
        assert stage.path.is_dir()
    assert names(store.tag_path) == []
    abandoned = store.tag_path / ".build-0123"
    abandoned.mkdir()
    (store.tag_path / ".build-4567").mkdir()
    (store.tag_path / ".build-4567.lock").write_text("")
    (store.tag_path / ".trash-89").mkdir()
    assert sweep(store.tag_path) == 3
    assert names(store.tag_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs inherited locks")
def test_a_directory_counts_as_in_use_while_a_child_of_its_owner_lives(store: Store) -> None:
    with staging(store.tag_path) as stage:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(stage.keep_open,)
        )
        lock = stage.path.with_name(stage.path.name + ".lock")
        kept = lock.with_name("kept")
        os.link(lock, kept)
    # What a kill would have left behind.
    stage.path.mkdir()
    kept.rename(lock)
    assert sweep(store.tag_path) == 0
    child.communicate(b"\n")
    assert sweep(store.tag_path) == 1
