"""importlib's module locks, kept apart by realm.

``importlib._bootstrap`` takes one lock per module *name* while it loads.  Two
versions of a package that load in two threads would take the same locks in
different orders, and ``_DeadlockError`` would be raised where there is no
cycle.  The locks live in ``_module_locks``, a plain global of
``Lib/importlib/_bootstrap.py`` that ``_get_module_lock`` reads by subscript and
that the callback of each weak reference reads by ``get`` and ``del``; a dict
subclass there keys the names of bubbles' modules by their realm.  Main's keep
their plain key, so that a module of main that is just being loaded while its
name is claimed keeps its lock.
"""

from __future__ import annotations

import importlib._bootstrap
import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta.answering import realm_for
from omnipkg_meta.errors import HookError
from omnipkg_meta.realm import MAIN

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["install", "uninstall"]

_bootstrap: Any = importlib._bootstrap


class RealmLocks(dict):  # type: ignore[type-arg]
    """``_module_locks``: names, or pairs of realm and name, to weak references to locks."""

    __slots__ = ("_keys",)

    def __init__(self, locks: dict[str, Any]) -> None:
        super().__init__(locks)
        # A lock dies wherever its last user lets go of it, so its callback must
        # not ask again who is asking: reference (by identity) to key.
        self._keys: dict[int, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return dict.__getitem__(self, _key(name, sys._getframe().f_back))

    def __setitem__(self, name: str, reference: Any) -> None:
        key = _key(name, sys._getframe().f_back)
        if key is not name:
            self._keys[id(reference)] = key
        dict.__setitem__(self, key, reference)

    def get(self, name: str, default: Any = None) -> Any:
        reference = sys._getframe(1).f_locals.get("ref")
        return dict.get(self, self._keys.get(id(reference), name), default)

    def __delitem__(self, name: str) -> None:
        reference = sys._getframe(1).f_locals.get("ref")
        dict.__delitem__(self, self._keys.pop(id(reference), name))


def _key(name: str, frame: FrameType | None) -> Any:
    realm = realm_for(name, frame)
    return name if realm is None or realm is MAIN else (realm, name)


def install() -> None:
    """Key the module locks by realm.

    Raises:
        HookError: importlib keeps its locks elsewhere; nothing was changed.
    """
    locks = getattr(_bootstrap, "_module_locks", None)
    if isinstance(locks, RealmLocks):
        return
    if type(locks) is not dict:
        raise HookError(
            "importlib keeps no table of module locks that could be kept apart by realm."
        )
    _bootstrap._module_locks = RealmLocks(locks)


def uninstall() -> None:
    """Put the plain table back; locks of bubbles' modules die with their users."""
    locks = _bootstrap._module_locks
    if isinstance(locks, RealmLocks):
        _bootstrap._module_locks = {
            key: ref for key, ref in dict.items(locks) if isinstance(key, str)
        }
