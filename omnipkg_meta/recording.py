"""What is imported while somebody records it: by whom, by which rule, and how long it took.

Owns what a map tells about imports, and the one hook that sees modules being
loaded.  Must not know what is made of it.

Two things are seen:

- *Decisions* about claimed names, as :mod:`omnipkg_meta.trace` tells them.  While
  somebody listens nothing is settled (:mod:`omnipkg_meta.answering`), so each
  import of a claimed name comes here, also of a module that is loaded already.
- *Loads*, of any name: ``importlib._bootstrap._find_and_load``, which
  ``PyImport_ImportModuleLevelObject`` (``Python/import.c``) calls for whatever is not
  in the table, is replaced by a function that looks at the clock and calls it.
  That is where ``-X importtime`` measures, too.  An import of an unclaimed name that is loaded
  already stays in C, and is not seen.

``builtins.__import__`` is left alone: with a function in its place, an import made by
native code has one more Python frame between its C frames and the caller's, and
would be taken for somebody else's.  A recorder must not change what it records.
"""

from __future__ import annotations

import importlib._bootstrap
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta import answering, asking, hooks, trace
from omnipkg_meta.errors import HookError
from omnipkg_meta.realm import CLAIMED, MAIN, Realm, providers

if TYPE_CHECKING:
    from omnipkg_meta.asking import Asker
    from omnipkg_meta.resolution import Decision

__all__ = ["Import", "Load", "Recording", "active", "last", "start", "stop"]


class Import(NamedTuple):
    """Somebody asked for a module of a claimed name, for the first time.

    Attributes:
        by: the full name of the asking module; empty where nobody is found to ask.
        home: the realm of the asking code.
        name: the full name of the module that was asked for.
        realm: the realm that answers.
        rule: by which rule.
        how: ``statement``; ``call`` (``import_module``, or a look into ``sys.modules``);
            ``native`` where native code asked.
    """

    by: str
    home: Realm
    name: str
    realm: Realm
    rule: str
    how: str


@dataclass(eq=False)
class Load:
    """A module that was looked for and executed, or was not found.

    Attributes:
        name: its full name.
        by: the full name of the module that asked first.
        home: the realm of that module's code.
        started: when, in seconds of ``time.perf_counter``.
        total: seconds until it could be used, with all that it imported meanwhile.
        own: the same, without that.
        realm: the realm that has it; None where it was not loaded.
        error: the type of the exception that ended it; empty where it was loaded.
    """

    name: str
    by: str
    home: Realm
    started: float
    total: float = 0.0
    own: float = 0.0
    realm: Realm | None = None
    error: str = ""


@dataclass(eq=False)
class Recording:
    """What was seen from one moment on, oldest first.

    Attributes:
        imports: who asked for what; a set that keeps its order.
        loads: by realm and name, what was loaded.
        failed: what was not, once for each name and who asked.
        started: when it began, in seconds of ``time.perf_counter``.
        stopped: when it ended; None while it goes on.
    """

    imports: dict[Import, None] = field(default_factory=dict)
    loads: dict[tuple[Realm, str], Load] = field(default_factory=dict)
    failed: dict[tuple[str, Realm, str], Load] = field(default_factory=dict)
    started: float = field(default_factory=perf_counter)
    stopped: float | None = None

    def decided(self, name: str, asker: Asker, answer: Decision) -> None:
        """Note who asked for a module, who answers and by which rule (:mod:`trace`)."""
        frame = asker.frame
        if asker.native:
            how = "native"
        else:
            how = "statement" if frame is not None and asking.imports(frame) else "call"
        one = Import(asker.module, asker.home or MAIN, name, answer.realm, answer.rule.value, how)
        self.imports.setdefault(one)

    def ended(self, load: Load) -> None:
        """Note a load that has ended."""
        if load.realm is None:
            self.failed.setdefault((load.by, load.home, load.name), load)
            return
        known = self.loads.setdefault((load.realm, load.name), load)
        # Two threads may have wanted it at once: the other one waited for the first.
        if load.started < known.started:
            self.loads[load.realm, load.name] = load


class _UnderWay(threading.local):
    """The loads of this thread that have not ended, and what each took for others."""

    def __init__(self) -> None:
        self.loads: list[tuple[Load, list[float]]] = []


