"""Which packages, and which two versions of each.

Owns ``packages.tsv``, ``more.tsv`` and the questions to uv's resolver.  Must not know what is
done with the versions.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = tuple(Path(__file__).parent / name for name in ("packages.tsv", "more.tsv"))

#: The part for CI: small archives; C, Rust, Cython and pure Python; a namespace,
#: a lazy importer, a package that this library needs itself.
QUICK = (
    *("markupsafe", "pyyaml", "orjson", "msgpack", "frozenlist", "protobuf", "numpy"),
    *("six", "packaging", "urllib3", "rich", "opentelemetry-api"),
)

#: Last, for what they take.
LAST = ("jax", "numba", "pyarrow", "tensorflow-cpu", "torch")

_A_DAY = 24 * 3600


@dataclass(frozen=True)
class Row:
    """A package, and how older versions of it are asked for, best first."""

    name: str
    older: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """A version of a package with all that is installed with it, exactly."""

    name: str
    version: str
    pins: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """What asks for exactly this version."""
        return f"{self.name}=={self.version}"


class NoVersionError(Exception):
    """The index has no version that was asked for, or none with wheels for all it needs."""


def rows() -> list[Row]:
    """Return the rows of the tables, the largest ones last."""
    lines = [
        line
        for table in TABLES
        for line in table.read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    found = [Row(name, tuple(older.split())) for name, older in (one.split("\t") for one in lines)]
    return sorted(found, key=lambda row: LAST.index(row.name) + 1 if row.name in LAST else 0)


class Resolver:
    """Asks uv which versions there are, for one interpreter; remembers it for a day."""

    def __init__(self, python: str, memory: Path, *, afresh: bool) -> None:
        self._python = python
        self._memory = memory
        known = {} if afresh or not memory.exists() else json.loads(memory.read_text("utf-8"))
        self._known: dict[str, list[object]] = {
            asked: entry for asked, entry in known.items() if time.time() - entry[0] < _A_DAY
        }

    def newest(self, row: Row) -> Version:
        """Return the newest version that has wheels.

        Raises:
            NoVersionError: there is none.
        """
        return self._resolve(row.name, row.name)

    def older(self, row: Row, newest: Version) -> Iterator[Version]:
        """Yield older versions that have wheels, in the order of the table.

        Where the table's own suffixes lead to the newest again (what is newer
        has no wheel here), the one before it ends the list.
        """
        seen = {newest.version}
        for suffix in (*row.older, f"<{newest.version}"):
            try:
                found = self._resolve(row.name, row.name + suffix)
            except NoVersionError:
                continue
            if found.version not in seen:
                seen.add(found.version)
                yield found

    def forget(self, row: Row) -> None:
        """Ask again, the next time, for what was asked about a row."""
        for asked in (row.name, *(row.name + suffix for suffix in row.older)):
            self._known.pop(asked, None)
        for asked in [one for one in self._known if one.startswith(f"{row.name}<")]:
            del self._known[asked]

    def together(self, version: Version, *more: str) -> list[str]:
        """Return all that is installed with a version and with more requirements, exactly.

        Raises:
            NoVersionError: they cannot be had together.
        """
        return list(self._resolve(version.name, "\n".join([version.requirement, *more])).pins)

    def _resolve(self, name: str, requirement: str) -> Version:
        if requirement not in self._known:
            command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
            done = subprocess.run(
                [*command, "--only-binary", ":all:", "--python", self._python, "-"],
                input=requirement + "\n",
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode and "No solution found" not in done.stderr:
                raise SystemExit(f"uv could not look for {requirement}:\n{done.stderr}")
            self._known[requirement] = [
                time.time(),
                None if done.returncode else done.stdout,
                done.stderr,
            ]
            self._memory.write_text(json.dumps(self._known, indent=1), "utf-8")
        _, answer, complaint = self._known[requirement]
        if not isinstance(answer, str):
            raise NoVersionError(" ".join(str(complaint).split()))
        pins = tuple(line for line in answer.splitlines() if line and not line.startswith("#"))
        for pin in pins:
            found, _, version = pin.partition("==")
            if re.sub(r"[-_.]+", "-", found).lower() == name:
                return Version(name, version.split()[0], pins)
        raise NoVersionError(f"uv's answer to {requirement} does not name it: {answer}")
