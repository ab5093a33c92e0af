"""Modules in a bubble's directories are found as importlib finds them, or importlib is asked."""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, FileFinder, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnipkg_meta import directories
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World

pytestmark = pytest.mark.skipif(
    not directories._HAS_CASE, reason="importlib itself is asked on this system"
)

FILES = st.lists(
    st.sampled_from(
        [
            *("a.py", "a.pyc", "a/__init__.py", "a/__init__.pyc", "a/b.py", "a/other.txt"),
            *(f"a{suffix}" for suffix in EXTENSION_SUFFIXES),
            *(f"a/__init__{suffix}" for suffix in EXTENSION_SUFFIXES),
            *("b.py", "B.py", "b.py/nothing", "a/__init__.py/nothing", "c/d/__init__.py"),
        ]
    ),
    unique=True,
)


@pytest.fixture(autouse=True)
def proved() -> None:
    directories.prove()
    assert directories._proved


def facts(spec: Any) -> tuple[object, ...]:
    """All that a spec says, and which loader has which file."""
    loader = spec.loader
    return (
        *(spec.name, spec.origin, spec.cached, spec.has_location, spec.loader_state),
        *(spec.submodule_search_locations, spec.parent, type(loader), loader.name, loader.path),
    )


def make(place: Path, names: list[str]) -> None:
    for name in names:
        file = place / name
        if any(one.is_file() for one in file.parents) or file.is_dir():
            continue  # there is a file, or a directory, of that name already
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES)
def test_whatever_lies_in_a_directory_the_same_is_found(
    files: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("place")
    make(place, files)
    for name in ("a", "b", "B", "c", "tests.a", "tests.b"):
        theirs = PathFinder.find_spec(name, [str(place)])
        ours = directories.find(name, [str(place)])
        if theirs is None or theirs.loader is None:
            assert ours is None
        else:
            assert facts(ours) == facts(theirs)


def test_a_directory_is_listed_by_importlib_first_and_again_when_it_has_changed(
    tmp_path: Path,
) -> None:
    path = [str(tmp_path)]
    make(tmp_path, ["a.py"])
    assert directories.find("a", path) is None
    assert PathFinder.find_spec("a", path) is not None
    assert directories.find("a", path) is not None
    make(tmp_path, ["b.py"])
    os.utime(tmp_path, (1, 1))
    assert directories.find("b", path) is None
    assert directories.find("a", path) is None
    assert PathFinder.find_spec("b", path) is not None
    assert directories.find("b", path) is not None


def test_a_directory_that_is_gone_is_left_to_importlib(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    make(place, ["a.py"])
    assert PathFinder.find_spec("a", [str(place)]) is not None
    (place / "a.py").unlink()
    place.rmdir()
    assert directories.find("a", [str(place)]) is None
    assert directories.find("a", []) is None


def test_what_only_a_later_directory_has_is_left_to_importlib(tmp_path: Path) -> None:
    make(tmp_path, ["one/b.py", "two/a.py"])
    path = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert PathFinder.find_spec("a", path) is not None
    assert directories.find("a", path) is None


def test_another_kind_of_finder_is_asked_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder(FileFinder):
        pass

    make(tmp_path, ["a.py"])
    finder = Finder(str(tmp_path), (SourceFileLoader, [".py"]))
    monkeypatch.setitem(sys.path_importer_cache, str(tmp_path), finder)
    assert PathFinder.find_spec("a", [str(tmp_path)]) is not None
    assert directories.find("a", [str(tmp_path)]) is None


PATCHES = """
from importlib.machinery import FileFinder, PathFinder
import omnipkg_meta as om

files, paths, seen = FileFinder.find_spec, PathFinder.find_spec, []

def of_files(self, name, target=None):
    seen.append(name)
    return files(self, name, target)

def of_paths(name, path=None, target=None):
    seen.append(name)
    return paths(name, path, target)

with om.use("leaf==1.0"):
    import leaf.first
    {put}
    import leaf.second
    {take}
    import leaf.third
print(seen)
"""


@pytest.mark.parametrize(
    ("put", "take"),
    [
        ("FileFinder.find_spec = of_files", "FileFinder.find_spec = files"),
        ("PathFinder.find_spec = of_paths", "PathFinder.find_spec = paths"),
    ],
)
def test_what_somebody_puts_in_the_place_of_importlibs_function_is_called(
    world: World, put: str, take: str
) -> None:
    files = dict.fromkeys(("__init__", "first", "second", "third"), "")
    world.make("leaf", "1.0", {f"leaf/{name}.py": text for name, text in files.items()})
    done = world.run(PATCHES.format(put=put, take=take))
    assert done.stdout == "['leaf.second']\n"
