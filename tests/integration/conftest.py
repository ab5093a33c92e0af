"""The scene of these tests, made once in a run, and programs written for one test."""

from __future__ import annotations

import os
import shutil
import textwrap
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.integration.scene import BARE, PLAIN, Scene, once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Program(Protocol):
    """Writes a program."""

    def __call__(self, *parts: str, name: str = "program.py") -> Path: ...


@pytest.fixture(scope="session")
def scene(_builder_cache: Path) -> Iterator[Scene]:
    """A main environment and a store with all the bubbles, made once for all workers."""
    scene = Scene(_builder_cache.parent / "scene", _builder_cache)
    once(scene.path, scene.build)
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:  # others may need it still
        shutil.rmtree(scene.path, ignore_errors=True)
        shutil.rmtree(_builder_cache, ignore_errors=True)


@pytest.fixture(scope="session")
def natives(_builder_cache: Path) -> Iterator[Scene]:
    """A store of its own for native packages, built while tests run; main has the library only.

    Other tests compare the scene's store before and after.
    """
    scene = Scene(_builder_cache.parent / "natives", _builder_cache)
    once(scene.path, lambda: scene.build(BARE, ()))
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(scene.path, ignore_errors=True)


@pytest.fixture(scope="session")
def plain(scene: Scene) -> Path:
    """An environment with the older numpy and pytest, and without the library."""
    once(scene.plain, lambda: scene.make_environment(scene.plain, *PLAIN))
    return scene.plain


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Write a program of several parts, each dedented, into a file of its own."""

    def write(*parts: str, name: str = "program.py") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(map(textwrap.dedent, parts)), "utf-8")
        return path

    return write
