"""Native code has a home too: extension modules of two bubbles and of main, side by side."""

from __future__ import annotations

import functools
import importlib
import operator
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import omnipkg_meta as om
from omnipkg_meta import native_stack
from tests.native_source import KINDS, SUFFIX, compiled, needs_compiler
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from omnipkg_meta.store.bubble import Bubble

pytestmark = pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler())
reads_the_stack = pytest.mark.skipif(
    not needs_compiler() and native_stack.reader() is None, reason="the C stack cannot be read here"
)

#: Seconds after which a meeting of threads has failed.
PATIENCE = 60


class Native(NamedTuple):
    """A package with an extension module and a dependency: 1.0 and 2.0 in bubbles, 0.5 in main."""

    name: str
    dep: str
    extension: str
    bubbles: list[Bubble]


def wheels(
    world: World,
    name: str,
    dep: str,
    version: str,
    kind: str,
    **options: str,
) -> list[Path]:
    extension = compiled(name, version, kind, **options)
    files: dict[str, str | bytes] = {
        f"{name}/__init__.py": f"""
            __version__ = "{version}"

            def callback():
                import {dep}
                return {dep}
            """,
        f"{name}/_native{SUFFIX}": extension,
    }
    return [
        world.wheel(name, version, files, requires=[dep]),
        world.wheel(dep, version),
    ]


def make(world: World, kind: str = "MULTI_PHASE", main: bool = True, **options: str) -> Native:
    name, dep = world.name("nat"), world.name("dep")
    if options.pop("imports_dep", ""):
        options["imports"] = dep
    if main:
        world.install(*wheels(world, name, dep, "0.5", kind, **options))
    bubbles = [
        world.bubble(*wheels(world, name, dep, version, kind, **options))
        for version in ("1.0", "2.0")
    ]
    return Native(name, dep, f"{name}._native", bubbles)


@pytest.mark.parametrize("main", [True, False], ids=["main has it", "main has none"])
@pytest.mark.parametrize("kind", KINDS)
def test_extension_modules_of_two_bubbles_and_of_main_live_side_by_side(
    world: World, kind: str, main: bool
) -> None:
    native = make(world, kind, main=main, imports_dep="yes")
    extensions = []
    sides: list[tuple[Any, str]] = [
        (native.bubbles[0], "1.0"),
        (native.bubbles[1], "2.0"),
        *([(om.main, "0.5")] if main else []),
    ]
    for source, version in sides:
        with om.use(source):
            extension = importlib.import_module(native.extension)
            assert extension.version == version
            assert extension.imported.__version__ == version
            assert extension.imported is sys.modules[native.dep]
            extensions.append(extension)
    assert len(set(map(id, extensions))) == len(extensions)
    for (source, _), extension in zip(sides, extensions, strict=True):
        with om.use(source):
            assert sys.modules[native.extension] is extension
            assert sys.modules[native.name]._native is extension
            assert importlib.import_module(native.extension) is extension
    stored = [key for key in dict.keys(sys.modules) if native.name in str(key)]
    assert stored == []
    assert (native.extension in sys.modules) is main


@pytest.mark.parametrize("kind", KINDS)
def test_an_extension_module_that_is_loaded_after_the_scope_is_at_home_in_its_bubble(
    world: World, kind: str
) -> None:
    name, dep = world.name("nat"), world.name("dep")
    text = f"def lazy():\n    from {name} import _native\n    return _native\n"
    bubble = world.bubble(
        world.wheel(
            name,
            "1.0",
            {
                f"{name}/__init__.py": text,
                f"{name}/_native{SUFFIX}": compiled(name, "1.0", kind, imports=dep),
            },
        ),
        world.wheel(dep, "1.0"),
    )
    world.versions(dep, main="0.5")
    extension = om.load(bubble, name=name).lazy()
    assert extension.imported.__version__ == "1.0"
    assert extension.__bubble__ == bubble
    assert f"{name}._native" not in sys.modules


@pytest.mark.parametrize("kind", KINDS)
def test_the_loader_of_an_extension_module_is_an_ordinary_one(world: World, kind: str) -> None:
    native = make(world, kind, main=False)
    extension = om.load(native.bubbles[0], name=native.extension)
    assert isinstance(extension.__loader__, importlib.machinery.ExtensionFileLoader)
    assert extension.__spec__ is not None
    assert extension.__spec__.loader is extension.__loader__
    assert extension.__file__ == str(
        native.bubbles[0].site_packages / native.name / f"_native{SUFFIX}"
    )


