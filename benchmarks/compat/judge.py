"""What was wrong with a run, from what its process wrote and how it ended.

Owns the list of what has to have been checked: a check that is missing counts as
one that failed.  Must not know how anything is run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.compat.places import Outcome

MODES = ("threads", "turns", "main")

_OF_A_VERSION = (
    *("bubble", "import", "file", "metadata", "smoke", "modules", "scope"),
    *("smoke after the scope", "entered again"),
)
_OF_A_RUN = ("outside", "realm files", "storage", "main modules", "main files", "main bindings")
_OF_MAIN = ("main import", "main smoke", "main smoke again")

_ERROR = re.compile(r"error|traceback|exception|fatal|abort|corrupt", re.IGNORECASE)
#: By this the library says what it is meant to say; the page lists it.
_SAID = re.compile(r": StandardLibraryPatchWarning: <Bubble ")
#: By this a package says that it leaves alone what there is one of in a process: exceptiongroup
#: before 1.0, where ``sys.excepthook`` has been set. The page lists it, too.
_LEFT_ALONE = re.compile(r": RuntimeWarning: You seem to already have a custom sys\.excepthook ")

#: Native libraries log with the level in front (abseil, glog): what only informs is no error.
_INFORMS = re.compile(r"I\d{4} \d\d:\d\d:\d+\.\d+ ")


def expected(mode: str, versions: Sequence[str]) -> set[tuple[str, str]]:
    """Return what has to be checked in a mode: names with versions ("" for the whole run)."""
    of_run = (*_OF_A_RUN, *(_OF_MAIN if mode == "main" else ()))
    return {(name, version) for name in _OF_A_VERSION for version in versions} | {
        (name, "") for name in of_run
    }


def problems(mode: str, versions: Sequence[str], run: Outcome, plain: Iterable[str]) -> list[str]:
    """Return all that was wrong, the most telling first.

    Args:
        mode: the mode of the run.
        versions: the versions that it was about.
        run: what its process did.
        plain: what plain runs of the same versions wrote to stderr.
    """
    found = []
    checked = set()
    for event in run.of("check"):
        checked.add((event["name"], event["version"]))
        where = f"{event['name']} {event['version']}".strip()
        found += [f"{where}: {problem}" for problem in event["problems"]]
    if run.end:
        found.append(f"process: {run.end}: {_tail(run.stderr)}")
    missing = expected(mode, versions) - checked
    if missing:
        names = ", ".join(sorted(f"{name} {version}".strip() for name, version in missing))
        found.append(f"never checked: {names}")
    if not run.end:
        found += [f"stderr: {line}" for line in errors(run.stderr, plain)]
    return found


def refused(found: Sequence[str]) -> bool:
    """Tell whether the library itself said that it cannot, and nothing else happened."""
    told = [line for line in found if ": refused: " in line]
    rest = [
        line
        for line in found
        if line not in told and not line.startswith(("never checked: ", "file "))
    ]
    return bool(told) and not rest


def errors(stderr: str, plain: Iterable[str]) -> list[str]:
    """Return the lines that speak of errors and that no plain run wrote too."""
    known = {_bare(line) for text in plain for line in text.splitlines()}
    return [line for line in stderr.splitlines() if _is_error(line) and _bare(line) not in known]


def notes(stderr: str, plain: Iterable[str]) -> list[str]:
    """Return what else was written that no plain run wrote."""
    known = {_bare(line) for text in plain for line in text.splitlines()}
    return [
        line
        for line in stderr.splitlines()
        if line.strip() and not _is_error(line) and _bare(line) not in known
    ]


def _is_error(line: str) -> bool:
    told = _SAID.search(line) or _LEFT_ALONE.search(line) or _INFORMS.match(line)
    return bool(_ERROR.search(line)) and not told


def _bare(line: str) -> str:
    """Return a line without what differs from run to run: numbers, addresses, folders."""
    # Folders that are relative, too: some packages shorten by ``sys.path``, as PyTorch's log.
    return re.sub(r"[^\s:'\"]*/|0x[0-9a-f]+|\d+", "#", line).strip()


def _tail(text: str, lines: int = 25) -> str:
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())[:3000]
