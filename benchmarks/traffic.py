"""Processes that install, use, verify, remove and collect at random, in one store.

Run from the root of the project::

    python -m benchmarks.traffic --processes 6 --steps 200
    python -m benchmarks.traffic --processes 50 --minutes 3

First all processes want the same bubble at once, which is not there: it has to be built
once, and used by all.  Then each does as it likes.  The model, which holds at every
moment for every process:

- an operation succeeds, or ends with one of the errors that its documentation names;
- what was found is a whole bubble of the version that was asked for;
- a bubble that somebody holds a lease on stays, file by file, until it is let go;
- a removed bubble is gone for whoever removed it, until somebody installs it again;
- ``gc`` never takes what is in use, and in the end leaves bubbles and nothing else.

Prints one JSON object; exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import omnipkg_meta as om
from omnipkg_meta.errors import (
    BubbleInUseError,
    BubbleInvalidError,
    BubbleNotFoundError,
    OmnipkgMetaError,
)
from omnipkg_meta.store import lease
from omnipkg_meta.store.build import install
from omnipkg_meta.store.store import Store
from omnipkg_meta.store.verify import problems
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERSIONS = ("1.0", "2.0", "3.0")


def main() -> int:
    """Run the harness and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200, help="of each process")
    parser.add_argument("--minutes", type=float, help="for so long, instead of so many steps")
    parser.add_argument("--seed", type=int, default=4)
    arguments = parser.parse_args()
    if not hasattr(os, "fork"):
        print("there is no fork here")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="traffic-") as place:
        wheels, store = Path(place, "wheels"), Store(Path(place, "store"))
        for version in VERSIONS:
            files: dict[str, str | bytes] = {f"leaf/m{n}.py": f"x = {n}\n" for n in range(20)}
            make_wheel(wheels, "leaf", version, {**files, "leaf/__init__.py": ""})
        rushed = rush(Store(Path(place, "rush")), wheels, arguments.processes)
        seeds = [arguments.seed * 1000 + number for number in range(arguments.processes)]
        limits = Limits(arguments.steps)
        if arguments.minutes is not None:
            limits = Limits(sys.maxsize, time.monotonic() + 60 * arguments.minutes)
        found = run(store, wheels, seeds, limits)
    found = {**found, "rush": rushed, "wrong": [*rushed.pop("wrong"), *found["wrong"]]}
    found["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(found, indent=1))
    return 1 if found["wrong"] else 0


class Limits(NamedTuple):
    """How much a process does.

    Attributes:
        steps: at most so many things.
        until: nothing is begun after that, by ``time.monotonic``.
    """

    steps: int
    until: float = math.inf


def each(works: Sequence[Callable[[], object]]) -> list[Any]:
    """Do each of these in a process of its own, all from one moment on; return what they return.

    It is to be what JSON can hold.  What one raises is a string in its place.
    """
    reading, writing = os.pipe()
    # Nobody writes there: who reads goes on when the last other end is closed.
    gate, opened = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if not child:
            os.close(opened)
            try:
                try:
                    os.read(gate, 1)
                    told = work()
                except BaseException as error:  # noqa: BLE001  # reported by the first process
                    told = f"{type(error).__name__}: {error}"[:500]
                # In one piece, among those of the others (PIPE_BUF).
                os.write(writing, json.dumps(told).encode() + b"\n")
            finally:
                os._exit(0)
        children.append(child)
    for descriptor in (writing, gate, opened):
        os.close(descriptor)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        found = [json.loads(line) for line in pipe]
    for child in children:
        os.waitpid(child, 0)
    return found + ["a process said nothing"] * (len(works) - len(found))


def rush(store: Store, wheels: Path, count: int) -> dict[str, Any]:
    """Have so many processes want one bubble at once, which is not there.

    Returns:
        How many built it, how many used it, and what was wrong.
    """

    def want() -> list[object]:
        said: list[str] = []
        options = ["--no-index", "--find-links", str(wheels)]
        made = install(["leaf==1.0"], store=store, index_options=options, progress=said.append)
        with om.use("leaf==1.0", store=store) as scope:
            from leaf import m7  # type: ignore[import-not-found]
        (bubble,) = scope.bubbles
        right = bubble == made and m7.__file__.startswith(str(bubble.path))
        return [any(one.startswith("installing") for one in said), right, m7.__file__]

    began = time.monotonic()
    told = each([want] * count)
    wrong = [str(one) for one in told if not (isinstance(one, list) and one[1])]
    built = sum(one[0] for one in told if isinstance(one, list))
    wrong += [] if built == 1 else [f"it was built {built} times"]
    wrong += [f"{one.id}: {what}" for one in store.bubbles() for what in store.verify(one)]
    used, seconds = count - len(wrong), round(time.monotonic() - began, 1)
    return {"built": built, "used": used, "seconds": seconds, "wrong": wrong}


def run(store: Store, wheels: Path, seeds: Sequence[int], limits: Limits) -> dict[str, Any]:
    """Let one process a seed loose on the store; return what they saw."""

    def work(seed: int) -> list[object]:
        visitor = Visitor(store, wheels, seed)
        try:
            visitor.visit(limits)
        except BaseException as error:  # noqa: BLE001  # what was seen until then counts
            visitor.wrong.append(f"{type(error).__name__}: {error}")
        return [visitor.seen, [one[:500] for one in visitor.wrong[:3]]]

    seen: Counter[str] = Counter()
    wrong: list[str] = []
    for told in each([partial(work, seed) for seed in seeds]):
        if isinstance(told, str):
            wrong.append(told)
            continue
        counts, complaints = told
        seen.update(counts)
        wrong += complaints
    for bubble in store.bubbles():
        wrong += [f"in the end: {bubble.id}: {one}" for one in store.verify(bubble)]
    wrong += [f"in the end: {one}" for one in store.broken()]
    store.gc()
    litter = [one.name for one in store.tag_path.iterdir() if one.name.startswith(".")]
    wrong += [f"left behind: {name}" for name in litter]
    return {"seen": dict(sorted(seen.items())), "wrong": wrong}


class Visitor:
    """One process's dealings with the store."""

    def __init__(self, store: Store, wheels: Path, seed: int) -> None:
        self.store = store
        self.options = ["--no-index", "--find-links", str(wheels)]
        self.chance = random.Random(seed)  # noqa: S311  # the same order every time
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def visit(self, limits: Limits) -> None:
        """Do things at random."""
        deeds = (self.install, self.use, self.use, self.verify, self.remove, self.gc, self.list)
        for _ in range(limits.steps):
            if time.monotonic() > limits.until:
                break
            deed = self.chance.choice(deeds)
            version = self.chance.choice(VERSIONS)
            try:
                outcome = deed(version)
            except OmnipkgMetaError as error:
                self.wrong.append(f"{deed.__name__} {version}: {type(error).__name__}: {error}")
                outcome = "failed"
            self.seen[f"{deed.__name__}: {outcome}"] += 1

    def install(self, version: str) -> str:
        """Install, now and then afresh; a bubble in use is not made afresh."""
        afresh = self.chance.random() < 0.2
        try:
            bubble = install(
                [f"leaf=={version}"],
                store=self.store,
                index_options=self.options,
                reinstall=afresh,
            )
        except BubbleInUseError:
            if not afresh:
                raise
            return "in use"
        self.expect(bubble.distributions["leaf"] == version, f"installed {bubble!r}")
        return "done"

    def use(self, version: str) -> str:
        """Hold a bubble for a moment; nothing may happen to it meanwhile."""
        bubble = self.store.find([f"leaf=={version}"])
        if bubble is None:
            return "not there"
        self.expect(bubble.distributions["leaf"] == version, f"found {bubble!r}")
        try:
            with lease.shared(bubble.path):
                before = bubble.path.stat().st_ino
                self.expect(not problems(bubble), f"held {bubble.id}: {problems(bubble)}")
                time.sleep(self.chance.uniform(0, 0.05))
                self.expect(not problems(bubble), f"held {bubble.id}, then: {problems(bubble)}")
                self.expect(bubble.path.stat().st_ino == before, f"{bubble.id} was exchanged")
        except BubbleInvalidError:
            return "just removed"
        return "done"

    def verify(self, version: str) -> str:
        """Verify a bubble, if it is there."""
        bubble = self.store.find([f"leaf=={version}"])
        if bubble is None:
            return "not there"
        try:
            found = self.store.verify(bubble)
        except BubbleInvalidError:
            return "just removed"
        self.expect(not found, f"verified {bubble.id}: {found}")
        return "done"

    def remove(self, version: str) -> str:
        """Remove a bubble, if it is there."""
        bubble = self.store.find([f"leaf=={version}"])
        if bubble is None:
            return "not there"
        inode = None
        with suppress(OSError):
            inode = bubble.path.stat().st_ino
        try:
            self.store.remove(bubble)
        except BubbleInUseError:
            return "in use"
        except BubbleNotFoundError:
            return "just removed"
        with suppress(OSError):  # else somebody has installed it again
            self.expect(bubble.path.stat().st_ino != inode, f"{bubble.id} was not removed")
        return "done"

    def gc(self, _: str) -> str:
        """Collect litter, and now and then everything that nobody uses."""
        everything = self.chance.random() < 0.3
        done = self.store.gc(unused_since=timedelta(0) if everything else None)
        return f"{'some' if done.removed else 'none'} removed"

    def list(self, _: str) -> str:
        """Look at all there is."""
        for bubble in self.store.bubbles():
            self.expect(bubble.distributions["leaf"] in VERSIONS, f"listed {bubble!r}")
        broken = [one for one in self.store.broken() if one.path.exists()]
        self.expect(not broken, f"broken: {broken}")
        return "done"

    def expect(self, truth: bool, otherwise: str) -> None:
        """Write down what is not as the model says."""
        if not truth:
            self.wrong.append(otherwise)


if __name__ == "__main__":
    sys.exit(main())