def test_an_extension_module_that_fails_half_way_tries_afresh(world: World) -> None:
    name, switch = world.name("nat"), world.name("switch")
    world.module(
        switch, "broken = True\ndef meet():\n    if broken:\n        raise ValueError('half way')\n"
    )
    extension = compiled(name, "1.0", "WRITES_ITSELF", calls=switch)
    bubble = world.make(
        name, "1.0", {f"{name}/__init__.py": "", f"{name}/_native{SUFFIX}": extension}
    )
    with om.use(bubble):
        with pytest.raises(ValueError, match="half way"):
            importlib.import_module(f"{name}._native")
        assert f"{name}._native" not in sys.modules
        vars(importlib.import_module(switch))["broken"] = False
        assert importlib.import_module(f"{name}._native").version == "1.0"
    assert f"{name}._native" not in dict.keys(sys.modules)


def test_one_name_of_single_phase_initialisation_is_two_modules_in_two_bubbles(
    world: World,
) -> None:
    # The interpreter keeps such modules by file and name
    # (``_PyImport_FixupExtensionObject``), the loader of the system by inode.
    name = world.name("single")
    extensions = {one: compiled(name, one, "SINGLE_PHASE") for one in ("1.0", "2.0")}
    bubbles = [
        world.make(name, version, {f"{name}/__init__.py": "", f"{name}/_native{SUFFIX}": extension})
        for version, extension in extensions.items()
    ]
    full = f"{name}._native"
    found = [om.load(bubble, name=full) for bubble in bubbles]
    assert [one.version for one in found] == ["1.0", "2.0"]
    assert len({Path(str(one.__file__)).stat().st_ino for one in found}) == 2
    for bubble, module in zip(bubbles, found, strict=True):
        with om.use(bubble):
            del sys.modules[full]
            again = om.load(bubble, name=full)
            assert again.version == module.version
            assert again.__file__ == module.__file__


def test_while_an_extension_module_initialises_no_other_thread_sees_it(world: World) -> None:
    name, meeting = world.name("nat"), world.name("meeting")
    world.module(
        meeting,
        f"""
        import threading
        written, looked = threading.Event(), threading.Event()
        def meet():
            written.set()
            assert looked.wait({PATIENCE})
        """,
    )
    extension = compiled(name, "1.0", "WRITES_ITSELF", calls=meeting)
    bubble = world.make(
        name, "1.0", {f"{name}/__init__.py": "", f"{name}/_native{SUFFIX}": extension}
    )
    world.install(
        world.wheel(
            name, "0.5", {f"{name}/__init__.py": "", f"{name}/_native.py": "version = '0.5'\n"}
        )
    )
    events = importlib.import_module(meeting)
    full = f"{name}._native"
    importlib.import_module(name)
    loaded: list[ModuleType] = []
    thread = threading.Thread(target=lambda: loaded.append(om.load(bubble, name=full)))
    thread.start()
    try:
        assert events.written.wait(PATIENCE)
        assert full not in sys.modules
        assert sys.modules.get(full) is None
        assert full not in list(sys.modules)
        assert full not in sys.modules.copy()
        with pytest.raises(KeyError):
            sys.modules[full]
        in_main = importlib.import_module(full)
        assert in_main.version == "0.5"
        assert sys.modules[full] is in_main
    finally:
        events.looked.set()
        thread.join()
    assert loaded[0].version == "1.0"
    assert sys.modules[full] is in_main
    with om.use(bubble):
        assert sys.modules[full] is loaded[0]


# -- at call time ----------------------------------------------------------------

WAYS: dict[str, Callable[[ModuleType, str], Any]] = {
    "PyImport_Import": lambda native, name: native.import_(name),
    "PyImport_ImportModule": lambda native, name: native.import_module(name),
    "PyImport_ImportModuleLevelObject": lambda native, name: native.import_level(name),
    "through map": lambda native, name: next(map(native.import_module, [name])),
    "through partial": lambda native, name: functools.partial(native.import_module, name)(),
    "through methodcaller": lambda native, name: operator.methodcaller("import_module", name)(
        native
    ),
    "through a native callback": lambda native, name: native.call(
        functools.partial(native.import_module, name)
    ),
}
LOOKS: dict[str, Callable[[ModuleType, str], Any]] = {
    "PyImport_GetModule": lambda native, name: native.get_module(name),
    "PyObject_GetItem": lambda native, name: native.get_item(name),
    "PyImport_AddModuleObject": lambda native, name: native.add_module(name),
}


