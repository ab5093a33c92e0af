"""How much of the disk directories take, and how much would be free without them.

Owns the counting.  Must not know what a bubble is.

Files of a bubble may be links to those of uv's cache, of another bubble or of a
copy: an inode is counted once, however many names it has, and is free only when
the last of them is gone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Taken", "in_words", "measure", "measure_files", "together"]

# The unit of ``st_blocks`` (POSIX leaves it open; it is this on every system with a CPython).
_BLOCK = 512


@dataclass
class Taken:
    """What some directories take of the disk.

    Attributes:
        inodes: by device and number: its bytes, its names in all, and its names in here.
    """

    inodes: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes on the disk, each inode once."""
        return sum(size for size, _, _ in self.inodes.values())

    @property
    def freed(self) -> int:
        """The bytes that would be free if all of it were deleted."""
        return sum(size for size, names, here in self.inodes.values() if here >= names)

    def add(self, status: os.stat_result, names: int = 1) -> None:
        """Count a file or directory that has so many names here."""
        key = (status.st_dev, status.st_ino)
        size = getattr(status, "st_blocks", -(-status.st_size // _BLOCK)) * _BLOCK
        _, _, before = self.inodes.get(key, (0, 0, 0))
        self.inodes[key] = (size, status.st_nlink, before + names)


def measure(*directories: Path) -> Taken:
    """Return what directories take, with all below them; what vanishes meanwhile is left out."""
    taken = Taken()
    pending = [os.fspath(directory) for directory in directories]
    while pending:
        directory = pending.pop()
        try:
            # A directory has as many names as subdirectories, and two more: it is one all the same.
            status = os.lstat(directory)
            taken.add(status, names=status.st_nlink)
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        taken.add(entry.stat(follow_symlinks=False))
        except OSError:
            continue
    return taken


def measure_files(*files: Path) -> Taken:
    """Return what single files take; what vanishes meanwhile is left out."""
    taken = Taken()
    for file in files:
        with suppress(OSError):
            taken.add(file.lstat())
    return taken


def together(parts: Iterable[Taken]) -> Taken:
    """Return what several take together, each inode once."""
    whole = Taken()
    for part in parts:
        for key, (size, names, here) in part.inodes.items():
            _, _, before = whole.inodes.get(key, (0, 0, 0))
            whole.inodes[key] = (size, names, before + here)
    return whole


def in_words(number: int) -> str:
    """Return a number of bytes as people write it, in powers of 1000."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{number} B" if unit == "B" else f"{value:.1f} {unit}"
