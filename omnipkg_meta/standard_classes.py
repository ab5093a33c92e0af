"""What packages leave on classes of the standard library: objects of classes of their own.

There is one ``collections.UserDict`` in a process.  A package that keeps a note of its own
there (zope.interface its declarations) takes it for its own when it finds it again; and so
does another copy of the package, another version or the same one in another realm, which
then mixes the two up, or fails in its own code with an error that says nothing of it.

What lies there is looked at only if two copies of one package are in the process, by the
types of all values at once: a class of a realm's is none that the standard library uses.
The second time that is no more than those classes which have got an attribute since.
Functions and classes are patches (:mod:`omnipkg_meta.patches`), and so are descriptors and
what wraps the attribute that it stands for (``__wrapped__``): they act, whoever finds them.
And what is empty says nothing: zope.interface notes on each class that it is asked about
which interfaces were declared for it, mostly none; two Twisteds live with that.

The rule: a copy is not loaded where objects of another one lie.  A bubble of which nothing
was loaded is refused when it is activated; where both copies were loaded before the first
one left something, it is said, and no more modules of the other copy are loaded.  Each time
that is found out anew, so that it holds no longer than the objects lie there.

This file must not know how a module is found or loaded.
"""

from __future__ import annotations

import sys
import threading
import warnings
from contextlib import suppress
from itertools import filterfalse
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta.errors import StandardLibraryConflictError, StandardLibraryPatchWarning
from omnipkg_meta.namespaces import portion
from omnipkg_meta.realm import MAIN, Realm, providers
from omnipkg_meta.storage import gone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType, TracebackType

__all__ = ["after_fork", "before_activation", "before_load", "load_ended", "load_failed"]


class _Left(NamedTuple):
    """An object on a class of the standard library.

    Attributes:
        realm: in which its own class was defined.
        kind: the full name of that class.
        module: the module that defined it.
        place: the attribute that holds the object.
    """

    realm: Realm
    kind: str
    module: str
    place: str


#: Attributes that hold objects of realms' classes, or did; what they hold, and whether it says
#: something, may have changed since.
_noted: dict[tuple[type, str], None] = {}
#: What was found: the first object of each realm and module; it may be gone since.  Replaced,
#: never changed in place: whoever only asks takes no lock.
_found: dict[tuple[Realm, str], _Left] = {}
#: Of which package of which realm it was said.
_said: dict[tuple[Realm, str], object] = {}
#: The classes of the standard library, their namespaces, and the attribute that each got
#: last, which is the last one in its dict; and the modules that were searched for them.
_classes: list[type] = []
_namespaces: list[Any] = []
_youngest: list[str] = []
_searched: set[str] = set()
# Re-entrant: a signal handler may enter a scope while its thread is in here.
_lock = threading.RLock()

#: ``Py_TPFLAGS_HEAPTYPE`` without ``Py_TPFLAGS_IMMUTABLETYPE``: attributes can be set.
_FLAGS, _MUTABLE = 1 << 9 | 1 << 8, 1 << 9
_NOTHING = object()
_module_of: Any = vars(type)["__module__"].__get__


def before_activation(realm: Realm) -> None:
    """See that no copy of a package in a realm would find objects of another copy.

    Raises:
        StandardLibraryConflictError: one would; nothing of it was loaded.
    """
    if realm is not MAIN and _is_beside_another(realm):
        _look()
        _refuse(realm, [part for part, _ in _against(realm) if part not in realm.modules])


def before_load(realm: Realm, name: str) -> None:
    """See that a module may be loaded: that its package finds no objects of another copy.

    Args:
        realm: the realm that it is to be loaded into; main, too.
        name: its full name, claimed.

    Raises:
        StandardLibraryConflictError: it would find some.
    """
    if "." in name:
        if not _found:
            return  # as for nearly every module there is
    elif any(name in one.modules for one in (*providers(name), MAIN) if one is not realm):
        _look()  # what code left that ran when nothing was loaded, nobody has looked for
    _refuse(realm, [part for part, _ in _against(realm) if _is_in(name, part)])


def _refuse(realm: Realm, parts: Sequence[str]) -> None:
    """Refuse packages of a realm, unless what was left is gone since."""
    if parts:
        _look(anew=True)
        for part, left in _against(realm):
            if part in parts:
                raise _error(realm, part, left)


def load_ended(loaded: Sequence[tuple[Realm, str]]) -> None:
    """Look what lies there after the outermost load of a thread, and say what is new.

    Args:
        loaded: the modules that were loaded, each with its realm.

    Raises:
        StandardLibraryConflictError: another copy has left objects meanwhile, and this one
            beside them.
    """
    for realm in dict.fromkeys(realm for realm, _ in loaded):
        if not _is_beside_another(realm, loaded=True):
            continue
        new = _look()
        _say()
        for part, left in _against(realm):
            mine = [
                one
                for one in list(_found.values())
                if one.realm is realm and _is_in(one.module, part)
            ]
            names = _names(loaded, realm, part)
            if mine and (names or any(one in new for one in mine)):
                _take_back(realm, names)
                raise _error(realm, part, left)


