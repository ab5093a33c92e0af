"""Notes on exceptions: which bubble an error happened in, and in which scope (PEP 678)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from omnipkg_meta.realm import Realm

__all__ = ["say_where"]


def say_where(
    error: BaseException, traceback: TracebackType, scope: object, realms: Sequence[Realm]
) -> None:
    """Note on an error that leaves a scope which bubble of it the error happened in.

    Nothing is noted for errors of the user's own code, and nothing twice: the
    innermost scope whose bubble it is has the word.
    """
    if not isinstance(error, Exception):
        return
    homes = {one for realm in realms for one in realm.chain()}
    found = None
    step: TracebackType | None = traceback
    while step is not None:
        home = step.tb_frame.f_globals.get("__realm__")
        if home in homes:
            found = home
        step = step.tb_next
    if found is None or found.bubble is None:
        return
    text = f"This happened in the bubble {found.bubble.id} ({found.bubble.path}), in {scope!r}."
    present = getattr(error, "__notes__", ())
    if any(str(one).startswith("This happened in the bubble ") for one in present):
        return
    if sys.version_info >= (3, 11):
        error.add_note(text)
    else:
        # What prints notes on 3.10 (pytest, exceptiongroup) reads them there.
        vars(error)["__notes__"] = [*present, text]
