"""What a process keeps of its activations and of its realms: run in main by ``memory.py``.

    python memory.py activations REQUIREMENT COUNT...
    python memory.py realms REQUIREMENT...
    python memory.py plain MODULE...

Prints one JSON list of bytes: of the process after so many activations with import; that each
realm has added, with the version's number in its path checked; or that a plain import of rich
has added, after that of the modules that are named.  ``plain`` imports nothing of the library.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
from pathlib import Path

_MODULE = "rich.console"
_STATM = Path("/proc/self/statm")


def main() -> None:
    """Measure, and print what was found."""
    what, *words = sys.argv[1:]
    if what == "activations":
        found = _activations(words[0], [int(one) for one in words[1:]])
    elif what == "realms":
        found = [_added(one) for one in words]
    else:
        for name in words:
            importlib.import_module(name)
        before = _memory()
        importlib.import_module(_MODULE)
        found = [_memory() - before]
    # What rich has needed of the standard library by now is there in the plain process before.
    names = [one for one in list(sys.modules) if one.partition(".")[0] in sys.stdlib_module_names]
    print(json.dumps({"bytes": found, "modules": [one for one in names if one != "__main__"]}))


def _memory() -> int:
    """Return the bytes of memory that the process has; where nobody tells, the most it had."""
    gc.collect()
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _activate(requirement: str) -> None:
    import omnipkg_meta as om

    with om.use(requirement):
        import rich.console

        if requirement.partition("==")[2] not in rich.console.__file__:
            raise SystemExit(f"the wrong version was seen: {rich.console.__file__}")


def _activations(requirement: str, counts: list[int]) -> list[int]:
    done, found = 0, []
    for count in counts:
        for _ in range(count - done):
            _activate(requirement)
        done = count
        found.append(_memory())
    return found


def _added(requirement: str) -> int:
    before = _memory()
    _activate(requirement)
    return _memory() - before


if __name__ == "__main__":
    main()
