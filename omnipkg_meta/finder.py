"""The finder first on ``sys.meta_path``: modules of claimed names, and main's inside a scope.

Modules of a bubble are found by ``PathFinder`` over the realm's own directories
and loaded by the ordinary loaders, so byte code caches, namespace packages,
resources and data files work as anywhere.  A loader of ours stands in only
until the module is created, then puts the ordinary one in its place.

Modules of main, first imported inside a scope, are found by everybody else's
finders and loaded with an empty scope stack: main stays main.

Distributions are found by :mod:`omnipkg_meta.metadata`.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader, PathFinder
from typing import TYPE_CHECKING, Any

from omnipkg_meta import (
    absent,
    answering,
    asking,
    directories,
    meta_path,
    metadata,
    modules,
    others,
    standard_classes,
    storage,
)
from omnipkg_meta.activation import CURRENT, OVERLAYS
from omnipkg_meta.answering import realm_for
from omnipkg_meta.belonging import everybodys, may_be_taken
from omnipkg_meta.importers import LOADED_INTO, share
from omnipkg_meta.layout import portions
from omnipkg_meta.loaders import RegistryLoader, load_inside, load_outside
from omnipkg_meta.locks import without_import_lock
from omnipkg_meta.namespaces import JOINED, join, spec_in_main
from omnipkg_meta.native import RealmExtensionLoader
from omnipkg_meta.path_entries import bubbles_on_path, main_path, path_of
from omnipkg_meta.realm import CLAIMED, HERMETIC, MAIN, Realm, realm_of_file
from omnipkg_meta.registries import MODULES as REGISTRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import FrameType, ModuleType

__all__ = ["FINDER", "RealmFinder", "install", "uninstall"]

_TOP_LEVEL_STANDARD = sys.stdlib_module_names


class RealmFinder:
    """The meta path finder and the distribution finder of this library."""

    def __repr__(self) -> str:
        return "<omnipkg_meta finder>"

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find a module for whoever asks (``importlib.abc.MetaPathFinder``).

        Raises:
            ModuleNotFoundError: the name belongs to a bubble that does not have
                it, and another finder would have answered with a foreign file.
        """
        top = name.partition(".")[0]
        frame = sys._getframe().f_back
        if top in CLAIMED:
            if path is not None and frame is not None and top not in JOINED:
                realm = frame.f_globals.get(LOADED_INTO)
                if realm is not None:  # it was asked who asks: this is for that realm's copy
                    with without_import_lock():
                        standard_classes.before_load(realm, name)
                        return _spec_in_realm(realm, name, path, target)
        elif not (HERMETIC or bubbles_on_path() or (path is None and meta_path.any_brought())) and (
            CURRENT.get() is None or top in _TOP_LEVEL_STANDARD
        ):
            return _spec_with_registry(name, path, target) if name in REGISTRIES else None
        with without_import_lock():
            return _find(name, path, target, frame)

    def find_distributions(self, context: Any = None) -> Iterable[Any]:
        """Find the distributions that whoever asks can see (``importlib.metadata``)."""
        return metadata.find_distributions(self, context, sys._getframe().f_back)

    def invalidate_caches(self) -> None:
        """Forget what is installed in main; called by ``importlib.invalidate_caches``."""
        answering.forget()
        for finder in meta_path.all_brought():
            if hasattr(finder, "invalidate_caches"):
                finder.invalidate_caches()


FINDER = RealmFinder()


def _find(
    name: str, path: Sequence[str] | None, target: ModuleType | None, frame: FrameType | None
) -> ModuleSpec | None:
    if path is None:
        storage.claim_new(name)
    realm = realm_for(name, frame)
    if (
        path is None
        and (realm is None or realm is MAIN or _lacks(realm, name))
        and (meta_path.any_brought() or bubbles_on_path())
    ):
        realm = _that_brings(name, target, frame) or realm
    if realm is not None:
        standard_classes.before_load(realm, name)
    if realm is not None and realm is not MAIN:
        return _spec_in_realm(realm, name, path, target)
    if realm is MAIN:
        return _spec_in_main(name, path, target, frame)
    if name in REGISTRIES:
        return _spec_with_registry(name, path, target)
    inside = CURRENT.get() is not None and name.partition(".")[0] not in _TOP_LEVEL_STANDARD
    if path is None and bubbles_on_path():
        return _beside_bubbles(name, target, frame, outside=inside)
    mains = _mains_part(name, path, frame)
    spec = others.ask_all(name, mains, target) if inside or mains is not path else None
    if spec is not None and inside:
        load_outside(spec)
    return spec


