"""ctypes and bare names: a library that was loaded before is found, each bubble's own."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om
from omnipkg_meta import bare_names
from tests.elf_source import linked, needs_elf
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.conftest import Install, Wheelhouse
    from tests.worlds import World

pytestmark = pytest.mark.skipif(bool(needs_elf()), reason=needs_elf())

_PACKAGE = """
import ctypes
from pathlib import Path

def preload():
    return ctypes.CDLL(str(Path(__file__).parent / "SONAME"))

def bare():
    return ctypes.CDLL("SONAME").version()
"""


def library(version: int, soname: str) -> bytes:
    return linked(f"int version(void) {{ return {version}; }}", soname=soname)


def test_a_bare_name_finds_the_library_that_the_bubble_loaded(
    world: World, wheelhouse: Wheelhouse, install: Install
) -> None:
    name = world.name("bare")
    soname = f"lib{name}.so.1"
    bubbles = []
    for version in (1, 2):
        files: dict[str, str | bytes] = {
            f"{name}/__init__.py": _PACKAGE.replace("SONAME", soname),
            f"{name}/{soname}": library(version, soname),
        }
        wheelhouse.make(name, str(version), files)
        bubbles.append(install(f"{name}=={version}"))
    packages = [om.load(bubble, name=name) for bubble in bubbles]
    with pytest.raises(OSError, match=soname):
        packages[0].bare()
    for package in packages:
        package.preload()
    assert [package.bare() for package in packages] == [1, 2]
    # Your own code: what is active answers, and else there is none.
    for number, bubble in enumerate(bubbles, 1):
        with om.use(bubble):
            assert ctypes.CDLL(soname).version() == number
            with om.use(bubbles[0]):
                assert ctypes.CDLL(soname).version() == 1
    with pytest.raises(OSError, match=soname):
        ctypes.CDLL(soname)
    (world.path / soname).write_bytes(library(7, soname))
    ctypes.CDLL(str(world.path / soname))
    assert ctypes.CDLL(soname).version() == 7
    with om.use(bubbles[1]):
        assert ctypes.CDLL(soname).version() == 2
        assert ctypes.CDLL(None).getpid() > 0


def test_ctypes_is_put_back_with_the_other_hooks(world: World) -> None:
    world.make(world.name(), "1.0")
    world.run(
        """
        import ctypes, _ctypes
        import omnipkg_meta as om
        om.use(om.main).__enter__()
        assert ctypes._dlopen is not _ctypes.dlopen
        om.uninstall_hooks()
        assert ctypes._dlopen is _ctypes.dlopen
        """
    )
    assert bare_names._original is not bare_names._dlopen
