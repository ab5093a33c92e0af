"""Scopes that the code of an installed distribution asked for itself.

The home rule keeps main's pandas from picking up a bubble's numpy half way: whoever calls
it in a scope did not ask in its name.  Where the code of a distribution calls ``use`` itself,
it did.  So in such a scope the bubble goes before main for the names that the distribution
declares, too; for its own package, main does, as ever.

This file owns who asked for which scope.  It must not know the rules, nor how an import is
intercepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnipkg_meta import declared
from omnipkg_meta.kinds import Kind, kind_of

if TYPE_CHECKING:
    from omnipkg_meta.activation import Activation
    from omnipkg_meta.realm import Realm

__all__ = ["asks_for_some", "note", "realms_of"]

#: The files of main's installed distributions whose code asked for scopes.
_files: set[str] = set()


def note(file: str) -> bool:
    """Note that code of a file asks for a scope.

    Returns:
        Whether what was remembered of the answers to main's code may be wrong from now on.
    """
    if file in _files or kind_of(file) is not Kind.INSTALLED:
        return False
    _files.add(file)
    return True


def asks_for_some(file: str) -> bool:
    """Tell whether code of the distribution of a file asked for any scope."""
    return _is_of_one_of(file, _files)


def realms_of(file: str, activation: Activation | None) -> list[Realm]:
    """Return the realms of active scopes that the distribution of a file asked for, in order.

    Args:
        file: a file of main, whose code asks.
        activation: the innermost activation of the asking context.
    """
    found: list[Realm] = []
    if not _files:
        return found
    while activation is not None:
        # What is no scope was asked for by nobody.
        if _is_of_one_of(file, getattr(activation.owner, "askers", ())):
            found += activation.realms
        activation = activation.parent
    return found


def _is_of_one_of(file: str, others: set[str] | tuple[()]) -> bool:
    if file in others:
        return True
    owner = declared.owner_of(file) if others else None
    # Of a copy, made in one step: other threads add to it.
    return owner is not None and owner in map(declared.owner_of, tuple(others))
