"""A project's bubbles: what its ``pyproject.toml`` names, and the locks beside it.

    [tool.omnipkg-meta.bubbles]
    legacy-numpy = ["numpy==1.26.4"]
    report = { requirements = ["pandas<2.2"], share = ["numpy"] }

Owns where the file is looked for, what may stand in it, and how locks are named and
kept.  Must not know when a scope is entered, nor how a bubble is built.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta.config import interpreter_tag
from omnipkg_meta.errors import BubbleNotFoundError, LockError, ProjectError, RequirementError
from omnipkg_meta.requirements import parse, satisfied_by_main
from omnipkg_meta.terms import Terms, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["ProjectBubble", "Synced", "bubbles_of", "named", "nearest", "project", "sync"]

_FILE = "pyproject.toml"
# PEP 751: what stands between "pylock." and ".toml" has no dot.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_TABLE = ("requirements", "share", "adopt", "hermetic")


@dataclass(frozen=True)
class ProjectBubble:
    """A bubble that a project names; :func:`omnipkg_meta.use` takes it, by itself.

    Attributes:
        name: what the project calls it.
        file: the project's ``pyproject.toml``.
        requirements: what it holds.
        terms: what it shares with main, what it adopts, and whether it sees main at all.
    """

    name: str
    file: Path
    requirements: tuple[str, ...]
    terms: Terms

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"project({self.name!r})"

    @property
    def own_lock(self) -> Path:
        """Where :func:`sync` writes its lock: a lock of ours is for one interpreter tag."""
        return self.file.with_name(f"pylock.{self.name}-{interpreter_tag()}.toml")

    @property
    def lock(self) -> Path | None:
        """Its lock: of this interpreter, or one for all that another tool has made; or None."""
        for lock in (self.own_lock, self.file.with_name(f"pylock.{self.name}.toml")):
            if lock.exists():
                return lock
        return None

    def find(self, store: Store) -> Bubble | None:
        """Return the bubble of its lock, or without a lock the best one; None if there is none.

        Raises:
            LockError: the lock does not fit what the project asks for, or this interpreter.
            StoreError: the store cannot be read.
        """
        lock = self.lock
        if lock is None:
            return store.find(self.requirements)
        return store.get(self._read(lock).bubble_id)

    def served_by_main(self) -> bool:
        """Tell whether main serves in its place: it has no lock, and main has what it asks for."""
        return (
            self.lock is None and not self.terms.hermetic and satisfied_by_main(self.requirements)
        )

    def not_found(self, store: Store) -> BubbleNotFoundError:
        """Make the error that says how to get it."""
        command = f"omnipkg-meta sync --project {self.file.parent}"
        return BubbleNotFoundError(
            f"the bubble {self.name!r} of {self.file} has not been made",
            cause=f"nothing in {store.path} is "
            + ("what its lock names" if self.lock else ", ".join(self.requirements)),
            tip=command,
            requirements=self.requirements,
            available=(),
            command=command,
        )

    def _read(self, lock: Path) -> Any:
        from omnipkg_meta.store import pylock

        try:
            return pylock.read(lock, self.requirements)
        except LockError as error:
            tip = error.tip or f"make it anew: omnipkg-meta sync --project {self.file.parent}"
            raise LockError(
                error.message, cause=error.cause, tip=tip, lock=error.lock, package=error.package
            ) from None


def project(name: str) -> ProjectBubble:
    """Return a bubble by the name that the project's ``pyproject.toml`` gives it.

    The file is the nearest one that names bubbles: in the directory of the file that
    calls this or above it; else in the working directory or above it.

    Args:
        name: a key of ``[tool.omnipkg-meta.bubbles]``.

    Returns:
        What ``use`` takes, with the terms that the project gives it.

    Raises:
        ProjectError: there is no such file, no such name in it, or it cannot be read.
        RequirementError: a requirement is malformed.
    """
    caller = Path(sys._getframe(1).f_code.co_filename)
    starts = [caller.parent] if caller.is_absolute() and caller.exists() else []
    starts.append(Path.cwd())
    for start in starts:
        file = nearest(start)
        if file is not None:
            return _of_name(bubbles_of(file), file, name)
    raise _nowhere(starts)


def named(names: Sequence[str] = (), start: Path | None = None) -> list[ProjectBubble]:
    """Return bubbles of the project that lies in a directory, or above it.

    Args:
        names: which of them; none for all.
        start: where to look; the working directory when not given.

    Raises:
        ProjectError: there is no project that names bubbles, or none of that name, or the
            file cannot be read.
    """
    start = (start or Path.cwd()).absolute()
    file = nearest(start)
    if file is None:
        raise _nowhere([start])
    found = bubbles_of(file)
    return [_of_name(found, file, name) for name in names or found]


def _of_name(found: dict[str, ProjectBubble], file: Path, name: str) -> ProjectBubble:
    if name not in found:
        raise ProjectError(
            f"{file} names no bubble {name!r}",
            cause=f"it names {', '.join(sorted(found)) or 'none'}",
            tip=f'{name} = ["..."] under [tool.omnipkg-meta.bubbles]',
            file=file,
        )
    return found[name]


def _nowhere(starts: Sequence[Path]) -> ProjectError:
    return ProjectError(
        f"no {_FILE} names bubbles",
        cause=f"looked in {' and '.join(map(str, dict.fromkeys(starts)))}, and above",
        tip='name = ["requirement"] under [tool.omnipkg-meta.bubbles]',
        file=None,
    )


def nearest(start: Path) -> Path | None:
    """Return the nearest ``pyproject.toml`` that names bubbles, in a directory or above it.

    Raises:
        ProjectError: a file on the way cannot be read.
    """
    for directory in (start, *start.parents):
        file = directory / _FILE
        if file.is_file() and "bubbles" in _own_table(file, _stamp(file)):
            return file
    return None


def bubbles_of(file: Path) -> dict[str, ProjectBubble]:
    """Return the bubbles that a ``pyproject.toml`` names, in its order.

    Raises:
        ProjectError: it cannot be read, or something in it is not what it should be.
        RequirementError: a requirement is malformed.
    """
    return dict(_bubbles(file, _stamp(file)))


@lru_cache(maxsize=64)
def _bubbles(file: Path, stamp: tuple[int, ...]) -> dict[str, ProjectBubble]:
    table = _own_table(file, stamp).get("bubbles", {})
    if not isinstance(table, dict):
        raise _wrong(file, "bubbles is no table")
    return {name: _read(file, name, value) for name, value in table.items()}


def _stamp(file: Path) -> tuple[int, ...]:
    """Return what changes when a file is written: as long as it does not, it is read once."""
    try:
        found = file.stat()
    except OSError as error:
        raise _wrong(file, error.strerror) from None
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _own_table(file: Path, stamp: tuple[int, ...]) -> dict[str, Any]:
    from omnipkg_meta.store.lock import read_toml

    del stamp  # only makes what was written since another question

    try:
        data = read_toml(file.read_text("utf-8"))
    except ImportError:
        raise _wrong(
            file, "reading it needs the package tomli before Python 3.11", "pip install tomli"
        ) from None
    except (OSError, ValueError) as error:
        raise _wrong(file, getattr(error, "strerror", None) or str(error)) from None
    own = data.get("tool", {}).get("omnipkg-meta", {})
    if not isinstance(own, dict):
        raise _wrong(file, "tool.omnipkg-meta is no table")
    return own


def _read(file: Path, name: str, value: object) -> ProjectBubble:
    if not _NAME.fullmatch(name):
        raise _wrong(file, f"{name!r} is no name of a bubble", "use letters, digits, - and _")
    table: dict[str, Any] = value if isinstance(value, dict) else {"requirements": value}
    unknown = sorted(table.keys() - set(_TABLE))
    if unknown:
        raise _wrong(file, f"{name}: no key {unknown[0]!r} is known", f"use {', '.join(_TABLE)}")
    texts = table.get("requirements")
    if not isinstance(texts, list) or not texts or not all(isinstance(x, str) for x in texts):
        raise _wrong(file, f"{name}: its requirements are no list of strings, or there are none")
    # A wheel's path is that from the file's directory, wherever the program runs.
    requirements = tuple(
        os.path.normpath(file.parent / one) if one.startswith(("./", "../")) else one
        for one in texts
    )
    try:
        parse(requirements)
        terms = read(
            table.get("share", ()), table.get("adopt", ()), hermetic=table.get("hermetic", False)
        )
    except RequirementError as error:
        raise _wrong(file, f"{name}: {error.message}", error.tip) from error
    except TypeError as error:
        raise _wrong(file, f"{name}: {error}") from None
    return ProjectBubble(name, file, requirements, terms)


def _wrong(file: Path, cause: str | None, tip: str | None = None) -> ProjectError:
    return ProjectError(f"{file} cannot be used", cause=cause, tip=tip, file=file)


# -- making them ------------------------------------------------------------------


class Synced(NamedTuple):
    """What was done about one bubble of a project.

    Attributes:
        asked: which one.
        bubble: it.
        lock: its lock.
        written: whether the lock was written now.
    """

    asked: ProjectBubble
    bubble: Bubble
    lock: Path
    written: bool


def sync(
    wanted: Sequence[ProjectBubble],
    install: Callable[..., Bubble],
    *,
    frozen: bool = False,
    upgrade: bool = False,
) -> Iterator[Synced]:
    """Make bubbles of a project from their locks, and locks where there are none that fit.

    Args:
        wanted: the bubbles.
        install: makes a bubble of requirements, as :func:`omnipkg_meta.install` does; it is
            given ``lock`` and ``upgrade``.
        frozen: make exactly what the locks name, and write none.
        upgrade: resolve all requirements anew, whatever the locks name.

    Raises:
        LockError: a lock is missing or does not fit, and none may be written; or it is damaged.
        BuildError: a bubble could not be made.
        ProjectError: a lock cannot be written.
    """
    for one in wanted:
        lock = one.lock
        if frozen:
            if lock is None:
                raise LockError(
                    f"the bubble {one.name!r} of {one.file} has no lock for this interpreter",
                    tip=f"make it: omnipkg-meta sync --project {one.file.parent}",
                    lock=str(one.own_lock),
                    package=None,
                )
            one._read(lock)
            yield Synced(one, install(*one.requirements, lock=lock), lock, written=False)
        elif lock is not None and not upgrade and _fits(one, lock):
            yield Synced(one, install(*one.requirements, lock=lock), lock, written=False)
        else:
            from omnipkg_meta.store.lock import export

            bubble = install(*one.requirements, lock=None, upgrade=upgrade)
            _write(one, export(bubble))
            yield Synced(one, bubble, one.own_lock, written=True)


def _fits(one: ProjectBubble, lock: Path) -> bool:
    """Tell whether a lock holds what the project asks for now; one that is damaged is an error."""
    from omnipkg_meta.store import pylock

    pylock.read(lock)
    try:
        pylock.read(lock, one.requirements)
    except LockError:
        return False
    return True


def _write(one: ProjectBubble, text: str) -> None:
    new = one.own_lock.with_name(f".{one.own_lock.name}.{os.getpid()}")
    try:
        new.write_text(text, "utf-8")
        new.replace(one.own_lock)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ProjectError(
            f"the lock {one.own_lock} cannot be written", cause=error.strerror, file=one.file
        ) from None
