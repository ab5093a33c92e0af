"""In which scope the cells of an IPython shell run.

A context variable that one cell sets may be gone in the next one: a cell with a
top-level ``await`` is a task of its own (``IPython.core.async_helpers``), and ipykernel
runs cells in contexts that it chooses.  So the scope is entered anew around every cell,
within the coroutine that is the cell (``InteractiveShell.run_cell_async``): whatever
drives it, that is the context in which the cell's code runs.

Owns that wrapper, and what a cell that runs is in.  Must not know magics, nor how a
scope is asked for.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from omnipkg_meta.activation import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from omnipkg_meta.activation import Activation
    from omnipkg_meta.scope import Scope

__all__ = ["Cells"]

_RUN = "run_cell_async"


class _Running:
    """One cell that runs, or has run.

    Attributes:
        outer: the cell that has run it, if any.
        below: what was active before it.
        scopes: the scopes that were entered for it, and are to be left at its end.
        over: whether it has come to its end.
    """

    def __init__(self, outer: _Running | None) -> None:
        self.outer = outer
        self.below: Activation | None = CURRENT.get()
        self.scopes: list[Scope] = []
        self.over = False

    def enter(self, scope: Scope) -> None:
        scope.__enter__()
        self.scopes.append(scope)

    def leave(self, scope: Scope) -> None:
        if scope in self.scopes:
            self.scopes.remove(scope)
            scope.__exit__()

    def end(self) -> None:
        self.over = True
        while self.scopes:
            self.scopes.pop().__exit__()


#: The innermost cell that runs in this context: a cell may run others (``%run x.ipynb``).
_CELL: ContextVar[_Running | None] = ContextVar("omnipkg_meta.cell", default=None)


class Cells:
    """The cells of one shell.

    Args:
        shell: the shell.

    Attributes:
        scope: what its cells run in; None for main.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.scope: Scope | None = None
        self._shell = shell
        self._run: Callable[..., Any] | None = None

    def install(self) -> None:
        """Have the shell's cells run in scopes from the next one on."""
        original = getattr(self._shell, _RUN)

        # Callers look at its parameters (ipykernel does), so it has to show the original's.
        @functools.wraps(original)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with self._cell():
                return await original(*args, **kwargs)

        self._run = run
        setattr(self._shell, _RUN, run)

    def uninstall(self) -> None:
        """Have them run as they did before."""
        self.scope = None
        # What somebody else has put around it since stays, and enters nothing any more.
        if vars(self._shell).get(_RUN) is self._run and self._run is not None:
            delattr(self._shell, _RUN)

    def use(self, scope: Scope | None) -> None:
        """Have all cells run in a scope from now on, and the rest of the one that runs.

        Args:
            scope: the scope; None for main.
        """
        cell = _running()
        while cell is not None and cell.outer is not None:
            cell = cell.outer  # its rest, too
        if cell is not None:
            if scope is not None:
                cell.enter(scope)  # first: where that fails, nothing has changed
            if self.scope is not None:
                cell.leave(self.scope)
        self.scope = scope

    def use_here(self, scope: Scope) -> None:
        """Have the rest of the cell that runs do so in a scope.

        What all cells run in stays active around it, as with nested ``with`` blocks.

        Raises:
            RuntimeError: no cell runs here.
        """
        cell = _running()
        if cell is None:
            raise RuntimeError("no cell runs here")
        cell.enter(scope)

    @contextmanager
    def _cell(self) -> Iterator[None]:
        last = _CELL.get()
        if last is not None and last.over:
            # What that cell has left behind runs this one, in a copy of its context.
            CURRENT.set(last.below)
        outer = _running()
        cell = _Running(outer)
        _CELL.set(cell)
        try:
            if outer is None and self.scope is not None:
                cell.enter(self.scope)
            yield
        finally:
            cell.end()
            _CELL.set(outer)


def _running() -> _Running | None:
    cell = _CELL.get()
    return None if cell is None or cell.over else cell
