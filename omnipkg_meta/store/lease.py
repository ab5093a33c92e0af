"""Leases: who uses a bubble, as the kernel knows it.

Owns the lock that a program holds on each bubble that it has entered, the lock
that whoever removes a bubble has to get first, and the day of a bubble's last
use.  Must not know what is in a bubble, nor how it is found, loaded or deleted.

The lock is ``flock`` on the bubble's manifest: shared for those who use it,
exclusive for who removes it.  No file is made for it, so nothing can be left
behind, and a store that cannot be written can be used.  ``flock`` belongs to the
open file and not to the process (``fs/locks.c``): a forked child, which goes on
with the same modules, holds it too; a program that is executed does not, since
Python opens files with ``O_CLOEXEC`` (PEP 446); and the kernel releases it when
the last that holds it is gone, however it ended.  A regular file, and not the
directory, since over NFS only the locks of files are seen by other machines.

The last use is the modification time of the bubble's directory, which nothing
else changes: a bubble's entries are made once.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.errors import (
    BubbleInUseError,
    BubbleInvalidError,
    LeaseWarning,
    StoreError,
    redact,
)

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["User", "exclusive", "hold", "in_use", "last_used", "removed", "shared", "users"]

_MANIFEST = "manifest.json"
_DAY = 24 * 60 * 60.0

# Seconds to wait for a lock that is held against us.  Who removes a bubble holds it for a
# rename; who looks whether it is in use, for less.
_TO_USE = 5.0
_TO_REMOVE = 0.1

# What file systems that know no locks answer.
_NO_LOCKS = frozenset(
    # The last is NFS's, for an exclusive lock on a file that may not be written.
    {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
)

#: The descriptors of this process's leases, by the bubble's directory.  Never closed: a realm
#: is loaded once and kept.
_held: dict[str, int] = {}
_said = False


class User(NamedTuple):
    """A process that holds a lease on a bubble, and how it was started."""

    pid: int
    command: str

    def __str__(self) -> str:
        what = f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"
        return f"this {what}" if self.pid == os.getpid() else what


def hold(path: Path) -> None:
    """Hold a lease on the bubble at *path* for as long as this process lives.

    A second call for the same bubble does nothing.

    Raises:
        BubbleInvalidError: it was removed meanwhile, or is being removed.
    """
    key = str(path)
    if key in _held and _is(_held[key], path):
        return
    # One that was there before is of a bubble that was removed by force. It stays open: a program
    # that has closed all its descriptors may use that number for something else by now.
    _held[key] = _shared(path)
    _note_use(path)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lease for a while, so that nobody removes the bubble meanwhile but by force.

    Raises:
        BubbleInvalidError: it was removed, or is being removed; also by force, in the block,
            where that made something fail.
    """
    descriptor = _shared(path)
    try:
        yield
    except FileNotFoundError:
        if not _is(descriptor, path):
            raise removed(path) from None
        raise
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: Path, *, force: bool = False) -> Iterator[None]:
    """Keep everybody else out of a bubble for the moment in which it is taken away.

    A bubble without a manifest cannot be entered, and is nobody's.

    Args:
        path: the bubble's directory.
        force: whether to go on without the lock.

    Raises:
        FileNotFoundError: it is gone.
        BubbleInUseError: somebody uses it.
        StoreError: nothing says whether somebody does.
    """
    while True:
        before = path.stat()
        descriptor = _open(path, os.O_RDWR)
        if descriptor is None:
            if os.path.samestat(before, path.stat()):
                yield
                return
            continue
        got = _lock(descriptor, shared=False, patience=0.0 if force else _TO_REMOVE)
        # Made afresh since it was opened: it is the new one that is about to go, and that
        # somebody may use.
        if force or _is(descriptor, path):
            break
        os.close(descriptor)
    try:
        if got is None and not force:
            raise StoreError(
                f"the bubble {path.name} may be in use",
                cause=f"the file system of {path.parent} knows no locks, so nobody can tell",
                tip=f"see that no program uses it, then: omnipkg-meta remove --force {path.name}",
                path=path,
                errno=errno.ENOLCK,
            )
        if got is False and not force:
            raise _in_use(path)
        yield
    finally:
        os.close(descriptor)


def in_use(path: Path) -> bool | None:
    """Say whether somebody uses the bubble at *path*; None where nothing can tell."""
    descriptor = _open(path, os.O_RDWR)
    if descriptor is None:
        return False
    try:
        got = _lock(descriptor, shared=False, patience=0.0)
        return None if got is None else not got
    finally:
        os.close(descriptor)


def last_used(path: Path) -> float:
    """Return when the bubble was last entered by a program that had not entered it before.

    Exact to a day.  For one that was never used, when it was made.

    Returns:
        Seconds since 1970.

    Raises:
        OSError: it is gone.
    """
    return path.stat().st_mtime


