"""Helper processes that share a long list of files between them.

Owns how many there are, what each is told, and that none outlives the block.  Must not
know what they do with a file (worker.py), nor what for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.store import worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Crew", "crew", "processors"]

# So many bytes are dealt with at a time, by whoever is free.
_AT_A_TIME = 20_000


class Crew(NamedTuple):
    """The processes, and what they have yet to do.

    Attributes:
        processes: the processes.
        queue: the descriptor that portions of the work are read from, by whoever is free.
    """

    processes: list[subprocess.Popen[bytes]]
    queue: int

    def portions(self) -> Iterator[list[str]]:
        """Yield what nobody has begun yet, to be done by this process as well."""
        return worker.portions(self.queue)


@contextmanager
def crew(
    task: str,
    places: tuple[Path, ...],
    sizes: Mapping[str, int],
    *,
    worth: int,
    most: int | None = None,
    output: int = subprocess.DEVNULL,
    keep_open: int | None = None,
) -> Iterator[Crew]:
    """Start as many processes as are worth it, and tell them what to do; none outlives the block.

    Args:
        task: what worker.py is to do with each file.
        places: the directories that it is told of.
        sizes: the files, and how large each is.
        worth: how large are those that take as long as to start a process.
        most: how many processes at most; as many as there are processors when not given.
        output: where the processes write to.
        keep_open: a file descriptor that they inherit, or None.
    """
    most = processors() if most is None else most
    count = min(most, 1 + sum(sizes.values()) // worth) if sizes else 0
    # Not with this process's warnings, start-up files or settings.
    command = [sys.executable, "-I", "-S", "-W", "ignore", worker.__file__, task]
    command += [os.path.join(place, "") for place in places]  # noqa: PTH118
    reading, writing = os.pipe()
    started: list[subprocess.Popen[bytes]] = []
    try:
        try:
            for _ in range(count):
                process = subprocess.Popen(
                    command,
                    stdin=reading,
                    stdout=output,
                    stderr=subprocess.DEVNULL,
                    # After a kill of this process they go on for a while, and write there.
                    pass_fds=() if keep_open is None else (keep_open,),
                )
                started.append(process)
        finally:
            # A thread: a pipe takes so much and no more, until somebody has read it.
            teller = threading.Thread(target=_tell, args=(writing, sizes, count + 1))
            teller.start()
        yield Crew(started, reading)
    finally:
        os.close(reading)
        for process in started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        teller.join()


def processors() -> int:
    """Return how many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _tell(writing: int, sizes: Mapping[str, int], readers: int) -> None:
    """Write the paths of all files, and to each reader that these were all.

    The last word is one for each: another child that was forked meanwhile keeps the pipe open.
    """
    try:
        with suppress(OSError):  # nobody reads any more
            for paths in (*_portions(sizes), *[b""] * readers):
                os.write(writing, paths.ljust(worker.RECORD, b"\0"))
    finally:
        os.close(writing)


def _portions(sizes: Mapping[str, int]) -> Iterator[bytes]:
    """Yield what one process does at a time, the largest files first; each fits a record."""
    paths, size = b"", 0
    for path in sorted(sizes, key=sizes.__getitem__, reverse=True):
        word = os.fsencode(path)
        full = len(paths) + len(word) >= worker.RECORD
        if paths and (size + sizes[path] > _AT_A_TIME or full):
            yield paths
            paths, size = b"", 0
        if len(word) < worker.RECORD:  # no system has longer ones
            paths += b"\0" * bool(paths) + word
            size += sizes[path]
    if paths:
        yield paths
