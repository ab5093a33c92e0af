"""What native code keeps for the whole interpreter: one set a realm, whoever loads when."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.native_source import SUFFIX, needs_compiler
from tests.registry_source import PLACES, registering
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

    from tests.worlds import World

pytestmark = pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler())

#: Seconds after which a meeting of threads has failed.
PATIENCE = 60


def wheel(
    world: World,
    name: str,
    version: str,
    place: str = "IN_INTERPRETER",
    *,
    modules: Sequence[str] = ("_native",),
    calls: str = "",
) -> Path:
    """Make a wheel of a package whose extension modules register themselves."""
    files: dict[str, str | bytes] = {f"{name}/__init__.py": f"__version__ = '{version}'\n"}
    for module in modules:
        prefix = f"{module.removesuffix('_native').rstrip('.')}".replace(".", "/")
        folder = f"{name}/{prefix}/" if prefix else f"{name}/"
        files.setdefault(f"{folder}__init__.py", "")
        files[f"{folder}_native{SUFFIX}"] = registering(
            f"__pybind11_of_{name}__", module, version, place, calls=calls
        )
    return world.wheel(name, version, files)


def held(module: ModuleType) -> dict[str, str]:
    registered: dict[str, str] = module.registered()
    return registered


@pytest.mark.parametrize("order", ["main first", "main last"])
@pytest.mark.parametrize("place", PLACES)
def test_each_realm_registers_its_own_and_mains_stands_when_nobody_loads(
    world: World, place: str, order: str
) -> None:
    name = world.name("reg")
    world.install(wheel(world, name, "0.5", place))
    full = f"{name}._native"
    in_main = importlib.import_module(full) if order == "main first" else None
    bubbles = [world.bubble(wheel(world, name, version, place)) for version in ("1.0", "2.0")]
    extensions = [om.load(bubble, name=full) for bubble in bubbles]
    if in_main is None:
        assert extensions[0].standing() is None
        in_main = importlib.import_module(full)
    versions = ("1.0", "2.0", "0.5")
    for extension, version in zip([*extensions, in_main], versions, strict=True):
        assert extension.version == version
        assert held(extension) == {"_native": version}
        assert extension.standing() == {"_native": "0.5"}


@pytest.mark.parametrize("place", PLACES)
def test_all_extension_modules_of_one_bubble_share_its_set_also_a_late_one(
    world: World, place: str
) -> None:
    name = world.name("reg")
    parts = ["a._native", "b._native"]
    world.install(wheel(world, name, "0.5", place, modules=parts))
    bubble = world.bubble(wheel(world, name, "1.0", place, modules=parts))
    first = om.load(bubble, name=f"{name}.a._native")
    in_main = importlib.import_module(f"{name}.b._native")
    late = om.load(bubble, name=f"{name}.b._native")
    assert held(first) == held(late) == {"a._native": "1.0", "b._native": "1.0"}
    assert held(in_main) == first.standing() == {"b._native": "0.5"}


def test_an_extension_module_that_is_imported_again_is_the_one_of_its_realm(world: World) -> None:
    name = world.name("reg")
    world.install(wheel(world, name, "0.5"))
    bubbles = [world.bubble(wheel(world, name, version)) for version in ("1.0", "2.0")]
    full = f"{name}._native"
    sources: list[Any] = [*bubbles, om.main]
    for source in sources:
        with om.use(source):
            first = importlib.import_module(full)
            del sys.modules[full]
            assert importlib.import_module(full) is first


def test_a_module_that_comes_to_be_while_another_set_stands_is_cached_by_its_own_realm(
    world: World,
) -> None:
    # In the middle of a bubble's exec slot another thread begins to load main's
    # module of the same name, and is in the middle of that when the first one ends.
    name, meeting = world.name("reg"), world.name("meeting")
    world.module(
        meeting,
        f"""
        import threading
        reached = {{"bubble": threading.Event(), "main": threading.Event()}}
        ended = threading.Event()
        def meet():
            who = threading.current_thread().name
            reached[who].set()
            if who == "bubble":
                assert reached["main"].wait({PATIENCE})
            else:
                assert ended.wait({PATIENCE})
        """,
    )
    world.install(wheel(world, name, "0.5", calls=meeting))
    bubble = world.bubble(wheel(world, name, "1.0", calls=meeting))
    full = f"{name}._native"
    importlib.import_module(name)
    om.load(bubble, name=name)
    events = importlib.import_module(meeting)
    loaded: dict[str, ModuleType] = {}

    def in_bubble() -> None:
        try:
            loaded["bubble"] = om.load(bubble, name=full)
        finally:
            events.ended.set()

    def in_main() -> None:
        assert events.reached["bubble"].wait(PATIENCE)
        loaded["main"] = importlib.import_module(full)

    threads = [
        threading.Thread(target=in_bubble, name="bubble"),
        threading.Thread(target=in_main, name="main"),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {who: module.version for who, module in loaded.items()} == {
        "bubble": "1.0",
        "main": "0.5",
    }
    assert held(loaded["bubble"]) == {"_native": "1.0"}
    assert loaded["bubble"].standing() == held(loaded["main"]) == {"_native": "0.5"}
    del sys.modules[full]
    assert importlib.import_module(full) is loaded["main"]
    with om.use(bubble):
        del sys.modules[full]
        assert importlib.import_module(full) is loaded["bubble"]


@pytest.mark.parametrize("place", PLACES)
def test_no_instruction_of_python_runs_while_the_set_of_a_bubble_stands(
    world: World, place: str
) -> None:
    # Threads are switched between instructions only.
    name = world.name("reg")
    world.install(wheel(world, name, "0.5", place))
    world.bubble(wheel(world, name, "1.0", place))
    world.run(
        f"""
        import sys, builtins, omnipkg_meta as om, {name}._native as native
        from omnipkg_meta.interpreter_state import ModuleCache, _interpreter_dict
        key, dicts = "__pybind11_of_{name}__", (_interpreter_dict(), vars(builtins))
        (mains,) = (one[key] for one in dicts if key in one)
        wrong, seen = [], 0
        last_of_all = ModuleCache.__setitem__.__code__  # by then all has been looked up

        def trace(frame, event, argument):
            global seen
            seen += 1
            if frame.f_code is last_of_all:
                return None
            frame.f_trace_opcodes = True
            caller = frame
            while caller is not None and caller.f_code is not last_of_all:
                caller = caller.f_back
            if caller is None and [one[key] for one in dicts if key in one] != [mains]:
                wrong.append(f"{{frame.f_code.co_filename}}:{{frame.f_lineno}}")
            return trace

        with om.use("{name}==1.0"):
            import {name}
            sys.settrace(trace)
            import {name}._native as inside
            sys.settrace(None)
        assert seen > 1000 and inside.registered() == {{"_native": "1.0"}}, seen
        assert wrong == [], wrong
        """
    )


def test_many_extension_modules_of_three_realms_load_in_three_threads(world: World) -> None:
    name = world.name("reg")
    parts = [f"p{number}._native" for number in range(20)]
    world.install(wheel(world, name, "0.5", "IN_BUILTINS", modules=parts))
    bubbles = [
        world.bubble(wheel(world, name, version, "IN_BUILTINS", modules=parts))
        for version in ("1.0", "2.0")
    ]
    sources: dict[str, Any] = {"0.5": om.main, "1.0": bubbles[0], "2.0": bubbles[1]}
    found: dict[str, list[ModuleType]] = {version: [] for version in sources}
    barrier = threading.Barrier(len(sources), timeout=PATIENCE)

    def work(version: str) -> None:
        with om.use(sources[version]):
            for part in parts:
                barrier.wait()
                found[version].append(importlib.import_module(f"{name}.{part}"))

    threads = [threading.Thread(target=work, args=(version,)) for version in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for version, extensions in found.items():
        assert [held(one) for one in extensions] == [dict.fromkeys(parts, version)] * len(parts)


def test_an_extension_module_of_main_that_a_bubbles_one_imports_has_mains_set(
    world: World,
) -> None:
    inner, outer, via = world.name("inner"), world.name("outer"), world.name("via")
    world.install(wheel(world, inner, "0.5"))
    world.module(
        via,
        f"""
        def meet():
            from {inner} import _native
        """,
    )
    bubble = world.bubble(wheel(world, outer, "1.0", calls=via))
    extension = om.load(bubble, name=f"{outer}._native")
    in_main = sys.modules[f"{inner}._native"]
    assert held(extension) == {"_native": "1.0"}
    assert extension.standing() is None
    assert held(in_main) == in_main.standing() == {"_native": "0.5"}


def test_an_initialisation_that_fails_leaves_the_other_realms_as_they_were(world: World) -> None:
    name, switch = world.name("reg"), world.name("switch")
    world.module(
        switch, "broken = True\ndef meet():\n    if broken:\n        raise ValueError('half way')\n"
    )
    world.install(wheel(world, name, "0.5"))
    in_main = importlib.import_module(f"{name}._native")
    bubble = world.bubble(wheel(world, name, "1.0", calls=switch))
    with om.use(bubble):
        for _ in range(2):
            with pytest.raises(ValueError, match="half way"):
                importlib.import_module(f"{name}._native")
            assert in_main.standing() == held(in_main) == {"_native": "0.5"}
        vars(importlib.import_module(switch))["broken"] = False
        extension = importlib.import_module(f"{name}._native")
    assert held(extension) == {"_native": "1.0"}
    assert in_main.standing() == {"_native": "0.5"}


def test_nothing_is_touched_until_a_bubble_loads_an_extension_module(world: World) -> None:
    name = world.name("reg")
    world.versions("pure", "1.0")
    world.install(wheel(world, name, "0.5"))
    world.bubble(wheel(world, name, "1.0"))
    world.run(
        f"""
        import _imp, builtins, ctypes, omnipkg_meta as om
        from omnipkg_meta.interpreter_state import _interpreter_dict

        def ours():
            dicts = [*_interpreter_dict(), *vars(builtins)]
            return [key for key in dicts if "pybind11" in str(key) or "omnipkg" in str(key)]

        functions = _imp.create_dynamic, _imp.exec_dynamic
        import omnipkg_meta.hooks
        assert (_imp.create_dynamic, _imp.exec_dynamic) == functions
        with om.use("pure==1.0"):
            import pure
        import {name}._native
        before = ours()
        assert before == ["__pybind11_of_{name}__", "__pybind11_module_cache"], before
        inside = om.load("{name}==1.0", name="{name}._native")
        assert (_imp.create_dynamic, _imp.exec_dynamic) != functions
        om.uninstall_hooks()
        assert (_imp.create_dynamic, _imp.exec_dynamic) == functions
        assert sorted(ours()) == ["__omnipkg_meta_native_state__", *sorted(before)], ours()
        assert type(_interpreter_dict()["__pybind11_module_cache"]) is dict
        assert {name}._native.standing() == {{"_native": "0.5"}}
        with om.use("{name}==1.0"):  # and in again
            import {name}._native as again
        assert again is inside and inside.registered() == {{"_native": "1.0"}}
        """
    )


def test_a_child_that_is_forked_while_an_extension_module_initialises_has_mains_set(
    world: World,
) -> None:
    if not hasattr(importlib.import_module("os"), "fork"):
        pytest.skip("there is no fork here")
    name = world.name("reg")
    world.install(wheel(world, name, "0.5"))
    world.module(
        "meeting",
        f"""
        import threading
        reached, go_on = threading.Event(), threading.Event()
        def meet():
            reached.set()
            assert go_on.wait({PATIENCE})
        """,
    )
    world.bubble(wheel(world, name, "1.0", calls="meeting"))
    world.run(
        f"""
        import os, threading, warnings, omnipkg_meta as om, meeting, {name}._native as native
        warnings.simplefilter("ignore", DeprecationWarning)
        load = lambda: om.load("{name}==1.0", name="{name}._native")
        thread = threading.Thread(target=load)
        thread.start()
        assert meeting.reached.wait({PATIENCE})
        assert native.standing() == {{}}
        child = os.fork()
        if not child:
            os._exit(0 if native.standing() == {{"_native": "0.5"}} else 1)
        assert os.waitpid(child, 0)[1] == 0
        meeting.go_on.set()
        thread.join()
        assert native.standing() == {{"_native": "0.5"}}
        assert load().registered() == {{"_native": "1.0"}}
        """
    )
