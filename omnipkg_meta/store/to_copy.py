"""Commands that stand in messages, for people to copy into a shell.

Owns how they are written.  Must not know what they do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from omnipkg_meta import config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omnipkg_meta.store.store import Store

__all__ = ["command_line"]


def command_line(command: str, arguments: Iterable[str], store: Store) -> str:
    """Return the shell command that does *command* in *store*, for people to copy."""
    words = [f"omnipkg-meta {command}", *map(_quote, arguments)]
    if store.path != config.store_path():
        words.append(f"--store {_quote(str(store.path))}")
    return " ".join(words)


def _quote(text: str) -> str:
    # shlex.quote leaves "==" and "[" alone or not by its own taste; people copy quotes more safely.
    if re.fullmatch(r"[\w./+-]+", text, re.ASCII):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"
