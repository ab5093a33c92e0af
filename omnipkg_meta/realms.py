"""The realm of a bubble on some terms, and the files that it loads.

A realm on terms of its own needs files of its own (store/copies.py); this file
knows when, and of what.  It must not know what the terms mean, nor how imports
are answered.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.agreement import adopted, shared
from omnipkg_meta.errors import TermsError
from omnipkg_meta.namespaces import spec_in_main
from omnipkg_meta.realm import Realm, Shared, adopting, known, realm_of
from omnipkg_meta.requirements import parse
from omnipkg_meta.store import record
from omnipkg_meta.store.copies import of_bubble, of_main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnipkg_meta.agreement import Adopted
    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.terms import Terms

__all__ = ["realm_on"]


def realm_on(bubble: Bubble, terms: Terms, requirements: Sequence[str] = ()) -> Realm:
    """Return the realm of a bubble that is entered on some terms, the same one each time.

    Args:
        bubble: the bubble.
        terms: the terms.
        requirements: what it was found for.

    Raises:
        StoreError: it needs a copy of the bubble's files, which cannot be written.
        TermsError: what is to be shared or adopted does not fit.
    """
    lent = Shared()
    if terms.share:
        lent = shared(bubble, terms.share, parse(requirements) if requirements else ())
    realm = known(bubble, lent, hermetic=terms.hermetic)
    if realm is None:
        files = None
        if terms.share or terms.hermetic:
            names = sorted(lent.distributions | lent.modules)
            words = [f"sharing {' '.join(names)}"] if names else []
            words += ["hermetic"] if terms.hermetic else []
            files = of_bubble(bubble, lent.distributions, words)
        realm = realm_of(bubble, lent, hermetic=terms.hermetic, files=files)
    if not terms.adopt:
        return realm
    taken = adopted(realm, terms.adopt)
    versions = {name: one.version for name, one in taken.distributions.items()}
    return adopting(realm, taken.names, versions, functools.partial(_copied, realm, taken))


def _copied(realm: Realm, taken: Adopted) -> Bubble | None:
    """Return a copy of what of the adopted is native; None where nothing is."""
    whole = [one for one in taken.distributions.values() if one.files and not one.editable]
    native = [one for one in whole if any(map(record.names_native, one.files))]
    owned = {one.name for one in whole}
    modules: dict[str, Path] = {}
    for top, owners in taken.names.items():
        if owned.isdisjoint(owners) and (place := _native_module(top)) is not None:
            modules[top] = place
    if not native and not modules:
        return None
    if realm.bubble is None or realm.files is None:
        raise AssertionError(realm)
    names = " ".join([*(one.name for one in native), *modules])
    return of_main(realm.bubble, realm.files, native, modules, [f"adopting {names}"])


def _native_module(top: str) -> Path | None:
    """Return the file or directory of a module of main that is, or holds, native code."""
    spec = spec_in_main(top)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    if not folders:
        return (
            Path(str(spec.origin))
            if spec.has_location and record.names_native(str(spec.origin))
            else None
        )
    for folder in map(Path, folders):
        if folder.is_dir() and any(record.names_native(path) for path, _ in record.files(folder)):
            if len(folders) > 1:
                raise TermsError(
                    f"{top!r} cannot be adopted: it has native code, and lies in several places.",
                    cause=", ".join(folders),
                    requirement=top,
                )
            return folder
    return None
