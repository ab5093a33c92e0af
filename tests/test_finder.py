"""Finding: a bubble's modules come from the bubble, by the ordinary machinery."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.resources
import importlib.util
import inspect
import linecache
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worlds import World


@pytest.fixture
def meta_path() -> Iterator[list[Any]]:
    """``sys.meta_path``, put back afterwards."""
    before = list(sys.meta_path)
    yield sys.meta_path
    sys.meta_path[:] = before


# -- what a bubble has, and what it lacks ----------------------------------------


def test_the_portions_of_a_namespace_package_in_a_bubble_are_found_and_no_others(
    world: World,
) -> None:
    space = world.name("space")
    world.install(
        world.wheel(f"{space}-one", "0.5", {f"{space}/one.py": "", f"{space}/main_only.py": ""})
    )
    bubble = world.bubble(
        world.wheel(f"{space}-one", "1.0", {f"{space}/one.py": "version = '1.0'\n"}),
        world.wheel(
            f"{space}-two", "1.0", {f"{space}/two/__init__.py": f"from {space} import one\n"}
        ),
    )
    in_main = importlib.import_module(f"{space}.main_only")
    with om.use(bubble):
        two = importlib.import_module(f"{space}.two")
        assert two.one.version == "1.0"
        package = importlib.import_module(space)
        assert list(package.__path__) == [str(bubble.site_packages / space)]
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{space}.main_only")
        importlib.invalidate_caches()
        assert list(package.__path__) == [str(bubble.site_packages / space)]
    assert sys.modules[f"{space}.main_only"] is in_main
    assert [Path(entry) for entry in importlib.import_module(space).__path__] == [
        world.main / space
    ]


def test_an_import_that_fails_half_way_tries_afresh(world: World) -> None:
    name, switch = world.name(), world.name("switch")
    world.module(switch, "broken = True\n")
    files = {
        f"{name}/__init__.py": f"""
            import {name}.good
            import {switch}
            if {switch}.broken:
                raise RuntimeError("half way")
            import {name}.bad
            """,
        f"{name}/good.py": "",
        f"{name}/bad.py": f"from {switch} import broken\n1 / (broken != 'again')\n",
    }
    bubble = world.make(name, "1.0", files)
    state: Any = importlib.import_module(switch)
    with om.use(bubble):
        with pytest.raises(RuntimeError, match="half way"):
            importlib.import_module(name)
        # As in plain Python: the package is gone, the submodule that worked stays.
        assert name not in sys.modules
        assert f"{name}.good" in sys.modules
        state.broken = "again"
        with pytest.raises(RuntimeError):
            importlib.import_module(name)
        state.broken = False
        package = importlib.import_module(name)
        assert sys.modules[f"{name}.bad"] is package.bad
    assert name not in sys.modules


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_missing_submodule_is_missing_as_in_plain_python(world: World, where: str) -> None:
    name = world.name()
    bubble = world.make(name, "1.0", {f"{name}/__init__.py": "", f"{name}/plain.py": ""})
    world.install(world.wheel(name, "0.5", {f"{name}/__init__.py": "", f"{name}/plain.py": ""}))
    with om.use(bubble if where == "inside" else om.main):
        importlib.import_module(name)
        with pytest.raises(ModuleNotFoundError) as caught:
            importlib.import_module(f"{name}.no_such")
        assert caught.value.name == f"{name}.no_such"
        with pytest.raises(ImportError, match="cannot import name 'no_such'"):
            exec(f"from {name} import no_such", {"__name__": "user"})  # noqa: S102  # a statement
        with pytest.raises(ModuleNotFoundError, match=r"is not a package"):
            importlib.import_module(f"{name}.plain.no_such")
        assert importlib.util.find_spec(f"{name}.no_such") is None
        assert importlib.util.find_spec(f"{name}.plain") is not None


def test_a_missing_top_level_module_has_no_spec(world: World) -> None:
    name = world.name()
    bubble = world.make(name, "1.0")
    with om.use(bubble):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin == str(bubble.site_packages / f"{name}.py")
        assert importlib.util.find_spec("there_is_no_such_module") is None
    assert importlib.util.find_spec(name) is None


def test_a_missing_module_can_be_caught_and_told_from_a_broken_one(world: World) -> None:
    name = world.name()
    text = """
        try:
            import there_is_no_such_module
        except ModuleNotFoundError as error:
            missing = error.name
        import there_is_no_other
        """
    bubble = world.make(name, "1.0", {f"{name}.py": text})
    with om.use(bubble), pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(name)
    assert caught.value.name == "there_is_no_other"


def test_reloading_keeps_the_module_and_its_side(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    outside = importlib.import_module(name)
    with om.use(f"{name}==1.0"):
        inside: Any = importlib.import_module(name)
        inside.extra = 1
        assert importlib.reload(inside) is inside
        assert (inside.__version__, inside.extra) == ("1.0", 1)
        assert inside.__bubble__ is om.use(f"{name}==1.0").bubbles[0]
        assert type(inside.__loader__) is importlib.machinery.SourceFileLoader
    assert importlib.reload(outside) is outside
    assert importlib.reload(sys.modules[name]).__version__ == "0.5"
    with pytest.raises(ImportError, match=r"not in sys\.modules"):
        importlib.reload(inside)


def test_a_module_of_a_bubble_has_the_ordinary_loader(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    name = world.name()
    text = "loader, same = type(__loader__), __spec__.loader is __loader__\n\ndef f():\n    1 / 0\n"
    bubble = world.make(name, "1.0", {f"{name}.py": text})
    with om.use(bubble):
        module = importlib.import_module(name)
    assert (module.loader, module.same) == (importlib.machinery.SourceFileLoader, True)
    assert module.__spec__ is not None
    assert Path(str(module.__spec__.cached)).is_file()
    assert inspect.getsource(module) == text
    assert inspect.getsourcefile(module.f) == str(bubble.site_packages / f"{name}.py")
    with pytest.raises(ZeroDivisionError) as caught:
        module.f()
    last = caught.traceback[-1]
    assert str(last.path) == str(bubble.site_packages / f"{name}.py")
    assert linecache.getline(str(last.path), last.lineno + 1).strip() == "1 / 0"


def test_data_files_and_listings_are_the_bubbles(world: World) -> None:
    name = world.name()
    for version in ("0.5", "1.0"):
        files = {
            f"{name}/__init__.py": """
                def own():
                    from importlib.resources import files
                    return files(__name__)
                """,
            f"{name}/data.txt": version,
            f"{name}/part{version[0]}.py": "",
        }
        wheel = world.wheel(name, version, files)
        world.install(wheel) if version == "0.5" else world.bubble(wheel)

    def look() -> tuple[object, ...]:
        package = importlib.import_module(name)
        return (
            importlib.resources.files(name).joinpath("data.txt").read_text(),
            package.own().joinpath("data.txt").read_text(),
            (pkgutil.get_data(name, "data.txt") or b"").decode(),
            [one.name for one in pkgutil.iter_modules(package.__path__)],
            [one.name for one in pkgutil.walk_packages(package.__path__, f"{name}.")],
        )

    outside = ("0.5", "0.5", "0.5", ["part0"], [f"{name}.part0"])
    assert look() == outside
    with om.use(f"{name}==1.0"):
        assert look() == ("1.0", "1.0", "1.0", ["part1"], [f"{name}.part1"])
        own = importlib.import_module(name).own
    assert look() == outside
    assert own().joinpath("data.txt").read_text() == "1.0"


def test_a_package_may_extend_its_path_and_replace_itself(world: World) -> None:
    name = world.name()
    files = {
        f"{name}/__init__.py": """
            import pathlib, sys, types
            __path__.append(str(pathlib.Path(__file__).parent / "more"))

            class Replaced(types.ModuleType):
                extra = "replaced"

            new = Replaced(__name__)
            vars(new).update(globals())
            sys.modules[__name__] = new
            """,
        f"{name}/more/far.py": "import sys\nparent = sys.modules[__package__].extra\n",
    }
    bubble = world.make(name, "1.0", files)
    with om.use(bubble):
        package = importlib.import_module(name)
        assert package.extra == "replaced"
        assert importlib.import_module(f"{name}.far").parent == "replaced"
    assert name not in sys.modules


# -- sys.path --------------------------------------------------------------------


def test_a_bubbles_directory_on_the_path_of_main_gives_main_no_copy_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, only = world.name(), world.name("only")
    world.install(world.wheel(name, "0.5"))
    bubble = world.bubble(world.wheel(name, "1.0"), world.wheel(only, "1.0"))
    with om.use(bubble):
        monkeypatch.syspath_prepend(str(bubble.site_packages))
        inside = importlib.import_module(name)
        assert inside.__version__ == "1.0"
    assert importlib.import_module(name).__version__ == "0.5"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(only)
    with om.use(bubble):
        assert importlib.import_module(name) is inside


def test_the_path_of_main_is_not_changed_by_a_scope(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0")
    before = list(sys.path)
    with om.use(f"{name}==1.0"):
        assert sys.path == before
        importlib.import_module(name)
        sys.path.append("added")
    assert sys.path == [*before, "added"]
    sys.path.remove("added")


def test_a_module_of_the_standard_library_comes_from_there_inside_a_scope(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0")
    done = world.run(
        f"""
        import sys, omnipkg_meta as om
        with om.use("{name}==1.0"):
            assert "colorsys" not in sys.modules
            import colorsys, xml.dom.minidom
        assert sys.modules["colorsys"] is colorsys
        print(colorsys.__spec__.loader is colorsys.__loader__, hasattr(colorsys, "__bubble__"))
        """
    )
    assert done.stdout.split() == ["True", "False"]


def test_submodules_that_import_each_other_in_a_circle_load(world: World) -> None:
    name = world.name()
    files = {
        f"{name}/__init__.py": "version = 'VERSION'\nfrom . import a\n",
        f"{name}/a.py": f"from . import b\nimport {name}.b as again\nfrom {name} import version\n",
        f"{name}/b.py": f"from . import a\nimport {name}.a as again\n",
    }
    world.versions(name, "1.0", main="0.5", files=files)
    outside = importlib.import_module(name)
    with om.use(f"{name}==1.0"):
        inside = importlib.import_module(name)
    for package, version in ((outside, "0.5"), (inside, "1.0")):
        assert package.a.version == version
        assert package.a.b is package.a.again is package.b
        assert package.b.a is package.b.again is package.a


def test_a_submodule_is_imported_by_its_name_alone(world: World) -> None:
    name = world.name()
    files = {f"{name}/__init__.py": "", f"{name}/sub.py": "version = 'VERSION'\n"}
    world.versions(name, "1.0", "2.0", main="0.5", files=files)
    for source, version in ((f"{name}==1.0", "1.0"), (f"{name}==2.0", "2.0"), (om.main, "0.5")):
        namespace: dict[str, Any] = {"__name__": "user"}
        with om.use(source):
            exec(f"from {name} import sub", namespace)  # noqa: S102  # a statement
        assert namespace["sub"].version == version


def test_a_package_that_extends_its_path_over_the_path_of_main_gets_nothing_of_main(
    world: World,
) -> None:
    name = world.name()
    extend = "import pkgutil\n__path__ = pkgutil.extend_path(__path__, __name__)\n"
    world.install(
        world.wheel(name, "0.5", {f"{name}/__init__.py": extend, f"{name}/speedups.py": ""})
    )
    bubble = world.make(name, "1.0", {f"{name}/__init__.py": extend, f"{name}/plain.py": ""})
    with om.use(bubble):
        importlib.import_module(f"{name}.plain")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.speedups")
