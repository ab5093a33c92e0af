"""Dask: :class:`Bubbles`, a plugin with which each worker of a cluster has certain bubbles.

A bubble goes to the workers as its lock.  The first worker of a machine builds it, and the
others there find it: the store sees to that.  What runs in it are bound functions, or
functions that enter scopes; of them this file must not know.

``Worker._register_with_scheduler`` of ``distributed/worker.py`` sets up the plugins of a
worker that joins before it takes its first task, and goes on where one fails.  So one that
fails here closes its worker, and says why to the clients by the event that
``distributed.worker.warn`` would send.

Tried with distributed 2024.8.0 and 2026.8.0.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import WorkerPlugin

from omnipkg_meta import config, scope
from omnipkg_meta.projects import ProjectBubble
from omnipkg_meta.store import pylock
from omnipkg_meta.store.bubble import Bubble
from omnipkg_meta.store.lock import export
from omnipkg_meta.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Worker

    from omnipkg_meta.scope import Scope

__all__ = ["Bubbles"]


class Lock(NamedTuple):
    """A bubble as it is sent.

    Attributes:
        text: its lock.
        requested: what it is for; nothing: what the lock says.
    """

    text: str
    requested: tuple[str, ...]


class Bubbles(WorkerPlugin):
    """Bubbles that each worker has, those that join later too.

    They are made from their locks, once on each machine, before a worker takes its first
    task::

        client.register_plugin(Bubbles("numpy==1.26.4", "numpy==2.0.2"))

    A worker on which one cannot be made is an error of ``register_plugin``.  One that joins
    later, and cannot make them, closes; its clients are warned, and told why.

    Args:
        bubbles: each one bubble: a requirement, or a list of those that are resolved
            together, of which the store here has one; a bubble; what a :func:`project`
            names; or the path of a ``pylock.toml``, which may be for several platforms.
        install: build here what the store here does not have; by default as configured
            (``OMNIPKG_META_INSTALL``), which is no.
        store: where they are made on the workers; by default the store that is configured
            there.
        allow_build: allow source distributions in the locks; building one runs its code.

    Raises:
        BubbleNotFoundError: a bubble is not in the store here.
        LockError: a lock cannot be read.
        RequirementError: a requirement is malformed.
        TypeError: it is none of these, or there is none.
    """

    def __init__(
        self,
        *bubbles: str | Sequence[str] | Bubble | ProjectBubble | os.PathLike[str],
        install: bool | None = None,
        store: str | os.PathLike[str] | None = None,
        allow_build: bool = False,
    ) -> None:
        if not bubbles:
            raise TypeError("Bubbles() needs at least one requirement, bubble, or lock")
        allowed = config.install_missing() if install is None else install
        self._locks = tuple(_lock_of(one, install=allowed) for one in bubbles)
        self._store = None if store is None else os.fspath(store)
        self._allow_build = allow_build
        self._scopes: list[Scope] = []
        # The same bubbles are the same plugin: what is registered again is tried again.
        digest = hashlib.sha256(repr((self._locks, self._store)).encode()).hexdigest()
        self.name = f"omnipkg-meta-{digest[:12]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.name, self._locks, self._store, self._allow_build)

    async def setup(self, worker: Worker) -> None:
        """Make the bubbles; the worker goes on with what it does meanwhile.

        Raises:
            BuildError: one could not be made here.
            LockError: a lock is not meant for this interpreter.
            HookError: this interpreter cannot carry the import hooks.
        """
        # Stopped until the plugins of a worker that joins are set up.
        joins = not worker.periodic_callbacks["heartbeat"].is_running()
        try:
            await asyncio.to_thread(self._make)
        except Exception as error:
            if joins:
                text = f"the worker {worker.address} has closed: {error}"
                worker.log_event("warn", {"message": pickle.dumps(text)})
                # Before the callback that takes tasks.
                worker.loop.add_callback(worker.close, reason=text)
            raise

    def _make(self) -> None:
        for lock in self._locks:
            bubble = scope.install(
                *lock.requested, lock=lock.text, store=self._store, allow_build=self._allow_build
            )
            found = scope.use(bubble)
            found.bubbles  # noqa: B018  # under lease from now on, and the hooks are in
            self._scopes.append(found)


def _arrive(name: str, locks: Sequence[Lock], store: str | None, allow_build: bool) -> Bubbles:
    plugin = Bubbles.__new__(Bubbles)
    plugin.name, plugin._locks, plugin._store = name, tuple(locks), store
    plugin._allow_build, plugin._scopes = allow_build, []
    return plugin


def _lock_of(one: object, *, install: bool) -> Lock:
    """Return what is sent of a bubble.

    Raises:
        BubbleNotFoundError: it is not here, and may not be built.
    """
    if isinstance(one, Bubble):
        return Lock(export(one), ())
    if isinstance(one, ProjectBubble):
        if one.lock is not None:
            return Lock(pylock.text_of(one.lock), one.requirements)
        found = one.find(Store())
        if found is None and not install:
            raise one.not_found(Store())
        return Lock(export(found or scope.install(*one.requirements)), ())
    if isinstance(one, os.PathLike):
        return Lock(pylock.text_of(Path(one)), ())
    wanted = [one] if isinstance(one, str) else one
    if not isinstance(wanted, (list, tuple)) or not all(isinstance(text, str) for text in wanted):
        raise TypeError(
            "a requirement is a str, a list of them, a Bubble, a project's bubble, or the path "
            f"of a lock, not {type(one).__name__}"
        )
    store = Store()
    present = store.find(wanted)
    if present is None:
        present = scope.install(*wanted) if install else store.require(wanted)
    return Lock(export(present), ())
