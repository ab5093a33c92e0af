"""What a figure is, when it is over its limit, and how it is shown.

Must not know what was measured, nor how.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.figures import duration

__all__ = ["Other", "Row", "over", "tables"]

_OVER = "**over**"


class Row(NamedTuple):
    """One thing, measured beside its reference.

    Attributes:
        what: the thing.
        plain: what the reference takes.
        ours: what it takes with this library.
        limit: what the ratio may be at most, or None.
        most: what ``ours`` may be at most, or None.
        memory: whether both are bytes, and not seconds.
    """

    what: str
    plain: float
    ours: float
    limit: float | None = None
    most: float | None = None
    memory: bool = False

    @property
    def ratio(self) -> float:
        """Ours divided by plain."""
        return self.ours / self.plain

    @property
    def over(self) -> bool:
        """Whether a limit is not held."""
        return (self.limit is not None and self.ratio > self.limit) or (
            self.most is not None and self.ours > self.most
        )

    @property
    def told(self) -> str:
        """The figure and its limit, in words."""
        shown = f"{self.ratio:.2f} x, {self._amount(self.ours)}"
        return f"{self.what}: {shown}; at most {self._limits()}"

    def _amount(self, of: float) -> str:
        return f"{of / 1e6:.2f} MB" if self.memory else duration(of)

    def _limits(self) -> str:
        limits = [] if self.limit is None else [f"{self.limit:g} x"]
        limits += [] if self.most is None else [self._amount(self.most)]
        return ", ".join(limits)

    def line(self) -> str:
        """Return the row of the table."""
        taken = f"{self._amount(self.plain)} | {self._amount(self.ours)} | {self.ratio:.2f} x"
        return f"| {self.what} | {taken} | {self._limits()} | {_OVER if self.over else ''} |"


class Other(NamedTuple):
    """Another way to have several versions, beside this library.

    Attributes:
        way: what it is.
        work: what it does that is other work than ours.
        theirs: the seconds that it takes, or None where it did not work.
        ours: the seconds of this library, in the same run.
        least: how many times ours theirs has to be at least, or None.
        happened: what it did wrong, in words, or "".
    """

    way: str
    work: str
    theirs: float | None
    ours: float
    least: float | None = None
    happened: str = ""

    @property
    def ratio(self) -> float | None:
        """Theirs divided by ours."""
        return None if self.theirs is None else self.theirs / self.ours

    @property
    def over(self) -> bool:
        """Whether the limit is not held, which it is not either where nothing was measured."""
        return self.least is not None and (self.ratio is None or self.ratio < self.least)

    @property
    def told(self) -> str:
        """The figure and its limit, in words."""
        shown = "not measured" if self.ratio is None else f"{self.ratio:,.0f} x"
        return f"{self.way}: {shown}; at least {self.least or 0:,.0f} x"

    def line(self) -> str:
        """Return the row of the table."""
        work = f"{self.work}; {self.happened}" if self.happened else self.work
        theirs = "" if self.theirs is None else duration(self.theirs)
        ratio = "" if self.ratio is None else f"{self.ratio:,.{0 if self.ratio >= 100 else 1}f} x"
        least = "" if self.least is None else f"{self.least:,.0f} x"
        taken = f"{theirs} | {duration(self.ours)} | {ratio}"
        return f"| {self.way} | {work} | {taken} | {least} | {_OVER if self.over else ''} |"


def over(rows: list[Row | Other]) -> list[str]:
    """Return in words what is over its limit."""
    return [row.told for row in rows if row.over]


def tables(rows: list[Row | Other]) -> str:
    """Return the figures in Markdown: a table of rows, and one of other ways."""
    shown = []
    for kind, head, columns in (
        (Row, "what | plain | with omnipkg_meta | ratio | at most | ", 6),
        (Other, "another way | what it does | it takes | ours takes | ratio | at least | ", 7),
    ):
        lines = [row.line() for row in rows if isinstance(row, kind)]
        if lines:
            shown.append("\n".join([f"| {head}|", "|---" * columns + "|", *lines]))
    return "\n\n".join(shown)
