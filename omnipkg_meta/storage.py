"""The storage of ``sys.modules`` itself: what stands in it, and what is kept out of it.

Modules of claimed names are kept out of the dict's own storage, each in the table
of its realm.  Owns the claims, the moves between storage and tables, and the lock
that they are made under.  What a frame sees of it all is another file's.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import contextmanager
from itertools import filterfalse
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omnipkg_meta import answering
from omnipkg_meta.asking import who
from omnipkg_meta.belonging import Entry, belongs, everybodys, may_be_taken
from omnipkg_meta.realm import CLAIMED, HERMETIC, MAIN, provides, realm_of_file
from omnipkg_meta.retype import check_live, prove, set_type, subscript_in_c

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from types import FrameType

    from omnipkg_meta.realm import Realm

__all__ = [
    "ON_REMOVAL",
    "ORDINARY",
    "after_fork",
    "claim",
    "claim_all",
    "claim_new",
    "gone",
    "guarded",
    "install",
    "installed",
    "is_claimed",
    "is_guarded",
    "leave_alone",
    "lock",
    "provide",
    "put",
    "spare",
    "sweep",
    "take",
    "take_for",
    "uninstall",
]

#: Called with the name of a module that somebody took away, by whoever shows modules elsewhere.
ON_REMOVAL: list[Callable[[object], None]] = []

_NOTHING = object()
_lock = threading.RLock()
_live: dict[Any, Any] | None = None
_types: tuple[type[dict[Any, Any]], type[dict[Any, Any]]] = (dict, dict)
_guards = 0


def lock() -> threading.RLock:
    """Return the lock that is held while names are claimed; a forked child has another."""
    return _lock


def gone(name: object) -> None:
    """Say that somebody has taken a module away, so that nothing else keeps it alive."""
    for notice in ON_REMOVAL:
        notice(name)


def put(table: dict[Any, Any], name: object, module: object) -> object:
    """Put a module into a table, at the end, and return what stood there.

    importlib takes a module out and puts it in again when it is loaded, so that a package
    comes after what it imports (``_load_unlocked``); the interpreter takes modules apart in
    the opposite order (``finalize_modules`` in ``Python/pylifecycle.c``).  Here it is done
    without an instruction of Python in between in which another thread would miss it.

    What is replaced is handed out, to die without a lock being held: its end may
    run any code.
    """
    replaced = dict.get(table, name)
    if replaced is module and module is not None:  # None: perhaps nothing stands there
        taken = map(dict.pop, (table,), (name,))
        deque(map(dict.__setitem__, (table,), (name,), taken), 0)
    else:
        dict.__setitem__(table, name, module)
    return replaced


def is_guarded() -> bool:
    """Tell whether an extension module is being initialised, so that the storage is not trusted."""
    return _guards > 0


def is_claimed(name: object) -> bool:
    """Tell whether a key of the table is a module name that some realm provides."""
    return isinstance(name, str) and name.partition(".")[0] in CLAIMED


def installed() -> bool:
    """Tell whether ``sys.modules`` is realm-aware now."""
    return _live is not None


def install(plain: type[dict[Any, Any]], guarding: type[dict[Any, Any]]) -> None:
    """Make ``sys.modules`` realm-aware.

    Args:
        plain: the type that it gets.
        guarding: the type that it gets while an extension module is being initialised.

    Raises:
        HookError: this interpreter cannot do it; nothing was changed.
    """
    global _live, _types  # noqa: PLW0603
    with _lock:
        if _live is not None:
            return
        check_live(sys.modules)
        subscript_in_c(plain)
        prove(plain, guarding)
        _types = (plain, guarding)
        _live = sys.modules
        set_type(_live, plain)
        if HERMETIC:
            _claim_mains()
        sweep(MAIN)


def uninstall() -> None:
    """Put ``sys.modules`` back: its type, and main's modules of claimed names."""
    global _live
    with _lock:
        if _live is None:
            return
        modules, _live = _live, None
        set_type(modules, dict)
        modules.update(MAIN.modules)
        MAIN.modules.clear()


def claim(names: Iterable[str]) -> None:
    """Claim top-level names: main's modules of these names move into main's table."""
    with _lock:
        new = set(names) - CLAIMED
        if not new:
            return
        if _live is None:
            CLAIMED.update(new)
            return
        # First where they will be looked for, then the claim, then away from
        # where they were: at no moment does another thread miss them.
        storage = list(dict.items(_live))
        named = [pair for pair in storage if isinstance(pair[0], str)]
        mains = {name: one for name, one in named if name.partition(".")[0] in new}
        MAIN.modules.update(mains)
        CLAIMED.update(new)
        _unclaimed.clear()
        for name in mains:
            dict.pop(_live, name, None)
        sweep(MAIN)


def claim_all(realm: Realm) -> None:
    """Claim all that main holds, and what comes to it from now on, so that a realm sees none."""
    if realm not in HERMETIC:
        HERMETIC.append(realm)
    _claim_mains()


def _claim_mains() -> None:
    storage: dict[Any, Any] = sys.modules
    # A list: other threads import meanwhile.
    claim(top for top in map(_top, list(dict.keys(storage))) if not everybodys(top))


def claim_new(name: object) -> None:
    """Claim a name that comes into the table, if some realm must not see what main holds."""
    if HERMETIC and isinstance(name, str) and not is_claimed(name) and not everybodys(_top(name)):
        claim({_top(name)})


def _top(name: object) -> str:
    return name.partition(".")[0] if isinstance(name, str) else "sys"


def provide(realm: Realm, top: str) -> None:
    """Let a realm provide one more top-level name; but for made-up ones it sees what is there."""
    with _lock:
        claim({top})
        if top not in realm.provided:
            for name, module in list(MAIN.modules.items()):
                if name.partition(".")[0] == top and not Entry.of(module).made_up:
                    realm.modules.setdefault(name, module)
            realm.provided |= {top}
            provides(realm, (top,))
            answering.forget()


