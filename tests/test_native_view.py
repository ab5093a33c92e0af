"""What native code gets when it asks the interpreter itself: its realm's, whoever else loads."""

from __future__ import annotations

import gc
import importlib
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta import native_view, relink
from tests.asking_source import WAYS, asking
from tests.native_source import SUFFIX, needs_compiler
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from tests.worlds import World

pytestmark = pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler())
relinks = pytest.mark.skipif(not relink.possible(), reason="calls cannot be redirected here")

#: Seconds after which a meeting of threads has failed.
PATIENCE = 60


def wheel(world: World, name: str, version: str, way: str = WAYS[0], **options: str) -> Path:
    return world.wheel(
        name,
        version,
        {
            f"{name}/__init__.py": f"__version__ = '{version}'\n",
            f"{name}/part.py": f"__version__ = '{version}'\n",
            f"{name}/_native{SUFFIX}": asking(version, way, **options),
        },
    )


def sides(
    world: World, name: str, way: str = WAYS[0], **options: str
) -> tuple[list[Any], list[ModuleType]]:
    """Return bubbles of 1.0 and 2.0, and main; and the extension modules of all, main's 0.5."""
    world.install(wheel(world, name, "0.5", way, **options))
    bubbles = [world.bubble(wheel(world, name, one, way, **options)) for one in ("1.0", "2.0")]
    full = f"{name}._native"
    loaded = [om.load(bubble, name=full) for bubble in bubbles]
    return [*bubbles, om.main], [*loaded, importlib.import_module(full)]


@relinks
@pytest.mark.parametrize("way", WAYS)
def test_native_code_finds_the_modules_of_its_realm_in_the_storage_itself(
    world: World, way: str
) -> None:
    name = world.name("asks")
    # Each imports a part of its package while it initialises, and reads it from there.
    sources, extensions = sides(world, name, way, reads=f"{name}.part")
    world.module("never_claimed", "")
    unclaimed = importlib.import_module("never_claimed")
    for source, extension in zip(sources, extensions, strict=True):
        assert extension.read_at_first.__version__ == extension.version
        assert extension.read(name).__version__ == extension.version
        assert extension.read(f"{name}._native") is extension
        assert extension.read_mapping(f"{name}.part") is extension.read_at_first
        assert extension.read("never_claimed") is unclaimed
        assert extension.read("sys") is sys
        assert extension.read("no_such_module") is None
        with pytest.raises(KeyError):
            extension.read_mapping("no_such_module")
        with om.use(source):
            vars(sys.modules[name])["late"] = sys.modules[f"{name}.late"] = sys.modules[name]
        assert extension.read(f"{name}.late").__version__ == extension.version
        with om.use(source):
            del sys.modules[f"{name}.late"]
        assert extension.read(f"{name}.late") is None
    assert [key for key in dict.keys(sys.modules) if str(key).startswith(name)] == []


@relinks
def test_mains_native_code_finds_its_modules_when_their_name_was_claimed_after_it_was_loaded(
    world: World,
) -> None:
    name = world.name("asks")
    world.install(wheel(world, name, "0.5"))
    world.bubble(world.wheel(name, "1.0"))
    world.versions("pure", "1.0")
    world.run(
        f"""
        import omnipkg_meta as om, sys
        import {name}, {name}._native as native
        package = {name}
        assert native.read("{name}") is package
        with om.use("{name}==1.0"):
            import {name} as other
        assert other.__version__ == "1.0"
        assert "{name}" not in list(dict.keys(sys.modules))
        assert native.read("{name}") is package
        assert native.read("{name}._native") is native
        """
    )


@relinks
@pytest.mark.parametrize("way", WAYS)
def test_what_native_code_writes_into_the_storage_is_its_realms(world: World, way: str) -> None:
    name = world.name("asks")
    sources, extensions = sides(world, name, way)
    made = f"{name}.made"
    for extension in extensions:
        extension.write(made, extension)
    for source, extension in zip(sources, extensions, strict=True):
        assert extension.read(made) is extension
        with om.use(source):
            assert sys.modules[made] is extension
    for extension in extensions:
        extension.write_mapping(made, vars(extension))
        assert extension.read(made) is extension.read_mapping(made) is vars(extension)
        extension.delete_mapping(made)
        assert extension.read(made) is None
        with pytest.raises(KeyError):
            extension.delete_mapping(made)
    for source in sources:
        with om.use(source):
            assert made not in sys.modules


