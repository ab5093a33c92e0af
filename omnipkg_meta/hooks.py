"""All hooks on the interpreter together: in at the first scope, out on request and at exit.

Each hack stands in a file of its own with its reason, its proof and its undo;
this file only puts them in and takes them out as one.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING

from omnipkg_meta import (
    absent,
    acceleration,
    bare_names,
    children,
    environ,
    finder,
    importers,
    interpreter_state,
    lazy_imports,
    marks,
    meta_path,
    modules,
    native_entry,
    native_view,
    patches,
    realm,
    registries,
    standard_classes,
    started,
    storage,
)
from omnipkg_meta.errors import HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

__all__ = ["AFTER_FORK", "ON_UNINSTALL", "install", "installed", "uninstall"]

_PARTS = (
    lazy_imports,
    modules,
    importers,
    marks,
    native_entry,
    finder,
    absent,
    environ,
    bare_names,
    started,
    children,
    registries,
    acceleration,
)

#: Called when the hooks have come out, by whoever remembers that they are in.
ON_UNINSTALL: list[Callable[[], None]] = []

#: Called in a forked child, by whoever holds locks.
AFTER_FORK: list[Callable[[], None]] = []

_lock = threading.RLock()
#: Whether all of them are in.  Not whether the first one is: another thread would go on
#: into its scope while the finder is still missing, and get main's module.
_whole = False
_exiting = False


def installed() -> bool:
    """Tell whether the hooks are in."""
    return _whole


def install() -> None:
    """Put the hooks in; nothing happens if they are in already.

    Raises:
        HookError: this interpreter cannot carry them, or it is about to exit;
            nothing was changed.
    """
    global _whole  # noqa: PLW0603
    if _whole or sys.is_finalizing():
        # While the interpreter takes itself apart nothing is imported any more;
        # a generator that is closed then passes through its scope once more.
        return
    if _exiting:
        if threading.current_thread() is not threading.main_thread():
            raise SystemExit  # as a daemon thread ends that the interpreter leaves behind
        raise HookError(
            "The interpreter is about to exit, and the hooks have come out.",
            tip="register the exit function after the first scope: it then runs before that",
        )
    with _lock:
        if installed():
            return
        done = []
        try:
            for part in _PARTS:
                part.install()
                done.append(part)
            patches.begin()
        except BaseException:
            for part in reversed(done):
                part.uninstall()
            raise
        _whole = True
        atexit.register(_leave)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    realm.after_fork()
    storage.after_fork()
    interpreter_state.after_fork()
    marks.after_fork()
    meta_path.after_fork()
    native_view.after_fork()
    standard_classes.after_fork()
    started.after_fork()
    for notice in AFTER_FORK:
        notice()


if hasattr(os, "register_at_fork"):
    # Now, and not with the hooks: a fork may come while the first scope is prepared.
    os.register_at_fork(after_in_child=_after_fork)


def uninstall() -> None:
    """Put the interpreter back as it was before the first scope.

    Objects of bubbles live on, and so do scopes that are active; but imports,
    ``sys.modules`` and ``importlib.metadata`` answer with main's again.  The next
    scope that is entered puts the hooks in again.
    """
    global _whole  # noqa: PLW0603
    with _lock:
        _whole = False
        for part in reversed(_PARTS):
            part.uninstall()
        for notice in ON_UNINSTALL:
            notice()
        atexit.unregister(_leave)


def _leave() -> None:
    """Take the hooks out for good: the interpreter is about to take itself apart."""
    global _exiting  # noqa: PLW0603
    _exiting = True
    uninstall()
    # The interpreter lets go of the modules that it finds in its table, and empties those
    # that are still alive then, the latest first (``finalize_modules`` in
    # ``Python/pylifecycle.c``).  So it has to find them all; and that they were a realm's must
    # keep none alive: else it leaves in ruins what native code holds on to until after the
    # end, as PyTorch does to functions of Python's.
    tables = [one.modules for one in realm.loaded()]
    for one in realm.loaded():
        for name, module in list(one.modules.items()):
            sys.modules[f"{name} of {one!r}"] = module
    sys.modules[f"{__name__}.end"] = _End(tables)  # type: ignore[assignment]  # no module at all


class _End:
    """Empties the tables of realms when the interpreter lets go of what stands in its own.

    Until then functions that run at exit may look into them.
    """

    def __init__(self, tables: Iterable[dict[str, ModuleType]]) -> None:
        self._tables = tables

    def __del__(self) -> None:
        for table in self._tables:
            table.clear()