def take(name: object, module: object, frame: FrameType | None) -> None:
    """See to it that what code of a realm puts into the table goes to that realm.

    What stands there already is nobody's to take: importlib puts a module of main, which
    may have put something else in its own place, in again for whoever imported it first
    (``_load_unlocked``).
    """
    entry = Entry.of(module)
    if entry.file is not None and realm_of_file(entry.file) is MAIN:
        claim_new(name)
        return  # as nearly all that main imports
    if entry.made_up:
        ORDINARY.pop(name, None)
    if (
        isinstance(name, str)
        and (entry.made_up or _in_a_bubble(name, entry.file))
        and _everybodys(name) is not module
    ):
        home = who(frame).home
        take_for(home, name, module)
        if home is not None and entry.made_up and belongs(name, entry, home.prefix):
            _settle(home, module)
    else:
        claim_new(name)


def _settle(home: Realm, module: object) -> None:
    """Let code that is executed in a module which code of a realm made up be at home there."""
    if isinstance(module, ModuleType):
        vars(module).setdefault("__realm__", home)


def _in_a_bubble(name: str, file: str | None) -> bool:
    return file is not None and may_be_taken(name) and realm_of_file(file) is not MAIN


def take_for(home: Realm | None, name: object, module: object) -> None:
    """See to it that what code of a realm puts into the table goes to that realm.

    Args:
        home: the realm; None for main.
        name: the name that it is put under.
        module: what is put there.
    """
    if not isinstance(name, str):
        return
    if home is not None:
        top = name.partition(".")[0]
        if home.provider(top) is None and belongs(name, Entry.of(module), home.prefix):
            provide(home, top)
    elif not is_claimed(name):
        _unclaimed.add(name)  # so that no sweep takes it
        claim_new(name)


def spare(name: object, frame: FrameType | None) -> None:
    """See to it that code of a realm takes no module of the standard library away from main."""
    top = str(name).partition(".")[0]
    if top in sys.stdlib_module_names and _everybodys(name) is not _NOTHING:
        _part_from_main(str(name), top, frame)


def leave_alone(name: object, frame: FrameType | None) -> None:
    """See to it that native code of a realm does not find what other code made up.

    ``PyImport_AddModule`` would hand it that, and it would add its own to it.
    """
    found = _everybodys(name)
    if found is _NOTHING or ORDINARY.get(name) == id(found):
        return
    if not Entry.of(found).made_up:
        ORDINARY[name] = id(found)
    else:
        top = str(name).partition(".")[0]
        whole = _everybodys(top)
        if whole is _NOTHING or Entry.of(whole).made_up:  # else a part of what is everybody's
            _part_from_main(str(name), top, frame)


def _part_from_main(name: str, top: str, frame: FrameType | None) -> None:
    home = who(frame).home
    if home is not None and home.provider(top) is None and may_be_taken(name):
        provide(home, top)


def _everybodys(name: object) -> Any:
    """Return the module of the storage, or main's of a claimed name."""
    storage: dict[Any, Any] = sys.modules
    return dict.get(storage, name, MAIN.modules.get(str(name), _NOTHING))


def sweep(realm: Realm, before: Container[Any] | None = None) -> None:
    """Move modules of claimed names from the storage into the tables of their realms.

    Args:
        realm: where a module goes that does not say which file it is from.
        before: the names that were there before an extension module of it initialised.
    """
    if _live is None:
        return
    # Of a list: nearly all are known, and to make a set of them would be most of the work.
    for name in [*filterfalse(_unclaimed.__contains__, list(dict.keys(_live)))]:
        module: Any = dict.get(_live, name)
        owner = _owner(module)
        if owner is None and _guards > (before is not None):
            continue  # another loader's, perhaps; it sweeps when it is done
        owner = realm if owner is None else owner
        is_new = before is not None and name not in before and owner is not MAIN
        top = str(name).partition(".")[0]
        if is_new and owner.provider(top) is None and belongs(name, Entry.of(module), owner.prefix):
            dict.pop(_live, name, None)  # else the claim would make it main's
            provide(owner, top)
            owner.modules[name] = module
        elif not is_claimed(name):
            _unclaimed.add(name)
        # In one step: another thread may be sweeping too.
        elif dict.pop(_live, name, _NOTHING) is module:
            owner.modules[name] = module


#: Names in the storage that were seen not to be claimed.
_unclaimed: set[object] = set()

#: Names to the identities of modules that are not made up.  Not the modules: they may die;
#: and what is made up in the place of one is taken out (:func:`take`).
ORDINARY: dict[object, int] = {}


def _owner(module: Any) -> Realm | None:
    """Return the realm that a module's file lies in; None where it does not say."""
    file = Entry.of(module).file
    return None if file is None else realm_of_file(file)


def after_fork() -> None:
    """Forget, in a forked child, what other threads were doing."""
    global _lock, _guards  # noqa: PLW0603
    _lock = threading.RLock()
    _guards = 0
    if _live is not None:
        set_type(_live, _types[0])


@contextmanager
def guarded() -> Iterator[Container[Any]]:
    """Trust no claimed name in the storage for as long as this lasts; give what is in it."""
    global _guards  # noqa: PLW0603
    with _lock:
        _guards += 1
        if _live is not None and _guards == 1:
            set_type(_live, _types[1])
    try:
        # Made faster than a set, and few are looked for.
        yield [] if _live is None else list(dict.keys(_live))
    finally:
        with _lock:
            _guards = max(_guards - 1, 0)
            if _live is not None and _guards == 0:
                set_type(_live, _types[0])
