"""Scopes: ``use``, ``load``, ``install``, and what is active now.

A scope is found once (which bubble serves the requirements) and entered as
often as wished, from any thread and task, also nested in itself: it keeps no
state of an entry, the context does.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakSet

from omnipkg_meta import activation, answering, hooks, notes, own_scopes
from omnipkg_meta.activation import CURRENT, Activation
from omnipkg_meta.errors import RequirementError
from omnipkg_meta.kinds import Kind, kind_of
from omnipkg_meta.realm import Realm, normalize
from omnipkg_meta.sources import Main, Source, check, claim, main, realms_for, terms_for
from omnipkg_meta.terms import Terms, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence
    from types import FrameType, ModuleType, TracebackType

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Scope", "current", "install", "load", "use"]

_get = CURRENT.get
_set = CURRENT.set
_Function = TypeVar("_Function", bound="Callable[..., Any]")


class Scope:
    """The scope of one or more bubbles: a context manager, also ``async``, and a decorator.

    Attributes:
        sources: what was asked for.
    """

    def __init__(
        self,
        sources: tuple[Source, ...],
        *,
        install: bool | None,
        terms: Terms,
        store: Store | str | os.PathLike[str] | None,
        verify: str | None = None,
    ) -> None:
        self.sources = sources
        self._terms = terms
        self._verify = verify
        self._install = install
        self._store = store
        self._realms: tuple[Realm, ...] = ()
        self._outermost: Activation | None = None
        #: The files whose code asked for it.
        self.askers: set[str] = set()
        # Re-entrant: a signal handler may enter the scope that its thread is preparing.
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"use({', '.join([*map(repr, self.sources), *self._terms.arguments()])})"

    def __reduce__(self) -> tuple[Any, ...]:
        # What was asked for, which is asked again where it arrives: as if the function that
        # this scope decorates had been imported there, and not sent.
        store = self._store
        if store is not None and not isinstance(store, (str, os.PathLike)):
            store = str(store.path)
        return _asked_again, (self.sources, self._install, self._terms, store, self._verify)

    def _repr_html_(self) -> str:
        from omnipkg_meta.hypertext import card

        # Nothing is looked for, nor made, because somebody looks.
        homes = ["main" if one.bubble is None else one.bubble.id for one in self._realms]
        held = [one.distributions for one in self._realms if one.bubble is not None]
        holds = [f"{name} {version}" for one in held for name, version in one.items()]
        facts = [("served by", ", ".join(homes) or "not entered yet"), ("holds", ", ".join(holds))]
        return card(repr(self), facts)

    @property
    def bubbles(self) -> tuple[Bubble, ...]:
        """The bubbles of this scope, found now if need be; empty where main serves."""
        self._prepare()
        return tuple(realm.bubble for realm in self._realms if realm.bubble is not None)

    def __enter__(self) -> Scope:
        """Enter the scope in the current context.

        Raises:
            BubbleNotFoundError: no bubble satisfies the requirements, nor does main.
            BubbleInvalidError: the bubble was tampered with.
            NativeConflictError: the loader would mix up its libraries with others.
            StandardLibraryConflictError: a package of it would find another copy's objects.
            TermsError: what is to be shared or adopted does not fit.
            HookError: this interpreter cannot carry the hooks.
        """
        outermost = self._outermost or self._prepare()
        parent = _get()
        _set(outermost if parent is None else Activation(self, self._realms, parent))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Leave the scope: the innermost entry of it in the current context."""
        top = _get()
        if top is not None and top.owner is self:
            _set(top.parent)
        else:
            _set(activation.without(top, self))
        if error is not None and traceback is not None:
            notes.say_where(error, traceback, self, self._realms)

    async def __aenter__(self) -> Scope:
        """Enter the scope; where a bubble has to be built, asyncio's loop goes on meanwhile."""
        if self._outermost is None and "asyncio" in sys.modules:
            asyncio = sys.modules["asyncio"]
            if asyncio._get_running_loop() is not None:
                await asyncio.to_thread(self._prepare)
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Leave the scope."""
        self.__exit__(kind, error, traceback)

    @overload
    def __call__(self, function: _Function) -> _Function: ...
    @overload
    def __call__(self, function: Any) -> Any: ...
    def __call__(self, function: Any) -> Any:
        """Decorate a function, coroutine function, generator or async generator.

        The scope is active whenever the body runs.  A generator's scope is left
        at each ``yield`` and entered again at each resumption, so that it never
        leaks into its caller.
        """
        if inspect.isclass(function) or not callable(function):
            raise TypeError(f"a scope decorates functions, not {function!r}")
        if inspect.isasyncgenfunction(function):
            return functools.wraps(function)(self._around_async_generator(function))
        if inspect.iscoroutinefunction(function):
            return functools.wraps(function)(self._around_coroutine(function))
        if inspect.isgeneratorfunction(function):
            return functools.wraps(function)(self._around_generator(function))

        @functools.wraps(function)
        def in_scope(*args: Any, **kwargs: Any) -> Any:
            with self:
                result = function(*args, **kwargs)
            # A wrapper of a coroutine function or of a generator is a plain function,
            # and the body that it stands for has not begun.
            if inspect.iscoroutine(result):
                return self._around_coroutine(lambda: result)()
            if inspect.isgenerator(result):
                return self._around_generator(lambda: result)()
            if inspect.isasyncgen(result):
                return self._around_async_generator(lambda: result)()
            return result

        return in_scope

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def in_scope(*args: Any, **kwargs: Any) -> Any:
            async with self:
                return await function(*args, **kwargs)

        return in_scope

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def in_scope(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with self:
                generator = function(*args, **kwargs)
            resume, value = generator.send, None
            while True:
                try:
                    with self:
                        item = resume(value)
                except StopIteration as stop:
                    return stop.value
                try:
                    resume, value = generator.send, (yield item)
                except GeneratorExit:
                    with self:
                        generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # thrown in: it belongs to the body
                    resume, value = generator.throw, error

        return in_scope

    def _around_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def in_scope(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            async with self:
                generator = function(*args, **kwargs)
            resume, value = generator.asend, None
            while True:
                try:
                    with self:
                        item = await resume(value)
                except StopAsyncIteration:
                    return
                try:
                    resume, value = generator.asend, (yield item)
                except GeneratorExit:
                    with self:
                        await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  # thrown in: it belongs to the body
                    resume, value = generator.athrow, error

        return in_scope

    def _prepare(self) -> Activation:
        """Find the bubbles, load their realms, and put the hooks in; once."""
        with self._lock:
            if self._outermost is None:
                if not self._realms:
                    found = realms_for(
                        self.sources, install=self._install, store=self._store, terms=self._terms
                    )
                    self._realms = tuple(found)
                if self._verify == "full":
                    for bubble in _bubbles(self._realms):
                        bubble.require_whole()
                hooks.install()
                for realm in self._realms:
                    claim(realm)
                self._outermost = Activation(self, self._realms)
                _prepared.add(self)
            return self._outermost


def _asked_again(
    sources: tuple[Source, ...], install: bool | None, terms: Terms, store: Any, verify: str | None
) -> Scope:
    return use(*sources, install=install, store=store, verify=verify, **terms._asdict())


def _bubbles(realms: tuple[Realm, ...]) -> list[Bubble]:
    """Return what realms are loaded from: bubbles, and copies of them."""
    places = [(one.bubble, one.files) for realm in realms for one in realm.chain()]
    return [one for place in places for one in dict.fromkeys(place) if one is not None]


#: Scopes that take it for granted that the hooks are in.
_prepared: WeakSet[Scope] = WeakSet()


def _forget_hooks() -> None:
    for scope in list(_prepared):
        scope._outermost = None
    _prepared.clear()


def _renew_locks() -> None:
    for scope in list(_scopes.values()):
        scope._lock = threading.RLock()


hooks.ON_UNINSTALL.append(_forget_hooks)
hooks.AFTER_FORK.append(_renew_locks)


_scopes: dict[Any, Scope] = {}
_NO_TERMS = Terms()


def install(
    *requirements: str,
    lock: str | os.PathLike[str] | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    builder: str | None = None,
    index_options: Sequence[str] = (),
    allow_build: bool = False,
    reinstall: bool = False,
    upgrade: bool = False,
    compile_bytecode: bool | None = None,
    progress: Callable[[str], None] | None = None,
) -> Bubble:
    """Make a bubble for requirements, resolved together, and return it.

    One that was made for the very same requirements is returned as it is.  With a lock
    nothing is resolved: the bubble holds what the lock names, digest by digest.

    Args:
        requirements: PEP 508 strings, or paths of wheels.  With a lock, what the bubble is
            for, which the lock has to satisfy; by default what the lock was made for.
        lock: the path of a ``pylock.toml`` (PEP 751), for example the ``lock`` of another
            bubble, or its text; a string of more than one line is a text.
        store: the store to build in, or its directory; by default the configured one.
        builder: ``"uv"`` or ``"pip"``; by default uv where it is there, else pip.
        index_options: options of the index, as pip spells them, for example
            ``["--index-url", "https://..."]``.
        allow_build: allow source distributions; building one runs its code.
        reinstall: make it afresh even if it is there.
        upgrade: resolve the requirements afresh, and make another bubble if that gives one.
        compile_bytecode: make byte code now, which otherwise Python does when a module is first
            imported: for stores that are only read.  By default as configured
            (``OMNIPKG_META_COMPILE_BYTECODE``), which is no.
        progress: called with a few words whenever something new begins.

    Raises:
        RequirementError: a requirement is malformed.
        LockError: the lock cannot be read, or no bubble may be made of it here.
        BuildError: the requirements cannot be resolved, downloaded or installed.
        StoreError: the store cannot be written.
    """
    from omnipkg_meta.store.build import install as build
    from omnipkg_meta.store.store import Store

    bubble = build(
        requirements,
        lock=lock,
        store=store if isinstance(store, Store) else Store(store),
        builder=builder,
        index_options=index_options,
        allow_build=allow_build,
        reinstall=reinstall,
        upgrade=upgrade,
        compile_bytecode=compile_bytecode,
        progress=progress,
    )
    _scopes.clear()  # the new bubble may serve better what was asked before
    return bubble


def use(
    *sources: Source,
    install: bool | None = None,
    share: Sequence[str] = (),
    adopt: Sequence[str] = (),
    hermetic: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
    verify: str | None = None,
) -> Scope:
    """Return the scope of one or more requirements, to be entered with ``with``.

    Args:
        sources: PEP 508 requirements, resolved together into one bubble; bubbles;
            :data:`main`; or, by itself, what a :func:`project` names, on its terms but
            for those that are given here.
        install: build the bubble if none satisfies the requirements; by default
            as configured (``OMNIPKG_META_INSTALL``), which is no.
        share: what the bubble takes from main, so that objects cross: top-level names
            of modules, or names of distributions.  A name stands for its whole
            distribution.  What the bubble requires has to hold with main's version.
        adopt: what of main, your own modules for example, is loaded anew inside the
            bubble, so that it sees the bubble's versions; names as for ``share``.
        hermetic: let the bubble's code see nothing but the bubble and the standard
            library; main never serves the requirements then.
        store: the store to look in, or its directory; by default the configured one.
        verify: ``"full"`` to see first that every file of the bubble is what was installed,
            once in a process, or ``"quick"``; by default as configured
            (``OMNIPKG_META_VERIFY``), which is quick: its parts are there.

    Returns:
        A scope: a context manager, an async context manager, and a decorator.
        The same one for the same arguments.

    Raises:
        RequirementError: a requirement is malformed, or a name cannot be shared or adopted.
        TypeError: a source is none of these, or there is none; or names are not in a list.
        ValueError: there is no such way to verify.
    """
    if not all(isinstance(source, (str, Main)) for source in sources):
        # Before they are hashed, which has a worse message.
        terms = terms_for(sources, share, adopt, hermetic=hermetic)
    else:
        terms = read(share, adopt, hermetic=hermetic) if share or adopt or hermetic else _NO_TERMS
    key = (sources, install, terms, store, verify, os.environ.get("OMNIPKG_META_STORE"))
    try:
        found = _scopes[key]
    except KeyError:
        check(sources, terms)
        if verify not in (None, "quick", "full"):
            raise ValueError(f"verify must be 'quick' or 'full', not {verify!r}") from None
        made = Scope(sources, install=install, terms=terms, store=store, verify=verify)
        found = _scopes.setdefault(key, made)
    frame = sys._getframe(1)
    if frame.f_code.co_filename not in found.askers:
        _note_asker(found, frame)
    return found


def _note_asker(scope: Scope, frame: FrameType | None) -> None:
    while frame is not None and kind_of(frame.f_code.co_filename) in _NOBODYS:
        frame = frame.f_back
    if frame is not None:
        scope.askers.add(frame.f_code.co_filename)
        if own_scopes.note(frame.f_code.co_filename):
            answering.forget()


#: Code that asks for others: this library's own, and the standard library's.
_NOBODYS = (Kind.OURS, Kind.TRANSPARENT)


def load(
    *sources: Source,
    name: str | None = None,
    install: bool | None = None,
    share: Sequence[str] = (),
    adopt: Sequence[str] = (),
    hermetic: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
) -> ModuleType:
    """Import a module of a bubble and return it, without a block.

    Args:
        sources: as for :func:`use`.
        name: the module's full name; by default the one that the first
            requirement's distribution provides.
        install: as for :func:`use`; and so are the others.
        share: as for :func:`use`.
        adopt: as for :func:`use`.
        hermetic: as for :func:`use`.
        store: as for :func:`use`.

    Raises:
        RequirementError: the distribution provides several modules; name one.
        ImportError: the module cannot be imported.
    """
    scope = use(*sources, install=install, share=share, adopt=adopt, hermetic=hermetic, store=store)
    if name is None:
        name = _import_name(scope)
    with scope:
        return importlib.import_module(name)


def _import_name(scope: Scope) -> str:
    from omnipkg_meta.requirements import parse

    (first, *_) = scope.sources
    asked = parse([first]) if isinstance(first, str) else ()
    if isinstance(first, str) and not asked:
        raise RequirementError(
            f"{first!r} does not apply to this interpreter: its marker is false.",
            requirement=first,
        )
    wanted = asked[0].name if asked else None
    bubbles = scope.bubbles
    if wanted is None or not bubbles:
        if wanted is not None:
            return normalize(wanted).replace("-", "_")
        raise RequirementError(
            "Which module to load is not clear.",
            requirement=str(first),
            tip='load(..., name="module")',
        )
    wanted = normalize(wanted)
    names = [name for name, owners in bubbles[0].import_names.items() if wanted in owners]
    alike = [name for name in names if normalize(name) == wanted]
    public = [name for name in names if not name.startswith("_")]
    for choice in (alike, public, names):
        if len(choice) == 1:
            return choice[0]
    raise RequirementError(
        f"{first!r} provides several modules: {', '.join(sorted(names))}.",
        requirement=str(first),
        tip=f'say which one: load({first!r}, name="{min(names, default="module")}")',
    )


def current() -> Scope | Main:
    """Return the innermost scope that is active here; :data:`main` where there is none."""
    top = CURRENT.get()
    while top is not None:
        if isinstance(top.owner, Scope):
            return top.owner
        top = top.parent
    return main
