"""What the distributions installed in main declare about themselves.

Code of an installed distribution answers to the environment it was installed
in, for its own packages and for what it declares as its dependencies.  This
file finds the distribution that a file of main belongs to (RECORD, PEP 376 and
PEP 660 for editable installs) and its ``Requires-Dist`` (core metadata), markers
and extras included: what may be needed is declared.  Only extras for working on
the distribution itself (``dev``, ``test``, ``docs``) do not count.

It reads the file system only: it must not ask ``importlib.metadata`` for what
is visible, since that depends on who asks.
"""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from omnipkg_meta.path_entries import main_path
from omnipkg_meta.realm import normalize, providers

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Distribution",
    "declares",
    "distribution_of",
    "forget",
    "owners_in_main",
    "version_of_import",
]


class Distribution(NamedTuple):
    """An installed distribution: its normalized name and those it declares to need."""

    name: str
    requires: frozenset[str]


_METADATA_DIRECTORY = re.compile(r"^(?P<name>[^-]+)(-.*)?\.(dist-info|egg-info)$")
#: Extras that say what is needed to work *on* a distribution, by the names that
#: projects use; its code does not depend on these.  (pytest's ``dev`` names numpy,
#: and yet ``pytest.approx`` has to see the numpy of whoever calls it.)
_DEVELOPMENT = re.compile(
    r"^(all[-_.])?(dev(el(op(ment)?)?)?|tests?|testing|docs?|documentation|lint(ing)?|typing|mypy|bench(mark)?s?|ci|qa"
    r"|release|type[-_.]?check(ing)?|style|format(ting)?|coverage|cov|build)$",
    re.IGNORECASE,
)
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_REQUIREMENT_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def forget() -> None:
    """Drop what was read; called when the import caches are invalidated."""
    for cached in (
        declares,
        _archive,
        _metadata_directories,
        _editable_roots,
        owner_of,
        _read,
        _requires,
        owners_in_main,
    ):
        cached.cache_clear()


def distribution_of(file: str) -> Distribution | None:
    """Return the distribution of main that installed a file; None for the user's own code."""
    directory = owner_of(file)
    if directory is None:
        return None
    return Distribution(_name_of(directory), _requires(directory))


@cache
def declares(file: str, name: str, *, importable: bool) -> bool:
    """Tell whether the distribution of a file is, or declares to need, what is asked for.

    Args:
        file: a file of main, whose code asks.
        name: a top-level import name, or a normalized distribution name.
        importable: whether ``name`` is an import name.
    """
    distribution = distribution_of(file)
    if distribution is None:
        return False
    wanted = distribution.requires | {distribution.name}
    if not importable:
        return name in wanted
    for realm in providers(name):
        if not wanted.isdisjoint(map(normalize, realm.import_names.get(name, ()))):
            return True
    return not wanted.isdisjoint(owners_in_main(name, tuple(main_path())))


def version_of_import(top: str) -> str | None:
    """Return the version that main has of what provides a top-level import name, if it is known."""
    owners = owners_in_main(top, tuple(main_path()))
    for site in main_path():
        for directory in _metadata_directories(site):
            if _name_of(directory) in owners:
                for line in (_read(directory, "METADATA") or "").splitlines():
                    key, _, value = line.partition(": ")
                    if key == "Version":
                        return value.strip()
    return None


def _site_directory(file: str) -> str | None:
    best = ""
    for entry in main_path():
        if len(entry) > len(best) and file.startswith(entry.rstrip(os.sep) + os.sep):
            best = entry
    return best or None


@lru_cache(maxsize=256)
def _metadata_directories(site: str) -> tuple[str, ...]:
    entries: Iterable[str]
    try:
        entries = os.listdir(site)
    except NotADirectoryError:
        entries = {name.partition("/")[0] for name in _archive(site)}
    except OSError:
        return ()
    return tuple(
        os.path.join(site, entry) for entry in sorted(entries) if _METADATA_DIRECTORY.match(entry)
    )


