"""Interpreters that code of a bubble starts begin with that bubble laid over them.

joblib's pool of processes (loky), scikit-learn with ``n_jobs``, PyTorch's workers under
``spawn``: a package starts ``sys.executable``, has it import the package once more, and
sends it objects by the names of their classes.  In an environment of its own it would find
itself there; so it does here, by what ``omnipkg-meta run`` hands over
(:mod:`omnipkg_meta.launch`).

That is for children of *this* interpreter that a bubble's own code starts.  What code of
main starts, in a scope or not, begins in main; and so do the server of ``forkserver`` and
the tracker of resources, which are one for the whole process, whoever needs them first.  A
bubble that shares something with main, or sees nothing of it, is not handed over: on these
terms no process can be run.

The hack: ``subprocess``, ``multiprocessing`` and loky all start a program by one function,
``_posixsubprocess.fork_exec``; ours stands there while the hooks are in, and where
``subprocess`` keeps it under a name of its own, and changes the variables that it is given
and nothing else.  The proof is that it is a function of C, and what is given at its sixth
place (``subprocess_fork_exec`` in ``Modules/_posixsubprocess.c``); else it is called as it
was.  The undo is :func:`uninstall`, unless somebody has put a function of his own over ours.

This file must not know the rules, nor how a bubble is activated.
"""

from __future__ import annotations

import os
import sys
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

from omnipkg_meta.asking import who
from omnipkg_meta.kinds import Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from omnipkg_meta.realm import Realm

__all__ = ["install", "uninstall"]

_getframe = sys._getframe

#: Where the programs to try, and the variables, are among the arguments.
_PROGRAMS, _VARIABLES = 1, 5

#: Modules that start what is one for the whole process.
_EVERYBODYS = frozenset({"multiprocessing.forkserver", "multiprocessing.resource_tracker"})

#: The function of the system, since ours first stood in its place.
_system: Callable[..., int] | None = None
#: Whether the hooks are in: somebody who put a function over ours may call it later, too.
_wanted = False


def _fork_exec(*arguments: Any) -> int:
    """Start a program; one that is this interpreter with the bubble whose code starts it."""
    assert _system is not None  # noqa: S101  # it was there before ours
    if _wanted and len(arguments) > _VARIABLES and _is_this_interpreter(arguments[_PROGRAMS]):
        frame = _getframe().f_back
        home = who(frame).home
        if home is not None and _can_be_handed_over(home) and not _is_everybodys(frame):
            changed = list(arguments)
            changed[_VARIABLES] = _with_bubble(home, arguments[_VARIABLES])
            return _system(*changed)
    return _system(*arguments)


def _is_this_interpreter(programs: Iterable[bytes]) -> bool:
    """Tell whether the program that will be started is the one that runs here.

    By its place, and not by what a link leads to: all virtual environments share that.
    """
    names = list(map(os.fsdecode, programs))
    started = next((one for one in names if os.access(one, os.X_OK)), "")
    if not started or not sys.executable:
        return False
    here = os.path.dirname(os.path.abspath(sys.executable))  # noqa: PTH100, PTH120 (text)
    there = os.path.dirname(os.path.abspath(started))  # noqa: PTH100, PTH120
    return here == there and os.path.samefile(started, sys.executable)  # noqa: PTH121


def _can_be_handed_over(realm: Realm) -> bool:
    plain = not realm.adopts and realm.outer is None and not realm.hermetic
    return plain and realm.bubble is not None and not any(realm.shared)


def _is_everybodys(frame: FrameType | None) -> bool:
    while frame is not None and kind_of(frame.f_code.co_filename) is Kind.TRANSPARENT:
        if frame.f_globals.get("__name__") in _EVERYBODYS:
            return True
        frame = frame.f_back
    return False


def _with_bubble(realm: Realm, variables: Iterable[bytes] | None) -> list[bytes]:
    """Return the variables of a program, as it is given them, with a bubble handed over."""
    from omnipkg_meta.launch import handed_over

    bubble = realm.bubble
    assert bubble is not None  # noqa: S101  # main's code starts children in main
    base = {os.fsdecode(name): os.fsdecode(value) for name, value in os.environb.items()}
    if variables is not None:
        words = (os.fsdecode(one).partition("=") for one in variables)
        base = {name: value for name, _, value in words}
    return [os.fsencode(f"{name}={value}") for name, value in handed_over(bubble, base).items()]


def install() -> None:
    """Have interpreters that code of a bubble starts begin with it; not on Windows."""
    global _system, _wanted  # noqa: PLW0603
    if os.name == "nt":
        return
    import _posixsubprocess

    there = _posixsubprocess.fork_exec
    if isinstance(there, BuiltinFunctionType):
        _system = there
        _replace(there, _fork_exec)
    _wanted = _system is not None


def uninstall() -> None:
    """Put the function of the system back."""
    global _wanted  # noqa: PLW0603
    _wanted = False
    if _system is not None:
        _replace(_fork_exec, _system)


def _replace(old: Callable[..., int], new: Callable[..., int]) -> None:
    modules: dict[str, Any] = sys.modules
    for module, name in (("_posixsubprocess", "fork_exec"), ("subprocess", "_fork_exec")):
        namespace = vars(modules[module]) if module in modules else {}
        if namespace.get(name) is old:
            namespace[name] = new
