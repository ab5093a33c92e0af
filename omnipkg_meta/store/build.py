"""Making a bubble: resolve (or take a lock), fill a hidden directory, put it in place in one step.

Owns the order of these steps.  Must not know how uv and pip are told what to do
(builders.py), what is done to the files (filling.py), nor how bubbles are found or loaded.

Until the last step nothing is where ``list`` or ``use`` would look, so a build
that is killed at any moment leaves the store as it was.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omnipkg_meta import config, requirements
from omnipkg_meta.errors import (
    BubbleFormatError,
    BubbleInvalidError,
    BubbleNotFoundError,
    BuildError,
    OmnipkgMetaError,
    RequirementError,
)
from omnipkg_meta.store import builders, lease, search
from omnipkg_meta.store.index import IndexOptions
from omnipkg_meta.store.staging import alone, staging, sweep, sync
from omnipkg_meta.store.store import Store
from omnipkg_meta.store.tasks import Task
from omnipkg_meta.store.trash import discard
from omnipkg_meta.store.writing import unwritable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from omnipkg_meta.requirements import Asked
    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.builders import Begun
    from omnipkg_meta.store.lock import Lock

__all__ = ["install", "load"]

_LATER = ("filling", "lock")


def install(
    asked: Sequence[str | Asked] = (),
    *,
    lock: str | os.PathLike[str] | None = None,
    store: Store | None = None,
    builder: str | None = None,
    index_options: Sequence[str] = (),
    allow_build: bool = False,
    reinstall: bool = False,
    upgrade: bool = False,
    compile_bytecode: bool | None = None,
    progress: Callable[[str], None] | None = None,
    begun: Begun | None = None,
) -> Bubble:
    """Return a bubble that was made for these requirements; make it if there is none.

    The index is asked unless the store has a bubble that was made for exactly
    the same requirements.  With a lock nothing is resolved: what it names is
    installed, archive by archive and digest by digest, or nothing at all.

    Args:
        asked: PEP 508 strings, or paths of local wheels.  With a lock, what the bubble is
            for, which the lock has to satisfy; by default what the lock was made for.
        lock: the path of a ``pylock.toml``, or its text.
        store: where the bubble goes; the configured store when not given.
        builder: ``auto``, ``uv`` or ``pip``; as configured when not given.
        index_options: ``--index-url``, ``--extra-index-url``, ``--find-links``,
            ``--no-index`` and ``--pre``, as on a command line.
        allow_build: whether source distributions may be built, which runs their code.
        reinstall: whether to resolve and install afresh even if there is such a bubble.
        upgrade: whether to resolve afresh, and install if that gives another bubble.
        compile_bytecode: whether to make byte code now, also of a bubble of this store that is
            there already, and not when a module is first imported; as configured when not given.
        progress: called with what is going on, a few words at a time.
        begun: what uv was asked of this before (early.py).

    Raises:
        RequirementError: a requirement is malformed, or none applies to this interpreter.
        LockError: the lock cannot be read, or no bubble may be made of it here.
        ConfigError: an option or a setting cannot be used.
        BuildError: nothing could be resolved, downloaded or installed.
        StoreError: the store cannot be written, or is full.
    """
    say = progress or (lambda _: None)
    locked = None if lock is None else _read(lock, asked, allow_build=allow_build)
    wanted = requirements.parse(asked if locked is None else locked.requested)
    if not wanted:
        raise RequirementError(
            "none of the requirements applies to this interpreter",
            cause="their markers are false here",
            requirement=", ".join(str(one) for one in asked),
        )
    chosen = config.builder() if builder is None else builder
    if chosen not in config.BUILDERS:
        raise ValueError(f"builder must be one of {', '.join(config.BUILDERS)}, and not {chosen!r}")
    options = IndexOptions.read(index_options)
    store = Store() if store is None else store
    compile_bytecode = config.compile_bytecode() if compile_bytecode is None else compile_bytecode
    if not reinstall and (locked is not None or not upgrade):
        present = store.find_requested(wanted) if locked is None else _present(store, locked)
        if present is not None:
            return _compiled(store, present) if compile_bytecode else present
    sweep(store.tag_path)
    with staging(store.tag_path) if begun is None else nullcontext(begun.stage) as stage:
        try:
            task = Task.at(stage, options, allow_build=allow_build) if begun is None else begun.task
            task = task._replace(asked=wanted)
            build = _Build(store, stage.path, task, compile_bytecode, say)
            with ExitStack() as held:
                if locked is not None:
                    tool, guess = builders.choose(chosen, wanted), None
                else:
                    say(f"resolving {', '.join(one.text for one in wanted)}")
                    with builders.resolving(chosen, task, begun) as going_on:
                        tool = going_on.tool
                        guess = build.ahead(going_on, held, reinstall=reinstall)
                        locked = going_on.resolution.result()
                if guess != locked:
                    held.close()
                    # Others that build the same wait here, and find it made.
                    held.enter_context(alone(store.tag_path, locked.bubble_id))
                    if not reinstall and (present := _present(store, locked)) is not None:
                        return _compiled(store, present) if compile_bytecode else present
                    build.fill(tool, locked)
                return _put_in_place(store, build.path, locked, reinstall=reinstall)
        except OmnipkgMetaError:
            raise
        except OSError as error:
            raise unwritable(stage.path, error) from None


@dataclass
class _Build:
    """A bubble that is being built.

    Attributes:
        store: where it goes.
        stage: the hidden directory.
        task: what was asked for.
        compile_bytecode: whether all sources are compiled.
        say: called with what is going on.
    """

    store: Store
    stage: Path
    task: Task
    compile_bytecode: bool
    say: Callable[[str], None]

    @property
    def path(self) -> Path:
        """Where it is built."""
        return self.stage / "bubble"

    def fill(self, tool: builders.Builder, lock: Lock) -> None:
        """Make the bubble of a lock, in place of what was made before."""
        from omnipkg_meta.store.filling import fill

        if self.path.exists():
            discard(self.path)
        final = self.store.tag_path / lock.bubble_id
        fill(
            *(self.path, final, tool, self.task, lock),
            compile_bytecode=self.compile_bytecode,
            say=self.say,
        )

    def ahead(
        self, going_on: builders.Resolving, held: ExitStack, *, reinstall: bool
    ) -> Lock | None:
        """Make the bubble that is likely to be wanted, while the index is still asked.

        Most of an installation is waiting for the index, which as a rule says what it said
        the last time.  That is in the builder's cache, and so are the archives; the bubble is
        made of these, digest by digest as any other.  It counts only if the index confirms the
        lock to the last letter.  What fails here fails again, or does not, where it matters.

        Args:
            going_on: what is waited for, and what is guessed.
            held: keeps others from building the same meanwhile.
            reinstall: whether the bubble is wanted even if there is one.

        Returns:
            The lock of the bubble that was made; None if none was.
        """
        tool, resolution, _ = going_on
        guess = _guess(going_on)
        if guess is None or not held.enter_context(
            alone(self.store.tag_path, guess.bubble_id, patient=False)
        ):
            return None

        def say(text: str) -> None:
            if not resolution.is_going_on() and resolution.result() != guess:
                raise _OtherwiseError
            self.say(text)

        try:
            if not reinstall and _present(self.store, guess) is not None:
                return None
            task = self.task._replace(offline=True)
            replace(self, task=task, say=say).fill(tool, guess)
        except (OmnipkgMetaError, OSError, _OtherwiseError):
            return None
        return guess


class _OtherwiseError(Exception):
    """The index says something else than what was guessed."""


def load() -> None:
    """Load what an installation comes to need, and would load when it comes to it."""
    for name in ("packaging.requirements", *(f"omnipkg_meta.store.{one}" for one in _LATER)):
        importlib.import_module(name)


def _guess(going_on: builders.Resolving) -> Lock | None:
    load()  # while it is thought about
    if going_on.guess is None:
        return None
    try:
        guess = going_on.guess.result()
    except BuildError:
        return None  # it keeps too little
    # To build a source distribution runs its code: not for a guess.
    wheels = all(one.is_wheel for one in guess.packages)
    return guess if wheels and going_on.resolution.is_going_on() else None


def _read(lock: str | os.PathLike[str], asked: Sequence[str | Asked], *, allow_build: bool) -> Lock:
    from omnipkg_meta.store import pylock

    return pylock.read(lock, asked, allow_build=allow_build)


def _compiled(store: Store, bubble: Bubble) -> Bubble:
    """Return a bubble that is there, with byte code; one of a store behind stays as it is."""
    from omnipkg_meta.store.bytecode import compile_rest

    if bubble.path.parent == store.tag_path:
        with lease.shared(bubble.path):
            compile_rest(bubble.site_packages)
    return bubble


def _put_in_place(store: Store, built: Path, resolved: Lock, *, reinstall: bool) -> Bubble:
    final = store.tag_path / resolved.bubble_id
    for _ in range(10):
        if not reinstall and (present := _present(store, resolved)) is not None:
            return present  # another process was faster; ours is discarded
        # Under a lease from the first moment in which others see it: nobody takes it away
        # before it was opened.
        with ExitStack() as after, lease.shared(built):
            if final.exists():
                with suppress(BubbleNotFoundError):
                    _present(store, resolved)  # one of a newer library stays
                    # Deleted when the new one is in its place: there is none for a moment only.
                    after.callback(discard, store.set_aside(final.name))
            try:
                built.rename(final)
            except OSError as error:
                if final.exists():
                    reinstall = False
                    continue
                raise unwritable(final, error) from None
            sync(final.parent)
            made = store.open(final.name)
            search.look(store)
            return made
    raise BuildError(
        f"the bubble {final.name} could not be put in place",
        cause="other processes keep making and removing it",
        requirements=(),
        output="",
    )


def _present(store: Store, resolved: Lock) -> Bubble | None:
    """Return the bubble of that lock if it is whole; one that is broken is made anew."""
    try:
        return store.get(resolved.bubble_id)
    except BubbleFormatError:
        raise  # it is not ours to replace
    except BubbleInvalidError:
        return None
