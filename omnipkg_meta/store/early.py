"""The index is asked before this program is even loaded, where that is sure to be wanted.

Owns the question when that may be done, and the little that it takes.  Must not know what is
done with the answer (build.py), and loads nothing that uv need not wait for: most of an
installation is waiting for the index, and to load the rest takes as long as a tenth of it.

uv resolves only; nothing is installed, and no code of a package is run.  It is handed nothing
but names and versions that have been looked at letter by letter: what is any more than that is
read in full first, and so is what the store may have already.  What was asked is read in full
all the same, while uv waits for the index; where that, or anything, fails, uv is ended.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta import config
from omnipkg_meta.errors import OmnipkgMetaError
from omnipkg_meta.store import builders, trust
from omnipkg_meta.store.index import IndexOptions
from omnipkg_meta.store.staging import staging
from omnipkg_meta.store.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omnipkg_meta.store.builders import Begun

__all__ = ["asking"]

_VERSION = r"[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.\*)?"
_CLAUSE = rf"(?:==|!=|<=|>=|<|>){_VERSION}"
# A name that is its own normalized form but for its case (PEP 503), and clauses of PEP 440.
_PLAIN = re.compile(rf"(?P<name>[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)(?:{_CLAUSE}(?:,{_CLAUSE})*)?")
_LONGEST_NAME = 64


@contextmanager
def asking(
    texts: Sequence[str],
    *,
    store: str | None,
    builder: str | None,
    index_options: Sequence[str],
    allow_build: bool,
    reinstall: bool,
) -> Iterator[Begun | None]:
    """Have uv ask the index beside the block, if it is sure to be asked.

    Args:
        texts: what is asked for.
        store: the store's directory; the configured one when not given.
        builder: as for ``install``.
        index_options: as for ``install``.
        allow_build: as for ``install``.
        reinstall: as for ``install``.

    Yields:
        What ``install`` goes on with; None where it has to begin by itself.
    """
    with ExitStack() as held:
        try:
            begun = None
            paths = config.store_paths() if store is None else (Path(os.path.abspath(store)),)  # noqa: PTH100
            uv = _uv(builder)
            names = [_name(text) for text in texts]
            if uv and names and all(names) and (reinstall or _none_there(paths, names)):
                stage = held.enter_context(staging(paths[0] / config.interpreter_tag()))
                options = IndexOptions.read(index_options)
                task = Task.at(stage, options, allow_build=allow_build)
                lines = [text.lower() for text in texts]
                begun = held.enter_context(builders.Uv(uv, "uv").beginning(task, lines, stage))
        except (OmnipkgMetaError, OSError):
            # It is said where all is loaded, in the order in which things are looked at there.
            held.close()
            begun = None
        yield begun


def _name(text: str) -> str:
    """Return the normalized name in a requirement that is plain; nothing for all others."""
    match = _PLAIN.fullmatch(text)
    return match["name"].lower() if match and len(match["name"]) <= _LONGEST_NAME else ""


def _uv(builder: str | None) -> str | None:
    wanted = config.builder() if builder is None else builder
    return builders.find_uv() if wanted in ("auto", "uv") and sys.executable else None


def _none_there(paths: Sequence[Path], names: Sequence[str]) -> bool:
    """Say whether no store has a bubble that could be for this; its id would begin with a name."""
    begins = tuple(f"{name}-" for name in names)
    for path in paths:
        place = path / config.interpreter_tag()
        trust.check(place)
        try:
            if any(one.startswith(begins) for one in os.listdir(place)):  # noqa: PTH208
                return False
        except FileNotFoundError:
            pass
    return True
