"""What was asked for: requirements, read and compared.

Owns the reading of PEP 508 strings and of paths of local wheels, the evaluation
of markers, and the question whether a set of distributions (a bubble's, or
main's) satisfies them.  Must not know what a bubble or a store is.

``packaging`` is imported inside the functions that need it, so that importing
this file costs nothing.
"""

from __future__ import annotations

import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.errors import RequirementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.metadata import Distribution, PackageMetadata

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

__all__ = [
    "Asked",
    "Found",
    "at_sight",
    "demands",
    "metadata_of",
    "name_of",
    "normalize",
    "parse",
    "satisfied",
    "satisfied_by_main",
    "version_key",
]

_WHEEL = re.compile(r"(?P<path>.+\.whl)\s*(?:\[(?P<extras>[^\[\]]*)\])?", re.DOTALL | re.IGNORECASE)

_AT_SIGHT = re.compile(
    r"(?!.*\.whl\Z)(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?: *== *(?P<version>[0-9]+(?:\.[0-9]+)*))?",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """A distribution that is there: its version and its ``Requires-Dist`` lines."""

    version: str
    requires: Sequence[str]


@dataclass(frozen=True)
class Asked:
    """One requirement that applies to this interpreter.

    Attributes:
        text: as it was given.
        name: the normalized name of the distribution.
        extras: the normalized names of the extras.
        specifier: which versions will do.
        canonical: the same for every spelling of the same requirement.
        wheel: the local wheel that was asked for, or None.
        sha256: the digest of that wheel, or None.
    """

    text: str
    name: str
    extras: frozenset[str]
    specifier: SpecifierSet
    canonical: str
    wheel: Path | None = None
    sha256: str | None = None

    def allows(self, version: str) -> bool:
        """Say whether *version* will do; a pre-release that is there counts like any other."""
        return _allows(self.specifier, version)


def parse(texts: Iterable[str | Asked]) -> tuple[Asked, ...]:
    """Read requirements; those whose marker is false for this interpreter are dropped.

    Args:
        texts: PEP 508 strings (``rich==13.5.3``, ``httpx[http2]>=0.27; python_version > "3.8"``),
            paths of local wheels (``./x-1.0-py3-none-any.whl``), or ``name @ file:///...``;
            what was read before passes through.

    Returns:
        What applies here, each once, in the order given.  Empty when no marker is true.

    Raises:
        RequirementError: one is malformed, or nothing was asked.
    """
    if isinstance(texts, str):
        texts = (texts,)
    given = list(texts)
    if not given:
        raise RequirementError(
            "nothing was asked for",
            tip="name a requirement, for example 'rich==13.5.3'",
            requirement="",
        )
    asked: dict[str, Asked] = {}
    for text in given:
        if (one := _parse_one(text)) is not None:
            asked.setdefault(one.canonical, one)
    return tuple(asked.values())


def at_sight(text: str) -> tuple[str, str | None] | None:
    """Read a requirement that is a name, or a name and one version, and applies everywhere.

    To read any other takes ``packaging``, whose import takes longer than all the rest of
    finding a bubble.

    Args:
        text: as for :func:`parse`.

    Returns:
        The normalized name, and the version that is asked for, as it is spelt; None for what
        has to be parsed to know whether it is a requirement at all.
    """
    read = _AT_SIGHT.fullmatch(text)
    return None if read is None else (normalize(read["name"]), read["version"])


def satisfied(asked: Iterable[Asked], find: Callable[[str], Found | None]) -> bool:
    """Say whether the distributions that *find* knows satisfy all that is asked.

    The version must fit, and the dependencies of each extra asked for must be
    there, with the right version, with their own extras.  Dependencies that hold
    without an extra are taken to be there: installers see to that.

    Args:
        asked: the requirements.
        find: gives the distribution of a normalized name, or None.
    """
    pending = list(asked)
    seen: set[tuple[str, str]] = set()
    while pending:
        one = pending.pop()
        found = find(one.name)
        if found is None or not one.allows(found.version):
            return False
        for extra in one.extras:
            if (one.name, extra) not in seen:
                seen.add((one.name, extra))
                pending.extend(_of_extra(found.requires, extra))
    return True


def demands(
    roots: Iterable[tuple[str, str]], find: Callable[[str], Found | None]
) -> Iterator[tuple[str, Asked]]:
    """Yield each requirement that distributions have, with the name of the one that has it.

    Args:
        roots: normalized names of distributions, each with the name of an extra of it, or
            with an empty one for what it needs anyway.  Extras that these need are followed.
        find: gives the distribution of a normalized name, or None.
    """
    pending = list(roots)
    seen: set[tuple[str, str]] = set()
    while pending:
        name, extra = pending.pop()
        found = find(name)
        if found is None or (name, extra) in seen:
            continue
        seen.add((name, extra))
        for one in _of_extra(found.requires, extra):
            yield name, one
            pending.extend((one.name, wanted) for wanted in one.extras)


def metadata_of(distribution: Distribution) -> PackageMetadata | None:
    """Return the metadata of a distribution; None for what is left of a half-removed one."""
    try:
        # It is None there up to Python 3.14, though typeshed knows of no such thing.
        found: PackageMetadata | None = distribution.metadata
    except FileNotFoundError:  # ``importlib.metadata.MetadataNotFound``
        return None
    return found


def satisfied_by_main(
    requirements: Iterable[str | Asked], path: Sequence[str] | None = None
) -> bool:
    """Say whether the main environment satisfies all *requirements*, extras included.

    Args:
        requirements: PEP 508 strings, or what :func:`parse` made of them.
        path: the directories of main; ``sys.path`` when not given.

    Raises:
        RequirementError: one is malformed.
    """
    # The class itself and not ``importlib.metadata.distribution``: that one asks
    # ``sys.meta_path``, where this library's finder answers for the current scope.
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    where = list(sys.path if path is None else path)

    def find(name: str) -> Found | None:
        context = DistributionFinder.Context(name=name, path=where)
        for distribution in MetadataPathFinder.find_distributions(context):
            metadata = metadata_of(distribution)
            if metadata is not None and "Version" in metadata:
                return Found(metadata["Version"], distribution.requires or ())
        return None

    strings = [one for one in requirements if isinstance(one, str)]
    asked = [one for one in requirements if isinstance(one, Asked)]
    if strings:
        asked += parse(strings)
    # A local wheel is more than its name and version: main cannot be known to be made of it.
    return all(one.wheel is None for one in asked) and satisfied(asked, find)


@functools.lru_cache(maxsize=4096)
def normalize(name: str) -> str:
    """Return the normalized form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(canonical: str) -> str:
    """Return the normalized name in the canonical form of a requirement."""
    match = re.match(r"[a-z0-9-]+", canonical)
    return match[0] if match else ""


@functools.lru_cache(maxsize=4096)
def version_key(version: str) -> Version:
    """Return what versions are ordered by; what is no version comes first."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version)
    except InvalidVersion:
        return Version("0.dev0")


def _parse_one(text: object) -> Asked | None:
    if isinstance(text, Asked):
        return text
    if not isinstance(text, str):
        raise _malformed(str(text), f"a requirement is a string, and this is {type(text).__name__}")
    stripped = text.strip()
    if "@" not in stripped and (match := _WHEEL.fullmatch(stripped)):
        try:
            path = Path(match["path"]).expanduser()
        except (RuntimeError, ValueError) as error:  # there is no such user
            raise _malformed(text, str(error)) from None
        return _local_wheel(text, path, frozenset(_split_extras(match["extras"])), None)
    if not stripped:
        raise _malformed(text, "it is empty")
    requirement = _read(stripped)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    extras = frozenset(normalize(extra) for extra in requirement.extras)
    name = normalize(requirement.name)
    if requirement.url is not None:
        return _local_wheel(text, _path_of(text, requirement.url), extras, name)
    return _asked(text, name, extras, requirement.specifier)


@functools.lru_cache(maxsize=16384)
def _allows(specifier: SpecifierSet, version: str) -> bool:
    from packaging.version import InvalidVersion

    try:
        return specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise _malformed(text, *_explain(text, str(error))) from None
    # packaging lets a name end with a dash or a dot; PEP 508 and the indexes do not.
    for name in (requirement.name, *requirement.extras):
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name):
            raise _malformed(text, f"{name!r} is not a name")
    if requirement.url is None:
        # PEP 440 gives ``===`` any string at all; on a command line it could not be told apart.
        for specifier in requirement.specifier:
            if specifier.operator == "===" and not re.fullmatch(
                r"[A-Za-z0-9.+!_*-]+", specifier.version
            ):
                raise _malformed(text, "the version holds characters that no version has")
    return requirement


