"""Collecting: taking out of a store what nobody needs any more.

Owns the rules by which bubbles go, and the order.  Must not know how one is
removed, nor who says how old is too old.

Nothing goes without a rule but litter: what builds and removals that were killed
have left behind.  A bubble in use never goes, nor does one that cannot be read: it
may be of a newer version of this library.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.errors import BubbleInUseError, BubbleNotFoundError, StoreError
from omnipkg_meta.store import disk, lease
from omnipkg_meta.store.bubble import COPIES
from omnipkg_meta.store.bytecode import left_over
from omnipkg_meta.store.staging import stale, sweep
from omnipkg_meta.store.trash import TRASH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import timedelta

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Collected", "collect", "collect_litter", "taken_by"]


@dataclass(frozen=True)
class Collected:
    """What was collected, or would be.

    Attributes:
        removed: the ids of the bubbles that went.
        in_use: the ids of those that would have gone, but are used, or may be.
        litter: the number of files and directories that were left behind by killed programs.
        freed: the bytes of the disk that this gives back.
        size: the bytes that the bubbles which stay take on the disk.
    """

    removed: Sequence[str]
    in_use: Sequence[str]
    litter: int
    freed: int
    size: int


def collect(
    store: Store,
    *,
    older_than: timedelta | None = None,
    unused_since: timedelta | None = None,
    max_size: int | None = None,
    dry_run: bool = False,
) -> Collected:
    """Delete litter, and the bubbles that the rules name.

    Args:
        store: the store.
        older_than: bubbles made longer ago than that go.
        unused_since: bubbles that no program has begun to use for so long go.  With
            *older_than*, those go for which both is true.
        max_size: after that, the least recently used go until the rest takes no more
            than so many bytes of the disk.
        dry_run: whether to say what would be done, and do nothing.

    Raises:
        StoreError: the store cannot be read or written.
    """
    if max_size is not None and max_size < 0:
        raise ValueError(f"max_size must not be negative: {max_size}")
    bubbles = {bubble.id: bubble for bubble in store.own()}
    litter, of_litter = collect_litter(store, bubbles.values(), dry_run=dry_run)
    taken = [of_litter]
    sizes = {one: taken_by(store, bubble) for one, bubble in bubbles.items()}
    removed: list[str] = []
    in_use: list[str] = []

    def go(bubble: Bubble) -> None:
        if _remove(store, bubble, dry_run=dry_run):
            removed.append(bubble.id)
            taken.append(sizes.pop(bubble.id))
        else:
            in_use.append(bubble.id)

    for bubble in bubbles.values():
        if _is_due(bubble, older_than, unused_since):
            go(bubble)
    if max_size is not None:
        rest = [bubbles[one] for one in sizes if one not in in_use]
        for bubble in sorted(rest, key=lambda one: (_last_used(one), one.created)):
            if disk.together(sizes.values()).size <= max_size:
                break
            go(bubble)
    return Collected(
        removed=tuple(removed),
        in_use=tuple(in_use),
        litter=litter,
        freed=disk.together(taken).freed,
        size=disk.together(sizes.values()).size,
    )


def collect_litter(
    store: Store, bubbles: Iterable[Bubble], *, dry_run: bool
) -> tuple[int, disk.Taken]:
    """Delete litter; return how many files and directories that is, and what they take.

    Args:
        store: the store.
        bubbles: those of its bubbles that may be looked into.
        dry_run: whether to say what would be deleted, and delete nothing.
    """
    orphans = [path for path in _orphans(store) if lease.in_use(path) is False]
    cached = _left_in(store, bubbles)
    litter = [*stale(store.tag_path), *orphans]
    taken = disk.together((disk.measure(*litter), disk.measure_files(*cached)))
    litter += cached
    if not dry_run:
        for path in cached:
            with suppress(OSError):  # its own writer was faster; or a bubble that is only read
                path.unlink()
        for path in orphans:
            with suppress(BubbleInUseError, FileNotFoundError), lease.exclusive(path):
                path.rename(store.tag_path / f"{TRASH}{os.urandom(8).hex()}")
        sweep(store.tag_path)
    return len(litter), taken


def _left_in(store: Store, bubbles: Iterable[Bubble]) -> list[Path]:
    """Return what was left among the byte code of bubbles and of copies."""
    found = []
    for bubble in bubbles:
        for one in (bubble, *store.copies(bubble)):
            with suppress(OSError):  # removed in this moment
                found += left_over(one.site_packages)
    return found


def _is_due(bubble: Bubble, older_than: timedelta | None, unused_since: timedelta | None) -> bool:
    rules = []
    if older_than is not None:
        rules.append((_made(bubble), older_than))
    if unused_since is not None:
        rules.append((_last_used(bubble), unused_since))
    now = time.time()
    return bool(rules) and all(now - then > limit.total_seconds() for then, limit in rules)


def _made(bubble: Bubble) -> float:
    try:
        return datetime.fromisoformat(bubble.created).timestamp()
    except ValueError:
        return time.time()  # nobody knows, so it is not old


def _last_used(bubble: Bubble) -> float:
    try:
        return lease.last_used(bubble.path)
    except OSError:
        return time.time()  # removed meanwhile


def _remove(store: Store, bubble: Bubble, *, dry_run: bool) -> bool:
    """Remove a bubble; return False if it is in use, or may be."""
    if dry_run:
        return lease.in_use(bubble.path) is False
    try:
        store.remove(bubble)
    except BubbleInUseError:
        return False
    except BubbleNotFoundError:
        return True  # another program was faster
    except StoreError as error:
        if error.errno != errno.ENOLCK:
            raise
        return False
    return True


def taken_by(store: Store, bubble: Bubble) -> disk.Taken:
    """Return what a bubble takes of the disk, with the copies that belong to it."""
    return disk.measure(*_places(store, bubble))


def _places(store: Store, bubble: Bubble) -> Iterator[Path]:
    yield bubble.path
    yield store.tag_path / COPIES / bubble.id


def _orphans(store: Store) -> list[Path]:
    """Return the copies of bubbles that are gone."""
    found = []
    for manifest in sorted((store.tag_path / COPIES).glob("*/*/manifest.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            of = Path(json.loads(manifest.read_bytes())["copy"]["of"])
            if not of.exists():
                found.append(manifest.parent)
    return found
