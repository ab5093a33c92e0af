"""IPython and Jupyter: ``%load_ext omnipkg_meta``, then ``%use``, ``%%use`` and ``%bubbles``.

``%%use`` is no ordinary cell magic, which would be handed its body as a text: the body
has to be a cell like any other, with a top-level ``await``, with its own line numbers,
``_`` and history, and a cell that is run within a cell cannot await where a loop is
running (ipykernel).  So its first line becomes a call that has the rest of the cell run
in a scope, and IPython never hears of the rest.

Owns the magics: what can be written there, what they say, and what goes wrong.  It must
not know how a cell gets into a scope (ipython_cells.py).
"""

from __future__ import annotations

import re
import shlex
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import cell_magic
from IPython.core.magic_arguments import MagicArgumentParser

from omnipkg_meta import config, scope
from omnipkg_meta.errors import BubbleInvalidError, BubbleNotFoundError, OmnipkgMetaError
from omnipkg_meta.integrations.ipython_cells import Cells
from omnipkg_meta.integrations.ipython_completion import Completer
from omnipkg_meta.integrations.ipython_figures import DRAWS, INLINE, Figures
from omnipkg_meta.integrations.ipython_listing import Bubbles
from omnipkg_meta.projects import ProjectBubble, named
from omnipkg_meta.requirements import name_of, parse
from omnipkg_meta.sources import main, terms_for
from omnipkg_meta.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from omnipkg_meta.scope import Scope
    from omnipkg_meta.sources import Main, Source
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_FIRST_LINE = re.compile(r"%%use(?P<line>[ \t].*|)\n?")

#: What there is one of in a notebook; a bubble with ipywidgets holds copies of it.
_SHELL = ("comm", "ipykernel", "ipython", "traitlets")


class _Asked(NamedTuple):
    """What a line of ``%use`` asks for."""

    sources: tuple[Source, ...]
    share: tuple[str, ...]
    adopt: tuple[str, ...]
    hermetic: bool
    install: bool

    @property
    def project(self) -> ProjectBubble | None:
        """What a project names, if that is what is asked for."""
        return next((one for one in self.sources if isinstance(one, ProjectBubble)), None)

    @property
    def texts(self) -> list[str]:
        """The requirements among the sources, or those of what a project names."""
        if self.project is not None:
            return list(self.project.requirements)
        return [one for one in self.sources if isinstance(one, str)]

    def find(self) -> Bubble | None:
        """Return the bubble of what is asked for, if it is there."""
        if self.project is not None:
            return self.project.find(Store())
        return Store().find(self.texts) if self.texts else None


_BACK = _Asked((main,), (), (), hermetic=False, install=False)


