"""Namespace packages of which a bubble holds some portions, and main others.

The rule: a namespace package (``google``) belongs to whoever answers for its name,
as any name does.  Where that is a bubble, its *portions* (``google.protobuf``) are
the bubble's, and those that the bubble does not hold are main's, as main's own
modules; so each portion has one identity, and main never sees a bubble's.  A
portion of main is not lent where its distribution is one that the bubble holds,
in whatever version: an older copy must not fill the gaps of a newer one.

This file owns the rule and what main holds; it must not know who asks.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from omnipkg_meta import declared, others
from omnipkg_meta.layout import declares_namespace
from omnipkg_meta.path_entries import main_path
from omnipkg_meta.realm import MAIN, Realm

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["JOINED", "forget", "holder", "join", "member", "of_main", "portion", "spec_in_main"]

#: Full names of the namespace packages that some bubble holds a portion of.
JOINED: set[str] = set()


def join(realm: Realm) -> None:
    """Join the namespace packages of a realm with main's."""
    JOINED.update(realm.portions)


def forget() -> None:
    """Drop what is known of main's packages."""
    _find.cache_clear()


def portion(name: str) -> str:
    """Return the part of a module's name that one environment answers for.

    The top-level name, or the first one that is no namespace.
    """
    part, _, rest = name.partition(".")
    while rest and part in JOINED:
        label, _, rest = rest.partition(".")
        part = f"{part}.{label}"
    return part


def holder(realm: Realm, name: str) -> Realm:
    """Return the realm that holds a module of a namespace package, as one realm sees it.

    Args:
        realm: the realm that answers for the top-level name.
        name: the module's full name.
    """
    space, _, rest = name.partition(".")
    while rest and space in realm.portions:
        label, _, rest = rest.partition(".")
        part = f"{space}.{label}"
        if label not in realm.portions[space]:
            return MAIN if _lends(space, part, realm) else realm
        space = part
    return realm


def of_main(name: str) -> bool:
    """Tell whether a name is that of a namespace package in main."""
    return _search_path(name, tuple(main_path())) is not None


def member(realm: Realm, space: str, label: str) -> ModuleType:
    """Return what a realm's namespace package has for an attribute that nothing bound to it.

    A portion of main that main loaded; or a namespace package of the realm within
    the other, whose portions are so far all of main.

    Raises:
        AttributeError: there is none.
    """
    name = f"{space}.{label}"
    if name in realm.portions:
        # An import statement at home in the realm (:func:`omnipkg_meta.asking.who`).
        exec(compile(f"import {name}", __file__, "exec"), {"__realm__": realm})  # noqa: S102
        return realm.modules[name]
    module = MAIN.modules.get(name)
    if module is None or holder(realm, name) is not MAIN:
        raise AttributeError(f"module {space!r} has no attribute {label!r}")
    return module


def _lends(space: str, part: str, realm: Realm) -> bool:
    """Tell whether main lends a portion of a namespace package to a realm."""
    path = tuple(main_path())
    if _search_path(space, path) is None:
        return False
    if part not in MAIN.modules and _spec_in_main(part, path) is None:
        return False
    owners = declared.owners_in_main(part, path)
    if realm.hermetic and not (owners and owners <= realm.shared.distributions):
        return False
    return not owners or not owners.issubset(realm.distributions)


def _search_path(space: str, path: tuple[str, ...]) -> list[str] | None:
    """Return where main finds the portions of a namespace package; None if it is none in main."""
    module: Any = MAIN.modules.get(space)
    if module is not None:
        locations, init = getattr(module, "__path__", None), getattr(module, "__file__", None)
    else:
        spec = _spec_in_main(space, path)
        if spec is None:
            return None
        locations = spec.submodule_search_locations
        init = spec.origin if spec.has_location else None
    if locations is None or (init is not None and not declares_namespace(init)):
        return None
    return list(locations)


def spec_in_main(name: str) -> ModuleSpec | None:
    """Find a module of main, whatever is active; None where main has none of that name."""
    return _spec_in_main(name, tuple(main_path()))


def _spec_in_main(name: str, path: tuple[str, ...]) -> ModuleSpec | None:
    if getattr(_asking, "now", False):
        return None  # a finder that is asked here imports something for itself
    return _find(name, path)


@cache
def _find(name: str, path: tuple[str, ...]) -> ModuleSpec | None:
    space = name.rpartition(".")[0]
    if space:
        where = _search_path(space, path)
        if where is None:
            return None
    else:
        where = list(path)
    # Not ``find_spec``: it makes a ``_NamespacePath``, which takes it for granted
    # that the parent package is loaded.
    spec: ModuleSpec | None = PathFinder._get_spec(name, where)  # type: ignore[attr-defined]
    # What is nowhere is a namespace package without any portion to ``_get_spec``.
    if spec is not None and (spec.loader is not None or spec.submodule_search_locations):
        return spec
    _asking.now = True
    try:
        return others.ask_all(name, where)
    finally:
        _asking.now = False


_asking = threading.local()
