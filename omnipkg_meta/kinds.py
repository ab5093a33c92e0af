"""What a source file is to the question who asks: the user's own, main's, a bubble's, or nobody's.

This file must not know how the asking code is found, nor the rules.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import sys
from operator import attrgetter
from typing import TYPE_CHECKING

from omnipkg_meta import declared
from omnipkg_meta.realm import CLAIMED, MAIN, realm_of_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

__all__ = [
    "BACKPORTS",
    "KINDS",
    "STAND_INS",
    "Kind",
    "act_for_callers",
    "forget",
    "kind_of",
    "qualname_of",
]

_OUR_DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.path.abspath(os.__file__)), "")
_SITE_DIRECTORIES = ("site-packages" + os.sep, "dist-packages" + os.sep)
#: Backports of the standard library are as transparent as what they stand for:
#: ``get_type_hints`` looks up the module of a class for whoever calls it, and one copy
#: may serve all realms.
BACKPORTS = (os.sep + "typing_extensions.py",)


class Kind(enum.IntEnum):
    """What a source file is to the question who asks."""

    USER = 0  #: the user's own code: no distribution of main installed it
    INSTALLED = 1  #: code of a distribution installed in main
    NAMESAKE = 2  #: the user's own code whose path names what is claimed: its own package, maybe
    TRANSPARENT = 3  #: the standard library and the import system act for their caller
    OURS = 4  #: this library, the same, but for its own import statements
    METADATA = 5  #: ``importlib.metadata`` and its backport
    LOADER = 6  #: ``importlib._bootstrap_external``, in which extension modules load
    LAZY = 7  #: ``importlib.util``, whose lazy modules load when they are touched
    BUBBLE = 8  #: a file of a bubble, whoever loaded it (an import hook of others, say)


#: Functions that somebody has put into the standard library: the qualified name of their code
#: to the names of the modules that hold it.  They are as transparent as the library's own, in
#: whatever version of their package, but for their own import statements.
STAND_INS: dict[str, set[str]] = {}

#: What the code of a function is called.
qualname_of: Callable[[CodeType], str] = attrgetter(
    "co_qualname" if sys.version_info >= (3, 11) else "co_name"
)

#: Files of main's whose functions act for their callers, as the standard library's do.
_HELPING: set[str] = set()

#: Code file name to its kind.
KINDS: dict[str, Kind] = {}


def forget() -> None:
    """Drop what was found out; the answers change with realms and with what main holds."""
    KINDS.clear()
    declared.forget()


def act_for_callers(file: str) -> None:
    """Take the functions of a file of main's for what they are: helpers of whoever calls them.

    Their imports are answered as if the caller made them, and not as those of the
    distribution that the file belongs to.
    """
    _HELPING.add(file)
    KINDS.pop(file, None)


def kind_of(file: str) -> Kind:
    """Return what a code object's file is."""
    try:
        return KINDS[file]
    except KeyError:
        kind = KINDS[file] = _classify(file)
        return kind


def _classify(file: str) -> Kind:  # noqa: PLR0911  # one line a kind
    if file in ("<frozen importlib.util>", importlib.util.__file__):
        return Kind.LAZY
    if file.startswith("<frozen "):
        return Kind.LOADER if file == "<frozen importlib._bootstrap_external>" else Kind.TRANSPARENT
    if file.startswith(_OUR_DIRECTORY):
        return Kind.OURS
    if file.startswith(_STANDARD_LIBRARY) and not file.startswith(
        _SITE_DIRECTORIES, len(_STANDARD_LIBRARY)
    ):
        return Kind.METADATA if "metadata" in file and "importlib" in file else Kind.TRANSPARENT
    if file in _HELPING:
        return Kind.TRANSPARENT
    is_bubbles = realm_of_file(file) is not MAIN
    if file.endswith(BACKPORTS) and (is_bubbles or _is_installed(file)):
        return Kind.TRANSPARENT
    if is_bubbles:
        return Kind.BUBBLE
    if f"{os.sep}importlib_metadata{os.sep}" in file:
        return Kind.METADATA
    if _is_installed(file):
        return Kind.INSTALLED
    parts = os.path.splitext(file)[0].split(os.sep)
    return Kind.USER if CLAIMED.isdisjoint(parts) else Kind.NAMESAKE


def _is_installed(file: str) -> bool:
    return os.path.isabs(file) and declared.distribution_of(file) is not None
