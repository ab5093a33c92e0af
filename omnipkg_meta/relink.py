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

Libraries are asked for by name, one by one: ``dl_iterate_phdr`` would call back while it
holds the loader's lock, and Python may hand the interpreter to a thread that waits for it.

Sources: the System V ABI, chapters 4 and 5; ``elf.h``; ``link.h``; ``dlinfo(3)``.
This file knows nothing of Python modules, nor of bubbles.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Library",
    "Place",
    "address_of",
    "load",
    "loaded",
    "needed",
    "offered",
    "possible",
    "redirect",
    "restore",
]

_PT_LOAD, _PT_DYNAMIC, _PT_GNU_RELRO = 1, 2, 0x6474E552
_PF_W = 2
_RTLD_DI_LINKMAP = 2
_DT_NULL, _DT_NEEDED, _DT_PLTRELSZ, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_RELA = 0, 1, 2, 4, 5, 6, 7
_DT_RELASZ, _DT_STRSZ, _DT_JMPREL = 8, 10, 23
_DT_GNU_HASH, _DT_RELACOUNT = 0x6FFFFEF5, 0x6FFFFFF9
_ADDRESSES = (_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_JMPREL, _DT_GNU_HASH)
_SYMBOLS_TRIED = 64
_SYMBOL_SIZE = 24  #: ``Elf64_Sym``
_RELOCATION = struct.Struct("@QQq")  #: ``Elf64_Rela``
_SEGMENT = struct.Struct("@IIQQQQQQ")  #: ``Elf64_Phdr``
_ENTRY = struct.Struct("@QQ")  #: ``Elf64_Dyn``
#: ``Elf64_Ehdr``: what it begins with, where the program headers are, their size and number.
_HEADER = struct.Struct("@4s28xQ14xHH")
_MAGIC = b"\x7fELF"
_PROT_READ, _PROT_WRITE = 1, 2


class Library(NamedTuple):
    """A shared library in this process (``struct link_map``).

    Attributes:
        base: what is added to the addresses in the file.
        path: its file, as the loader knows it.
        dynamic: where its dynamic section is.
    """

    base: int
    path: str
    dynamic: int


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
    """The functions of the C library that are needed; each is called with the GIL held."""

    def __init__(self) -> None:
        import ctypes  # not before hooks go in: importing this package loads no ctypes

        class LinkMap(ctypes.Structure):
            """``struct link_map``, as far as it is the same everywhere."""

            _fields_ = (
                ("base", ctypes.c_void_p),
                ("path", ctypes.c_char_p),
                ("dynamic", ctypes.c_void_p),
            )

        self.link_map = ctypes.POINTER(LinkMap)
        self.reference = ctypes.byref
        self.string_at = ctypes.string_at
        self.word = ctypes.c_uint64.from_address
        self.half_word = ctypes.c_uint32.from_address
        library = ctypes.PyDLL(None)
        self.protect = library.mprotect
        self.protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        # Those of the loader are in the C library itself since glibc 2.34.
        loader = library if hasattr(library, "dlinfo") else ctypes.PyDLL("libdl.so.2")
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        prototype = ctypes.PYFUNCTYPE
        self.open = prototype(pointer, text, number)(("dlopen", loader))
        self.find = prototype(pointer, pointer, text)(("dlsym", loader))
        self.inform = prototype(number, pointer, number, pointer)(("dlinfo", loader))


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


def loaded(name: str) -> Library | None:
    """Return a library by its path, or its own name; None where it is not in this process."""
    process = _process()
    handle = process.open(os.fsencode(name), os.RTLD_LAZY | os.RTLD_NOLOAD)
    found = process.link_map()
    if not handle or process.inform(handle, _RTLD_DI_LINKMAP, process.reference(found)) != 0:
        return None
    entry = found.contents
    return Library(entry.base or 0, os.fsdecode(entry.path or b""), entry.dynamic or 0)


def needed(library: Library) -> list[str]:
    """Return the names of the libraries that one needs."""
    process, entries = _process(), _layout(library)
    texts = entries.entries.get(_DT_STRTAB)
    if texts is None:
        return []
    return [os.fsdecode(process.string_at(texts + offset)) for offset in entries.needed]


