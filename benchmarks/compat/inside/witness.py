"""What the programs of this folder share: events, short errors, smoke functions.

Events are JSON objects, one a line, and flushed at once: of a process that is
killed, everything up to that moment is known.  The programs run in environments
that hold nothing but the package in question, so they import nothing but the
standard library.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class Events:
    """Writes events into a file, from any thread."""

    def __init__(self, path: str) -> None:
        self._stream = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 (as long as the process)
        self._lock = threading.Lock()

    def __call__(self, event: str, **facts: Any) -> None:
        """Write one event with its facts."""
        line = json.dumps({"event": event, **facts})
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def check(self, name: str, version: str, found: list[str] | None) -> None:
        """Write the outcome of a check: what was found wrong, or that nothing was."""
        self("check", name=name, version=version, problems=found or [])


def short(error: BaseException) -> str:
    """Return an error as one line, with the places that it came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[:-5:-1]
    )
    text = " ".join(str(error).split())[:1500]
    return f"{type(error).__name__}: {text} [{places}]"


def mark(error: BaseException) -> str:
    """Return ``"refused: "`` for an error by which the library says that it cannot do it."""
    ours = any(
        cls.__module__ == "omnipkg_meta.errors" and cls.__name__ == "OmnipkgMetaError"
        for cls in type(error).__mro__
    )
    return "refused: " if ours else ""


def guard(found: list[str], function: Callable[[], Any]) -> bool:
    """Call a function; add what it raised, if it did, and say whether it did not."""
    try:
        function()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # SystemExit of a module, pyo3's PanicException
        found.append(mark(error) + short(error))
        return False
    return True


def _module_from(path: Path, name: str) -> ModuleType:
    """Load a module from a file, without a directory of its own on ``sys.path``."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def smoke_function(folder: str, name: str) -> Callable[[], Any] | None:
    """Return the smoke function of a row from a folder of them; None where it has none.

    Each call loads the file anew, as a program of its own would.
    """
    sys.modules.pop("compat_smoke", None)
    own = name.replace("-", "_")
    for path in sorted(Path(folder).glob("*.py")):
        if f"\ndef {own}(" in "\n" + path.read_text("utf-8"):
            function: Callable[[], Any] = getattr(_module_from(path, "compat_smoke"), own)
            return function
    return None


def same(found: object, expected: object) -> None:
    """Complain unless both are equal."""
    if found != expected:
        raise AssertionError(f"{found!r}, and not {expected!r}")


def near(found: float, expected: float, within: float = 1e-6) -> None:
    """Complain unless two numbers are nearly equal."""
    if not abs(found - expected) <= within:
        raise AssertionError(f"{found!r}, and not {expected!r}")
