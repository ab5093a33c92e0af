"""importlib's import lock, let go of wherever somebody may have to be waited for.

Beside the locks of modules there is one *import lock* for the whole process.
``_get_module_lock`` (``Lib/importlib/_bootstrap.py``) holds it, and so does
``_find_spec`` while it asks each finder.  The search for deadlocks among module locks
(``_ModuleLock.has_deadlock``) knows nothing of it: a finder that imports, with the import
lock held, waits for a thread that loads that module, which waits for the import lock at
its own next import.  So nothing of this library that may wait for another thread, or run
somebody's code, is done with the import lock held (:class:`without_import_lock`).
"""

from __future__ import annotations

import _imp

__all__ = ["without_import_lock"]


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
