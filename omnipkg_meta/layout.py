"""What lies in a directory of packages, as the import system would find it.

Owns the reading of what RECORD does not say: which packages are namespaces (PEP
420, ``pkgutil.extend_path``, ``pkg_resources.declare_namespace``) and which
portions of them a directory holds.

It reads the file system only, and must not know of realms.
"""

from __future__ import annotations

import os
import re
from importlib.machinery import all_suffixes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["declares_namespace", "portions"]

_SUFFIXES = tuple(all_suffixes())
_DECLARATION = re.compile(rb"\b(?:extend_path|declare_namespace)\s*\(\s*__(?:path|name)__")


def declares_namespace(init: str) -> bool:
    """Tell whether the ``__init__`` of a package makes a namespace of it."""
    try:
        with open(init, "rb") as file:
            return _DECLARATION.search(file.read()) is not None
    except OSError:
        return False


def portions(directories: Sequence[str], names: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the namespace packages in directories, each with what lies directly in it.

    Args:
        directories: as ``sys.path`` would list them.
        names: the top-level names to look at.

    Returns:
        the full name of each namespace package, also of those in one another, to
        the names of the modules and packages of its own.
    """
    found: dict[str, frozenset[str]] = {}
    for name in names:
        _look(name, [os.path.join(directory, name) for directory in directories], found)
    return found


def _look(name: str, folders: list[str], found: dict[str, frozenset[str]]) -> bool:
    """Note a package if it is a namespace; tell whether it is anything that can be imported."""
    folders = [folder for folder in folders if os.path.isdir(folder)]
    for folder in folders:
        init = _init(folder)
        if init is not None and not declares_namespace(init):
            return True
    labels: dict[str, list[str]] = {}
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                label, dot, rest = entry.name.partition(".")
                if label.isidentifier() and label not in ("__init__", "__pycache__"):
                    if entry.is_dir():
                        labels.setdefault(entry.name, []).append(entry.path)
                    elif dot + rest in _SUFFIXES:
                        labels[label] = []
    held = frozenset(
        label
        for label, inner in labels.items()
        if not inner or _look(f"{name}.{label}", inner, found)
    )
    if held:
        found[name] = held
    return bool(held)


def _init(folder: str) -> str | None:
    for suffix in _SUFFIXES:
        init = os.path.join(folder, f"__init__{suffix}")
        if os.path.isfile(init):
            return init
    return None
