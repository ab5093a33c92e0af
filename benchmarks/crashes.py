"""Builds and removals of little bubbles, each killed at a random moment: what is left.

Run from the root of the project::

    python -m benchmarks.crashes --count 500

After each kill the store must hold whole bubbles and nothing else that can be seen,
and ``gc`` must collect what was left behind, as soon as the tools that the killed
process had started are gone as well.  Prints one JSON object; exits with 1 if
anything was wrong.

Each victim is a fork of this process, which has the library loaded: so a kill
falls into the work, and not into the start of an interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.store.build import install
from omnipkg_meta.store.early import asking
from omnipkg_meta.store.store import Store
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

ROOTS = ("small", "large", "scripted")


def main() -> int:
    """Run the harness and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="how many are killed")
    parser.add_argument("--seed", type=int, default=4, help="decides the moments")
    parser.add_argument("--builder", choices=("auto", "uv", "pip"), default="auto")
    arguments = parser.parse_args()
    if not hasattr(os, "fork"):
        print("there is no fork here")
        return 1
    with tempfile.TemporaryDirectory(prefix="crashes-") as place:
        found = Harness(Path(place), arguments.seed, arguments.builder).run(arguments.count)
    print(json.dumps(found, indent=1))
    return 1 if found["wrong"] else 0


class Harness:
    """A store, some wheels, and the killing."""

    def __init__(self, place: Path, seed: int, builder: str) -> None:
        self.chance = random.Random(seed)  # noqa: S311  # the same moments every time
        self.builder = builder
        self.wheels = place / "wheels"
        self.store = Store(place / "store")
        self.wrong: list[str] = []
        self.moments: Counter[str] = Counter()
        make_wheel(self.wheels, "small", "1.0")
        files: dict[str, str | bytes] = {f"large/m{n}.py": f"x = {n}\n" for n in range(60)}
        make_wheel(self.wheels, "large", "1.0", files, requires=["small"])
        scripts = {"console_scripts": {"tool": "scripted:main"}}
        make_wheel(self.wheels, "scripted", "1.0", entry_points=scripts)

    def run(self, count: int) -> dict[str, object]:
        """Kill *count* processes; return what was seen."""
        began = time.monotonic()
        whole = {root: self.time_of(root) for root in ROOTS}
        for _ in range(count):
            root = self.chance.choice(ROOTS)
            present = [one.id for one in self.store.bubbles()]
            if present and self.chance.random() < 0.5:
                self.kill(partial(self.remove, self.chance.choice(present)), 0.01)
            else:
                again = self.chance.random() < 0.5
                # As the command does it, or as a program does.
                early = self.chance.random() < 0.5
                self.kill(partial(self.build, root, again=again, early=early), whole[root])
            self.check()
        self.check_litter()
        return {
            "killed": count,
            "while": dict(self.moments.most_common()),
            "seconds": round(time.monotonic() - began, 1),
            "wrong": self.wrong,
        }

    def time_of(self, root: str) -> float:
        """Return how long a build takes when nobody kills it."""
        began = time.monotonic()
        self.store.remove(self.build(root))
        return time.monotonic() - began

    def build(
        self, root: str, *, again: bool = False, early: bool = False, out: int | None = None
    ) -> str:
        """Build a bubble, and say on a descriptor what is going on."""

        def say(text: str) -> None:
            if out is not None:
                os.write(out, f"{text.split(maxsplit=1)[0]}\n".encode())

        options = ["--no-index", "--find-links", str(self.wheels)]
        question = asking(
            [root] if early else [],
            store=str(self.store.path),
            builder=self.builder,
            index_options=options,
            allow_build=False,
            reinstall=again,
        )
        with question as begun:
            return install(
                [root],
                store=self.store,
                builder=self.builder,
                index_options=options,
                reinstall=again,
                progress=say,
                begun=begun,
            ).id

    def remove(self, bubble_id: str, *, out: int | None = None) -> None:
        """Remove a bubble, and say so."""
        if out is not None:
            os.write(out, b"removing\n")
        self.store.remove(bubble_id)

    def kill(self, work: Callable[..., object], longest: float) -> None:
        """Run *work* in a fork and kill it at some moment, alone or with what it started."""
        reading, writing = os.pipe()
        victim = os.fork()
        if not victim:
            os.close(reading)
            os.setsid()
            code = 1
            try:
                work(out=writing)
                os.write(writing, b"done\n")
                code = 0
            except BaseException as error:  # noqa: BLE001  # reported by the other side
                os.write(writing, f"error {type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(code)
        os.close(writing)
        time.sleep(self.chance.uniform(0, longest * 1.1))
        os.kill(victim, signal.SIGKILL)
        if self.chance.random() < 0.5:
            with suppress(ProcessLookupError, PermissionError):  # it was alone
                os.killpg(victim, signal.SIGKILL)  # uv or pip, too
        os.waitpid(victim, 0)
        os.set_blocking(reading, False)  # what it has started may hold the other end still
        try:
            said = os.read(reading, 65536).decode().splitlines()
        except BlockingIOError:
            said = []
        os.close(reading)
        self.moments[said[-1].split()[0] if said else "starting"] += 1
        self.wrong += [line for line in said if line.startswith("error")]

    def check(self) -> None:
        """Look at the store as anybody would."""
        self.wrong += [str(one) for one in self.store.broken()]
        for bubble in self.store.bubbles():
            self.wrong += [f"{bubble.id}: {one}" for one in self.store.verify(bubble)]

    def check_litter(self) -> None:
        """See that gc leaves bubbles only, once the tools of the killed are gone."""
        until = time.monotonic() + 30
        while True:
            self.store.gc()
            left = sorted(one.name for one in self.store.tag_path.iterdir())
            litter = [name for name in left if name.startswith(".")]
            if not litter or time.monotonic() > until:
                break
            time.sleep(0.05)
        self.wrong += [f"left behind: {name}" for name in litter]


if __name__ == "__main__":
    sys.exit(main())