@pytest.mark.parametrize("relinked", [pytest.param(True, marks=relinks), False])
@pytest.mark.parametrize("way", WAYS)
def test_a_top_level_name_that_native_code_writes_while_it_initialises_is_its_realms(
    world: World, way: str, relinked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A module that another one loads while it initialises, so that two are under way.
    if not relinked:
        monkeypatch.setattr(native_view, "_active", False)
    name, outer, made = world.name("asks"), world.name("outer"), world.name("made")
    bubbles = [
        world.bubble(
            wheel(world, name, version, way, writes=made),
            world.wheel(
                outer,
                version,
                {
                    f"{outer}/__init__.py": "",
                    f"{outer}/inner.py": f"def meet():\n    import {name}._native\n",
                    f"{outer}/_native{SUFFIX}": asking(version, way, calls=f"{outer}.inner"),
                },
            ),
        )
        for version in ("1.0", "2.0")
    ]
    for bubble in bubbles:
        om.load(bubble, name=f"{outer}._native")
        om.load(bubble, name=f"{name}._native")
    assert made not in sys.modules
    for bubble, version in zip(bubbles, ("1.0", "2.0"), strict=True):
        with om.use(bubble):
            assert sys.modules[made].version == version


@relinks
@pytest.mark.parametrize("way", WAYS)
def test_native_code_of_a_bubble_does_not_replace_what_mains_wrote_under_the_same_name(
    world: World, way: str
) -> None:
    name, made, meeting = world.name("asks"), world.name("made"), world.name("meeting")
    world.module(
        meeting,
        f"""
        import threading
        written, looked = threading.Event(), threading.Event()
        looked.set()
        def meet():
            written.set()
            assert looked.wait({PATIENCE})
        """,
    )
    events = importlib.import_module(meeting)
    world.install(wheel(world, name, "0.5", way, writes=made))
    bubble = world.bubble(wheel(world, name, "1.0", way, writes=made, calls=meeting))
    importlib.import_module(f"{name}._native")
    before = sys.modules[made]
    assert before.version == "0.5"
    events.looked.clear()
    thread = threading.Thread(target=om.load, args=(bubble,), kwargs={"name": f"{name}._native"})
    thread.start()
    try:
        assert events.written.wait(PATIENCE)
        assert sys.modules[made] is before  # also while the other one initialises
    finally:
        events.looked.set()
        thread.join()
    assert sys.modules[made] is before
    with om.use(bubble):
        assert sys.modules[made].version == "1.0"


@relinks
def test_native_code_of_several_realms_that_runs_at_once_sees_its_own_only(world: World) -> None:
    name = world.name("asks")
    _, extensions = sides(world, name)
    made = f"{name}.made"
    barrier = threading.Barrier(len(extensions))
    wrong: list[Any] = []

    def run(extension: Any) -> None:
        barrier.wait(PATIENCE)
        for number in range(300):
            extension.write(made, number)
            found = extension.read(made), extension.read(name).__version__
            if found != (number, extension.version):
                wrong.append(found)

    threads = [threading.Thread(target=run, args=(extension,)) for extension in extensions]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    for extension in extensions:
        assert extension.read(made) == 299
        extension.delete_mapping(made)


@relinks
def test_a_module_that_was_taken_away_is_not_kept_alive_since_native_code_looked(
    world: World,
) -> None:
    name, passing = world.name("asks"), world.name("passing")
    sources, extensions = sides(world, name)
    world.module(passing, "")
    parts = []
    for source, extension in zip(sources, extensions, strict=True):
        for full in (passing, f"{name}.part"):
            with om.use(source):
                module = importlib.import_module(full)
                assert extension.read(full) is module
                parts.append(weakref.ref(module))
                if "." in full:
                    del sys.modules[name].part
                del sys.modules[full]
            del module
    gc.collect()
    assert [reference() for reference in parts] == [None] * 6
    assert extensions[0].read(name).__version__ == "1.0"


@relinks
def test_what_native_code_keeps_with_the_thread_is_one_for_each_realm_and_thread(
    world: World,
) -> None:
    name = world.name("asks")
    _, extensions = sides(world, name)
    key = f"the key of {name}"

    class Kept:
        pass

    def keep() -> list[Any]:
        found = []
        for extension in extensions:
            assert extension.of_thread(key) is None
            value = Kept()
            extension.keep_in_thread(key, value)
            found.append(value)
        assert [extension.of_thread(key) for extension in extensions] == found
        return [weakref.ref(value) for value in found]

    keep()
    in_thread: list[Any] = []
    thread = threading.Thread(target=lambda: in_thread.extend(keep()))
    thread.start()
    thread.join()
    gc.collect()
    assert len(in_thread) == 3
    assert [reference() for reference in in_thread] == [None] * 3  # they went with the thread


@relinks
@pytest.mark.parametrize("way", WAYS)
def test_without_the_hooks_native_code_asks_the_interpreter_again(world: World, way: str) -> None:
    name = world.name("asks")
    world.install(wheel(world, name, "0.5", way))
    world.bubble(wheel(world, name, "1.0", way))
    world.run(
        f"""
        import sys, omnipkg_meta as om
        import {name}._native as native
        plain = id(sys.modules)
        assert native.address() == plain
        bubble = om.load("{name}==1.0", name="{name}._native")
        assert len({{plain, native.address(), bubble.address()}}) == 3
        bubble.keep_in_thread("key", "a bubble's")
        assert native.of_thread("key") is None
        om.uninstall_hooks()
        assert native.address() == bubble.address() == plain
        assert bubble.of_thread("key") is None
        with om.use("{name}==1.0"):  # and in again
            assert len({{plain, native.address(), bubble.address()}}) == 3
            assert bubble.of_thread("key") == "a bubble's"
        """
    )


@relinks
def test_an_exception_of_a_signal_handler_is_reported_and_native_code_gets_its_table(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = world.name("asks")
    _, extensions = sides(world, name)
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    address = extensions[0].address()
    before = signal.signal(signal.SIGINT, handler)
    try:
        # The signal comes within native code, just before that asks.
        assert extensions[0].address_after_signal(signal.SIGINT) == address
    finally:
        signal.signal(signal.SIGINT, before)
    assert reported == [KeyboardInterrupt]


@relinks
def test_a_call_is_redirected_only_where_it_is_known_to_lead(world: World) -> None:
    name = world.name("asks")
    _, extensions = sides(world, name)
    file = str(extensions[0].__file__)
    library = relink.loaded(file)
    assert library is not None
    before = extensions[0].address()
    # It calls neither a function of that name, nor this one at that address.
    assert relink.redirect(library, {"PyNoSuchFunction": (1, 2)}) == []
    assert not [
        place
        for place in relink.redirect(library, {"PyImport_GetModuleDict": (1, 2)})
        if place.before == before
    ]


def test_an_extension_module_that_no_import_statement_could_name_is_its_bubbles(
    world: World,
) -> None:
    # mypyc calls what the modules of a package share by a digest, which may begin with a digit.
    name, shared = world.name("asks"), f"1{world.name('shared')}"

    def package(version: str) -> Path:
        return world.wheel(
            name,
            version,
            {
                f"{name}/__init__.py": f"""
                    import importlib
                    shared = importlib.import_module('{shared}')
                    """,
                f"{shared}{SUFFIX}": asking(version, module=shared),
            },
        )

    world.install(package("0.5"))
    bubbles: list[Any] = [world.bubble(package(version)) for version in ("1.0", "2.0")]
    for source, version in zip([om.main, *bubbles], ("0.5", "1.0", "2.0"), strict=True):
        with om.use(source):
            found: Any = importlib.import_module(name).shared
            assert found.version == version
            assert sys.modules[shared] is found
    assert shared not in dict.keys(sys.modules)
