"""Tab completion: of what can be used, after ``%use`` and the like, and of cells in their scope.

Owns what is proposed after the magics, as a matcher of IPython's completer
(``IPython.core.completer``, "Matcher API"), and that its other matchers see what a cell
would see: ``from rich.<Tab>``.  Must not know what the magics do with it.
"""

from __future__ import annotations

import functools
import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from omnipkg_meta.errors import OmnipkgMetaError
from omnipkg_meta.projects import named
from omnipkg_meta.requirements import name_of
from omnipkg_meta.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

    from omnipkg_meta.integrations.ipython_cells import Cells
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["Completer"]

_LINE = re.compile(r"\s*(?P<magic>%?%use|%bubbles)\s(?:.*\s)?(?P<word>['\"]?[^\s]*)")
_OPTIONS = ("--adopt", "--hermetic", "--install", "--share")


class Completer:
    """The completion in one shell.

    Args:
        shell: the shell.
        cells: its cells.
    """

    def __init__(self, shell: InteractiveShell, cells: Cells) -> None:
        self._completer: Any = shell.Completer
        self._cells = cells
        self._matcher: Any = context_matcher()(_complete)
        self._in_scope: Any = None

    def install(self) -> None:
        """Have the shell's completer ask here, too."""
        self._completer.custom_matchers.append(self._matcher)
        original = self._completer.completions

        @functools.wraps(original)
        def completions(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with self._cells.scope or nullcontext():
                found = list(original(*args, **kwargs))
            return iter(found)

        self._completer.completions = self._in_scope = completions

    def uninstall(self) -> None:
        """Have it ask here no more."""
        self._completer.custom_matchers.remove(self._matcher)
        if vars(self._completer).get("completions") is self._in_scope:
            del self._completer.completions


def _complete(context: CompletionContext) -> Any:  # a ``SimpleMatcherResult``
    match = _LINE.fullmatch(context.text_until_cursor)
    if match is None:
        return {"completions": []}
    typed = match["word"]
    quote = typed[:1] if typed[:1] in ("'", '"') else ""
    proposed = [] if quote or match["magic"] == "%bubbles" else ["main", *_OPTIONS]
    if match["magic"] != "%bubbles":
        proposed += [f"{quote}project:{one}" for one in _named()]
    proposed += [quote + one for one in _installed()]
    return {
        "completions": [SimpleCompletion(one) for one in proposed if one.startswith(typed)],
        # Requirements hold what ends a word elsewhere.
        "matched_fragment": typed,
        "ordered": True,
        # Files and Python names have no place in such a line.
        "suppress": True,
    }


def _installed() -> list[str]:
    """Return the requirements that the installed bubbles were made for, or satisfy exactly."""
    try:
        bubbles = Store().bubbles()
    except OmnipkgMetaError:
        return []  # what is wrong with the store is said when a bubble is asked for
    return sorted({one for bubble in bubbles for one in _requirements(bubble)})


def _named() -> list[str]:
    """Return what the project names that lies here, or above."""
    try:
        return [one.name for one in named()]
    except OmnipkgMetaError:
        return []  # there is none, or it is said when one is asked for


def _requirements(bubble: Bubble) -> list[str]:
    held = bubble.distributions
    roots = [name_of(one) for one in bubble.requested]
    exact = [f"{one}=={held[one]}" for one in roots if one in held]
    return [*exact, *(one for one in bubble.requested if " " not in one)]
