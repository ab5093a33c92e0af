"""Reading a ``pylock.toml`` (PEP 751) that somebody brings along.

Owns every check of such a file: it may be another version's, another interpreter's,
damaged, or made by somebody who means harm.  Must not know uv, pip or the store.

What comes out is a :class:`~omnipkg_meta.store.lock.Lock` as a fresh resolution on
this machine would have given it: one archive for each distribution, each with its
SHA-256 digest, from an address of the web or a file that is there.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urldefrag, urlsplit

from omnipkg_meta import requirements
from omnipkg_meta.config import interpreter_tag
from omnipkg_meta.errors import LockError, RequirementError
from omnipkg_meta.store.lock import (
    Lock,
    Locked,
    best_wheel,
    filename_of,
    read_toml,
    redact,
    sha256_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnipkg_meta.requirements import Asked

__all__ = ["read", "text_of"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.+!_-]+")
# A file's name that cannot lead anywhere, nor end a line or a word.
_FILENAME = re.compile(r"(?!\.)[A-Za-z0-9.+!_-]+")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
# What PEP 751 lets a package be besides a wheel or an sdist.
_ELSEWHERE = ("vcs", "directory", "archive")


def read(
    source: str | os.PathLike[str],
    asked: Sequence[str | Asked] = (),
    *,
    allow_build: bool = False,
) -> Lock:
    """Read a lock, for this interpreter.

    Args:
        source: the path of a ``pylock.toml``, or its text; what has more than one line is a text.
        asked: requirements that it must satisfy, and that the bubble is then made for.  By
            default those that the lock says it was made for, else all that it holds.
        allow_build: whether source distributions may stand in it.

    Returns:
        The lock.  User names and passwords in its addresses are dropped: those of the
        index options and of the builder's own settings serve.

    Raises:
        LockError: it cannot be read, is not meant for this interpreter, or holds something
            else than archives with digests.
        RequirementError: a requirement is malformed.
    """
    text, directory, name = _source(source)
    return _Reading(name, directory).lock(text, asked, allow_build=allow_build)


def text_of(path: os.PathLike[str]) -> str:
    """Return the text of a lock, to be sent to another machine.

    Raises:
        LockError: the file cannot be read.
    """
    return _source(path)[0]


def _source(source: str | os.PathLike[str]) -> tuple[str, Path | None, str]:
    """Return the text, the directory that its paths start at, and what to call it."""
    if isinstance(source, str) and "\n" in source:
        return source, None, "the lock that was given as a text"
    path = Path(source).absolute()
    try:
        return path.read_text("utf-8"), path.parent, str(path)
    except (
        OSError,
        ValueError,
    ) as error:  # ValueError: not UTF-8, or a null byte
        cause = getattr(error, "strerror", None) or str(error)
        raise _error(str(path), None, cause, "give the path of a pylock.toml") from None


class _Reading:
    """One lock file being read.

    Args:
        name: what to call it.
        directory: where its relative paths start; None for a text, which has no place.
    """

    def __init__(self, name: str, directory: Path | None) -> None:
        self.name = name
        self.directory = directory

    def fail(self, cause: str, *, package: str | None = None, tip: str | None = None) -> NoReturn:
        raise _error(self.name, package, cause, tip) from None

    def lock(self, text: str, asked: Sequence[str | Asked], *, allow_build: bool) -> Lock:
        data = self._parsed(text)
        self._check_interpreter(data)
        entries = data.get("packages")
        if not isinstance(entries, list) or not entries:
            self.fail("it names no packages")
        packages: dict[str, Locked] = {}
        for entry in entries:
            one = self._package(entry, data, allow_build=allow_build)
            if one is None:
                continue
            if one.name in packages:
                self.fail("it has two entries that apply here", package=one.name)
            packages[one.name] = one
        if not packages:
            self.fail("none of its packages applies to this interpreter")
        requested = self._requested(data, asked, packages)
        return Lock(tuple(sorted(packages.values())), tuple(one.canonical for one in requested))

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            data = read_toml(text)
        except ImportError:
            self.fail(
                "reading it needs the package tomli before Python 3.11", tip="pip install tomli"
            )
        except (ValueError, RecursionError) as error:
            self.fail(f"it is not TOML: {error}")
        version = data.get("lock-version")
        if not isinstance(version, str) or not re.fullmatch(r"1\.\d+", version):
            self.fail(f"its lock-version is {version!r}, and this library reads 1.0")
        return data

    def _check_interpreter(self, data: Mapping[str, Any]) -> None:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        tip = "make a lock with this interpreter"
        python = ".".join(map(str, sys.version_info[:3]))
        wanted = data.get("requires-python", "")
        try:
            fits = SpecifierSet(wanted).contains(python, prereleases=True)
        except (InvalidSpecifier, TypeError, AttributeError):
            self.fail(f"its requires-python is {wanted!r}")
        if not fits:
            self.fail(f"it is for Python {wanted}, and this is {python}", tip=tip)
        tag = self._own(data).get("tag", interpreter_tag())
        if tag != interpreter_tag():
            self.fail(f"it was made for {tag}, and this is {interpreter_tag()}", tip=tip)
        environments = data.get("environments", [])
        if not isinstance(environments, list):
            self.fail("its environments are not a list")
        if environments and not any(self._applies(one, data, None) for one in environments):
            self.fail("this interpreter is none of its environments", tip=tip)

    def _own(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what this library wrote into the lock, if it did."""
        tool = data.get("tool", {})
        own = tool.get("omnipkg-meta", {}) if isinstance(tool, dict) else {}
        return own if isinstance(own, dict) else {}

    def _applies(self, marker: object, data: Mapping[str, Any], package: str | None) -> bool:
        from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

        groups = data.get("default-groups", ())
        # No extra was chosen, and of the groups those that are chosen by default.
        chosen: dict[str, Any] = {"extras": frozenset(), "dependency_groups": frozenset(groups)}
        try:
            parsed = Marker(marker)  # type: ignore[arg-type]  # whatever the file holds
            try:
                return parsed.evaluate(chosen, context="lock_file")
            except TypeError:  # before packaging 25, which cannot read those two names either
                return parsed.evaluate({"extra": ""})
        except (InvalidMarker, UndefinedEnvironmentName, TypeError, AttributeError):
            self.fail(
                f"a marker cannot be read: {marker!r}",
                package=package,
                tip="pip install -U packaging",
            )

    def _package(
        self, entry: object, data: Mapping[str, Any], *, allow_build: bool
    ) -> Locked | None:
        if not isinstance(entry, dict):
            self.fail("a package of it is not a table")
        given = entry.get("name")
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            self.fail(f"a package of it has the name {given!r}")
        name = requirements.normalize(given)
        if "marker" in entry and not self._applies(entry["marker"], data, name):
            return None
        for kind in _ELSEWHERE:
            if kind in entry:
                self.fail(
                    f"it is to come from a {kind}, and a bubble is made of archives of an index",
                    package=name,
                    tip=f"build a wheel of {name}, and make the lock with its path",
                )
        version = entry.get("version")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            self.fail(f"its version is {version!r}", package=name)
        return self._chosen(entry, name, version, allow_build=allow_build)

    def _chosen(
        self, entry: Mapping[str, Any], name: str, version: str, *, allow_build: bool
    ) -> Locked:
        """Return the archive of a package that suits this interpreter best."""
        wheels = entry.get("wheels", [])
        if not isinstance(wheels, list):
            self.fail("its wheels are not a list", package=name)
        by_name = {self._filename(one, name, version): one for one in wheels}
        filename = best_wheel(by_name)
        if filename is None and "sdist" in entry:
            if not allow_build:
                self.fail(
                    ("none of its wheels suits this interpreter, and " if wheels else "")
                    + "its source distribution runs code when it is built",
                    package=name,
                    tip="allow it with --allow-build (allow_build=True)",
                )
            filename = self._filename(entry["sdist"], name, version, sdist=True)
            return self._archive(entry["sdist"], name, version, filename)
        if filename is None:
            self.fail(
                "none of its wheels suits this interpreter"
                if wheels
                else "it names neither a wheel nor a source distribution",
                package=name,
                tip="make a lock with this interpreter",
            )
        return self._archive(by_name[filename], name, version, filename)

    def _filename(self, archive: object, name: str, version: str, *, sdist: bool = False) -> str:
        """Return the file name of an archive; it has to be that of this very version."""
        from packaging.utils import (
            InvalidSdistFilename,
            InvalidWheelFilename,
            parse_sdist_filename,
            parse_wheel_filename,
        )
        from packaging.version import InvalidVersion, Version

        if not isinstance(archive, dict):
            self.fail("an archive of it is not a table", package=name)
        places = [archive[key] for key in ("url", "path") if key in archive]
        if len(places) != 1 or not all(
            isinstance(one, str) for one in (*places, archive.get("name", ""))
        ):
            self.fail("an archive of it has not exactly one address or path", package=name)
        try:
            filename, there = filename_of(archive), filename_of({**archive, "name": None})
        except ValueError as error:
            self.fail(f"its address cannot be read: {error}", package=name)
        if not _FILENAME.fullmatch(filename):
            self.fail(f"an archive of it has the name {filename!r}", package=name)
        if there != filename:
            self.fail(f"{filename} is to come from another file, {there!r}", package=name)
        try:
            found = parse_sdist_filename(filename) if sdist else parse_wheel_filename(filename)[:2]
            same = (requirements.normalize(found[0]), found[1]) == (name, Version(version))
        except (InvalidSdistFilename, InvalidWheelFilename, InvalidVersion) as error:
            self.fail(str(error), package=name)
        if not same:
            self.fail(f"{filename} is not {name} {version}", package=name)
        return filename

    def _archive(
        self, archive: Mapping[str, Any], name: str, version: str, filename: str
    ) -> Locked:
        hashes = archive.get("hashes")
        sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
            self.fail(f"it gives no SHA-256 digest of {filename}", package=name)
        sha256 = sha256.lower()
        if "path" in archive:
            path = self._path(archive["path"], name)
            self._check_file(path, sha256, name)
            return Locked(name, version, filename, str(path), sha256)
        address = urldefrag(redact(archive["url"], ""))[0]
        try:
            parts = urlsplit(address)
        except ValueError as error:
            self.fail(f"its address cannot be read: {error}", package=name)
        if _CONTROL.search(address) or parts.scheme not in ("https", "http", "file"):
            self.fail(f"its address is {address[:200]!r}", package=name)
        if parts.scheme == "file":
            from urllib.request import url2pathname

            if parts.netloc not in ("", "localhost"):
                self.fail("its address is of a file on another machine", package=name)
            self._check_file(Path(url2pathname(parts.path)), sha256, name)
        elif not parts.netloc:
            self.fail(f"its address is {address[:200]!r}", package=name)
        return Locked(name, version, filename, address, sha256)

    def _path(self, text: str, name: str) -> Path:
        if Path(text).is_absolute():
            return Path(text)
        if self.directory is None:
            self.fail(
                f"its path is relative, and a text is nowhere: {text!r}",
                package=name,
                tip="give the lock by its path",
            )
        path = Path(os.path.normpath(self.directory / text))
        if not path.is_relative_to(self.directory):
            self.fail(f"its path leads out of the directory of the lock: {text!r}", package=name)
        return path

    def _check_file(self, path: Path, sha256: str, name: str) -> None:
        """See that an archive on this machine is there, and is the one that was locked."""
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
                self.fail(f"{path} is not a file", package=name)
            found = sha256_of(path)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            cause = getattr(error, "strerror", None) or str(error)
            self.fail(f"{path} cannot be read: {cause}", package=name)
        if found != sha256:
            self.fail(
                f"{path} has the SHA-256 digest {found}, and the lock says {sha256}", package=name
            )

    def _requested(
        self,
        data: Mapping[str, Any],
        asked: Sequence[str | Asked],
        packages: Mapping[str, Locked],
    ) -> tuple[Asked, ...]:
        """Return what the bubble is made for, which the lock has to satisfy."""
        if asked:
            wanted = requirements.parse(asked)
        else:
            everything = [f"{one.name}=={one.version}" for one in packages.values()]
            said = self._own(data).get("requested", everything)
            if not isinstance(said, list) or not said:
                self.fail(f"it says that it was made for {said!r}")
            try:
                wanted = requirements.parse(said)
            except RequirementError as error:
                self.fail(f"it says that it was made for what cannot be: {error.message}")
        if not wanted:
            self.fail("none of the requirements applies to this interpreter")
        for one in wanted:
            held = packages.get(one.name)
            if (
                held is None
                or not one.allows(held.version)
                or (one.sha256 is not None and one.sha256 != held.sha256)
            ):
                what = f"it holds {held.name} {held.version}" if held else "it holds none"
                self.fail(f"{one.text} is asked for, and {what}", package=one.name)
        return wanted


def _error(name: str, package: str | None, cause: str, tip: str | None) -> LockError:
    return LockError(
        f"the lock cannot be used: {name}",
        cause=f"{package}: {redact(cause)}" if package else redact(cause),
        tip=tip,
        lock=name,
        package=package,
    )
