"""Two versions of a package in one process, and what is to be seen there.

    python side_by_side.py JOB.json EVENTS.jsonl

The job names a mode: ``threads`` (two threads enter at a barrier), ``turns`` (one
after the other), or ``main`` (the newest is also in main, and is imported first).
Every check writes an event, whether it found something or not, and the last
event is ``done``: what is missing was not checked, and counts as wrong.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import importlib.metadata
import json
import os
import sys
import sysconfig
import threading
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

sys.path.pop(0)  # this folder: none of its names may stand before a package's
sys.path.insert(0, str(Path(__file__).parent))
from witness import Events, guard, mark, short, smoke_function

sys.path.pop(0)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STANDARD = tuple(os.path.join(sysconfig.get_path(kind), "") for kind in ("stdlib", "platstdlib"))
_INSTALLED = tuple(os.path.join(sysconfig.get_path(kind), "") for kind in ("purelib", "platlib"))


class Part:
    """One of the versions in this process."""

    def __init__(self, facts: dict[str, Any], job: dict[str, Any], say: Events) -> None:
        self.name: str = job["name"]
        self.version: str = facts["version"]
        self.requirement: str = facts["requirement"]
        self.site_packages: str = os.path.join(facts["site_packages"], "")
        self.roots: list[str] = facts["roots"]
        self.modules = set(facts["modules"])
        # Also those that fail: some import the second time, and leave something behind.
        self.tried: list[str] = facts["tried"]
        self.smoke: Callable[[], Any] | None = smoke_function(job["smoke"], self.name)
        self.rest: Iterator[Any] | None = None  # what the smoke function does after the scope
        self.seen: dict[str, ModuleType] = {}
        self.say = say

    def check(self, name: str, found: list[str]) -> None:
        """Write what a check of this version found."""
        self.say.check(name, self.version, found)

    def enter(self, barrier: threading.Barrier | None = None) -> None:
        """Enter the scope, import everything and check it."""
        import omnipkg_meta as om

        if barrier is not None:
            barrier.wait()
        try:
            with om.use(self.requirement) as scope:
                paths = [os.path.join(str(one.site_packages), "") for one in scope.bubbles]
                self.check(
                    "bubble",
                    [] if paths == [self.site_packages] else [f"{paths}, not {self.site_packages}"],
                )
                self.inside()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever comes is what is to be reported
            self.check("scope", [mark(error) + short(error)])
        else:
            self.check("scope", [])

    def inside(self) -> None:
        """Check this version from inside its scope."""
        found: list[str] = []
        for root in self.roots:
            guard(found, partial(self.import_root, root))
        self.check("import", found)
        self.check("file", [line for root in self.roots for line in self.wrong_file(root)])
        found = []
        if guard(found, lambda: importlib.metadata.version(self.name)):
            version = importlib.metadata.version(self.name)
            if version != self.version:
                found.append(f"metadata says {version}, not {self.version}")
        self.check("metadata", found)
        self.check("smoke", self.first_half())
        found = []
        for module in self.tried:
            raised: list[str] = []
            guard(raised, partial(importlib.import_module, module))
            if module in self.modules:
                found += raised
        self.check("modules", found)

    def import_root(self, root: str) -> None:
        """Import one of the modules that the package begins with."""
        self.seen[root] = importlib.import_module(root)

    def wrong_file(self, root: str) -> Iterator[str]:
        """Yield what is wrong with where a module came from."""
        module = self.seen.get(root)
        if module is None:
            yield f"{root} was not imported"
            return
        files = files_of(module) or list(getattr(module, "__path__", []))
        if not files:
            yield f"{root} does not say where it is from"
        for file in files:
            if not file.startswith(self.site_packages):
                yield f"{root} is from {file}, not from {self.site_packages}"

    def first_half(self) -> list[str]:
        """Run the smoke function as far as its ``yield``."""
        found: list[str] = []
        smoke = self.smoke
        if smoke is None:
            return found

        def begin() -> None:
            result = smoke()
            if hasattr(result, "send"):
                self.rest = result
                next(result, None)

        guard(found, begin)
        return found

    def second_half(self) -> None:
        """Run what the smoke function does after its ``yield``: outside the scope."""
        found: list[str] = []
        if self.rest is not None:
            guard(found, partial(next, self.rest, None))
        self.check("smoke after the scope", found)

    def once_more(self) -> None:
        """Enter the scope again: the modules have to be the same."""
        import omnipkg_meta as om

        found: list[str] = []

        def again() -> None:
            with om.use(self.requirement):
                for root, module in self.seen.items():
                    if importlib.import_module(root) is not module:
                        found.append(f"{root} is another module the second time")

        guard(found, again)
        self.check("entered again", found)


def files_of(module: Any) -> list[str]:
    """Return where a module says that it is from: nothing, one file, or two."""
    spec = getattr(module, "__spec__", None)
    located = getattr(spec, "has_location", False)
    origin = getattr(spec, "origin", None) if located else None
    files = {str(one) for one in (origin, getattr(module, "__file__", None)) if one is not None}
    # What an object that stands for a module calls itself is no file: "_ops.py" (PyTorch).
    return sorted(file for file in files if Path(file).is_absolute())


def is_standard(file: str) -> bool:
    """Tell whether a file belongs to the standard library."""
    return file.startswith(_STANDARD) and not file.startswith(_INSTALLED)


def realm_files() -> list[str]:
    """Return the modules of realms that lie outside their bubbles."""
    from omnipkg_meta.realm import loaded

    return [
        f"{name} in {realm!r} is from {file}"
        for realm in loaded()
        for name, module in list(realm.modules.items())
        for file in files_of(module)
        if not file.startswith(realm.prefix) and not is_standard(file)
    ]


def storage() -> list[str]:
    """Return the claimed names that are in the storage of ``sys.modules`` itself."""
    from omnipkg_meta.realm import CLAIMED

    names: list[object] = [*dict.keys(sys.modules)]
    return [
        f"{name!r} is in main's storage"
        for name in names
        if isinstance(name, str) and name.partition(".")[0] in CLAIMED
    ]


def all_of_main() -> dict[str, Any]:
    """Return main's modules: of the storage, and of main's table."""
    from omnipkg_meta.realm import MAIN

    return {**dict(dict.items(sys.modules)), **MAIN.modules}


def main_files(store: str) -> list[str]:
    """Return the modules of main that lie in the store."""
    return [
        f"main's {name} is from {file}"
        for name, module in all_of_main().items()
        for file in files_of(module)
        if file.startswith(store)
    ]


def bindings(store: str) -> Iterator[tuple[bool, str]]:
    """Yield what modules of main are bound to that comes from a bubble; standard ones: True."""
    for name, module in all_of_main().items():
        if name.partition(".")[0] in _OURS or not isinstance(module, ModuleType):
            continue
        standard = name.partition(".")[0] in sys.stdlib_module_names
        for attribute, value in list(vars(module).items()):
            file = home_of(value)
            if file is not None and file.startswith(store):
                yield standard, f"{name}.{attribute} is from {file}"


#: The library, and this program itself.
_OURS = frozenset({"omnipkg_meta", "__main__", "witness", "compat_smoke"})


def home_of(value: Any) -> str | None:
    """Return the file that a module, a function or a class is from, where it says so."""
    if isinstance(value, ModuleType):
        return next(iter(files_of(value)), None)
    if isinstance(value, FunctionType):
        return value.__code__.co_filename
    if isinstance(value, type):
        functions = [one for one in vars(value).values() if isinstance(one, FunctionType)]
        return functions[0].__code__.co_filename if functions else None
    return None


def changed(before: dict[str, Any]) -> list[str]:
    """Return the modules of main that are not what they were."""
    return [
        f"main's {name} was replaced" if name in sys.modules else f"main's {name} is gone"
        for name, module in before.items()
        if sys.modules.get(name) is not module
    ]


def outside(job: dict[str, Any], parts: list[Part]) -> list[str]:
    """Return what a program sees outside of the scopes that it should not."""
    found = []
    in_main: str | None = job["in_main"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version(parts[0].name)
        if version != in_main:
            found.append(f"metadata says {version}; in main there is {in_main}")
    for root in sorted({root for part in parts for root in part.roots}):
        raised: list[str] = []
        if guard(raised, partial(importlib.import_module, root)):
            found += [
                f"{root} is from {file} outside of the scopes"
                for file in files_of(sys.modules[root])
                if file.startswith(job["store"])
            ]
        elif root in job["main_roots"] or not raised[0].startswith("ModuleNotFoundError"):
            found.append(f"{root} outside of the scopes: {raised[0]}")
    return found


def side_by_side(job: dict[str, Any], say: Events) -> None:
    """Run one mode."""
    mode, store = job["mode"], os.path.join(job["store"], "")
    mains: Part | None = None
    if mode == "main":
        mains = Part({**job["versions"][0], "site_packages": _INSTALLED[0]}, job, say)
        found: list[str] = []
        for root in mains.roots:
            guard(found, partial(mains.import_root, root))
        say.check("main import", "", found)
        say.check("main smoke", "", mains.first_half())

    parts = [Part(facts, job, say) for facts in job["versions"]]
    import omnipkg_meta  # noqa: F401  (its modules belong to what was there before)

    before = {name: module for name, module in sys.modules.items() if name != "compat_smoke"}
    if mode == "threads":
        barrier = threading.Barrier(len(parts))
        threads = [threading.Thread(target=part.enter, args=(barrier,)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        for part in parts:
            part.enter()
    for part in parts:
        part.second_half()
        part.once_more()
    if mains is not None:
        found = []
        if mains.rest is not None:
            guard(found, partial(next, mains.rest, None))
        found += mains.first_half()
        say.check("main smoke again", "", found)
    say.check("outside", "", outside(job, parts))
    say.check("realm files", "", realm_files())
    say.check("storage", "", storage())
    say.check("main modules", "", changed(before))
    say.check("main files", "", main_files(store))
    bound = list(bindings(store))
    say.check("main bindings", "", [line for standard, line in bound if not standard])
    say("patches", lines=[line for standard, line in bound if standard])
    say("done")


def main() -> None:
    """Read the job, run it, and see to it that a hang is seen."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    faulthandler.enable()
    faulthandler.dump_traceback_later(job["limit"])
    side_by_side(job, Events(sys.argv[2]))
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
