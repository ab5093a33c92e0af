"""What the dynamic loader would mix up is refused before anything is loaded."""

from __future__ import annotations

import ctypes
import json
import pickle
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om
from omnipkg_meta import relink
from omnipkg_meta.errors import NativeConflictError
from omnipkg_meta.store import native_files
from omnipkg_meta.store.bubble import MANIFEST, Bubble
from tests.elf_source import linked, needs_elf
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World

pytestmark = pytest.mark.skipif(bool(needs_elf()), reason=needs_elf())

_PYTHON = "int Py_IsInitialized(void); int python(void) { return Py_IsInitialized(); }\n"


def files(name: str, soname: str, version: int, *, python: bool = False) -> dict[str, str | bytes]:
    code = f"int version(void) {{ return {version}; }}\n" + (_PYTHON if python else "")
    inner = linked(code, soname=soname)
    outer = linked(
        "int version(void); int ask(void) { return version(); }",
        needs=[(soname, inner)],
        rpath="$ORIGIN",
    )
    return {
        f"{name}/__init__.py": f"__version__ = '{version}'\n",
        f"{name}/{soname}": inner,
        f"{name}/outer.so": outer,
    }


def bubble_of(
    world: World, name: str, soname: str, version: int = 1, *, python: bool = False
) -> Bubble:
    """Make a bubble as versions of this library did that left names alone."""
    return world.make(name, str(version), files(name, soname, version, python=python))


def with_manifest(bubble: Bubble, **entries: object) -> Bubble:
    entry = json.loads((bubble.path / MANIFEST).read_text())
    entry.update(entries)
    (bubble.path / MANIFEST).write_text(json.dumps(entry))
    return Bubble.open(bubble.path)


def entered(bubble: Bubble) -> bool:
    with om.use(bubble):
        return True


def refused(bubble: Bubble) -> NativeConflictError:
    errors = []
    for _ in range(2):  # and again, as long as it is so
        with pytest.raises(NativeConflictError) as caught:
            entered(bubble)
        errors.append(caught.value)
    (name,) = bubble.import_names
    with pytest.raises(ImportError):
        om.load(bubble, name=name)
    return errors[-1]


def test_two_bubbles_whose_libraries_have_one_name_are_not_both_let_in(world: World) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    first, second = (bubble_of(world, name, soname, version) for version in (1, 2))
    assert entered(first)
    error = refused(second)
    assert error.soname == soname
    assert error.library == second.site_packages / name / soname
    assert error.other == first.site_packages / name / soname
    message = str(error)
    assert str(error.library) in message
    assert str(error.other) in message
    assert message.endswith(f"tip: omnipkg-meta install --reinstall {name}==2")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.library) == (message, error.library)
    assert entered(first)


def test_names_that_are_private_are_no_conflict(world: World) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    bubbles = [bubble_of(world, name, soname, version) for version in (1, 2)]
    for number, bubble in enumerate(bubbles):
        private = native_files.make_private(bubble.site_packages, bubble.native_files, bubble.id)
        native = {"private": private.names, "public": private.public, "untouched": {}}
        bubbles[number] = with_manifest(bubble, native=native)
    assert all(map(entered, bubbles))


@pytest.mark.skipif(not relink.possible(), reason="what the loader offers cannot be read here")
def test_a_library_of_main_that_everybody_binds_to_is_a_conflict_whatever_the_names(
    world: World,
) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    world.install(world.wheel(name, "0", files(name, soname, 0)))
    bubble = bubble_of(world, name, soname)
    private = native_files.make_private(bubble.site_packages, bubble.native_files, bubble.id)
    native = {"private": private.names, "public": private.public, "untouched": {}}
    with_manifest(bubble, native=native)
    program = f"""
        import ctypes, sys, omnipkg_meta as om
        from omnipkg_meta.errors import NativeConflictError
        file = {str(world.main / name / soname)!r}
        ctypes.CDLL(file)
        if sys.argv[1:]:
            ctypes.CDLL(file, ctypes.RTLD_GLOBAL)
        try:
            with om.use("{name}==1"):
                refused = None
        except NativeConflictError as error:
            refused = error
        assert bool(refused) == bool(sys.argv[1:]), refused
        if refused:
            assert str(refused.other) == file
            assert refused.soname == "{soname}"
        """
    world.run(program)
    world.run(program, "for everybody")


