"""Namespace packages of which a bubble holds some portions, and main others."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import pickle
import sys
import threading
import warnings
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import omnipkg_meta as om
from tests.test_threads import together
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from types import ModuleType

    from omnipkg_meta.store.bubble import Bubble
    from tests.worlds import World

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    # Main's, before any scope: first imported inside of one, it would say that it is main's.
    warnings.simplefilter("ignore")
    importlib.import_module("pkg_resources")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Deprecated call to:DeprecationWarning"),
    # It looks the package up that declares itself, on that package's behalf.
    pytest.mark.filterwarnings("ignore:'pkg_resources' was first imported inside"),
]

#: What stands in the ``__init__`` of a namespace package, where it has one.
STYLES = {
    "PEP 420": None,
    "pkgutil": "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n",
    "pkg_resources": """
        try:
            __import__('pkg_resources').declare_namespace(__name__)
        except ImportError:
            __path__ = __import__('pkgutil').extend_path(__path__, __name__)
        """,
}

#: A portion that answers for itself and imports its neighbours.
PORTION = """
    import sys
    version = "VERSION"

    class Thing:
        where = version

    def neighbour(label):
        import importlib
        return importlib.import_module(f"SPACE.{label}").version

    def attribute(label):
        import SPACE
        return getattr(SPACE, label).version
    """


class Space(NamedTuple):
    """A namespace: ``proto`` in main (0.5) and in two bubbles, ``cloud.storage`` in main only."""

    name: str
    first: Bubble
    second: Bubble


def portion(world: World, space: str, label: str, version: str, style: str) -> Any:
    init = STYLES[style]
    files: dict[str, str | bytes] = {} if init is None else {f"{space}/__init__.py": init}
    parts = label.split(".")
    for depth in range(1, len(parts)):
        if init is not None:
            files["/".join([space, *parts[:depth], "__init__.py"])] = init
    text = PORTION.replace("VERSION", version).replace("SPACE", space)
    files["/".join([space, *parts, "__init__.py"])] = text
    files["/".join([space, *parts, "part.py"])] = "from . import version\n"
    return world.wheel(f"{space}-{parts[-1]}", version, files)


@pytest.fixture(params=STYLES)
def space(world: World, request: pytest.FixtureRequest) -> Space:
    style, name = request.param, world.name("space")
    world.install(portion(world, name, "proto", "0.5", style))
    world.install(portion(world, name, "cloud.storage", "0.5", style))
    first = world.bubble(portion(world, name, "proto", "1.0", style))
    second = world.bubble(
        portion(world, name, "proto", "2.0", style),
        portion(world, name, "cloud.query", "2.0", style),
    )
    return Space(name, first, second)


def statement(text: str, result: str) -> Any:
    """Return what a name is after import statements of the user's."""
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(text, namespace)  # noqa: S102  # statements with names of the test's own
    return eval(result, namespace)  # noqa: S307


def look(space: str) -> tuple[str, str, ModuleType]:
    """Look for both portions in many ways that must agree."""
    proto = importlib.import_module(f"{space}.proto")
    storage = importlib.import_module(f"{space}.cloud.storage")
    assert statement(f"import {space}.cloud.storage", f"{space}.cloud.storage") is storage
    assert statement(f"import {space}.cloud.storage as it", "it") is storage
    assert statement(f"from {space} import cloud, proto", "cloud.storage") is storage
    assert statement(f"from {space} import cloud, proto", "proto") is proto
    assert statement(f"from {space}.cloud import storage", "storage") is storage
    assert sys.modules[f"{space}.cloud.storage"] is storage
    assert sys.modules[f"{space}.proto"] is proto
    assert sys.modules[space].proto is proto
    assert sys.modules[space].cloud.storage is storage
    assert dict(sys.modules)[f"{space}.proto"] is proto
    assert dict(sys.modules)[f"{space}.cloud.storage"] is storage
    for module in (proto, storage):
        assert type(pickle.loads(pickle.dumps(module.Thing()))) is module.Thing
        assert importlib.import_module(f"{module.__name__}.part").version == module.version
    assert metadata.version(f"{space}-proto") == proto.version
    assert metadata.version(f"{space}-storage") == storage.version
    return proto.version, storage.version, storage


@pytest.mark.parametrize("order", ["scope first", "main first"])
def test_portions_that_a_bubble_lacks_are_mains_and_mains_objects(space: Space, order: str) -> None:
    before = look(space.name)[2] if order == "main first" else None
    with om.use(space.first):
        proto, version, storage = look(space.name)
        assert (proto, version) == ("1.0", "0.5")
        inside = importlib.import_module(f"{space.name}.proto")
    assert before in (None, storage)
    proto, version, outside = look(space.name)
    assert (proto, version) == ("0.5", "0.5")
    assert outside is storage
    assert not hasattr(storage, "__bubble__")
    # Code of the bubble, and code of main, after the scope and from another thread.
    for module, own in ((inside, "1.0"), (storage, "0.5")):
        for call in (module.neighbour, module.attribute):
            assert call("proto") == own
            assert together(functools.partial(call, "proto")) == [own]
    assert inside.neighbour("cloud.storage") == "0.5"
    with om.use(space.second):
        assert inside.neighbour("proto") == "1.0"
        assert storage.neighbour("proto") == "0.5"


