"""The resolved set of a bubble, and its form on disk, a PEP 751 ``pylock.toml``.

Owns what a lock holds, how it is written, how that of a fresh resolution is read,
and the bubble's id that follows from it.  Must not know uv, pip or the store, nor
how a lock that somebody brings along is checked (pylock.py).

A lock of ours is for one interpreter tag, so it names exactly one archive for
each distribution; installing it leaves nothing to choose.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from omnipkg_meta.config import interpreter_tag
from omnipkg_meta.errors import BubbleInvalidError, BuildError, redact
from omnipkg_meta.requirements import Asked, name_of, normalize
from omnipkg_meta.store.bubble import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.tags import Tag

    from omnipkg_meta.store.bubble import Bubble

__all__ = ["Lock", "Locked", "best_wheel", "export", "read_toml", "redact"]


# Where PyPI keeps what its index names. A lock should name the index (PEP 751, packages.index);
# and uv finds what it took from there in its cache by that only, else it fetches it once more.
_PYPI = "https://pypi.org/simple"
_PYPI_FILES = "https://files.pythonhosted.org/"


@dataclass(frozen=True, order=True)
class Locked:
    """One distribution of a lock.

    Attributes:
        name: normalized.
        version: exactly.
        filename: of the archive, a wheel or (where that was allowed) an sdist.
        location: its address, or its absolute path when it is a local file.
        sha256: its digest, in hexadecimal.
    """

    name: str
    version: str
    filename: str
    location: str
    sha256: str

    @property
    def is_wheel(self) -> bool:
        """Whether installing it runs no code."""
        return self.filename.endswith(".whl")

    @property
    def address(self) -> str:
        """Its address as a URL, also when it is a local file, without any credentials."""
        if "://" in self.location:
            return redact(self.location, "")
        return Path(self.location).as_uri()


@dataclass(frozen=True)
class Lock:
    """A resolved, closed set of distributions, and the requirements that it answers."""

    packages: tuple[Locked, ...]
    requested: tuple[str, ...]

    @classmethod
    def of(cls, packages: Iterable[Locked], asked: Sequence[Asked]) -> Lock:
        """Make a lock in its one true order."""
        return cls(tuple(sorted(packages)), tuple(one.canonical for one in asked))

    @property
    def bubble_id(self) -> str:
        """The id of the bubble: what it is for, and a digest of all that it is made of."""
        digest = hashlib.sha256()
        for one in self.packages:
            digest.update(f"{one.name}\n{one.version}\n{one.sha256}\n".encode())
        versions = {one.name: one.version for one in self.packages}
        roots = list(dict.fromkeys(map(name_of, self.requested)))
        stem = "+".join(f"{name}-{versions[name]}" for name in roots[:3] if name in versions)
        safe = re.sub(r"[^A-Za-z0-9.+_-]", "_", stem).lstrip(".")
        return f"{safe[:100]}-{digest.hexdigest()[:12]}"

    def to_toml(self) -> str:
        """Return the lock as a ``pylock.toml``, without any credentials."""
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        lines = [
            'lock-version = "1.0"',
            f'requires-python = "=={version}.*"',
            'created-by = "omnipkg-meta"',
        ]
        for one in self.packages:
            local = "://" not in one.location
            where = one.location if local else redact(one.location, "")
            lines += [
                "",
                "[[packages]]",
                f"name = {_quoted(one.name)}",
                f"version = {_quoted(one.version)}",
                *([f"index = {_quoted(_PYPI)}"] if one.location.startswith(_PYPI_FILES) else []),
                "",
                "[[packages.wheels]]" if one.is_wheel else "[packages.sdist]",
                f"name = {_quoted(one.filename)}",
                f"{'path' if local else 'url'} = {_quoted(where)}",
                f"hashes = {{ sha256 = {_quoted(one.sha256)} }}",
            ]
        lines += ["", "[tool.omnipkg-meta]", f"tag = {_quoted(interpreter_tag())}", "requested = ["]
        lines += [f"    {_quoted(text)}," for text in self.requested]
        return "\n".join([*lines, "]", ""])


def export(bubble: Bubble) -> str:
    """Return the lock of a bubble, a ``pylock.toml``: from it the same bubble is built elsewhere.

    Raises:
        BubbleInvalidError: the lock is not the one that the bubble was made with.
    """
    written = bubble.entry["files"].get(LOCK)
    try:
        data = bubble.lock.read_bytes()
    except OSError as error:
        raise _bad_lock(bubble, f"its lock cannot be read: {error.strerror}") from None
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    if written != f"sha256={digest}":
        raise _bad_lock(bubble, "its lock was changed")
    return data.decode()


def _bad_lock(bubble: Bubble, problem: str) -> BubbleInvalidError:
    return BubbleInvalidError(
        f"the bubble {bubble.id} cannot be exported",
        cause=problem,
        tip=f"omnipkg-meta remove {bubble.id}, and install it again",
        path=bubble.path,
        problems=(problem,),
    )


def read_uv(data: dict[str, Any], asked: Sequence[Asked], directory: Path) -> Lock:
    """Read the ``pylock.toml`` that uv made, and keep the one archive that suits this interpreter.

    Args:
        data: the parsed TOML.
        asked: what was resolved.
        directory: where relative paths start.

    Raises:
        BuildError: it holds something else than archives from an index or local wheels.
    """
    wheels = {one.name: one for one in asked if one.wheel is not None}
    packages = []
    for package in data.get("packages", ()):
        name = normalize(package["name"])
        if name in wheels:
            one = wheels[name]
            packages.append(local(one, str(package["version"])))
            continue
        if "version" not in package or not ("wheels" in package or "sdist" in package):
            raise from_an_address(name, asked)
        archives = package.get("wheels", ())
        by_name = {filename_of(one): one for one in archives}
        # uv has chosen already, as a rule; the tags take milliseconds to make.
        filename = next(iter(by_name)) if len(by_name) == 1 else best_wheel(by_name)
        if filename is None:
            if "sdist" not in package:
                raise BuildError(
                    f"{name} {package['version']} cannot be installed",
                    cause="none of its wheels suits this interpreter",
                    requirements=[one.text for one in asked],
                    output="",
                )
            by_name = {filename_of(package["sdist"]): package["sdist"]}
            filename = next(iter(by_name))
        archive = by_name[filename]
        location = archive.get("url") or str(directory / archive["path"])
        sha256 = archive.get("hashes", {}).get("sha256")
        packages.append(
            Locked(
                name, package["version"], filename, location, sha256 or digest_of(location, asked)
            )
        )
    return Lock.of(packages, asked)


def local(one: Asked, version: str | None = None) -> Locked:
    """Return the locked form of a wheel that was asked for by its path."""
    if one.wheel is None or one.sha256 is None:
        raise AssertionError(one)
    if version is None:
        version = one.wheel.name.split("-")[1]
    return Locked(one.name, version, one.wheel.name, str(one.wheel), one.sha256)


def digest_of(location: str, asked: Sequence[Asked]) -> str:
    """Return the SHA-256 of an archive on this machine, for which nobody gave one.

    Raises:
        BuildError: it is elsewhere: without a digest nothing says what will be installed.
    """
    path = location
    if location.startswith("file:"):
        from urllib.request import url2pathname

        path = url2pathname(urlsplit(location).path)
    if "://" in path:
        raise BuildError(
            "the index gives no SHA-256 digest of an archive",
            cause=redact(location),
            requirements=[one.text for one in asked],
            output="",
        )
    return sha256_of(Path(path))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def from_an_address(name: str, asked: Sequence[Asked]) -> BuildError:
    """Make the error for a dependency that is no archive of an index."""
    return BuildError(
        f"{name} cannot be installed",
        cause="a dependency asks for it from an address, and only the index is consulted",
        tip=f"give a wheel of {name} by its path",
        requirements=[one.text for one in asked],
        output="",
    )


def best_wheel(filenames: Iterable[str]) -> str | None:
    """Return the wheel that installers would take on this interpreter, or None."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    rank = _ranks()
    best = None
    for filename in filenames:
        try:
            _, _, build, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            continue
        ranks = [rank[tag] for tag in tags if tag in rank]
        if ranks and (best is None or (max(ranks), build) > best[0]):
            best = ((max(ranks), build), filename)
    return None if best is None else best[1]


@functools.cache
def _ranks() -> dict[Tag, int]:
    """Return the tags of this interpreter, the best with the highest number."""
    from packaging.tags import sys_tags

    return {tag: -index for index, tag in enumerate(sys_tags())}


def filename_of(archive: dict[str, Any]) -> str:
    """Return the file name of an entry of a lock, which may leave it to its address."""
    if archive.get("name") is not None:
        return str(archive["name"])
    where = urlsplit(archive["url"]).path if "url" in archive else archive["path"]
    return unquote(re.split(r"[/\\]", where)[-1])


def read_toml(text: str) -> dict[str, Any]:
    """Read TOML: with the standard library from 3.11, before that with tomli.

    Raises:
        ImportError: there is no reader.
        ValueError: the text is not TOML.
    """
    import importlib

    for name in ("tomllib", "tomli", "pip._vendor.tomli"):
        try:
            reader = importlib.import_module(name)
        except ImportError:
            continue
        loaded: dict[str, Any] = reader.loads(text)
        return loaded
    raise ImportError("no TOML reader")


def _quoted(text: str) -> str:
    # TOML's basic strings have JSON's escapes, but for "/" and for surrogates, which no name has.
    return json.dumps(text, ensure_ascii=False)
