"""One ELF file: the names of libraries in it, and how they are changed where they stand.

Owns the format, as far as the dynamic loader reads it, and nothing more.  Must
not know of bubbles, nor which names ought to be changed.

A name is replaced by another of the same length, in the bytes of the string
table that hold it.  So nothing in the file moves, nothing has to be written anew,
and it costs the same for a library of one kilobyte and of one gigabyte.  What
cannot be done in this way (a name that shares its bytes with something else) is
reported in :attr:`Elf.shared`.

Sources: the System V ABI, chapters 4 and 5; ``elf.h``; for ``DT_GNU_HASH`` and
``STB_GNU_UNIQUE`` glibc's ``elf/dl-lookup.c``.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import sys
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Elf",
    "ElfError",
    "Kind",
    "kind_of_this_process",
    "names",
    "read",
    "rewrite",
    "uses_python",
]

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ = 1, 4, 5, 6, 10
_DT_SONAME, _DT_RPATH, _DT_RUNPATH = 14, 15, 29
_DT_GNU_HASH = 0x6FFFFEF5
_DT_VERDEF, _DT_VERNEED = 0x6FFFFFFC, 0x6FFFFFFE
_DT_AUXILIARY, _DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
#: What names a library; and what else points into the string table.
_NAMES_LIBRARY = frozenset({_DT_NEEDED, _DT_SONAME, _DT_AUXILIARY, _DT_FILTER})
_POINTS_AT_TEXT = frozenset({_DT_RPATH, _DT_RUNPATH, 0x6FFFFEFA, 0x6FFFFEFB, 0x6FFFFEFC})
_STB_GLOBAL = 1
#: ``st_info`` of ``STB_GNU_UNIQUE`` (10) with any type.
_UNIQUE = re.compile(rb"[\xa0-\xaf]")
#: Operating systems in whose files binding 10 has that meaning: System V, and GNU.
_OF_GNU = (0, 3)
_LIBRARY_NAME = re.compile(rb"[\w+.-]+\.so(?:\.[\w.]+)?", re.ASCII)
_LONGEST_NAME = 255
_MOST_VERSIONS = 1 << 16  # ``vn_cnt`` and its like are 16 bits wide


class ElfError(ValueError):
    """A file is no ELF file that the loader could use, or not the one that was read before."""


@dataclass(frozen=True)
class Kind:
    """For which machine a file is: word size, byte order, and ``e_machine``."""

    bits: int
    order: str
    machine: int


@dataclass(frozen=True)
class Elf:
    """What the dynamic loader would read in a file.

    Attributes:
        kind: for which machine it is.
        soname: its own name, or None.
        needed: the libraries that it needs (``DT_NEEDED``, and filters).
        search: where it looks for them (``DT_RUNPATH``, else ``DT_RPATH``), not expanded.
        names: where each library's name stands: its own, the needed ones, those of versions.
        shared: names that share their bytes with something else in the file.
        opened: where constants stand that look like a library's name, if it calls ``dlopen``.
        unique: where ``st_info`` of each symbol stands that is one in the process.
    """

    kind: Kind
    soname: str | None = None
    needed: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    names: Mapping[str, frozenset[int]] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    opened: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unique: tuple[int, ...] = ()


def read(path: str | os.PathLike[str]) -> Elf:
    """Read what matters to the dynamic loader.

    A file that is not linked dynamically (an object file, a static program) has
    no names.

    Raises:
        ElfError: it is not an ELF file, or it is damaged.
        OSError: it cannot be read.
    """
    with _mapped(path) as data:
        try:
            return _Reader(data).read()
        except (struct.error, IndexError, OverflowError):
            raise ElfError("it is damaged: a table leads out of the file") from None


def names(path: str | os.PathLike[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return a library's own name, if it has one, and the names that it needs.

    Raises:
        ElfError: it is not an ELF file, or it is damaged.
        OSError: it cannot be read.
    """
    with _mapped(path) as data:
        try:
            return _Reader(data).names()
        except (struct.error, IndexError, OverflowError):
            raise ElfError("it is damaged: a table leads out of the file") from None


def uses_python(path: str | os.PathLike[str]) -> bool:
    """Say whether a library calls into the interpreter, and so may hold its objects.

    Raises:
        ElfError: it is not an ELF file, or it is damaged.
        OSError: it cannot be read.
    """
    with _mapped(path) as data:
        try:
            return _Reader(data).uses_python()
        except (struct.error, IndexError, OverflowError):
            raise ElfError("it is damaged: a table leads out of the file") from None


