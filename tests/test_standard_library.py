"""The standard library acts for its caller, and so does code run in a bare namespace."""

from __future__ import annotations

import copy
import importlib
import pickle
import runpy
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


@pytest.mark.parametrize("inside", [False, True])
def test_runpy_runs_what_its_caller_sees(world: World, inside: bool) -> None:
    name = world.name()
    files = {
        f"{name}/__init__.py": "__version__ = 'VERSION'\n",
        f"{name}/__main__.py": f"""
            import {name}, sys
            from . import __version__ as relative
            found = {name}.__version__, relative, sys.modules["{name}"].__version__

            def later():
                import {name}
                return {name}.__version__
            """,
    }
    world.versions(name, "1.0", main="0.5", files=files)
    version = "1.0" if inside else "0.5"
    with om.use(f"{name}==1.0" if inside else om.main):
        result = runpy.run_module(name)
    assert result["found"] == (version,) * 3


def test_a_function_of_a_script_that_runpy_ran_is_at_home_in_its_bubble(world: World) -> None:
    name = world.name()
    later = f"def later():\n    import {name}\n    return {name}.__version__\n"
    files = {f"{name}/__init__.py": "__version__ = 'VERSION'\n", f"{name}/__main__.py": later}
    world.versions(name, "1.0", main="0.5", files=files)
    with om.use(f"{name}==1.0") as scope:
        by_name = runpy.run_module(name)["later"]
        by_path = runpy.run_path(str(scope.bubbles[0].site_packages / name / "__main__.py"))[
            "later"
        ]
    importlib.import_module(name)
    assert (by_name(), by_path()) == ("1.0", "1.0")


def test_a_module_that_a_bubble_loads_lazily_is_loaded_in_it_after_the_scope(world: World) -> None:
    name = world.name()
    text = f"""
        import importlib.util, sys

        def lazy():
            spec = importlib.util.find_spec("{name}.heavy")
            spec.loader = importlib.util.LazyLoader(spec.loader)
            module = importlib.util.module_from_spec(spec)
            sys.modules["{name}.heavy"] = module
            spec.loader.exec_module(module)
            return module

        heavy = lazy()

        def look():
            return heavy.version
        """
    files = {f"{name}/__init__.py": text, f"{name}/heavy.py": "version = 'VERSION'\n"}
    world.versions(name, "1.0", main="0.5", files=files)
    inside = om.load(f"{name}==1.0")
    outside = importlib.import_module(name)
    assert (inside.look(), outside.look()) == ("1.0", "0.5")


def test_code_that_a_bubble_compiles_into_a_module_of_its_own_is_at_home_in_the_bubble(
    world: World,
) -> None:
    # As template engines do: the text imports the engine's own modules by name.
    engine = world.name("engine")
    text = f"""
        import types
        __version__ = "VERSION"

        def template():
            module = types.ModuleType("a_template")
            text = "import {engine}\\nloaded = {engine}.__version__\\n"
            text += "def render():\\n    import {engine}\\n    return {engine}.__version__\\n"
            exec(compile(text, "<template>", "exec"), vars(module))
            return module
        """
    world.versions(engine, "1.0", main="0.5", files={f"{engine}.py": text})
    importlib.import_module(engine)
    template = om.load(f"{engine}==1.0").template()
    assert template.loaded == "1.0"
    assert template.render() == "1.0"


def test_a_backport_of_the_standard_library_acts_for_its_caller_too(world: World) -> None:
    backport = world.wheel(
        "typing_extensions",
        "4.12.0",
        {
            "typing_extensions.py": """
                import typing

                def get_type_hints(cls):
                    return typing.get_type_hints(cls)
                """
        },
    )
    for version in ("1.0", "2.0"):
        text = f"""
            from __future__ import annotations
            import typing_extensions

            class Part:
                version = "{version}"

            class Whole:
                part: Part

            def hints():
                return typing_extensions.get_type_hints(Whole)["part"].version
            """
        world.bubble(world.wheel("assembly", version, {"assembly.py": text}), backport)
    world.install(backport)
    done = world.run(
        """
        import sys
        import omnipkg_meta as om

        found = []
        for version in ("1.0", "2.0", "1.0"):
            with om.use(f"assembly=={version}"):
                import assembly
                found.append(assembly.hints)
        print(*(hints() for hints in found))
        with om.use("assembly==2.0"):
            import typing_extensions
            from assembly import Whole
            print(typing_extensions.get_type_hints(Whole)["part"].version)
        """
    )
    assert done.stdout.split() == ["1.0", "2.0", "1.0", "2.0"]
