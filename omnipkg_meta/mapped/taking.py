"""Taking a map: from the realms of a process, and from what was recorded, to plain data.

Owns what is looked at, and what it comes to.  Must not know how it is shown.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnipkg_meta import realm as realms_of_process
from omnipkg_meta.mapped.facts import (
    MAINS_KEY,
    Distribution,
    Edge,
    Facts,
    Failure,
    Module,
    Place,
    Run,
    Side,
)
from omnipkg_meta.path_entries import main_path
from omnipkg_meta.realm import CLAIMED, MAIN, Realm, normalize
from omnipkg_meta.store import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType

    from omnipkg_meta.recording import Import, Load, Recording

__all__ = ["gather", "of_this_process", "run_of_this_process"]

#: What makes an interpreter run something else than a script.
_NO_SCRIPT = {"-m", "-c"}

#: A command line that is longer is cut.
_LONGEST = 200


def run_of_this_process(*, ended: bool = False) -> Run:
    """Say what process this is.

    Args:
        ended: whether its program has ended.
    """
    from datetime import datetime, timezone

    how = None
    if ended:
        # Set where an exception ended the program (``_PyErr_PrintEx`` in Python/pythonrun.c).
        error = getattr(sys, "last_value", None)
        how = "it came to its end" if error is None else f"{type(error).__name__}: {error}"
    # Of code and of modules, sys.argv has not the words that say what was run.
    script = Path(sys.argv[0]).is_file() and not _NO_SCRIPT.intersection(sys.orig_argv)
    words = shlex.join(sys.argv if script else sys.orig_argv[1:]) or "python"
    return Run(
        program=words if len(words) <= _LONGEST else f"{words[:_LONGEST]} ...",
        python=f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}",
        pid=os.getpid(),
        taken=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ended=how,
    )


def gather(
    run: Run,
    realms: Sequence[Realm],
    mains: Mapping[str, object],
    in_main: Mapping[str, str],
    *,
    recording: Recording | None = None,
    seconds: float | None = None,
    measure: Callable[[Realm], disk.Taken] | None = None,
) -> Facts:
    """Make a map of realms.  Depends on nothing but its arguments, and changes none.

    Args:
        run: the process.
        realms: the realms, without main, oldest first.
        mains: main's modules by full name, those of claimed names among them.
        in_main: main's distributions, normalized name to version.
        recording: what was recorded.
        seconds: for how long.
        measure: gives what a realm takes of the disk; None: it is not told.
    """
    keys = {MAIN: MAINS_KEY, **{one: f"r{number}" for number, one in enumerate(realms, 1)}}
    loads = {} if recording is None else recording.loads
    tables: dict[Realm, Mapping[str, object]] = {MAIN: _only_mains(mains)}
    tables.update((one, dict(one.modules)) for one in realms)
    sides = [
        Side(
            key=MAINS_KEY,
            name=MAINS_KEY,
            distributions=dict(sorted(in_main.items())),
            modules=_modules(MAIN, tables[MAIN], loads, keys),
        )
    ]
    taken = {} if measure is None else {one: measure(one) for one in _one_a_bubble(realms)}
    inodes = _shared_inodes(taken.values())
    for one in realms:
        disk_ = taken.get(one)
        sides.append(
            Side(
                key=keys[one],
                name="" if one.bubble is None else one.bubble.id,
                requested=() if one.bubble is None else tuple(one.bubble.requested),
                terms=_terms(one),
                path=None if one.bubble is None else str(one.bubble.path),
                distributions=dict(sorted(one.distributions.items())),
                provided=tuple(sorted(one.provided)),
                modules=_modules(one, tables[one], loads, keys),
                around=None if one.outer is None else keys.get(one.outer),
                size=None if disk_ is None else disk_.size,
                alone=None if disk_ is None else _alone(disk_, inodes),
            )
        )
    return Facts(
        run=run,
        realms=tuple(sides),
        claimed=tuple(sorted(CLAIMED if realms else ())),
        recorded=None if recording is None else seconds,
        edges=() if recording is None else _edges(recording.imports, tables, keys),
        failures=() if recording is None else _failures(recording.failed.values(), keys),
        distributions=_held_twice(realms, in_main, tables, keys),
        size=disk.together(taken.values()).size if taken else None,
    )


def _only_mains(mains: Mapping[str, object]) -> dict[str, object]:
    """Return main's modules without those of bubbles.

    When an interpreter is about to end, the modules of realms stand in its table, too.
    """
    return {
        name: module
        for name, module in mains.items()
        if _namespace(module).get("__realm__") is None
    }


def _namespace(module: object) -> dict[str, Any]:
    # Not getattr: what stands in the table may load itself when it is touched.
    try:
        found = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}


def _modules(
    realm: Realm,
    table: Mapping[str, object],
    loads: Mapping[tuple[Realm, str], Load],
    keys: Mapping[Realm, str],
) -> tuple[Module, ...]:
    found = []
    for name in sorted(table):
        file = _namespace(table[name]).get("__file__")
        load = loads.get((realm, name))
        found.append(
            Module(
                name=name,
                file=file if isinstance(file, str) else None,
                by=None if load is None else (load.by, keys.get(load.home, "")),
                total=None if load is None else load.total,
                own=None if load is None else load.own,
            )
        )
    return tuple(found)


def _terms(realm: Realm) -> tuple[str, ...]:
    found = []
    if realm.adopts:
        found.append(f"adopts {', '.join(sorted(realm.import_names))}")
    if realm.shared.names:
        found.append(f"shares {', '.join(sorted(realm.shared.names))} with main")
    if realm.hermetic:
        found.append("hermetic")
    return tuple(found)


def _one_a_bubble(realms: Iterable[Realm]) -> list[Realm]:
    """Return the realms that have files of their own, once for each place."""
    places: dict[object, Realm] = {}
    for one in realms:
        if one.files is not None:
            places.setdefault(str(one.files.path), one)
    return list(places.values())


def _shared_inodes(taken: Iterable[disk.Taken]) -> dict[tuple[int, int], int]:
    """Return how many of them hold each inode."""
    count: dict[tuple[int, int], int] = {}
    for one in taken:
        for key in one.inodes:
            count[key] = count.get(key, 0) + 1
    return count


def _alone(taken: disk.Taken, inodes: Mapping[tuple[int, int], int]) -> int:
    return sum(size for key, (size, _, _) in taken.inodes.items() if inodes[key] == 1)


def _edges(
    imports: Iterable[Import],
    tables: Mapping[Realm, Mapping[str, object]],
    keys: Mapping[Realm, str],
) -> tuple[Edge, ...]:
    """Return who imported what, the modules of one package together."""
    edges: dict[tuple[str, ...], dict[str, None]] = {}
    for one in list(imports):
        if one.name not in tables.get(one.realm, ()):
            continue  # asked for, and not there: told among the failures
        home, realm = keys.get(one.home), keys.get(one.realm)
        if home is None or realm is None or one.by.partition(".")[0] == "omnipkg_meta":
            continue
        top = one.name.partition(".")[0]
        if home == realm and one.by.partition(".")[0] == top:
            continue  # a package's modules among themselves
        edges.setdefault((home, one.by, top, realm, one.rule, one.how), {})[one.name] = None
    return tuple(
        Edge(home, by, top, tuple(sorted(names)), realm, rule, how)
        for (home, by, top, realm, rule, how), names in edges.items()
    )


def _failures(failed: Iterable[Load], keys: Mapping[Realm, str]) -> tuple[Failure, ...]:
    return tuple(
        Failure(keys.get(one.home, ""), one.by, one.name, one.error)
        for one in list(failed)
        if one.home in keys
    )


def _held_twice(
    realms: Sequence[Realm],
    in_main: Mapping[str, str],
    tables: Mapping[Realm, Mapping[str, object]],
    keys: Mapping[Realm, str],
) -> tuple[Distribution, ...]:
    tops: dict[str, set[str]] = {}
    for realm in realms:
        for top, owners in realm.import_names.items():
            for owner in owners:
                tops.setdefault(normalize(owner), set()).add(top)

    def loaded(name: str, realm: Realm) -> bool:
        return any(top in tables[realm] for top in tops.get(name, ()))

    places: dict[str, list[Place]] = {}
    for realm in realms:
        for name, version in realm.distributions.items():
            shared = name in realm.shared.distributions
            if shared:
                version = in_main.get(name, version)  # noqa: PLW2901  # what its code sees
            places.setdefault(name, []).append(
                Place(keys[realm], version, loaded(name, MAIN if shared else realm), shared)
            )
    for name, found in places.items():
        if name in in_main:
            found.insert(0, Place(MAINS_KEY, in_main[name], loaded(name, MAIN)))
    return tuple(
        Distribution(name, tuple(found)) for name, found in sorted(places.items()) if len(found) > 1
    )


def of_this_process(*, sizes: bool = True, ended: bool = False) -> Facts:
    """Make a map of this process as it is now.

    Args:
        sizes: whether to measure what bubbles take of the disk.
        ended: whether its program has ended.
    """
    from time import perf_counter

    from omnipkg_meta.recording import last

    recording = last()
    seconds = None
    if recording is not None:
        until = recording.stopped if recording.stopped is not None else perf_counter()
        seconds = until - recording.started
    return gather(
        run_of_this_process(ended=ended),
        realms_of_process.loaded(),
        _mains(),
        _distributions_of_main(),
        recording=recording,
        seconds=seconds,
        measure=_measure if sizes else None,
    )


def _mains() -> dict[str, ModuleType]:
    # The storage and main's table themselves: the view would depend on who asks.
    whole: dict[Any, Any] = {**dict(dict.items(sys.modules)), **MAIN.modules}
    return {name: module for name, module in whole.items() if isinstance(name, str)}


def _distributions_of_main() -> dict[str, str]:
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    found: dict[str, str] = {}
    for one in MetadataPathFinder.find_distributions(DistributionFinder.Context(path=main_path())):
        name, version = one.metadata["Name"], one.version
        if name and version:  # None where the metadata is broken
            found.setdefault(normalize(name), version)
    return found


def _measure(realm: Realm) -> disk.Taken:
    return disk.Taken() if realm.files is None else disk.measure(realm.files.path)
