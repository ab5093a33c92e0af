"""What is installed in main: its distributions, as their metadata directories describe them.

Owns the reading of one distribution of main.  It reads the file system only: it
must not ask ``importlib.metadata`` for what is visible, since that depends on who
asks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from omnipkg_meta import declared
from omnipkg_meta.path_entries import main_path
from omnipkg_meta.realm import normalize
from omnipkg_meta.requirements import Found, demands, metadata_of
from omnipkg_meta.store import record

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from omnipkg_meta.requirements import Asked

__all__ = ["Installed", "find", "in_place", "owners", "requirements"]


@dataclass(frozen=True)
class Installed:
    """A distribution of main.

    Attributes:
        name: normalized.
        version: as its metadata has it.
        requires: its ``Requires-Dist`` lines.
        import_names: the top-level names that it provides.
        site: the directory that it was installed into.
        information: its metadata directory.
        files: what RECORD lists inside of ``site``; none where there is no RECORD.
        editable: whether its code is somebody's working directory (PEP 660).
    """

    name: str
    version: str
    requires: tuple[str, ...]
    import_names: frozenset[str]
    site: Path
    information: Path
    files: tuple[str, ...]
    editable: bool


def find(name: str) -> Installed | None:
    """Return the distribution of main with that name, in any spelling; None where there is none."""
    # The class itself and not ``importlib.metadata.distribution``: that one asks
    # ``sys.meta_path``, where this library's finder answers for the current scope.
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    context = DistributionFinder.Context(name=name, path=main_path())
    for found in MetadataPathFinder.find_distributions(context):
        # Some are in an archive, from which nothing is taken.
        metadata = metadata_of(found)
        information = getattr(found, "_path", None)
        if metadata is not None and "Version" in metadata and isinstance(information, Path):
            return _read(normalize(name), found, information)
    return None


def owners(top: str) -> list[Installed]:
    """Return the distributions of main that provide a top-level import name."""
    names = sorted(declared.owners_in_main(top, tuple(main_path())))
    return [one for one in map(find, names) if one is not None]


def in_place(root: Path) -> list[Installed]:
    """Return the distributions of main whose code is a working directory, at *root* or below."""
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    found = MetadataPathFinder.find_distributions(DistributionFinder.Context(path=main_path()))
    directories = {
        str(metadata["Name"]): _working_directory(one.read_text("direct_url.json"))
        for one in found
        if (metadata := metadata_of(one)) is not None
    }
    names = [
        name
        for name, directory in directories.items()
        if directory and directory.is_relative_to(root)
    ]
    return [one for one in map(find, names) if one is not None]


def requirements(one: Installed) -> list[Asked]:
    """Return what a distribution of main requires, without its extras."""

    def known(name: str) -> Found | None:
        return Found(one.version, one.requires) if name == one.name else None

    return [wanted for _, wanted in demands([(one.name, "")], known)]


def _read(name: str, found: Distribution, information: Path) -> Installed:
    try:
        lines = [line.path for line in record.read(information)]
    except (OSError, ValueError):
        lines = []
    files = tuple(one for one in lines if not one.startswith(("/", "..")))
    names = set(record.import_names({name: files}))
    names.update((found.read_text("top_level.txt") or "").split())
    return Installed(
        name=name,
        version=found.version,
        requires=tuple(found.requires or ()),
        # An editable one installs a finder, or a path, in the place of its code.
        import_names=frozenset(one for one in names if not one.startswith("__editable__")),
        site=information.parent,
        information=information,
        files=files,
        editable=_working_directory(found.read_text("direct_url.json")) is not None,
    )


def _working_directory(text: str | None) -> Path | None:
    """Return the directory of code that is edited in place, as ``direct_url.json`` has it."""
    try:
        told = json.loads(text or "{}")
        if told.get("dir_info", {}).get("editable"):
            return Path(url2pathname(urlsplit(told["url"]).path))
    except (ValueError, AttributeError, KeyError, TypeError):
        pass  # a direct_url.json that is not of PEP 610's form says nothing
    return None