def _explain(text: str, reason: str) -> tuple[str, str | None]:
    """Turn packaging's reason into one line and, where a slip is likely, a tip."""
    if "://" in text.partition("@")[0] or re.match(r"[A-Za-z+]+://", text):
        return "an address is not a requirement", "give the name of a distribution"
    if re.match(r"[^\s@;\[<>=!~]*[/\\]", text) or text.startswith((".", "~")):
        return (
            "a name cannot hold a path",
            "name a distribution, or a wheel: './name-1.0-py3-none-any.whl'",
        )
    if match := re.fullmatch(r"([A-Za-z0-9._-]+(?:\[[^\]]*\])?)\s*=\s*([^=\s][^\s]*)", text):
        return "one '=' is not an operator", f"did you mean '{match[1]}=={match[2]}'?"
    return reason.splitlines()[0].rstrip(": "), None


def _path_of(text: str, url: str) -> Path:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        parts = urlsplit(url)
    except ValueError as error:  # brackets that are no IPv6 address
        raise _malformed(text, str(error)) from None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise _malformed(
            text,
            "a bubble is made from an index or from wheels on this machine, not from an address",
            "download the wheel and give its path",
        )
    return Path(url2pathname(parts.path))


def _local_wheel(text: str, path: Path, extras: frozenset[str], name: str | None) -> Asked:
    from packaging.specifiers import SpecifierSet
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    if path.suffix.lower() != ".whl":
        raise _malformed(text, "only wheels can be installed from a path", "build a wheel first")
    try:
        in_name, version, _, _ = parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        raise _malformed(text, f"{path.name} is not the name of a wheel") from None
    if name is not None and name != in_name:
        raise _malformed(text, f"the wheel holds {in_name}, not {name}")
    try:
        path = path.resolve(strict=True)
        with path.open("rb") as file:
            digest = _sha256(file.read)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise _malformed(text, f"the wheel cannot be read: {reason}") from None
    return _asked(
        text, normalize(in_name), extras, SpecifierSet(f"=={version}"), wheel=path, sha256=digest
    )


