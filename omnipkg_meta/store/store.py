"""The store: the directory of bubbles, searched, listed and tidied.

Owns the layout ``<root>/<interpreter tag>/<id>``, the choice of the best bubble
for a set of requirements, and removal.  Must not know how bubbles are built or
loaded.  Names that begin with a dot (bubbles being built or removed) do not exist
as far as this file is concerned.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnipkg_meta import config, requirements
from omnipkg_meta.errors import BubbleInvalidError, BubbleNotFoundError, StoreError
from omnipkg_meta.requirements import Asked
from omnipkg_meta.store import lease, search, trust
from omnipkg_meta.store.bubble import COPIES, MANIFEST, Bubble
from omnipkg_meta.store.to_copy import command_line
from omnipkg_meta.store.trash import TRASH, discard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import timedelta

    from omnipkg_meta.store.gc import Collected

__all__ = ["Store"]

_ID = re.compile(r"(?!\.)[^/\\\x00-\x1f]+")
_LONGEST_ID = 255  # bytes: NAME_MAX of every file system of note

# Bubbles are immutable: what was read once under the same inode and time is still true.
_opened: dict[str, tuple[tuple[int, int, int], Bubble]] = {}


class Store:
    """The directory of bubbles, per interpreter tag.

    Making a ``Store`` touches nothing on disk; the directory comes with the first
    bubble.  Two stores are equal when they are the same directory.

    Args:
        path: the root; the first of :func:`omnipkg_meta.config.store_paths` when not given.
        tag: the interpreter tag; this interpreter's when not given.
        behind: the roots of stores that are only read, those of a container's image for
            example, in the order in which they are looked at after this one; when no *path*
            is given, the rest of the configured ones.
    """

    __slots__ = ("behind", "path", "tag")

    path: Path
    tag: str
    behind: tuple[Store, ...]

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        tag: str | None = None,
        behind: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        if path is None:
            path, *rest = config.store_paths()
            behind = (*rest, *behind)
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")
        self.tag = config.interpreter_tag() if tag is None else tag
        self.behind = tuple(Store(one, tag=self.tag) for one in behind)

    @property
    def tag_path(self) -> Path:
        """The directory of this interpreter's bubbles."""
        return self.path / self.tag

    def bubbles(self) -> list[Bubble]:
        """Return this interpreter's bubbles that are whole, by id; see :meth:`broken` for the rest.

        Those of the stores behind it come after its own; of two with one id the first counts.

        Raises:
            StoreError: the store cannot be read.
        """
        return [one for one in self.scan() if isinstance(one, Bubble)]

    def own(self) -> list[Bubble]:
        """Return the bubbles of this store itself, without those behind it.

        Raises:
            StoreError: the store cannot be read.
        """
        return [one for one in self._scan() if isinstance(one, Bubble)]

    def broken(self) -> list[BubbleInvalidError]:
        """Return what is wrong with each of this interpreter's bubbles that cannot be used.

        Raises:
            StoreError: the store cannot be read.
        """
        return [one for one in self.scan() if isinstance(one, BubbleInvalidError)]

    def scan(self) -> Iterator[Bubble | BubbleInvalidError]:
        """Yield what :meth:`bubbles` and :meth:`broken` list, in one look and one at a time.

        Raises:
            StoreError: the store cannot be read.
        """
        seen: set[str] = set()
        for store in (self, *self.behind):
            for one in store._scan():
                if isinstance(one, BubbleInvalidError):
                    yield one
                elif one.id not in seen:
                    seen.add(one.id)
                    yield one

    def find(self, asked: Iterable[str | Asked]) -> Bubble | None:
        """Return the best bubble that satisfies all requirements, or None.

        The best has the highest versions of what was asked, in the order asked;
        then the fewest roots that were not asked for; then the fewest
        distributions; then it is the newest.

        Args:
            asked: PEP 508 strings, or what :func:`omnipkg_meta.requirements.parse` made of them.

        Raises:
            RequirementError: one is malformed.
            StoreError: the store cannot be read.
        """
        return search.find(self, (asked,) if isinstance(asked, str) else tuple(asked))

    def matching(self, asked: Iterable[str | Asked]) -> list[Bubble]:
        """Return all bubbles that satisfy all requirements, by id; none if nothing applies here.

        Raises:
            RequirementError: one is malformed.
            StoreError: the store cannot be read.
        """
        wanted = requirements.parse(asked)
        if not wanted:
            return []
        holding = search.holding(self, (one.name for one in wanted)).bubbles
        return [one for one in holding if search.satisfies(one, wanted)]

    def find_requested(self, asked: Iterable[str | Asked]) -> Bubble | None:
        """Return the newest bubble that was made for exactly these requirements, or None.

        Raises:
            RequirementError: one is malformed.
            StoreError: the store cannot be read.
        """
        wanted = requirements.parse(asked)
        canonical = {one.canonical for one in wanted}
        holding = search.holding(self, (one.name for one in wanted)).bubbles
        same = [one for one in holding if set(one.requested) == canonical]
        return max(same, key=lambda bubble: bubble.created, default=None)

    def require(self, asked: Sequence[str | Asked]) -> Bubble:
        """Return the best bubble that satisfies all requirements.

        Raises:
            BubbleNotFoundError: there is none; the last line of its message is the
                command that would create it.
            RequirementError: one is malformed.
            StoreError: the store cannot be read.
        """
        bubble = self.find(asked)
        if bubble is None:
            raise self.not_found(asked)
        return bubble

    def not_found(
        self, asked: Sequence[str | Asked], *, main: str | None = None
    ) -> BubbleNotFoundError:
        """Make the error that says what was asked, what is there and how to get it.

        Args:
            asked: the requirements that nothing satisfies.
            main: what the main environment has of them, if it was looked at.
        """
        texts = [one.text if isinstance(one, Asked) else one for one in asked]
        names = {one.name for one in requirements.parse(asked)}
        held = [(name, search.holding(self, [name])) for name in sorted(names)]
        available = sorted(
            {
                (name, requirements.version_key(version), f"{name} {version}")
                for name, found in held
                for version in {bubble.distributions[name] for bubble in found.bubbles}
            }
        )
        there = [text for _, _, text in available]
        what = ", ".join(sorted(names)) or "what was asked"
        cause = f"the store holds {', '.join(there)}" if there else f"the store holds no {what}"
        if main:
            cause += f"; main has {main}"
        if unusable := len({error.path for _, found in held for error in found.broken}):
            cause += f"; {unusable} more could not be read (omnipkg-meta verify --all)"
        command = command_line("install", texts, self)
        return BubbleNotFoundError(
            f"no bubble satisfies {', '.join(texts)}",
            cause=cause,
            tip=command,
            requirements=texts,
            available=there,
            command=command,
        )

    def ids(self) -> list[str]:
        """Return the ids of the bubbles of this store itself, whole or broken, in no order.

        Raises:
            StoreError: the store cannot be read.
        """
        trust.check(self.tag_path)
        try:
            return [one for one in os.listdir(self.tag_path) if one[0] != "."]  # noqa: PTH208
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(
                f"the store at {self.path} cannot be read",
                cause=error.strerror,
                tip=f"set {config.STORE} to a directory of your own",
                path=self.tag_path,
                errno=error.errno,
            ) from None

    def open(self, bubble_id: str) -> Bubble:
        """Return the bubble of this store itself with that id, which is one of :meth:`ids`.

        Raises:
            BubbleInvalidError: it cannot be used, or was removed meanwhile.
        """
        known = self._known(bubble_id)
        if known is not None:
            return known
        path = self._place(bubble_id)
        bubble, status = Bubble.read(path, tag=self.tag)
        _opened[path] = (_identity(status), bubble)
        return bubble

    def get(self, bubble_id: str) -> Bubble | None:
        """Return the bubble with that id, or None.

        Raises:
            BubbleInvalidError: it is there, and cannot be used.
        """
        if not _is_id(bubble_id):
            return None
        if (self.tag_path / bubble_id).is_dir():
            return self.open(bubble_id)
        found = (store.get(bubble_id) for store in self.behind)
        return next((one for one in found if one is not None), None)

    def remove(self, bubble: Bubble | str, *, force: bool = False) -> None:
        """Remove a bubble, whole or broken, in one step; its files are deleted after that.

        Args:
            bubble: the bubble, or its id.
            force: whether to remove it even if a program uses it, or nothing can tell.

        Raises:
            BubbleNotFoundError: it is not in this store.
            BubbleInUseError: a program uses it.
            StoreError: it cannot be removed.
        """
        discard(self.set_aside(bubble, force=force))

    def set_aside(self, bubble: Bubble | str, *, force: bool = False) -> Path:
        """Take a bubble away from where others would find it; what is left is to be discarded.

        Args:
            bubble: as for :meth:`remove`.
            force: as for :meth:`remove`.

        Returns:
            Where it is now, under a name that no store looks at.

        Raises:
            BubbleNotFoundError: it is not in this store.
            BubbleInUseError: a program uses it.
            StoreError: it cannot be taken away.
        """
        path = self._path_of(bubble)
        trash = path.with_name(f"{TRASH}{os.urandom(8).hex()}")
        try:
            with lease.exclusive(path, force=force):
                if path.exists():  # first: copies without a bubble would be nobody's
                    self._throw_away(self.tag_path / COPIES / path.name)
                path.rename(trash)
        except StoreError:
            raise
        except FileNotFoundError:
            raise _no_such_bubble(path.name, self) from None
        except OSError as error:
            raise StoreError(
                f"the bubble {path.name} cannot be removed",
                cause=error.strerror,
                tip=f"see who may write to {path.parent}",
                path=path,
                errno=error.errno,
            ) from None
        _opened.pop(str(path), None)
        return trash

    def gc(
        self,
        *,
        older_than: timedelta | None = None,
        unused_since: timedelta | None = None,
        max_size: int | None = None,
        dry_run: bool = False,
    ) -> Collected:
        """Delete what killed programs have left behind, and the bubbles that the rules name.

        A bubble that a program uses stays, whatever the rules say.

        Args:
            older_than: bubbles made longer ago than that go.
            unused_since: bubbles that no program has begun to use for so long go; to a day.
                With *older_than*, those go for which both is true.
            max_size: after that, the least recently used go until the rest takes no more
                than so many bytes of the disk.
            dry_run: whether to say what would be done, and do nothing.

        Raises:
            StoreError: the store cannot be read or written.
        """
        from omnipkg_meta.store.gc import collect

        return collect(
            self,
            older_than=older_than,
            unused_since=unused_since,
            max_size=max_size,
            dry_run=dry_run,
        )

    def copies(self, bubble: Bubble) -> list[Bubble]:
        """Return the copies of a bubble, made for those who entered it on other terms."""
        return [copy for _, copy in self._copies_of(bubble) if isinstance(copy, Bubble)]

    def verify(self, bubble: Bubble) -> list[str]:
        """Compare every file of a bubble with what was installed.

        Returns:
            One sentence for each problem; empty when all is well.

        Raises:
            BubbleInvalidError: it is being removed.
            StoreError: it cannot be read.
        """
        from omnipkg_meta.store.verify import problems

        try:
            with lease.shared(bubble.path):
                found = problems(bubble)
                for name, copy in self._copies_of(bubble):
                    wrong = [str(copy)] if isinstance(copy, BubbleInvalidError) else problems(copy)
                    found += [f"its copy {name}: {one}" for one in wrong]
                return found
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                f"the bubble {bubble.path.name} cannot be read",
                cause=f"{error.strerror}: {error.filename}",
                tip=f"see who may read {bubble.path}",
                path=bubble.path,
                errno=error.errno,
            ) from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return NotImplemented
        same = (self.path, self.tag) == (other.path, other.tag)
        return same and self.behind == other.behind

    def __hash__(self) -> int:
        return hash((self.path, self.tag, self.behind))

    def __repr__(self) -> str:
        return f"<Store {str(self.path)!r} {self.tag}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the tag: the other process has an interpreter of its own.
        return _reopen, (str(self.path), tuple(str(store.path) for store in self.behind))

    def _place(self, bubble_id: str) -> str:
        # A list of the store comes here for each bubble, so no Path is joined.
        return f"{self.path}{os.sep}{self.tag}{os.sep}{bubble_id}"

    def _known(self, bubble_id: str) -> Bubble | None:
        """Return a bubble that was opened before, if it is still the same and whole."""
        path = self._place(bubble_id)
        identity, bubble = _opened.get(path, (None, None))
        if bubble is None or bubble.tag != self.tag:
            return None
        try:
            if _identity(os.stat(f"{path}{os.sep}{MANIFEST}")) != identity:  # noqa: PTH116 (as above)
                return None
        except OSError:
            return None
        bubble.check_whole()
        return bubble

    def _scan(self) -> Iterator[Bubble | BubbleInvalidError]:
        for bubble_id in sorted(self.ids()):
            try:
                yield self._known(bubble_id) or Bubble.open(self._place(bubble_id), tag=self.tag)
            except BubbleInvalidError as error:  # noqa: PERF203 (one broken bubble is not all)
                # Removed by another program since the directory was listed.
                if error.path.exists():
                    yield error

    def _copies_of(self, bubble: Bubble) -> Iterator[tuple[str, Bubble | BubbleInvalidError]]:
        folder = self.tag_path / COPIES / bubble.id
        try:
            names = sorted(one.name for one in folder.iterdir())
        except OSError:
            return  # there is none
        for name in names:
            try:
                yield name, Bubble.open(folder / name, tag=self.tag)
            except BubbleInvalidError as error:  # noqa: PERF203 (one broken copy is not all)
                yield name, error

    def _throw_away(self, folder: Path) -> None:
        trash = self.tag_path / f"{TRASH}{os.urandom(8).hex()}"
        with suppress(OSError):
            folder.rename(trash)
            discard(trash)

    def _path_of(self, bubble: Bubble | str) -> Path:
        if isinstance(bubble, Bubble):
            if bubble.path.parent != self.tag_path:
                behind = bubble.path.parent in [one.tag_path for one in self.behind]
                raise _no_such_bubble(bubble.id if behind else str(bubble.path), self)
            return bubble.path
        if not _is_id(bubble):
            raise _no_such_bubble(bubble, self)
        return self.tag_path / bubble


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _reopen(path: str, behind: tuple[str, ...]) -> Store:
    return Store(path, behind=behind)


def _is_id(text: str) -> bool:
    """Say whether something can be the name of a directory in a store."""
    try:
        return bool(_ID.fullmatch(text)) and len(os.fsencode(text)) <= _LONGEST_ID
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False


def _no_such_bubble(bubble_id: str, store: Store) -> BubbleNotFoundError:
    return BubbleNotFoundError(
        f"there is no bubble {bubble_id!r} in the store",
        cause=f"the store is {store.path}, for {store.tag}"
        + "".join(
            f"; {one.path}, where it is, is only read"
            for one in store.behind
            if (one.tag_path / bubble_id).is_dir()
        ),
        tip=command_line("list", (), store),
        requirements=(),
        available=(),
        command=command_line("list", (), store),
    )
