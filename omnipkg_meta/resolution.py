"""Who answers: the rules of the design, in order, and nothing else.

What stands here is pure.  It is asked about a top-level import name or a
distribution name, told who asks and what is active, and says which realm
answers and by which rule.  Everything that intercepts a look-up calls it; no
other place decides.

The rules:

1. **Pin.** Code of a package that was pinned resolves the pinned names there.
2. **Home.** Code answers to the environment it was installed in; but code of main in a
   scope that its own distribution asked for, to that one.
3. **Scope.** Otherwise the innermost scope of the context that provides the name.
4. **Main.**

A name that a bubble shares with main is one that it provides: it answers with
main's.  Where the home is hermetic, nothing comes after it: what it does not have
is not there for its code.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.realm import MAIN, Realm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omnipkg_meta.activation import Activation

__all__ = ["Decision", "Rule", "candidates", "decide", "in_scope", "reach"]


class Rule(enum.Enum):
    """The rule that answered."""

    PIN = "pin"
    HOME = "home"
    SCOPE = "scope"
    MAIN = "main"
    HERMETIC = "hermetic"


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
    hermetic: bool = False,
    own: Sequence[Realm] = (),
    provider: Callable[[Realm, str], Realm | None] = Realm.provider,
) -> Decision:
    """Say which realm answers for a name: the first candidate that provides it.

    Args:
        name: a claimed top-level import name, or a normalized distribution name.
        home: the realm in which the asking code was loaded; None for code of main.
        declares: tells, for code of main, whether it belongs to an installed
            distribution that is, or declares as a dependency, what is asked for.
        pins: the realms that the asking code's package is pinned to.
        activation: the innermost activation of the asking context; for code of a
            bubble it counts for what was adopted on top of that bubble only.
        overlays: the realms laid over main for the whole process.
        hermetic: whether the home is all that the asking code sees of such names.
        own: the realms of active scopes that the asking code's distribution asked for.
        provider: how a realm is asked; ``Realm.provider`` for import names,
            ``Realm.distribution_provider`` for distributions.
    """
    for realm, rule in candidates(
        name,
        home=home,
        declares=declares,
        pins=pins,
        activation=activation,
        overlays=overlays,
        hermetic=hermetic,
        own=own,
    ):
        last = realm is MAIN or rule is Rule.HERMETIC
        if found := realm if last else provider(realm, name):
            return Decision(found, rule)
    raise AssertionError("main, or a hermetic home, is always the last candidate")


def candidates(
    name: str,
    *,
    home: Realm | None,
    declares: Callable[[str], bool],
    pins: Sequence[Realm],
    activation: Activation | None,
    overlays: Sequence[Realm],
    hermetic: bool = False,
    own: Sequence[Realm] = (),
) -> Iterator[tuple[Realm, Rule]]:
    """Yield the realms that are asked for a name, in order, each with its rule.

    The last one answers, whether it provides the name or not: main, or a hermetic home.
    The arguments are those of :func:`decide`.
    """
    # A pin is the word of the code's own author, so it goes before what the installer
    # says: a package may well declare what it pins, for those who install without it.
    for realm in pins:
        yield realm, Rule.PIN
    rule = Rule.MAIN
    if home is not None:
        yield home, Rule.HOME
        yield from ((realm, Rule.HOME) for realm in _adopting(home, activation))
        if hermetic:
            yield home, Rule.HERMETIC
            return
        rule = Rule.HOME
    elif declares(name):
        yield from ((realm, Rule.SCOPE) for realm in own)
        rule = Rule.HOME
    else:
        while activation is not None:
            for realm in activation.realms:
                yield realm, Rule.SCOPE
            activation = activation.parent
    for realm in overlays:
        yield realm, rule
    yield MAIN, rule


def reach(
    home: Realm | None,
    pins: Sequence[Realm],
    activation: Activation | None,
    overlays: Sequence[Realm],
) -> dict[Realm, None]:
    """Return the realms that may answer an asker, whatever is asked for, in no order.

    Those that :func:`candidates` yields for one name or another, and those that these hand
    over to.  The arguments are those of :func:`decide`.
    """
    asked = [*pins, *overlays]
    if home is not None:
        asked += [home, *home.adopters]
    else:
        while activation is not None:
            asked += activation.realms
            activation = activation.parent
    found = {MAIN: None}
    for realm in asked:
        found.update(dict.fromkeys(realm.reach()))
    return found


def _adopting(home: Realm, activation: Activation | None) -> Iterator[Realm]:
    """Yield what active scopes adopted on top of a home.

    Packages that import by a string on behalf of the user (Django's settings) find
    what the user meant.
    """
    while activation is not None:
        for realm in activation.realms:
            if realm.outer is home:
                yield realm
        activation = activation.parent


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
