"""What was asked for, and which realms serve it.

Owns what a *source* is (a requirement, a bubble, or main) and how the best bubble
is found for requirements.  It must not know when a scope is entered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from omnipkg_meta import answering, namespaces, native_conflicts, standard_classes, storage
from omnipkg_meta.errors import BubbleInvalidError, RequirementError
from omnipkg_meta.projects import ProjectBubble
from omnipkg_meta.realm import MAIN, Realm, realm_of
from omnipkg_meta.terms import Terms, read

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Main", "Source", "adopt_also", "check", "claim", "main", "realms_for", "terms_for"]

_NO_TERMS = Terms()


class Main:
    """The main environment, usable wherever a bubble is: ``use(om.main)``."""

    def __repr__(self) -> str:
        return "<the main environment>"

    def __reduce__(self) -> str:
        return "main"


main = Main()

#: What ``use`` accepts: a PEP 508 requirement, a bubble, main, or what a project names.
Source = Union[str, "Bubble", Main, ProjectBubble]


def claim(realm: Realm) -> None:
    """Make what a realm provides claimed names; for a hermetic one also what main holds.

    Raises:
        StandardLibraryConflictError: a package of it would find objects of another copy;
            nothing was claimed.
    """
    for one in realm.chain():
        standard_classes.before_activation(one)
    for one in realm.chain():
        namespaces.join(one)
        storage.claim(one.provided)
    if realm.hermetic:
        storage.claim_all(realm)
    answering.forget()


def adopt_also(realm: Realm, names: Iterable[str]) -> None:
    """Have a realm that adopts load more of the user's own modules anew.

    Args:
        realm: the realm.
        names: top-level import names; those that it, or its bubble, provides stay what they are.
    """
    new = frozenset(name for name in names if realm.provider(name) is None)
    if new:
        realm.import_names = {**realm.import_names, **dict.fromkeys(new, ())}
        realm.in_place |= new
        realm.provided |= new
        claim(realm)


def realms_for(
    sources: Sequence[Source],
    *,
    install: bool | None,
    store: Store | str | os.PathLike[str] | None,
    terms: Terms = _NO_TERMS,
) -> list[Realm]:
    """Return the realms that serve what was asked for, requirements' first.

    Where main serves, it serves as it is: there is nothing to share with it, nor to adopt.

    Raises:
        BubbleNotFoundError: no bubble satisfies the requirements, nor does main.
        BuildError: the bubble was to be built, and could not be.
        NativeConflictError: the loader would mix up its libraries with others.
        TermsError: what is to be shared or adopted does not fit.
    """
    requirements: list[str] = []
    realms: list[Realm] = []
    for source in sources:
        if isinstance(source, Main):
            realms.append(MAIN)
        elif isinstance(source, str):
            requirements.append(source)
        elif isinstance(source, ProjectBubble):
            named = _bubble_of_project(source, install=install, store=store)
            realms.append(MAIN if named is None else _realm_on(named, terms, source.requirements))
        else:
            realms.append(_realm_on(source, terms))
    if requirements:
        bubble = _bubble_for(requirements, install=install, store=store, terms=terms)
        realms.insert(0, MAIN if bubble is None else _realm_on(bubble, terms, requirements))
    native_conflicts.check(step for realm in realms for step in realm.chain())
    return realms


def _realm_on(bubble: Bubble, terms: Terms, requirements: Sequence[str] = ()) -> Realm:
    if not terms:
        return realm_of(bubble)
    from omnipkg_meta.realms import realm_on

    return realm_on(bubble, terms, requirements)


def _bubble_for(
    requirements: list[str],
    *,
    install: bool | None,
    store: Store | str | os.PathLike[str] | None,
    terms: Terms,
) -> Bubble | None:
    """Return the best bubble for requirements; None where main serves them."""
    from omnipkg_meta import config
    from omnipkg_meta.requirements import satisfied_by_main
    from omnipkg_meta.store.store import Store

    store = store if isinstance(store, Store) else Store(store)
    while (bubble := store.find(requirements)) is not None:
        try:
            bubble.hold()
            return bubble  # noqa: TRY300 (the two lines belong together)
        except BubbleInvalidError:  # noqa: PERF203 (once)
            if bubble.path.exists():
                raise
        # Another program has removed it since it was found; perhaps there is another one.
    if not terms.hermetic and satisfied_by_main(requirements):
        return None
    if config.install_missing() if install is None else install:
        from omnipkg_meta.store.build import install as build

        return build(requirements, store=store)
    return store.require(requirements)


def _bubble_of_project(
    named: ProjectBubble, *, install: bool | None, store: Store | str | os.PathLike[str] | None
) -> Bubble | None:
    """Return the bubble that a project names; None where main serves."""
    from omnipkg_meta import config
    from omnipkg_meta.store.store import Store

    store = store if isinstance(store, Store) else Store(store)
    bubble = named.find(store)
    if bubble is not None:
        bubble.hold()
        return bubble
    if named.served_by_main():
        return None
    if config.install_missing() if install is None else install:
        from omnipkg_meta.store.build import install as build

        return build(named.requirements, lock=named.lock, store=store)
    raise named.not_found(store)


def terms_for(
    sources: Sequence[object],
    share: Sequence[str] = (),
    adopt: Sequence[str] = (),
    *,
    hermetic: bool = False,
) -> Terms:
    """Return on which terms sources are entered: as given, and else as a project has it.

    Refuses what cannot be, before anything is done about it.

    Raises:
        RequirementError: a requirement is malformed, a name cannot be shared or adopted, or
            main is to be hermetic.
        TypeError: a source is none, or there is none; or names are not in a list.
    """
    terms = read(share, adopt, hermetic=hermetic)
    if len(sources) == 1 and isinstance(sources[0], ProjectBubble):
        own = sources[0].terms
        terms = read(
            terms.share or own.share, terms.adopt or own.adopt, hermetic=hermetic or own.hermetic
        )
    check(sources, terms)
    return terms


def check(sources: Sequence[object], terms: Terms = _NO_TERMS) -> None:
    """Refuse what cannot be a source, before anything is done about it.

    Raises:
        RequirementError: a requirement is malformed, or main is to be hermetic.
        TypeError: a source is none, or there is none.
    """
    from omnipkg_meta.store.bubble import Bubble

    if not sources:
        raise TypeError("use() needs at least one requirement, bubble, or om.main")
    texts = []
    for source in sources:
        if isinstance(source, str):
            texts.append(source)
        elif isinstance(source, ProjectBubble):
            if len(sources) > 1:
                raise TypeError(f"{source!r} has terms of its own, so it stands alone in use()")
        elif not isinstance(source, (Bubble, Main)):
            raise TypeError(
                f"a requirement is a str, a Bubble or om.main, not {type(source).__name__}"
            )
    if texts:
        from omnipkg_meta.requirements import at_sight, parse

        if not all(map(at_sight, texts)):
            parse(texts)
    if terms.hermetic and any(isinstance(source, Main) for source in sources):
        raise RequirementError(
            "Main cannot be hermetic: it is what a hermetic bubble does not see.",
            requirement=repr(main),
            tip="leave om.main or hermetic=True out",
        )
