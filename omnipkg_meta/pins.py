"""Pins: lasting, lexical activations, for authors of libraries.

This file binds a package to realms.  Who its code is, and what a pin outranks,
is decided elsewhere.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from omnipkg_meta import answering, hooks
from omnipkg_meta.activation import PINS
from omnipkg_meta.errors import PinError
from omnipkg_meta.sources import claim, realms_for, terms_for

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["pin"]

_lock = threading.RLock()


def pin(
    package: str,
    *requirements: str | Bubble,
    path: str | os.PathLike[str] | None = None,
    install: bool | None = None,
    share: Sequence[str] = (),
    adopt: Sequence[str] = (),
    hermetic: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
) -> tuple[Bubble, ...]:
    """Bind all code of one package to a bubble, for good; nobody else notices.

    Call it in the package's ``__init__``, before the first import of what is pinned::

        import omnipkg_meta

        omnipkg_meta.pin(__name__, "rich==13.4.2")
        from rich.console import Console  # 13.4.2, whatever the user has

    It holds for every module of the package, for imports in function bodies, in
    callbacks and in other threads, and inside whatever scope the package is used.
    Every name that the bubble provides is pinned, but for the package's own.
    A later pin of the same package goes before an earlier one, name by name.

    Args:
        package: the full name of the package (or module): its ``__name__``.
        requirements: PEP 508 requirements, resolved together, or bubbles.
        path: instead of requirements, a directory shipped with the package and made by
            ``pip install --target``.
        install: build the bubble if none satisfies the requirements; by default as
            configured (``OMNIPKG_META_INSTALL``), which is no.
        share: what the bubble takes from main, as for ``use``: where objects of it go
            to and fro between the package and its callers.
        adopt: what of main is loaded anew on top of the bubble, as for ``use``.
        hermetic: as for ``use``: it is the bubble's code that does not see main.
        store: the store to look in, or its directory; by default the configured one.

    Returns:
        The bubbles that the package is bound to; none where main serves.

    Raises:
        TypeError: neither requirements nor a path, or both.
        PinError: somebody else's package is to be pinned.
        BubbleNotFoundError: no bubble satisfies the requirements, nor does main.
        BubbleInvalidError: the path is no directory of installed packages.
        NativeConflictError: the loader would take one of its libraries for another one.
        StandardLibraryConflictError: a package of it would find another copy's objects.
        TermsError: what is to be shared or adopted does not fit.
    """
    if bool(requirements) == (path is not None):
        raise TypeError("pin() takes either requirements or path=")
    caller = sys._getframe(1).f_globals
    _check_package(package, str(caller.get("__name__")))
    sources: tuple[str | Bubble, ...] = requirements
    if path is not None:
        from omnipkg_meta.store.vendored import Vendored

        sources = (Vendored.open(path),)
    terms = terms_for(sources, share, adopt, hermetic=hermetic)
    realms = tuple(realms_for(sources, install=install, store=store, terms=terms))
    home = caller.get("__realm__")
    hooks.install()
    for realm in realms:
        claim(realm)
    with _lock:
        pinned = PINS.get(home, {})
        earlier = tuple(one for one in pinned.get(package, ()) if one not in realms)
        # Replaced, never changed in place: readers take no lock.
        PINS[home] = {**pinned, package: (*realms, *earlier)}
    answering.forget()
    return tuple(realm.bubble for realm in realms if realm.bubble is not None)


def _check_package(package: object, caller: str) -> None:
    if not isinstance(package, str) or not all(map(str.isidentifier, package.split("."))):
        raise TypeError(f"pin() takes the name of a package, its __name__, not {package!r}")
    if package.partition(".")[0] != caller.partition(".")[0]:
        raise PinError(
            f"{caller!r} cannot pin {package!r}: a pin is a package's own word about its own code.",
            tip="call it in the package itself, as pin(__name__, ...); "
            "for code of others there are scopes and activate()",
        )


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


hooks.AFTER_FORK.append(_renew_lock)
