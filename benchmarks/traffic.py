"""Processes that install, use, verify, remove and collect at random, in one store.

Run from the root of the project::

    python -m benchmarks.traffic --processes 6 --steps 200

The model, which holds at every moment for every process:

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
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

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
    from collections.abc import Sequence

VERSIONS = ("1.0", "2.0", "3.0")


def main() -> int:
    """Run the harness and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200, help="of each process")
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
        seeds = [arguments.seed * 1000 + number for number in range(arguments.processes)]
        found = run(store, wheels, seeds, arguments.steps)
    found["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(found, indent=1))
    return 1 if found["wrong"] else 0


def run(store: Store, wheels: Path, seeds: Sequence[int], steps: int) -> dict[str, object]:
    """Let one process a seed loose on the store; return what they saw."""
    reading, writing = os.pipe()
    children = []
    for seed in seeds:
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                visitor = Visitor(store, wheels, seed)
                try:
                    visitor.visit(steps)
                except BaseException as error:  # noqa: BLE001  # reported by the first process
                    visitor.wrong.append(f"{type(error).__name__}: {error}")
                os.write(writing, json.dumps([visitor.seen, visitor.wrong[:5]]).encode() + b"\n")
            finally:
                os._exit(0)
        children.append(child)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        told = [json.loads(line) for line in pipe]
    for child in children:
        os.waitpid(child, 0)
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    for counts, complaints in told:
        seen.update(counts)
        wrong += complaints
    if len(told) != len(children):
        wrong.append(f"{len(children) - len(told)} processes said nothing")
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

    def visit(self, steps: int) -> None:
        """Do so many things at random."""
        deeds = (self.install, self.use, self.use, self.verify, self.remove, self.gc, self.list)
        for _ in range(steps):
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
        inode = bubble.path.stat().st_ino if bubble.path.exists() else None
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
