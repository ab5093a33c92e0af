"""How the benchmarks show what they have measured: times, and tables in the documentation.

Owns the marks of a page between which a table is put, and what is said of the machine.
Must not know what was measured; it imports nothing of the library, which is not installed
where some of the benchmarks run.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["duration", "measured_on", "write_figures"]

_BEGIN, _END = "<!-- figures -->", "<!-- /figures -->"


def duration(seconds: float) -> str:
    """Return seconds as people write them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def measured_on(how: str = "") -> str:
    """Return one sentence on the interpreter and the machine, and on how it was measured."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"CPython {platform.python_version()}, {machine}{how and f'; {how}'}."


def write_figures(page: Path, table: str, how: str = "") -> None:
    """Put a table into a page, between its two marks, with what it was measured on.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} has no {_BEGIN} and {_END}")
    told = f"{before}{_BEGIN}\n{measured_on(how)}\n\n{table}\n{_END}{after}"
    page.write_text(told, "utf-8")
