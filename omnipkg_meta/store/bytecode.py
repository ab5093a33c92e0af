"""The byte code of a bubble: made beforehand where that is wanted, and judged where it came later.

Owns which files of a bubble are byte code, who compiles or compares them, and what of them
nobody needs.  Must not know what else is done to a bubble, nor what one process does with
one file (worker.py).

As a rule the import system makes byte code when a module is first imported, as it does
everywhere.  For stores that are only read it can be made beforehand; that is what takes
the longest when a bubble is built, so it is done by as many processes as there are
processors, while the builder goes on with something else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.store import record
from omnipkg_meta.store.crew import crew

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

__all__ = [
    "compile_rest",
    "compiling",
    "has_any",
    "is_byte_code",
    "is_unfinished",
    "left_over",
    "wrong",
]

# To start a process takes as long as to compile so many bytes.
_WORTH_A_PROCESS = 60_000

_CACHED = re.compile(
    r"(?P<parent>(?:.*/)?)__pycache__/"
    # PEP 3147 and 488; what pytest adds to the tag has dots in it.
    r"(?P<stem>[^/]+?)\.(?P<tag>[^/.]+?(?P<pytest>-pytest-[^/]+?)?)(?:\.opt-(?P<level>[^/.]+))?"
    # The name under which importlib writes it (``_write_atomic``), and pytest.
    r"\.pyc(?P<unfinished>\.\d+)?"
)
# Seconds after which nobody writes a file any more.
_LONG_AGO = 60.0


def is_byte_code(path: str, expected: Container[str] | None = None) -> bool:
    """Say whether a path is that of byte code, and of one of these sources if they are given."""
    match = _CACHED.fullmatch(path)
    if match is None:
        return False
    return expected is None or f"{match['parent']}{match['stem']}.py" in expected


def is_unfinished(path: str) -> bool:
    """Say whether a file is one that is to become byte code, or was left when its writer died."""
    match = _CACHED.fullmatch(path)
    return match is not None and match["unfinished"] is not None


def _is_loadable(path: str) -> bool:
    """Say whether byte code has a name under which this interpreter's import system reads it."""
    match = _CACHED.fullmatch(path)
    if match is None or match["unfinished"] or match["tag"] != sys.implementation.cache_tag:
        return False
    return match["level"] is None or match["level"].isdecimal()


def wrong(site_packages: Path, cached: Iterable[str]) -> dict[str, str]:
    """Compare byte code that came after the bubble with what its sources compile to.

    What no program loads is passed over: of another interpreter, stale, of an older Python
    of the same tag, half written.

    Args:
        site_packages: where the files are.
        cached: their paths in it.

    Returns:
        What is wrong, by the path.
    """
    found, wanted = {}, {}
    for path in cached:
        match = _CACHED.fullmatch(path)
        if match is not None and match["pytest"] and not match["unfinished"]:
            # pytest loads it, and only pytest knows what it makes of a source.
            found[path] = "is byte code of pytest, which nothing can be compared with"
        elif _is_loadable(path):
            with suppress(FileNotFoundError):  # replaced in this moment
                wanted[path] = (site_packages / path).stat().st_size
    if not wanted:
        return found
    alike: set[str] = set()
    what = "is not what its source compiles to"
    with crew(
        "examine", (site_packages,), wanted, worth=_WORTH_A_PROCESS, output=subprocess.PIPE
    ) as helpers:
        for process in helpers.processes:
            told = process.communicate()[0]
            alike.update(map(os.fsdecode, told.split(b"\0")))
            if process.returncode:  # marshal promises nothing about what is not its own
                what = "cannot be compared with what its source compiles to"
    found.update(dict.fromkeys(sorted(wanted.keys() - alike), what))
    return found


@contextmanager
def compiling(site_packages: Path, final: Path, *, keep_open: int | None = None) -> Iterator[None]:
    """Compile all sources during a block, so that tracebacks name the directory where they will be.

    They are compiled when the block ends; where it fails, nobody goes on.

    Args:
        site_packages: where the sources are.
        final: where they will be.
        keep_open: a file descriptor that the processes inherit, or None.
    """
    sizes = {
        path: entry.stat(follow_symlinks=False).st_size
        for path, entry in record.files(site_packages)
        if path.endswith(".py")
    }
    places = (site_packages, final)
    with crew("make", places, sizes, worth=_WORTH_A_PROCESS, keep_open=keep_open) as helpers:
        yield
        for process in helpers.processes:
            process.wait()


def compile_rest(site_packages: Path) -> None:
    """Compile the sources of a bubble that have no byte code yet, where they are."""
    with compiling(site_packages, site_packages):
        pass


def has_any(site_packages: Path) -> bool | None:
    """Say whether there is byte code for this interpreter; None where there is nothing to compile.

    Byte code that Python made at the first import counts like that which was made beforehand.
    """
    sources = False
    for path, _ in record.files(site_packages):
        if _is_loadable(path):
            return True
        sources = sources or path.endswith(".py")
    return False if sources else None


def left_over(site_packages: Path) -> list[Path]:
    """Return what can go from among the byte code: half written files, and pytest's."""
    found = []
    before = time.time() - _LONG_AGO
    for path, entry in record.files(site_packages):
        match = _CACHED.fullmatch(path)
        if match is None or not (match["unfinished"] or match["pytest"]):
            continue
        with suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_mtime < before:
                found.append(Path(entry.path))
    return found