def rewrite(path: str | os.PathLike[str], elf: Elf, names: Mapping[str, str]) -> int:
    """Give libraries other names, and make unique symbols ordinary ones, in place.

    Args:
        path: the file; nobody else must have it open.
        elf: what was read in it.
        names: the new name of each, of the same length; none of :attr:`Elf.shared`.

    Returns:
        Where the first byte is that may be another one now.

    Raises:
        ElfError: it is not the file that was read.
        OSError: it cannot be written.
    """
    with _mapped(path, write=True) as data:
        changes: list[tuple[int, bytes, bytes]] = []
        for old, new in names.items():
            before, after = os.fsencode(old), os.fsencode(new)
            if len(before) != len(after) or old in elf.shared:
                raise ValueError(f"{old!r} cannot become {new!r} where it stands")
            places = (*elf.names.get(old, ()), *elf.opened.get(old, ()))
            changes += [(place, before, after) for place in places]
        for place, before, _ in changes:
            if data[place : place + len(before)] != before:
                raise ElfError("it changed since it was read")
        for place, before, after in changes:
            data[place : place + len(before)] = after
        for place in elf.unique:
            data[place] = data[place] & 0x0F | _STB_GLOBAL << 4
        return min([*elf.unique, *(place for place, _, _ in changes), len(data)])


@lru_cache(maxsize=1)
def kind_of_this_process() -> Kind | None:
    """Return for which machine this Python is; None where it is no ELF program."""
    try:
        with open("/proc/self/exe", "rb") as file:  # noqa: PTH123 (a link to no path, perhaps)
            return _kind(file.read(64))
    except (OSError, ElfError, struct.error):
        pass
    try:
        with open(sys.executable, "rb") as file:  # noqa: PTH123 (the same)
            return _kind(file.read(64))
    except (OSError, ElfError, struct.error):
        return None


