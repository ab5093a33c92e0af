"""Where the calls of a loaded library go: one function in the place of another.

A shared library calls a function of the interpreter through a word in its own memory
that the dynamic loader filled in (the global offset table), so it is enough to write
another address there: that library calls the other function from then on, and nobody
else does.  This is what the loader itself does when a symbol is interposed.

Which word it is, the library says in its relocations.  The proof at run time comes
with each change: a word is changed only if it holds the address of the very function
that is to be replaced (or, where the loader has not yet filled it in, an address within
the library itself).  The undo is to write the old value back (:func:`restore`).

ELF on 64-bit machines; elsewhere :func:`possible` says no, and nothing is ever changed.

Sources: the System V ABI, chapters 4 and 5; ``elf.h``; ``dl_iterate_phdr(3)``.
This file knows nothing of Python modules, nor of bubbles.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

__all__ = [
    "Library",
    "Place",
    "address_of",
    "libraries",
    "load",
    "offered",
    "possible",
    "redirect",
    "restore",
]

_PT_LOAD, _PT_DYNAMIC, _PT_GNU_RELRO = 1, 2, 0x6474E552
_PF_W = 2
_DT_NULL, _DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA = 0, 2, 5, 6, 7
_DT_RELASZ, _DT_STRSZ, _DT_JMPREL = 8, 10, 23
_DT_GNU_HASH, _DT_RELACOUNT = 0x6FFFFEF5, 0x6FFFFFF9
_SYMBOLS_TRIED = 64
_SYMBOL_SIZE = 24  #: ``Elf64_Sym``
_RELOCATION_SIZE = 24  #: ``Elf64_Rela``
_SEGMENT = struct.Struct("@IIQQQQQQ")  #: ``Elf64_Phdr``
_PROT_READ, _PROT_WRITE = 1, 2


class Library(NamedTuple):
    """A shared library in this process.

    Attributes:
        path: its file, as the loader knows it.
        base: what is added to the addresses in the file.
        segments: where its program headers are, and how many.
    """

    path: str
    base: int
    segments: tuple[int, int]


class Place(NamedTuple):
    """A word that was changed.

    Attributes:
        address: where it is.
        before: what it held.
        now: what was written.
        protected: whether the memory was read-only, and is again.
    """

    address: int
    before: int
    now: int
    protected: bool


def possible() -> bool:
    """Tell whether libraries are ELF here, and words of 64 bits."""
    return sys.maxsize > 1 << 32 and sys.platform not in {"win32", "darwin", "cygwin", "aix"}


class _Process:
    """The functions of the C library that are needed; each is called with the GIL held.

    A thread that waited for it within ``dl_iterate_phdr`` would hold the loader's lock.
    """

    def __init__(self) -> None:
        import ctypes  # not before hooks go in: importing this package loads no ctypes

        class Info(ctypes.Structure):
            """``struct dl_phdr_info``, as far as it is the same everywhere."""

            _fields_ = (
                ("base", ctypes.c_void_p),
                ("name", ctypes.c_char_p),
                ("segments", ctypes.c_void_p),
                ("count", ctypes.c_uint16),
            )

        self.info = Info
        self.pointer = ctypes.c_void_p
        self.string_at = ctypes.string_at
        self.word = ctypes.c_uint64.from_address
        self.half_word = ctypes.c_uint32.from_address
        library = ctypes.PyDLL(None)
        self.visitor = ctypes.PYFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
        )
        self.iterate = library.dl_iterate_phdr
        self.protect = library.mprotect
        self.protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        # ``dlopen`` and ``dlsym`` are in the C library itself since glibc 2.34.
        loader = library if hasattr(library, "dlopen") else ctypes.PyDLL("libdl.so.2")
        self.open = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)(
            ("dlopen", loader)
        )
        self.find = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
            ("dlsym", loader)
        )


@lru_cache(maxsize=1)
def _process() -> _Process:
    return _Process()


def load(path: str, flags: int) -> bool:
    """Load a library and what it needs (``dlopen``), to stay.

    Like the interpreter, and unlike ctypes, with the GIL held: the constructors of
    a library's static objects may rely on it.

    Returns:
        Whether it could be loaded.
    """
    return bool(_process().open(os.fsencode(path), flags))


def address_of(function: str) -> int:
    """Return the address of a function of the interpreter."""
    import ctypes

    return ctypes.cast(getattr(ctypes.pythonapi, function), ctypes.c_void_p).value or 0


def libraries(seen: Container[int]) -> list[Library]:
    """Return the libraries of this process.

    Args:
        seen: the bases of those that are of no interest.
    """
    process = _process()
    found: list[Library] = []
    base_at, info_at = process.pointer.from_address, process.info.from_address

    def visit(address: int, _size: int, _data: int | None) -> int:
        if (base_at(address).value or 0) not in seen:
            info = info_at(address)
            found.append(
                Library(
                    os.fsdecode(info.name or b""), info.base or 0, (info.segments or 0, info.count)
                )
            )
        return 0

    process.iterate(process.visitor(visit), None)
    return found


class _Layout:
    """What a library's program headers and dynamic section say of where things are."""

    def __init__(self, library: Library) -> None:
        process = _process()
        address, count = library.segments
        headers = process.string_at(address, count * _SEGMENT.size)
        page = os.sysconf("SC_PAGE_SIZE")
        self.loaded: list[tuple[int, int]] = []
        self.writable: list[tuple[int, int]] = []
        self.protected: list[tuple[int, int]] = []
        self.entries: dict[int, int] = {}
        for kind, flags, _, offset, _, _, size, _ in _SEGMENT.iter_unpack(headers):
            start = library.base + offset
            if kind == _PT_LOAD:
                self.loaded.append((start, start + size))
                if flags & _PF_W:
                    self.writable.append((start, start + size))
            elif kind == _PT_GNU_RELRO:
                # Whole pages (``_dl_protect_relro`` in glibc's ``elf/dl-reloc.c``).
                self.protected.append((start - start % page, (end := start + size) - end % page))
            elif kind == _PT_DYNAMIC:
                while (tag := process.word(start).value) != _DT_NULL:
                    self.entries[tag] = process.word(start + 8).value
                    start += 16
        # glibc adds the base to the addresses in this section, musl does not.
        for tag in (_DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_JMPREL, _DT_GNU_HASH):
            if tag in self.entries and self.entries[tag] < library.base:
                self.entries[tag] += library.base

    @staticmethod
    def within(address: int, ranges: list[tuple[int, int]]) -> bool:
        return any(start <= address < end for start, end in ranges)


