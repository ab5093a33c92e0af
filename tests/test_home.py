"""Code answers to the environment it was installed in: for ever, and whoever calls it."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import omnipkg_meta as om
from omnipkg_meta import declared as declared_in_main
from omnipkg_meta import kinds, own_scopes
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from types import ModuleType

    from omnipkg_meta.store.bubble import Bubble

#: A package that imports lazily in every way; DEP stands for a dependency of its
#: own, LACKED for a package that its bubble lacks.
PACKAGE = {
    "PKG/__init__.py": """
        __version__ = "VERSION"

        def dep():
            import DEP
            return DEP.__version__

        def lazy():
            import PKG.part
            return PKG.part.version

        def lacked():
            import LACKED
            return LACKED.__version__

        def by_importlib():
            import importlib
            part = importlib.import_module(".part", __name__)
            return importlib.import_module("DEP").__version__, part.version

        def by_dunder():
            part = __import__("part", globals(), None, ["version"], 1)
            return __import__("DEP").__version__, part.version

        def by_table():
            import sys
            import DEP
            same = sys.modules["DEP"] is sys.modules.get("DEP") is DEP
            return same, sys.modules[__name__].__version__

        def by_star():
            namespace = {}
            exec("from DEP import *", namespace)
            return namespace["version"]

        def relative():
            from . import part
            from .part import version
            from .deep.down import look
            return part.version, version, look()

        def metadata():
            from importlib.metadata import version
            return version("DEP")

        class Thing:
            log = []

            def dep(self):
                import DEP
                return DEP.__version__

            @property
            def lazy(self):
                from PKG import part
                return part.version

            @staticmethod
            def make():
                from DEP import Made
                return Made()

            def __del__(self):
                import DEP
                self.log.append(DEP.__version__)

        def steps():
            import DEP
            yield DEP.__version__
            from PKG import part
            yield part.version

        async def later():
            import DEP
            return DEP.__version__

        def call(function):
            return function()

        def __getattr__(name):
            if name == "attribute":
                from DEP import __version__
                return __version__
            raise AttributeError(name)
        """,
    "PKG/part.py": "from DEP import *\n",
    "PKG/deep/__init__.py": "",
    "PKG/deep/down.py": """
        def look():
            from .. import part
            from ..part import version
            assert part.version == version
            return version
        """,
}
DEP = """
        __version__ = version = "VERSION"

        class Made:
            where = version
        """


class Pair(NamedTuple):
    """A package in a bubble with a dependency of its own, version 1.0; main has 0.5 of both."""

    pkg: str
    dep: str
    lacked: str
    bubble: Bubble
    module: ModuleType


def sources(text: str, version: str, pkg: str, dep: str, lacked: str) -> str:
    for word, value in (("PKG", pkg), ("DEP", dep), ("LACKED", lacked), ("VERSION", version)):
        text = text.replace(word, value)
    return text


@pytest.fixture
def pair(world: World) -> Pair:
    pkg, dep, lacked = world.name(), world.name("dep"), world.name("lacked")

    def package(version: str) -> Any:
        files = {
            sources(path, version, pkg, dep, lacked): sources(text, version, pkg, dep, lacked)
            for path, text in PACKAGE.items()
        }
        return world.wheel(pkg, version, files, requires=[dep])

    def dependency(version: str) -> Any:
        return world.wheel(dep, version, {f"{dep}.py": sources(DEP, version, pkg, dep, lacked)})

    world.install(package("0.5"), dependency("0.5"))
    world.versions(lacked, "1.0", main="0.5")
    bubble = world.bubble(package("1.0"), dependency("1.0"))
    # Another bubble that has the dependency, to be nested around.
    world.bubble(dependency("2.0"), world.wheel(pkg, "2.0"))
    return Pair(pkg, dep, lacked, bubble, om.load(bubble, name=pkg))


def test_a_function_imports_from_its_bubble_after_the_scope(pair: Pair) -> None:
    assert pair.module.dep() == "1.0"
    assert pair.module.lazy() == "1.0"
    assert seen(pair.dep) == "0.5"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("by_importlib", ("1.0", "1.0")),
        ("by_dunder", ("1.0", "1.0")),
        ("by_table", (True, "1.0")),
        ("by_star", "1.0"),
        ("relative", ("1.0", "1.0", "1.0")),
        ("metadata", "1.0"),
    ],
)
def test_code_of_a_bubble_finds_its_bubble_however_it_looks(
    pair: Pair, function: str, expected: object
) -> None:
    assert getattr(pair.module, function)() == expected
    with om.use(f"{pair.dep}==2.0"):
        assert getattr(pair.module, function)() == expected


def test_code_of_main_finds_main_however_it_looks_inside_a_scope(pair: Pair) -> None:
    inside = importlib.import_module(pair.pkg)
    with om.use(pair.bubble):
        assert inside.by_importlib() == ("0.5", "0.5")
        assert inside.by_table() == (True, "0.5")
        assert inside.by_star() == "0.5"
        assert inside.relative() == ("0.5", "0.5", "0.5")
        assert inside.metadata() == "0.5"
        assert inside.attribute == "0.5"


def test_a_class_imports_from_its_bubble_after_the_scope(pair: Pair) -> None:
    class Mine(pair.module.Thing):  # type: ignore[misc, name-defined]
        def __del__(self) -> None:
            pass

    assert (Mine().dep(), Mine().lazy, Mine.make().where) == ("1.0", "1.0", "1.0")


def test_the_getattr_of_a_module_imports_from_its_bubble_after_the_scope(pair: Pair) -> None:
    assert pair.module.attribute == "1.0"
    with om.use(f"{pair.dep}==2.0"):
        assert pair.module.attribute == "1.0"


def test_a_finalizer_imports_from_its_bubble_wherever_the_object_dies(pair: Pair) -> None:
    thing = pair.module.Thing()
    del thing
    with om.use(f"{pair.dep}==2.0"):
        thing = pair.module.Thing()
        thing.itself = thing
        del thing
        gc.collect()
    assert pair.module.Thing.log == ["1.0", "1.0"]


def test_a_callback_in_another_thread_imports_from_its_bubble(pair: Pair) -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(pair.module.lazy()))
    thread.start()
    thread.join()
    timer = threading.Timer(0, lambda: found.append(pair.module.dep()))
    timer.start()
    timer.join()
    assert found == ["1.0", "1.0"]


def test_a_thread_whose_target_is_the_bubbles_own_function_is_at_home_there(
    world: World, pair: Pair
) -> None:
    name = world.name()
    module = om.load(
        world.bubble(
            world.wheel(pair.dep, "3.0"),
            world.wheel(
                name,
                "1.0",
                {
                    f"{name}.py": f"""
                        log = []

                        def run():
                            import {pair.dep}
                            log.append({pair.dep}.__version__)
                        """
                },
            ),
        ),
        name=name,
    )
    thread = threading.Thread(target=module.run)
    thread.start()
    thread.join()
    assert module.log == ["3.0"]


def test_generators_and_coroutines_of_a_bubble_go_on_in_it(pair: Pair) -> None:
    with om.use(pair.bubble):
        steps = pair.module.steps()
        later = pair.module.later()
    assert list(steps) == ["1.0", "1.0"]
    with om.use(f"{pair.dep}==2.0"):
        assert asyncio.run(later) == "1.0"


def test_a_callback_of_the_users_that_a_bubble_calls_is_the_users(pair: Pair) -> None:
    def mine() -> str:
        return seen(pair.dep)

    assert pair.module.call(mine) == "0.5"
    with om.use(f"{pair.dep}==2.0"):
        assert pair.module.call(mine) == "2.0"


def test_names_that_a_bubble_lacks_are_mains_and_never_the_scopes(pair: Pair) -> None:
    assert pair.module.lacked() == "0.5"
    with om.use(f"{pair.lacked}==1.0"):
        assert seen(pair.lacked) == "1.0"
        assert pair.module.lacked() == "0.5"


def test_the_inside_of_a_bubble_stays_coherent_whatever_is_nested_around_it(pair: Pair) -> None:
    with om.use(pair.bubble), om.use(f"{pair.dep}==2.0"):
        assert seen(pair.dep) == "2.0"
        assert (pair.module.dep(), pair.module.lazy()) == ("1.0", "1.0")
        with om.use(om.main):
            assert seen(pair.dep) == "0.5"
            assert pair.module.dep() == "1.0"


# -- main's installed distributions ----------------------------------------------


def test_an_installed_distribution_finds_what_it_declares_in_main(world: World, pair: Pair) -> None:
    name = world.name()
    text = f"""
        def dep():
            import {pair.dep}
            return {pair.dep}.__version__

        def own():
            import {name}.part
            return {name}.part.version

        def undeclared():
            import {pair.lacked}
            return {pair.lacked}.__version__
        """
    files = {f"{name}/__init__.py": text, f"{name}/part.py": "version = 'main'\n"}
    world.install(world.wheel(name, "0.5", files, requires=[f"{pair.dep.upper()} >= 0"]))
    bubbles = {f"{name}/__init__.py": text, f"{name}/part.py": "version = 'bubble'\n"}
    other = world.make(name, "1.0", bubbles)
    module = importlib.import_module(name)
    with om.use(pair.bubble), om.use(other), om.use(f"{pair.lacked}==1.0"):
        assert module.dep() == "0.5"
        assert module.own() == "main"
        assert module.undeclared() == "1.0"
        assert seen(pair.dep) == "1.0"
    assert module.undeclared() == "0.5"


def test_an_installed_distribution_gets_the_scope_that_it_asked_for_itself(
    world: World, pair: Pair
) -> None:
    name = world.name()
    text = f"""
        import importlib.metadata
        import omnipkg_meta as om

        def dep():
            import {pair.dep}
            return {pair.dep}.__version__, importlib.metadata.version({pair.dep!r})

        def own():
            import {name}.part
            return {name}.part.helper()

        def inside(*sources):
            with om.use(*sources):
                return dep(), own()

        def bound(*sources):
            return om.bind(dep, *sources)()

        def loaded(*sources):
            return om.load(*sources, name={pair.dep!r}).__version__

        def call(function, *sources):
            with om.use(*sources):
                return function()
        """
    helper = f"def helper():\n    import {pair.dep}\n    return {pair.dep}.__version__\n"
    files = {f"{name}/__init__.py": text, f"{name}/part.py": helper}
    world.install(world.wheel(name, "0.5", files, requires=[f"{pair.dep.upper()} >= 0"]))
    module = importlib.import_module(name)
    mains, bubbles = (("0.5", "0.5"), "0.5"), (("1.0", "1.0"), "1.0")
    for _ in range(3):  # what was remembered of one is not taken for the other
        assert (module.dep(), module.own()) == mains
        assert module.inside(pair.bubble) == bubbles
        assert module.bound(pair.bubble) == bubbles[0]
        assert module.loaded(pair.bubble) == "1.0"
        # A scope of somebody else, around it or inside of it, is not what it asked for.
        with om.use(f"{pair.dep}==2.0"):
            assert (module.dep(), module.own()) == mains
            assert module.inside(pair.bubble) == bubbles
            assert module.inside(om.main) == mains
        inner = om.use(f"{pair.dep}==2.0")(module.dep)
        assert module.call(inner, pair.bubble) == bubbles[0]
    with ThreadPoolExecutor(4) as pool:
        calls = [module.dep, lambda: module.inside(pair.bubble)[0]] * 50
        assert list(pool.map(lambda one: one(), calls)) == [mains[0], bubbles[0]] * 50


def test_who_asked_for_a_scope_is_found_while_others_ask_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"one.py", "two.py"}

    def owner_of(file: str) -> str:
        files.add(f"more-{file}")  # as another thread may at this moment
        return file

    monkeypatch.setattr(declared_in_main, "owner_of", owner_of)
    assert not own_scopes._is_of_one_of("three.py", files)


@pytest.mark.parametrize("declared", ["extra", "marker"])
def test_what_an_extra_or_a_marker_may_need_is_declared(
    world: World, pair: Pair, declared: str
) -> None:
    name = world.name()
    wheel = world.wheel(
        name,
        "0.5",
        {f"{name}.py": f"def dep():\n    import {pair.dep} as dep\n    return dep.__version__\n"},
        extras={"more": [pair.dep]} if declared == "extra" else {},
        requires=[f"{pair.dep}; python_version < '3'"] if declared == "marker" else [],
    )
    world.install(wheel)
    module = importlib.import_module(name)
    with om.use(pair.bubble):
        assert module.dep() == "0.5"


def test_code_of_main_that_a_bubble_calls_finds_main(world: World, pair: Pair) -> None:
    name = world.name()
    text = f"def dep():\n    import {pair.dep} as dep\n    return dep.__version__\n"
    world.install(world.wheel(name, "0.5", {f"{name}.py": text}, requires=[pair.dep]))
    module = importlib.import_module(name)
    with om.use(pair.bubble):
        assert pair.module.call(module.dep) == "0.5"


def test_a_file_of_mains_that_acts_for_callers_imports_what_they_would(world: World) -> None:
    name, tool = world.name(), world.name("tool")
    world.versions(name, "1.0", "2.0", main="0.5")
    sources = {
        f"{tool}/__init__.py": "",
        f"{tool}/own.py": f"def ask():\n    import {name}\n    return {name}.__version__\n",
    }
    sources[f"{tool}/helping.py"] = sources[f"{tool}/own.py"]
    world.install(world.wheel(tool, "1.0", sources, requires=[name]))
    own, helping = (importlib.import_module(f"{tool}.{one}") for one in ("own", "helping"))
    with om.use(f"{name}==1.0"):
        assert helping.ask() == "0.5"  # what it declares, as any code of main's
        kinds.act_for_callers(str(helping.__file__))
        assert (own.ask(), helping.ask()) == ("0.5", "1.0")
    with om.use(f"{name}==2.0"):
        assert helping.ask() == "2.0"
    assert helping.ask() == "0.5"
