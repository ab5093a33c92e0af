"""What terms mean for one bubble and this main: what it shares, what it adopts, what does not fit.

Owns what a name in ``share=`` and ``adopt=`` stands for, and the refusals: main does
not have it, the bubble has it, or a requirement would not hold.  Must not know how a
realm on such terms is made, nor how imports are answered.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnipkg_meta import installed
from omnipkg_meta.errors import MainModuleWarning, TermsError
from omnipkg_meta.namespaces import spec_in_main
from omnipkg_meta.realm import Shared, normalize
from omnipkg_meta.requirements import Found, demands, name_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from omnipkg_meta.installed import Installed
    from omnipkg_meta.realm import Realm
    from omnipkg_meta.requirements import Asked
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["Adopted", "adopted", "demands_of", "shared"]

# -- what is shared ---------------------------------------------------------------


def shared(bubble: Bubble, names: Sequence[str], asked: Sequence[Asked]) -> Shared:
    """Return what a bubble takes from main.

    A name stands for its whole distribution: all that it provides, in the bubble and
    in main, but for names that another distribution of the bubble provides as well.

    Args:
        bubble: the bubble.
        names: import names or names of distributions, as they were given.
        asked: the requirements that the bubble was found for.

    Raises:
        TermsError: main does not have it, or a requirement would not hold with main's.
    """
    distributions: dict[str, Installed] = {}
    modules: set[str] = set()
    for name in names:
        found = _shared_one(bubble, name)
        if found is None:
            modules.add(name)
        else:
            distributions.update(found)
    conflicts = [*_conflicts(bubble, distributions, asked)]
    if conflicts:
        given = ", ".join(sorted(distributions))
        raise TermsError(
            f"{bubble!r} cannot share main's {given}.",
            cause="; ".join(conflicts),
            tip="leave it out of share=, or have a version in main that suits both",
            requirement=given,
            conflicts=conflicts,
        )
    provided = {
        *modules,
        *(name for one in distributions.values() for name in one.import_names),
        *(
            name
            for name, by in bubble.import_names.items()
            if not distributions.keys().isdisjoint(by)
        ),
    }
    taken = frozenset(
        name
        for name in provided
        if distributions.keys() >= set(bubble.import_names.get(name, ())) or name in modules
    )
    if bubble.distributions and distributions.keys() >= bubble.distributions.keys():
        raise TermsError(
            f"Nothing of {bubble!r} would be left: all that it holds is shared.",
            tip="use main itself: use(om.main)",
            requirement=", ".join(names),
        )
    return Shared(taken, frozenset(distributions), frozenset(modules))


def _shared_one(bubble: Bubble, name: str) -> dict[str, Installed] | None:
    """Return the distributions that a name stands for; None where it is a module of nobody's."""
    if normalize(name) in bubble.distributions:
        wanted = {normalize(name)}
    else:
        wanted = set(bubble.import_names.get(name, ()))
    found = {one: installed.find(one) for one in wanted}
    if not wanted:
        mains = installed.find(name)
        found = {one.name: one for one in ([mains] if mains else installed.owners(name))}
    there = {one: facts for one, facts in found.items() if facts is not None}
    lacking = sorted(found.keys() - there.keys())
    if lacking or (not there and not (name.isidentifier() and spec_in_main(name))):
        raise TermsError(
            f"{name!r} cannot be shared with {bubble!r}: main does not have it.",
            cause=f"main has no distribution {', '.join(lacking)}" if lacking else None,
            tip="install it into main, or leave it out of share=",
            requirement=name,
        )
    return there or None


def _conflicts(
    bubble: Bubble, mains: Mapping[str, Installed], asked: Sequence[Asked]
) -> Iterator[str]:
    """Yield what does not hold of the requirements on distributions that main lends."""
    for one in asked:
        lent = mains.get(one.name)
        if lent is not None and (one.wheel is not None or not one.allows(lent.version)):
            yield f"{one.text} was asked for, and main has {lent.name} {lent.version}"
    for by, one in demands_of(bubble):
        lent = mains.get(one.name)
        if lent is not None and by not in mains and not one.allows(lent.version):
            yield (
                f"the bubble's {by} {bubble.distributions[by]} requires {one.canonical}, "
                f"and main has {lent.name} {lent.version}"
            )


_REQUESTED = re.compile(r"(?P<name>[a-z0-9-]+)\[(?P<extras>[^\]]*)\]")


