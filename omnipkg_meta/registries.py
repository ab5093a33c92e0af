"""Registries of the standard library in which packages put objects of their own.

``multiprocessing`` keeps its contexts by name in a dict.  joblib puts one there, by which it
makes its processes ever after: with two versions of it, both would use that of the one that
was imported last.  So each such dict is replaced by one in which the code of each realm sees,
beside what main and the standard library have put there, its own entries.

Code of main sees main's; where main has none of that name, and only there, those of the
active scopes and of what is laid over it.

That is done when the hooks go in or, where its module is not loaded yet, as soon as it is
(:mod:`omnipkg_meta.finder` sees to it).  The undo is :func:`uninstall`, which leaves what is
main's; what is a realm's is there again with the hooks.

This file must not know how a module is found or loaded.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta.activation import CURRENT, OVERLAYS
from omnipkg_meta.asking import who
from omnipkg_meta.realm import MAIN, Realm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["MODULES", "install", "keep", "uninstall"]

#: Modules of the standard library, and the dict in each.
_REGISTRIES = (("multiprocessing.context", "_concrete_contexts"),)

#: The modules that they are in.
MODULES = frozenset(name for name, _ in _REGISTRIES)

#: What code of realms has put into each.
_OWN: dict[str, dict[Realm, dict[Any, Any]]] = {name: {} for _, name in _REGISTRIES}

_getframe = sys._getframe
_wanted = False


class RealmRegistry(dict):  # type: ignore[type-arg]
    """A registry: its storage is main's, and each realm's entries lie beside it."""

    __slots__ = ("own",)

    own: dict[Realm, dict[Any, Any]]

    def __init__(self, entries: dict[Any, Any], own: dict[Realm, dict[Any, Any]]) -> None:
        dict.update(self, entries)
        self.own = own

    def __getitem__(self, name: Any) -> Any:
        return _seen(self, _getframe().f_back)[name]

    def get(self, name: Any, default: Any = None) -> Any:
        return _seen(self, _getframe().f_back).get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in _seen(self, _getframe().f_back)

    def __iter__(self) -> Iterator[Any]:
        return iter(_seen(self, _getframe().f_back))

    def __len__(self) -> int:
        return len(_seen(self, _getframe().f_back))

    def keys(self) -> Any:
        return _seen(self, _getframe().f_back).keys()

    def values(self) -> Any:
        return _seen(self, _getframe().f_back).values()

    def items(self) -> Any:
        return _seen(self, _getframe().f_back).items()

    def copy(self) -> dict[Any, Any]:
        return _seen(self, _getframe().f_back)

    def __repr__(self) -> str:
        return repr(_seen(self, _getframe().f_back))

    def __setitem__(self, name: Any, value: Any) -> None:
        dict.__setitem__(self._changed(_getframe().f_back), name, value)

    def setdefault(self, name: Any, default: Any = None) -> Any:
        frame = _getframe().f_back
        seen = _seen(self, frame)
        if name not in seen:
            dict.__setitem__(self._changed(frame), name, default)
            return default
        return seen[name]

    def update(self, *others: Any, **more: Any) -> None:
        dict.update(self._changed(_getframe().f_back), *others, **more)

    def __delitem__(self, name: Any) -> None:
        dict.__delitem__(self._changed(_getframe().f_back), name)

    def pop(self, name: Any, *default: Any) -> Any:
        return dict.pop(self._changed(_getframe().f_back), name, *default)

    def _changed(self, frame: FrameType | None) -> dict[Any, Any]:
        home = who(frame).home
        return self if home is None or home is MAIN else self.own.setdefault(home, {})


def _seen(registry: RealmRegistry, frame: FrameType | None) -> dict[Any, Any]:
    """Return what a frame sees, as a plain dict of its own."""
    home = who(frame).home
    mains = dict(dict.items(registry))
    if home is not None:
        return {**mains, **registry.own.get(home, {})}
    seen: dict[Any, Any] = {}
    activation = CURRENT.get()
    realms: list[Realm] = []
    while activation is not None and MAIN not in realms:
        realms += activation.realms
        activation = activation.parent
    for realm in (*realms, *OVERLAYS[0]):
        if realm is MAIN:
            break  # ``use(main)``: what lies around it does not count
        seen = {**registry.own.get(realm, {}), **seen}
    return {**seen, **mains}


def keep() -> None:
    """Replace each registry whose module is loaded by now."""
    for name, attribute in _REGISTRIES if _wanted else ():
        # The storage itself: the names of the standard library are never away.
        module = dict.get(sys.modules, name)
        namespace = {} if module is None else vars(module)
        found = namespace.get(attribute)
        if type(found) is dict:
            namespace[attribute] = RealmRegistry(found, _OWN[attribute])


def install() -> None:
    """Keep the registries apart from now on."""
    global _wanted  # noqa: PLW0603
    _wanted = True
    keep()


def uninstall() -> None:
    """Put plain dicts back, with what is main's."""
    global _wanted  # noqa: PLW0603
    _wanted = False
    for name, attribute in _REGISTRIES:
        module = dict.get(sys.modules, name)
        namespace = {} if module is None else vars(module)
        found = namespace.get(attribute)
        if type(found) is RealmRegistry:
            namespace[attribute] = dict(dict.items(found))