def _spec_with_registry(
    name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Find a module of the standard library that has a registry to be kept apart by realm."""
    spec = others.ask_all(name, path, target)
    if spec is not None and spec.loader is not None:
        spec.loader = RegistryLoader(spec.loader)  # type: ignore[assignment]  # by what it does
    return spec


def _spec_in_realm(
    realm: Realm,
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
) -> ModuleSpec | None:
    if _lacks(realm, name):
        raise absent.error(realm, name)
    if name.partition(".")[0] in realm.in_place:
        return _spec_adopted(realm, name, path, target)
    # A package may have extended its path over main's (``pkgutil.extend_path``).
    entries = path_of(realm) if path is None else [one for one in path if _within(one, realm)]
    spec = _spec_from_hooks(realm, name, entries, target)
    if spec is None:
        spec = directories.find(name, entries) or PathFinder.find_spec(name, entries, target)
    if spec is None:
        if name.partition(".")[0] not in realm.import_names:
            return _spec_of_made_up(realm, name, path, target)
        if path is not None and len(entries) < len(path) and PathFinder.find_spec(name, path):
            raise absent.error(realm, name)  # it is main's, and PathFinder would be asked next
        return _spec_from_elsewhere(realm, name, path, target)
    _keep_locations(spec)
    if type(spec.loader) is ExtensionFileLoader:
        spec.loader = RealmExtensionLoader(spec.loader.name, spec.loader.path, realm)
    else:
        load_inside(spec, realm)
    return spec


def _lacks(realm: Realm, name: str) -> bool:
    """Tell whether a realm answers for a name only to say that its code does not see it."""
    return realm.hermetic and realm.provider(name.partition(".")[0]) is None


def _keep_locations(spec: ModuleSpec) -> None:
    """Keep the path of a namespace package from being computed anew from main's ``sys.path``.

    It stays a ``_NamespacePath`` (``Lib/importlib/_bootstrap_external.py``):
    ``importlib.resources`` takes nothing else.
    """
    locations: Any = spec.submodule_search_locations
    if hasattr(locations, "_path_finder"):
        locations._path_finder = _find_nothing
    elif locations is not None:
        spec.submodule_search_locations = list(locations)


def _find_nothing(*_: object) -> None:
    """Leave a path as it is (``_NamespacePath._recalculate``)."""


def _realm_of(place: str) -> Realm:
    """Return the realm that a file or a directory belongs to."""
    return realm_of_file(os.path.join(place, ""))


def _within(file: str, realm: Realm) -> bool:
    # A directory of the realm itself comes without the separator at its end.
    return file.startswith(realm.prefix) or os.path.join(file, "") in realm.prefix


def _spec_adopted(
    realm: Realm,
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
) -> ModuleSpec | None:
    """Find a module of main that is to be loaded anew on top of a bubble."""
    if path is None:
        path = main_path()
    spec = others.ask_all(name, path, target)
    if spec is None:
        return None
    if isinstance(spec.loader, ExtensionFileLoader):
        # The loader of the system knows a library by its inode: the second load
        # would give main's module, or fail half way.
        raise ImportError(  # noqa: TRY004
            f"{name!r} cannot be adopted by {realm.bubble!r}: it is native code, "
            "which can be loaded once from one file, and main's file is main's",
            name=name,
            path=spec.origin,
        )
    _keep_locations(spec)
    load_inside(spec, realm)
    return spec


def _spec_from_hooks(
    realm: Realm,
    name: str,
    entries: Sequence[str],
    target: ModuleType | None,
) -> ModuleSpec | None:
    """Let import hooks that come before ``PathFinder`` load the bubble's files their way.

    pytest rewrites assertions like this, typeguard instruments functions.
    """
    for finder in meta_path.before_path_finder(realm):
        spec = others.ask(finder, name, entries, target)
        if spec is not None and spec.has_location and str(spec.origin).startswith(realm.prefix):
            return spec
    return None


def _spec_in_main(
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
    frame: FrameType | None = None,
) -> ModuleSpec | None:
    """Find main's module of a claimed name."""
    package = None
    if path is None and bubbles_on_path():
        return _beside_bubbles(name, target, frame, outside=True)
    if path is not None and (space := name.rpartition(".")[0]) in JOINED:
        if space not in MAIN.modules and spec_in_main(space) is None:
            return None  # ``sys.path`` may have it, in a bubble
        package = _package_of_main(space)
        path = package.__path__
    spec = others.ask_all(name, _mains_part(name, path, frame), target)
    if spec is not None:
        load_outside(spec, package)
    return spec


def _mains_part(
    name: str, path: Sequence[str] | None, frame: FrameType | None
) -> Sequence[str] | None:
    """Return a package's path without what lies in bubbles, where code of main asks.

    Main's namespace packages extend over all of ``sys.path`` (``_NamespacePath``).

    Raises:
        ModuleNotFoundError: only a bubble has the module.
    """
    if path is None or not bubbles_on_path():
        return path
    inside = [one for one in path if _realm_of(one) is not MAIN]
    if not inside or len(inside) == len(path) or asking.who(frame).home is not None:
        return path  # a package that lies in a bubble altogether is of somebody who meant it
    mains = [one for one in path if one not in inside]
    if PathFinder.find_spec(name, mains) is None and PathFinder.find_spec(name, inside):
        raise absent.error(MAIN, name)
    return mains


def _beside_bubbles(
    name: str, target: ModuleType | None, frame: FrameType | None, *, outside: bool
) -> ModuleSpec | None:
    """Find a top-level module of main while entries of ``sys.path`` lie in bubbles.

    Code of a bubble puts them there, and pytest does, to import the tests that a
    bubble's package ships.  Main is not led into the bubble by it.

    Args:
        name: the module's name.
        target: as for ``find_spec``.
        frame: who asks; a scope of its may provide what main has not.  None: no scope counts.
        outside: whether it is to be loaded with an empty scope stack.

    Raises:
        ModuleNotFoundError: a bubble has it, and another finder would have answered with that.
    """
    hidden = False
    for finder in meta_path.of_main():
        spec = others.ask(finder, name, None, target)
        if spec is not None and _in_a_bubble(spec):
            hidden = True
            spec = others.ask(finder, name, main_path(), target)
        if spec is not None and not _in_a_bubble(spec):
            if outside:
                load_outside(spec)
            return spec
    if not hidden:
        return None
    realm = _in_scope_on_path(name, frame)
    if realm is None:
        raise absent.error(MAIN, name)
    return _spec_in_realm(realm, name, None, target)


def _in_a_bubble(spec: ModuleSpec) -> bool:
    files = _files_of(spec)
    return any(_realm_of(file) is not MAIN for file in files)


def _in_scope_on_path(name: str, frame: FrameType | None) -> Realm | None:
    """Let a realm provide a name that is found on ``sys.path``, but in its bubble only.

    For code of main that is in its scope, or over which it is laid: what is loaded
    from a bubble's file is that bubble's.
    """
    if frame is None:
        return None
    if asking.who(frame).home is not None:
        return None
    activation = CURRENT.get()
    realms: list[Realm] = []
    while activation is not None and MAIN not in realms:
        realms += activation.realms
        activation = activation.parent
    for realm in (*realms, *OVERLAYS[0]):
        if realm is MAIN:
            break  # ``use(main)``: what lies around it does not count
        if _is_on_path(name, realm) and may_be_taken(name):
            return _provided(realm, name)
    return None


def _is_on_path(name: str, realm: Realm) -> ModuleSpec | None:
    """Find what ``sys.path`` has under a name in the bubble of a realm."""
    entries = path_of(realm)
    return PathFinder.find_spec(name, entries) if entries != realm.directories else None


def _package_of_main(name: str) -> ModuleType:
    """Return a package of main's, imported if need be, whoever asks for what is in it."""
    if name not in MAIN.modules:
        # An import statement of this library's own is answered by main
        # (:func:`omnipkg_meta.asking.who`).
        exec(compile(f"import {name}", __file__, "exec"), {"__name__": __name__})  # noqa: S102
    return MAIN.modules[name]


def _spec_from_elsewhere(
    realm: Realm,
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
) -> ModuleSpec | None:
    """Let other finders answer for a module that the bubble's directories do not hold.

    They may make modules up (``six.moves``); they may not answer with a file of
    another environment, as a finder of an editable install would that maps names
    and ignores ``path``.
    """
    if realm.startup:
        for line in tuple(realm.startup):
            exec(line, {"__realm__": realm})  # noqa: S102  # at home in the realm
        realm.startup.clear()
    for finder in meta_path.seen_by(realm):
        if finder is PathFinder:
            continue
        spec = others.ask(finder, name, path, target)
        if spec is None:
            continue
        files = _files_of(spec)
        if not files and meta_path.home_of(finder) not in (None, realm):
            continue  # what another copy of the same package makes up
        if all(_within(file, realm) for file in files):
            load_inside(spec, realm)
            return spec
        raise absent.error(realm, name)
    if path is None:
        raise absent.error(realm, name)
    return None


def _files_of(spec: ModuleSpec) -> list[str]:
    origin = spec.origin if spec.has_location else None
    locations = list(spec.submodule_search_locations or ())
    return [origin, *locations] if origin else locations


def _provided(realm: Realm, name: str) -> Realm:
    """Let a realm provide one more name, which this thread is looking for; return the realm."""
    share(name, realm)
    if spaces := portions(path_of(realm), (name,)):
        realm.portions.update(spaces)
        join(realm)
    storage.provide(realm, name)
    return realm


def _has_regular(name: str) -> bool:
    """Tell whether main has a module of a name that is more than a namespace."""
    spec = PathFinder.find_spec(name, main_path())
    return spec is not None and spec.has_location


def _that_brings(name: str, target: ModuleType | None, frame: FrameType | None) -> Realm | None:
    """Let a realm provide a top-level name that its code has brought along, for that code.

    By a finder, as setuptools' that stands its own ``distutils`` in the place of the
    standard library's; or by putting a directory of the bubble on ``sys.path``.
    """
    home = asking.who(frame).home
    if home is None or home.provider(name) is not None or not may_be_taken(name):
        return None
    for finder in meta_path.brought_by(home):
        spec = others.ask(finder, name, None, target)
        if spec is not None and all(_within(file, home) for file in _files_of(spec)):
            return _provided(home, name)
    if name in _TOP_LEVEL_STANDARD:
        return None
    spec = _is_on_path(name, home)
    if spec is not None and (spec.has_location or not _has_regular(name)):
        return _provided(home, name)
    return None


def _spec_of_made_up(
    realm: Realm, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Find a module under a name that none of the realm's distributions owns.

    Finders of its code come first; then it sees what everybody does, in a copy of its own.
    """
    for finder in meta_path.brought_by(realm):
        spec = others.ask(finder, name, path, target)
        if spec is not None and all(_within(file, realm) for file in _files_of(spec)):
            load_inside(spec, realm)
            return spec
    if realm.hermetic and not everybodys(name.partition(".")[0]):
        raise absent.error(realm, name)
    return _spec_in_main(name, path, target)


def install() -> None:
    """Put the finder first on ``sys.meta_path``, to stay there.

    Raises:
        HookError: this interpreter cannot do it; nothing was changed.
    """
    directories.prove()
    meta_path.install(FINDER)
    modules.before_import = meta_path.keep


def uninstall() -> None:
    """Take the finder away."""
    meta_path.uninstall()
