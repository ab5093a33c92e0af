"""Where a bubble is while it is built: a hidden directory that the kernel guards.

Owns the making, naming, locking and sweeping of such directories, and the waiting of
those who would build the same bubble.  Must not know what is put into them.

Whether a directory was left behind by a process that was killed is not guessed
from process ids or ages: its owner holds a lock on a file beside it, which the
kernel releases when the last process that has the file open is gone.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from omnipkg_meta.store import trust
from omnipkg_meta.store.trash import TRASH, discard
from omnipkg_meta.store.writing import unwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BUILD", "Staging", "alone", "staging", "sweep", "sync"]

#: The first part of the hidden name of a bubble that is being built.
BUILD = ".build-"
_LOCK = ".lock"
# The first part of the name of the file that says who builds one bubble.
_ALONE = ".only-"


class Staging:
    """A private directory to build in, and the lock that says it is in use.

    Attributes:
        path: the directory; it is on the file system of the store.
        keep_open: the descriptor of the lock; children that inherit it keep the lock.
    """

    __slots__ = ("keep_open", "path")

    def __init__(self, path: Path, keep_open: int) -> None:
        self.path = path
        self.keep_open = keep_open


@contextmanager
def staging(tag_path: Path) -> Iterator[Staging]:
    """Make a private directory beside the bubbles; remove it at the end if it is still there.

    Raises:
        StoreError: the store cannot be written, or somebody else could write into it.
    """
    trust.check(tag_path)
    try:
        # 0o700 is for the user only: bubbles are code that runs in the user's name.
        for directory in (tag_path.parent, tag_path):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path, descriptor = _claim(tag_path)
    except OSError as error:
        raise unwritable(tag_path, error) from None
    lock_file = _lock_of(path)
    try:
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise unwritable(path, error) from None
        yield Staging(path, descriptor)
    finally:
        if path.exists():
            discard(path)
        # While the lock is held: afterwards the name could be another process's.
        with suppress(OSError):
            lock_file.unlink()
        os.close(descriptor)


@contextmanager
def alone(tag_path: Path, bubble_id: str, *, patient: bool = True) -> Iterator[bool]:
    """Wait until nobody else, thread or process, is here with the same bubble.

    Where locks do not work nobody waits: whoever is first to put the bubble in place wins.

    Args:
        tag_path: where the bubbles are.
        bubble_id: the bubble.
        patient: whether to wait.

    Yields:
        Whether nobody else is here, which is so for all who waited.

    Raises:
        OSError: the store cannot be written.
    """
    path = tag_path / f"{_ALONE}{bubble_id}{_LOCK}"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            locked = _wait_for_lock(descriptor) if patient else _try_lock(descriptor)
            taken = not patient and locked is False
            # Whoever was here before has deleted the file; others wait at a new one.
            if taken or not locked or _same_file(descriptor, path):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    try:
        yield not taken
    finally:
        if not taken:
            with suppress(OSError):
                path.unlink()
        if locked:
            # Not by closing alone: a child that was forked meanwhile has the file open, too.
            _unlock(descriptor)
        os.close(descriptor)


def sweep(tag_path: Path) -> int:
    """Delete what killed processes have left behind; return how many files and directories."""
    return sum(_sweep_one(path, delete=True) for path in _hidden(tag_path))


def stale(tag_path: Path) -> list[Path]:
    """Return what :func:`sweep` would delete."""
    return [path for path in _hidden(tag_path) if _sweep_one(path, delete=False)]


def _hidden(tag_path: Path) -> list[Path]:
    """Return the directories, and the locks of those that have none, which may be left behind."""
    try:
        with os.scandir(tag_path) as entries:
            names = {one.name for one in entries}
    except OSError:
        return []
    found = [name for name in names if name.startswith((TRASH, BUILD)) and name[-5:] != _LOCK]
    locks = [name for name in names if name.startswith((BUILD, _ALONE)) and name[-5:] == _LOCK]
    found += [name for name in locks if name.removesuffix(_LOCK) not in names]
    return sorted(tag_path / name for name in found)


def sync(path: Path) -> None:
    """Make a file, or the list of a directory's entries, survive a loss of power.

    Raises:
        OSError: it cannot be written after all: the disk is full, or broken.
    """
    if sys.platform == "win32":
        return  # there a directory cannot be opened, and a file not be flushed by a reader
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # mounts that cannot do that
            raise
    finally:
        os.close(descriptor)


def _claim(tag_path: Path) -> tuple[Path, int]:
    while True:
        path = tag_path / f"{BUILD}{os.urandom(8).hex()}"
        descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # A sweeper may have taken the lock, and deleted the file, since it was made.
        if _try_lock(descriptor) is not False and _same_file(descriptor, _lock_of(path)):
            return path, descriptor
        os.close(descriptor)


def _sweep_one(path: Path, *, delete: bool) -> bool:
    """Say whether a hidden file or directory is nobody's, and delete it if it is to be deleted."""
    lock_file = path if path.name.endswith(_LOCK) else _lock_of(path)
    if path.name.startswith(TRASH):
        if delete:
            discard(path)
        return True
    try:
        descriptor = os.open(lock_file, os.O_RDWR)
    except FileNotFoundError:
        # An owner makes the lock first and takes it away last: nobody owns this one.
        found = path.exists()
        if delete:
            discard(path)
        return found
    except OSError:
        return False
    try:
        # None: locks do not work here, so nothing says that the owner is gone.
        if _try_lock(descriptor) is not True or not _same_file(descriptor, lock_file):
            return False
        if delete:
            if path != lock_file:
                discard(path)
            if path == lock_file or not path.exists():
                with suppress(OSError):
                    lock_file.unlink()
        return True
    finally:
        os.close(descriptor)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + _LOCK)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _try_lock(descriptor: int) -> bool | None:
    """Lock a file without waiting: True, False if it is taken, None where locks do not work."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # flock and not lockf: it belongs to the open file, so children share it, and
            # closing another descriptor of the same file does not drop it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _wait_for_lock(descriptor: int) -> bool:
    """Lock a file as soon as it is free; False where locks do not work."""
    if sys.platform == "win32":
        import time

        while (locked := _try_lock(descriptor)) is False:
            time.sleep(0.1)  # there is no lock to wait for that an interrupt would end
        return locked is True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
