"""A map of this process: realms, what is in them, and who imported what from whom.

Owns the public ``map`` and what it returns.  The data is taken in
:mod:`omnipkg_meta.mapped.taking`, the page is made in
:mod:`omnipkg_meta.mapped.page`.
"""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnipkg_meta import recording
from omnipkg_meta.mapped import facts, taking

if TYPE_CHECKING:
    from types import TracebackType

    from omnipkg_meta.mapped.facts import Facts

__all__ = ["Map", "map"]


def map(*, record: bool = False, sizes: bool = True) -> Map:  # noqa: A001  # a public name
    """Make a map of this process as it is now.

    Args:
        record: begin to record imports, if that is not done already: who imports what, by
            which rule, and how long it takes.  Until the end of a ``with`` block, or for good;
            what was recorded is in every later map.
        sizes: measure what bubbles take of the disk, which reads their directories.

    Returns:
        The map; a notebook shows it.

    Raises:
        HookError: this interpreter's imports cannot be recorded.
    """
    began = record and recording.active() is None
    if began:
        recording.start()
    return Map(taking.of_this_process(sizes=sizes), sizes=sizes, began=began)


class Map:
    """What was known of a process at one moment.

    As a context manager it ends at the end of the block what it began to record, and is a
    map of that moment::

        with om.map(record=True) as seen:
            main()
        seen.save("map.html")

    Attributes:
        facts: the data.
    """

    def __init__(self, found: Facts, *, sizes: bool = True, began: bool = False) -> None:
        self.facts = found
        self._sizes = sizes
        self._began = began

    def __repr__(self) -> str:
        realms = len(self.facts.realms) - 1
        return f"<map of {self.facts.run.program!r}: main and {realms} other realms>"

    def __enter__(self) -> Map:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._began:
            recording.stop()
        self.facts = taking.of_this_process(sizes=self._sizes)

    def data(self) -> dict[str, Any]:
        """Return the data as JSON takes it."""
        return facts.plain(self.facts)

    def html(self) -> str:
        """Return the page: one HTML document that needs nothing but itself."""
        from omnipkg_meta.mapped.page import render

        return render(self.facts)

    def json(self) -> str:
        """Return the data as JSON, in ASCII."""
        return json.dumps(self.data(), indent=1) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, or the data where its name ends in ``.json``.

        Args:
            path: the file; one that is there is replaced, as a whole.

        Returns:
            The file's full path.

        Raises:
            OSError: it cannot be written.
        """
        file = Path(path).absolute()
        text = self.json() if file.suffix == ".json" else self.html()
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            draft.write_text(text, "utf-8")
            draft.replace(file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return file

    def _repr_html_(self) -> str:
        # In a frame of its own: the page's style and policy are for a whole document.
        return (
            '<iframe title="Map of this process" sandbox="allow-scripts" '
            'style="width: 100%; height: 40rem; border: 1px solid #888" '
            f'srcdoc="{html.escape(self.html())}"></iframe>'
        )