def _asked(
    text: str,
    name: str,
    extras: frozenset[str],
    specifier: SpecifierSet,
    *,
    wheel: Path | None = None,
    sha256: str | None = None,
) -> Asked:
    head = name + (f"[{','.join(sorted(extras))}]" if extras else "")
    if wheel is not None:
        canonical = f"{head} @ {wheel.as_uri()}#sha256={sha256}"
    else:
        canonical = head + str(specifier)
    return Asked(text, name, extras, specifier, canonical, wheel, sha256)


def _of_extra(requires: Sequence[str], extra: str) -> list[Asked]:
    """Return what holds for an extra only; for none (an empty name), what holds anyway."""
    wanted = []
    for text in requires:
        try:
            requirement = _read(text)
        except RequirementError:  # an old distribution's slip is not the caller's
            continue
        marker = requirement.marker
        anyway = marker is None or marker.evaluate({"extra": ""})
        if not (
            anyway if not extra else marker and not anyway and marker.evaluate({"extra": extra})
        ):
            continue
        extras = frozenset(normalize(name) for name in requirement.extras)
        wanted.append(_asked(text, normalize(requirement.name), extras, requirement.specifier))
    return wanted


def _split_extras(text: str | None) -> list[str]:
    return [normalize(part.strip()) for part in (text or "").split(",") if part.strip()]


def _sha256(read: Callable[[int], bytes]) -> str:
    import hashlib

    digest = hashlib.sha256()
    while chunk := read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _without_password(text: str) -> str:
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)


def _malformed(text: str, cause: str, tip: str | None = None) -> RequirementError:
    text = _without_password(text)
    return RequirementError(
        f"not a requirement that a bubble can hold: {text!r}",
        cause=cause,
        tip=tip,
        requirement=text,
    )
