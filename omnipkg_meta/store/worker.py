"""What the processes of a crew run: they compile sources, compare byte code, digest files.

Owns what is done with one file, and the question which byte code the import system
takes (``importlib._bootstrap_external``: ``_classify_pyc``, ``_validate_timestamp_pyc``).
Must not know what a bubble is.  It is run by its path, isolated and without ``site``
(``python -I -S worker.py``), so it imports the standard library only, and little of it.

What to do next is read from standard input, by whoever is free (crew.py): records of one
size, words with zero bytes between and after them, the last one empty.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import suppress
from types import CodeType

TYPE_CHECKING = False  # without ``typing``, which takes longer to load than all the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "RECORD",
    "digest",
    "examine",
    "is_loaded",
    "is_what_its_source_compiles_to",
    "make",
    "portions",
]

#: The size of what is read at a time.  Who reads one gets all of it and no part of the next,
#: since nothing else is ever written (PIPE_BUF of pipe(7) is as large).
RECORD = 4096

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
# Bytes that are read at a time: as many as most files have; and of the others.
_FEW, _MANY = 1 << 16, 1 << 20

_HEADER = 16  # bytes: magic number, flags, then time and size of the source, or its hash (PEP 552)

# What the interpreter goes by when it runs code.  Neither where the code stands in the file
# (``-X no_debug_ranges`` leaves part of that out), nor the file's name, which importlib
# replaces (``_fix_co_filename``).
_PARTS = tuple(
    name
    for name in (
        *("co_name", "co_qualname", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount"),
        *("co_nlocals", "co_stacksize", "co_flags", "co_code", "co_names", "co_varnames"),
        *("co_freevars", "co_cellvars", "co_firstlineno", "co_exceptiontable"),
    )
    if hasattr(CodeType, name)  # those of a later Python are not there
)

# What ``marshal.loads`` and ``compile`` answer to what is neither byte code nor a program.
_FAILURES = (
    *(EOFError, SyntaxError, TypeError, ValueError, OverflowError),
    *(RecursionError, MemoryError, SystemError),
)


def make(source: str, shown: str) -> None:
    """Compile a source, unless there is byte code of it that would be loaded.

    One that does not compile is left alone: wheels carry templates and code for other
    versions, and Python would not complain before somebody imports them.

    Args:
        source: where it is.
        shown: where tracebacks say that it is.
    """
    import py_compile

    cached = importlib.util.cache_from_source(source)
    with suppress(OSError), open(cached, "rb") as file:  # noqa: PTH123 (an error: there is none)
        if is_loaded(file.read(_HEADER), os.stat(source)):  # noqa: PTH116
            return
    with suppress(py_compile.PyCompileError, OSError, *_FAILURES):
        py_compile.compile(source, dfile=shown, doraise=True)


def examine(cached: str) -> bool:
    """Say whether byte code may stay: nobody would load it, or it is what its source compiles to.

    Args:
        cached: its path in ``__pycache__``, with the tag of this interpreter.
    """
    source, level = _source_of(cached)
    try:
        with open(cached, "rb") as file:  # noqa: PTH123
            data = file.read()
        with open(source, "rb") as file:  # noqa: PTH123
            status, text = os.fstat(file.fileno()), file.read()
    except FileNotFoundError:
        return True  # replaced in this moment; a source that is gone is told of by itself
    except OSError:
        return False
    if not is_loaded(data[:_HEADER], status):
        return True
    return is_what_its_source_compiles_to(data[_HEADER:], text, source, level)


def is_loaded(header: bytes, source: os.stat_result) -> bool:
    """Say whether the import system takes byte code with this header for that source.

    What it does not take, it writes anew.  Byte code that goes by a hash of its source, or
    by nothing, counts as taken: whether the hash is looked at is for each program to say
    (``--check-hash-based-pycs``).
    """
    if len(header) < _HEADER or header[:4] != importlib.util.MAGIC_NUMBER:
        return False
    flags, *facts = (int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12))
    if flags:
        return flags in (0b01, 0b11)
    return facts == [int(source.st_mtime) & 0xFFFF_FFFF, source.st_size & 0xFFFF_FFFF]


def is_what_its_source_compiles_to(
    marshalled: bytes, text: bytes, source: str, optimize: int
) -> bool:
    """Say whether byte code, without its header, is what this Python makes of a source."""
    import marshal

    try:
        code = marshal.loads(marshalled)  # noqa: S302 (nothing of it is run)
        expected = compile(text, source, "exec", dont_inherit=True, optimize=optimize)
    except _FAILURES:
        return False
    if not isinstance(code, CodeType):
        return False
    return _essence(code, code.co_filename) == _essence(expected, expected.co_filename)


def _source_of(cached: str) -> tuple[str, int]:
    """Return the source that byte code is of, and how far it was optimized.

    Not ``source_from_cache``, which knows no names with a dot, that ``cache_from_source`` makes.
    """
    directory, name = os.path.split(cached)
    stem, _, level = name.removesuffix(".pyc").partition(".opt-")
    source = os.path.join(os.path.dirname(directory), stem.rpartition(".")[0] + ".py")  # noqa: PTH118, PTH120
    return source, min(int(level or 0), 2)  # -OOO is called 3, and does what -OO does


def _essence(value: object, filename: str) -> object:
    """Return what two constants of code have to have in common; two that are equal may differ."""
    if isinstance(value, CodeType):
        parts = tuple(getattr(value, name) for name in _PARTS)
        # importlib replaces the names of files that are the outermost code's, and no others.
        same = value.co_filename == filename
        return parts, same, _essence(value.co_consts, filename)
    if isinstance(value, tuple):
        return tuple(_essence(one, filename) for one in value)
    if isinstance(value, frozenset):
        return frozenset(_essence(one, filename) for one in value)
    if isinstance(value, slice):  # a constant from Python 3.14 on
        return slice, _essence((value.start, value.stop, value.step), filename)
    # 1 is True and 1.0; 0.0 is -0.0; and one that is no number is not itself.
    return type(value), repr(value) if isinstance(value, (float, complex)) else value


def digest(path: str) -> str | None:
    """Return the SHA-256 of a file as RECORD writes it; None if it cannot be read."""
    import base64
    import hashlib

    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return None
    hasher = hashlib.sha256()
    size = _FEW
    try:
        while chunk := os.read(descriptor, size):
            hasher.update(chunk)
            if len(chunk) < size:
                break  # the end of a file that nobody writes to
            size = _MANY
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return "sha256=" + base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode()


def portions(queue: int) -> Iterator[list[str]]:
    """Yield what there is to do, a few words at a time, until there is nothing more.

    Args:
        queue: the descriptor that it is read from, by this process and by others.
    """
    while words := os.fsdecode(os.read(queue, RECORD).rstrip(b"\0")):
        yield words.split("\0")


def _main() -> None:
    import gc

    gc.disable()
    task, here, *there = sys.argv[1:]
    for words in portions(0):
        given = iter(words)
        for path in given:
            if task == "make":
                make(here + path, there[0] + path)
            elif task == "examine":
                if examine(here + path):
                    os.write(1, os.fsencode(path) + b"\0")
            elif digest(here + path) != next(given):
                os.write(1, os.fsencode(path) + b"\0")


if __name__ == "__main__":
    _main()
