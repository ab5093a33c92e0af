"""What the bubbles of a directory hold, noted in one file, so that a search need not read them all.

Owns that file, ``<store>/.catalogue-<format>-<tag>``, beside the directory that it is about.
Must not know what is searched for, nor how a bubble is opened.

Nothing depends on the file but time.  Which bubbles there are, the directory says; what
one holds, its manifest.  A bubble is immutable and its id is made from what it holds, so a
line stays true for as long as there is a bubble of that id; one that is not noted is read,
and noted.  So the file may be out of date, cut off or gone, and nobody minds.

It takes no lock.  Lines are added by one ``write`` to a file opened with ``O_APPEND``, and
each ends with a checksum: what is no whole line says nothing.  A line may say that all
bubbles of a certain list are noted above it, to save the comparison; it holds for as long as
what is above it is what it was when that was found out, to the byte.  And a line may say what
was found for a request among the bubbles of a certain list; it holds until a bubble is noted.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.requirements import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from omnipkg_meta.store.bubble import Bubble

__all__ = ["Catalogue", "Noted"]

#: The version of the lines; another one is another file.
_FORMAT = 2

# The first letter of a line that says that all bubbles of a list are noted.
_ALL = b"*"
# And of one that says what was found for a request.
_FOUND = b"?"
# Whatever is something else (a bubble made by hand, perhaps) is not noted, and so read each time.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
_FACT = re.compile(r"[A-Za-z0-9.:+!_-]+")

# So many lines that are of no use any more do no harm.
_SPARE = 100


class Noted(NamedTuple):
    """What is noted of a bubble that holds certain distributions.

    Attributes:
        versions: the version of each of these.
        roots: the normalized names of the distributions that it was made for.
        size: how many distributions it holds.
        created: when it was made, as its manifest has it.
    """

    versions: tuple[str, ...]
    roots: Sequence[str]
    size: int
    created: str

    @classmethod
    def of(cls, bubble: Bubble, names: Iterable[str]) -> Noted | None:
        """Return what would be noted of a bubble; None if it does not hold all of *names*."""
        held = bubble.distributions
        try:
            versions = tuple([held[name] for name in names])
        except KeyError:
            return None
        return cls(versions, _roots(bubble), len(held), bubble.created)


class Catalogue:
    """The catalogue of one directory of bubbles, as it is when it is opened; to be closed.

    Args:
        tag_path: the directory.
    """

    def __init__(self, tag_path: Path) -> None:
        self._file = f"{tag_path.parent}{os.sep}.catalogue-{_FORMAT}-{tag_path.name}"
        self._descriptor, self._data = None, b""
        for mode in (os.O_RDWR | os.O_APPEND | os.O_CREAT, os.O_RDONLY):
            try:
                self._descriptor = os.open(self._file, mode, 0o600)
                break
            except OSError:
                continue
        if self._descriptor is not None:
            with suppress(OSError), open(self._descriptor, "rb", 0, closefd=False) as file:
                self._data = file.read()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def holding(self, names: Sequence[str]) -> dict[str, Noted]:
        """Return what is noted of the bubbles that hold all of these distributions, by their ids.

        Some of them may be gone.

        Args:
            names: normalized names.
        """
        first, *rest = names
        found: dict[str, Noted] = {}
        for line in self._about(f" {first}=="):
            words = line.split(" ", 3)
            if len(words) < 4 or not all(f" {name}==" in line for name in rest):
                continue
            bubble_id, created, roots, facts = words
            # The last line counts: one that was made afresh may be for something else.
            found[bubble_id] = Noted(
                tuple([_version(line, name) for name in names]),
                roots.split(","),
                facts.count("=="),
                created,
            )
        return found

    def covers(self, ids: Sequence[str]) -> bool:
        """Tell at once whether all of these bubbles are noted; where it says no, look.

        They are compared as they come: the entries of a directory that does not change come
        in one order, mostly, and to sort thousands would take longer than all the rest.
        """
        words = _all(ids)
        at = self._data.rfind(words)
        if at < 0:
            return False
        return self._data.startswith(words + _state(self._data[:at]), at)

    def unknown(self, ids: Iterable[str]) -> list[str]:
        """Return those of the bubbles of which nothing is noted."""
        lines = self._data.split(b"\n")
        known = {line.partition(b" ")[0] for line in lines if _is_whole(line)}
        return [one for one in ids if os.fsencode(one) not in known]

    def add(self, bubbles: Iterable[Bubble], ids: Sequence[str]) -> None:
        """Note what bubbles hold; nothing happens where the store cannot be written.

        Args:
            bubbles: those of which nothing was noted.
            ids: all that there are, as :meth:`covers` will be given them.
        """
        # Each line begins with an end of a line: the one before may have been cut off.
        self._write(b"".join(b"\n" + line for line in map(_line, bubbles) if line is not None))
        if self._data.count(b"\n") > 2 * len(ids) + _SPARE:
            self._begin_anew({os.fsencode(one) for one in ids})
        if not self.unknown(ids):
            self._write(_all(ids) + _state(self._data))

    def answer(self, request: bytes) -> str | None:
        """Return the id of the bubble that was found for a request, if that is noted.

        Args:
            request: what was asked for, and of which bubbles, as a hexadecimal digest.
        """
        at = self._data.rfind(b"\n%b%b " % (_FOUND, request))
        if at < 0:
            return None
        line, *later = self._data[at + 1 :].split(b"\n")
        if not _is_whole(line) or any(one[:1] not in _ALL + _FOUND for one in later):
            return None
        return line.split(b" ")[1].decode("ascii", "replace")

    def answered(self, request: bytes, bubble_id: str, ids: Sequence[str]) -> None:
        """Note which bubble was found for a request; nothing happens where it cannot be written.

        Args:
            request: as for :meth:`answer`.
            bubble_id: the bubble that was found.
            ids: all that there are.
        """
        if not _ID.fullmatch(bubble_id):
            return
        if self._data.count(b"\n" + _FOUND) >= _SPARE:
            self._begin_anew({os.fsencode(one) for one in ids})
        line = b"%b%b %b" % (_FOUND, request, bubble_id.encode())
        self._write(b"\n%b %08x" % (line, zlib.crc32(line)))

    def _about(self, words: str) -> Iterator[str]:
        """Yield each whole line that holds these words."""
        data, wanted = self._data, words.encode()
        at = data.find(wanted)
        while at >= 0:
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            line = data[data.rfind(b"\n", 0, at) + 1 : end]
            if _is_whole(line):
                yield line.rpartition(b" ")[0].decode("ascii", "replace") + " "
            at = data.find(wanted, end)

    def _begin_anew(self, present: set[bytes]) -> None:
        """Put a file in the place of this one that is about these bubbles only."""
        lines = {line.partition(b" ")[0]: line for line in self._data.split(b"\n")}
        kept = [line for one, line in lines.items() if one in present and _is_whole(line)]
        # Who is killed in between leaves no file; it is made again.
        with suppress(OSError):
            os.unlink(self._file)  # noqa: PTH108 (a str)
            new = os.open(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor, self._data = new, b""
            self._write(b"".join(b"\n" + line for line in kept))

    def _write(self, data: bytes) -> None:
        if data and self._descriptor is not None:
            with suppress(OSError):  # it may only be read, or the disk is full
                if os.write(self._descriptor, data) == len(data):
                    self._data += data


def _roots(bubble: Bubble) -> list[str]:
    return sorted({name_of(one) for one in bubble.requested})


def _version(line: str, name: str) -> str:
    return line.partition(f" {name}==")[2].partition(" ")[0]


def _all(ids: Sequence[str]) -> bytes:
    """Return the first words of the line that says that all of these are noted."""
    digest = hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()
    return b"\n%b%b " % (_ALL, digest.encode())


def _state(before: bytes) -> bytes:
    """Return its last words: what is before it."""
    return b"%d-%08x" % (len(before), zlib.crc32(before))


def _line(bubble: Bubble) -> bytes | None:
    roots, held = _roots(bubble), bubble.distributions
    words = [bubble.created, *roots, *held, *held.values()]
    if not _ID.fullmatch(bubble.id) or not all(map(_FACT.fullmatch, words)):
        return None
    facts = [f"{name}=={version}" for name, version in sorted(held.items())]
    line = " ".join([bubble.id, bubble.created, ",".join(roots), *facts]).encode()
    return b"%b %08x" % (line, zlib.crc32(line))


def _is_whole(line: bytes) -> bool:
    """Tell whether a line about a bubble is as it was written."""
    said, _, checksum = line.rpartition(b" ")
    return checksum == b"%08x" % zlib.crc32(said)
