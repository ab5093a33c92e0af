"""To whom an entry of the table of modules belongs whose name nobody has claimed.

Code of a bubble puts modules into ``sys.modules`` under names that its
distributions do not own: native code makes modules up (TensorFlow's
``pybind11_abseil.status``, by ``PyImport_AddModule``), and Python code puts its
own in the place of others (setuptools its ``distutils``).  A second version of
the package would trip over what the first one left, and main would get it.

This file owns the rule.  It must not know who asks, nor what the table is.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Entry", "belongs", "everybodys", "may_be_taken"]

#: What is one in a process, whoever writes it: the program, and the import system.
_ONE = frozenset(
    {
        *("__main__", "__mp_main__", "builtins", "importlib", "omnipkg_meta", "sys"),
        *(name for name in sys.builtin_module_names if name.startswith("_")),
        *("_frozen_importlib", "_frozen_importlib_external"),
    }
)

#: What Cython's modules share on purpose, whatever package they are of: the types of
#: functions and generators, one module for each version of Cython
#: (``__Pyx_FetchSharedCythonABIModule``), and where its code objects claim to be from.
_CYTHONS = ("_cython_", "cython_runtime")


class Entry(NamedTuple):
    """What a module says of where it is from.

    Attributes:
        file: the file that it was loaded from, if it was.
        found: whether a finder found it; otherwise code made it up.
    """

    file: str | None
    found: bool

    @classmethod
    def of(cls, module: object) -> Entry:
        """Read it off a module, or whatever else stands in the table, without running its code."""
        try:
            namespace = object.__getattribute__(module, "__dict__")
        except AttributeError:
            namespace = {}
        spec = namespace.get("__spec__")
        if type(spec) is ModuleSpec and spec.has_location and spec.loader is not None:
            file = spec.origin  # as nearly all of them are: found, and of a file
            if type(file) is str:
                return cls(file, found=True)
        loader = getattr(spec, "loader", None)
        # A spec without both was written by hand: nothing could have loaded it.
        found = loader is not None or getattr(spec, "submodule_search_locations", None) is not None
        if loader is not None and _brings_its_own(namespace, spec, loader):
            return cls(None, found=False)
        for file in (getattr(spec, "origin", None), namespace.get("__file__")):
            if isinstance(file, str):
                return cls(file, found)
        return cls(None, found)

    @property
    def made_up(self) -> bool:
        """Whether it comes from nowhere: no finder found it, and it is of no file."""
        return self.file is None and not self.found


def _brings_its_own(namespace: Mapping[str, Any], spec: Any, loader: object) -> bool:
    """Tell whether code of a bubble made a module, a loader and all, and no finder was asked.

    PyTorch makes its remote modules so: ``spec_from_loader``, ``module_from_spec``, and
    into the table.  importlib says in the spec that it is loading what a finder found
    (``_load_unlocked``).  And six's loaders hand out the standard library's modules, which
    get the spec of their aliases (``_init_module_attrs``).
    """
    if getattr(spec, "has_location", False) or getattr(spec, "_initializing", False):
        return False
    if "__file__" in namespace or namespace.get("__name__") != getattr(spec, "name", None):
        return False
    return any(
        type(one) is FunctionType and "__realm__" in one.__globals__
        for one in vars(type(loader)).values()
    )


def may_be_taken(name: str) -> bool:
    """Tell whether a realm may have a module of its own under this name."""
    return name.partition(".")[0] not in _ONE and not name.startswith(_CYTHONS)


def everybodys(top: str) -> bool:
    """Tell whether a top-level name is seen in every realm: the standard library, and the like."""
    return top in sys.stdlib_module_names or not may_be_taken(top)


def belongs(name: str, entry: Entry, prefix: tuple[str, ...]) -> bool:
    """Tell whether an entry that a realm's code put into the table belongs to that realm.

    It does if it is from the realm's files, or from nowhere.  What is from another
    place (a module of main or of the standard library, first imported by code of
    the bubble) is everybody's.

    Args:
        name: the full name that it stands under.
        entry: what stands there.
        prefix: what the paths of the realm's files begin with.
    """
    if not may_be_taken(name):
        return False
    return entry.made_up if entry.file is None else entry.file.startswith(prefix)