def test_the_cure_for_a_library_without_room_is_a_tool(world: World) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    first, second = (
        with_manifest(
            bubble_of(world, name, soname, version),
            native={"private": {}, "public": {soname: "no room: needs patchelf"}, "untouched": {}},
        )
        for version in (1, 2)
    )
    assert entered(first)
    assert str(refused(second)).endswith(
        f"tip: pip install 'omnipkg-meta[native]', then omnipkg-meta install --reinstall {name}==2"
    )


def test_a_library_that_is_in_the_process_already_is_a_conflict(
    world: World, tmp_path: Path
) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    other = tmp_path / "called_otherwise.so"
    other.write_bytes(linked("int version(void) { return 7; }", soname=soname))
    ctypes.CDLL(str(other))
    error = refused(bubble_of(world, name, soname))
    assert error.other == other
    assert "loaded already" in str(error)


def test_a_library_that_main_may_load_later_is_a_conflict(world: World) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    world.install(world.wheel(name, "7", files(name, soname, 7)))
    error = refused(bubble_of(world, name, soname))
    assert error.other == world.main / name / soname
    assert "installed in main" in str(error)


@pytest.mark.parametrize("python", [False, True], ids=["plain", "holds Python objects"])
def test_the_same_bytes_are_shared_unless_they_hold_python_objects(
    world: World, python: bool
) -> None:
    one, two = world.name("con"), world.name("con")
    soname = f"lib{one}.so.1"
    first, second = (bubble_of(world, name, soname, python=python) for name in (one, two))
    assert entered(first)
    if python:
        assert "hold Python objects" in str(refused(second))
    else:
        assert entered(second)


@pytest.mark.parametrize("python", [False, True], ids=["plain", "holds Python objects"])
def test_a_copy_of_a_bubble_in_another_store_has_the_same_private_names(
    world: World, tmp_path: Path, python: bool
) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    bubble = bubble_of(world, name, soname, python=python)
    private = native_files.make_private(bubble.site_packages, bubble.native_files, bubble.id)
    native = {"private": private.names, "public": private.public, "untouched": {}}
    first = with_manifest(bubble, native=native)
    shutil.copytree(bubble.path, tmp_path / "other" / bubble.id, symlinks=True)
    second = Bubble.open(tmp_path / "other" / bubble.id)
    assert entered(first)
    if python:
        assert "one store in a process" in str(refused(second))
    else:
        assert entered(second)


def test_a_name_that_nobody_asks_for_is_no_conflict(world: World) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    for version in (1, 2):
        library = linked(f"int version(void) {{ return {version}; }}", soname=soname)
        assert entered(
            world.make(name, str(version), {f"{name}/__init__.py": "", f"{name}/{soname}": library})
        )


def test_of_two_threads_that_bring_the_same_name_one_is_refused(world: World) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    bubbles = [bubble_of(world, name, soname, version) for version in (1, 2)]
    barrier = threading.Barrier(2, timeout=60)
    outcomes: list[bool] = []

    def work(bubble: Bubble) -> None:
        barrier.wait()
        try:
            outcomes.append(entered(bubble))
        except NativeConflictError:
            outcomes.append(False)

    threads = [threading.Thread(target=work, args=(bubble,)) for bubble in bubbles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, True]


def test_activate_refuses_before_it_lays_anything_over_main(world: World) -> None:
    name = world.name("con")
    soname = f"lib{name}.so.1"
    world.install(world.wheel(name, "7", files(name, soname, 7)))
    bubble_of(world, name, soname)
    world.run(
        f"""
        import sys
        import omnipkg_meta as om
        from omnipkg_meta.errors import NativeConflictError
        try:
            om.activate("{name}==1")
        except NativeConflictError:
            pass
        else:
            raise SystemExit("not refused")
        import {name}
        assert {name}.__version__ == "7"
        assert type(sys.modules) is dict
        """
    )
