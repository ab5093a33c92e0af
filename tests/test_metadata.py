"""``importlib.metadata``, and its backport, show what an import would give."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import importlib_metadata
import pytest

import omnipkg_meta as om
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from omnipkg_meta.store.bubble import Bubble

LIBRARIES = {"standard": importlib.metadata, "backport": importlib_metadata}


@pytest.fixture(params=LIBRARIES)
def metadata(request: pytest.FixtureRequest) -> Any:
    """Each copy of the library in turn."""
    return LIBRARIES[request.param]


class Tool(NamedTuple):
    """A package with an entry point, 1.0 in a bubble with a dependency, 0.5 in main."""

    name: str
    dist: str
    dep: str
    bubble: Bubble
    group: str


@pytest.fixture
def tool(world: World) -> Tool:
    name, dep = world.name("tool"), world.name("dep")
    dist, group = f"Dist.Of_{name}", f"group.{name}"

    def wheel(version: str, requires: list[str]) -> Path:
        files = {
            f"{name}/__init__.py": f"""
                __version__ = "{version}"

                def run():
                    import {dep}
                    return "{version}", {dep}.__version__
                """,
            f"{name}/data.txt": f"data of {version}\n",
            f"{dist.lower().replace('.', '_')}-{version}.dist-info/top_level.txt": name,
        }
        points = {group: {"run": f"{name}:run", f"only-in-{version}": f"{name}:__version__"}}
        return world.wheel(dist, version, files, requires=requires, entry_points=points)

    world.install(wheel("0.5", []), world.wheel(dep, "0.5"))
    bubble = world.bubble(wheel("1.0", [f"{dep}>=1"]), world.wheel(dep, "1.0"))
    return Tool(name, dist, dep, bubble, group)


def versions(metadata: Any, dist: str) -> list[str]:
    """Return the version of each distribution of that name that is shown."""
    return [one.version for one in metadata.distributions() if one.metadata["Name"] == dist]


def test_the_version_is_that_of_the_scope(tool: Tool, metadata: Any) -> None:
    for spelling in (tool.dist, tool.dist.lower(), tool.dist.replace(".", "-").replace("_", "-")):
        assert metadata.version(spelling) == "0.5"
        with om.use(tool.bubble):
            assert metadata.version(spelling) == "1.0"
            assert metadata.distribution(spelling).version == "1.0"
            with om.use(om.main):
                assert metadata.version(spelling) == "0.5"
    assert metadata.version(tool.dist) == "0.5"


def test_the_distributions_hold_the_bubbles_once_and_mains_copy_not_at_all(
    tool: Tool, metadata: Any
) -> None:
    others = {one.metadata["Name"] for one in metadata.distributions()} - {tool.dist, tool.dep}
    with om.use(tool.bubble):
        assert versions(metadata, tool.dist) == ["1.0"]
        assert versions(metadata, tool.dep) == ["1.0"]
        found = {one.metadata["Name"] for one in metadata.distributions()}
        assert found - {tool.dist, tool.dep} == others
        assert [one.version for one in metadata.distributions(name=tool.dist)] == ["1.0"]
    assert versions(metadata, tool.dist) == ["0.5"]


def test_the_distributions_are_those_of_the_library_that_is_asked(
    tool: Tool, metadata: Any
) -> None:
    with om.use(tool.bubble):
        assert isinstance(metadata.distribution(tool.dist), metadata.PathDistribution)
        (found,) = (one for one in metadata.distributions() if one.metadata["Name"] == tool.dist)
        assert isinstance(found, metadata.PathDistribution)


def test_entry_points_are_the_bubbles_once_and_mains_not_at_all(tool: Tool, metadata: Any) -> None:
    def names() -> list[str]:
        return sorted(one.name for one in metadata.entry_points(group=tool.group))

    assert names() == ["only-in-0.5", "run"]
    with om.use(tool.bubble):
        assert names() == ["only-in-1.0", "run"]
        (point,) = metadata.entry_points(group=tool.group, name="run")
        assert point.dist.version == "1.0"
    assert names() == ["only-in-0.5", "run"]


def test_an_entry_point_loads_in_its_bubble_whenever_it_is_loaded(
    tool: Tool, metadata: Any
) -> None:
    with om.use(tool.bubble):
        (found,) = metadata.entry_points(group=tool.group, name="run")
    (mains,) = metadata.entry_points(group=tool.group, name="run")
    assert found.load()() == ("1.0", "1.0")
    assert mains.load()() == ("0.5", "0.5")
    with om.use(om.main):
        assert found.load()() == ("1.0", "1.0")
    assert found.load().__module__ == tool.name


def test_an_entry_point_of_main_that_is_loaded_inside_a_scope_gives_mains(
    tool: Tool, metadata: Any
) -> None:
    (mains,) = metadata.entry_points(group=tool.group, name="run")
    with om.use(tool.bubble):
        assert mains.load()()[0] == "0.5"


def test_packages_distributions_show_the_bubbles_once(
    world: World, tool: Tool, metadata: Any
) -> None:
    only = world.name()
    # Python 3.10 goes by ``top_level.txt`` alone.
    files = {f"{only}.py": "", f"other_dist_{only}-1.0.dist-info/top_level.txt": only}
    elsewhere = world.make(f"other-dist-{only}", "1.0", files)
    assert tool.dist in metadata.packages_distributions()[tool.name]
    with om.use(tool.bubble), om.use(elsewhere):
        found = metadata.packages_distributions()
        assert found[tool.name] == [tool.dist]
        assert found[only] == [f"other-dist-{only}"]
    assert only not in metadata.packages_distributions()


def test_files_and_requires_are_those_of_the_scope(tool: Tool, metadata: Any) -> None:
    assert not metadata.requires(tool.dist)
    with om.use(tool.bubble):
        assert metadata.requires(tool.dist) == [f"{tool.dep}>=1"]
        (data,) = [one for one in metadata.files(tool.dist) if one.name == "data.txt"]
        assert metadata.metadata(tool.dist)["Version"] == "1.0"
    # What was found stays what it was.
    assert data.read_text() == "data of 1.0\n"
    assert str(data.locate()).startswith(str(tool.bubble.site_packages))


def test_code_of_a_bubble_sees_its_bubbles_distributions_after_the_scope(
    world: World, metadata: Any
) -> None:
    name, lacked = world.name(), world.name()
    text = f"""
        from {metadata.__name__} import PackageNotFoundError, distributions, entry_points, version

        def look():
            found = [one.version for one in distributions() if one.metadata["Name"] == "{name}"]
            points = [one.dist.version for one in entry_points(group="group.{name}")]
            return version("{name}"), version("{lacked}"), found, points
        """

    def wheel(version: str) -> Path:
        points = {f"group.{name}": {"look": f"{name}:look"}}
        return world.wheel(name, version, {f"{name}.py": text}, entry_points=points)

    world.install(wheel("0.5"))
    world.versions(lacked, "1.0", main="0.5")
    module = om.load(world.bubble(wheel("1.0")), name=name)
    assert module.look() == ("1.0", "0.5", ["1.0"], ["1.0"])
    with om.use(f"{lacked}==1.0"):
        assert module.look() == ("1.0", "0.5", ["1.0"], ["1.0"])
        # Main's own sees main's, and the scope for what it does not declare.
        assert importlib.import_module(name).look() == ("0.5", "1.0", ["0.5"], ["0.5"])


def test_an_installed_distribution_of_main_sees_mains_inside_a_scope(
    world: World, tool: Tool, metadata: Any
) -> None:
    name = world.name()
    text = f"""
        from {metadata.__name__} import version

        def look(name):
            return version(name)
        """
    world.install(world.wheel(name, "0.5", {f"{name}.py": text}, requires=[tool.dist]))
    module: ModuleType = importlib.import_module(name)
    with om.use(tool.bubble):
        assert module.look(tool.dist) == "0.5"
        assert module.look(tool.dep) == "1.0"


def test_a_path_that_was_given_is_obeyed(world: World, tool: Tool, metadata: Any) -> None:
    def found(path: Any) -> list[str]:
        return [
            one.version
            for one in metadata.distributions(path=[str(path)])
            if one.metadata["Name"] == tool.dist
        ]

    def by_name(path: Any) -> list[str]:
        return [one.version for one in metadata.distributions(name=tool.dist, path=[str(path)])]

    for look in (found, by_name):
        assert look(world.main) == ["0.5"]
        assert look(tool.bubble.site_packages) == ["1.0"]
        assert look(world.path / "nowhere") == []
        with om.use(tool.bubble):
            assert look(world.main) == ["0.5"]
            assert look(tool.bubble.site_packages) == ["1.0"]
            assert look(world.path / "nowhere") == []


def test_what_is_not_there_is_not_found_inside_a_scope_either(tool: Tool, metadata: Any) -> None:
    with om.use(tool.bubble), pytest.raises(metadata.PackageNotFoundError):
        metadata.version("there-is-no-such-distribution")


def test_what_main_alone_has_is_found_inside_a_scope(
    world: World, tool: Tool, metadata: Any
) -> None:
    other = world.name()
    world.versions(other, main="0.5")
    with om.use(tool.bubble):
        assert metadata.version(other) == "0.5"
        assert versions(metadata, other) == ["0.5"]


def test_what_is_installed_into_main_later_is_found(
    world: World, tool: Tool, metadata: Any
) -> None:
    other = world.name()
    with om.use(tool.bubble):
        with pytest.raises(metadata.PackageNotFoundError):
            metadata.version(other)
        world.versions(other, main="0.5")
        assert metadata.version(other) == "0.5"


def test_two_distributions_of_one_namespace_each_answer_for_themselves(
    world: World, metadata: Any
) -> None:
    space = world.name("space")
    first, second = f"{space}-first", f"{space}-second"
    world.install(
        world.wheel(first, "0.5", {f"{space}/first.py": ""}),
        world.wheel(second, "0.5", {f"{space}/second.py": ""}),
    )
    bubble = world.make(first, "1.0", {f"{space}/first.py": ""})
    with om.use(bubble):
        assert (metadata.version(first), metadata.version(second)) == ("1.0", "0.5")


def test_a_finder_of_ones_own_still_adds_its_distributions(
    world: World, tool: Tool, metadata: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.name()
    made = world.path / "made"
    (made / f"{other}-3.0.dist-info").mkdir(parents=True)
    (made / f"{other}-3.0.dist-info/METADATA").write_text(f"Name: {other}\nVersion: 3.0\n")

    class Finder(metadata.DistributionFinder):  # type: ignore[misc]
        def find_spec(self, *_: object) -> None:
            return None

        def find_distributions(self, context: Any = None) -> Any:
            if context is None or context.name in (None, other):
                yield metadata.PathDistribution(made / f"{other}-3.0.dist-info")

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    with om.use(tool.bubble):
        assert metadata.version(other) == "3.0"
        assert versions(metadata, other) == ["3.0"]
        assert versions(metadata, tool.dist) == ["1.0"]


def test_the_library_agrees_with_the_import_in_every_scope(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", "2.0", main="0.5")
    with om.use(f"{name}==1.0"):
        assert seen(name) == "1.0"
        with om.use(f"{name}==2.0"):
            assert seen(name) == "2.0"
    assert seen(name) == "0.5"
