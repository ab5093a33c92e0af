"""``PATH`` of the current context: a bubble's scripts come first inside its scope.

``os.environ`` is an instance of a plain Python class, so its class can be
replaced by a subclass while the hooks are in.  Reading ``PATH`` inside a scope
whose bubble has scripts gives the scripts' directory first; so ``shutil.which``,
``subprocess`` and ``asyncio`` find them, in this thread or task only.  What is
written to ``PATH`` loses that addition again, so that nothing leaks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from omnipkg_meta.activation import CURRENT, OVERLAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnipkg_meta.realm import Realm

__all__ = ["install", "script_directories", "uninstall"]


def script_directories() -> list[str]:
    """Return the script directories of the bubbles that are active here, innermost first."""
    directories: dict[str, None] = {}
    activation = CURRENT.get()
    realms: list[Realm] = []
    while activation is not None:
        realms.extend(activation.realms)
        if any(realm.bubble is None for realm in activation.realms):
            break  # ``use(main)`` goes back to main's own PATH
        activation = activation.parent
    else:
        realms.extend(OVERLAYS[0])
    for realm in realms:
        for one in realm.chain():
            if one.bubble is not None and one.bubble.scripts_provided:
                directories[str(one.bubble.scripts)] = None
    return list(directories)


class ScopedEnviron(os._Environ):  # type: ignore[type-arg]
    """``os.environ`` whose ``PATH`` is that of the current context."""

    def __getitem__(self, key: str) -> str:
        value: str = super().__getitem__(key)
        if key == "PATH" and (directories := script_directories()):
            kept = (entry for entry in value.split(os.pathsep) if entry not in directories)
            return os.pathsep.join([*directories, *kept])
        return value

    def __setitem__(self, key: str, value: str) -> None:
        if key == "PATH" and (added := script_directories()):
            kept: Iterator[str] = (entry for entry in value.split(os.pathsep) if entry not in added)
            value = os.pathsep.join(kept)
        super().__setitem__(key, value)


def install() -> None:
    """Make ``PATH`` depend on the context."""
    if type(os.environ) is os._Environ:
        os.environ.__class__ = ScopedEnviron


def uninstall() -> None:
    """Make ``os.environ`` ordinary again."""
    if type(os.environ) is ScopedEnviron:
        os.environ.__class__ = os._Environ  # type: ignore[assignment]
