"""What extension modules of a bubble need while they load.

An extension module is initialised in C: it has no frame of its own, and Cython
writes its module straight into the interpreter's dict.  So a bubble's extension
module is loaded by a loader that says which realm it belongs to (the frames of
importlib's own loader carry it, :func:`omnipkg_meta.asking.who` reads it), with
``sys.modules`` guarded meanwhile and swept afterwards.

This file must not know how a module is found.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from typing import TYPE_CHECKING

from omnipkg_meta import interpreter_state, marks, storage
from omnipkg_meta.kinds import BACKPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from omnipkg_meta.realm import Realm

__all__ = ["RealmExtensionLoader", "initialising", "mark"]


class RealmExtensionLoader(ExtensionFileLoader):
    """Loads an extension module of a bubble into its realm.

    Attributes:
        realm: the realm that the module belongs to.
    """

    realm: Realm

    def __init__(self, name: str, path: str, realm: Realm) -> None:
        super().__init__(name, path)
        self.realm = realm

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Create the module (``PyInit_*``; all of it for single-phase initialisation).

        Raises:
            ImportError: the file is not what it should be; to load it would be a crash, perhaps.
        """
        _refuse_damaged(self.name, self.path, self.realm)
        interpreter_state.separate(self.realm)
        with initialising(self.realm):
            module = super().create_module(spec)
        mark(module, self.realm)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module (the ``Py_mod_exec`` slots)."""
        with initialising(self.realm):
            super().exec_module(module)


def _refuse_damaged(name: str, path: str, realm: Realm) -> None:
    """Refuse a file that was found to be damaged when the bubble was built.

    The loader maps a file that was cut off as if it were whole, and the process ends
    with SIGBUS when the first byte beyond its end is touched.
    """
    bubble = realm.files
    if bubble is not None and bubble.libraries is not None and bubble.libraries.untouched:
        file = path.removeprefix(f"{bubble.site_packages}{os.sep}").replace(os.sep, "/")
        if (why := bubble.libraries.untouched.get(file)) is not None:
            raise ImportError(f"{name} cannot be loaded: {path}: {why}", name=name, path=path)


@contextmanager
def initialising(realm: Realm) -> Iterator[None]:
    """Guard ``sys.modules`` while an extension module of a realm initialises, then sweep it."""
    with marks.loading(realm), storage.guarded() as before:
        try:
            yield
        finally:
            storage.sweep(realm, before)


def mark(module: ModuleType, realm: Realm, spec: ModuleSpec | None = None) -> None:
    """Write into a module which bubble it comes from, and which realm its code is at home in.

    Not into one that was somebody else's before: the loaders of six hand out the
    standard library's modules under names of their own.

    Args:
        module: the module.
        realm: its realm.
        spec: its spec, where the module does not have it yet.
    """
    namespace = module.__dict__
    own = namespace.get("__spec__")
    if own is not None and not str(getattr(own, "origin", None)).startswith(realm.prefix):
        return
    namespace["__bubble__"] = realm.bubble
    # Backports act for their caller, and are at home nowhere.
    if not str(getattr(own or spec, "origin", None)).endswith(BACKPORTS):
        namespace["__realm__"] = realm
