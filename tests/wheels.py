"""Little wheels, made in pure Python, for tests that must not need an index.

Owns the making of a valid wheel (METADATA, WHEEL, RECORD with right hashes) from
a mapping of file names to contents.  Must not know anything of the library.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["make_wheel", "names"]

# The earliest time that a zip archive can hold: the same input gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_wheel(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, str | bytes] | None = None,
    *,
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    entry_points: Mapping[str, Mapping[str, str]] | None = None,
    tag: str = "py3-none-any",
    metadata: Sequence[str] = (),
) -> Path:
    """Write ``<name>-<version>-<tag>.whl`` into *directory* and return its path.

    Args:
        directory: where the wheel goes; made if it is not there.
        name: the distribution's name, as in METADATA.
        version: the distribution's version.
        files: what is installed, by path relative to site-packages.  Without
            it, one module named after the distribution, with ``__version__``.
        requires: ``Requires-Dist`` lines.
        extras: the requirements of each extra.
        entry_points: ``{"console_scripts": {"tool": "package:main"}}``.
        tag: the compatibility tag of the file name.
        metadata: further METADATA header lines, as they stand.
    """
    stem = name.lower().replace("-", "_").replace(".", "_")
    if files is None:
        files = {f"{stem}.py": f"__version__ = {version!r}\n"}
    info = f"{stem}-{version}.dist-info"
    contents: dict[str, bytes] = {
        path: text.encode() if isinstance(text, str) else text for path, text in files.items()
    }

    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    for extra, wanted in (extras or {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [_with_extra(requirement, extra) for requirement in wanted]
    contents[f"{info}/METADATA"] = ("\n".join(lines) + "\n").encode()
    contents[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    )
    if entry_points:
        text = "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in names.items())
            for group, names in entry_points.items()
        )
        contents[f"{info}/entry_points.txt"] = text.encode()
    record = "".join(f"{path},{_digest(data)},{len(data)}\n" for path, data in contents.items())
    contents[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()

    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"{stem}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return wheel


def names(directory: Path) -> list[str]:
    """Return the names of all that is in a directory, in order."""
    return sorted(path.name for path in directory.iterdir())


def _with_extra(requirement: str, extra: str) -> str:
    spec, _, marker = (part.strip() for part in requirement.partition(";"))
    marker = f"({marker}) and " if marker else ""
    return f'Requires-Dist: {spec}; {marker}extra == "{extra}"'


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + digest.rstrip(b"=").decode()
