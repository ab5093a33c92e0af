"""Pins: all code of one package is bound to a bubble, for good, and nobody else's."""

from __future__ import annotations

import importlib
import sys
import threading
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import BubbleInvalidError, BubbleNotFoundError, PinError
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

#: A library: what it pins stands for PINNED, its own name for LIB.
LIBRARY = {
    "LIB/__init__.py": """
        import omnipkg_meta

        omnipkg_meta.pin(__name__, "PINNED==VERSION")
        import PINNED

        at_import = PINNED.__version__
    """,
    "LIB/sub/__init__.py": "",
    "LIB/sub/deep.py": """
        import importlib
        import sys
        from importlib import metadata

        import PINNED

        at_import = PINNED.__version__


        def look():
            import PINNED as module

            assert importlib.import_module("PINNED") is module
            assert __import__("PINNED") is module
            assert sys.modules["PINNED"] is module
            assert "PINNED" in sys.modules
            assert metadata.version("PINNED") == module.__version__
            return module.__version__


        class Callback:
            def __call__(self):
                return look()

            def __getattr__(self, name):
                import PINNED

                return PINNED.__version__
    """,
}


def library(world: World, pinned: str, version: str, *, declares: bool = False) -> Any:
    """Install a library that pins a version into main, and import its innermost module."""
    name = world.name("lib")
    files = {
        path.replace("LIB", name): text.replace("PINNED", pinned).replace("VERSION", version)
        for path, text in LIBRARY.items()
    }
    world.install(world.wheel(name, "1", files, requires=[pinned] if declares else []))
    return importlib.import_module(f"{name}.sub.deep")


@pytest.mark.parametrize("declares", [False, True])
def test_all_code_of_a_pinned_package_sees_the_bubble_and_nobody_else_does(
    world: World, *, declares: bool
) -> None:
    name = world.name()
    _, other = world.versions(name, "1", "2", main="3")
    lib = library(world, name, "1", declares=declares)
    assert lib.at_import == "1"
    assert sys.modules[lib.__name__.partition(".")[0]].at_import == "1"
    assert [lib.look(), lib.look(), lib.Callback()(), lib.Callback().anything] == ["1"] * 4
    assert seen(name) == "3"
    with om.use(other):
        assert (lib.look(), seen(name)) == ("1", "2")
    with om.use(om.main):
        assert lib.look() == "1"


def test_two_libraries_pin_two_versions_beside_mains_third(world: World) -> None:
    name = world.name()
    world.versions(name, "1", "2", main="3")
    one, two = library(world, name, "1"), library(world, name, "2")
    for _ in range(3):
        assert (one.look(), two.look(), seen(name)) == ("1", "2", "3")


