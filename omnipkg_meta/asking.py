"""Who asks: the code on whose behalf an import, or a look-up, is made.

It is the nearest Python frame that is neither the import system, nor this
library, nor the standard library, nor a function that somebody has put in the place
of one of the standard library's, nor code run in a bare namespace; unless
native code stands nearer (:mod:`omnipkg_meta.native_stack`), or an extension
module is being initialised, which has no frame at all.  Where there is none, it is
whoever started the thread.

This file must not know the rules, nor how an import is intercepted.
"""

from __future__ import annotations

import os
import sys
from dis import opmap
from importlib.machinery import ExtensionFileLoader
from threading import get_ident
from types import BuiltinFunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta import kinds, native_stack
from omnipkg_meta.import_calls import calls_import
from omnipkg_meta.interpreter_state import ENTRY
from omnipkg_meta.kinds import KINDS, STAND_INS, Kind, kind_of, qualname_of
from omnipkg_meta.path_entries import main_path
from omnipkg_meta.realm import CLAIMED, MAIN, Realm, providers, realm_of_file

if TYPE_CHECKING:
    from types import FrameType

__all__ = [
    "IMPORT_NAME",
    "STARTERS",
    "Asker",
    "forget",
    "has_identity",
    "imports",
    "instruction",
    "who",
]

#: The instruction that imports on behalf of the frame that executes it
#: (``import_name`` in ``Python/ceval.c``).  Not ``IMPORT_FROM``: that one looks
#: for an attribute, which native code may answer by an import of its own.
IMPORT_NAME = opmap["IMPORT_NAME"]
_EXTENDED_ARG = opmap["EXTENDED_ARG"]

#: Instructions that touch a name, and so load what a lazy import left for later.
#: Native code never imports within them: a Python ``__getattr__`` has a frame.
_TOUCHES = (
    frozenset(
        opmap[name]
        for name in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_FROM_DICT_OR_GLOBALS")
    )
    if sys.version_info >= (3, 15)
    else frozenset()
)

#: Threads that code of a realm started (:mod:`omnipkg_meta.started`), by their identifiers.
STARTERS: dict[int, Realm] = {}

# Asked for at each step of each walk: a global is found faster than a member.
_TRANSPARENT, _OURS, _BUBBLE, _NAMESAKE = (
    Kind.TRANSPARENT,
    Kind.OURS,
    Kind.BUBBLE,
    Kind.NAMESAKE,
)


class Asker(NamedTuple):
    """Who asks.

    Attributes:
        home: the realm in which the asking code was loaded; None for code of main.
        module: the full name of the asking module; empty where nobody asks
            (a call from C without any Python frame).
        file: the file of the asking code.
        frame: the frame that was found to ask, if any.
        native: whether somebody else asks than the code of that frame.
        late: whether the import statement stands elsewhere, and was lazy (PEP 810).
    """

    home: Realm | None
    module: str
    file: str
    frame: FrameType | None
    native: bool = False
    late: bool = False


def forget() -> None:
    """Drop what was found out; the answers change with realms and with what main holds."""
    kinds.forget()
    _native_askers.clear()


_new = tuple.__new__
_kind_seen = KINDS.get


