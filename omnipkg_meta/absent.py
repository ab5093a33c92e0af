"""What a realm does not have, where another finder would find main's file of that name.

A finder can say that it knows nothing, and then the next one is asked; or raise.
It has no way to say that there is no such module and nobody is to be asked.  So
ours raises ``ModuleNotFoundError``, which is what an import ends with anyway.  But
``importlib.util.find_spec``, by which packages look for what they can do without,
answers None where there is no such module.

The hack: it calls ``_find_spec``, a plain global of ``importlib.util``, which is that
of ``importlib._bootstrap``; while the hooks are in it is a function that turns our
error into None.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from omnipkg_meta.realm import Realm

__all__ = ["error", "install", "uninstall"]

_GLOBALS = vars(importlib.util)
_original: Any = _GLOBALS.get("_find_spec")


def error(realm: Realm, name: str) -> ModuleNotFoundError:
    """Make the error that says that a realm, or main, does not have a module."""
    where = "" if realm.bubble is None else f" in {realm.bubble!r}"
    if realm.hermetic:
        where += ", which is hermetic: its code sees itself and the standard library"
    made = ModuleNotFoundError(
        f"No module named {name!r}{where}",
        name=name,
        path=realm.directories[0] if realm.directories else None,
    )
    vars(made)["_omnipkg_meta_absent"] = True
    return made


def _find_spec(name: str, *arguments: Any, **keywords: Any) -> ModuleSpec | None:
    try:
        found: ModuleSpec | None = _original(name, *arguments, **keywords)
    except ModuleNotFoundError as caught:
        if caught.name != name or "_omnipkg_meta_absent" not in vars(caught):
            raise
        return None
    return found


def install() -> None:
    """Have ``importlib.util.find_spec`` say None."""
    if _original is not None and _GLOBALS["_find_spec"] is _original:
        _GLOBALS["_find_spec"] = _find_spec


def uninstall() -> None:
    """Put importlib's own function back."""
    if _GLOBALS.get("_find_spec") is _find_spec:
        _GLOBALS["_find_spec"] = _original
