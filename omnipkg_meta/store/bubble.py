"""One bubble: where it is and what its manifest says.

Owns the manifest's format, in both directions, and the cheap check that a bubble
is whole.  Must not know how a bubble is found, built, verified in full or loaded.
It is read at every start of every program that uses a bubble, so it imports
nothing but the standard library's lightest parts.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from omnipkg_meta.errors import (
    BubbleFormatError,
    BubbleInvalidError,
    BubbleTagError,
    StoreError,
)
from omnipkg_meta.store import trust

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COPIES",
    "LINK",
    "LOCK",
    "MANIFEST",
    "SCHEMA",
    "SCRIPTS",
    "SITE_PACKAGES",
    "Bubble",
    "Libraries",
]

# Windows would look for ends of lines; and a pipe in its place is not to be waited for.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)

#: The version of the manifest's format that this library writes and understands.
SCHEMA = 1

MANIFEST = "manifest.json"
LOCK = "pylock.toml"
SITE_PACKAGES = "site-packages"
SCRIPTS = "bin"
#: Where, beside the bubbles, their copies are (copies.py).
COPIES = ".copies"
#: What the digest of a link that the build made begins with; its target follows.
LINK = "link="

# A name, a version, a script or a file of the bubble's own directory can never lead out of it.
_WORD = re.compile(r"\w+")
_PLAIN = re.compile(r"(?!\.)[^/\\\x00-\x1f]+")
_STR = frozenset({str})
_DISTRIBUTION = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Libraries:
    """How the dynamic loader knows the libraries that a bubble brings along.

    Attributes:
        private: the private name of each library's name.
        public: the names that could not be made private, and why.
        untouched: the native files that were left as they are, and why.
    """

    private: Mapping[str, str]
    public: Mapping[str, str]
    untouched: Mapping[str, str]


@dataclass(frozen=True, eq=False, repr=False)
class Bubble:
    """An immutable directory that holds a resolved, closed set of distributions.

    Two bubbles are equal when they are the same directory.  Pickling keeps the
    path only: the other process opens, and checks, the bubble for itself.

    Attributes:
        path: the bubble's directory.
        id: its name within the store.
        tag: the tag of the interpreter that it was made for.
        requested: the requirements that it was made for.
        distributions: the version of each distribution, by normalized name.
        import_names: the distributions that provide each top-level import name.
        requires: the ``Requires-Dist`` lines of each distribution.
        digests: the SHA-256 of the archive that each distribution came from.
        native_files: the shared objects, relative to ``site_packages``.
        libraries: how the loader knows them; None if the bubble was made by a version of
            this library that left their names alone.
        scripts_provided: what each script calls, as ``module:attribute``.
        builder: what built it, for example ``uv 0.9.1``.
        created: when, in UTC, as ISO 8601.
        entry: the manifest as it was read.
    """

    path: Path
    id: str
    tag: str
    requested: tuple[str, ...]
    distributions: Mapping[str, str]
    import_names: Mapping[str, tuple[str, ...]]
    requires: Mapping[str, tuple[str, ...]]
    digests: Mapping[str, str]
    native_files: tuple[str, ...]
    libraries: Libraries | None
    scripts_provided: Mapping[str, str]
    builder: str
    created: str
    entry: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, tag: str | None = None) -> Bubble:
        """Read the bubble at *path* and check cheaply that it is whole.

        Args:
            path: the bubble's directory.
            tag: the interpreter tag that it must have; this interpreter's when not given.

        Raises:
            BubbleFormatError: it was made by a newer version of this library.
            BubbleTagError: it was made for another interpreter.
            BubbleInvalidError: it is no bubble, was tampered with or is half deleted.
            StoreError: somebody else could write into it.
        """
        return cls.read(path, tag=tag)[0]

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], *, tag: str | None = None
    ) -> tuple[Bubble, os.stat_result]:
        """Do what :meth:`open` does, and return the status of the manifest that was read, too."""
        path = Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")
        # A list of a store comes here for each bubble, so no Path is joined.
        try:
            descriptor = os.open(f"{path}{os.sep}{MANIFEST}", _READ)
            try:
                status = os.fstat(descriptor)
                trust.check_inside(path, (LOCK, SITE_PACKAGES), MANIFEST, status)
                with open(descriptor, "rb", buffering=0, closefd=False) as file:
                    text = file.read()
            finally:
                os.close(descriptor)
        except StoreError:
            raise
        except OSError as error:
            trust.check(path)
            if not path.is_dir():
                _invalid(path, "there is no such directory")
            _invalid(path, f"its manifest cannot be read: {error.strerror}")
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            _invalid(path, "its manifest is not JSON")
        if not isinstance(entry, dict):
            _invalid(path, "its manifest is not a JSON object")
        if tag is None:
            from omnipkg_meta.config import interpreter_tag

            tag = interpreter_tag()
        _check_schema(path, entry)
        _check_tag(path, entry, tag)
        bubble = cls._from_entry(path, entry)
        bubble.check_whole()
        return bubble, status

    @property
    def site_packages(self) -> Path:
        """The directory that holds the distributions."""
        return self.path / SITE_PACKAGES

    @property
    def scripts(self) -> Path:
        """The directory of launchers; it is there only if the bubble has scripts."""
        return self.path / SCRIPTS

    @property
    def lock(self) -> Path:
        """The PEP 751 lock file of the bubble."""
        return self.path / LOCK

    def dist_info(self, name: str) -> Path:
        """Return the metadata directory of the distribution with that normalized name."""
        return self.site_packages / str(self.entry["distributions"][name]["dist_info"])

    def check_whole(self) -> None:
        """See that what the manifest names is still there, without reading it.

        Raises:
            BubbleInvalidError: part of the bubble is gone.
        """
        try:
            present = frozenset(os.listdir(f"{self.path}{os.sep}{SITE_PACKAGES}"))  # noqa: PTH208
        except OSError:
            _invalid(self.path, f"its {SITE_PACKAGES} directory is gone")
        gone = [
            f"{name} {facts['version']} is gone from it"
            for name, facts in self.entry["distributions"].items()
            if facts["dist_info"] not in present
        ]
        if gone:
            _invalid(self.path, *gone)

    def hold(self) -> None:
        """Keep everybody from removing the bubble for as long as this process lives.

        What is held is about to be used, so it is verified first where that is configured
        (``OMNIPKG_META_VERIFY``).

        Raises:
            BubbleInvalidError: it was removed since it was opened, or is not as installed.
        """
        from omnipkg_meta import config
        from omnipkg_meta.store import lease

        lease.hold(self.path)
        if config.verify() == "full":
            self.require_whole()

    def require_whole(self) -> None:
        """See that every file is what was installed; once in a process for each bubble.

        Raises:
            BubbleInvalidError: one is not.
        """
        from omnipkg_meta.store.verify import require_whole

        require_whole(self)

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, Bubble) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"<Bubble {str(self.path)!r}>"

    def _repr_html_(self) -> str:
        from omnipkg_meta.hypertext import card

        facts = [
            ("made for", ", ".join(self.requested)),
            ("holds", ", ".join(f"{name} {one}" for name, one in self.distributions.items())),
            ("made", f"{self.created[:10]} by {self.builder}, for {self.tag}"),
            ("where", str(self.path)),
        ]
        return card(self.id, facts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path),)

    @classmethod
    def _from_entry(  # noqa: C901 (one check after another)
        cls, path: Path, entry: dict[str, Any]
    ) -> Bubble:
        distributions = _mapping(path, entry, "distributions")
        # What was copied of main may be modules that no distribution owns.
        copied = "copy" in entry
        if not distributions and not copied:
            _invalid(path, "its manifest names no distribution")
        versions, requires, digests = {}, {}, {}
        for name, facts in distributions.items():
            if not _DISTRIBUTION.fullmatch(name) or not isinstance(facts, dict):
                _invalid(path, f"its manifest names a distribution {name!r}")
            versions[name] = _plain(path, facts, "version")
            digests[name] = _plain(path, facts, "sha256")
            if not _plain(path, facts, "dist_info").endswith(".dist-info"):
                _invalid(path, f"its manifest gives {name} a metadata directory of another kind")
            requires[name] = _strings(path, facts, "requires")
        names = _mapping(path, entry, "import_names")
        import_names = {name: _strings(path, names, name) for name in names}
        for name, owners in import_names.items():
            owned = bool(owners) or copied
            if not _WORD.fullmatch(name) or not owned or not versions.keys() >= set(owners):
                _invalid(path, f"its manifest gives an import name {name!r}")
        scripts = _mapping(path, entry, "scripts")
        for script, target in scripts.items():
            if not _PLAIN.fullmatch(script) or not isinstance(target, str):
                _invalid(path, f"its manifest gives a script {script!r}")
        native = _strings(path, entry, "native_files")
        for file in native:
            outside = file.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", file)
            if outside or "\0" in file:
                _invalid(path, f"its manifest gives a file outside the bubble: {file!r}")
        return cls(
            path=path,
            id=path.name,
            tag=entry["tag"],
            requested=_strings(path, entry, "requested"),
            distributions=_frozen(versions),
            import_names=_frozen(import_names),
            requires=_frozen(requires),
            digests=_frozen(digests),
            native_files=native,
            libraries=_libraries(path, entry),
            scripts_provided=_frozen(scripts),
            builder=_string(path, entry, "builder"),
            created=_string(path, entry, "created"),
            entry=_frozen(entry),
        )


#: One for all bubbles: in a list of thousands most are empty.
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_NO_LIBRARIES = Libraries(_EMPTY, _EMPTY, _EMPTY)


def _frozen(mapping: dict[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(mapping) if mapping else _EMPTY


def _reopen(path: str) -> Bubble:
    return Bubble.open(path)


def _invalid(path: Path, *problems: str) -> NoReturn:
    import shlex

    raise BubbleInvalidError(
        f"the bubble {path.name} cannot be used",
        cause="; ".join(problems),
        tip=f"omnipkg-meta remove {shlex.quote(path.name)}, and install it again",
        path=path,
        problems=problems,
    )


def _check_schema(path: Path, entry: dict[str, Any]) -> None:
    schema, library = entry.get("schema"), entry.get("library")
    if type(schema) is int and schema == SCHEMA:  # True equals 1
        return
    problem = f"its manifest has format {schema!r}, and this library reads format {SCHEMA}"
    if isinstance(library, str):
        problem += f"; it was written by {library[:80]}"
    if type(schema) is not int or schema < SCHEMA:
        _invalid(path, problem)
    raise BubbleFormatError(
        f"the bubble {path.name} was made by a newer version of this library",
        cause=problem,
        tip="pip install -U omnipkg-meta, or use another store",
        path=path,
        problems=(problem,),
        format=schema,
    )


def _check_tag(path: Path, entry: dict[str, Any], expected: str) -> None:
    tag = _string(path, entry, "tag")
    if tag == expected:
        return
    raise BubbleTagError(
        f"the bubble {path.name} is of another interpreter",
        cause=f"it was made for {tag}, and this is {expected}",
        tip="install it again with this interpreter: " + _again(entry),
        path=path,
        problems=(f"it was made for {tag}",),
        tag=tag,
        expected=expected,
    )


def _again(entry: dict[str, Any]) -> str:
    import shlex

    requested = entry.get("requested")
    if not isinstance(requested, list):
        requested = []
    return shlex.join(["omnipkg-meta", "install", *map(str, requested)])


def _mapping(path: Path, entry: dict[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key)
    if not isinstance(value, dict):
        _invalid(path, f"its manifest lacks {key!r}")
    return value


def _libraries(path: Path, entry: dict[str, Any]) -> Libraries | None:
    if "native" not in entry:
        return None
    native = _mapping(path, entry, "native")
    kinds = [_mapping(path, native, kind) for kind in ("private", "public", "untouched")]
    for name in kinds[0]:
        _plain(path, kinds[0], name)
    for kind in kinds[1:]:
        for key in kind:
            _string(path, kind, key)
    return Libraries(*map(_frozen, kinds)) if any(kinds) else _NO_LIBRARIES


def _string(path: Path, entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        _invalid(path, f"its manifest lacks {key!r}")
    return value


def _strings(path: Path, entry: dict[str, Any], key: str) -> tuple[str, ...]:
    value = entry.get(key)
    if not isinstance(value, list) or not _STR.issuperset(map(type, value)):
        _invalid(path, f"its manifest lacks {key!r}")
    return tuple(value)


def _plain(path: Path, entry: dict[str, Any], key: str) -> str:
    value = _string(path, entry, key)
    if not _PLAIN.fullmatch(value):
        _invalid(path, f"its manifest holds a {key} {value!r}")
    return value
