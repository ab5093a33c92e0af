"""What other libraries hook into the import system: before our hooks went in, and after."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta import hooks
from tests.test_threads import together
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.worlds import World

pytestmark = pytest.mark.usefixtures("_import_state")


@pytest.fixture
def _import_state() -> Iterator[None]:
    """Put back what the tests do to the import system, our own hooks aside."""
    hooks.install()
    before = list(sys.meta_path), list(sys.path_hooks), list(sys.path)
    yield
    sys.meta_path[:], sys.path_hooks[:], sys.path[:] = before
    sys.path_importer_cache.clear()


#: What ``setuptools`` writes for ``pip install -e`` of a project in which the packages
#: do not lie as they are imported (setuptools/command/editable_wheel.py), in short.
EDITABLE = """
from __future__ import annotations
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.machinery import all_suffixes as module_suffixes
from importlib.util import spec_from_file_location
from itertools import chain
from pathlib import Path

MAPPING: dict[str, str] = {mapping!r}
NAMESPACES: dict[str, list[str]] = {namespaces!r}
PATH_PLACEHOLDER = {placeholder!r} + ".__path_hook__"


class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname in MAPPING:
            pkg_path = MAPPING[fullname]
            return cls._find_spec(fullname, Path(pkg_path))
        for pkg, pkg_path in reversed(list(MAPPING.items())):
            if fullname.startswith(f"{{pkg}}."):
                rest = fullname.replace(pkg, "", 1).strip(".").split(".")
                return cls._find_spec(fullname, Path(pkg_path, *rest))
        return None

    @classmethod
    def _find_spec(cls, fullname, candidate_path):
        init = candidate_path / "__init__.py"
        candidates = (candidate_path.with_suffix(x) for x in module_suffixes())
        for candidate in chain([init], candidates):
            if candidate.exists():
                return spec_from_file_location(fullname, candidate)
        return None


class _EditableNamespaceFinder:
    @classmethod
    def _path_hook(cls, path):
        if path == PATH_PLACEHOLDER:
            return cls
        raise ImportError

    @classmethod
    def _paths(cls, fullname):
        paths = NAMESPACES[fullname]
        if not paths and fullname in MAPPING:
            paths = [MAPPING[fullname]]
        return [*paths, PATH_PLACEHOLDER]

    @classmethod
    def find_spec(cls, fullname, target=None):
        if fullname in NAMESPACES:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = cls._paths(fullname)
            return spec
        return None


def install():
    if not any(finder == _EditableFinder for finder in sys.meta_path):
        sys.meta_path.append(_EditableFinder)
    if not NAMESPACES:
        return
    if not any(hook == _EditableNamespaceFinder._path_hook for hook in sys.path_hooks):
        sys.path_hooks.append(_EditableNamespaceFinder._path_hook)
    if PATH_PLACEHOLDER not in sys.path:
        sys.path.append(PATH_PLACEHOLDER)
