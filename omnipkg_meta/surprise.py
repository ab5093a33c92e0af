"""The one surprise of "main stays main", said aloud.

A module of main that is first imported inside a scope gets main's versions, not
the scope's.  That is right, and it is not what its author expects.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from omnipkg_meta.activation import CURRENT, UNPICKLING
from omnipkg_meta.errors import MainModuleWarning
from omnipkg_meta.namespaces import holder
from omnipkg_meta.realm import MAIN
from omnipkg_meta.resolution import in_scope

if TYPE_CHECKING:
    from omnipkg_meta.asking import Asker

__all__ = ["warn"]


def warn(name: str, asker: Asker) -> None:
    """Say that a module of main got main's although the scope that imported it provides the name.

    Only where it surprises: code of an installed distribution that declares
    what it asks for was answered by the home rule and does not come here.
    """
    activation = CURRENT.get()
    if activation is None or activation.hidden is None or asker.frame is None:
        return
    if activation.hidden.owner is UNPICKLING:
        return
    top = name.partition(".")[0]
    realm = in_scope(top, activation.hidden)
    if realm is None or holder(realm, name) is MAIN or (asker.module, top) in _warned:
        return
    _warned.add((asker.module, top))
    module = asker.module or "__main__"
    warnings.warn_explicit(
        f"{module!r} was first imported inside a scope of {realm.bubble!r} and asked for {top!r}. "
        f"It belongs to main, so it is bound to main's {top!r} for ever. "
        "Import it before the scope, or load it inside the bubble: "
        f'use(..., adopt=["{module.partition(".")[0]}"]).',
        MainModuleWarning,
        asker.file,
        asker.frame.f_lineno,
        registry=asker.frame.f_globals.setdefault("__warningregistry__", {}),
    )


_warned: set[tuple[str, str]] = set()
