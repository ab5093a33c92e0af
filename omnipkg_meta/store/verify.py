"""Whether a bubble is what was installed, file by file.

Owns the comparison of a bubble's files with RECORD and with the manifest.  Must
not change anything, nor know how bubbles are built.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.errors import BubbleInvalidError
from omnipkg_meta.store import record
from omnipkg_meta.store.bubble import LINK, LOCK, MANIFEST, SCRIPTS, SITE_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble

__all__ = ["Difference", "compare", "is_byte_code", "problems", "require_whole"]

_BYTE_CODE = re.compile(
    r"(?:(?P<parent>.*)/)?__pycache__/(?P<stem>[^/]+?)\.[^/.]+(?:\.opt-[^/.]+)?\.pyc"
)


class Difference(NamedTuple):
    """A path below ``site-packages``, and what is wrong with it."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


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
    found += map(str, compare(bubble.site_packages, infos, known))
    found += _frame_problems(bubble)
    return found


def compare(
    site_packages: Path, dist_infos: list[str], rewritten: Mapping[str, str] | None = None
) -> list[Difference]:
    """Compare ``site-packages`` with the RECORD of each distribution in it.

    Args:
        site_packages: the directory.
        dist_infos: the names of the metadata directories in it.
        rewritten: the digests of files that RECORD is wrong about, on purpose or by a
            fault of the wheel.
    """
    found: list[Difference] = []
    expected: dict[str, str] = {}
    for name in dist_infos:
        try:
            lines = record.read(site_packages / name)
        except (OSError, ValueError) as error:
            found.append(Difference(f"{name}/RECORD", f"cannot be read: {error}"))
            continue
        for line in lines:
            if line.path.startswith(("/", "\\")) or ".." in line.path.split("/"):
                found.append(Difference(f"{name}/RECORD", f"names a file outside: {line.path}"))
            else:
                expected[line.path] = line.digest
    expected.update(rewritten or {})
    root = os.path.realpath(site_packages)
    present = dict(record.files(site_packages))
    missing = sorted(set(expected) - set(present))
    found += [Difference(path, "is missing") for path in missing if not _BYTE_CODE.fullmatch(path)]
    for path, entry in present.items():
        if entry.is_symlink() and not os.path.realpath(entry.path).startswith(root + os.sep):
            found.append(Difference(path, "is a link that points outside"))
        elif is_byte_code(path, expected):
            continue  # Python writes it as it likes, also over what a wheel brought along
        elif path not in expected:
            found.append(Difference(path, "was added"))
        elif (wanted := expected[path]) and (trouble := _differs(site_packages / path, wanted)):
            found.append(Difference(path, trouble))
    return found


def _differs(path: Path, wanted: str) -> str | None:
    if wanted.startswith(LINK):
        # A link that the build made: it is its target's name that counts.
        same = path.is_symlink() and os.fspath(path.readlink()) == wanted.removeprefix(LINK)
        return None if same else "was changed"
    algorithm = wanted.partition("=")[0]
    try:
        same = record.digest(path, algorithm) == wanted
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, TypeError):
        return f"has a digest of an unknown kind: {algorithm}"
    return None if same else "was changed"


def is_byte_code(path: str, expected: Container[str]) -> bool:
    """Say whether a path is that of the byte code of one of these sources."""
    match = _BYTE_CODE.fullmatch(path)
    if match is None:
        return False
    parent = f"{match['parent']}/" if match["parent"] else ""
    return f"{parent}{match['stem']}.py" in expected


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
        elif trouble := _differs(bubble.path / path, str(wanted)):
            found.append(f"{path} {trouble}")
    found += [f"{path} was added" for path in scripts if path not in frame]
    return sorted(found)


def _names(directory: Path) -> list[str]:
    """Return the files below a directory; none where it is not there."""
    return [path for path, _ in record.files(directory)] if directory.is_dir() else []
