"""How a scope goes to another process, and how objects go with it.

Owns what is sent of a scope (its bubbles by their locks), how the receiver finds
or builds the very same bubbles, and that an object is pickled and unpickled inside
its scope.  Must not know what the objects are for, nor who carries them.
"""

from __future__ import annotations

import builtins
import importlib
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from omnipkg_meta import config, scope
from omnipkg_meta.activation import CURRENT, UNPICKLING, Activation
from omnipkg_meta.errors import BindError, BubbleInvalidError, BubbleNotFoundError
from omnipkg_meta.sources import main
from omnipkg_meta.store.bubble import Bubble
from omnipkg_meta.store.lock import export
from omnipkg_meta.store.store import Store
from omnipkg_meta.store.to_copy import command_line

if TYPE_CHECKING:
    from omnipkg_meta.scope import Scope

__all__ = ["Parcel", "Passage", "Pickler", "by_name", "check_pickler", "dumps", "loads"]

_T = TypeVar("_T")

#: What pickles objects instead of pickle, for example ``cloudpickle.dumps``.
Pickler = Callable[[Any], bytes]


@dataclass(frozen=True)
class Sent:
    """A bubble as it is sent: which one it is, and how to build it.

    Attributes:
        id: its id.
        requested: the requirements that it was made for.
        lock: its lock, a ``pylock.toml``.
        digests: the name and the SHA-256 of each archive that it is made of.
        path: where it was.
        given: whether it was given as a bubble, and so is looked for there first.  That of
            a requirement is looked for in the store of whoever receives it.
    """

    id: str
    requested: tuple[str, ...]
    lock: str
    digests: tuple[tuple[str, str], ...]
    path: str
    given: bool

    def is_made_of(self, bubble: Bubble) -> bool:
        """Tell whether a bubble is made of the very same archives."""
        return dict(self.digests) == dict(bubble.digests)


@dataclass(frozen=True)
class Passage:
    """A scope as it is sent.

    With each of ten thousand tasks of a cluster goes one, the same for most.  So it is made
    once for a scope, pickled once, and unpickled once by who receives it.

    Attributes:
        bubbles: its bubbles, in the order in which they are asked; None stands for main.
        served_by_main: the requirements that main serves there, and has to serve here.
        options: the other arguments of ``use``.
        install: whether a bubble that is missing may be built; None: as configured here.
        store: the store that was named, if one was.
    """

    bubbles: tuple[Sent | None, ...]
    served_by_main: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]
    install: bool | None
    store: str | None

    @classmethod
    def of(cls, sent: Scope) -> Passage:
        """Return what is sent of a scope; its bubbles are found now if need be.

        Raises:
            BubbleNotFoundError: no bubble satisfies its requirements, nor does main.
            BubbleInvalidError: the lock of a bubble is gone or was changed.
        """
        sent.bubbles  # noqa: B018  # finds them
        known = _passages.get(sent)
        if known is None:
            known = _passages[sent] = cls._of_found(sent)
        return known

    @classmethod
    def _of_found(cls, sent: Scope) -> Passage:
        requirements = tuple(one for one in sent.sources if isinstance(one, str))
        realms = sent._realms
        by_main = bool(requirements) and realms[0].bubble is None
        store = sent._store
        if store is not None and not isinstance(store, Store):
            store = Store(store)
        return cls(
            bubbles=tuple(
                None
                if realm.bubble is None
                else _sent(realm.bubble, given=not (requirements and index == 0))
                for index, realm in enumerate(realms)
            ),
            served_by_main=requirements if by_main else (),
            options=tuple(sent._terms._asdict().items()),
            install=sent._install,
            store=None if store is None else str(store.path),
        )

    @cached_property
    def pickled(self) -> bytes:
        """What :func:`_arrived` makes it of again."""
        return pickle.dumps(
            (self.bubbles, self.served_by_main, self.options, self.install, self.store)
        )

    @cached_property
    def _hash(self) -> int:
        return hash(self.pickled)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.pickled,)

    def scope(self) -> Scope:
        """Return the scope, of the very same bubbles; those that are missing are built if allowed.

        Raises:
            BubbleNotFoundError: a bubble is missing, and may not be built; or main does
                not serve here what it served there.
            BubbleInvalidError: a bubble is broken, and may not be built anew.
            BuildError: a bubble could not be built.
            LockError: no bubble may be made of its lock here.
        """
        return _scope_of(self, os.environ.get(config.STORE))

    def find(self, sent: Sent) -> Bubble:
        """Return a bubble that was sent, of this machine; build it if need be and allowed."""
        if sent.given:
            try:
                found = Bubble.open(sent.path)
            except BubbleInvalidError:
                pass  # it was on another machine, or was removed since: the store may have it
            else:
                if sent.is_made_of(found):
                    return found
        store = Store(self.store)
        allowed = config.install_missing() if self.install is None else self.install
        try:
            present = store.get(sent.id)
        except BubbleInvalidError:
            if not allowed:
                raise
            present = None
        if present is not None and sent.is_made_of(present):
            return present
        if allowed:
            return scope.install(lock=sent.lock, store=store)
        origin = Store(Path(sent.path).parent.parent)
        give = command_line("export", (sent.id,), origin)
        command = f"{give} | {command_line('install', ('--lock', '-'), store)}"
        raise BubbleNotFoundError(
            f"the bubble {sent.id} for {', '.join(sent.requested)} is not here",
            cause=f"the store is {store.path}, for {store.tag}",
            tip=f"allow building it (install=True), or run: {command}",
            requirements=sent.requested,
            available=(),
            command=command,
        )


