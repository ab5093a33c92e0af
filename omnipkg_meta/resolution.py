"""Who answers: the rules of the design, in order, and nothing else.

The one function here is pure.  It is asked about a top-level import name or a
distribution name, told who asks and what is active, and says which realm
answers and by which rule.  Everything that intercepts a look-up calls it; no
other place decides.

The rules:

1. **Home.** Code answers to the environment it was installed in.
2. **Pin.** Code of a package that was pinned resolves the pinned names there.
3. **Scope.** Otherwise the innermost scope of the context that provides the name.
4. **Main.**
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.realm import MAIN, Realm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omnipkg_meta.activation import Activation

__all__ = ["Decision", "Rule", "decide", "in_scope"]


class Rule(enum.Enum):
    """The rule that answered."""

    HOME = "home"
    PIN = "pin"
    SCOPE = "scope"
    MAIN = "main"


class Decision(NamedTuple):
    """Which realm answers, and by which rule."""

    realm: Realm
    rule: Rule


def decide(
    name: str,
    *,
    home: Realm | None,
    declares: Callable[[str], bool],
    pins: Sequence[Realm],
    activation: Activation | None,
    overlays: Sequence[Realm],
    provider: Callable[[Realm, str], Realm | None] = Realm.provider,
) -> Decision:
    """Say which realm answers for a name.

    Args:
        name: a claimed top-level import name, or a normalized distribution name.
        home: the realm in which the asking code was loaded; None for code of main.
        declares: tells, for code of main, whether it belongs to an installed
            distribution that is, or declares as a dependency, what is asked for.
        pins: the realms that the asking code's package is pinned to.
        activation: the innermost activation of the asking context; for code of a
            bubble it counts for what was adopted on top of that bubble only.
        overlays: the realms laid over main for the whole process.
        provider: how a realm is asked; ``Realm.provider`` for import names,
            ``Realm.distribution_provider`` for distributions.
    """
    if home is not None:
        found = provider(home, name) or _adopted(name, home, activation, provider)
        return Decision(found or _main(name, overlays, provider), Rule.HOME)
    if declares(name):
        return Decision(_main(name, overlays, provider), Rule.HOME)
    for realm in pins:
        if found := provider(realm, name):
            return Decision(found, Rule.PIN)
    if found := in_scope(name, activation, provider):
        return Decision(found, Rule.SCOPE)
    return Decision(_main(name, overlays, provider), Rule.MAIN)


def in_scope(
    name: str,
    activation: Activation | None,
    provider: Callable[[Realm, str], Realm | None] = Realm.provider,
) -> Realm | None:
    """Return the realm of the innermost activation that provides a name, or None."""
    while activation is not None:
        for realm in activation.realms:
            if realm is MAIN:
                return MAIN
            if found := provider(realm, name):
                return found
        activation = activation.parent
    return None


def _adopted(
    name: str,
    home: Realm,
    activation: Activation | None,
    provider: Callable[[Realm, str], Realm | None],
) -> Realm | None:
    """Return the realm of main's modules that a scope has adopted on top of a home.

    For packages that import by a string on behalf of the user: the settings that a
    scope adopted for its Django are those that Django finds.
    """
    while activation is not None:
        for realm in activation.realms:
            if realm.outer is home and (found := provider(realm, name)):
                return found
        activation = activation.parent
    return None


def _main(
    name: str, overlays: Sequence[Realm], provider: Callable[[Realm, str], Realm | None]
) -> Realm:
    for realm in overlays:
        if found := provider(realm, name):
            return found
    return MAIN
