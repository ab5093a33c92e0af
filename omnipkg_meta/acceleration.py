"""The compiled accelerator, if there is one: what it stands in for, and whether it fits.

``omnipkg_meta_accelerator`` is a distribution of its own (the folder ``accelerator`` of
the repository) and does in C what some functions of this library do in Python.  Each is
*its twin's equal*: it reads the same tables, answers where an answer is only looked up,
and leaves to the Python function whatever has to be decided.  So nothing depends on it
but time, and this library is whole without it.

It is used where it is installed and of exactly this version, unless
``OMNIPKG_META_ACCELERATOR`` says no.  The proof at run time is :func:`_prove`; the undo is
:func:`uninstall`.

This file must not know what the functions do.
"""

from __future__ import annotations

import importlib
import importlib._bootstrap
from functools import partial
from typing import TYPE_CHECKING, Any

from omnipkg_meta import (
    __version__,
    answering,
    config,
    importers,
    interpreter_state,
    modules,
    relink,
    storage,
)
from omnipkg_meta.activation import CURRENT, OVERLAYS, Activation
from omnipkg_meta.answering import BOOTSTRAP, SETTLED, Answered
from omnipkg_meta.asking import IMPORT_NAME, imports
from omnipkg_meta.errors import HookError
from omnipkg_meta.interpreter_state import ENTRY
from omnipkg_meta.kinds import act_for_callers
from omnipkg_meta.namespaces import JOINED
from omnipkg_meta.realm import CLAIMED, MAIN, Realm
from omnipkg_meta.storage import ORDINARY
from omnipkg_meta.trace import wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["install", "state", "uninstall"]

NAME = "omnipkg_meta_accelerator"

#: The functions that have a twin, each with the module of this library that it is from.
_TWINS = {
    "at_home": answering,
    "settle_at_home": answering,
    "is_claimed": storage,
    "_settle": interpreter_state,
    "_undefined": relink,
}

#: The modules that call them by names of their own.
_CALLERS = (answering, importers, interpreter_state, modules, relink, storage)

#: What stands in the place of what while the accelerator is in use: name to both functions.
_placed: dict[str, tuple[Any, Any]] = {}

#: The accelerator, while it is in use.
_in_use: list[Any] = []


def state() -> tuple[ModuleType | None, str]:
    """Return the accelerator that is to be used, or None; and why it is that way.

    Raises:
        ConfigError: the setting has a value that cannot be used.
    """
    if config.accelerator() is False:
        return None, f"{config.ACCELERATOR} says no"
    try:
        found: Any = importlib.import_module(NAME)
    except ModuleNotFoundError:
        return None, f"{NAME} is not installed"
    except ImportError as error:
        return None, str(error)  # not for this interpreter, or not for this build of it
    misfit = _misfit(found)
    return (None, misfit) if misfit else (found, f"{NAME} {found.__version__} is used")


def _misfit(accelerator: Any) -> str:
    """Return why the accelerator is of no use here; empty where it is. It reads our tables then."""
    if accelerator.__version__ != __version__:
        return f"{NAME} {accelerator.__version__} is not of omnipkg_meta {__version__}"
    try:
        accelerator.read(**_tables())
    except TypeError as error:
        return f"{NAME} was built from other sources of omnipkg_meta {__version__}: {error}"
    return "" if _prove(accelerator) else f"{NAME} does not see what is executed"


def _tables() -> dict[str, Any]:
    """Return what the twins read."""
    bootstrap: Any = importlib._bootstrap
    return {
        "activation": CURRENT,
        "answering": vars(answering),
        "before_import": vars(modules),
        "bootstrap": BOOTSTRAP,
        "call": bootstrap._call_with_frames_removed.__code__,
        "claimed": CLAIMED,
        "entry": ENTRY,
        "from_list": bootstrap._handle_fromlist.__code__,
        "import_name": IMPORT_NAME,
        "imports": imports,
        "joined": JOINED,
        "mains": MAIN.modules,
        "memo": vars(Activation)["memo"],
        "modules": vars(Realm)["modules"],
        "ordinary": ORDINARY,
        "overlays": OVERLAYS,
        "settled": SETTLED,
        "tables": vars(Answered)["tables"],
        "wanted": wanted,
    }


def _prove(accelerator: Any) -> bool:
    """Show that it sees which import statement is executed: in a module, and in a function."""
    code = compile("import one\ndef f():\n    import two\n    return two\n", "<proof>", "exec")
    seen: dict[str, Any] = {"__builtins__": {"__import__": accelerator.executing}}
    exec(code, seen)  # noqa: S102  # its import statements call what sees them
    function = seen["f"]
    return (seen["one"], function()) == (
        (code, seen, IMPORT_NAME),
        (function.__code__, seen, IMPORT_NAME),
    )


def install() -> None:
    """Put the twins in the places of the functions, if there is an accelerator that fits.

    Raises:
        HookError: the setting says that there has to be one, and there is none.
        ConfigError: the setting has a value that cannot be used.
    """
    accelerator: Any
    accelerator, why = state()
    if accelerator is None:
        if config.accelerator():
            raise HookError(
                "The accelerator cannot be used.",
                cause=why,
                tip=f"install it (pip install ./accelerator), or set {config.ACCELERATOR}=0",
            )
        return
    _in_use.append(accelerator)
    # Its frames lie on the C stack between whoever asks and what finds that out.
    act_for_callers(accelerator.__file__)
    for name, home in _TWINS.items():
        twin = _exchanging(accelerator) if name == "_settle" else getattr(accelerator, name)
        _placed[name] = vars(home)[name], twin
        _rebind(name, *_placed[name])
    accelerator.put_in(modules.RealmModules, modules.GuardedModules)


def uninstall() -> None:
    """Put the functions in Python back."""
    if not _in_use:
        return
    accelerator = _in_use.pop()
    accelerator.take_out()
    for name, (original, twin) in _placed.items():
        _rebind(name, twin, original)
    _placed.clear()


def _exchanging(accelerator: Any) -> Callable[[], tuple[partial[Any]]]:
    """Return the twin of ``interpreter_state._settle``: one call is all that it yields."""
    tables = interpreter_state._live, interpreter_state._flights, interpreter_state._standing
    calls = (partial(accelerator.exchange, *tables, interpreter_state.PREFIXES),)
    return lambda: calls


def _rebind(name: str, old: Any, new: Any) -> None:
    for caller in _CALLERS:
        if vars(caller).get(name) is old:
            setattr(caller, name, new)
