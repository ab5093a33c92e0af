"""What a wheel would write, looked at before anything is written.

Owns the check of the paths in an archive.  Must not know how it is installed.

pip refuses a wheel that would write outside of its target; uv passes over such
entries (and their lines in RECORD) without a word.  Neither writes them; but who
makes such a wheel means harm, so nothing of it is installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from omnipkg_meta.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from omnipkg_meta.store.lock import Locked

__all__ = ["check"]

_DRIVE = re.compile(r"[A-Za-z]:")


def check(packages: Iterable[Locked], requirements: Sequence[str]) -> None:
    """Refuse wheels on this machine that hold a path which leads out of where they go.

    What comes from an index is fetched by uv or pip, and looked at by them.

    Args:
        packages: what is about to be installed.
        requirements: what was asked, for the error.

    Raises:
        BuildError: there is such a path, or the archive cannot be read.
    """
    for one in packages:
        path = _local(one.location)
        if path is None or not one.is_wheel:
            continue
        import zipfile  # not for what comes from an index

        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            cause = f"{path} cannot be read: {error}"
        else:
            bad = next((name for name in names if leads_out(name)), None)
            if bad is None:
                continue
            cause = f"{path.name} holds {bad!r}, which leads out of the directory it is for"
        raise BuildError(
            f"{one.name} {one.version} cannot be installed",
            cause=cause,
            requirements=requirements,
            output="",
        )


def leads_out(name: str) -> bool:
    """Say whether a path in an archive leads out of the directory that it is unpacked into."""
    parts = re.split(r"[/\\]", name)
    return not parts[0] or ".." in parts or bool(_DRIVE.match(name)) or "\0" in name


def _local(location: str) -> Path | None:
    if location.startswith("file:"):
        from urllib.request import url2pathname  # which loads all that speaks HTTP

        return Path(url2pathname(urlsplit(location).path))
    return None if "://" in location else Path(location)