class _mapped:  # noqa: N801  # reads as a phrase: with _mapped(path)
    """A file as bytes that are read when they are looked at."""

    def __init__(self, path: str | os.PathLike[str], *, write: bool = False) -> None:
        self._path = path
        self._write = write

    def __enter__(self) -> mmap.mmap:
        descriptor = os.open(self._path, os.O_RDWR if self._write else os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size < 52:  # the smaller of the two headers
                raise ElfError("it is no ELF file: it is too short for one")
            access = mmap.ACCESS_WRITE if self._write else mmap.ACCESS_READ
            self._data = mmap.mmap(descriptor, 0, access=access)
        finally:
            os.close(descriptor)
        return self._data

    def __exit__(self, *_: object) -> None:
        self._data.close()


def _kind(header: bytes) -> Kind:
    if header[:4] != b"\x7fELF":
        raise ElfError("it is no ELF file")
    bits, order = {1: 32, 2: 64}.get(header[4]), {1: "<", 2: ">"}.get(header[5])
    if bits is None or order is None:
        raise ElfError("it is damaged: its header says neither word size nor byte order")
    (machine,) = struct.unpack_from(f"{order}H", header, 18)
    return Kind(bits, order, machine)


class _Reader:
    """Reads one file; every table that a name could be shared with is looked at."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._kind = kind = _kind(data[:64])
        self._wide = kind.bits == 64
        self._order = kind.order
        self._segments: list[tuple[int, int, int]] = []  # vaddr, offset, size in the file
        self._dynamic: list[tuple[int, int]] = []
        self._read_segments()
        self._tags = dict(reversed(self._dynamic))  # the first of each kind
        self._text = self._text_size = self._symbols = self._symbol_count = 0
        if _DT_STRTAB in self._tags and _DT_STRSZ in self._tags:
            self._text_size = self._tags[_DT_STRSZ]
            self._text = self._offset(self._tags[_DT_STRTAB], self._text_size)
            self._symbol_size = 24 if self._wide else 16
            if _DT_SYMTAB in self._tags:
                self._symbol_count = self._count_symbols()
                self._symbols = self._offset(
                    self._tags[_DT_SYMTAB], self._symbol_count * self._symbol_size
                )

    def read(self) -> Elf:
        """Return what the loader would read."""
        if not self._text_size:
            return Elf(self._kind)
        tagged = [(tag, value) for tag, value in self._dynamic if tag in _NAMES_LIBRARY]
        names: dict[int, str] = {value: self._string(value) for _, value in tagged}
        others = {value for tag, value in self._dynamic if tag in _POINTS_AT_TEXT}
        for library, place in self._version_names():
            if library:
                names[place] = self._string(place)
            else:
                others.add(place)
        search = self._tags.get(_DT_RUNPATH, self._tags.get(_DT_RPATH))
        places: dict[str, set[int]] = {}
        for place, name in names.items():
            places.setdefault(name, set()).add(self._text + place)
        return Elf(
            kind=self._kind,
            soname=next((names[value] for tag, value in tagged if tag == _DT_SONAME), None),
            needed=tuple(names[value] for tag, value in tagged if tag != _DT_SONAME),
            search=() if search is None else tuple(filter(None, self._string(search).split(":"))),
            names={name: frozenset(found) for name, found in places.items()},
            shared=self._shared(names, others),
            opened=self._opened() if self._imports(b"dlopen") else {},
            unique=self._unique(),
        )

    def names(self) -> tuple[str | None, tuple[str, ...]]:
        """Return its own name and the needed ones."""
        tagged = [(tag, self._string(at)) for tag, at in self._dynamic if tag in _NAMES_LIBRARY]
        own = next((name for tag, name in tagged if tag == _DT_SONAME), None)
        return own, tuple(name for tag, name in tagged if tag != _DT_SONAME)

    def uses_python(self) -> bool:
        """Say whether it has undefined symbols of the interpreter."""
        text = self._data[self._text : self._text + self._text_size]
        places = {match.start() + 1 for match in re.finditer(rb"\0_?Py_?[A-Z]", text)}
        size = self._symbol_size if self._text_size else 24
        section = 6 if self._wide else 14
        for index, place in enumerate(self._symbol_names() if places else ()):
            if place in places:
                at = self._symbols + index * size + section
                if self._data[at : at + 2] == b"\0\0":
                    return True
        return False

    # -- segments and the dynamic table ---------------------------------------------

    def _unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        return struct.unpack_from(self._order + layout, self._data, offset)

    def _read_segments(self) -> None:
        if self._wide:
            (start,), (size, count) = self._unpack("Q", 32), self._unpack("HH", 54)
            layout, picked = "IIQQQQQQ", (0, 2, 3, 5)
        else:
            (start,), (size, count) = self._unpack("I", 28), self._unpack("HH", 42)
            layout, picked = "IIIIIIII", (0, 1, 2, 4)
        end = len(self._data)
        dynamic = None
        for index in range(count if size else 0):
            words = self._unpack(layout, start + index * size)
            kind, offset, address, length = (words[one] for one in picked)
            if kind in (_PT_LOAD, _PT_DYNAMIC) and offset + length > end:
                raise ElfError(f"it is cut off: it has {end} bytes, and should have more")
            if kind == _PT_LOAD:
                self._segments.append((address, offset, length))
            elif kind == _PT_DYNAMIC:
                dynamic = offset, length
        if dynamic is not None:
            step = 16 if self._wide else 8
            for at in range(dynamic[0], dynamic[0] + dynamic[1] - step + 1, step):
                tag, value = self._unpack("QQ" if self._wide else "II", at)
                if tag == 0:
                    break
                self._dynamic.append((tag, value))

    def _offset(self, address: int, size: int) -> int:
        for start, offset, length in self._segments:
            if start <= address and address + size <= start + length:
                return int(address - start + offset)
        raise ElfError("it is damaged: a table is in no segment")

    # -- strings --------------------------------------------------------------------

    def _string(self, place: int) -> str:
        if place >= self._text_size:
            raise ElfError("it is damaged: a name is not in the table of names")
        start = self._text + place
        end = self._data.find(b"\0", start, self._text + self._text_size)
        if end < 0:
            raise ElfError("it is damaged: a name has no end")
        return os.fsdecode(self._data[start:end])

    def _version_names(self) -> Iterator[tuple[bool, int]]:
        """Yield where the tables of versions point to, and whether a library's name is there."""
        if _DT_VERNEED in self._tags:
            for at in self._chain(self._offset(self._tags[_DT_VERNEED], 16), 12):
                _, count, file, below = self._unpack("HHII", at)
                yield True, file
                for one in self._chain(at + below if count else None, 12):
                    yield False, self._unpack("I", one + 8)[0]
        if _DT_VERDEF in self._tags:
            for at in self._chain(self._offset(self._tags[_DT_VERDEF], 20), 16):
                flags, _, count, _, below = self._unpack("HHHII", at + 2)
                for number, one in enumerate(self._chain(at + below if count else None, 4)):
                    # VER_FLG_BASE: the version that stands for the library itself.
                    yield bool(flags & 1) and not number, self._unpack("I", one)[0]

    def _chain(self, at: int | None, next_field: int) -> Iterator[int]:
        left = _MOST_VERSIONS
        while at is not None:
            yield at
            left -= 1
            if not left:
                raise ElfError("it is damaged: a table of versions has no end")
            (step,) = self._unpack("I", at + next_field)
            at = at + step if step else None

    def _shared(self, names: Mapping[int, str], others: Iterable[int]) -> frozenset[str]:
        """Return the names whose bytes are also the end of another string, or hold one's start."""
        inside: dict[int, str] = {}
        shared = set()
        for place, name in names.items():
            if place and self._data[self._text + place - 1]:
                shared.add(name)
            for byte in range(place, place + len(os.fsencode(name))):
                inside[byte] = name
        # Two library names, one of which is the end of the other.
        shared |= {
            inside[place] for place in names if place in inside and inside[place] != names[place]
        }
        shared |= {inside[place] for place in others if place in inside}
        symbols = self._symbol_names()
        shared |= {inside[place] for place in inside.keys() & set(symbols)}
        return frozenset(shared)

    # -- symbols --------------------------------------------------------------------

    def _count_symbols(self) -> int:
        """Return how many symbols the loader can see: it knows by the hash tables only."""
        if _DT_HASH in self._tags:
            return int(self._unpack("II", self._offset(self._tags[_DT_HASH], 8))[1])
        if _DT_GNU_HASH not in self._tags:
            return 0
        at = self._offset(self._tags[_DT_GNU_HASH], 16)
        buckets, first, words, _ = self._unpack("IIII", at)
        at += 16 + words * (8 if self._wide else 4)
        last = max(self._unpack(f"{buckets}I", at), default=0)
        if last < first:
            return int(first)
        at += 4 * buckets
        while not self._unpack("I", at + 4 * (last - first))[0] & 1:
            last += 1
        return int(last) + 1

    def _symbol_names(self) -> array[int]:
        """Return where each symbol's name is in the table of names."""
        size = self._symbol_count * (self._symbol_size if self._text_size else 0)
        words = array("I", self._data[self._symbols : self._symbols + size])
        if (self._order == "<") != (sys.byteorder == "little"):
            words.byteswap()
        return words[:: self._symbol_size // 4] if self._text_size else words

    def _imports(self, symbol: bytes) -> bool:
        names = None
        start, end = self._text, self._text + self._text_size
        at = self._data.find(symbol + b"\0", start, end)
        while at >= 0:
            names = set(self._symbol_names()) if names is None else names
            if at - start in names:
                return True
            at = self._data.find(symbol + b"\0", at + 1, end)
        return False

    def _unique(self) -> tuple[int, ...]:
        if self._data[7] not in _OF_GNU:
            return ()
        at = 4 if self._wide else 12
        size = self._symbol_size
        end = self._symbols + self._symbol_count * size
        infos = self._data[self._symbols + at : end : size]
        return tuple(self._symbols + at + match.start() * size for match in _UNIQUE.finditer(infos))

    # -- constants ------------------------------------------------------------------

    def _opened(self) -> dict[str, tuple[int, ...]]:
        """Return where constants of the program stand that look like the name of a library."""
        found: dict[str, list[int]] = {}
        for start, end in self._constants():
            at = self._data.find(b".so", start, end)
            while at >= 0:
                before = self._data.rfind(b"\0", max(start - 1, at - _LONGEST_NAME, 0), at)
                if before < 0 and at - start < _LONGEST_NAME:
                    before = start - 1  # the section's first constant
                after = self._data.find(b"\0", at, min(end, at + _LONGEST_NAME))
                if before >= 0 and after >= 0:
                    text = self._data[before + 1 : after]
                    if _LIBRARY_NAME.fullmatch(text):
                        found.setdefault(os.fsdecode(text), []).append(before + 1)
                at = self._data.find(b".so", after if after >= 0 else at + 1, end)
        return {name: tuple(dict.fromkeys(places)) for name, places in found.items()}

    def _constants(self) -> Iterator[tuple[int, int]]:
        """Yield the sections of constants, ``.rodata``; none where there are no sections."""
        if self._wide:
            (table,), (size, count, texts) = self._unpack("Q", 40), self._unpack("HHH", 58)
            layout, picked = "IIQQQQ", (0, 4, 5)
        else:
            (table,), (size, count, texts) = self._unpack("I", 32), self._unpack("HHH", 46)
            layout, picked = "IIIIII", (0, 4, 5)
        end = len(self._data)
        if not table or texts >= count or table + size * count > end:
            return
        sections = [self._unpack(layout, table + size * index) for index in range(count)]
        names_at = sections[texts][picked[1]]
        for section in sections:
            name, offset, length = (section[one] for one in picked)
            named = self._data[names_at + name : names_at + name + 7] == b".rodata"
            if named and offset + length <= end:
                yield offset, offset + length
