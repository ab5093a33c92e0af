"""Who started a thread in which nobody's code runs but the standard library's.

Code of the standard library acts for its caller.  At the root of a thread it has none: what
pickles for a queue, ``multiprocessing.queues.Queue._feed``, finds the classes that it pickles
by their names, in a thread of its own.  It acts for whoever started the thread: a bubble's
PyTorch loads data by worker processes, and is sent its own tensors.

Code of main that starts a thread, in a scope or not, starts one of main's: scopes are not
inherited.  And the threads of a ``ThreadPoolExecutor`` are nobody's: whoever submits first
starts them, and they work for all.

The hack: ``threading`` starts its threads by a function that it looks up among its own
globals (``Thread.start``); ours stands there while the hooks are in, and calls it.  The proof
is that ``Thread.start`` names it; the undo is :func:`uninstall`, unless somebody has put a
function of his own over ours.

This file must not know the rules, nor how an import is intercepted.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from omnipkg_meta.asking import STARTERS, who
from omnipkg_meta.errors import HookError

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnipkg_meta.realm import Realm

__all__ = ["after_fork", "install", "uninstall"]

_threading: Any = threading
#: ``_start_new_thread`` up to 3.12.
_NAME = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
_EVERYBODYS = "concurrent.futures.thread"
_getframe = sys._getframe
_start: Callable[..., Any] = getattr(_threading, _NAME)


def _start_noted(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Start a thread that acts for the realm whose code starts it."""
    home = who(_getframe().f_back).home
    target = getattr(getattr(function, "__self__", None), "_target", None)
    if home is not None and getattr(target, "__module__", None) != _EVERYBODYS:
        function = partial(_run, home, function)
    return _start(function, *arguments, **keywords)


def _run(home: Realm, function: Callable[..., Any], *arguments: Any) -> None:
    thread = get_ident()
    STARTERS[thread] = home
    try:
        function(*arguments)
    finally:
        STARTERS.pop(thread, None)


def install() -> None:
    """Note who starts threads from now on.

    Raises:
        HookError: this interpreter's ``threading`` starts them in another way; nothing was changed.
    """
    global _start  # noqa: PLW0603
    there = getattr(_threading, _NAME, None)
    if there is _start_noted:
        return
    if there is None or _NAME not in threading.Thread.start.__code__.co_names:
        raise HookError(
            "Threads are started in a way that this library does not know.",
            cause=f"threading.Thread.start does not call {_NAME}",
        )
    _start = there
    setattr(_threading, _NAME, _start_noted)


def uninstall() -> None:
    """Put the function back that was there; threads that run go on as they are."""
    if getattr(_threading, _NAME, None) is _start_noted:
        setattr(_threading, _NAME, _start)


def after_fork() -> None:
    """Forget, in a forked child, the threads that are not there."""
    me = STARTERS.get(get_ident())
    STARTERS.clear()
    if me is not None:
        STARTERS[get_ident()] = me
