"""Realms: the loaded side of a bubble in this process, and of the main environment.

A realm owns a table of modules, loaded once and kept.  This file also owns the
set of *claimed names*: the top-level import names and the distribution names
that some realm other than main provides, the only names that are ever treated
specially.

It must not know how an import is intercepted nor who asks for it.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta.errors import PathFileWarning, SharedModuleWarning
from omnipkg_meta.layout import SearchPath, enclosing, modules_in, portions, search_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

    from omnipkg_meta.store.bubble import Bubble

__all__ = [
    "CLAIMED",
    "HERMETIC",
    "MAIN",
    "ONE_PER_PROCESS",
    "Realm",
    "Shared",
    "adopting",
    "after_fork",
    "known",
    "loaded",
    "normalize",
    "number",
    "providers",
    "realm_of",
    "realm_of_file",
    "side_of",
]

#: Top-level import names that a realm other than main provides.  Only ever grows.
CLAIMED: set[str] = set()

#: Realms that see nothing of main.  While there is one, all that main holds is claimed.
HERMETIC: list[Realm] = []

#: Packages that patch the standard library when they are imported, so that two
#: copies would undo each other's work.  Before Python 3.13 ``typing_extensions``
#: replaces ``typing._collect_parameters``; it is backward compatible by policy,
#: so the newest copy serves everybody.
ONE_PER_PROCESS = frozenset({"typing_extensions"}) if sys.version_info < (3, 13) else frozenset()


@lru_cache(maxsize=4096)
def normalize(name: str) -> str:
    """Return the normalized name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Shared(NamedTuple):
    """What a bubble takes from main: main's own modules, in the place of what it holds itself.

    Attributes:
        names: the top-level import names.
        distributions: the normalized names of the distributions that provide them.
        modules: those of the names that belong to no distribution.
    """

    names: frozenset[str] = frozenset()
    distributions: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()


_NOTHING_SHARED = Shared()


class Realm:
    """The modules of one bubble (or of main), as loaded in this process.

    A bubble has a realm for each set of terms that it is entered on: what it shares
    with main, and whether it sees main at all, decide what its modules are bound to.

    Attributes:
        bubble: the bubble, or None for main.
        files: what its modules are loaded from: the bubble, or a copy; None where they
            are main's files.
        shared: what it takes from main.
        hermetic: whether its code sees nothing but itself and the standard library.
        in_place: the top-level names of what it loads anew from main's own files.
        directories: where its modules are found, as ``sys.path`` would list them.
        prefix: what the paths of its files begin with.
        provided: the top-level import names it provides: those of its distributions, and
            those under which its code put modules into the table.
        portions: the full names of its namespace packages, each with what it holds there.
        distributions: the distributions it holds, normalized name to version.
        outer: the realm that is asked next, before main; None where main is next.
        adopters: the realms whose ``outer`` it is.
        adopts: whether its code is main's, loaded anew on top of ``outer``, which is a bubble's.
        modules: its table of modules, full name to module.
        startup: lines of code that install finders, to be executed before those are asked.
    """

    __slots__ = (
        "_elsewhere",
        "adopters",
        "adopts",
        "bubble",
        "directories",
        "distributions",
        "files",
        "hermetic",
        "import_names",
        "in_place",
        "modules",
        "outer",
        "portions",
        "prefix",
        "provided",
        "shared",
        "startup",
    )

    def __init__(
        self,
        *,
        bubble: Bubble | None,
        directories: Iterable[str],
        import_names: Mapping[str, Iterable[str]],
        distributions: Mapping[str, str],
        outer: Realm | None = None,
        adopts: bool = False,
        files: Bubble | None = None,
        shared: Shared = _NOTHING_SHARED,
        hermetic: bool = False,
        in_place: Iterable[str] = (),
    ) -> None:
        self.bubble = bubble
        self.files = files
        self.shared = shared
        self.hermetic = hermetic
        self.in_place = frozenset(in_place)
        self.directories = list(directories)
        # Also as code of the bubble names itself that asks for the real path of its file.
        paths = dict.fromkeys((*self.directories, *map(os.path.realpath, self.directories)))
        self.prefix = tuple(os.path.join(directory, "") for directory in paths)
        self.import_names = import_names
        self.provided = frozenset(import_names) | shared.names
        self.portions = portions(self.directories, self.provided - shared.names)
        self.distributions = distributions
        self.outer = outer
        self.adopters: tuple[Realm, ...] = ()
        self.adopts = adopts
        self.modules: dict[str, ModuleType] = {}
        self.startup: list[str] = []
        self._elsewhere: dict[str, Realm] = (
            dict.fromkeys(shared.names, MAIN) if shared.names else {}
        )

    def __repr__(self) -> str:
        if self.adopts:
            return f"<realm of {', '.join(self.import_names)} adopted by {self.outer!r}>"
        if self.bubble is None:
            return "<realm of main>"
        terms = [f"sharing {', '.join(sorted(self.shared.names))}"] if self.shared.names else []
        terms += ["hermetic"] if self.hermetic else []
        return f"<realm of {self.bubble!r}{', ' if terms else ''}{', '.join(terms)}>"

    def chain(self) -> Iterator[Realm]:
        """Yield this realm and those around it, up to but without main."""
        realm: Realm | None = self
        while realm is not None:
            yield realm
            realm = realm.outer

    def reach(self) -> Iterator[Realm]:
        """Yield the realms that may serve a name here: these, and those they hand over to."""
        for realm in self.chain():
            yield realm
            yield from list(realm._elsewhere.values())

    def provider(self, top: str) -> Realm | None:
        """Return the realm that serves a top-level import name here; None where none does.

        Main itself, where the name is shared with it.
        """
        realm: Realm | None = self
        while realm is not None:
            if top in realm.provided:
                return realm._elsewhere.get(top, realm)
            realm = realm.outer
        return None

    def shares(self, top: str) -> bool:
        """Tell whether a top-level import name is main's here, since it is shared with it."""
        for realm in self.chain():
            if top in realm.provided:
                return top in realm.shared.names
        return False

    def distribution_provider(self, name: str) -> Realm | None:
        """Return the realm that holds a distribution (normalized name); None where main does.

        Main itself, where the distribution is shared with it.
        """
        for realm in self.chain():
            if name in realm.shared.distributions:
                return MAIN
            if name in realm.distributions:
                return realm
        return None


