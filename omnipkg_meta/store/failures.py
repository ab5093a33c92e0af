"""Why uv or pip failed, in one line that helps.

Owns the reading of the two tools' output.  Must not run anything.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.errors import BuildError, OmnipkgMetaError, redact
from omnipkg_meta.store.writing import NO_ROOM, unwritable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnipkg_meta.requirements import Asked

__all__ = ["explain"]

# What says that the disk is the trouble: uv's and pip's way to print an error number.
_ERRNO = re.compile(r"(?:os error |\[Errno )(\d+)")
# What says that no index answered, the most telling first.
_UNREACHABLE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"connection refused|connection reset|network is unreachable|no route to host",
        r"name or service not known|temporary failure in name resolution|nodename nor servname",
        r"failed to lookup address|certificate_verify_failed|invalid peer certificate",
        r"connection timed out|operation timed out|read timed out|dns error",
        r"failed to establish a new connection|network connectivity is disabled",
        r"error sending request|could not connect",
    )
)
_REFUSED = re.compile(r"\b(?:401|403)\b[^\n]{0,60}", re.IGNORECASE)
_NEEDS_BUILD = re.compile(
    r"no (?:usable |compatible )?wheels|has no wheels|only-binary|no-build|building from source|"
    r"Only wheels are|no matching platform|source distribution",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(
    r"No solution found|No matching distribution|not found in the|no versions? of|"
    r"ResolutionImpossible|conflicting dependencies|unsatisfiable|was not found",
    re.IGNORECASE,
)
# uv's and pip's words for an archive that is not the one that was locked.
_OTHER_ARCHIVE = re.compile(
    r"Hash mismatch for `?([^\s`]+)|DO NOT MATCH THE HASHES[^\n]*\n\s*(\S+)", re.IGNORECASE
)
_NOISE = re.compile(
    r"^\s*(?:warning:|Using CPython|Resolved \d|Prepared \d|Installed \d|Downloading |Downloaded |"
    r"Looking in |Collecting |Processing |Requirement already|\[notice\]|Traceback |File \"|"
    r"hint: See above|ERROR: Ignored the following|ERROR: ResolutionImpossible|"
    r"To fix this you could|\d\. (?:loosen|remove)|note: This )",
    re.IGNORECASE,
)
_LONGEST = 600
_LABEL = re.compile(r"^\s*(?:error|cause|ERROR|Caused by|╰─▶|├─▶|\u00d7)\s*:?\s*")


def explain(
    asked: Sequence[Asked], tool: str, code: int, output: str, directory: Path
) -> OmnipkgMetaError:
    """Make the error for a tool that failed.

    Args:
        asked: the requirements.
        tool: the program that ran.
        code: its exit status; negative for a signal.
        output: all that it printed.
        directory: where it was to write.
    """
    output = redact(output)
    texts = [one.text for one in asked]
    name = "uv" if Path(tool).stem == "uv" else "pip"
    numbers = [int(number) for number in _ERRNO.findall(output)]
    for number in numbers:
        if number in NO_ROOM:
            return unwritable(directory, OSError(number, os.strerror(number)))
    what = f"no bubble could be made for {', '.join(texts)}"
    cause, tip = _last_words(output), None
    if code < 0:
        cause = f"{name} was ended by signal {-code}"
        if number_of := _signal_errno(-code):
            return unwritable(directory, OSError(number_of, os.strerror(number_of)))
    elif match := _OTHER_ARCHIVE.search(output):
        cause = (
            f"the archive of {match[1] or match[2]} has another hash than the one that was locked"
        )
    elif why := next((match[0] for one in _UNREACHABLE if (match := one.search(output))), None):
        cause = f"the package index is not in reach ({why.lower()})"
        tip = "check the network, or give a directory of wheels: --no-index --find-links DIR"
    elif match := _REFUSED.search(output):
        cause = f"the package index refused: {match[0].strip()}"
        tip = "check the credentials of the index"
    elif _NEEDS_BUILD.search(output):
        tip = "source distributions run code when they are built; allow it with --allow-build"
    elif _NOT_FOUND.search(output):
        tip = "check the spelling of the name and the versions that the index has"
    return BuildError(
        what, cause=cause or f"{name} failed", tip=tip, requirements=texts, output=output
    )


def _signal_errno(number: int) -> int | None:
    import signal

    # The kernel's way to say EFBIG to a program that does not ignore it.
    return errno.EFBIG if number == getattr(signal, "SIGXFSZ", None) else None


def _last_words(output: str) -> str:
    """Return the last few lines that say something, as one."""
    told = [line for line in output.splitlines() if line.strip() and not _NOISE.match(line)]
    if any(line.startswith("ERROR:") for line in told):  # pip, which says much besides
        told = [line for line in told if line.startswith(("ERROR:", "The conflict", "    "))]
    text = ""
    for line in told[-4:]:
        joint = "" if not text else " " if text.endswith((".", ":", ",")) else "; "
        text += joint + _LABEL.sub("", line).strip()
    text = re.sub(
        r"\(from versions: (?:[^)]*, )?((?:[^,)]+, ){2}[^,)]+)\)", r"(there are ... \1)", text
    )
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
