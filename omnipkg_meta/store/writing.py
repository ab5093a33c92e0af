"""What it means that the store cannot be written.

Owns the error for it, and which error numbers mean it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from omnipkg_meta.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NO_ROOM", "unwritable"]

#: What a system answers where nothing more can be written, whoever asks.
NO_ROOM = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "EMFILE", "ENFILE")
    if hasattr(errno, name)
)


def unwritable(path: Path, error: OSError) -> StoreError:
    """Make the error for a store that cannot be written."""
    from omnipkg_meta import config

    no_room = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG)
    return StoreError(
        "the store has no room" if no_room else "the store cannot be written",
        cause=f"{error.strerror}: {path}",
        tip=f"free some space, or set {config.STORE} to a directory on another disk"
        if no_room
        else f"set {config.STORE} to a directory of your own",
        path=path,
        errno=error.errno,
    )