@reads_the_stack
@pytest.mark.parametrize("way", WAYS)
def test_native_code_of_a_bubble_imports_from_it_when_it_is_called_after_the_scope(
    world: World, way: str
) -> None:
    native = make(world)
    extensions = [om.load(bubble, name=native.extension) for bubble in native.bubbles]
    for _ in range(2):  # the second time it is loaded already
        for extension in extensions:
            assert WAYS[way](extension, native.dep).__version__ == extension.version
            assert WAYS[way](extension, native.name).__version__ == extension.version
    assert seen(native.dep) == "0.5"
    with om.use(native.bubbles[1]):
        assert WAYS[way](extensions[0], native.dep).__version__ == "1.0"


@reads_the_stack
@pytest.mark.parametrize("look", LOOKS)
def test_native_code_of_a_bubble_finds_its_modules_in_the_table_after_the_scope(
    world: World, look: str
) -> None:
    native = make(world)
    importlib.import_module(native.dep)
    extensions = [om.load(bubble, name=native.extension) for bubble in native.bubbles]
    for bubble, extension in zip(native.bubbles, extensions, strict=True):
        om.load(bubble, name=native.dep)
        assert LOOKS[look](extension, native.dep).__version__ == extension.version


@reads_the_stack
def test_a_module_that_native_code_adds_under_a_claimed_name_is_its_bubbles(world: World) -> None:
    native = make(world)
    first, second = (om.load(bubble, name=native.extension) for bubble in native.bubbles)
    made = f"{native.name}.made_up"
    added = first.add_module(made)
    assert added is first.add_module(made)
    assert added is not second.add_module(made)
    assert made not in sys.modules
    with om.use(native.bubbles[0]):
        assert sys.modules[made] is added


@reads_the_stack
def test_native_code_of_a_bubble_imports_from_it_in_another_thread(world: World) -> None:
    native = make(world)
    extension = om.load(native.bubbles[0], name=native.extension)
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.append(extension.import_module(native.dep).__version__)
    )
    thread.start()
    thread.join()
    results: list[Any] = []
    bare = threading.Thread(
        target=_append_result, args=(results, extension.import_module, native.name)
    )
    bare.start()
    bare.join()
    assert found == ["1.0"]
    assert [one.__version__ for one in results] == ["1.0"]


def _append_result(results: list[Any], function: Callable[[str], Any], name: str) -> None:
    results.append(function(name))


@reads_the_stack
def test_native_code_imports_from_its_bubble_in_a_thread_that_has_no_python_frame(
    world: World,
) -> None:
    native = make(world)
    extension = om.load(native.bubbles[0], name=native.extension)
    assert extension.import_in_a_thread_of_its_own(native.dep).__version__ == "1.0"


def test_python_code_that_native_code_calls_is_at_home_where_it_was_loaded(world: World) -> None:
    native = make(world)
    first = om.load(native.bubbles[0], name=native.extension)
    package = om.load(native.bubbles[1], name=native.name)

    def mine() -> str:
        return seen(native.dep)

    assert first.call(mine) == "0.5"
    with om.use(native.bubbles[1]):
        assert first.call(mine) == "2.0"
    assert first.call(package.callback).__version__ == "2.0"


@reads_the_stack
def test_native_code_of_main_imports_what_it_declares_from_main_inside_a_scope(
    world: World,
) -> None:
    native = make(world)
    undeclared = world.name()
    world.versions(undeclared, "1.0", main="0.5")
    extension = importlib.import_module(native.extension)
    with om.use(native.bubbles[0]), om.use(f"{undeclared}==1.0"):
        assert extension.import_module(native.dep).__version__ == "0.5"
        assert extension.import_module(native.name).__version__ == "0.5"
        assert extension.import_module(undeclared).__version__ == "1.0"


@reads_the_stack
def test_an_import_statement_is_its_frames_although_native_code_called_it(world: World) -> None:
    native = make(world)
    extension = om.load(native.bubbles[0], name=native.extension)
    namespace = {"__name__": "user", "__loader__": object()}
    code = f"def statement():\n    import {native.dep}\n    return {native.dep}.__version__\n"
    exec(code, namespace)  # noqa: S102  # a statement with a name of one's own
    assert extension.call(namespace["statement"]) == "0.5"


@reads_the_stack
def test_what_is_missing_in_the_bubble_is_missing_for_its_native_code(world: World) -> None:
    native = make(world, main=False)
    extension = om.load(native.bubbles[0], name=native.extension)
    with pytest.raises(ModuleNotFoundError):
        extension.import_module(f"{native.dep}.no_such")
    assert extension.get_module("there_is_no_such_module") is None


def test_what_an_extension_makes_in_the_place_of_a_module_is_executed_as_ever(
    world: World,
) -> None:
    world.versions("claimed", "1.0")
    world.run(
        """
        import _imp, omnipkg_meta as om
        with om.use("claimed==1.0"):
            assert _imp.exec_dynamic("text") == 0
        """
    )
