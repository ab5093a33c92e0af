"""Puts the hooks of omnipkg_meta into every interpreter that starts, with a bubble claimed.

Runs *inside the interpreter under test*, imported by ``site``.  Each process
leaves a line saying how its start went, and one saying whether the hooks were
still in at its end, so that a run without hooks cannot pass for one with them.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from pathlib import Path

if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters

_HERE = Path(__file__).parent
# Some tests start interpreters with an empty environment.
_LOG = os.environ.get("CPYTHON_SUITE_LOG", str(_HERE / "log"))


def _say(line: str) -> None:
    log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(log, f"{os.getpid()} {line}\n".encode())
    finally:
        os.close(log)


def _where() -> str:
    return "hooks in" if type(sys.modules) is not dict else "hooks out"


def _put_hooks_in() -> None:
    before = os.environ.get("OMNIPKG_META_STORE")
    os.environ["OMNIPKG_META_STORE"] = str(_HERE.parent / "store")
    try:
        import omnipkg_meta

        # One scope, entered and left: it claims the bubble's names for the rest
        # of the process, and the hooks stay.
        with omnipkg_meta.use((_HERE / "bubble").read_text("utf-8")):
            pass
    except BaseException:
        _say(f"start: failed: {traceback.format_exc().splitlines()[-1]}")
        raise
    finally:
        if before is None:  # a test that looks at the environment finds it as it was
            del os.environ["OMNIPKG_META_STORE"]
    _say(f"start: {_where()}")
    # Registered after the library's own, hence called before it.
    atexit.register(lambda: _say(f"end: {_where()}"))


if interpreters.get_current() == interpreters.get_main():
    _put_hooks_in()
else:  # it has a sys.modules of its own, and nobody in it asked for hooks
    _say("subinterpreter: left alone")
