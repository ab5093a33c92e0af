"""Whether a bubble is what was installed, file by file.

Owns the comparison of a bubble's files with RECORD and with the manifest.  Must
not change anything, nor know how bubbles are built.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.errors import BubbleInvalidError
from omnipkg_meta.store import record, worker
from omnipkg_meta.store.bubble import LINK, LOCK, MANIFEST, SCRIPTS, SITE_PACKAGES
from omnipkg_meta.store.bytecode import is_byte_code, wrong
from omnipkg_meta.store.crew import crew, processors

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.crew import Crew
    from omnipkg_meta.store.record import Recorded

__all__ = [
    "Apart",
    "Difference",
    "Expected",
    "compare",
    "digesting",
    "expected",
    "problems",
    "require_whole",
]

_SHA256 = re.compile(r"sha256=[\w-]{43}", re.ASCII)
# To start a process takes as long as to digest so many files, most of which are small.
_MANY_FILES = 1500
_OUTSIDE = "is a link that points outside"
_CHANGED = "was changed"
_WORKERS = min(4, os.cpu_count() or 1)


class Difference(NamedTuple):
    """A path below ``site-packages``, and what is wrong with it."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


class Expected(NamedTuple):
    """What the RECORDs of distributions say that there is.

    Attributes:
        digests: the digest of each file, by its path.
        faults: what is wrong with the RECORDs themselves.
        lines: what each RECORD says, by the name of the metadata directory.
    """

    digests: dict[str, str]
    faults: list[Difference]
    lines: dict[str, list[Recorded]]


#: The bubbles that were found whole in this process, with what tells them from others that
#: were made in their place since.
_whole: set[tuple[str, str]] = set()


def require_whole(bubble: Bubble) -> None:
    """Verify a bubble that is about to be used; once in a process.

    Raises:
        BubbleInvalidError: something is not as it was installed.
    """
    key = (str(bubble.path), bubble.created)
    if key in _whole:
        return
    if found := problems(bubble):
        raise BubbleInvalidError(
            f"the bubble {bubble.id} is not as it was installed",
            cause="; ".join(found[:5]) + (f"; and {len(found) - 5} more" if found[5:] else ""),
            tip="omnipkg-meta install --reinstall " + shlex.join(bubble.requested),
            path=bubble.path,
            problems=tuple(found),
        )
    _whole.add(key)


def problems(bubble: Bubble) -> list[str]:
    """Return one sentence for each thing that is wrong with a bubble; empty when all is well."""
    found = []
    if bubble.entry.get("id") != bubble.id:
        found.append(f"the manifest is that of {bubble.entry.get('id')!r}")
    for name, version in bubble.distributions.items():
        info = bubble.dist_info(name)
        in_metadata = _version(info)
        if in_metadata != version:
            found.append(f"{name} is {in_metadata} by its metadata, and {version} by the manifest")
    extra_infos = {path.name for path in bubble.site_packages.glob("*.dist-info")}
    extra_infos -= {bubble.dist_info(name).name for name in bubble.distributions}
    found += [f"{name} is not in the manifest" for name in sorted(extra_infos)]
    rewritten = bubble.entry.get("rewritten", {})
    infos = [bubble.dist_info(name).name for name in bubble.distributions]
    known = rewritten if isinstance(rewritten, dict) else {}
    known = {path: str(wanted) for path, wanted in known.items()}
    later: list[str] = []
    recorded = expected(bubble.site_packages, infos)
    found += map(str, compare(bubble.site_packages, recorded, known, later=later))
    found += [f"{path} {what}" for path, what in wrong(bubble.site_packages, later).items()]
    found += _frame_problems(bubble)
    return found


