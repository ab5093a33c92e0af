"""Suites of tests that are run by pytest in a process of its own: hooks are process-wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.worlds import World, world_fixture

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PLUGINS", "Suite", "suite_fixture", "world_fixture"]


#: Plugins that change what coroutines are, where they are installed.
PLUGINS = ("asyncio", "anyio")


class Suite:
    """A directory with tests, and a package that main has in version 0.5, bubbles in 1.0 and 2.0.

    Attributes:
        name: the package.
    """

    def __init__(
        self, pytester: pytest.Pytester, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.pytester = pytester
        self.world = world
        self.name = world.name()
        world.versions(self.name, "1.0", "2.0", main="0.5")
        monkeypatch.setenv("PYTHONPATH", world.environment["PYTHONPATH"])
        monkeypatch.setenv("PYTEST_ADDOPTS", "--strict-markers -W error")
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def write(self, text: str, name: str = "test_it") -> None:
        """Write a file in which PKG stands for the package."""
        path = self.pytester.path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("PKG", self.name))

    def ini(self, *lines: str) -> None:
        text = "\n".join(("[pytest]", *lines))
        (self.pytester.path / "pytest.ini").write_text(text.replace("PKG", self.name))

    def run(
        self, *arguments: str, without: Sequence[str] = (*PLUGINS, "cacheprovider")
    ) -> pytest.RunResult:
        """Run pytest in a process of its own, without some of the plugins that are there."""
        words = [word.replace("PKG", self.name) for word in arguments]
        words += [word for plugin in without for word in ("-p", f"no:{plugin}")]
        return self.pytester.runpytest_subprocess(*words)


@pytest.fixture(name="suite")
def suite_fixture(
    pytester: pytest.Pytester, world: World, monkeypatch: pytest.MonkeyPatch
) -> Suite:
    """A suite of this test's own."""
    return Suite(pytester, world, monkeypatch)
