"""What all tests share: a home of their own, a store, and bubbles made from little wheels.

Nothing here reaches the index, the user's store or the user's settings.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings

from omnipkg_meta.config import ACCELERATOR
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store


# How fast a machine is, and how busy, is nothing that a test should fail for.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


class Wheelhouse:
    """A directory of little wheels."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(
        self,
        name: str,
        version: str,
        files: Mapping[str, str | bytes] | None = None,
        *,
        requires: Sequence[str] = (),
        extras: Mapping[str, Sequence[str]] | None = None,
        entry_points: Mapping[str, Mapping[str, str]] | None = None,
        tag: str = "py3-none-any",
        metadata: Sequence[str] = (),
    ) -> Path:
        """Make a wheel here, as :func:`tests.wheels.make_wheel` does."""
        return make_wheel(
            self.path,
            name,
            version,
            files,
            requires=requires,
            extras=extras,
            entry_points=entry_points,
            tag=tag,
            metadata=metadata,
        )

    @property
    def options(self) -> list[str]:
        """The index options that make a builder look here and nowhere else."""
        return ["--no-index", "--find-links", str(self.path)]


class Install(Protocol):
    """Builds a bubble from the wheelhouse."""

    def __call__(
        self, *requirements: str, builder: str | None = None, reinstall: bool = False
    ) -> Bubble: ...


class MakeBubble(Protocol):
    """Makes wheels and the bubble that holds them."""

    def __call__(
        self, wheels: Mapping[str, Mapping[str, str | bytes] | None], *requirements: str
    ) -> Bubble: ...


@pytest.fixture(scope="session")
def _builder_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    # With xdist the workers' directories are side by side, and one cache serves them all.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return shared / "builder-cache"


@pytest.fixture(autouse=True)
def _own_home(
    tmp_path: Path,
    _builder_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Keep every test, and every process it starts, away from the user's files and settings.

    Tests that need the package index keep the settings that say where it is.
    """
    if request.node.get_closest_marker("world") is None:
        for variable in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
            monkeypatch.delenv(variable)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("UV_NO_CONFIG", "1")
    home = tmp_path / "home"
    home.mkdir()
    # All of the settings but the one that says whether the accelerator is under test, too.
    for variable in [name for name in os.environ if name.startswith("OMNIPKG_META_")]:
        if variable != ACCELERATOR:
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("LOCALAPPDATA", str(home))
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(home / variable.lower()))
    monkeypatch.setenv("OMNIPKG_META_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("UV_CACHE_DIR", str(_builder_cache / "uv"))
    monkeypatch.setenv("PIP_CACHE_DIR", str(_builder_cache / "pip"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Wheelhouse:
    """An empty directory for wheels, with the maker bound to it."""
    path = tmp_path / "wheelhouse"
    path.mkdir()
    return Wheelhouse(path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store, which is also the configured one."""
    from omnipkg_meta.store.store import Store

    return Store(tmp_path / "store")


@pytest.fixture
def install(wheelhouse: Wheelhouse, store: Store) -> Install:
    """Build a bubble from the wheelhouse, without an index."""

    def build(*requirements: str, builder: str | None = None, reinstall: bool = False) -> Bubble:
        from omnipkg_meta.store.build import install

        return install(
            requirements,
            store=store,
            builder=builder,
            index_options=wheelhouse.options,
            reinstall=reinstall,
        )

    return build


@pytest.fixture
def make_bubble(wheelhouse: Wheelhouse, install: Install) -> MakeBubble:
    """Make wheels from ``{"name==1.0": files}``, and one bubble of them all.

    Requirements, where given, are what is asked for instead of the wheels' names.
    """

    def make(wheels: Mapping[str, Mapping[str, str | bytes] | None], *requirements: str) -> Bubble:
        for spec, files in wheels.items():
            name, _, version = spec.partition("==")
            wheelhouse.make(name, version, files)
        return install(*(requirements or wheels))

    return make
