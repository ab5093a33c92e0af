"""What is active: the context-local stack of activations, pins, and overlays.

The stack is a linked list of immutable nodes in one context variable, so that
threads and tasks that copy a context share its nodes and never each other's
changes.  Leaving looks for the node on top of the *current* context instead of
resetting a token: a token belongs to the context it was made in, and
``ContextVar.reset`` raises ``ValueError`` when an async generator is closed in
another one.

This file knows realms and nothing of imports.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from omnipkg_meta.realm import Realm

__all__ = ["CURRENT", "OVERLAYS", "PINS", "UNPICKLING", "Activation", "without"]


class Activation:
    """One entry of the stack: the realms that one scope brings in.

    Attributes:
        owner: whoever entered (a scope), used to find the entry again on leaving.
        realms: the realms brought in; :data:`~omnipkg_meta.realm.MAIN` among them means main.
        parent: the entry below, or None.
        hidden: for the entry that stands for *no* scope while a module of main is
            loaded: the stack that it hides, so that the surprise can be explained.
        memo: for code that has no home and no pin, full module name to the table of
            the realm that some entry brought in for it.
    """

    __slots__ = ("hidden", "memo", "owner", "parent", "realms")

    def __init__(
        self,
        owner: object,
        realms: tuple[Realm, ...],
        parent: Activation | None = None,
        hidden: Activation | None = None,
    ) -> None:
        self.owner = owner
        self.realms = realms
        self.parent = parent
        self.hidden = hidden
        self.memo: dict[str, dict[str, ModuleType]] = {}


#: The innermost activation of the current context, or None.
CURRENT: ContextVar[Activation | None] = ContextVar("omnipkg_meta.activation", default=None)

#: The owner of the entry that stands, above that of a scope and without realms of its own,
#: for the loading of a pickle that was made in that scope, in another process perhaps.
UNPICKLING = object()

#: Realms laid over main for the whole process (``activate``), the newest first.
#: Replaced, never changed in place: readers take no lock.
OVERLAYS: list[tuple[Realm, ...]] = [()]

#: Where the pinning code is at home (None: main) to package name to the realms that
#: the package's code is pinned to, the latest first.
PINS: dict[Realm | None, dict[str, tuple[Realm, ...]]] = {}


def pins_of(module_name: str, pins: Mapping[str, tuple[Realm, ...]]) -> tuple[Realm, ...]:
    """Return the realms that a module's code is pinned to; the innermost package's first."""
    found: tuple[Realm, ...] = ()
    name = module_name
    while name:
        found += pins.get(name, ())
        name = name.rpartition(".")[0]
    return found


def without(stack: Activation | None, owner: object) -> Activation | None:
    """Return the stack without the innermost entry of an owner.

    A stack that has no such entry is returned as it is: it belongs to another
    context, in which there is nothing to undo.
    """
    above: list[Activation] = []
    node = stack
    while node is not None and node.owner is not owner:
        above.append(node)
        node = node.parent
    if node is None:
        return stack
    result = node.parent
    for kept in reversed(above):
        result = Activation(kept.owner, kept.realms, result, kept.hidden)
    return result
