"""Stand-ins for the ordinary loaders, which step aside once their moment has come.

A bubble's module is loaded by its ordinary loader, after it was told which realm
it belongs to.  A module of main is loaded by its ordinary loader, with an empty
scope stack: main stays main.  Afterwards module and spec hold the ordinary loader.

This file must not know how a module is found, nor who asked for it.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import ExtensionFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omnipkg_meta import native, patches
from omnipkg_meta.activation import CURRENT, Activation
from omnipkg_meta.native import mark
from omnipkg_meta.realm import MAIN, Realm

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["LegacyMainLoader", "MainLoader", "RealmLoader", "load_outside"]


class _Loading(threading.local):
    """Whether a module of a bubble is being loaded in this thread."""

    bubble = False


_loading = _Loading()


class RealmLoader:
    """Stands in for the ordinary loader until a module of a bubble is created."""

    def __init__(self, loader: Any, realm: Realm) -> None:
        self._loader = loader
        self._realm = realm

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Create the module with its ordinary loader, and mark it."""
        if _loading.bubble or not hasattr(self._loader, "exec_module"):
            # From here on, importlib finds the ordinary loader in the spec
            # (``_init_module_attrs`` and ``_load_unlocked`` read it afterwards);
            # None for a namespace package.
            spec.loader = self._loader
        create = getattr(self._loader, "create_module", None)
        module = create(spec) if create is not None else None
        if module is None:
            module = ModuleType(spec.name)
        mark(module, self._realm)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module with its ordinary loader, which from here on is the one to be seen.

        Comes here for a module that no other module of a bubble loads, and for one
        that is loaded again: ``importlib.reload`` creates none.
        """
        _restore_loader(module, self._loader)
        if self._loader is None:
            return
        if _loading.bubble:
            self._loader.exec_module(module)
            return
        patches.begin()
        _loading.bubble = True
        try:
            self._loader.exec_module(module)
        finally:
            _loading.bubble = False
        patches.report()


def _restore_loader(module: ModuleType, loader: Any) -> None:
    if module.__spec__ is not None:
        module.__spec__.loader = loader
    module.__loader__ = loader


class MainLoader:
    """Loads a module of main with an empty scope stack, whatever scope asked for it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module with its own loader."""
        with _outside(), self._initialising():
            created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module with its own loader, which from here on is the one to be seen."""
        _restore_loader(module, self._loader)
        with _outside(), self._initialising():
            self._loader.exec_module(module)

    def _initialising(self) -> AbstractContextManager[None]:
        extension = isinstance(self._loader, ExtensionFileLoader)
        return native.initialising(MAIN) if extension else nullcontext()


class LegacyMainLoader:
    """The same for a loader that has ``load_module`` only (before PEP 451)."""

    def __init__(self, loader: Any, spec: ModuleSpec) -> None:
        self._loader = loader
        self._spec = spec

    def load_module(self, name: str) -> ModuleType:
        """Load the module with its own loader."""
        # ``_load_backward_compatible`` gives the module this very spec.
        self._spec.loader = self._loader
        with _outside():
            module: ModuleType = self._loader.load_module(name)
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        return module


def load_outside(spec: ModuleSpec) -> None:
    """Have a module of main loaded with an empty scope stack."""
    loader: Any = spec.loader
    if loader is None:
        return  # a namespace package: nothing is executed
    stand_in: Any = (
        MainLoader(loader) if hasattr(loader, "exec_module") else LegacyMainLoader(loader, spec)
    )
    spec.loader = stand_in


class _outside:  # noqa: N801  # reads as a phrase: with _outside()
    """Enter a context in which no scope is active."""

    def __enter__(self) -> None:
        self._hidden = CURRENT.get()
        CURRENT.set(Activation(self, (), None, hidden=self._hidden))

    def __exit__(self, *_: object) -> None:
        CURRENT.set(self._hidden)