class Extension:
    """What ``%load_ext omnipkg_meta`` puts into a shell.

    Args:
        shell: the shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._cells = Cells(shell)
        self._completer = Completer(shell, self._cells)
        self._figures = Figures(shell)

    def load(self) -> None:
        """Put it in."""
        for kind, name, function in self._magics():
            self._shell.register_magic_function(function, kind, name)
        self._shell.input_transformers_cleanup.append(_open)
        self._cells.install()
        self._completer.install()
        self._figures.install()

    def unload(self) -> None:
        """Take it out."""
        for kind, name, _ in self._magics():
            self._shell.magics_manager.magics[kind].pop(name, None)
        self._shell.input_transformers_cleanup.remove(_open)
        self._cells.uninstall()
        self._completer.uninstall()
        self._figures.uninstall()

    def _magics(self) -> list[tuple[str, str, Any]]:
        return [
            ("line", "use", self.use),
            ("cell", "use", self.use_in_cell),
            ("line", "bubbles", self.bubbles),
        ]

    def use(self, line: str) -> Scope | Main | None:
        """Run the cells from here on in a bubble.

        ::

            %use rich==13.5.3
            %use pandas<2.2 numpy<2     one bubble, resolved together
            %use project:legacy-numpy   what pyproject.toml names, on its terms
            %use main                   back to what is installed
            %use                        what is active

        Options:
            --install      make the bubble if it is missing; nothing is installed otherwise
            --share NAME   take NAME from main, so that its objects cross
            --adopt NAME   load your own module NAME anew, so that it sees the bubble
            --hermetic     let the bubble's code see nothing of main
        """
        asked = _read("%use", line)
        if asked is None:
            return self._cells.scope or main
        with _usage_errors("%use", line):
            found = None if asked == _BACK else self._find(asked)
            self._cells.use(found)
        print(_told(found, asked))  # noqa: T201  # what a magic says is its output
        if found is not None and (names := self._bound_before(found)):
            print(f"still as imported before: {', '.join(names)}")  # noqa: T201
        return None

    def use_in_cell(self, line: str, cell: str | None) -> None:
        """Run one cell in a bubble; inside of what ``%use`` has said.

        ::

            %%use "pandas<2.2" "numpy<2"
            import pandas as pd
            pd.__version__

        The options are those of ``%use``.
        """
        asked = _read("%%use", line)
        if asked is None:
            raise UsageError("%%use needs a requirement, for example: %%use rich==13.5.3")
        with _usage_errors("%%use", line):
            found = self._find(asked)
            if cell is None:  # the rest of the cell that runs
                self._cells.use_here(found)
                return
        with found:  # called by its name
            self._shell.run_cell(cell).raise_error()  # type: ignore[no-untyped-call]

    def bubbles(self, line: str) -> Bubbles:
        """List the installed bubbles.

        ::

            %bubbles               all of them
            %bubbles pandas        those that hold a pandas
            %bubbles pandas<2.2    those that satisfy a requirement
        """
        with _usage_errors("%bubbles", line):
            words = _split(line)
            store = Store()
            if words:
                found = store.matching(words)
                return Bubbles(found, "" if found else f"no bubble has {', '.join(words)}")
            scanned = list(store.scan())
        whole = [one for one in scanned if not isinstance(one, BubbleInvalidError)]
        note = f"no bubbles in {store.tag_path}; to make one: %use --install REQUIREMENT"
        if scanned:
            broken = len(scanned) - len(whole)
            note = f"{broken} more cannot be used: !omnipkg-meta doctor" if broken else ""
        return Bubbles(whole, note)

    def _find(self, asked: _Asked) -> Scope:
        """Return the scope that was asked for, its bubble found, or made if that is allowed."""
        try:
            found = _scope(asked)
        except BubbleNotFoundError:
            if not (asked.install or config.install_missing()):
                raise
            lock = None if asked.project is None else asked.project.lock
            scope.install(*asked.texts, lock=lock, progress=print)
            found = _scope(asked)
        self._figures.draw(found)
        return found

    def _bound_before(self, found: Scope) -> list[str]:
        """Return the user's names for modules that the scope has in another version."""
        provided = {name for bubble in found.bubbles for name in bubble.import_names}
        return sorted(
            name
            for name, value in self._shell.user_ns.items()
            if isinstance(value, ModuleType)
            and not name.startswith("_")
            and _name_of(value).partition(".")[0] in provided
            and _namespace(value).get("__bubble__") not in found.bubbles
        )


def _namespace(module: ModuleType) -> dict[str, Any]:
    # Not ``vars``: a lazy module loads when it is touched.
    namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return namespace


def _name_of(module: ModuleType) -> str:
    return str(_namespace(module).get("__name__"))


def _open(lines: list[str]) -> list[str]:
    """Have IPython see a cell without ``%%use``: a call in its first line, and the rest.

    One line for one line, so that tracebacks show the right ones.
    """
    match = _FIRST_LINE.fullmatch(lines[0]) if lines else None
    if match is None or not "".join(lines[1:]).strip():
        return lines  # it is no such cell, or one that IPython has a word for
    call = f"get_ipython().run_cell_magic('use', {match['line'].strip()!r}, None)\n"
    return [call, *cell_magic(_open(lines[1:]))]  # type: ignore[no-untyped-call]