def offered(library: Library) -> bool:
    """Tell whether the whole process may bind to the symbols of a library (``RTLD_GLOBAL``)."""
    process, layout = _process(), _Layout(library)
    entries = layout.entries
    if not {_DT_STRTAB, _DT_SYMTAB, _DT_GNU_HASH} <= entries.keys():
        return False
    # The table: the number of buckets, that of the first symbol, the number of words of a
    # filter, a shift; the filter; and in each bucket the number of a symbol, or zero.
    table = entries[_DT_GNU_HASH]
    count, filtering = process.half_word(table).value, process.half_word(table + 8).value
    buckets = process.string_at(table + 16 + 8 * filtering, 4 * min(count, _SYMBOLS_TRIED))
    for number in memoryview(buckets).cast("I"):
        offset = process.half_word(entries[_DT_SYMTAB] + number * _SYMBOL_SIZE).value
        name = process.string_at(entries[_DT_STRTAB] + offset)
        found = process.find(None, name) if number else None  # None: RTLD_DEFAULT
        if found and layout.within(found, layout.loaded):
            return True
    return False


def redirect(library: Library, functions: Mapping[str, tuple[int, int]]) -> list[Place]:
    """Have a library call other functions.

    Args:
        library: which one; nobody else's calls change.
        functions: name to the address of the function, and of the one in its place.

    Returns:
        The words that were changed; none where the library does not call the functions.
    """
    process, layout = _process(), _Layout(library)
    entries = layout.entries
    if not {_DT_STRTAB, _DT_STRSZ, _DT_SYMTAB} <= entries.keys():
        return []
    texts = process.string_at(entries[_DT_STRTAB], entries[_DT_STRSZ])
    names = {offset: name for name in functions for offset in _offsets(texts, name)}
    if not names:
        return []
    places = []
    for late, relocations in (
        (True, _relocations(entries, _DT_JMPREL, _DT_PLTRELSZ)),
        (False, _relocations(entries, _DT_RELA, _DT_RELASZ, entries.get(_DT_RELACOUNT, 0))),
    ):
        symbols = [info >> 32 for info in relocations[1::3]]
        wanted = _named(entries[_DT_SYMTAB], max(symbols, default=-1) + 1, names)
        for number in [number for number, symbol in enumerate(symbols) if symbol in wanted]:
            offset, addend = relocations[3 * number], relocations[3 * number + 2]
            word = library.base + offset
            if addend or not layout.within(word, layout.writable):
                continue  # not the function itself, or in the midst of the library's code
            function, instead = functions[wanted[symbols[number]]]
            held = process.word(word).value
            if held == function or (late and layout.within(held, layout.loaded)):
                protected = layout.within(word, layout.protected)
                places.append(Place(word, held, instead, protected))
    for place in places:
        _write(place, place.now)
    return places


def _offsets(texts: bytes, name: str) -> Iterable[int]:
    # A name may be the end of a longer one: linkers share such strings.
    wanted = name.encode() + b"\0"
    offset = texts.find(wanted)
    while offset >= 0:
        yield offset
        offset = texts.find(wanted, offset + 1)


def _named(table: int, count: int, names: Mapping[int, str]) -> dict[int, str]:
    """Return the numbers of the symbols that have one of these names."""
    symbols = _process().string_at(table, count * _SYMBOL_SIZE)
    offsets = memoryview(symbols).cast("I").tolist()[:: _SYMBOL_SIZE // 4]
    return {number: names[offset] for number, offset in enumerate(offsets) if offset in names}


def _relocations(entries: Mapping[int, int], table: int, size: int, skipped: int = 0) -> list[int]:
    """Return offset, symbol with type, and addend of each relocation, but for so many at first.

    Those that come first name no symbol (``DT_RELACOUNT``).
    """
    length = entries.get(size, 0) if table in entries else 0
    start = min(skipped * _RELOCATION_SIZE, length)
    found = _process().string_at(entries.get(table, 0) + start, length - start) if length else b""
    return memoryview(found).cast("Q").tolist()


def restore(places: Iterable[Place]) -> None:
    """Put words back, but for those that somebody else has changed again."""
    for place in places:
        if _process().word(place.address).value == place.now:
            _write(place, place.before)


def _write(place: Place, value: int) -> None:
    process = _process()
    if place.protected:
        page = os.sysconf("SC_PAGE_SIZE")
        start = place.address - place.address % page
        if process.protect(start, page, _PROT_READ | _PROT_WRITE) != 0:
            raise OSError(f"memory at {start:#x} cannot be made writable")
        process.word(place.address).value = value
        process.protect(start, page, _PROT_READ)
    else:
        process.word(place.address).value = value
