"""What the rules of the design say about who gets which version: an oracle for tests.

Written from the design (who answers an import; a scope belongs to a context; leaving
takes the innermost entry of a scope in the current context), and from nothing else: a
few lines of plain Python on plain data, that know nothing of the library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Asker", "Model", "Stack"]

#: The scopes that are active in a context, by what they are called; the innermost last.
Stack = tuple[str, ...]

MAIN = "main"


@dataclass(frozen=True)
class Asker:
    """A piece of code that imports.

    Attributes:
        home: the realm in which it was loaded.
        declares: for code of an installed distribution, what it is or declares to need.
        pin: the realm that its package is pinned to, if any.
    """

    home: str = MAIN
    declares: frozenset[str] = field(default_factory=frozenset)
    pin: str | None = None


@dataclass(frozen=True)
class Model:
    """What there is.

    Attributes:
        provides: for each realm, main too, the version of each name that it provides.
        scopes: for each scope, its realms, in the order in which they are asked.
    """

    provides: Mapping[str, Mapping[str, str]]
    scopes: Mapping[str, tuple[str, ...]]

    def answer(self, name: str, asker: Asker, stack: Stack) -> str | None:
        """Return the version that a piece of code gets in a context; None where there is none."""
        in_main = self.provides[MAIN].get(name)
        if asker.pin is not None and name in self.provides[asker.pin]:
            return self.provides[asker.pin][name]
        if asker.home != MAIN:
            return self.provides[asker.home].get(name, in_main)
        if name in asker.declares:
            return in_main
        for scope in reversed(stack):
            for realm in self.scopes[scope]:
                if realm == MAIN:
                    return in_main
                if name in self.provides[realm]:
                    return self.provides[realm][name]
        return in_main

    @staticmethod
    def enter(stack: Stack, scope: str) -> Stack:
        """Return what is active in a context after a scope has been entered in it."""
        return (*stack, scope)

    @staticmethod
    def leave(stack: Stack, scope: str) -> Stack:
        """Return what is active in a context after a scope has been left in it.

        A scope may be left in a context in which it was never entered: an async
        generator that another task closes does that.  Then nothing changes.
        """
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] == scope:
                return stack[:index] + stack[index + 1 :]
        return stack
