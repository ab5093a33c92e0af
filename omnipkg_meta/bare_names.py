"""Libraries that ctypes opens by a bare name: ``CDLL("libfoo.so.1")``.

In a plain environment that finds a library which was loaded before by its path,
for the loader knows it by its name.  A bubble's libraries have private names, so
the bubble's code would find nothing, or the library of somebody else.

The hack: ``ctypes.CDLL.__init__`` calls ``_dlopen``, a plain global of the module
``ctypes``, which is ``dlopen`` of ``_ctypes``; while the hooks are in it is a
function that asks for the private name first, if there is one for whoever asks.
Whoever has ``_ctypes.dlopen`` itself is not reached, and neither is cffi.

This file must not know how private names are made.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta import asking, declared
from omnipkg_meta.activation import CURRENT, OVERLAYS
from omnipkg_meta.kinds import KINDS, Kind
from omnipkg_meta.realm import loaded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from omnipkg_meta.realm import Realm

__all__ = ["install", "uninstall"]

_GLOBALS = vars(ctypes)
_original: Any = _GLOBALS.get("_dlopen")


def _dlopen(name: Any, mode: int = ctypes.DEFAULT_MODE) -> Any:
    """Open a library as ``_ctypes.dlopen`` does; by its private name where it has one."""
    if isinstance(name, str) and name and "/" not in name:
        # Who asks is asked last: to find that out, libraries are opened the first time.
        known = [realm for realm in loaded() if _private_name(name, realm)]
        for realm in _realms(sys._getframe(1)) if known else ():
            handle = _opened(_private_name(name, realm), mode)
            if handle is not None:
                return handle
    return _original(name, mode)


def _opened(private: str | None, mode: int) -> Any:
    try:
        return None if private is None else _original(private, mode)
    except OSError:
        return None  # it is not loaded


def _private_name(name: str, realm: Realm) -> str | None:
    libraries = realm.files.libraries if realm.files is not None else None
    return libraries.private.get(name) if libraries is not None else None


def _realms(frame: FrameType | None) -> Iterator[Realm]:
    """Yield the realms whose libraries the asking code may mean."""
    asker = asking.who(frame)
    if asker.home is not None:
        yield from asker.home.chain()
        return
    # Code installed in main keeps to main's for what it is, or declares (the home rule).
    mains: frozenset[str] = frozenset()
    if KINDS.get(asker.file) is Kind.INSTALLED:
        distribution = declared.distribution_of(asker.file)
        if distribution is not None:
            mains = distribution.requires | {distribution.name}
    activation = CURRENT.get()
    while activation is not None:
        yield from (one for one in activation.realms if mains.isdisjoint(one.distributions))
        activation = activation.parent
    yield from OVERLAYS[0]


def install() -> None:
    """Have ctypes ask for private names."""
    if sys.platform != "win32" and _original is not None and _GLOBALS["_dlopen"] is _original:
        _GLOBALS["_dlopen"] = _dlopen


def uninstall() -> None:
    """Have ctypes open libraries itself again."""
    if _GLOBALS.get("_dlopen") is _dlopen:
        _GLOBALS["_dlopen"] = _original