def users(path: Path) -> list[User]:
    """Return the processes that hold a lease on the bubble at *path*, as far as they can be seen.

    Linux only; elsewhere, and for processes of another container, the list is empty.
    """
    try:
        wanted = (path / _MANIFEST).stat()
    except OSError:
        return []
    pids = {pid for pid in _processes() if _holds(pid, wanted)}
    # The descriptors of other people's processes cannot be read, but the kernel's list can; it
    # knows who took a lock, and not who inherited it.
    pids |= _in_kernel_list(wanted)
    return [User(pid, _command(pid)) for pid in sorted(pids)]


def _shared(path: Path) -> int:
    descriptor = _open(path, os.O_RDONLY)
    if descriptor is not None:
        got = _lock(descriptor, shared=True, patience=_TO_USE)
        if got is None:
            _say_no_locks(path)
        if got is not False and _is(descriptor, path):
            return descriptor
        os.close(descriptor)
    raise removed(path)


def removed(path: Path) -> BubbleInvalidError:
    """Make the error for a bubble that was there a moment ago."""
    why = "it is being removed by another program"
    return BubbleInvalidError(
        f"the bubble {path.name} cannot be used",
        cause=why,
        tip="install it again",
        path=path,
        problems=(why,),
    )


def _open(path: Path, mode: int) -> int | None:
    file = path / _MANIFEST
    try:
        return os.open(file, mode)
    except FileNotFoundError:
        return None
    except OSError:
        if mode == os.O_RDONLY:
            return None
    return _open(path, os.O_RDONLY)  # locally an exclusive lock needs no right to write


def _lock(descriptor: int, *, shared: bool, patience: float) -> bool | None:
    """Lock a file: True, False if others hold it, None where locks do not work."""
    if sys.platform == "win32":
        return True  # an open file keeps its directory from being renamed
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    pause, until = 0.001, time.monotonic() + patience
    while (got := _try(descriptor, kind)) is False and time.monotonic() + pause < until:
        time.sleep(pause)
        pause *= 2
    return got


def _try(descriptor: int, kind: int) -> bool | None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Say whether a descriptor is still that of the bubble's manifest."""
    try:
        return os.path.samestat(os.fstat(descriptor), (path / _MANIFEST).stat())
    except OSError:
        return False


def _note_use(path: Path) -> None:
    # What cannot be written down (a store of root's, a mount that is read-only) is not.
    with suppress(OSError):
        now = time.time()
        if now - path.stat().st_mtime > _DAY:
            os.utime(path, (now, now))


def _say_no_locks(path: Path) -> None:
    global _said  # noqa: PLW0603
    if not _said:
        _said = True
        warnings.warn(
            f"the file system of {path.parent} knows no locks, so nothing keeps a bubble there "
            "from being removed while it is in use",
            LeaseWarning,
            stacklevel=2,
        )


def _in_use(path: Path) -> BubbleInUseError:
    found = users(path)
    by = ", ".join(map(str, found)) or "a program that cannot be seen from here"
    return BubbleInUseError(
        f"the bubble {path.name} is in use",
        cause=f"it is used by {by}",
        tip=f"end that first, or take it away under it: omnipkg-meta remove --force {path.name}",
        path=path,
        errno=errno.EBUSY,
        users=found,
    )


def _processes() -> Iterator[int]:
    try:
        entries = os.listdir("/proc")  # noqa: PTH208
    except OSError:
        return
    yield from (int(name) for name in entries if name.isdecimal())


def _holds(pid: int, wanted: os.stat_result) -> bool:
    """Say whether a process has the file open, with a lock on it (``/proc/<pid>/fdinfo``)."""
    directory = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(directory)  # noqa: PTH208
    except OSError:
        return False
    for number in descriptors:
        with suppress(OSError):
            # The name first: to look at the file itself can wait for a server that is away.
            if not os.readlink(f"{directory}/{number}").endswith(_MANIFEST):  # noqa: PTH115
                continue
            if not os.path.samestat(os.stat(f"{directory}/{number}"), wanted):  # noqa: PTH116
                continue
            if "FLOCK" in Path(f"/proc/{pid}/fdinfo/{number}").read_text("utf-8"):
                return True
    return False


def _in_kernel_list(wanted: os.stat_result) -> set[int]:
    device = f"{os.major(wanted.st_dev):02x}:{os.minor(wanted.st_dev):02x}:{wanted.st_ino}"
    found = set()
    with suppress(OSError):
        for line in Path("/proc/locks").read_text("utf-8").splitlines():
            # 1: FLOCK  ADVISORY  READ 1234 fe:01:5678 0 EOF (those that wait have one word more)
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == device:
                pid = int(words[4])
                if pid > 0:  # not of another process namespace
                    found.add(pid)
    return {pid for pid in found if os.path.exists(f"/proc/{pid}")}  # noqa: PTH110


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    text = " ".join(word.decode("utf-8", "replace") for word in words).strip()
    text = redact("".join(letter if letter.isprintable() else " " for letter in text))
    return text if len(text) <= 200 else text[:197] + "..."