def load_failed(loaded: Sequence[tuple[Realm, str]], error: Exception) -> None:
    """Look what lies there after a load has failed; return if that was not the reason.

    Args:
        loaded: the modules that were being loaded, each with its realm.
        error: by what it failed.

    Raises:
        StandardLibraryConflictError: the code of a package failed where objects of another
            copy lie, which is the reason.
    """
    if isinstance(error, StandardLibraryConflictError):
        return
    for realm in dict.fromkeys(realm for realm, _ in loaded):
        if not _is_beside_another(realm):
            continue
        _look(anew=True)
        _say()
        for part, left in _against(realm):
            if _ran(realm, part, error.__traceback__):
                _take_back(realm, _names(loaded, realm, part))
                raise _error(realm, part, left) from error


def after_fork() -> None:
    """Make the lock new in a forked child, where another thread's hold on it never ends."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


def _is_beside_another(realm: Realm, *, loaded: bool = False) -> bool:
    """Tell whether another copy of something that a realm holds is in the process.

    Args:
        realm: the realm.
        loaded: whether only what is loaded in it counts.
    """
    if realm is MAIN:
        return True  # a claimed name, or nobody would ask
    mains: dict[str, Any] = sys.modules
    for top in realm.modules.keys() & realm.import_names.keys() if loaded else realm.import_names:
        if realm.provider(top) is realm and (
            len(providers(top)) > 1 or top in MAIN.modules or dict.__contains__(mains, top)
        ):
            return True
    return False


def _names(loaded: Sequence[tuple[Realm, str]], realm: Realm, part: str) -> list[str]:
    """Return those of the modules that were loaded which are of a realm's package."""
    return [name for one, name in loaded if one is realm and _is_in(name, part)]


def _against(realm: Realm) -> Iterator[tuple[str, _Left]]:
    """Yield what other copies of a realm's packages have left, each with the realm's package."""
    for left in list(_found.values()):
        if left.realm is not realm:
            part = portion(left.module) if realm is MAIN else _held(realm, left.module)
            if part is not None:
                yield part, left


def _held(realm: Realm, name: str) -> str | None:
    """Return the package of a realm that a module would be of; None if it holds none such.

    The top-level one, or the portion of a namespace package, whose name may not be joined yet.
    """
    part, _, rest = name.partition(".")
    if realm.provider(part) is not realm:
        return None
    while rest and part in realm.portions:
        label, _, rest = rest.partition(".")
        if label not in realm.portions[part]:
            return None
        part = f"{part}.{label}"
    return part


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _ran(realm: Realm, part: str, traceback: TracebackType | None) -> bool:
    """Tell whether an error came through code of a realm's package."""
    while traceback is not None:
        namespace = traceback.tb_frame.f_globals
        home = namespace.get("__realm__", MAIN)
        if home is realm and _is_in(str(namespace.get("__name__")), part):
            return True
        traceback = traceback.tb_next
    return False


def _take_back(realm: Realm, names: Sequence[str]) -> None:
    """Take modules out of a realm's table that were loaded on the way to what is refused.

    The outermost one importlib takes out itself.
    """
    for name in names:
        module = realm.modules.pop(name, None)
        gone(name)
        package, _, attribute = name.rpartition(".")
        namespace = vars(realm.modules[package]) if package in realm.modules else {}
        if module is not None and namespace.get(attribute) is module:
            del namespace[attribute]


def _look(*, anew: bool = False) -> list[_Left]:
    """Find out what lies on classes of the standard library; return what is new.

    Args:
        anew: whether to look at all of them again.
    """
    global _found  # noqa: PLW0603
    with _lock:
        _search_modules()
        youngest = _youngest_attributes()
        if youngest != _youngest or anew:
            known = zip(_classes, _youngest, youngest, strict=True)
            _note([one for one, before, now in known if anew or before != now])
            _youngest[:] = youngest
        there: dict[tuple[Realm, str], _Left] = {}
        for one, name in list(_noted):  # what is iterated over may import, and come here again
            value = vars(one).get(name)
            kind = type(value)
            realm = _owner(kind)
            if realm is not None and _says_something(value):
                module = str(_module_of(kind))
                place = f"{_module_of(one)}.{one.__qualname__}.{name}"
                left = _Left(realm, f"{module}.{kind.__qualname__}", module, place)
                there.setdefault((realm, module), left)
        new = [left for key, left in there.items() if key not in _found]
        _found = there
        return new