def demands_of(bubble: Bubble) -> Iterator[tuple[str, Asked]]:
    """Yield what a bubble's distributions require, with the extras that it was made for."""

    def find(name: str) -> Found | None:
        version = bubble.distributions.get(name)
        return None if version is None else Found(version, bubble.requires[name])

    roots = [(name, "") for name in bubble.distributions]
    for match in filter(None, map(_REQUESTED.match, bubble.requested)):
        roots += [(match["name"], extra) for extra in match["extras"].split(",")]
    return demands(roots, find)


# -- what is adopted --------------------------------------------------------------


@dataclass(frozen=True)
class Adopted:
    """What of main is loaded anew on top of a bubble.

    Attributes:
        names: the top-level import names, each with the distributions of main that own it.
        distributions: these distributions.
    """

    names: Mapping[str, tuple[str, ...]]
    distributions: Mapping[str, Installed]


def adopted(realm: Realm, names: Sequence[str]) -> Adopted:
    """Return what is adopted on top of a realm.

    A name of an installed distribution stands for all that it provides; any other is
    a module or package of the user's own.

    Args:
        realm: the realm of the bubble.
        names: import names or names of distributions, as they were given.

    Raises:
        TermsError: the bubble provides a name itself, or has another version of what
            the adopted distribution requires than it allows.
    """
    tops: dict[str, set[str]] = {}
    distributions: dict[str, Installed] = {}
    for name in names:
        if name in realm.provided or normalize(name) in realm.distributions:
            raise TermsError(
                f"{name!r} cannot be adopted: {realm.bubble!r} provides it.",
                requirement=name,
                tip="leave it out of adopt=",
            )
        found = installed.find(name)
        owners = [found] if found is not None else installed.owners(name)
        # An editable distribution may not say which names it provides.
        if found is None or not found.import_names:
            if not name.isidentifier():
                raise TermsError(
                    f"{name!r} cannot be adopted: main has nothing that can be imported under it.",
                    requirement=name,
                    tip="name what is imported",
                )
            tops.setdefault(name, set())
        for one in owners:
            distributions[one.name] = one
            for top in filter(str.isidentifier, one.import_names - realm.provided):
                tops.setdefault(top, set()).add(one.name)
    for one in distributions.values():
        _check_requirements(one, realm, distributions)
    if not realm.hermetic:  # else it is not there at all
        _say_what_stays(distributions, realm)
    return Adopted({top: tuple(sorted(tops[top])) for top in sorted(tops)}, distributions)


def _say_what_stays(distributions: Mapping[str, Installed], realm: Realm) -> None:
    """Warn of what the adopted require of main, where that goes on with what the bubble is for.

    An adopted scikit-learn would hand arrays of the bubble's numpy to main's scipy.
    """
    made_for = () if realm.bubble is None else realm.bubble.requested
    roots = realm.distributions.keys() & set(map(name_of, made_for))
    pending = list(distributions.values())
    seen = set(distributions)
    while pending:
        one = pending.pop()
        for wanted in installed.requirements(one):
            if wanted.name in seen or wanted.name in realm.distributions:
                continue
            seen.add(wanted.name)
            mains = installed.find(wanted.name)
            if mains is None:
                continue
            pending.append(mains)
            bound = sorted(roots & {needed.name for needed in installed.requirements(mains)})
            if bound:
                warnings.warn(
                    f"Main's {mains.name}, which {one.name} requires, goes on with main's "
                    f"{', '.join(bound)} and not with {realm.bubble!r}. "
                    f"Adopt it too: adopt={[*sorted(distributions), mains.name]!r}.",
                    MainModuleWarning,
                    stacklevel=2,
                )


def _check_requirements(one: Installed, realm: Realm, adopted: Collection[str]) -> None:
    """See that what an installed distribution requires is what it would get.

    Not for somebody's working directory: to try it with another version is why it
    is adopted.
    """
    held = realm.distributions
    conflicts = [
        f"main's {one.name} {one.version} requires {wanted.canonical}, "
        f"and the bubble has {wanted.name} {held[wanted.name]}"
        for wanted in installed.requirements(one)
        if wanted.name in held
        and wanted.name not in adopted
        and not wanted.allows(held[wanted.name])
    ]
    if conflicts and not one.editable:
        raise TermsError(
            f"{realm.bubble!r} cannot adopt main's {one.name}.",
            cause="; ".join(conflicts),
            tip="leave it out of adopt=, or use a bubble with a version that suits it",
            requirement=one.name,
            conflicts=conflicts,
        )
