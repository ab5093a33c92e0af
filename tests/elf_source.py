"""Little shared libraries, compiled or laid out by hand, for the tests that need some.

Owns the compiling and linking of them, and a writer of the smallest ELF file that
has names in it, for machines that no compiler here is for.  Must not know anything
of the library.
"""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["by_hand", "compiler", "linked", "needs_elf"]


def compiler(language: str = "c") -> str | None:
    """Return the compiler for C or C++ (``c++``), or None."""
    names = ("g++",) if language == "c++" else ("gcc", "cc")
    return next(filter(None, map(shutil.which, names)), None)


def needs_elf() -> str:
    """Return why no ELF library can be made here; empty where it can."""
    if not sys.platform.startswith("linux"):
        return "shared libraries are ELF files on Linux"
    return "" if compiler() and compiler("c++") else "there is no GNU C compiler"


def linked(
    source: str,
    *,
    soname: str | None = None,
    needs: Sequence[tuple[str, bytes]] = (),
    rpath: str | None = None,
    language: str = "c",
    options: Sequence[str] = (),
    versions: str = "",
) -> bytes:
    """Return a shared library.

    Args:
        source: its code.
        soname: its own name, if it has one.
        needs: the file names and the bytes of the libraries that it is linked with.
        rpath: where it looks for them.
        language: ``c`` or ``c++``.
        options: more words for the compiler.
        versions: a version script for the linker.
    """
    words = ["-Wl,--no-as-needed", *options]
    if soname is not None:
        words.append(f"-Wl,-soname,{soname}")
    if rpath is not None:
        words.append(f"-Wl,-rpath,{rpath}")
    if versions:
        words.append("-Wl,--version-script,versions")
    return _linked(source, language, tuple(words), (*needs, ("versions", versions.encode())))


@functools.cache
def _linked(
    source: str, language: str, options: tuple[str, ...], files: tuple[tuple[str, bytes], ...]
) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        code = directory / ("source.cc" if language == "c++" else "source.c")
        code.write_text(source)
        words = [str(compiler(language)), "-shared", "-fPIC", "-O1", "-o", "built", code.name]
        words += [*options, "-L."]
        for file, data in files:
            (directory / file).write_bytes(data)
            if file != "versions":
                words.append(f"-l:{file}")
        subprocess.run(words, cwd=directory, check=True)
        return (directory / "built").read_bytes()


def by_hand(
    *,
    bits: int = 64,
    order: str = "<",
    machine: int = 62,
    soname: str = "libone.so.1",
    needed: Sequence[str] = ("libtwo.so.1",),
    unique: bool = True,
) -> bytes:
    """Return a file that holds no code, but all that the dynamic loader reads of names.

    Args:
        bits: 32 or 64.
        order: ``<`` or ``>``, as in :mod:`struct`.
        machine: ``e_machine``.
        soname: the name that it gives itself.
        needed: the names that it needs.
        unique: whether its one symbol is one in a process.
    """
    wide = bits == 64
    text = b"\0symbol\0"
    places = []
    for name in (soname, *needed):
        places.append(len(text))
        text += name.encode() + b"\0"
    info = 0xA1 if unique else 0x11
    if wide:
        header_size, segment_size = 64, 56
        symbols = bytes(24) + struct.pack(f"{order}IBBHQQ", 1, info, 0, 1, 0, 0)
    else:
        header_size, segment_size = 52, 32
        symbols = bytes(16) + struct.pack(f"{order}IIIBBH", 1, 0, 0, info, 0, 1)
    hashes = struct.pack(f"{order}5I", 1, 2, 1, 0, 0)
    at_text = header_size + 2 * segment_size
    at_symbols = at_text + len(text)
    at_hashes = at_symbols + len(symbols)
    at_dynamic = at_hashes + len(hashes)
    tags = [(14, places[0]), *((1, place) for place in places[1:])]
    tags += [(4, at_hashes), (5, at_text), (6, at_symbols), (10, len(text)), (0, 0)]
    dynamic = b"".join(struct.pack(f"{order}{'QQ' if wide else 'II'}", *tag) for tag in tags)
    end = at_dynamic + len(dynamic)
    data = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    data += struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH",
        *(3, machine, 1, 0, header_size, 0, 0, header_size, segment_size, 2, 0, 0, 0),
    )
    for kind, offset, size in ((1, 0, end), (2, at_dynamic, len(dynamic))):
        if wide:
            data += struct.pack(f"{order}IIQQQQQQ", kind, 6, offset, offset, offset, size, size, 8)
        else:
            data += struct.pack(f"{order}8I", kind, offset, offset, offset, size, size, 6, 4)
    return data + text + symbols + hashes + dynamic