class Apart:
    """Files that helper processes digest meanwhile.

    Attributes:
        paths: the files.
    """

    def __init__(
        self,
        paths: frozenset[str] = frozenset(),
        crew: Crew | None = None,
        site_packages: str = "",
    ) -> None:
        self.paths = paths
        self._crew = crew
        self._site_packages = site_packages

    def unlike(self) -> list[str]:
        """Join the processes, and return the files that are not what RECORD says.

        All of them, if a process did not come to its end: somebody else has to look.
        """
        if self._crew is None:
            return []
        found = set()
        for words in self._crew.portions():
            for path, wanted in zip(words[::2], words[1::2], strict=True):
                if worker.digest(self._site_packages + path) != wanted:
                    found.add(path)
        told = [one.communicate()[0] for one in self._crew.processes]
        if any(one.returncode for one in self._crew.processes):
            return sorted(self.paths)
        found.update(os.fsdecode(path) for all_ in told for path in all_.split(b"\0") if path)
        return sorted(found)


@contextmanager
def digesting(
    site_packages: Path,
    recorded: Expected,
    present: Mapping[str, os.DirEntry[str]],
    *,
    known: Container[str] = (),
    keep_open: int | None = None,
) -> Iterator[Apart]:
    """Have files digested beside the block, where there are so many that it pays.

    Args:
        site_packages: the directory.
        recorded: what RECORDs say of it.
        present: the files in it.
        known: the files that somebody else digests.
        keep_open: a file descriptor that the processes inherit, or None.
    """
    words = {
        path: f"{path}\0{wanted}"
        for path, wanted in recorded.digests.items()
        if _SHA256.fullmatch(wanted)
        and (entry := present.get(path)) is not None
        and path not in known
        and not entry.is_symlink()
    }
    if len(words) < _MANY_FILES or processors() == 1:
        yield Apart()
        return
    with crew(
        *("digest", (site_packages,), dict.fromkeys(words.values(), 1)),
        worth=_MANY_FILES,
        most=processors() - 1,  # this process joins them when it has nothing else to do
        output=subprocess.PIPE,
        keep_open=keep_open,
    ) as helpers:
        yield Apart(frozenset(words), helpers, os.path.join(site_packages, ""))  # noqa: PTH118


def compare(
    site_packages: Path,
    recorded: Expected,
    rewritten: Mapping[str, str] | None = None,
    *,
    present: Mapping[str, os.DirEntry[str]] | None = None,
    later: list[str] | None = None,
    apart: Apart | None = None,
    known: Mapping[str, str | None] | None = None,
) -> list[Difference]:
    """Compare ``site-packages`` with the RECORD of each distribution in it.

    Args:
        site_packages: the directory.
        recorded: what the RECORDs say (:func:`expected`).
        rewritten: the digests of files that RECORD is wrong about, on purpose or by a
            fault of the wheel.
        present: the files in it (:func:`record.files`), for who knows them already.
        later: gets the paths of the byte code of recorded sources that is not itself as
            recorded: Python makes it when it likes, also in place of what a wheel brought
            along.  Without it such files are differences like all others.
        apart: what helper processes do of it (:func:`digesting`).
        known: the digests of files that were read already, None where RECORD names none that
            could be computed.
    """
    wanted = {**recorded.digests, **(rewritten or {})}
    found = list(recorded.faults)
    if present is None:
        present = dict(record.files(site_packages))
    missing = sorted(wanted.keys() - present.keys())
    found += [Difference(path, "is missing") for path in missing if not is_byte_code(path)]
    for path, trouble in _troubles(site_packages, wanted, present, apart or Apart(), known or {}):
        if later is not None and trouble != _OUTSIDE and is_byte_code(path, wanted):
            later.append(path)
        else:
            found.append(Difference(path, trouble))
    return found


def expected(site_packages: Path, dist_infos: Iterable[str]) -> Expected:
    """Read the RECORDs of distributions.

    Args:
        site_packages: the directory.
        dist_infos: the names of the metadata directories in it.
    """
    found = Expected({}, [], {})
    for name in dist_infos:
        try:
            lines = record.read(site_packages / name)
        except (OSError, ValueError) as error:
            found.faults.append(Difference(f"{name}/RECORD", f"cannot be read: {error}"))
            continue
        found.lines[name] = lines
        for path, digest in lines:
            if path.startswith(("/", "\\")) or (".." in path and ".." in path.split("/")):
                found.faults.append(Difference(f"{name}/RECORD", f"names a file outside: {path}"))
            else:
                found.digests[path] = digest
    return found


