"""What a bubble's directory holds: RECORD files, digests, native files, import names.

Owns the reading of an installed ``site-packages`` directory.  Must not know of
manifests, of bubbles or of how the directory was filled.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from hashlib import _Hash
    from pathlib import Path

__all__ = [
    "Digest",
    "Recorded",
    "digest",
    "files",
    "import_names",
    "is_large",
    "is_native",
    "names_native",
    "natives",
    "read",
    "requires",
    "script_targets",
]

_WORD = re.compile(r"\w+")
_EXTENSION = re.compile(r"\.(?:so|pyd)$", re.IGNORECASE)
_NATIVE_NAME = re.compile(r"\.(?:so(?:\.\d+)*|pyd|dylib|dll)$", re.IGNORECASE)
# ELF, the five spellings of Mach-O, PE.
_NATIVE_MAGIC = (
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"MZ",
)
# Kinds of files that abound and are never native: not worth opening.
_PLAIN_SUFFIXES = frozenset(
    """
    .py .pyi .pyc .pyx .pxd .typed .txt .md .rst .json .toml .cfg .ini .yaml .yml .xml .html
    .css .js .svg .png .gif .jpg .h .hpp .c .cpp .cu .cuh .f90 .csv .gz .zip .npy .npz .po .mo
    .tmpl
    """.split()  # noqa: SIM905 (fifty lines of one word would say no more)
)
# Most files of all.
_SOURCES = (".py", ".pyi", ".pyc")
_LARGE = 500_000
# Bytes that are read at a time: most files are small, and to make room for many takes a while.
_FEW, _MANY = 1 << 16, 1 << 20
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_SCRIPTS = ("console_scripts", "gui_scripts")
_HEADER = re.compile(r"[!-9;-~]+:")  # as email.feedparser knows it
_SCRIPT = re.compile(r"(?!\.)[^/\\\x00-\x1f]+")
# Directories of a wheel's data scheme that installers put beside the packages.
_DATA_DIRECTORIES = frozenset(
    {"bin", "data", "etc", "include", "lib", "scripts", "Scripts", "share"}
)


class Recorded(NamedTuple):
    """One line of a RECORD: a path relative to site-packages, and its digest (``sha256=...``)."""

    path: str
    digest: str


def read(dist_info: Path) -> list[Recorded]:
    """Return the lines of the RECORD of a distribution.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is not CSV.
    """
    text = (dist_info / "RECORD").read_text("utf-8")
    try:
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return [
        Recorded(
            row[0].replace("\\", "/") if os.name == "nt" else row[0], row[1] if len(row) > 1 else ""
        )
        for row in rows
    ]


def digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """Return the digest of a file as RECORD writes it: ``sha256=<urlsafe base64, no padding>``.

    Raises:
        OSError: the file cannot be read.
        ValueError: there is no such algorithm.
    """
    hasher = hashlib.new(algorithm)
    # Thousands of files come here when a bubble is built, most of them small.
    descriptor = os.open(path, _READ)
    try:
        size = _FEW
        while chunk := os.read(descriptor, size):
            hasher.update(chunk)
            if len(chunk) < size:
                break  # the end of a file that nobody writes to
            size = _MANY
    finally:
        os.close(descriptor)
    return _word(algorithm, hasher)


def _word(algorithm: str, hasher: _Hash) -> str:
    return f"{algorithm}={base64.urlsafe_b64encode(hasher.digest()).rstrip(b'=').decode()}"


class Digest:
    """The digest of a file that somebody reads for another purpose, piece by piece.

    Args:
        wanted: the one that it should have, as RECORD writes it, which says how it is computed;
            None or empty where there is none.
    """

    def __init__(self, wanted: str | None) -> None:
        self._algorithm = (wanted or "").partition("=")[0]
        self._hasher = None
        if self._algorithm:
            with suppress(ValueError):  # there is no such algorithm
                self._hasher = hashlib.new(self._algorithm)
        if self._hasher is not None and not self._hasher.digest_size:
            self._hasher = None  # SHAKE: of any size
        # What was known before the last piece, and where that begins.
        self._before, self._last = self._hasher, 0
        self._size = 0

    def __bool__(self) -> bool:
        """Say whether there is something to compute."""
        return self._hasher is not None

    def update(self, piece: memoryview) -> None:
        """Take the next piece of the file."""
        if self._hasher is not None:
            self._before, self._last = self._hasher.copy(), self._size
            self._hasher.update(piece)
            self._size += len(piece)

    def word(self) -> str | None:
        """Return the digest as RECORD writes it; None where none can be computed."""
        return None if self._hasher is None else _word(self._algorithm, self._hasher)

    def renewed(self, path: str | os.PathLike[str], first: int) -> str:
        """Return the SHA-256 of the file after a change, without reading all of it if possible.

        Args:
            path: where it is.
            first: before this byte it is as it was.

        Raises:
            OSError: it cannot be read.
        """
        if self._before is None or self._algorithm != "sha256" or first < self._last:
            return digest(path)
        hasher = self._before.copy()
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a hot path)
            file.seek(self._last)
            hasher.update(file.readall())
        return _word(self._algorithm, hasher)


def is_large(entry: os.DirEntry[str]) -> bool:
    """Say whether reading a file takes longer than handing that to another thread."""
    return entry.stat(follow_symlinks=False).st_size > _LARGE


def files(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every file and link below *root*, with its path relative to it, ``/`` between parts."""
    pending = [("", str(root))]
    while pending:
        prefix, directory = pending.pop()
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_dir(follow_symlinks=False):
                    pending.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    yield prefix + entry.name, entry


