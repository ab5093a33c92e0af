"""What is on its way out of a store: under a hidden name first, and then deleted.

Owns that name, and the deletion.  Must not know what is thrown away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TRASH", "discard"]

#: The first part of the hidden name that a bubble gets while it is deleted.
TRASH = ".trash-"


def discard(path: Path) -> None:
    """Delete a hidden directory; what cannot be deleted now stays hidden and is swept later."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
