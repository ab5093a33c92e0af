"""What lies in a directory of packages, as the import system would find it.

Owns the reading of what RECORD does not say: which packages are namespaces (PEP
420, ``pkgutil.extend_path``, ``pkg_resources.declare_namespace``) and which
portions of them a directory holds, and which directories its ``.pth`` files add.

It reads the file system only, and must not know of realms.
"""

from __future__ import annotations

import os
import re
from importlib.machinery import EXTENSION_SUFFIXES, all_suffixes
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "SearchPath",
    "declares_namespace",
    "enclosing",
    "modules_in",
    "portions",
    "search_path",
]

_T = TypeVar("_T")

_SUFFIXES = tuple(all_suffixes())
#: setuptools' own: its finder answers for ``distutils`` (``_distutils_hack.add_shim``).
PRECEDENCE = "distutils-precedence.pth"
_DECLARATION = re.compile(rb"\b(?:extend_path|declare_namespace)\s*\(\s*__(?:path|name)__")
#: One of the words in it.  To look for words takes a hundredth of the time.
_DECLARES = (b"extend_path", b"declare_namespace")


def declares_namespace(init: str) -> bool:
    """Tell whether the ``__init__`` of a package makes a namespace of it."""
    try:
        with open(init, "rb") as file:
            text = file.read()
    except OSError:
        return False
    return any(word in text for word in _DECLARES) and _DECLARATION.search(text) is not None


class SearchPath(NamedTuple):
    """Where the modules of a bubble are found.

    Attributes:
        directories: as ``sys.path`` would list them.
        refused: lines of ``.pth`` files that were not followed, each with its file's name.
        startup: lines to be executed before the bubble's own finders are asked.
    """

    directories: list[str]
    refused: list[str]
    startup: list[str]


def search_path(site_packages: str) -> SearchPath:
    """Return a directory, and those in it that its ``.pth`` files name (``site.addpackage``).

    A line that leads outside is refused.  So is one that ``site`` would execute: it
    is meant for the start of an interpreter, and would change main.  Those that
    setuptools writes are known: a namespace package is one without them
    (``-nspkg.pth``); and what gives it ``distutils`` adds a finder and no more.
    """
    found = SearchPath([site_packages], [], [])
    inside = os.path.join(os.path.realpath(site_packages), "")
    for name in sorted(os.listdir(site_packages)):
        if not name.endswith(".pth") or name.startswith("."):
            continue
        with open(
            os.path.join(site_packages, name), encoding="utf-8-sig", errors="replace"
        ) as file:
            lines = file.read().splitlines()
        for line in map(str.rstrip, lines):
            if not line or line.startswith("#"):
                continue
            directory = os.path.normpath(os.path.join(site_packages, line))
            if line.startswith(("import ", "import\t")):
                if name == PRECEDENCE:
                    found.startup.append(line)
                elif not name.endswith("-nspkg.pth"):
                    found.refused.append(f"{name}: {line[:60]}")
            elif not os.path.join(os.path.realpath(directory), "").startswith(inside):
                found.refused.append(f"{name}: {line[:60]}")
            elif os.path.isdir(directory) and directory not in found.directories:
                found.directories.append(directory)
    return found


def modules_in(directory: str) -> list[str]:
    """Return the top-level names of what can be imported from a directory."""
    found: dict[str, frozenset[str]] = {}
    labels = _labels([directory])
    return [label for label, inner in labels.items() if not inner or _look(label, inner, found)]


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
    held = frozenset(
        label
        for label, inner in _labels(folders).items()
        if not inner or _look(f"{name}.{label}", inner, found)
    )
    if held:
        found[name] = held
    return bool(held)


def _labels(folders: list[str]) -> dict[str, list[str]]:
    """Return the names of modules in folders, each with its folders; a file has none."""
    labels: dict[str, list[str]] = {}
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                label, dot, rest = entry.name.partition(".")
                # Native code imports by strings, also what no import statement could name.
                if not (label.isidentifier() or dot + rest in EXTENSION_SUFFIXES):
                    continue
                if label in ("__init__", "__pycache__"):
                    continue
                if not entry.is_dir():
                    if dot + rest in _SUFFIXES:
                        labels[label] = []
                elif not dot and labels.get(label) != []:
                    labels.setdefault(label, []).append(entry.path)
    return labels


def _init(folder: str) -> str | None:
    for suffix in _SUFFIXES:
        init = os.path.join(folder, f"__init__{suffix}")
        if os.path.isfile(init):
            return init
    return None


def enclosing(directories: Mapping[str, _T], file: str) -> _T | None:
    """Return what is known of the innermost of these directories that a file lies in.

    It takes as long with thousands of directories as with one.

    Args:
        directories: by their paths, each with a separator at the end.
        file: the file, or a directory that is given with its separator.
    """
    end = len(file)
    while (end := file.rfind(os.sep, 0, end)) > 0:
        found = directories.get(file[: end + 1])
        if found is not None:
            return found
    return None
