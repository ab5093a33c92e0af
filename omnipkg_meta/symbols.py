"""The symbols of a bubble's libraries, kept from the rest of the process.

A package may ask for its extension modules to be opened with ``RTLD_GLOBAL`` (by
``sys.setdlopenflags``; TensorFlow does, since 2.20).  The loader then looks for every
symbol of every library that comes later in these first: the second version of the
package registers its operations with the first one, and the process ends.

Hardly ever is it needed: a library finds its symbols in those that it names as needed.
So an extension module of a bubble is opened for itself alone, whatever was asked for.
Only where a library of the same bubble cannot be loaded otherwise, for want of a symbol,
are those that were to be offered to all offered to all, and it is tried once more.

This file must not know how a module is found, nor what is done to a library before.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omnipkg_meta import relink
from omnipkg_meta.realm import MAIN, Realm

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["kept", "load"]

#: The files that code of a realm asked to be offered to all.
_withheld: dict[Realm, list[str]] = {}


def load(file: str, realm: Realm) -> None:
    """Load an extension module's library, and what it needs, before it is initialised.

    What cannot be loaded is left to the interpreter, which says why.
    """
    flags = sys.getdlopenflags()
    if realm is MAIN:
        relink.load(file, flags)
        return
    alone = flags & ~os.RTLD_GLOBAL
    withheld = _withheld.setdefault(realm, [])
    if not relink.load(file, alone) and withheld:
        for other in withheld:
            relink.load(other, alone | os.RTLD_NOLOAD | os.RTLD_GLOBAL)
        withheld.clear()
        relink.load(file, alone)
    if flags & os.RTLD_GLOBAL:
        withheld.append(file)


@contextmanager
def kept(realm: Realm) -> Iterator[None]:
    """Keep the interpreter from offering a realm's library to all while it opens it."""
    flags = sys.getdlopenflags()
    if realm is MAIN or not relink.possible() or not flags & os.RTLD_GLOBAL:
        yield
        return
    alone = flags & ~os.RTLD_GLOBAL
    sys.setdlopenflags(alone)
    try:
        yield
    finally:
        if sys.getdlopenflags() == alone:  # else the module has set others
            sys.setdlopenflags(flags)