_under_way = _UnderWay()
_recording: Recording | None = None
_ended: Recording | None = None
_lock = threading.Lock()
_bootstrap: Any = importlib._bootstrap
#: What the hook calls; kept when it has come out, for threads that are about to call it.
_original: Any = None
#: Whether the hook is in.  It stays in where somebody has put another function around it.
_is_in = False


def _begin(name: str) -> tuple[Load, list[float]]:
    asker = asking.who(sys._getframe(1))
    load = (Load(name, asker.module, asker.home or MAIN, perf_counter()), [0.0])
    _under_way.loads.append(load)
    return load


def _end(under_way: tuple[Load, list[float]], module: object, error: BaseException | None) -> None:
    load, of_others = under_way
    load.total = perf_counter() - load.started
    load.own = max(load.total - of_others[0], 0.0)
    loads = _under_way.loads
    # Greenlets of one thread may end theirs in another order.
    loads[:] = [one for one in loads if one is not under_way]
    if loads:
        loads[-1][1][0] += load.total
    if error is None:
        load.realm = _holder(load.name, module)
    else:
        load.error = type(error).__name__
    recording = _recording
    if recording is not None:
        recording.ended(load)


def _holder(name: str, module: object) -> Realm:
    """Return the realm in whose table a module stands that was just loaded."""
    top = name.partition(".")[0]
    if top in CLAIMED:
        for realm in providers(top):
            if realm.modules.get(name) is module:
                return realm
    return MAIN


def _find_and_load(name: str, import_: Any, **keywords: Any) -> Any:
    if _recording is None:
        return _original(name, import_, **keywords)
    under_way = _begin(name)
    try:
        module = _original(name, import_, **keywords)
    except BaseException as error:
        _end(under_way, None, error)
        raise
    _end(under_way, module, None)
    return module


#: It passes for a function of importlib, as it stands for one: whoever asks is looked for
#: outside of it, and its frame is cut from tracebacks (``remove_importlib_frames``).
_HOOK = FunctionType(
    _find_and_load.__code__.replace(co_filename=_bootstrap._find_and_load.__code__.co_filename),
    globals(),
)


def active() -> Recording | None:
    """Return the recording that is under way, if any."""
    return _recording


def last() -> Recording | None:
    """Return the recording that is under way, or else the last one that has ended."""
    return _recording or _ended


def start() -> Recording:
    """Record from now on; the recording that is under way goes on, if there is one.

    Raises:
        HookError: this interpreter does not load modules where others do; nothing was changed.
    """
    global _recording, _original, _is_in  # noqa: PLW0603
    with _lock:
        if _recording is not None:
            return _recording
        recording = Recording()
        _recording = recording
        if not _is_in:
            _original, _is_in = _bootstrap._find_and_load, True
            _bootstrap._find_and_load = _HOOK
        try:
            _prove(recording)
        except BaseException:
            _recording = None
            _take_out()
            raise
        trace.LISTENERS.append(recording.decided)
        answering.forget()
    return recording


def _prove(recording: Recording) -> None:
    """See that the import statement comes to the hook: by a module that cannot be there."""
    probe = f"{__name__}.probe"
    with suppress(ModuleNotFoundError):
        __import__(probe)
    seen = [key for key in recording.failed if key[2] == probe]
    if not seen:
        raise HookError(
            "Imports cannot be recorded.",
            cause="this interpreter does not load modules with importlib._bootstrap._find_and_load",
            tip="take the map without a recording",
        )
    del recording.failed[seen[0]]


def _take_out() -> None:
    global _is_in
    if _bootstrap._find_and_load is _HOOK:
        _bootstrap._find_and_load, _is_in = _original, False


def stop() -> None:
    """Record no more, and put the interpreter back as it was; what was recorded is kept."""
    global _recording, _ended
    with _lock:
        if _recording is None:
            return
        _take_out()
        trace.LISTENERS.remove(_recording.decided)
        _recording.stopped = perf_counter()
        _recording, _ended = None, _recording
        answering.forget()


def _after_fork() -> None:
    """Make the lock new in a forked child, where another thread's hold on it never ends."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


hooks.AFTER_FORK.append(_after_fork)
