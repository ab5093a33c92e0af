"""Byte code for a place where the sources are not yet.

Owns the compiling of a bubble before it is put in place.  Must not know what else
is done to it.

It is what takes the longest when a bubble is built, and every program that uses the
bubble is spared it: also those that may not write there, and would compile each time.
So it is done by as many processes as there are processors, while the builder goes on
with something else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from omnipkg_meta.store import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["compiling"]

# To start a process takes as long as to compile so many bytes.
_WORTH_A_PROCESS = 60_000
# So many bytes are compiled at a time, by whoever is free.
_AT_A_TIME = 20_000

# What the processes read from one pipe, as soon as they have nothing to do: records of one
# size, paths with zero bytes between and after them.  Who reads one gets all of it and no
# part of the next, since nothing else is ever written (PIPE_BUF of pipe(7) is as large).  The
# last one for each is empty: another child that was forked meanwhile keeps the pipe open.
_RECORD = 4096

# What each process runs.  A file that does not compile is left alone: wheels carry templates
# and code for other versions, and Python would not complain before somebody imports them.
_PROGRAM = f"""\
import gc, os, py_compile, sys
gc.disable()
here, there = sys.argv[1:]
while paths := os.fsdecode(os.read(0, {_RECORD}).rstrip(b"\\0")):
    for path in paths.split("\\0"):
        try:
            py_compile.compile(here + path, dfile=there + path, doraise=True)
        except (py_compile.PyCompileError, OSError, ValueError, RecursionError, MemoryError):
            pass
"""


@contextmanager
def compiling(site_packages: Path, final: Path, *, keep_open: int | None = None) -> Iterator[None]:
    """Compile all sources during a block, so that tracebacks name the directory where they will be.

    They are compiled when the block ends; where it fails, nobody goes on.

    Args:
        site_packages: where the sources are.
        final: where they will be.
        keep_open: a file descriptor that the processes inherit, or None.
    """
    sizes = {
        path: entry.stat(follow_symlinks=False).st_size
        for path, entry in record.files(site_packages)
        if path.endswith(".py")
    }
    count = min(_processors(), 1 + sum(sizes.values()) // _WORTH_A_PROCESS) if sizes else 0
    # Not with this process's warnings, start-up files or settings.
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _PROGRAM]
    command += [os.path.join(place, "") for place in (site_packages, final)]  # noqa: PTH118
    reading, writing = os.pipe()
    started: list[subprocess.Popen[bytes]] = []
    try:
        try:
            for _ in range(count):
                process = subprocess.Popen(
                    command,
                    stdin=reading,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    # After a kill of this process they go on for a while, and write there.
                    pass_fds=() if keep_open is None else (keep_open,),
                )
                started.append(process)
        finally:
            os.close(reading)
            # A thread: a pipe takes so much and no more, until somebody has read it.
            teller = threading.Thread(target=_tell, args=(writing, sizes, count))
            teller.start()
        yield
        for process in started:
            process.wait()
    finally:
        for process in started:
            process.kill()
            process.wait()
        teller.join()


def _processors() -> int:
    """Return how many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _tell(writing: int, sizes: Mapping[str, int], readers: int) -> None:
    """Write the paths of all sources, and to each reader that these were all."""
    try:
        with suppress(OSError):  # nobody reads any more
            for paths in (*_portions(sizes), *[b""] * readers):
                os.write(writing, paths.ljust(_RECORD, b"\0"))
    finally:
        os.close(writing)


def _portions(sizes: Mapping[str, int]) -> Iterator[bytes]:
    """Yield what one process does at a time, the largest files first; each fits a record."""
    paths, size = b"", 0
    for path in sorted(sizes, key=sizes.__getitem__, reverse=True):
        word = os.fsencode(path)
        if paths and (size + sizes[path] > _AT_A_TIME or len(paths) + len(word) >= _RECORD):
            yield paths
            paths, size = b"", 0
        if len(word) < _RECORD:  # no system has longer ones
            paths += b"\0" * bool(paths) + word
            size += sizes[path]
    if paths:
        yield paths