class _Layout:
    """What a library's program headers and dynamic section say of where things are."""

    def __init__(self, library: Library) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        self.loaded: list[tuple[int, int]] = []
        self.writable: list[tuple[int, int]] = []
        self.protected: list[tuple[int, int]] = []
        self.needed: list[int] = []
        self.entries: dict[int, int] = {}
        for kind, flags, _, offset, _, _, length, _ in _segments(library.path):
            start = library.base + offset
            end = start + length
            if kind == _PT_LOAD:
                self.loaded.append((start, end))
                if flags & _PF_W:
                    self.writable.append((start, end))
            elif kind == _PT_GNU_RELRO:
                # Whole pages (``_dl_protect_relro`` in glibc's ``elf/dl-reloc.c``).
                self.protected.append((start - start % page, end - end % page))
            elif kind == _PT_DYNAMIC and start == library.dynamic:  # else it is another file by now
                self._read_dynamic(library, length)

    def _read_dynamic(self, library: Library, length: int) -> None:
        entries = _process().string_at(library.dynamic, length - length % _ENTRY.size)
        for tag, value in _ENTRY.iter_unpack(entries):
            if tag == _DT_NULL:
                break
            if tag == _DT_NEEDED:
                self.needed.append(value)
            # glibc adds the base to the addresses in this section, musl does not.
            moved = tag in _ADDRESSES and value < library.base
            self.entries[tag] = value + library.base if moved else value

    @staticmethod
    def within(address: int, ranges: list[tuple[int, int]]) -> bool:
        return any(start <= address < end for start, end in ranges)


@lru_cache(maxsize=4)  # it is asked twice for each library that is loaded
def _layout(library: Library) -> _Layout:
    return _Layout(library)


def _segments(path: str) -> list[tuple[int, ...]]:
    """Return the program headers of a file; they need not be in memory."""
    try:
        with open(path, "rb") as file:
            magic, headers, size, count = _HEADER.unpack(file.read(_HEADER.size))
            if magic != _MAGIC or size != _SEGMENT.size:
                return []
            file.seek(headers)
            return list(_SEGMENT.iter_unpack(file.read(count * size)))
    except (OSError, struct.error):
        return []


def offered(library: Library) -> bool:
    """Tell whether the whole process may bind to the symbols of a library (``RTLD_GLOBAL``)."""
    process, layout = _process(), _layout(library)
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
    process, layout = _process(), _layout(library)
    entries = layout.entries
    wanted = _undefined(entries, functions)
    places = []
    for late, table, size, skipped in (
        (True, _DT_JMPREL, _DT_PLTRELSZ, 0),
        # Those that come first name no symbol.
        (False, _DT_RELA, _DT_RELASZ, entries.get(_DT_RELACOUNT, 0)),
    ):
        if not wanted or table not in entries:
            continue
        start = min(skipped * _RELOCATION.size, entries.get(size, 0))
        data = process.string_at(entries[table] + start, entries.get(size, 0) - start)
        for number, (function, instead) in wanted.items():
            for offset in _relocations(data, number):
                word = library.base + offset
                if not layout.within(word, layout.writable):
                    continue  # in the midst of the library's code
                held = process.word(word).value
                if held == function or (late and layout.within(held, layout.loaded)):
                    protected = layout.within(word, layout.protected)
                    places.append(Place(word, held, instead, protected))
    for place in places:
        _write(place, place.now)
    return places


def _undefined(
    entries: Mapping[int, int], functions: Mapping[str, tuple[int, int]]
) -> dict[int, tuple[int, int]]:
    """Return the numbers of the symbols by which a library means one of these functions."""
    process = _process()
    # The second word of either table says how many symbols come before those that the
    # library defines, or how many there are.
    table = entries.get(_DT_GNU_HASH, entries.get(_DT_HASH))
    if table is None or not {_DT_STRTAB, _DT_STRSZ, _DT_SYMTAB} <= entries.keys():
        return {}
    texts = process.string_at(entries[_DT_STRTAB], entries[_DT_STRSZ])
    # Also where it is the end of a longer one, which the linker may use for both.
    places = {
        place: both
        for name, both in functions.items()
        for place in _occurrences(texts, name.encode() + b"\0")
    }
    if not places:
        return {}
    count = process.half_word(table + 4).value
    symbols = process.string_at(entries[_DT_SYMTAB], count * _SYMBOL_SIZE)
    names = memoryview(symbols).cast("I")[:: _SYMBOL_SIZE // 4].tolist()
    return {names.index(place): both for place, both in places.items() if place in names}


def _relocations(data: bytes, symbol: int) -> Iterable[int]:
    """Yield the offset of each relocation that is to hold the address of a symbol, and no more."""
    # Found by its number, which is the upper half of the second word.
    wanted = struct.pack("@I", symbol)
    for at in _occurrences(data, wanted):
        start = at - (12 if sys.byteorder == "little" else 8)
        if start >= 0 and start % _RELOCATION.size == 0:
            offset, _, addend = _RELOCATION.unpack_from(data, start)
            if addend == 0:
                yield offset


def _occurrences(data: bytes, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


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
