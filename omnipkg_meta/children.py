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

The hack: ``subprocess`` and ``multiprocessing`` start programs by one function,
``_posixsubprocess.fork_exec``, and others by ``os.posix_spawn``, or by ``os.execve`` and
``os.execv`` after a fork (loky before 3.5).  Ours stand in their places while the hooks are
in, and where ``subprocess`` keeps one under a name of its own; they change the variables that
a program is given, and nothing else.  The proof is that what stands there is a function of C,
whose arguments are known (``Modules/_posixsubprocess.c``, ``Modules/posixmodule.c``).  The
undo is :func:`uninstall`, but for what somebody has put over ours.

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
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType

    from omnipkg_meta.realm import Realm
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["install", "uninstall"]

_getframe = sys._getframe

#: Modules that start what is one for the whole process.
_EVERYBODYS = frozenset({"multiprocessing.forkserver", "multiprocessing.resource_tracker"})

#: The functions of the system by their names, since ours first stood in their places.
_system: dict[str, Callable[..., Any]] = {}
#: Whether the hooks are in: somebody who put a function over ours may call it later, too.
_wanted = False


def _fork_exec(*arguments: Any) -> Any:
    # The second says which programs to try, and the sixth has the variables.
    if len(arguments) > 5 and (bubble := _bubble_for(arguments[1], _getframe().f_back)):
        variables = arguments[5]
        if variables is not None:
            words = (os.fsencode(one).partition(b"=") for one in variables)
            variables = {name: value for name, _, value in words}
        given = [os.fsencode(f"{k}={v}") for k, v in _with(bubble, variables).items()]
        arguments = (*arguments[:5], given, *arguments[6:])
    return _system["fork_exec"](*arguments)


def _execv(path: Any, arguments: Any, /) -> Any:
    if bubble := _bubble_for((path,), _getframe().f_back):
        return _system["execve"](path, arguments, _with(bubble, None))
    return _system["execv"](path, arguments)


def _execve(path: Any, argv: Any, env: Any) -> Any:
    if bubble := _bubble_for((path,), _getframe().f_back):
        env = _with(bubble, env)
    return _system["execve"](path, argv, env)


def _posix_spawn(path: Any, argv: Any, env: Any, /, **options: Any) -> Any:
    if bubble := _bubble_for((path,), _getframe().f_back):
        env = _with(bubble, env)
    return _system["posix_spawn"](path, argv, env, **options)


#: Where the functions of the system stand, by their names, with ours.
_OURS: dict[str, tuple[tuple[tuple[str, str], ...], Callable[..., Any]]] = {
    "fork_exec": (
        (("_posixsubprocess", "fork_exec"), ("subprocess", "_fork_exec")),
        _fork_exec,
    ),
    "execv": ((("os", "execv"), ("posix", "execv")), _execv),
    "execve": ((("os", "execve"), ("posix", "execve")), _execve),
    "posix_spawn": ((("os", "posix_spawn"), ("posix", "posix_spawn")), _posix_spawn),
}


def _bubble_for(programs: Iterable[Any], frame: FrameType | None) -> Bubble | None:
    """Return the bubble that a program is to begin with, if it is this interpreter."""
    if not _wanted or not _is_this_interpreter(programs):
        return None
    home = who(frame).home
    if home is None or not _can_be_handed_over(home) or _is_everybodys(frame):
        return None
    return home.bubble


def _is_this_interpreter(programs: Iterable[Any]) -> bool:
    """Tell whether the program that will be started is the one that runs here.

    By its place, and not by what a link leads to: all virtual environments share that.
    """
    names = [os.fsdecode(one) for one in programs if isinstance(one, (bytes, str, os.PathLike))]
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


def _with(bubble: Bubble, variables: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return the variables of a program with a bubble handed over.

    Args:
        bubble: the bubble.
        variables: what the program was to be given; those of this process where that is None.
    """
    from omnipkg_meta.launch import handed_over

    given = os.environb if variables is None else variables
    base = {os.fsdecode(name): os.fsdecode(value) for name, value in given.items()}
    return handed_over(bubble, base)


def install() -> None:
    """Have interpreters that code of a bubble starts begin with it; not on Windows."""
    global _wanted  # noqa: PLW0603
    if os.name == "nt":
        return
    import _posixsubprocess  # noqa: F401  # its function is looked for in its module

    for name, (places, ours) in _OURS.items():
        module, attribute = places[0]
        there = getattr(sys.modules[module], attribute, None)
        if isinstance(there, BuiltinFunctionType):
            _system[name] = there
            _replace(places, there, ours)
            if there in os.supports_fd:
                os.supports_fd.add(ours)
    _wanted = True


def uninstall() -> None:
    """Put the functions of the system back."""
    global _wanted  # noqa: PLW0603
    _wanted = False
    for name, system in _system.items():
        places, ours = _OURS[name]
        _replace(places, ours, system)
        os.supports_fd.discard(ours)


def _replace(
    places: Iterable[tuple[str, str]], old: Callable[..., Any], new: Callable[..., Any]
) -> None:
    modules: dict[str, Any] = sys.modules
    for module, name in places:
        namespace = vars(modules[module]) if module in modules else {}
        if namespace.get(name) is old:
            namespace[name] = new
