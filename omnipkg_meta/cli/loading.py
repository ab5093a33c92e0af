"""Ctrl-C while modules are loaded: held back until they are.

Owns that, and nothing else.  Where a KeyboardInterrupt is raised inside an import it may not
come out as one: ``importlib._bootstrap`` loses it in the callback of a module's lock
(``_get_module_lock``), and before Python 3.12 ``type.__new__`` makes a RuntimeError of it
(``__set_name__``).  That does no harm while nothing has been begun; where uv runs already it
has to be ended, and the user told so.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["uninterrupted"]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block; whoever has a handler of their own keeps it.

    Raises:
        KeyboardInterrupt: at the end, if it came meanwhile.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
