"""The standard library acts for its caller, and so does code run in a bare namespace."""

from __future__ import annotations

import copy
import importlib
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from types import ModuleType

    from tests.worlds import World


@pytest.fixture
def shapes(world: World) -> tuple[ModuleType, ModuleType]:
    """A module that works through the standard library, as main and as a bubble have it."""
    name = world.name("shapes")
    text = f"""
        import dataclasses, logging, typing

        @dataclasses.dataclass
        class Shape:
            size: "Size"
            where: typing.ClassVar["str"] = "VERSION"

        class Size(int):
            pass

        class Handler(logging.NullHandler):
            pass

        def round_trip():
            import pickle
            return pickle.loads(pickle.dumps(Shape(1)))

        def resolve():
            import pkgutil
            return pkgutil.resolve_name("{name}:Shape.where")

        def hints():
            return typing.get_type_hints(Shape)["size"]

        def patched():
            from unittest import mock
            with mock.patch("{name}.Shape.where", "patched"):
                return Shape.where

        def configured():
            import logging.config
            logging.config.dictConfig({{
                "version": 1, "disable_existing_loggers": False,
                "handlers": {{"h": {{"class": "{name}.Handler"}}}},
                "loggers": {{"{name}": {{"handlers": ["h"]}}}},
            }})
            logger = logging.getLogger("{name}")
            (handler,), logger.handlers = logger.handlers, []
            return type(handler)
        """
    world.versions(name, "1.0", main="0.5", files={f"{name}.py": text})
    return importlib.import_module(name), om.load(f"{name}==1.0")


@pytest.mark.parametrize("inside", [False, True])
def test_the_standard_library_acts_for_the_code_that_calls_it(
    shapes: tuple[ModuleType, ModuleType], inside: bool
) -> None:
    in_main, in_bubble = shapes
    with om.use(f"{in_main.__name__}==1.0" if inside else om.main):
        for module in shapes:
            assert type(module.round_trip()) is module.Shape
            assert module.resolve() == module.Shape.where
            assert module.hints() is module.Size
            assert module.patched() == "patched"
            assert module.configured() is module.Handler
    assert (in_main.Shape.where, in_bubble.Shape.where) == ("0.5", "1.0")


def test_pickle_in_the_users_code_sees_what_the_user_sees(
    shapes: tuple[ModuleType, ModuleType],
) -> None:
    in_main, in_bubble = shapes
    with om.use(f"{in_main.__name__}==1.0"):
        data = pickle.dumps(in_bubble.Shape(3))
        assert type(pickle.loads(data)) is in_bubble.Shape
        assert type(pickle._loads(data)) is in_bubble.Shape  # type: ignore[attr-defined]
        assert type(copy.deepcopy(in_bubble.Shape(3))) is in_bubble.Shape
        with pytest.raises(pickle.PicklingError, match="not the same object"):
            pickle.dumps(in_main.Shape(3))
    # Names are real, so a pickle made in a bubble loads where main has that name.
    assert type(pickle.loads(data)) is in_main.Shape


def test_code_in_a_bare_namespace_acts_for_whoever_runs_it(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    bare = f"import {name}\nversion = {name}.__version__"

    def run() -> str:
        namespace: dict[str, Any] = {}
        exec(bare, namespace)  # noqa: S102
        return str(namespace["version"])

    assert run() == "0.5"
    with om.use(f"{name}==1.0"):
        assert run() == "1.0"
    runner = world.name()
    text = f"""
        def run():
            namespace = {{}}
            exec({bare!r}, namespace)
            return namespace["version"]
        """
    both = world.bubble(
        world.wheel(name, "3.0"), world.wheel(runner, "1.0", {f"{runner}.py": text})
    )
    module = om.load(both, name=runner)
    assert module.run() == "3.0"
    with om.use(f"{name}==1.0"):
        assert module.run() == "3.0"
