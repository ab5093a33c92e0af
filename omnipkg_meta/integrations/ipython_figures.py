"""How the matplotlib of a bubble draws into the notebook.

matplotlib finds its backend by a string, ``module://matplotlib_inline.backend_inline``
(``MPLBACKEND`` of ipykernel), and that module stands between matplotlib and IPython: it
has to be loaded once for each matplotlib, and to see the one IPython.  So a bubble's realm
gets a ``matplotlib_inline`` of its own, loaded anew from main's files.

Owns that, and what IPython itself does with matplotlib by name.  Must not know magics.
"""

from __future__ import annotations

import importlib
import os
from types import FunctionType
from typing import TYPE_CHECKING, Any

from IPython.core import pylabtools

from omnipkg_meta import kinds
from omnipkg_meta.activation import CURRENT
from omnipkg_meta.realm import MAIN
from omnipkg_meta.sources import adopt_also

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from omnipkg_meta.realm import Realm
    from omnipkg_meta.scope import Scope

__all__ = ["DRAWS", "INLINE", "Figures"]

#: The distribution that stands between matplotlib and IPython.
INLINE = "matplotlib-inline"
#: What a matplotlib that sees nothing of main shares with it to draw here, beside adopting that.
DRAWS = ("ipython", "traitlets")

_LIBRARY, _INLINE = "matplotlib", "matplotlib_inline"
_BACKEND = f"module://{_INLINE}.backend_inline"
_ENABLE = "enable_matplotlib"


class Figures:
    """The figures of one shell.

    Args:
        shell: the shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._original: Callable[..., Any] = getattr(shell, _ENABLE)

    def install(self) -> None:
        """Have IPython's helpers, and ``%matplotlib``, work with the caller's matplotlib."""
        # They import matplotlib when they are called, and IPython declares that it needs it.
        kinds.act_for_callers(pylabtools.__file__)
        setattr(self._shell, _ENABLE, self._enable)

    def uninstall(self) -> None:
        """Have ``%matplotlib`` do what it did before."""
        if vars(self._shell).get(_ENABLE) == self._enable:
            delattr(self._shell, _ENABLE)

    def draw(self, scope: Scope) -> None:
        """See that figures of a scope's matplotlib can be drawn here."""
        for realm in scope._realms:
            drawing = _serving(realm)
            if drawing is not None:
                adopt_also(drawing, [_INLINE])

    def _enable(self, gui: str | None = None) -> Any:
        """Do what ``%matplotlib`` does, for the matplotlib of the scope that is active."""
        inline = gui == "inline" or (
            gui in (None, "auto") and os.environ.get("MPLBACKEND") == _BACKEND
        )
        realm = _active() if inline else None
        if realm is None:
            return self._original(gui)
        # As code of the bubble: the caller is IPython, which answers to main.
        FunctionType(_configure.__code__, {**globals(), "__realm__": realm})(self._shell)
        return "inline", _BACKEND


def _configure(shell: InteractiveShell) -> None:
    backend = importlib.import_module(f"{_INLINE}.backend_inline")
    pylabtools.activate_matplotlib(_BACKEND)  # type: ignore[no-untyped-call]
    backend.configure_inline_support(shell, _BACKEND)
    shell.enable_gui("inline")  # type: ignore[no-untyped-call]


def _serving(realm: Realm) -> Realm | None:
    """Return the realm of a bubble in which the code of a realm's matplotlib is at home."""
    found = None if realm is MAIN else realm.provider(_LIBRARY)
    return None if found is MAIN else found


def _active() -> Realm | None:
    """Return the realm of the matplotlib that is active here, if it is a bubble's."""
    entry = CURRENT.get()
    while entry is not None:
        for realm in entry.realms:
            if realm is MAIN:
                return None
            if realm.provider(_LIBRARY) is not None:
                return _serving(realm)
        entry = entry.parent
    return None