def _note(classes: Sequence[type]) -> None:
    """Note the attributes of classes that hold objects of a realm's, which are few if any."""
    kinds: set[type] = set()
    for one in classes:
        # Of a list: another thread may be setting an attribute.
        kinds.update(map(type, list(vars(one).values())))
    foreign = {kind for kind in kinds if _owner(kind) is not None}
    for one in classes if foreign else ():
        for name, value in list(vars(one).items()):
            if type(value) in foreign:
                _noted[one, name] = None


def _youngest_attributes() -> list[str]:
    while True:
        try:
            return list(map(next, map(reversed, _namespaces)))
        except RuntimeError:  # noqa: PERF203
            pass  # another thread has set an attribute in between


def _search_modules() -> None:
    """Note the classes of the standard library's modules that were loaded since."""
    storage: dict[str, Any] = sys.modules
    known = set(map(id, _classes))
    # In order: what is told of is the same each time.
    for name in [*filterfalse(_searched.__contains__, list(dict.keys(storage)))]:
        if str(name).partition(".")[0] in sys.stdlib_module_names:
            namespace = _namespace_of(dict.get(storage, name))
            if getattr(namespace.get("__spec__"), "_initializing", False):
                continue  # more will come
            for value in list(namespace.values()):
                if (
                    isinstance(value, type)
                    and issubclass(type(value), type)  # and no proxy that says that it is one
                    and value.__flags__ & _FLAGS == _MUTABLE
                    and id(value) not in known
                    and str(_module_of(value)).partition(".")[0] in sys.stdlib_module_names
                ):
                    known.add(id(value))
                    _classes.append(value)
                    _namespaces.append(value.__dict__)
                    _youngest.append("")
        _searched.add(name)


def _namespace_of(module: object) -> dict[str, Any]:
    """Return what is in a module, without loading one that waits to be touched."""
    try:
        namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}  # whatever somebody has put in its place
    return namespace


def _owner(kind: type) -> Realm | None:
    """Return the realm in whose modules a class was defined, main among them; None if in none."""
    name = _module_of(kind)
    top = str(name).partition(".")[0]
    if top in sys.stdlib_module_names:
        return None
    for realm in providers(top):
        if _defines(realm.modules.get(name), kind):
            return realm
    storage: dict[str, Any] = sys.modules
    mains = MAIN.modules.get(name) or dict.get(storage, name)
    return MAIN if _defines(mains, kind) else None


def _defines(module: ModuleType | None, kind: type) -> bool:
    namespace = getattr(module, "__dict__", None)
    return namespace is not None and (
        namespace.get(kind.__name__) is kind
        or any(
            isinstance(one, FunctionType) and one.__globals__ is namespace
            for one in list(vars(kind).values())
        )
    )


def _says_something(value: Any) -> bool:
    """Tell whether an object on a class is something to be read, and not a patch, nor empty."""
    if isinstance(value, type) or hasattr(type(value), "__get__"):
        return False
    spaces: list[Any] = [vars(one) for one in type(value).__mro__]
    with suppress(AttributeError):  # it has slots, or is made in C
        spaces.append(object.__getattribute__(value, "__dict__"))
    if any("__wrapped__" in one for one in spaces):
        return False
    try:
        items = iter(value)
        return items is value or next(items, _NOTHING) is not _NOTHING
    except Exception:  # noqa: BLE001  # the package's own code: it is not to be gone through
        return True


def _say() -> None:
    """Warn of the objects of a copy that was not the only one when it left them."""
    for left in list(_found.values()):
        part = portion(left.module)
        if (left.realm, part) in _said:
            continue
        others = (*providers(part.partition(".")[0]), MAIN)
        other = next((one for one in others if one is not left.realm and part in one.modules), None)
        me = object()  # of two threads one says it
        if other is not None and _said.setdefault((left.realm, part), me) is me:
            warnings.warn(
                f"{_name(left.realm)} has left a {left.kind} of its own in {left.place}, where "
                f"{part} of {_name(other)} finds it, too: the standard library is everybody's. "
                f"No more modules of {part} are loaded there.",
                StandardLibraryPatchWarning,
                stacklevel=5,
            )


def _name(realm: Realm) -> str:
    return "Main" if realm is MAIN else repr(realm.bubble)


def _error(realm: Realm, part: str, left: _Left) -> StandardLibraryConflictError:
    of, its = ("main", "Main's") if realm is MAIN else (repr(realm.bubble), "Its")
    tip = "give one of the two a process of its own"
    if left.realm is MAIN:
        tip += f", or enter the bubble with share=[{part!r}]"
    whose = "main" if left.realm is MAIN else repr(left.realm.bubble)
    return StandardLibraryConflictError(
        f"{part} of {of} cannot be loaded in this process: another copy of it has left objects "
        "of its own on classes of the standard library.",
        cause=f"{left.place} is a {left.kind} of {whose}. {its} own code would take it for one "
        "of its own",
        tip=tip,
        package=part,
        attribute=left.place,
        kind=left.kind,
        holder=whose,
    )