#: The environment that Python started with.  Its table holds main's modules of
#: claimed names only; all others stay where they always were.
MAIN = Realm(bubble=None, directories=(), import_names={}, distributions={})

_realms: dict[Any, Realm] = {}
# The same, so that nothing that is asked often takes longer the more of them there are: by the
# directories of their files, with a separator at the end, and by the top-level names that each
# provides.
_of_directory: dict[str, Realm] = {}
# Any directory to the realm that it lies in, as it was found; up to so many.
_of_place: dict[str, Realm] = {}
_MOST_PLACES = 4096
_of_name: dict[str, tuple[Realm, ...]] = {}
# Re-entrant: a signal handler may enter a scope while its thread is in here.
_lock = threading.RLock()


def after_fork() -> None:
    """Make the lock new in a forked child, where another thread's hold on it never ends."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


def number() -> int:
    """Return how many realms this process has, without main."""
    return len(_realms)


def loaded() -> list[Realm]:
    """Return the realms of this process, without main, oldest first."""
    return list(_realms.values())


def realm_of_file(file: str) -> Realm:
    """Return the realm that a file belongs to, or a directory that is given with its separator.

    The innermost one, where the directory of one lies in that of another.
    """
    places = _of_place
    directory = file[: file.rfind(os.sep) + 1]
    found = places.get(directory)
    if found is None:
        found = enclosing(_of_directory, directory) or MAIN
        if len(places) < _MOST_PLACES:
            places[directory] = found
    return found


def providers(top: str) -> tuple[Realm, ...]:
    """Return the realms, without main, that provide a top-level import name of their own."""
    return _of_name.get(top, ())


def provides(realm: Realm, names: Iterable[str]) -> None:
    """Note that a realm provides top-level import names of its own; under the lock of claims."""
    for top in names:
        if realm not in (known := _of_name.get(top, ())):
            _of_name[top] = (*known, realm)


def _enter(key: Any, realm: Realm) -> None:
    """Add a realm to those of this process."""
    global _of_place  # noqa: PLW0603
    for directory in realm.prefix:
        _of_directory[directory] = realm
    _of_place = {}  # a new one: whoever looks at this moment writes into the old one
    provides(realm, realm.import_names)
    if realm.outer is not None:
        realm.outer.adopters += (realm,)
    _realms[key] = realm  # last: whoever finds it finds all of it


def side_of(entry: object) -> Realm:
    """Return the realm in whose bubble an entry of ``sys.path`` lies; otherwise main."""
    return realm_of_file(os.path.join(entry, "")) if isinstance(entry, str) else MAIN


def known(
    bubble: Bubble, shared: Shared = _NOTHING_SHARED, *, hermetic: bool = False
) -> Realm | None:
    """Return the realm of a bubble on these terms, if it was made."""
    return _realms.get((bubble, shared, hermetic))


def realm_of(
    bubble: Bubble,
    shared: Shared = _NOTHING_SHARED,
    *,
    hermetic: bool = False,
    files: Bubble | None = None,
) -> Realm:
    """Return the realm of a bubble on these terms, the same one each time.

    Args:
        bubble: the bubble.
        shared: what it takes from main.
        hermetic: whether its code sees nothing but itself and the standard library.
        files: what its modules are loaded from, if that is a copy.

    Raises:
        BubbleInvalidError: the bubble was removed since it was opened.
    """
    key = (bubble, shared, hermetic)
    try:
        return _realms[key]
    except KeyError:
        pass
    with _lock:
        if key not in _realms:
            bubble.hold()
            if files is None:
                files = bubble
            else:
                files.hold()
            found = search_path(str(files.site_packages))
            realm = Realm(
                bubble=bubble,
                directories=found.directories,
                import_names=_import_names(files, found),
                distributions=files.distributions,
                files=files,
                shared=shared,
                hermetic=hermetic,
            )
            realm.startup = found.startup
            for top in (realm.provided - shared.names) & ONE_PER_PROCESS:
                _share(top, realm)
            _enter(key, realm)
        return _realms[key]


def _import_names(bubble: Bubble, found: SearchPath) -> dict[str, tuple[str, ...]]:
    """Return the import names of a bubble with their owners, as its ``.pth`` files have it."""
    if found.refused:
        warnings.warn(
            f"{bubble!r} has .pth files with lines that are for a whole interpreter or lead out of "
            f"the bubble; they are ignored: {'; '.join(found.refused)}",
            PathFileWarning,
            stacklevel=3,
        )
    names = dict(bubble.import_names)
    for directory in found.directories[1:]:
        owner = os.path.relpath(directory, bubble.site_packages).partition(os.sep)[0]
        for name in modules_in(directory):
            names.setdefault(name, bubble.import_names.get(owner, ()))
    # As in any environment, the standard library stands before what is installed:
    # old packages drag in copies of what has long become a part of it (argparse,
    # contextvars, enum34).
    names = {name: names[name] for name in names if name not in sys.stdlib_module_names}
    if found.startup:
        names["distutils"] = ("setuptools",)
    return names


def adopting(
    outer: Realm,
    names: Mapping[str, Iterable[str]],
    distributions: Mapping[str, str],
    copy: Callable[[], Bubble | None],
) -> Realm:
    """Return the realm in which modules of main are loaded anew on top of a bubble's.

    Args:
        outer: the bubble's realm, which the adopted code sees first.
        names: the top-level import names that are adopted, each with its distributions.
        distributions: the versions of these distributions.
        copy: gives a copy of what cannot be loaded a second time from main's own files;
            called the first time only.
    """
    key = (outer, frozenset(names))
    if key not in _realms:
        files = copy()
        if files is not None:
            files.hold()
        found = SearchPath([], [], []) if files is None else search_path(str(files.site_packages))
        copied = {} if files is None else _import_names(files, found)
        with _lock:
            if key not in _realms:
                realm = Realm(
                    bubble=outer.bubble,
                    directories=found.directories,
                    import_names={
                        **names,
                        **{name: copied[name] for name in names if name in copied},
                    },
                    distributions=distributions,
                    outer=outer,
                    adopts=True,
                    files=files,
                    hermetic=outer.hermetic,
                    in_place=names.keys() - copied.keys(),
                )
                _enter(key, realm)
    return _realms[key]


#: Whose copy of a module that must be one per process serves all realms.
_serving: dict[str, Realm] = {}


def _share(top: str, new: Realm) -> None:
    """Choose whose copy of a module that must be one per process serves all realms.

    The newest, as long as none is loaded; then the one that is.
    """
    name = next(iter(new.import_names[top]), normalize(top))
    before = _serving.get(top)
    versions = {new: new.distributions.get(name, "0")}
    if before is not None and before is not MAIN:
        versions[before] = before.distributions.get(name, "0")
    elif (in_main := _version_in_main(name)) is not None:
        versions[MAIN] = in_main
    best = max(versions, key=lambda realm: (_release(versions[realm]), realm is MAIN))
    # The storage itself is asked: the view would depend on who asks.
    if top in MAIN.modules or dict.__contains__(sys.modules, top):
        best = MAIN
    elif before is not None and top in before.modules:
        best = before
    _serving[top] = best
    holders = [new]
    if best is not before:
        others = (realm for realm in providers(top) if not realm.adopts)
        holders += [realm for realm in others if top not in realm.shared.names]
    for realm in holders:
        realm._elsewhere[top] = best
        mine = realm.distributions.get(name, "0")
        if best in versions and _release(versions[best]) < _release(mine):
            warnings.warn(
                f"{top} {versions[best]} is loaded already, and there can be one per process: it "
                f"serves {realm.bubble!r} too, which was made with {mine}. "
                "Enter the scope with the newest one first.",
                SharedModuleWarning,
                stacklevel=2,
            )


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _version_in_main(name: str) -> str | None:
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    path = [entry for entry in sys.path if side_of(entry) is MAIN]
    context = DistributionFinder.Context(name=name, path=path)
    for distribution in MetadataPathFinder.find_distributions(context):
        return distribution.version
    return None