def _troubles(
    site_packages: Path,
    expected: Mapping[str, str],
    present: Mapping[str, os.DirEntry[str]],
    apart: Apart,
    known: Mapping[str, str | None],
) -> Iterator[tuple[str, str]]:
    """Yield the path of each file that is not as expected, and what is the matter with it."""
    large: list[tuple[str, str, str]] = []
    for path, entry in present.items():
        wanted = expected.get(path)
        if entry.is_symlink() and _leads_out(entry.path, site_packages):
            yield path, _OUTSIDE
        elif wanted is None:
            yield path, "was added"
        elif not wanted or path in apart.paths or known.get(path) == wanted:
            pass
        elif known.get(path) is not None:
            yield path, _CHANGED
        elif record.is_large(entry):
            large.append((path, entry.path, wanted))
        elif trouble := _differs(entry.path, wanted):
            yield path, trouble
    yield from _large_troubles(large) if large else ()
    for path in apart.unlike():
        if trouble := _differs(present[path].path, expected[path]):
            yield path, trouble


def _large_troubles(large: list[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    from concurrent.futures import ThreadPoolExecutor

    # Not beside the small ones: threads that all want the interpreter for a moment, thousands
    # of times, wait for each other more than they work.  What digests a large file does not.
    with ThreadPoolExecutor(_WORKERS) as pool:
        troubles = pool.map(_differs, [one[1] for one in large], [one[2] for one in large])
        yield from (
            (one[0], trouble) for one, trouble in zip(large, troubles, strict=True) if trouble
        )


def _leads_out(path: str, site_packages: Path) -> bool:
    return not os.path.realpath(path).startswith(os.path.realpath(site_packages) + os.sep)


def _differs(path: str, wanted: str) -> str | None:
    if wanted.startswith(LINK):
        # A link that the build made: it is its target's name that counts.
        same = os.path.islink(path) and os.readlink(path) == wanted.removeprefix(LINK)  # noqa: PTH114, PTH115
        return None if same else _CHANGED
    algorithm = wanted.partition("=")[0]
    try:
        same = record.digest(path, algorithm) == wanted
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, TypeError):
        return f"has a digest of an unknown kind: {algorithm}"
    return None if same else _CHANGED


def _version(info: Path) -> str | None:
    try:
        with (info / "METADATA").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.lower().startswith("version:"):
                    return line.partition(":")[2].strip()
                if not line.strip():
                    break
    except OSError:
        pass
    return None


def _frame_problems(bubble: Bubble) -> list[str]:
    """Look at what stands beside ``site-packages``."""
    found = []
    known = {MANIFEST, LOCK, SITE_PACKAGES, SCRIPTS}
    with os.scandir(bubble.path) as entries:
        for entry in entries:
            if entry.name not in known:
                found.append(f"{entry.name} was added")
            elif entry.is_symlink():
                found.append(f"{entry.name} is a link")
    if not bubble.lock.is_file() and "copy" not in bubble.entry:
        found.append(f"{LOCK} is missing")
    frame = bubble.entry.get("files", {})
    frame = frame if isinstance(frame, dict) else {}
    scripts = {f"{SCRIPTS}/{name}" for name in _names(bubble.scripts)}
    for path, wanted in frame.items():
        if path != LOCK and path not in scripts:
            # Not looked for: it may be no path at all, or lead anywhere.
            found.append(f"{path} is missing")
        elif not (bubble.path / path).is_file():
            found.append(f"{path} is missing")
        elif trouble := _differs(str(bubble.path / path), str(wanted)):
            found.append(f"{path} {trouble}")
    found += [f"{path} was added" for path in scripts if path not in frame]
    return sorted(found)


def _names(directory: Path) -> list[str]:
    """Return the files below a directory; none where it is not there."""
    return [path for path, _ in record.files(directory)] if directory.is_dir() else []
