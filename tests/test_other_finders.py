"""Other finders on ``sys.meta_path`` keep working, and none of them answers for the wrong side."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType


@pytest.fixture
def meta_path() -> Iterator[list[Any]]:
    """``sys.meta_path``, put back afterwards."""
    before = list(sys.meta_path)
    yield sys.meta_path
    sys.meta_path[:] = before


class Mapping:
    """As the finder of an editable install: maps names to files and ignores ``path``."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        self.asked: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        self.asked.append(name)
        file = self.files.get(name)
        if file is None:
            return None
        locations = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=locations
        )


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_finder_of_main_that_maps_names_never_answers_for_a_bubble(
    world: World, meta_path: list[Any], place: str
) -> None:
    name = world.name()
    source = world.path / "source" / name
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("__version__ = '0.5'\n")
    (source / "only_in_main.py").write_text("")
    files = {name: source / "__init__.py", f"{name}.only_in_main": source / "only_in_main.py"}
    meta_path.insert(0 if place == "first" else len(meta_path), Mapping(files))
    bubble = world.make(name, "1.0", {f"{name}/__init__.py": "__version__ = '1.0'\n"})
    with om.use(bubble):
        assert importlib.import_module(name).__version__ == "1.0"
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.only_in_main")
    assert importlib.import_module(name).__version__ == "0.5"
    assert importlib.import_module(f"{name}.only_in_main").__file__ == str(
        source / "only_in_main.py"
    )


class Rewriting(importlib.machinery.SourceFileLoader):
    """Executes ``REWRITTEN = True`` before anything else."""

    def source_to_code(self, data: Any, path: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        return compile(b"REWRITTEN = True\n" + bytes(data), path, "exec")

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class RewritingFinder:
    """As pytest's: asks the ordinary finder, and takes another loader."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if (
            spec is None
            or not spec.origin
            or type(spec.loader) is not importlib.machinery.SourceFileLoader
        ):
            return None
        return importlib.util.spec_from_file_location(
            name,
            spec.origin,
            loader=Rewriting(name, spec.origin),
            submodule_search_locations=spec.submodule_search_locations,
        )


@pytest.mark.parametrize("when", ["before the hooks", "after the hooks"])
def test_an_import_hook_put_first_rewrites_a_bubbles_modules_in_their_realm(
    world: World, meta_path: list[Any], when: str
) -> None:
    name = world.name()
    files = {
        f"{name}/__init__.py": "",
        f"{name}/sub.py": f"def parent():\n    import {name}\n    return {name}\n",
    }
    world.install(world.wheel(name, "0.5", files))
    bubble = world.make(name, "1.0", files)
    if when == "before the hooks":
        om.uninstall_hooks()
    else:
        om.use(bubble).__enter__().__exit__()
    meta_path.insert(0, RewritingFinder())
    outside = importlib.import_module(f"{name}.sub")
    with om.use(bubble):
        inside = importlib.import_module(f"{name}.sub")
        package = importlib.import_module(name)
        assert package.REWRITTEN
        assert inside.REWRITTEN
        assert inside is not outside
    assert inside.parent() is package
    assert type(inside.__loader__) is Rewriting
    assert outside.REWRITTEN
    assert outside.parent() is not package


def test_a_finder_that_makes_modules_up_may_answer_for_a_bubble(
    world: World, meta_path: list[Any]
) -> None:
    name = world.name()

    class MakingUp(importlib.abc.Loader):
        def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
            return (
                importlib.machinery.ModuleSpec(fullname, self)
                if fullname == f"{name}.made"
                else None
            )

        def exec_module(self, module: ModuleType) -> None:
            vars(module)["up"] = True

    meta_path.append(MakingUp())
    bubble = world.make(name, "1.0", {f"{name}/__init__.py": ""})
    with om.use(bubble):
        made = importlib.import_module(f"{name}.made")
    assert made.up
    assert made.__bubble__ == bubble
    assert f"{name}.made" not in sys.modules


#: As ``six`` does: a finder that makes submodules of its own package up.
MAKER = """
    import importlib.machinery, sys, types

    class Maker:
        def find_spec(self, fullname, path=None, target=None):
            if fullname == __name__ + ".made":
                return importlib.machinery.ModuleSpec(fullname, self)

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            module.version = "VERSION"

    __path__ = []
    __version__ = "VERSION"
    sys.meta_path.append(Maker())
    """


#: As ``six`` does too: a loader that hands out a module of the standard library.
ALIASES = """
    import importlib.machinery, sys, textwrap

    class Aliases:
        def find_spec(self, fullname, path=None, target=None):
            if fullname == __name__ + ".wrapping":
                return importlib.machinery.ModuleSpec(fullname, self)

        def create_module(self, spec):
            return textwrap

        def exec_module(self, module):
            pass

    __path__ = []
    __version__ = "VERSION"
    sys.meta_path.append(Aliases())
    """


def test_a_module_of_the_standard_library_under_another_name_stays_everybodys(
    world: World, meta_path: list[Any]
) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1.0", files={f"{name}.py": ALIASES})
    assert meta_path
    spec = textwrap.__spec__
    try:
        with om.use(bubble):
            assert importlib.import_module(f"{name}.wrapping") is textwrap
    finally:
        textwrap.__spec__ = spec  # importlib has put the other one there, as for six
    assert "__realm__" not in vars(textwrap)
    assert "__bubble__" not in vars(textwrap)


@pytest.mark.parametrize("order", ["main first", "bubble first"])
def test_a_finder_that_a_package_brings_along_answers_on_its_own_side_only(
    world: World, meta_path: list[Any], order: str
) -> None:
    name = world.name()
    world.versions(name, "1.0", "2.0", main="0.5", files={f"{name}.py": MAKER})
    assert meta_path

    def made() -> str:
        return str(importlib.import_module(f"{name}.made").version)

    scopes: list[tuple[Any, str]] = [
        (om.main, "0.5"),
        (f"{name}==1.0", "1.0"),
        (f"{name}==2.0", "2.0"),
    ]
    for source, _ in scopes if order == "main first" else reversed(scopes):
        with om.use(source):
            importlib.import_module(name)
    for source, version in scopes:
        with om.use(source):
            assert seen(name) == version
            assert made() == version


def test_a_finder_of_anothers_that_is_put_first_does_not_take_a_bubbles_names(
    world: World, meta_path: list[Any]
) -> None:
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    om.load(f"{name}==1.0")
    other = world.name("other")
    file = world.module(other, "")
    finder = Mapping({other: file})
    meta_path.insert(0, finder)
    with om.use(f"{name}==1.0"):
        importlib.import_module(other)
        assert seen(name) == "1.0"
    assert other in finder.asked
