"""importlib's locks: the module locks, kept apart by realm, and the import lock, let go.

``importlib._bootstrap`` takes one lock per module *name* while it loads.  Two
versions of a package that load in two threads would take the same locks in
different orders, and ``_DeadlockError`` would be raised where there is no
cycle.  The locks live in ``_module_locks``, a plain global of
``Lib/importlib/_bootstrap.py`` that ``_get_module_lock`` reads by subscript and
that the callback of each weak reference reads by ``get`` and ``del``; a dict
subclass there keys the names of bubbles' modules by their realm.  Main's keep
their plain key, so that a module of main that is just being loaded while its
name is claimed keeps its lock.

Beside them there is one *import lock* for the whole process.  ``_get_module_lock``
holds it, and so does ``_find_spec`` while it asks each finder.  The search for
deadlocks among module locks (``_ModuleLock.has_deadlock``) knows nothing of it: a
finder that imports, with the import lock held, waits for a thread that loads that
module, which waits for the import lock at its own next import.  So nothing of this
library that may wait for another thread, or run somebody's code, is done with the
import lock held (:class:`without_import_lock`).
"""

from __future__ import annotations

import _imp
import importlib._bootstrap
import sys
import threading
from typing import TYPE_CHECKING, Any

from omnipkg_meta.answering import at_home, realm_for
from omnipkg_meta.errors import HookError
from omnipkg_meta.realm import CLAIMED, MAIN

if TYPE_CHECKING:
    from types import FrameType

    from omnipkg_meta.realm import Realm

__all__ = ["install", "share", "uninstall", "without_import_lock"]

_bootstrap: Any = importlib._bootstrap


class without_import_lock:  # noqa: N801  # reads as a phrase: with without_import_lock()
    """Let go of the import lock, if this thread holds it, until the block ends."""

    __slots__ = ("_levels",)

    def __enter__(self) -> None:
        self._levels = 0
        try:
            # It is re-entrant, and nobody but who holds it can let it go.
            while _imp.lock_held():
                _imp.release_lock()
                self._levels += 1
        except RuntimeError:
            pass  # another thread holds it

    def __exit__(self, *error: object) -> None:
        for _ in range(self._levels):
            _imp.acquire_lock()


class RealmLocks(dict):  # type: ignore[type-arg]
    """``_module_locks``: names, or pairs of realm and name, to weak references to locks."""

    __slots__ = ("_asked", "_keys")

    def __init__(self, locks: dict[str, Any]) -> None:
        super().__init__(locks)
        # A lock dies wherever its last user lets go of it, so its callback must
        # not ask again who is asking: reference (by identity) to its keys.
        self._keys: dict[int, tuple[Any, ...]] = {}
        self._asked = threading.local()

    def __getitem__(self, name: str) -> Any:
        top = name.partition(".")[0]
        if top not in CLAIMED:
            return dict.__getitem__(self, name)
        frame = sys._getframe().f_back
        home = None if frame is None else at_home(top, frame)
        if home is not None:  # known, without waiting for anybody or running any code
            key: Any = name if home is MAIN else (home, name)
        else:
            with without_import_lock():
                key = _key(name, frame)
        # For what comes next if there is no such lock, and may not let go in between.
        self._asked.name, self._asked.key = name, key
        return dict.__getitem__(self, key)

    def __setitem__(self, name: str, reference: Any) -> None:
        key: Any = name
        if name.partition(".")[0] in CLAIMED:
            asked = self._asked
            known = getattr(asked, "name", None) == name
            key = asked.key if known else _key(name, sys._getframe().f_back)
        if key is name:
            self._keys.pop(id(reference), None)
        else:
            self._keys[id(reference)] = (key,)
        dict.__setitem__(self, key, reference)

    def share(self, name: str, realm: Realm) -> None:
        """Let the lock of a plain name be that of the realm's module, too."""
        _imp.acquire_lock()
        try:
            reference, key = dict.get(self, name), (realm, name)
            if reference is not None and dict.get(self, key) is None:
                self._keys[id(reference)] = (*self._keys.get(id(reference), (name,)), key)
                dict.__setitem__(self, key, reference)
        finally:
            _imp.release_lock()

    def get(self, name: str, default: Any = None) -> Any:
        if name.partition(".")[0] not in CLAIMED:
            return dict.get(self, name, default)
        reference = sys._getframe(1).f_locals.get("ref")
        if reference is None:
            return dict.get(self, name, default)
        # The callback asks whether its reference is still in the table.
        keys = self._keys.get(id(reference), (name,))
        if any(dict.get(self, key) is reference for key in keys):
            return reference
        self._keys.pop(id(reference), None)
        return default

    def __delitem__(self, name: str) -> None:
        if name.partition(".")[0] not in CLAIMED:
            dict.__delitem__(self, name)
            return
        reference = sys._getframe(1).f_locals.get("ref")
        for key in self._keys.pop(id(reference), (name,)):
            if dict.get(self, key) is reference:
                dict.__delitem__(self, key)


def _key(name: str, frame: FrameType | None) -> Any:
    realm = realm_for(name, frame)
    return name if realm is None or realm is MAIN else (realm, name)


def share(name: str, realm: Realm) -> None:
    """Let the lock that was taken for a name, before it was claimed, be a realm's from now on.

    A finder finds out, while a module is being looked for, that a realm provides it:
    the thread that looks holds the lock of the plain name, and the next one will ask
    for the realm's.
    """
    locks = _bootstrap._module_locks
    if isinstance(locks, RealmLocks):
        locks.share(name, realm)


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
