"""Where an object comes from: the scope to enter again for it.

Owns the ways in which modules, classes, functions and instances show the realm
that they were made in.  Must not know how imports are answered.
"""

from __future__ import annotations

import sys
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from omnipkg_meta import native_stack
from omnipkg_meta.errors import OriginError
from omnipkg_meta.realm import CLAIMED, MAIN, Realm, providers, realm_of_file
from omnipkg_meta.scope import Scope, use
from omnipkg_meta.sources import main

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["home"]

#: Slots of a type made in C that point into its shared object (``Include/typeslots.h``):
#: its tables of methods, members and getters, then functions that it may have inherited.
_SLOTS = (64, 72, 73, 65, 60, 52, 66, 50)


def home(obj: object) -> Scope:
    """Return the scope that an object comes from, to be entered again.

    Outside of it, code of main that looks a class up by its name finds main's::

        with om.home(frame):
            data = pickle.dumps(frame)

    Args:
        obj: a module, class, function or method; anything else counts as its class.

    Returns:
        The scope of its bubble, on the terms that it was loaded on;
        ``use(main)`` for what comes from main.

    Raises:
        OriginError: several environments have loaded a module of its name, and
            nothing shows which of them it comes from.
    """
    realm = _realm_of(obj)
    if realm is MAIN or realm.bubble is None:
        return use(main)
    inner = realm.outer or realm
    return use(
        realm.bubble,
        share=sorted(inner.shared.distributions | inner.shared.modules),
        adopt=sorted(realm.import_names) if realm.adopts else (),
        hermetic=realm.hermetic,
    )


def _realm_of(obj: object) -> Realm:
    found: Realm | None = None
    if isinstance(obj, ModuleType):
        found = _of_namespace(object.__getattribute__(obj, "__dict__"))
    elif isinstance(obj, type):
        found = _of_class(obj)
    elif isinstance(obj, FunctionType):
        found = _of_namespace(obj.__globals__)
    elif isinstance(obj, MethodType):
        found = _realm_of(obj.__func__)
    elif isinstance(obj, BuiltinFunctionType):
        # A function of a module holds that module, a method its object.
        # (Cython's holds neither: it is found by its name.)
        found = _of_name(obj) if obj.__self__ is None else _realm_of(obj.__self__)
    elif isinstance(obj, (GeneratorType, CoroutineType, AsyncGeneratorType)):
        found = _of_file(_code_of(obj).co_filename)
    elif isinstance(owner := getattr(obj, "__objclass__", None), type):
        found = _of_class(owner)  # a method descriptor of a class made in C
    else:
        found = _of_name(obj) or _of_class(type(obj))
    return MAIN if found is None else found


def _code_of(running: Any) -> Any:
    return next(
        getattr(running, name)
        for name in ("gi_code", "cr_code", "ag_code")
        if hasattr(running, name)
    )


def _of_namespace(namespace: dict[str, Any]) -> Realm | None:
    found = namespace.get("__realm__")
    return found if isinstance(found, Realm) else None


def _of_file(file: str) -> Realm | None:
    realm = realm_of_file(file)
    return None if realm is MAIN else realm


def _of_class(cls: type) -> Realm | None:
    name: object = cls.__module__
    if not isinstance(name, str) or name.partition(".")[0] not in CLAIMED:
        return None
    for value in list(vars(cls).values()):
        function = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(function, FunctionType) and function.__module__ == name:
            return _of_namespace(function.__globals__)
    if (found := _of_name(cls)) is not None:
        return found
    if (library := _library_of(cls)) is not None:
        return _of_file(library)
    holders = [realm for realm, _ in _holders(name)]
    if len(holders) == 1:
        return holders[0]
    raise OriginError(
        f"Nothing shows which {name!r} the class {cls.__qualname__!r} comes from.",
        cause=f"{len(holders)} environments have loaded a module of that name",
        tip="ask for the home of a function or of the module that made it",
    )


def _of_name(obj: object) -> Realm | None:
    """Return the realm in whose module an object stands under its own name."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    return next((realm for realm, one in _holders(module) if _look_up(one, name) is obj), None)


def _holders(name: str) -> Iterator[tuple[Realm, ModuleType]]:
    """Yield the realms that have loaded a module, main among them, from the tables themselves."""
    for realm in (*providers(name.partition(".")[0]), MAIN):
        module = realm.modules.get(name)
        if module is None and realm is MAIN and dict.__contains__(sys.modules, name):
            module = dict.__getitem__(sys.modules, name)
        if isinstance(module, ModuleType):
            yield realm, module


def _look_up(module: ModuleType, qualified_name: str) -> object:
    found: object = module
    for part in qualified_name.split("."):
        # Not getattr: a module may have a __getattr__ that imports.
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found


def _library_of(cls: type) -> str | None:
    """Return the shared object that a class made in C lies in; None where that cannot be told."""
    reader = native_stack.reader()
    if reader is None:
        return None
    import ctypes

    get_slot = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)(
        ("PyType_GetSlot", ctypes.pythonapi)
    )
    for base in cls.__mro__:
        if base.__module__ != cls.__module__:
            continue
        for slot in _SLOTS:
            library = reader.library_at(get_slot(base, slot))
            if library and _of_file(library) is not None:
                return library
    return None
