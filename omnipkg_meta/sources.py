"""What was asked for, and which realms serve it.

Owns what a *source* is (a requirement, a bubble, or main) and how the best bubble
is found for requirements.  It must not know when a scope is entered.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Union

from omnipkg_meta import answering, namespaces, native_conflicts, storage
from omnipkg_meta.errors import BubbleInvalidError, RequirementError
from omnipkg_meta.realm import MAIN, Realm, adopting, realm_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["Main", "Source", "adopted", "check", "check_adopted", "claim", "main", "realms_for"]


class Main:
    """The main environment, usable wherever a bubble is: ``use(om.main)``."""

    def __repr__(self) -> str:
        return "<the main environment>"

    def __reduce__(self) -> str:
        return "main"


main = Main()

#: What ``use`` accepts: a PEP 508 requirement, a bubble, or main.
Source = Union[str, "Bubble", Main]


def claim(realm: Realm) -> None:
    """Make the names that a realm provides claimed names."""
    for one in realm.chain():
        namespaces.join(one)
        storage.claim(one.provided)
    answering.forget()


def realms_for(
    sources: Sequence[Source], *, install: bool | None, store: Store | str | os.PathLike[str] | None
) -> list[Realm]:
    """Return the realms that serve what was asked for, requirements' first.

    Raises:
        BubbleNotFoundError: no bubble satisfies the requirements, nor does main.
        BuildError: the bubble was to be built, and could not be.
        NativeConflictError: the loader would mix up its libraries with others.
    """
    requirements: list[str] = []
    realms: list[Realm] = []
    for source in sources:
        if isinstance(source, Main):
            realms.append(MAIN)
        elif isinstance(source, str):
            requirements.append(source)
        else:
            realms.append(realm_of(source))
    if requirements:
        bubble = _bubble_for(requirements, install=install, store=store)
        realms.insert(0, MAIN if bubble is None else realm_of(bubble))
    native_conflicts.check(realms)
    return realms


def adopted(realm: Realm, names: tuple[str, ...]) -> Realm:
    """Return the realm in which names of main are adopted by a bubble.

    Where main serves, its modules are as wanted already.

    Raises:
        RequirementError: the bubble provides one of the names itself.
    """
    for name in names:
        if name in realm.provided:
            raise RequirementError(
                f"{name!r} cannot be adopted: {realm.bubble!r} provides it.",
                requirement=name,
                tip="leave it out of adopt=",
            )
    return adopting(realm.bubble, names) if names and realm.bubble is not None else realm


def _bubble_for(
    requirements: list[str], *, install: bool | None, store: Store | str | os.PathLike[str] | None
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
    if satisfied_by_main(requirements):
        return None
    if config.install_missing() if install is None else install:
        from omnipkg_meta.store.build import install as build

        return build(requirements, store=store)
    return store.require(requirements)


def check_adopted(names: Sequence[str]) -> None:
    """Refuse what cannot be adopted whatever the bubble.

    Raises:
        TypeError: it is not a list of top-level names.
        RequirementError: a name is that of the standard library, the program, or this library.
    """
    if isinstance(names, str) or not all(str(name).isidentifier() for name in names):
        raise TypeError(f"adopt takes a list of top-level module names, not {names!r}")
    for name in names:
        if name in sys.stdlib_module_names or name in ("__main__", "omnipkg_meta"):
            raise RequirementError(
                f"{name!r} cannot be adopted: there is one of it in a process.",
                requirement=name,
            )


def check(sources: Sequence[object]) -> None:
    """Refuse what cannot be a source, before anything is done about it.

    Raises:
        RequirementError: a requirement is malformed.
        TypeError: a source is none, or there is none.
    """
    from omnipkg_meta.store.bubble import Bubble

    if not sources:
        raise TypeError("use() needs at least one requirement, bubble, or om.main")
    texts = []
    for source in sources:
        if isinstance(source, str):
            texts.append(source)
        elif not isinstance(source, (Bubble, Main)):
            raise TypeError(
                f"a requirement is a str, a Bubble or om.main, not {type(source).__name__}"
            )
    if texts:
        from omnipkg_meta.requirements import parse

        parse(texts)
