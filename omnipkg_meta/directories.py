"""The spec of a module that lies in a directory of a bubble, found with less work than usual.

``FileFinder.find_spec`` (``Lib/importlib/_bootstrap_external.py``) joins a path for each
suffix that a module may have and then looks whether its listing of the directory has it;
that takes longer than all that this library does for a module.  Nearly all modules of a
bubble lie in the first directory that is looked into.  For these the answer is read off
what the ``FileFinder`` of that directory knows: its listing, as long as the directory has
not changed since, and its loaders, in its order.

Whatever else there is (a package without ``__init__``, a directory that was not listed
yet, another kind of path entry finder, a system whose file names have no case, somebody's
own function in the place of importlib's) is left to ``PathFinder``: :func:`find` returns
None then, which says nothing about the module.

The hack: attributes of ``FileFinder`` are read that are importlib's own.  The proof at run
time is :func:`prove`; nothing is changed, so there is nothing to undo.

This file must not know of realms.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import FileFinder, PathFinder
from importlib.util import spec_from_file_location
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

__all__ = ["find", "prove"]

_finders = sys.path_importer_cache
_stat, _isfile, _separator = os.stat, os.path.isfile, os.sep
_AS_FOUND = FileFinder.find_spec, PathFinder.find_spec
_type: Any = FileFinder
#: ``_CASE_INSENSITIVE_PLATFORMS``: there a second, relaxed listing may count.
_HAS_CASE = not sys.platform.startswith(("win", "cygwin", "darwin", "ios", "tvos", "watchos"))

#: Whether importlib works as this file takes it to; it is not known before :func:`prove`.
_proved: bool | None = None


def find(name: str, entries: Sequence[str]) -> ModuleSpec | None:
    """Find a module in the first of some directories.

    Args:
        name: its full name.
        entries: the path that is searched.

    Returns:
        The spec that ``PathFinder.find_spec(name, entries)`` would give; None where
        ``PathFinder`` has to be asked.
    """
    finder: Any = _finders.get(entries[0]) if _proved and entries else None
    if type(finder) is not _type or not _is_importlibs():
        return None
    directory = finder.path
    try:
        if _stat(directory).st_mtime != finder._path_mtime:
            return None
    except OSError:
        return None
    last = name.rpartition(".")[2]
    listing = finder._path_cache
    place = f"{directory}{_separator}{last}"
    if last in listing:
        for suffix, loader in finder._loaders:
            file = f"{place}{_separator}__init__{suffix}"
            if _isfile(file):
                return spec_from_file_location(
                    name, file, loader=loader(name, file), submodule_search_locations=[place]
                )
    for suffix, loader in finder._loaders:
        if last + suffix in listing and _isfile(file := place + suffix):
            return spec_from_file_location(
                name, file, loader=loader(name, file), submodule_search_locations=None
            )
    return None


def _is_importlibs() -> bool:
    """Tell whether both finders search as they did when this library was imported."""
    return (FileFinder.find_spec, PathFinder.find_spec) == _AS_FOUND


def prove() -> None:
    """See whether a package and a module of the standard library are found as importlib does.

    Where they are not, :func:`find` finds nothing from then on.
    """
    global _proved  # noqa: PLW0603
    if _proved is not None:
        return
    path = list(importlib.__path__)
    parents = [one.rpartition(os.sep)[0] for one in path]
    _proved = _HAS_CASE  # else nothing is found
    _proved = _finds_as_importlib("importlib", parents) and _finds_as_importlib(
        "importlib.util", path
    )


def _finds_as_importlib(name: str, path: list[str]) -> bool:
    theirs = PathFinder.find_spec(name, path)  # and the directory is listed
    try:
        ours = find(name, path)
    except (AttributeError, TypeError, ValueError):
        return False
    return ours is not None and _facts(ours) == _facts(theirs)


def _facts(spec: Any) -> tuple[Any, ...]:
    locations = spec.submodule_search_locations
    return (spec.name, spec.origin, spec.cached, spec.has_location, type(spec.loader), locations)
