"""A disk that is full at any moment, and calls that fail: what is left of a store.

Run from the root of the project::

    python -m benchmarks.faults --count 200

Two kinds of trouble, each at random moments of builds and removals of little bubbles:

- *full*: the store is on a file system of its own (tmpfs), with so much room and no more;
- *failing*: one call of the process, or of uv, on a file of the store fails with EIO or
  ENOSPC (``failing.c``, by LD_PRELOAD): open, read, write, fsync, rename, link and others.

After each of them the store must hold whole bubbles and nothing else that can be seen, what
was done must have succeeded or ended with a documented error, and ``gc`` must leave bubbles
and nothing else.  Prints one JSON object; exits with 1 if anything was wrong.  What cannot be
done here (to mount needs root, the other a C compiler) is said and left out.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.crashes import ROOTS, Harness
from omnipkg_meta.errors import OmnipkgMetaError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

_KB = 1024
_DISK = 4000 * _KB
#: More room than any of the bubbles needs.
_ROOM = 700 * _KB

#: What is done in a process of its own: the last words are those of the outcome.
_DOES = """\
import json, sys
from omnipkg_meta.errors import BuildError, StoreError
from omnipkg_meta.store.build import install
from omnipkg_meta.store.store import Store
what, store, wheels, again = sys.argv[1:]
store = Store(store)
try:
    if what.startswith("-"):
        store.remove(what[1:])
    else:
        options = ["--no-index", "--find-links", wheels]
        install([what], store=store, builder="uv", index_options=options, reinstall=again == "yes")
except (BuildError, StoreError) as error:
    print(type(error).__name__)
else:
    print("done")
"""


def main() -> int:
    """Run both and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=4, help="decides the moments")
    arguments = parser.parse_args()
    found = {
        "full": full(arguments.count, arguments.seed),
        "failing": failing(arguments.count, arguments.seed),
    }
    print(json.dumps(found, indent=1))
    return 1 if any(one.get("wrong") for one in found.values()) else 0


def full(count: int, seed: int) -> dict[str, object]:
    """Build and remove on a disk with little room."""
    chance = random.Random(seed)  # noqa: S311  # the same moments every time
    outcomes: Counter[str] = Counter()
    with _disk() as place:
        if place is None:
            return {"left out": "nothing can be mounted here"}
        harness = Harness(place, seed, "uv")
        ballast = place / "ballast"
        for _ in range(count):
            present = [one.id for one in harness.store.bubbles()]
            free = shutil.disk_usage(place).free
            ballast.write_bytes(b"x" * max(free - chance.randrange(_ROOM), 0))
            try:
                if present and chance.random() < 0.3:
                    harness.remove(chance.choice(present))
                else:
                    harness.build(chance.choice(ROOTS), again=chance.random() < 0.5)
                outcomes["done"] += 1
            except StoreError as error:
                outcomes[errno.errorcode.get(error.errno or 0, str(error))] += 1
            except OmnipkgMetaError as error:
                harness.wrong.append(f"{type(error).__name__}: {error}")
            ballast.unlink()
            harness.check()
            harness.check_litter()
        return {"outcomes": dict(outcomes), "wrong": harness.wrong[:20]}


@contextmanager
def _disk() -> Iterator[Path | None]:
    """Give a file system of its own with little room, or None; only root may have that."""
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        words = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=0700", "none", place]
        try:
            mounted = not subprocess.run(words, capture_output=True, check=False).returncode
        except OSError:
            mounted = False
        try:
            yield Path(place) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", place], check=True)


def failing(count: int, seed: int) -> dict[str, object]:
    """Build and remove while one call fails."""
    chance = random.Random(seed)  # noqa: S311  # the same moments every time
    outcomes: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not sys.platform.startswith("linux") or compiler is None:
        return {"left out": "needs Linux and a C compiler"}
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        library, log = Path(place, "failing.so"), Path(place, "log")
        source = Path(__file__).with_name("failing.c")
        words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(words, check=True)
        harness = Harness(Path(place), seed, "uv")
        store, wheels = str(harness.store.path), str(harness.wheels)
        for _ in range(count):
            present = [one.id for one in harness.store.bubbles()]
            what = chance.choice(ROOTS)
            if present and chance.random() < 0.3:
                what = f"-{chance.choice(present)}"
            log.unlink(missing_ok=True)
            variables = {
                **os.environ,
                "LD_PRELOAD": str(library),
                "FAULT_ROOT": store,
                # Most things that are done once are done at the beginning.
                "FAULT_AT": str(int(chance.random() ** 2 * (60 if what[0] == "-" else 500)) + 1),
                "FAULT_ERRNO": str(chance.choice((errno.EIO, errno.ENOSPC))),
                "FAULT_LOG": str(log),
            }
            again = chance.choice(("yes", "no"))
            command = [sys.executable, "-c", _DOES, what, store, wheels, again]
            done = subprocess.run(
                command, env=variables, capture_output=True, text=True, check=False
            )
            failed = log.read_text("utf-8").splitlines() if log.exists() else []
            calls.update(line.split()[0] for line in failed)
            if done.returncode:
                trace = done.stderr.strip().splitlines()[-1:]
                harness.wrong.append(f"{what} ended with {trace} after {failed}")
                outcomes["failed otherwise"] += 1
            else:
                told = done.stdout.strip()
                outcomes[f"{told}, {'a call failed' if failed else 'no call failed'}"] += 1
                if told != "done" and not failed:
                    harness.wrong.append(f"{what} ended with {told}, and no call failed")
            before = len(harness.wrong)
            harness.check()
            harness.check_litter()
            harness.wrong[before:] = [f"{one}, after {failed}" for one in harness.wrong[before:]]
        return {"calls": dict(calls), "outcomes": dict(outcomes), "wrong": harness.wrong[:20]}


if __name__ == "__main__":
    sys.exit(main())