# A terminal asks whether a cell is complete: as one that begins with a cell magic.
_open.has_side_effects = True  # type: ignore[attr-defined]


def _scope(asked: _Asked) -> Scope:
    terms = terms_for(asked.sources, asked.share, asked.adopt, hermetic=asked.hermetic)
    share, adopt = list(terms.share), list(terms.adopt)
    bubble = asked.find()
    if bubble is not None:
        names = {name_of(one.canonical) for one in parse(asked.texts)}
        share += [one for one in _SHELL if one in bubble.distributions.keys() - names]
        if terms.hermetic and "matplotlib" in bubble.distributions:
            share += DRAWS
            adopt += {INLINE} - bubble.distributions.keys()
    found = scope.use(
        *asked.sources,
        install=False,
        share=list(dict.fromkeys(share)),
        adopt=list(dict.fromkeys(adopt)),
        hermetic=terms.hermetic,
    )
    found.bubbles  # noqa: B018  # whatever does not fit is told now
    return found


def _told(found: Scope | None, asked: _Asked) -> str:
    """Say in one line what is active."""
    if found is None:
        return "main"
    bubbles = found.bubbles
    if not bubbles:
        return f"main, which has {', '.join(asked.texts)}"
    wanted = [name_of(one.canonical) for one in parse(asked.texts)]
    held = bubbles[0].distributions
    versions = ", ".join(f"{name} {held[name]}" for name in wanted if name in held)
    return f"{versions} (bubble {bubbles[0].id})"


# -- what is written ----------------------------------------------------------------


def _read(magic: str, line: str) -> _Asked | None:
    """Read a line; None where it is empty.

    Raises:
        UsageError: it holds something else.
    """
    words = _split(line)
    if not words:
        return None
    parser = MagicArgumentParser(magic)  # type: ignore[no-untyped-call]
    parser.allow_abbrev = False
    parser.add_argument("requirements", nargs="*")
    parser.add_argument("--share", action="append", default=[])
    parser.add_argument("--adopt", action="append", default=[])
    parser.add_argument("--hermetic", action="store_true")
    parser.add_argument("--install", action="store_true")
    options = parser.parse_intermixed_args(words)
    if not options.requirements:
        raise UsageError(f"{magic} needs a requirement, for example: {magic} rich==13.5.3")
    with _usage_errors(magic, line):
        sources = tuple(_source(one) for one in options.requirements)
    return _Asked(
        sources,
        tuple(name for one in options.share for name in one.split(",")),
        tuple(name for one in options.adopt for name in one.split(",")),
        options.hermetic,
        options.install,
    )


def _source(word: str) -> Source:
    # No requirement of PEP 508 has a colon behind its name.
    prefix, colon, name = word.partition(":")
    if colon and prefix == "project":
        (found,) = named([name])
        return found
    return main if word == "main" else word


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line.strip()}: {error}") from None


@contextmanager
def _usage_errors(magic: str, line: str) -> Iterator[None]:
    """Say what is wrong as IPython does, with the command to run."""
    try:
        yield
    except BubbleNotFoundError as error:
        raise UsageError(f"{error}\nor, here: {magic} --install {line.strip()}") from None
    except (OmnipkgMetaError, TypeError) as error:
        raise UsageError(str(error)) from None


# -- in and out ---------------------------------------------------------------------

_loaded: WeakKeyDictionary[InteractiveShell, Extension] = WeakKeyDictionary()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Put the magics into a shell: what ``%load_ext omnipkg_meta`` does."""
    if shell not in _loaded:
        _loaded[shell] = extension = Extension(shell)
        extension.load()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take them out again; cells run in main from then on."""
    extension = _loaded.pop(shell, None)
    if extension is not None:
        extension.unload()
