"""Stand-ins for the ordinary loaders, which step aside once their moment has come.

A bubble's module is loaded by its ordinary loader, after it was told which realm
it belongs to.  A module of main is loaded by its ordinary loader, with an empty
scope stack: main stays main.  Afterwards module and spec hold the ordinary loader.

This file must not know how a module is found, nor who asked for it.
"""

from __future__ import annotations

import functools
import threading
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import ExtensionFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omnipkg_meta import marks, namespaces, native, patches, registries, standard_classes
from omnipkg_meta.activation import CURRENT, Activation
from omnipkg_meta.native import mark
from omnipkg_meta.realm import CLAIMED, MAIN, Realm

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = [
    "LegacyLoader",
    "LentLoader",
    "MainLoader",
    "RealmLoader",
    "RegistryLoader",
    "load_inside",
    "load_outside",
]


class _Loading(threading.local):
    """Whether a module of a bubble, and one of main's of a claimed name, loads in this thread."""

    bubble = False
    claimed = False

    def __init__(self) -> None:
        #: What the load loads that is the outermost one, of these, and each module's realm.
        self.modules: list[tuple[Realm, str]] = []


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
        mark(module, self._realm, spec)
        if _loading.bubble:
            _loading.modules.append((self._realm, spec.name))
            marks.look_into(self._loader, spec.name)
        if spec.name in self._realm.portions:
            # What main loaded first, importlib never binds to this package.
            vars(module).setdefault(
                "__getattr__", functools.partial(namespaces.member, self._realm, spec.name)
            )
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
        with _watched(self._realm, module.__name__):
            _loading.bubble = True
            try:
                with marks.loading(self._realm):
                    marks.look_into(self._loader, module.__name__)
                    self._loader.exec_module(module)
            finally:
                _loading.bubble = False


class _watched:  # noqa: N801  # reads as a phrase: with _watched(realm, name)
    """Look, when a load ends that is the outermost one, what it did to the standard library."""

    def __init__(self, realm: Realm, name: str) -> None:
        self._modules = [(realm, name)]

    def __enter__(self) -> None:
        self._outer = _loading.modules
        _loading.modules = self._modules

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        _loading.modules = self._outer
        if error is None:
            patches.report()
            standard_classes.load_ended(self._modules)
        elif isinstance(error, Exception):
            standard_classes.load_failed(self._modules, error)


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
        if _loading.claimed:
            _loading.modules.append((MAIN, spec.name))
        with _outside(), self._initialising():
            created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module with its own loader, which from here on is the one to be seen."""
        _restore_loader(module, self._loader)
        if _loading.claimed or module.__name__.partition(".")[0] not in CLAIMED:
            self._exec(module)
            return
        # What a bubble has a version of, which may leave the same marks.
        with _watched(MAIN, module.__name__):
            _loading.claimed = True
            try:
                with marks.loading(MAIN):
                    self._exec(module)
            finally:
                _loading.claimed = False

    def _exec(self, module: ModuleType) -> None:
        with _outside(), self._initialising():
            self._loader.exec_module(module)

    def _initialising(self) -> AbstractContextManager[None]:
        extension = isinstance(self._loader, ExtensionFileLoader)
        return native.initialising(MAIN) if extension else nullcontext()


class RegistryLoader(MainLoader):
    """Loads a module of the standard library that has a registry to be kept apart by realm."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module with its own loader, and replace the registry at once."""
        super().exec_module(module)
        registries.keep()


class LegacyLoader:
    """Both in one for a loader that has ``load_module`` only (before PEP 451)."""

    def __init__(self, loader: Any, spec: ModuleSpec, realm: Realm) -> None:
        self._loader = loader
        self._spec = spec
        self._realm = realm

    def load_module(self, name: str) -> ModuleType:
        """Load the module with its own loader."""
        # ``_load_backward_compatible`` gives the module this very spec.
        self._spec.loader = self._loader
        with marks.loading(self._realm), _outside() if self._realm is MAIN else nullcontext():
            module: ModuleType = self._loader.load_module(name)
        if self._realm is not MAIN:
            mark(module, self._realm)
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        return module


class LentLoader(MainLoader):
    """Loads a portion of a namespace package of main that a bubble's side asked for.

    importlib binds it to the package that it was asked for through, the bubble's;
    this binds it to main's own.
    """

    def __init__(self, loader: Any, package: ModuleType) -> None:
        super().__init__(loader)
        self._package = package

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module; of a namespace package within the other, all of it."""
        if self._loader is not None:
            return super().create_module(spec)
        spec.loader = None
        module = ModuleType(spec.name)
        self._bind(spec.name, module)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then bind what it left in ``sys.modules``."""
        super().exec_module(module)
        self._bind(module.__name__, MAIN.modules.get(module.__name__, module))

    def _bind(self, name: str, module: ModuleType) -> None:
        setattr(self._package, name.rpartition(".")[2], module)


def load_inside(spec: ModuleSpec, realm: Realm) -> None:
    """Have a module of a bubble loaded into its realm."""
    legacy = _is_legacy(spec.loader)
    _stand_in(
        spec,
        LegacyLoader(spec.loader, spec, realm) if legacy else RealmLoader(spec.loader, realm),
    )


def load_outside(spec: ModuleSpec, package: ModuleType | None = None) -> None:
    """Have a module of main loaded with an empty scope stack.

    Args:
        spec: its spec, as another finder made it.
        package: main's package, where it is asked for through a bubble's.
    """
    if _is_legacy(spec.loader):
        _stand_in(spec, LegacyLoader(spec.loader, spec, MAIN))
    elif package is not None:
        _stand_in(spec, LentLoader(spec.loader, package))
    elif spec.loader is not None:  # None: a namespace package, of which nothing is executed
        _stand_in(spec, MainLoader(spec.loader))


def _stand_in(spec: ModuleSpec, loader: Any) -> None:
    spec.loader = loader


def _is_legacy(loader: object) -> bool:
    return loader is not None and not hasattr(loader, "exec_module")


class _outside:  # noqa: N801  # reads as a phrase: with _outside()
    """Enter a context in which no scope is active."""

    def __enter__(self) -> None:
        self._hidden = CURRENT.get()
        CURRENT.set(Activation(self, (), None, hidden=self._hidden))

    def __exit__(self, *_: object) -> None:
        CURRENT.set(self._hidden)