#: What is sent of the scopes that were sent.
_passages: WeakKeyDictionary[Scope, Passage] = WeakKeyDictionary()


@lru_cache(maxsize=256)
def _arrived(pickled: bytes) -> Passage:
    return Passage(*pickle.loads(pickled))  # noqa: S301  # a part of a pickle that is loaded


@lru_cache(maxsize=256)
def _scope_of(passage: Passage, configured: str | None) -> Scope:
    del configured  # only makes another store a new question
    from omnipkg_meta.requirements import satisfied_by_main

    if passage.served_by_main and not satisfied_by_main(passage.served_by_main):
        raise Store(passage.store).not_found(passage.served_by_main)
    sources = [main if one is None else passage.find(one) for one in passage.bubbles]
    return scope.use(*sources, **dict(passage.options))


@lru_cache(maxsize=256)
def _sent(bubble: Bubble, *, given: bool) -> Sent:
    digests = tuple(sorted(bubble.digests.items()))
    return Sent(
        id=bubble.id,
        requested=bubble.requested,
        lock=export(bubble),
        digests=digests,
        path=str(bubble.path),
        given=given,
    )


class Parcel(NamedTuple):
    """An object on its way: pickled inside a scope, and unpickled inside it again.

    Attributes:
        what: what to call the object.
        passage: the scope.
        data: the pickle.
        pickler: where the function is that pickled it, by its names; None for pickle's own.
    """

    what: str
    passage: Passage
    data: bytes
    pickler: tuple[str, str] | None = None

    @classmethod
    def pack(cls, what: str, thing: object, sent: Scope, pickler: Pickler | None) -> Parcel:
        """Pickle an object inside a scope.

        Args:
            what: what to call the object.
            thing: the object.
            sent: the scope.
            pickler: what pickles it; by default pickle.

        Raises:
            BindError: the object cannot be pickled.
        """
        # The name only: an error while a pool unpickles a task would end the worker.
        place = None if pickler is None else (pickler.__module__, pickler.__qualname__)
        data = dumps(thing, sent, what=what, pickler=pickler)
        return cls(what, Passage.of(sent), data, place)

    def __reduce__(self) -> tuple[Any, ...]:
        return _delivered, (self.what, self.passage.pickled, self.data, self.pickler)

    def open(self, inside: Scope) -> Any:
        """Unpickle the object inside its scope, as its passage has found it.

        Raises:
            BindError: it names what this process does not have.
        """
        try:
            return loads(self.data, inside)
        except (AttributeError, ImportError) as error:
            raise BindError(
                f"{self.what} was sent to a process that does not know it",
                cause=f"{type(error).__name__}: {error}",
                tip="put functions and classes into a module that both can import; "
                "those of a program are sent by bind(..., dumps=cloudpickle.dumps)",
            ) from error

    def find_pickler(self) -> Pickler | None:
        """Return what pickled the object, to pickle what comes of it."""
        return None if self.pickler is None else by_name(*self.pickler)


def _delivered(what: str, passage: bytes, data: bytes, pickler: tuple[str, str] | None) -> Parcel:
    return Parcel(what, _arrived(passage), data, pickler)


def by_name(module: str, qualified_name: str) -> Any:
    """Return an object by the names that pickle goes by."""
    found: Any = importlib.import_module(module)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    return found


def check_pickler(pickler: object) -> None:
    """Refuse what could not be found again where the pickle arrives.

    Raises:
        TypeError: it is no function at the top of a module.
    """
    place = (getattr(pickler, "__module__", None), getattr(pickler, "__qualname__", None))
    try:
        found = by_name(*place)  # type: ignore[arg-type]  # whatever it has
    except (AttributeError, ImportError, TypeError):
        found = None
    if found is not pickler:
        raise TypeError(
            f"dumps= takes a function of a module, as cloudpickle.dumps, not {pickler!r}"
        )


def dumps(thing: object, inside: Scope, *, what: str, pickler: Pickler | None = None) -> bytes:
    """Pickle an object inside a scope.

    Raises:
        BindError: it cannot be pickled.
    """
    # Connections and sockets can be sent by multiprocessing's own pickler only: the plain
    # one would send the number of a descriptor, which is another file in another process.
    reduction = sys.modules.get("multiprocessing.reduction")
    own = pickle.dumps if reduction is None else reduction.ForkingPickler.dumps
    with inside:
        try:
            return bytes(_as_the_user(pickler or own, thing))
        except Exception as error:
            raise BindError(
                f"{what} cannot be sent to another process",
                cause=f"{type(error).__name__}: {error}",
                tip="functions and classes have to stand at the top of a module, under their "
                "names, but for picklers such as bind(..., dumps=cloudpickle.dumps)",
            ) from error


def loads(data: bytes, inside: Scope) -> Any:
    """Unpickle an object inside a scope."""
    with inside:
        top = CURRENT.get()
        # Modules of main are imported now that were there long before at the sender. They are
        # bound to main as they were there, so it is no surprise.
        CURRENT.set(Activation(UNPICKLING, (), top))
        try:
            return _as_the_user(pickle.loads, data)
        finally:
            CURRENT.set(top)


def _call(function: Callable[..., _T], *arguments: object) -> _T:
    return function(*arguments)


#: Calls a function as code of the user's own would, which no distribution of main installed
#: and no bubble holds: the scope alone answers for the names in a pickle.  This library's own
#: frames are looked through, and the next one may be that of a framework of main (Dask, Ray)
#: which declares the very package, and would get main's.
_as_the_user: Callable[..., Any] = FunctionType(
    _call.__code__.replace(co_filename="<pickle of a scope>"),
    {"__name__": "<pickle of a scope>", "__builtins__": builtins},
)