def test_a_pin_holds_in_other_threads(world: World) -> None:
    name = world.name()
    world.versions(name, "1", "2", main="3")
    one, two = library(world, name, "1"), library(world, name, "2")
    answers: list[tuple[str, ...]] = []
    barrier = threading.Barrier(4)

    def work(callback: Any, expected: str) -> None:
        barrier.wait()
        answers.extend((callback(), expected) for _ in range(500))

    threads = [
        threading.Thread(target=work, args=arguments)
        for arguments in ((one.look, "1"), (two.look, "2"), (one.Callback(), "1"), (two.look, "2"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 2000
    assert all(answer == expected for answer, expected in answers)


def test_a_package_with_a_pin_is_used_by_code_of_a_bubble_and_is_itself_in_a_bubble(
    world: World,
) -> None:
    name, lib = world.name(), world.name("lib")
    world.versions(name, "1", "2", main="3")
    files = {
        path.replace("LIB", lib): text.replace("PINNED", name).replace("VERSION", "1")
        for path, text in LIBRARY.items()
    }
    bubble = world.bubble(
        world.wheel(lib, "1", files, requires=[f"{name}"]),
        world.wheel(name, "4", {f"{name}.py": "__version__ = '4'\n"}),
    )
    with om.use(bubble):
        deep = importlib.import_module(f"{lib}.sub.deep")
        assert (deep.look(), seen(name)) == ("1", "4")
    assert (deep.look(), seen(name)) == ("1", "3")


def test_a_package_never_pins_itself_away(world: World) -> None:
    name, lib = world.name(), world.name("lib")
    world.bubble(
        world.wheel(name, "1", {f"{name}.py": f"import {lib}\n__version__ = '1'\n"}),
        world.wheel(lib, "9", {f"{lib}/__init__.py": "mine = 'the bubble'\n"}),
    )
    world.install(
        world.wheel(
            lib,
            "1",
            {
                f"{lib}/__init__.py": f"""
                    import omnipkg_meta

                    omnipkg_meta.pin(__name__, "{name}==1")
                    import {name}

                    mine = "main"
                """,
                f"{lib}/other.py": f"import {lib} as package",
            },
        )
    )
    module = importlib.import_module(f"{lib}.other")
    assert module.package.mine == "main"
    assert sys.modules[lib] is module.package


def test_only_the_names_of_the_bubble_are_pinned(world: World) -> None:
    name, free = world.name(), world.name("free")
    world.versions(name, "1")
    (other,) = world.versions(free, "7", main="8")
    lib = library(world, name, "1")
    source = f"def look_free():\n    import {free}\n    return {free}.__version__\n"
    exec(source, lib.__dict__)  # noqa: S102  # code of the library
    assert lib.look_free() == "8"
    with om.use(other):
        assert lib.look_free() == "7"
        assert lib.look() == "1"


def test_a_directory_shipped_with_the_library_is_pinned_by_its_path(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, helper, lib = world.name(), world.name("helper"), world.name("lib")
    world.versions(name, "2", main="3")
    package = world.main / lib
    vendor = package / "_vendor"
    vendor.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(world, "main", vendor)
        world.install(
            world.wheel(name, "1", {f"{name}.py": f"import {helper}\n__version__ = '1'\n"})
        )
    (vendor / f"{helper}.py").write_text("def caller():\n    return 'vendored'\n")
    (package / "__init__.py").write_text(
        "from pathlib import Path\nimport omnipkg_meta\n"
        "bubbles = omnipkg_meta.pin(__name__, path=Path(__file__).parent / '_vendor')\n"
        f"import {name} as pinned\nimport {helper} as helper\n"
    )
    module = importlib.import_module(lib)
    assert module.pinned.__version__ == "1"
    assert module.pinned.__file__ == str(vendor / f"{name}.py")
    assert module.helper.caller() == "vendored"
    assert module.pinned.__bubble__ == module.bubbles[0]
    assert seen(name) == "3"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(helper)
    with om.use(module.bubbles[0]):
        assert metadata.version(name) == "1"


def test_a_later_pin_goes_before_an_earlier_one(world: World) -> None:
    name, extra = world.name(), world.name("extra")
    world.versions(name, "1", "2")
    world.versions(extra, "5")
    lib = library(world, name, "1")
    package = lib.__name__.partition(".")[0]
    exec(  # noqa: S102  # code of the library
        f"def pin_again():\n    import omnipkg_meta\n"
        f"    omnipkg_meta.pin({package!r}, '{extra}==5')\n"
        f"    omnipkg_meta.pin({package!r}, '{name}==2')\n",
        lib.__dict__,
    )
    assert lib.look() == "1"
    lib.pin_again()
    assert lib.look() == "2"
    lib.pin_again()
    assert lib.look() == "2"


def test_a_pin_that_main_serves_keeps_to_main(world: World) -> None:
    name = world.name()
    (other,) = world.versions(name, "2", main="3")
    lib = library(world, name, "3")
    with om.use(other):
        assert lib.look() == "3"


def test_bad_pins_are_refused_and_change_nothing(world: World, tmp_path: Path) -> None:
    name = world.name()
    world.versions(name, "1", main="3")
    with pytest.raises(PinError, match="own word"):
        om.pin("json", f"{name}==1")
    with pytest.raises(TypeError, match="either"):
        om.pin(__name__)
    with pytest.raises(TypeError, match="either"):
        om.pin(__name__, f"{name}==1", path=tmp_path)
    with pytest.raises(TypeError, match="__name__"):
        om.pin("tests/../x", f"{name}==1")
    with pytest.raises(BubbleNotFoundError, match=f"{name}==9"):
        om.pin(__name__, f"{name}==9")
    with pytest.raises(BubbleInvalidError, match="installed packages"):
        om.pin(__name__, path=tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BubbleInvalidError, match="nothing importable"):
        om.pin(__name__, path=tmp_path / "empty")
    assert seen(name) == "3"


def test_hooks_that_were_taken_out_come_back_with_the_pin(world: World) -> None:
    name = world.name()
    world.versions(name, "1", main="3")
    done = world.run(
        f"""
        import importlib, sys
        import omnipkg_meta as om

        om.pin(__name__, "{name}==1")
        import {name}

        assert {name}.__version__ == "1"
        om.uninstall_hooks()
        assert importlib.import_module("{name}").__version__ == "3"
        with om.use("{name}==1"):
            pass
        import {name}
        print({name}.__version__)
        """
    )
    assert done.stdout == "1\n"
