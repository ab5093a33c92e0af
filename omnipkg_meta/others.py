"""The other finders on ``sys.meta_path`` than ours, and how they are asked.

A finder of PEP 451 has ``find_spec``; one of PEP 302 has ``find_module`` only, and
is asked for that before Python 3.12 (``_find_spec`` in ``Lib/importlib/_bootstrap.py``).

This file must not know of realms.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta import meta_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["ask", "ask_all"]

_LEGACY = sys.version_info < (3, 12)


def ask(
    finder: Any, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Ask one finder for a module."""
    find = getattr(finder, "find_spec", None)
    if find is not None:
        spec: ModuleSpec | None = find(name, path, target)
        return spec
    find = getattr(finder, "find_module", None) if _LEGACY else None
    loader = None if find is None else find(name, path)
    return None if loader is None else importlib.util.spec_from_loader(name, loader)


def ask_all(
    name: str, path: Sequence[str] | None, target: ModuleType | None = None
) -> ModuleSpec | None:
    """Ask each of main's finders in turn."""
    for finder in meta_path.of_main():
        spec = ask(finder, name, path, target)
        if spec is not None:
            return spec
    return None
