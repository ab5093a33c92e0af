"""``home``: where objects come from, so that their scope can be entered again."""

from __future__ import annotations

import importlib
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import OriginError
from tests.worlds import seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

SOURCE = """
    import enum
    from collections import namedtuple
    from dataclasses import dataclass

    __version__ = "VERSION"

    Pair = namedtuple("Pair", "left right")

    class Colour(enum.Enum):
        RED = 1

    class Empty:
        pass

    class Point:
        class Inner:
            pass

        def __init__(self, x):
            self.x = x

        def method(self):
            return self

        @property
        def where(self):
            return __version__

        @classmethod
        def make(cls):
            return cls(1)

    @dataclass
    class Record:
        a: int = 1

    def function():
        class Local:
            pass

        return Local

    def generator():
        yield 1

    async def coroutine():
        return 1

    many = {"function": function, "method": Point(1).method, "class": Point, "object": Point(1),
            "pair": Pair(1, 2), "enum": Colour.RED, "empty": Empty(), "inner": Point.Inner,
            "classmethod": Point.make, "record": Record(), "generator": generator()}
"""


def test_objects_of_each_kind_say_where_they_come_from(world: World) -> None:
    name = world.name()
    bubbles = world.versions(name, "1", "2", main="3", files={f"{name}.py": SOURCE})
    modules: list[tuple[Any, Any]] = []
    sources: list[Any] = [*bubbles, om.main]
    for source in sources:
        with om.use(source):
            modules.append((om.use(source), importlib.import_module(name)))
    for scope, module in modules:
        for kind, obj in {**module.many, "module": module}.items():
            assert om.home(obj) is scope, kind
        running = module.coroutine()
        assert om.home(running) is scope
        running.close()


@pytest.mark.parametrize("obj", [1, "text", len, dict, pytest, seen, object(), None])
def test_everything_else_comes_from_main(obj: object) -> None:
    assert om.home(obj) is om.use(om.main)


def test_an_object_is_pickled_in_its_home(world: World) -> None:
    name = world.name()
    one, _ = world.versions(name, "1", "2", main="3", files={f"{name}.py": SOURCE})
    with om.use(one):
        point = importlib.import_module(name).Point(5)
    importlib.import_module(name)
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(point)
    with om.home(point):
        data = pickle.dumps(point)
        again = pickle.loads(data)
    assert (type(again), again.x, again.where) == (type(point), 5, "1")


def test_what_was_adopted_comes_from_the_scope_that_adopted_it(world: World) -> None:
    name, mine = world.name(), world.name("mine")
    one, _ = world.versions(name, "1", "2", main="3")
    world.module(mine, f"import {name}\nclass Thing:\n    pass\n")
    scope = om.use(one, adopt=[mine])
    with scope:
        thing = importlib.import_module(mine).Thing()
    with om.home(thing):
        assert type(thing) is importlib.import_module(mine).Thing
    assert importlib.import_module(mine).Thing is not type(thing)


def test_a_class_that_says_nothing_is_refused(world: World) -> None:
    name = world.name()
    one, two = world.versions(name, "1", "2", main="3", files={f"{name}.py": SOURCE})
    with om.use(one):
        importlib.import_module(name)
    with om.use(two):
        local = importlib.import_module(name).function()
    with pytest.raises(OriginError, match="Local") as caught:
        om.home(local)
    assert isinstance(caught.value, LookupError)
