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
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from omnipkg_meta.store import record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["compiling"]

# To start a process takes as long as to compile so many bytes.
_WORTH_A_PROCESS = 60_000

# What each process runs: it reads pairs of paths, of a source and of where it will be.
# A file that does not compile is left alone: wheels carry templates and code for other
# versions, and Python would not complain before somebody imports them.
_PROGRAM = """\
import gc, py_compile, sys
gc.disable()
paths = sys.stdin.buffer.read().decode(errors="surrogateescape").split("\\0")
for source, final in zip(paths[::2], paths[1::2]):
    try:
        py_compile.compile(source, dfile=final, doraise=True)
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
    shares = _shares(site_packages)
    # Not with this process's warnings, start-up files or settings.
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _PROGRAM]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for paths in shares:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # After a kill of this process they go on for a while, and write there.
                pass_fds=() if keep_open is None else (keep_open,),
            )
            started.append(process)
            pairs = [f"{site_packages / path}\0{final / path}" for path in paths]
            with suppress(BrokenPipeError):
                _tell(process, "\0".join(pairs).encode(errors="surrogateescape"))
        yield
        for process in started:
            process.wait()
    finally:
        for process in started:
            process.kill()
            process.wait()


def _tell(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is None:
        raise AssertionError(process)
    with process.stdin:
        process.stdin.write(data)


def _shares(site_packages: Path) -> list[list[str]]:
    """Divide the sources among processes, so that each has about as much to do."""
    sizes = {
        path: entry.stat(follow_symlinks=False).st_size
        for path, entry in record.files(site_packages)
        if path.endswith(".py")
    }
    total = sum(sizes.values())
    count = min(os.cpu_count() or 1, 1 + total // _WORTH_A_PROCESS) if sizes else 0
    shares: list[list[str]] = [[] for _ in range(count)]
    loads = [0] * count
    for path in sorted(sizes, key=sizes.__getitem__, reverse=True):
        least = loads.index(min(loads))
        shares[least].append(path)
        loads[least] += sizes[path]
    return shares
