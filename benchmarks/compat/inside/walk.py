"""A package in a plain environment: which of its modules import, and does it work?

    python walk.py JOB.json EVENTS.jsonl

Imports the distribution's modules, in order, in a thread of their own, after the
row's smoke function.  A module that ends the process or hangs is the last one
that was begun: the caller starts again without it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import json
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder: none of its names may stand before a package's
sys.path.insert(0, str(Path(__file__).parent))
from witness import Events, guard, smoke_function

sys.path.pop(0)

_SUFFIXES = tuple(sorted((".py", *importlib.machinery.EXTENSION_SUFFIXES), key=len, reverse=True))
#: Not part of what a package offers: its tests, and its programs.
_SKIPPED = frozenset({"tests", "test", "_tests", "testsuite", "conftest", "__main__", "setup"})


def modules_of(name: str) -> tuple[list[str], list[str]]:
    """Return the modules that a distribution's RECORD names, and those that are skipped.

    Parents stand before their modules.  Of a namespace package only what the
    distribution itself puts into it is named.
    """
    found: set[str] = set()
    skipped: set[str] = set()
    for file in importlib.metadata.files(name) or ():
        suffix = next((one for one in _SUFFIXES if file.name.endswith(one)), None)
        parts = [*file.parts[:-1], file.name.removesuffix(suffix or "")]
        if suffix is None or not all(part.isidentifier() for part in parts):
            continue
        if parts[-1] == "__init__":
            parts.pop()
        if not parts:
            continue
        is_test = any(
            part in _SKIPPED or part.startswith("test_") or part.endswith("_test") for part in parts
        )
        (skipped if is_test else found).add(".".join(parts))
    return sorted(found), sorted(skipped)


def roots(modules: list[str]) -> list[str]:
    """Return the modules that no other of them contains."""
    known = set(modules)
    return [
        one
        for one in modules
        if not any(one[:at] in known for at, mark in enumerate(one) if mark == ".")
    ]


def run(job: dict[str, Any], say: Events) -> None:
    """Do what the job says."""
    name: str = job["name"]
    listed, skipped = modules_of(name)
    first = roots(listed)
    version = importlib.metadata.version(name)
    say("distribution", version=version, modules=listed, skipped=skipped, roots=first)
    imported = [_import(module, "root", say) for module in first if module not in job["deadly"]]
    _smoke(job, say, worth_it=any(imported))
    done = {*job["done"], *job["deadly"]}
    for module in listed:
        if module not in done:
            _import(module, "module", say)
    say("done")


def _import(module: str, event: str, say: Events) -> bool:
    """Import a module and tell whether it can be imported."""
    say("begun", name=module)
    found: list[str] = []
    guard(found, partial(importlib.import_module, module))
    say(event, name=module, problems=found)
    return not found


def _smoke(job: dict[str, Any], say: Events, *, worth_it: bool) -> None:
    """Run the whole smoke function of the row, if there is one."""
    smoke = smoke_function(job["smoke"], job["name"])
    found: list[str] = []
    if smoke is not None and worth_it:
        say("begun", name="the smoke function")

        def both() -> None:
            result = smoke()
            if hasattr(result, "send"):
                for _ in result:
                    pass

        guard(found, both)
    say("smoke", there=smoke is not None, problems=found)


def main() -> None:
    """Run the job in a thread, as the side by side run will."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    say = Events(sys.argv[2])
    thread = threading.Thread(target=run, args=(job, say))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