"""


def editable(
    world: World, mapping: dict[str, Path], namespaces: dict[str, list[str]] | None = None
) -> None:
    """Do what the start of main does after ``pip install -e`` of a project."""
    finder = world.name("editable_finder")
    text = EDITABLE.format(
        mapping={name: str(path) for name, path in mapping.items()},
        namespaces=namespaces or {},
        placeholder=f"__editable__.{finder}",
    )
    world.module(finder, text)
    importlib.import_module(finder).install()


@pytest.mark.parametrize("when", ["before the hooks", "after the hooks"])
def test_an_editable_install_of_main_serves_main_and_a_bubble_serves_its_scope(
    world: World, when: str
) -> None:
    name, other = world.name(), world.name("other")
    source = world.path / "checkout" / "src"
    (source / "there").mkdir(parents=True)
    (source / "there" / "__init__.py").write_text("__version__ = '0.5'\n")
    (source / "there" / "only_here.py").write_text("")
    bubble = world.make(
        name,
        "1.0",
        {f"{name}/__init__.py": "__version__ = '1.0'\n", f"{name}/sub.py": f"import {other}\n"},
    )
    world.install(world.wheel(other, "0.5"))
    if when == "before the hooks":
        om.uninstall_hooks()
    else:
        om.use(bubble).__enter__().__exit__()
    editable(world, {name: source / "there"})
    with om.use(bubble):
        assert importlib.import_module(name).__version__ == "1.0"
        assert importlib.import_module(f"{name}.sub").__bubble__ is bubble
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.only_here")
        assert importlib.util.find_spec(f"{name}.only_here") is None
    assert importlib.import_module(name).__version__ == "0.5"
    importlib.import_module(f"{name}.only_here")


def test_an_editable_install_of_main_lends_its_portion_of_a_namespace(world: World) -> None:
    space = world.name("space")
    source = world.path / "checkout" / "mine"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text(
        f"version = 'edited'\ndef look():\n    import {space}.lib\n    return {space}.lib.version\n"
    )
    (source / "part.py").write_text("from . import version\n")
    bubble = world.make(f"{space}-lib", "1.0", {f"{space}/lib.py": "version = '1.0'\n"})
    editable(world, {f"{space}.mine": source}, {space: []})
    with om.use(bubble):
        mine = importlib.import_module(f"{space}.mine")
        assert importlib.import_module(f"{space}.mine.part").version == "edited"
        assert importlib.import_module(f"{space}.lib").version == "1.0"
        assert mine.look() == "1.0"
    assert importlib.import_module(f"{space}.mine") is mine
    assert not hasattr(mine, "__bubble__")
    with pytest.raises(ModuleNotFoundError):
        mine.look()


def zipped(path: Path, files: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return str(path)


def test_a_zipped_wheel_on_the_path_of_main_is_mains(world: World) -> None:
    name, only = world.name(), world.name("only")
    wheel = world.wheel(
        name,
        "0.5",
        {
            f"{name}/__init__.py": "__version__ = '0.5'\n",
            f"{name}/zipped.py": "",
            f"{name}/data.txt": "0.5",
            f"{only}.py": f"import {name}\nversion = {name}.__version__\n",
        },
    )
    bubble = world.make(
        name, "1.0", {f"{name}/__init__.py": "__version__ = '1.0'\n", f"{name}/data.txt": "1.0"}
    )
    sys.path.append(str(wheel))
    with om.use(bubble):
        assert importlib.import_module(name).__version__ == "1.0"
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.zipped")
        # Main's own module, first imported here, is bound to main.
        assert importlib.import_module(only).version == "0.5"
    in_main = importlib.import_module(name)
    assert in_main.__version__ == "0.5"
    assert type(in_main.__loader__).__name__ == "zipimporter"
    assert importlib.import_module(f"{name}.zipped").__name__ == f"{name}.zipped"
    assert importlib.metadata.version(name) == "0.5"
    with om.use(bubble):
        assert importlib.metadata.version(name) == "1.0"


def test_a_bubbles_package_may_import_from_an_archive_that_it_brings_along(world: World) -> None:
    # By zipimport itself, or by its own package's path.
    name = world.name()
    archive = zipped(world.path / "inner.zip", {"inner.py": f"import {name}\nparent = {name}\n"})
    files: dict[str, str | bytes] = {
        f"{name}/__init__.py": """
            import os, zipimport
            archive = os.path.join(os.path.dirname(__file__), "inner.zip")
            __path__.append(archive)

            def load():
                from importlib import import_module
                return import_module(__name__ + ".inner")

            def by_hand():
                return zipimport.zipimporter(archive).load_module("inner")
            """,
        f"{name}/inner.zip": world.path.joinpath("inner.zip").read_bytes(),
    }
    world.install(world.wheel(name, "0.5", files))
    world.make(name, "1.0", files)
    assert archive
    outside = importlib.import_module(name)
    inside = om.load(f"{name}==1.0")
    for module in (outside, inside):
        assert module.load().parent is module
        assert together(module.load) == [module.load()]


def test_a_path_hook_of_anothers_loads_a_bubbles_files_its_way_or_not_at_all(world: World) -> None:
    # beartype.claw works like this: a path hook whose FileFinder has a loader of its own.
    name = world.name()
    world.versions(name, "1.0", main="0.5", files={f"{name}.py": "version = 'VERSION'\n"})

    class Instrumenting(importlib.machinery.SourceFileLoader):
        def source_to_code(self, data: Any, path: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
            return compile(b"hooked = True\n" + bytes(data), path, "exec")

        def get_code(self, fullname: str) -> Any:
            path = self.get_filename(fullname)
            return self.source_to_code(self.get_data(path), path)

    sys.path_hooks.insert(0, importlib.machinery.FileFinder.path_hook((Instrumenting, [".py"])))
    sys.path_importer_cache.clear()
    with om.use(f"{name}==1.0"):
        inside = importlib.import_module(name)
    outside = importlib.import_module(name)
    assert (inside.version, inside.hooked) == ("1.0", True)
    assert (outside.version, outside.hooked) == ("0.5", True)
    assert type(inside.__loader__) is Instrumenting
    assert inside.__bubble__ is not None
