"""The one place through which all extension modules come, main's and bubbles'.

``ExtensionFileLoader`` looks ``create_dynamic`` and ``exec_dynamic`` up on the module
``_imp`` at each call (``Lib/importlib/_bootstrap_external.py``).  Two functions of ours
stand there while the hooks are in, and see to it, before the interpreter's are called,
that the module's library calls what it should (:mod:`omnipkg_meta.native_view`), finds
what it should (:mod:`omnipkg_meta.interpreter_state`), and is found by its own bubble's
libraries only (:mod:`omnipkg_meta.symbols`).

The undo is :func:`uninstall`.  This file must not know how a module is found.
"""

from __future__ import annotations

import _imp
import importlib._bootstrap_external
from functools import partial
from typing import TYPE_CHECKING, Any

from omnipkg_meta import interpreter_state, native_view, symbols
from omnipkg_meta.errors import HookError
from omnipkg_meta.realm import Realm, realm_of_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["install", "uninstall"]

_imp_module: Any = _imp
_create: Callable[..., Any] = _imp.create_dynamic
_exec: Callable[..., Any] = _imp.exec_dynamic


def install() -> None:
    """Put the two functions in.

    Raises:
        HookError: importlib looks for them elsewhere; nothing was changed.
    """
    global _create, _exec
    importlibs = importlib._bootstrap_external._imp  # type: ignore[attr-defined]
    if importlibs is not _imp_module:
        raise HookError(
            "importlib loads extension modules by other functions than those of _imp.",
            cause=f"it looks them up in {importlibs!r}",
        )
    native_view.install()
    if _imp_module.create_dynamic is not _create_dynamic:
        _create, _exec = _imp_module.create_dynamic, _imp_module.exec_dynamic
        _imp_module.create_dynamic = _create_dynamic
        _imp_module.exec_dynamic = _exec_dynamic


def uninstall() -> None:
    """Put the interpreter's functions back."""
    if _imp_module.create_dynamic is _create_dynamic:
        _imp_module.create_dynamic = _create
    if _imp_module.exec_dynamic is _exec_dynamic:
        _imp_module.exec_dynamic = _exec
    interpreter_state.uninstall()
    native_view.uninstall()


def _create_dynamic(spec: Any, *arguments: Any) -> Any:
    realm = getattr(getattr(spec, "loader", None), "realm", None)
    file = str(getattr(spec, "origin", None))
    if not isinstance(realm, Realm):
        realm = realm_of_file(file)
    native_view.watch(file, realm)
    with symbols.kept(realm):
        return _initialise(realm, str(spec.name), file, partial(_create, spec, *arguments))


def _exec_dynamic(module: Any) -> Any:
    # Whatever ``Py_mod_create`` made (PEP 489): it need not be a module.
    name, file = (str(getattr(module, one, None)) for one in ("__name__", "__file__"))
    realm = interpreter_state.realm_of_module(module)
    return _initialise(realm, name, file, partial(_exec, module))


def _initialise(realm: Realm, name: str, file: str, call: partial[Any]) -> Any:
    try:
        return interpreter_state.initialise(realm, name, file, call)
    finally:
        native_view.settle(realm)