def test_main_never_sees_a_portion_of_a_bubble(space: Space) -> None:
    with om.use(space.second):
        query = importlib.import_module(f"{space.name}.cloud.query")
        assert importlib.import_module(f"{space.name}.cloud.storage").version == "0.5"
        assert statement(f"from {space.name}.cloud import query", "query") is query
        assert statement(f"from {space.name}.cloud import storage", "storage").version == "0.5"
        assert sys.modules[f"{space.name}.cloud"].query is query
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{space.name}.cloud.query")
    assert not hasattr(importlib.import_module(f"{space.name}.cloud"), "query")
    assert importlib.util.find_spec(f"{space.name}.cloud.query") is None
    with om.use(space.first), pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{space.name}.cloud.query")
    assert query.neighbour("cloud.storage") == "0.5"
    assert query.neighbour("proto") == "2.0"


def test_two_bubbles_and_main_look_at_once(space: Space) -> None:
    barrier = threading.Barrier(3, timeout=60)

    def inside(source: Any) -> tuple[str, str, ModuleType]:
        with om.use(source):
            barrier.wait()
            return look(space.name)

    sources = (space.first, space.second, om.main)
    one, two, main = together(*[functools.partial(inside, source) for source in sources])
    assert [one[0], two[0], main[0]] == ["1.0", "2.0", "0.5"]
    assert one[2] is two[2] is main[2]


def test_a_spec_can_be_found_without_an_import(space: Space) -> None:
    with om.use(space.first):
        spec = importlib.util.find_spec(f"{space.name}.cloud.storage")
        assert spec is not None
        assert "bubble" not in str(spec.origin)
        assert f"{space.name}.cloud.storage" not in sys.modules
        assert importlib.util.find_spec(f"{space.name}.nothing") is None
        with pytest.raises(ImportError):
            statement(f"from {space.name} import nothing", "nothing")


def test_what_a_distribution_of_the_bubble_has_in_main_only_stays_hidden(world: World) -> None:
    # An older or newer copy of the same distribution must not mix with the bubble's.
    name = world.name("space")
    world.install(
        world.wheel(f"{name}-one", "0.5", {f"{name}/one.py": "", f"{name}/speedups.py": ""})
    )
    world.module(f"{name}/users", "version = 'of the user'\n")
    bubble = world.bubble(world.wheel(f"{name}-one", "1.0", {f"{name}/one.py": ""}))
    importlib.import_module(f"{name}.speedups")
    with om.use(bubble):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.speedups")
        assert not hasattr(importlib.import_module(name), "speedups")
        assert importlib.import_module(f"{name}.users").version == "of the user"


def test_a_regular_package_of_main_lends_nothing(world: World) -> None:
    name = world.name("space")
    world.install(
        world.wheel(f"{name}-own", "0.5", {f"{name}/__init__.py": "", f"{name}/main_only.py": ""})
    )
    bubble = world.bubble(world.wheel(f"{name}-part", "1.0", {f"{name}/part.py": ""}))
    with om.use(bubble):
        importlib.import_module(f"{name}.part")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.main_only")
    importlib.import_module(f"{name}.main_only")


def test_the_users_own_portion_uses_the_portions_of_a_bubble(world: World) -> None:
    name = world.name("space")
    world.install(world.wheel(f"{name}-lib", "0.5", {f"{name}/lib.py": "version = '0.5'\n"}))
    bubble = world.bubble(
        world.wheel(f"{name}-lib", "1.0", {f"{name}/lib.py": "version = '1.0'\n"})
    )
    (world.main / name / "app").mkdir()
    world.module(
        f"{name}/app/__init__",
        f"""
        import omnipkg_meta as om

        def look(source):
            with om.use(source):
                import {name}.lib
                from . import own
                import {name}.app
                return {name}.lib.version, own.__name__, {name}.app.look is look
        """,
    )
    world.module(f"{name}/app/own", "")
    app = importlib.import_module(f"{name}.app")
    for _ in range(2):
        assert app.look(bubble) == ("1.0", f"{name}.app.own", True)
        assert app.look(om.main) == ("0.5", f"{name}.app.own", True)


def test_a_bubble_laid_over_main_is_joined_with_what_main_has_loaded(world: World) -> None:
    name = world.name("space")
    world.install(portion(world, name, "proto", "0.5", "PEP 420"))
    world.install(portion(world, name, "cloud.storage", "0.5", "PEP 420"))
    bubble = world.bubble(portion(world, name, "proto", "1.0", "PEP 420"))
    done = world.run(
        f"""
        import sys, omnipkg_meta as om
        from omnipkg_meta import Bubble
        import {name}.cloud.storage as before
        om.activate(Bubble.open({str(bubble.path)!r}))
        import {name}.proto, {name}.cloud.storage
        print({name}.proto.version, {name}.cloud.storage is before, before.neighbour("proto"))
        """
    )
    assert done.stdout.split() == ["1.0", "True", "1.0"]
    done = world.run(
        f"""
        import omnipkg_meta as om
        from omnipkg_meta import Bubble
        import {name}.proto
        try:
            om.activate(Bubble.open({str(bubble.path)!r}))
        except om.errors.ActivationError as error:
            print(error.modules)
        """.replace("om.errors.", "__import__('omnipkg_meta.errors').errors.")
    )
    assert done.stdout.strip() == f"['{name}.proto']"
