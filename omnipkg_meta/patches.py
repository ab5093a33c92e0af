"""What code of bubbles writes into the standard library while it loads.

There is one standard library in a process.  A function that a bubble's code puts
in the place of one of its own serves everybody from then on, main too; with two
versions of such a package in one process, the last one wins.  That is noticed
when the outermost load of a bubble's modules has ended, and said once, by name.

To look at everything each time would cost more than it is worth, so what is looked
at is a list: the modules (:data:`MODULES`) and classes (:data:`CLASSES`) that
packages are known to patch.  A value counts if it is a function or a class, and a
bubble's code defined it: caches, lazy attributes, and what the import system
itself writes, are no functions of a bubble.

A function that stands in the standard library acts for its caller, whoever wrote it, as
the library's own do: ``inspect.getfile``, which PyTorch replaces, looks modules up for
whoever calls it.  Those that are found here are noted for that (``STAND_INS`` of
:mod:`omnipkg_meta.kinds`); by name, for the one that was replaced by another version's is
called by that one.

This file must not know how a module is found or loaded.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from itertools import chain, repeat
from operator import attrgetter
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from omnipkg_meta.errors import StandardLibraryPatchWarning
from omnipkg_meta.kinds import STAND_INS, Kind, kind_of, qualname_of
from omnipkg_meta.realm import CLAIMED, Realm, providers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CLASSES", "MODULES", "begin", "report"]

#: By gevent, eventlet, exceptiongroup, setuptools, typing_extensions, certifi-win32,
#: truststore, pyOpenSSL's injectors, debuggers, profilers, test tools.
MODULES = (
    *("_thread", "abc", "asyncio", "asyncio.base_events", "asyncio.events", "asyncio.tasks"),
    *("builtins", "codecs", "collections", "concurrent.futures.thread", "contextvars", "copy"),
    *("copyreg", "dataclasses", "datetime", "enum", "functools", "hashlib", "http.client"),
    *("importlib", "importlib.metadata", "inspect", "io", "json", "json.encoder", "linecache"),
    *("locale", "logging", "multiprocessing.context", "os", "os.path", "pathlib", "pickle"),
    *("pkgutil", "platform", "queue", "random", "re", "runpy", "select", "selectors", "shutil"),
    *("signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "tokenize"),
    *("traceback", "types", "typing", "unittest", "unittest.case", "urllib.parse"),
    *("urllib.request", "uuid", "warnings", "weakref", "xml.etree.ElementTree", "zipfile"),
)

CLASSES = (
    *("asyncio.base_events.BaseEventLoop", "http.client.HTTPConnection", "json.JSONEncoder"),
    *("logging.Handler", "logging.Logger", "logging.LogRecord", "pathlib.Path", "pickle.Pickler"),
    *("socket.socket", "ssl.SSLContext", "ssl.SSLSocket", "subprocess.Popen", "threading.Thread"),
    *("traceback.TracebackException", "unittest.TestCase"),
)

#: What the standard library offers to be set, each by a function of its own.
_SETTINGS = frozenset({"logging._logRecordFactory", "logging._loggerClass"})

#: Packages whose patches do no harm: there is one copy of them in a process
#: (:mod:`omnipkg_meta.realm` sees to it).
_ONE_PER_PROCESS = frozenset({"typing_extensions"})

#: Code that acts for its caller anyway.
_TRANSPARENT = frozenset({Kind.TRANSPARENT, Kind.METADATA, Kind.LOADER, Kind.LAZY, Kind.OURS})

_REALM = repeat("__realm__")

#: Where was looked, to the values that were there then.
_seen: dict[str, list[Any]] = {}
_said: set[tuple[object, str]] = set()


def begin() -> None:
    """Note what the standard library holds before any code of a bubble has run."""
    if not _seen:
        for place, namespace in _places():
            _seen[place] = _values(place, namespace)
            _note_stand_ins(namespace)


def report() -> None:
    """Warn of what code of bubbles has put into the standard library since the last time."""
    for place, namespace in _places():
        values = _values(place, namespace)
        if _is_as_before(place, values):
            continue
        _seen[place] = values
        _note_stand_ins(namespace)
        for name, value in list(namespace.items()) if _is_touched(namespace) else ():
            realm = _home(value)
            if realm is None or f"{place}.{name}" in _SETTINGS:
                continue
            _say(realm, f"{place}.{name}", value)


_is_function = partial(type.__instancecheck__, FunctionType)
_is_class = partial(type.__instancecheck__, type)
_is_builtin = partial(type.__instancecheck__, BuiltinFunctionType)
_file_of = attrgetter("__code__.co_filename")
_namespace_of = attrgetter("__globals__")
_module_of = attrgetter("__module__")


def _is_touched(namespace: Mapping[str, Any]) -> bool:
    """Tell whether a bubble's code may have defined something in a namespace.

    Nearly always it has not, as the C code that goes through all of it finds out.
    """
    values = list(namespace.values())
    if any(map(dict.__contains__, map(_namespace_of, filter(_is_function, values)), _REALM)):
        return True
    named = chain(filter(_is_class, values), filter(_is_builtin, values))
    return any(str(one).partition(".")[0] in CLAIMED for one in set(map(_module_of, named)))


def _note_stand_ins(namespace: Mapping[str, Any]) -> None:
    functions = list(filter(_is_function, list(namespace.values())))
    # Mostly all of them are of one file.
    if all(kind_of(file) in _TRANSPARENT for file in set(map(_file_of, functions))):
        return
    for function in functions:
        code = function.__code__
        if kind_of(code.co_filename) not in _TRANSPARENT:
            module = str(function.__globals__.get("__name__"))
            STAND_INS.setdefault(qualname_of(code), set()).add(module)


def _is_as_before(place: str, values: list[Any]) -> bool:
    # Lists compare by identity first, at C speed; only what is new is asked at all.
    try:
        return _seen.get(place) == values
    except Exception:  # noqa: BLE001  # somebody's value cannot be compared: it is new
        return False


def _values(place: str, namespace: Mapping[str, Any]) -> list[Any]:
    values = list(namespace.values())
    if place in {"sys", "builtins"}:
        # The last error and the last result lie there: they are not to be kept alive.
        return [value for value in values if isinstance(value, (FunctionType, type))]
    return values


def _places() -> Iterator[tuple[str, Mapping[str, Any]]]:
    # The storage itself: who asks is of no importance, and these names are never away.
    storage: dict[str, Any] = sys.modules
    for name in MODULES:
        module = dict.get(storage, name)
        if module is not None:
            yield name, module.__dict__
    for full in CLASSES:
        name, _, attribute = full.rpartition(".")
        module = dict.get(storage, name)
        found = None if module is None else module.__dict__.get(attribute)
        if isinstance(found, type):
            yield full, found.__dict__


def _home(value: object) -> Realm | None:
    """Return the realm whose code defined a function or a class, or None."""
    if type(value) is FunctionType:
        home = value.__globals__.get("__realm__")
        return home if isinstance(home, Realm) else None
    if not isinstance(value, (type, BuiltinFunctionType)):
        return None
    module = value.__module__
    if str(module).partition(".")[0] not in CLAIMED:
        return None
    for realm in providers(str(module).partition(".")[0]):
        defined_in = realm.modules.get(str(module))
        if defined_in is not None and defined_in.__dict__.get(value.__name__) is value:
            return realm
    return None


def _say(realm: Realm, place: str, value: Any) -> None:
    package = str(value.__module__).partition(".")[0]
    if package in _ONE_PER_PROCESS or (realm.bubble, place) in _said:
        return
    _said.add((realm.bubble, place))
    warnings.warn(
        f"{realm.bubble!r} has put {value.__module__}.{value.__qualname__} in the place of "
        f"{place}, while it was loaded. The standard library is everybody's: this holds for the "
        "whole process, and another version of the package will replace it again.",
        StandardLibraryPatchWarning,
        stacklevel=5,
    )