def who(frame: FrameType | None) -> Asker:  # noqa: C901, PLR0912  # the walk is one thought
    """Find out who asks.

    Args:
        frame: the nearest frame outside the code that intercepted the look-up.
    """
    passed_attributes = False
    inner = ""
    made_up: list[dict[str, Any]] = []
    home: Realm | None = None
    stand_in: FrameType | None = None
    while frame is not None:
        code = frame.f_code
        kind = _kind_seen(code.co_filename)
        if kind is _TRANSPARENT:
            # ``from package import name`` looks for an attribute first, and a
            # compiled package may have a native ``__getattr__`` that imports.
            function = code.co_name
            if function == "_handle_fromlist" and inner != "_call_with_frames_removed":
                passed_attributes = True
            inner = function
            frame = frame.f_back
            continue
        namespace = frame.f_globals
        if STAND_INS and _is_stand_in(frame):
            stand_in = stand_in or frame
            frame = frame.f_back
            continue
        home = namespace.get("__realm__")
        if home is not None:
            break
        if kind is None:
            kind_of(code.co_filename)
            continue
        if kind is _OURS and imports(frame):
            return Asker(None, "omnipkg_meta", code.co_filename, frame)
        if kind is _BUBBLE:
            home = realm_of_file(code.co_filename)
            break
        if kind <= _NAMESAKE and "__name__" in namespace:
            if _replaces_import(frame):
                pass  # it acts for the import statement: look further out
            elif code.co_name != "<module>" or has_identity(namespace):
                break
            else:
                made_up.append(namespace)
        speaks_for = _SPEAKERS.get(kind)
        if speaks_for is not None and (asker := speaks_for(frame)):
            return asker
        frame = frame.f_back
    if frame is None and stand_in is not None:
        # None but the standard library called it (a thread that begins in it, say).
        frame, home = stand_in, stand_in.f_globals.get("__realm__")
    if home is not None:
        # A module that code of a bubble makes of a text (a template engine does)
        # is code of that bubble: its functions are at home there later, too.
        for namespace in made_up:
            namespace["__realm__"] = home
    if frame is None:
        return _native(None) or Asker(STARTERS.get(get_ident()), "", "", None)
    return _asker_in(frame, home, passed_attributes)


def _asker_in(frame: FrameType, home: Realm | None, passed_attributes: bool) -> Asker:
    """Return who asks, where the code of a frame does, or native code that it called."""
    namespace = frame.f_globals
    if frame.f_code is ENTRY:
        return Asker(home, _module_name(namespace), namespace["__file__"], frame, native=True)
    executing = instruction(frame)
    direct = executing == IMPORT_NAME or calls_import(frame)
    if (passed_attributes or not direct) and (asker := _native(frame)):
        return asker
    late = home is None and executing in _TOUCHES
    # Without the keywords and defaults of ``Asker``, which cost more than the walk.
    return _new(
        Asker, (home, _module_name(namespace), frame.f_code.co_filename, frame, False, late)
    )


def _is_stand_in(frame: FrameType) -> bool:
    """Tell whether a frame is that of a function in the standard library, and imports nothing."""
    modules = STAND_INS.get(qualname_of(frame.f_code))
    if modules is None or frame.f_globals.get("__name__") not in modules:
        return False
    return not imports(frame)


def _replaces_import(frame: FrameType) -> bool:
    """Tell whether a frame is part of somebody's replacement of ``builtins.__import__``.

    An import instruction called it, through the standard library perhaps (``mock``).
    """
    if isinstance(frame.f_builtins.get("__import__"), BuiltinFunctionType):
        return False
    back = frame.f_back
    while back is not None and not imports(back):
        file = back.f_code.co_filename
        if kind_of(file) is not Kind.TRANSPARENT or file.startswith("<frozen importlib"):
            return False
        back = back.f_back
    return back is not None


def has_identity(namespace: dict[str, Any]) -> bool:
    """Tell whether a namespace is that of an imported module or of a program.

    Otherwise its text was made into a module by whoever executes it now, as
    template engines do.
    """
    return (
        namespace.get("__loader__") is not None
        or "__file__" in namespace
        or namespace["__name__"] == "__main__"
    )


def imports(frame: FrameType) -> bool:
    """Tell whether a frame is executing an import instruction, or a call that is as good."""
    return instruction(frame) == IMPORT_NAME or calls_import(frame)


def instruction(frame: FrameType) -> int:
    """Return the instruction that a frame is executing; -1 if it has not begun."""
    instructions = frame.f_code.co_code
    index = frame.f_lasti
    if index < 0:
        return -1
    # Up to 3.10 ``f_lasti`` names the first EXTENDED_ARG of an instruction.
    while instructions[index] == _EXTENDED_ARG:
        index += 2
    return instructions[index]


def _module_name(namespace: dict[str, Any]) -> str:
    name = namespace.get("__name__")
    if name == "__main__" and (spec := namespace.get("__spec__")) is not None:
        name = getattr(spec, "name", name)
    return name if isinstance(name, str) else ""