@lru_cache(maxsize=16)
def _archive(path: str) -> dict[str, str]:
    """Return the metadata files of a wheel, or of another archive, that is on ``sys.path``."""
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(path) as archive:
            return {
                name: archive.read(name).decode("utf-8", "replace")
                for name in archive.namelist()
                if _METADATA_DIRECTORY.match(name.partition("/")[0])
            }
    except (OSError, BadZipFile):
        return {}


@lru_cache(maxsize=1)
def _editable_roots(path: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    roots = []
    for site in path:
        for directory in _metadata_directories(site):
            text = _read(directory, "direct_url.json")
            if not text:
                continue
            try:
                url = json.loads(text)
                if url.get("dir_info", {}).get("editable"):
                    roots.append((unquote(urlsplit(url["url"]).path).rstrip("/") + "/", directory))
            except (ValueError, KeyError, AttributeError):
                continue  # a direct_url.json that is not of PEP 610's form says nothing
    return tuple(roots)


@cache
def owner_of(file: str) -> str | None:
    """Return the metadata directory of the distribution of main that installed a file, or None."""
    site = _site_directory(file)
    if site is not None and (directories := _metadata_directories(site)):
        relative = file[len(site.rstrip(os.sep)) + 1 :].replace(os.sep, "/")
        top = relative.partition("/")[0].removesuffix(".py")
        own = normalize(top)
        # The distribution of the same name first: then one RECORD is read, not all.
        for directory in sorted(directories, key=lambda found: _name_of(found) != own):
            if _lists(directory, relative, top):
                return directory
    for root, directory in _editable_roots(tuple(main_path())):
        if file.startswith(root) and not file.startswith(os.path.join(sys.prefix, "")):
            return directory
    return None


@cache
def owners_in_main(name: str, path: tuple[str, ...]) -> frozenset[str]:
    """Return the distributions of main that installed a module.

    Args:
        name: a top-level import name, or that of a portion of a namespace package.
        path: the directories of main.
    """
    relative = re.escape(name.replace(".", "/"))
    pattern = re.compile(rf"^{relative}(/|\.py,|\.[^/,]*(so|pyd),)", re.MULTILINE)
    owners = set()
    for site in path:
        for directory in _metadata_directories(site):
            names = (_read(directory, "top_level.txt") or "").split()
            if name in names or pattern.search(_read(directory, "RECORD") or ""):
                owners.add(_name_of(directory))
    return frozenset(owners)


def _lists(directory: str, relative: str, top: str) -> bool:
    record = _read(directory, "RECORD")
    if record is not None:
        return f"\n{relative}," in "\n" + record
    return top in (_read(directory, "top_level.txt") or "").split()


def _name_of(directory: str) -> str:
    match = _METADATA_DIRECTORY.match(os.path.basename(directory))
    return normalize(match["name"]) if match else ""


@cache
def _read(directory: str, name: str) -> str | None:
    try:
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except NotADirectoryError:
        site, information = os.path.split(directory)
        return _archive(site).get(f"{information}/{name}")
    except OSError:
        return None


@cache
def _requires(directory: str) -> frozenset[str]:
    names = set()
    for file_name in ("METADATA", "PKG-INFO"):
        for line in (_read(directory, file_name) or "").splitlines():
            if not line:
                break  # the headers end, the description begins
            if not line.startswith("Requires-Dist:"):
                continue
            extra = _EXTRA.search(line)
            name = _REQUIREMENT_NAME.match(line, len("Requires-Dist:"))
            if name and not (extra and _DEVELOPMENT.match(extra[1])):
                names.add(normalize(name[1]))
    section = ""
    for line in (_read(directory, "requires.txt") or "").splitlines():
        if line.startswith("["):
            section = line.strip("[]").partition(":")[0]
        elif (name := _REQUIREMENT_NAME.match(line)) and not _DEVELOPMENT.match(section):
            names.add(normalize(name[1]))
    return frozenset(names)