def is_native(entry: os.DirEntry[str]) -> bool:
    """Say whether a file is a shared object or a program: by its name, else by its first bytes."""
    if entry.name.endswith(_SOURCES):
        return False
    if os.path.splitext(entry.name)[1].lower() in _PLAIN_SUFFIXES:  # noqa: PTH122 (a hot path)
        return False
    if _NATIVE_NAME.search(entry.name):
        return True
    if not entry.is_file():
        return False
    descriptor = os.open(entry.path, _READ)  # the time zones of tzdata alone are a thousand
    try:
        return os.read(descriptor, 4).startswith(_NATIVE_MAGIC)
    finally:
        os.close(descriptor)


def names_native(path: str) -> bool:
    """Say whether a file is a shared object by its name."""
    return _NATIVE_NAME.search(path) is not None


def import_names(recorded: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return which distributions provide each top-level import name.

    Packages, modules, extension modules, and directories without ``__init__``
    (PEP 420) that hold something importable.

    Args:
        recorded: the paths in the RECORD of each distribution, by normalized name.
    """
    provided: dict[str, set[str]] = {}
    places: dict[str, tuple[str, ...] | None] = {}
    for distribution, paths in recorded.items():
        directories: dict[str, bool] = {}
        for path in paths:
            directory, _, filename = path.rpartition("/")
            module = _module_name(filename)
            if module is None:
                continue
            if directory not in places:
                places[directory] = _packages(directory)
            packages = places[directory]
            if packages is None:
                continue
            if not packages:
                provided.setdefault(module, set()).add(distribution)
            else:
                regular = len(packages) == 1 and module == "__init__"
                directories[packages[0]] = directories.get(packages[0], False) or regular
        for name, regular in directories.items():
            if regular or name not in _DATA_DIRECTORIES:
                provided.setdefault(name, set()).add(distribution)
    return {name: sorted(provided[name]) for name in sorted(provided)}


def script_targets(dist_infos: Iterable[Path]) -> dict[str, str]:
    """Return what each console and GUI script of distributions calls, as ``module:attribute``.

    Args:
        dist_infos: their metadata directories.
    """
    found = {}
    for dist_info in dist_infos:
        text = ""
        with suppress(FileNotFoundError, UnicodeDecodeError):
            text = (dist_info / "entry_points.txt").read_text("utf-8")
        section = ""
        # As importlib.metadata reads it (``Sectioned``).
        for line in map(str.strip, text.splitlines()):
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1].strip()
                continue
            name, given, target = line.partition("=")
            # A name with a path in it could lead a launcher out of the bubble.
            if (
                given
                and section in _SCRIPTS
                and line[0] not in "#;"
                and _SCRIPT.fullmatch(name := name.strip())
            ):
                found[name] = target.partition("[")[0].strip()
    return found


def requires(dist_info: Path) -> list[str]:
    """Return the ``Requires-Dist`` lines of a distribution, as importlib.metadata reads them.

    Of its file it is the head that counts, which may be a hundredth of it; and to load what
    reads electronic mail takes longer than to build a small bubble.

    Args:
        dist_info: its metadata directory.

    Raises:
        OSError: it has no metadata that can be read.
    """
    found: list[str] = []
    ours = False
    with (dist_info / "METADATA").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line[0] in " \t":
                if ours:
                    found[-1] = f"{found[-1]} {line.strip()}".strip()
                continue
            if not _HEADER.match(line):
                break
            name, _, value = line.partition(":")
            ours = name.lower() == "requires-dist"
            if ours:
                found.append(value.strip())
    return found


def natives(present: Mapping[str, os.DirEntry[str]]) -> dict[str, os.DirEntry[str]]:
    """Return the native ones among files (:func:`files`).

    Raises:
        OSError: a file cannot be read.
    """
    return {
        path: entry
        for path, entry in present.items()
        if not entry.is_symlink() and is_native(entry)
    }


def _packages(directory: str) -> tuple[str, ...] | None:
    """Return the names of packages that a directory may be; None where nothing is imported."""
    parts = PurePosixPath(directory).parts
    importable = "__pycache__" not in parts and all(part.isidentifier() for part in parts)
    return parts if importable else None


def _module_name(filename: str) -> str | None:
    if filename.endswith((".py", ".pyc")):
        name = filename.rpartition(".")[0]
    elif _EXTENSION.search(filename):
        # Without ``.cpython-311-x86_64-linux-gnu.so``.  Native code imports by strings, also
        # what no import statement could name: mypyc's ``85cae5375ceb5d1ca6c6__mypyc``.
        name = filename.partition(".")[0]
        return name if _WORD.fullmatch(name) else None
    else:
        return None
    return name if name.isidentifier() else None
