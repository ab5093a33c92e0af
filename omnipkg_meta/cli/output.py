"""How the command line speaks: data on stdout, everything else on stderr.

Owns colour, tables, JSON, the status line and the form of errors.  Must not know
what any of it means.
"""

from __future__ import annotations

import itertools
import json as _json
import os
import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from omnipkg_meta.errors import OmnipkgMetaError

__all__ = [
    "Progress",
    "coloured",
    "confirm",
    "data",
    "draws",
    "error",
    "json",
    "note",
    "paint",
    "size",
    "table",
]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES = "|/-\\"
# The least room that a column is folded into.
_NARROWEST = 12


def coloured(stream: TextIO) -> bool:
    """Say whether to colour what goes to *stream*: only on a terminal, never with ``NO_COLOR``."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Return *text* in a colour, if *stream* takes colours."""
    return f"\033[{_COLOURS[colour]}m{text}\033[0m" if coloured(stream) else text


def data(text: str) -> None:
    """Write a line of data to stdout."""
    _write(sys.stdout, text)


def json(value: Any) -> None:
    """Write a value to stdout as JSON."""
    _write(sys.stdout, _json.dumps(value, indent=2, ensure_ascii=True))


def note(text: str) -> None:
    """Write a line for people to stderr."""
    _write(sys.stderr, text)


def error(problem: OmnipkgMetaError) -> None:
    """Write an error to stderr: what, ``cause:`` and ``tip:`` on lines of their own."""
    note(f"{paint('error:', 'red', sys.stderr)} {problem.message}")
    if problem.cause:
        note(f"{paint('cause:', 'yellow', sys.stderr)} {problem.cause}")
    if problem.tip:
        note(f"{paint('tip:', 'cyan', sys.stderr)} {problem.tip}")


def draws(characters: str) -> bool:
    """Say whether stdout takes these characters as they are."""
    try:
        characters.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows in columns to stdout, under a header on a terminal.

    Where a terminal is too narrow and rich is there, the widest column but the first is
    folded within itself.
    """
    terminal = sys.stdout.isatty()
    whole = [header, *rows] if terminal else rows
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    if terminal and _folded(header, rows, widths):
        return
    for row in whole:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        line = "  ".join(cells).rstrip()
        data(paint(line, "bold", sys.stdout) if row is header else line)


def _folded(header: Sequence[str], rows: Sequence[Sequence[str]], widths: list[int]) -> bool:
    """Write a table that is too wide with one column folded; False where that does not help."""
    room = shutil.get_terminal_size().columns
    widest = max(range(1, len(widths)), key=widths.__getitem__, default=0)
    left = room - sum(widths) - 2 * (len(widths) - 1) + widths[widest]
    if not widest or left >= widths[widest] or left < _NARROWEST:
        return False
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    style = "bold" if coloured(sys.stdout) else ""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style=style, pad_edge=False)
    for index, title in enumerate(header):
        made.add_column(Text(title), overflow="fold", no_wrap=index != widest)
    for row in rows:
        made.add_row(*map(Text, row))  # as texts: brackets in them are no markup
    Console(file=sys.stdout, width=room, highlight=False, no_color=not coloured(sys.stdout)).print(
        made
    )
    return True


def size(number: int) -> str:
    """Return a number of bytes as people write it, in powers of 1000."""
    from omnipkg_meta.store.disk import in_words

    return in_words(number)


def confirm(question: str) -> bool | None:
    """Ask a question that is answered with yes or no; None where there is nobody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Progress:
    """A status line on stderr that says what is going on; nothing at all in a pipe.

    Call it with a few words whenever something new begins.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._shown = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._text = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, text: str) -> None:
        """Say what is going on from now on."""
        self._text = text
        if self._shown and self._thread is None:
            self._thread = threading.Thread(target=self._turn, daemon=True)
            self._thread.start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _turn(self) -> None:
        utf8 = (self._stream.encoding or "").lower().replace("-", "") == "utf8"
        for frame in itertools.cycle(_FRAMES if utf8 else _PLAIN_FRAMES):
            room = max(shutil.get_terminal_size().columns - 4, 10)
            text = self._text if len(self._text) <= room else self._text[: room - 3] + "..."
            self._stream.write(f"\r\033[K{paint(frame, 'cyan', self._stream)} {text}")
            self._stream.flush()
            if self._stop.wait(0.1):
                return


def _write(stream: TextIO, text: str) -> None:
    try:
        print(text, file=stream)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
