"""Bubbles laid over main for the whole process: ``activate``.

Different in kind from a scope: it holds for every thread, and for main's own code
too.  So it has to come before main has loaded any of the names in question.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from omnipkg_meta import answering, hooks
from omnipkg_meta.activation import OVERLAYS
from omnipkg_meta.errors import ActivationError, RequirementError
from omnipkg_meta.namespaces import holder, of_main
from omnipkg_meta.realm import MAIN, Realm
from omnipkg_meta.sources import Source, claim, realms_for, terms_for

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Handle", "activate"]


class Handle:
    """An activation for the whole process, ended by ``close()``; also a context manager."""

    def __init__(self, realms: tuple[Realm, ...]) -> None:
        self._realms = realms

    def __repr__(self) -> str:
        bubbles = ", ".join(repr(realm.bubble) for realm in self._realms)
        return f"<active for the whole process: {bubbles}>"

    @property
    def bubbles(self) -> tuple[Bubble, ...]:
        """The bubbles that are active; none where main serves what was asked, nor after the end."""
        return tuple(realm.bubble for realm in self._realms if realm.bubble is not None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the activation; what was imported stays imported.  May be called again."""
        with _overlay_lock:
            left = list(OVERLAYS[0])
            for realm in self._realms:
                left.remove(realm)  # one of them: another handle may have the same
            OVERLAYS[0] = tuple(left)
            answering.forget()
            self._realms = ()


_overlay_lock = threading.RLock()


def activate(
    *sources: Source,
    install: bool | None = None,
    share: Sequence[str] = (),
    hermetic: bool = False,
    store: Store | str | os.PathLike[str] | None = None,
) -> Handle:
    """Lay bubbles over main for the whole process: every thread, and main's own code.

    Args:
        sources: as for :func:`use`.
        install: as for :func:`use`.
        share: as for :func:`use`: these names stay main's, for everybody.
        hermetic: as for :func:`use`.  (There is no ``adopt``: main's own code sees
            the bubble as it is.)
        store: as for :func:`use`.

    Returns:
        A handle whose ``close()`` ends it.

    Raises:
        ActivationError: main has loaded modules of those names already.
        StandardLibraryConflictError: a package of it would find another copy's objects.
        TermsError: what is to be shared does not fit.
    """
    before = _loaded_in_main()
    terms = terms_for(sources, share, hermetic=hermetic)
    if terms.adopt:
        raise RequirementError(
            f"{sources[0]!r} cannot be activated: it adopts {', '.join(terms.adopt)}, and what is "
            "main's sees an active bubble as it is.",
            requirement=repr(sources[0]),
            tip="enter it in a scope: with use(...)",
        )
    found = realms_for(sources, install=install, store=store, terms=terms)
    realms = tuple(realm for realm in found if realm is not MAIN)
    hooks.install()
    with _overlay_lock:
        already = sorted(name for name in before if any(_covers(realm, name) for realm in realms))
        if already:
            raise ActivationError(
                f"Main has loaded {_some(already)} already; "
                "a bubble cannot be laid over it any more.",
                modules=already,
                tip="activate before the first import, "
                "or start the program with: omnipkg-meta run --with ... script.py",
            )
        for realm in realms:
            claim(realm)
        OVERLAYS[0] = (*realms, *OVERLAYS[0])
        answering.forget()
    return Handle(realms)


def _covers(realm: Realm, name: str) -> bool:
    """Tell whether a realm laid over main answers for a module of main, from then on."""
    provider = realm.provider(name.partition(".")[0])
    if provider is None or provider is MAIN:
        return False
    if name in provider.portions:
        return not of_main(name)  # else main goes on with the portions that it has
    return holder(provider, name) is not MAIN


def _loaded_in_main() -> set[str]:
    """Return the names of main's modules; of the tables themselves, whoever asks."""
    return {str(name) for name in (*list(dict.keys(sys.modules)), *list(MAIN.modules))}


def _some(names: Sequence[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _renew_lock() -> None:
    global _overlay_lock  # noqa: PLW0603
    _overlay_lock = threading.RLock()


hooks.AFTER_FORK.append(_renew_lock)
