"""What a map tells, as plain data.

Owns the form of the data.  Must not know where it comes from, nor how it is shown.
All of it is text, numbers, tuples and dicts: :func:`plain` gives what JSON takes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAINS_KEY",
    "Distribution",
    "Edge",
    "Facts",
    "Failure",
    "Module",
    "Place",
    "Run",
    "Side",
    "plain",
]

#: The key of main's realm.
MAINS_KEY = "main"


@dataclass(frozen=True)
class Module:
    """A module in the table of a realm.

    Attributes:
        name: its full name.
        file: where it was loaded from, if it has a file.
        by: the module that imported it first, and that one's realm; None if not recorded.
        total: seconds that it took to load, with all that it imported; None if not recorded.
        own: the same without that.
    """

    name: str
    file: str | None
    by: tuple[str, str] | None = None
    total: float | None = None
    own: float | None = None


@dataclass(frozen=True)
class Side:
    """A realm, as it is in this process.

    Attributes:
        key: what it is called in this map: ``main``, ``r1``, ``r2`` ...
        name: the id of its bubble.
        requested: the requirements that the bubble was made for.
        terms: on which terms it was entered, in words.
        path: the bubble's directory; None for main.
        distributions: name to version.
        provided: the top-level names that it provides.
        modules: its modules, by name.
        around: the key of the realm that it lies on top of, if it is code of main that was
            adopted by a scope.
        size: the bytes that its bubble and its copies take of the disk; None if not measured.
        alone: those of them that no other bubble of this map shares.
    """

    key: str
    name: str
    requested: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    path: str | None = None
    distributions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    provided: tuple[str, ...] = ()
    modules: tuple[Module, ...] = ()
    around: str | None = None
    size: int | None = None
    alone: int | None = None

    @property
    def seconds(self) -> float | None:
        """The time that its modules took to load, each without others; None if not recorded."""
        known = [one.own for one in self.modules if one.own is not None]
        return sum(known) if known else None


@dataclass(frozen=True)
class Edge:
    """A module imported something of a claimed name.

    Attributes:
        home: the key of the importing module's realm.
        by: the full name of the importing module; empty where nobody was found to ask.
        top: the top-level name that was imported.
        names: the modules of it, by their full names.
        realm: the key of the realm that answered.
        rule: by which rule.
        how: ``statement``, ``call`` or ``native``.
    """

    home: str
    by: str
    top: str
    names: tuple[str, ...]
    realm: str
    rule: str
    how: str


@dataclass(frozen=True)
class Failure:
    """A module that was asked for and not loaded.

    Attributes:
        home: the key of the asking module's realm.
        by: the asking module.
        name: what it asked for.
        error: the type of the exception.
    """

    home: str
    by: str
    name: str
    error: str


@dataclass(frozen=True)
class Place:
    """A version of a distribution in one realm.

    Attributes:
        realm: the realm's key.
        version: the version there.
        loaded: whether any module of it is loaded there.
        shared: whether it is main's, which the realm shares.
    """

    realm: str
    version: str
    loaded: bool
    shared: bool = False


@dataclass(frozen=True)
class Distribution:
    """A distribution that several realms hold.

    Attributes:
        name: normalized.
        places: where, in the order of realms.
    """

    name: str
    places: tuple[Place, ...]

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of it, each once."""
        return tuple(dict.fromkeys(one.version for one in self.places))


@dataclass(frozen=True)
class Run:
    """The process that a map is of.

    Attributes:
        program: its command line.
        python: the interpreter and its version.
        pid: the number of the process.
        taken: when the map was taken, as ISO 8601.
        ended: how the program ended, if it did: what it raised, or that it came to its end.
    """

    program: str
    python: str
    pid: int
    taken: str
    ended: str | None = None


@dataclass(frozen=True)
class Facts:
    """All that a map tells.

    Attributes:
        run: the process.
        realms: main first, then the others, oldest first.
        claimed: the claimed names.
        recorded: for how many seconds imports were recorded; None if they were not.
        edges: what was imported of claimed names.
        failures: what was not found.
        distributions: those that more than one realm holds.
        size: the bytes that all bubbles of this map take of the disk together.
    """

    run: Run
    realms: tuple[Side, ...]
    claimed: tuple[str, ...] = ()
    recorded: float | None = None
    edges: tuple[Edge, ...] = ()
    failures: tuple[Failure, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    size: int | None = None


def plain(facts: Facts) -> dict[str, Any]:
    """Return the facts as JSON takes them."""
    return {"schema": 1, **dataclasses.asdict(facts)}