def _loading(frame: FrameType) -> Asker | None:
    """Return the extension module that is being initialised in a frame of its loader.

    Or the side whose namespace package it is, where its path looks for its parent
    (``_NamespacePath``), whoever reads that path.
    """
    if frame.f_code.co_name == "_get_parent_path":
        first = os.path.join(next(iter(frame.f_locals["self"]._path), ""), "")
        home = realm_of_file(first)
        return Asker(None if home is MAIN else home, "omnipkg_meta", "", frame, native=True)
    if frame.f_code.co_name not in {"create_module", "exec_module"}:
        return None
    loader = frame.f_locals.get("self")
    if not isinstance(loader, ExtensionFileLoader):
        return None
    return Asker(getattr(loader, "realm", None), loader.name, loader.path, frame, native=True)


def _entry_point(frame: FrameType) -> Asker | None:
    """Return the distribution whose entry point is being loaded (``EntryPoint.load``)."""
    if frame.f_code.co_name != "load":
        return None
    entry_point = frame.f_locals.get("self")
    distribution = getattr(entry_point, "dist", None)
    if entry_point is None or distribution is None:
        return None
    realm = getattr(distribution, "__realm__", None)
    directory = getattr(distribution, "_path", None)
    if realm is None and directory is None:
        return None
    file = "" if directory is None else os.path.join(str(directory), "METADATA")
    return Asker(realm, entry_point.module, file, frame, native=True)


def _lazy_module(frame: FrameType) -> Asker | None:
    """Return the module of a bubble that loads now since somebody touched it (``LazyLoader``)."""
    if frame.f_code.co_name != "__getattribute__":
        return None
    module = frame.f_locals.get("self")
    if not isinstance(module, ModuleType):
        return None
    # Not getattr: that is what is under way.
    namespace = object.__getattribute__(module, "__dict__")
    home = namespace.get("__realm__")
    return None if home is None else Asker(home, namespace["__name__"], "", frame, native=True)


#: Frames of the import system that speak for somebody who has no frame here.
_SPEAKERS = {
    Kind.LOADER: _loading,
    Kind.METADATA: _entry_point,
    Kind.LAZY: _lazy_module,
}


def _native(frame: FrameType | None) -> Asker | None:
    """Return the native code between the caller and a frame, if it belongs to anybody.

    Without a frame (no Python code but the standard library's runs) all native
    code outside of it is looked at.
    """
    reader = native_stack.reader()
    if reader is None:
        return None
    libraries = reader.libraries_between(frame, careful=_has_greenlets())
    try:
        asker = _native_askers[libraries]
    except KeyError:
        asker = _native_askers[libraries] = _first_that_asks(libraries)
    return None if asker is None else asker._replace(frame=frame)


#: Libraries on a stretch of the C stack to the one of them that asks.
_native_askers: dict[tuple[str, ...], Asker | None] = {}


def _first_that_asks(libraries: tuple[str, ...]) -> Asker | None:
    for library in libraries:
        realm = realm_of_file(library)
        if realm is not MAIN:
            module = _native_module(library, realm.directories)
            return Asker(realm, module, library, None, native=True)
        if kind_of(library) is Kind.INSTALLED:
            module = _native_module(library, main_path())
            return Asker(None, module, library, None, native=True)
    return None


def _has_greenlets() -> bool:
    # The storage and the tables themselves: to look by name would be to ask again.
    return dict.__contains__(sys.modules, "greenlet") or (
        "greenlet" in CLAIMED
        and any("greenlet" in realm.modules for realm in (MAIN, *providers("greenlet")))
    )


def _native_module(library: str, directories: list[str]) -> str:
    for directory in directories:
        if directory and library.startswith(os.path.join(directory, "")):
            relative = library[len(os.path.join(directory, "")) :]
            package, _, file = relative.rpartition(os.sep)
            return ".".join(filter(None, (package.replace(os.sep, "."), file.partition(".")[0])))
    return ""
