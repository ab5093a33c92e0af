"""Pickles across versions: written in one version's scope, read in another's."""

from __future__ import annotations

import importlib
import pickle
import re
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worlds import World

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

#: pickle's own code in C, and the same in Python.
PICKLERS = [(pickle.dumps, pickle.loads), (vars(pickle)["_dumps"], vars(pickle)["_loads"])]

FILES = {
    "PKG/__init__.py": """
        __version__ = "VERSION"
        class Thing:
            version = "VERSION"
            def __init__(self, value):
                self.value = value
            def __setstate__(self, state):
                self.__dict__.update(state, read_by="VERSION")
        class Reduced:
            version = "VERSION"
            def __init__(self, value):
                self.value = value
            def __reduce__(self):
                return make, (self.value,)
        def make(value):
            return Reduced(value)
        class Outer:
            class Inner:
                version = "VERSION"
        """,
    "PKG/moved_VERSION.py": "class Moved:\n    pass\n",
}


@pytest.fixture
def name(world: World) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, and 0.5 in main; 2.0 lacks a class."""
    name = world.name()
    wheels = {}
    for version in ("0.5", "1.0", "2.0"):
        files = {
            path.replace("PKG", name).replace("VERSION", version[0]): text.replace(
                "VERSION", version
            )
            for path, text in FILES.items()
        }
        if version == "2.0":
            path = f"{name}/__init__.py"
            files[path] = files[path].replace("class Reduced", "class Renamed")
        wheels[version] = world.wheel(name, version, files)
    world.install(wheels["0.5"])
    for version in ("1.0", "2.0"):
        world.bubble(wheels[version])
    return name


def within(name: str, version: str) -> Any:
    """Return the scope of a version: a bubble's, or main's."""
    return om.use(om.main) if version == "0.5" else om.use(f"{name}=={version}")


@pytest.mark.parametrize(("dumps", "loads"), PICKLERS)
@pytest.mark.parametrize("written", ["0.5", "1.0", "2.0"])
@pytest.mark.parametrize("read", ["0.5", "1.0", "2.0"])
def test_what_one_version_wrote_another_reads_as_its_own(
    name: str,
    dumps: Callable[..., bytes],
    loads: Callable[[bytes], Any],
    written: str,
    read: str,
) -> None:
    with within(name, written):
        module = importlib.import_module(name)
        things = [module.Thing({"a": [1]}), module.Outer.Inner()]
        blobs = [dumps(things, protocol) for protocol in PROTOCOLS]
    with within(name, read):
        reader = importlib.import_module(name)
        for blob in blobs:
            thing, inner = loads(blob)
            assert type(thing) is reader.Thing
            assert (thing.version, thing.value, thing.read_by) == (read, {"a": [1]}, read)
            assert type(inner) is reader.Outer.Inner


def test_the_scope_an_object_comes_from_is_where_it_is_pickled(name: str) -> None:
    with within(name, "1.0"):
        module = importlib.import_module(name)
    thing, reduced = module.Thing(3), module.Reduced(3)
    for one in (thing, reduced):
        with pytest.raises(pickle.PicklingError):
            pickle.dumps(one)
        with within(name, "2.0"), pytest.raises(pickle.PicklingError):
            pickle.dumps(one)
        with om.home(one):
            data = pickle.dumps(one)
        with om.home(one):
            assert type(pickle.loads(data)) is type(one)
        assert type(pickle.loads(data)) is getattr(
            importlib.import_module(name), type(one).__name__
        )


def test_one_pickle_cannot_hold_objects_of_two_versions(name: str) -> None:
    things = []
    for version in ("1.0", "2.0"):
        with within(name, version):
            things.append(importlib.import_module(name).Thing(version))
    for thing in things:
        with om.home(thing), pytest.raises(pickle.PicklingError, match="not the same object"):
            pickle.dumps(things)
    apart = []
    for thing in things:
        with om.home(thing):
            apart.append(pickle.dumps(thing))
    for version in ("0.5", "1.0", "2.0"):
        with within(name, version):
            assert [pickle.loads(data).version for data in apart] == [version] * 2


def test_what_the_reading_version_has_not_got_is_named(name: str) -> None:
    with within(name, "1.0"):
        module = importlib.import_module(name)
        moved = importlib.import_module(f"{name}.moved_1")
        of_class, of_module = pickle.dumps(module.Reduced), pickle.dumps(moved.Moved())
    with within(name, "2.0"):
        with pytest.raises(AttributeError, match="Reduced"):
            pickle.loads(of_class)
        with pytest.raises(ModuleNotFoundError, match=re.escape(f"{name}.moved_1")):
            pickle.loads(of_module)
