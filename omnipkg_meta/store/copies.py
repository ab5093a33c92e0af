"""Copies: the files of a bubble, or of main's packages, for a realm that cannot use these.

A bubble that is entered on other terms (it shares a name with main, or is
hermetic) is another realm, whose modules are bound to other things.  What is
native cannot be loaded twice from one file, nor under one name
(native_files.py).  And a file says to which realm code belongs: tracebacks, the
C stack and byte code know nothing else.  So each such realm has files of its own:
a copy of the bubble, without what it shares; and for main's distributions that
are adopted with native code, a copy of these.

A copy is a directory like a bubble, with a manifest of the same form.  It is
immutable, made once, put in place in one step, and belongs to its bubble:
``<store>/<tag>/.copies/<id of the bubble>/<what it is>-<digest>``.  What is not
native shares its inode with the bubble's where the file system can do that.

This file must not know what the terms mean, nor how a realm uses a copy.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import mmap
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnipkg_meta.errors import BubbleInvalidError, StoreError, TermsError
from omnipkg_meta.store import elf, native_files, record
from omnipkg_meta.store.bubble import COPIES, LINK, MANIFEST, SCHEMA, SITE_PACKAGES, Bubble
from omnipkg_meta.store.bytecode import is_byte_code, is_unfinished
from omnipkg_meta.store.staging import alone, staging, sync
from omnipkg_meta.store.store import Store
from omnipkg_meta.store.trash import TRASH, discard
from omnipkg_meta.store.writing import unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from omnipkg_meta.installed import Installed

__all__ = ["of_bubble", "of_main"]

#: The version of the way in which copies are made; another one makes other copies.
_FORMAT = 1


def of_bubble(bubble: Bubble, without: Collection[str], terms: Sequence[str]) -> Bubble:
    """Return a copy of a bubble, the same one for the same terms; make it if there is none.

    Args:
        bubble: the bubble.
        without: the distributions that are left out.
        terms: what the copy is for, as people write it.

    Raises:
        StoreError: it cannot be written.
        TermsError: a library cannot do without what is left out.
    """
    fill = functools.partial(_fill_from_bubble, bubble, frozenset(without))
    return _copy(bubble, [bubble.created, *sorted(without), *terms], fill, terms)


def of_main(
    bubble: Bubble,
    beside: Bubble,
    distributions: Iterable[Installed],
    modules: Mapping[str, Path],
    terms: Sequence[str],
) -> Bubble:
    """Return a copy of main's packages as they are, for one bubble; make it if there is none.

    Args:
        bubble: the bubble that it belongs to.
        beside: the files that the bubble's realm loads.
        distributions: main's distributions that are copied whole.
        modules: further modules and packages by their names, each with its file or directory.
        terms: what the copy is for, as people write it.

    Raises:
        StoreError: it cannot be written.
        TermsError: a library of main cannot be made to use the bubble's.
    """
    sources: dict[str, Path] = {}
    for one in distributions:
        sources.update({path: one.site / path for path in one.files})
    for name, place in modules.items():
        if place.is_dir():  # which may be called otherwise, where a finder maps names
            sources.update({f"{name}/{path}": place / path for path, _ in record.files(place)})
        else:
            sources[place.name] = place
    sources = {path: place for path, place in sorted(sources.items()) if place.is_file()}
    facts = [f"{path} {_identity(place)}" for path, place in sources.items()]

    wanted = _OfMain(bubble, beside, tuple(distributions), tuple(modules), sources)
    fill = functools.partial(_fill_from_main, wanted)
    made_of = [bubble.created, beside.id, *facts]
    return _copy(bubble, made_of, fill, terms)


# -- making and finding -----------------------------------------------------------


def _copy(
    bubble: Bubble,
    facts: Sequence[str],
    fill: Callable[[Path, str], dict[str, Any]],
    terms: Sequence[str],
) -> Bubble:
    """Return the copy of that name; make it if there is none that is whole."""
    text = "\n".join([f"copy {_FORMAT}", str(bubble.path), *facts])
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    name = f"{'-'.join(_words(terms))[:80]}-{digest[:12]}"
    places = list(dict.fromkeys((_beside(bubble), Store(tag=bubble.tag).tag_path)))
    for tag_path in places:
        if (present := _whole(tag_path / COPIES / bubble.id / name, bubble)) is not None:
            return present
    for tag_path in places:
        try:
            return _make(bubble, tag_path, name, fill, terms)
        except StoreError:  # noqa: PERF203  # a store that is not ours to write
            if tag_path == places[-1]:
                raise
    raise AssertionError(places)


def _beside(bubble: Bubble) -> Path:
    """Return the directory of bubbles that a bubble is in; the configured one if it is in none."""
    own = type(bubble) is Bubble and bubble.path.parent.name == bubble.tag
    return bubble.path.parent if own else Store(tag=bubble.tag).tag_path


def _make(
    bubble: Bubble,
    tag_path: Path,
    name: str,
    fill: Callable[[Path, str], dict[str, Any]],
    terms: Sequence[str],
) -> Bubble:
    final = tag_path / COPIES / bubble.id / name
    with staging(tag_path) as stage:
        try:
            with alone(tag_path, name):
                if (present := _whole(final, bubble)) is not None:
                    return present  # somebody else was faster
                _fill_stage(stage.path, bubble, name, fill, terms)
                return _put_in_place(stage.path, final, bubble)
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise unwritable(stage.path, error) from None


def _fill_stage(
    stage: Path,
    bubble: Bubble,
    name: str,
    fill: Callable[[Path, str], dict[str, Any]],
    terms: Sequence[str],
) -> None:
    site_packages, manifest = stage / SITE_PACKAGES, stage / MANIFEST
    site_packages.mkdir()
    entry = {
        "schema": SCHEMA,
        "library": "omnipkg-meta",
        "id": name,
        "tag": bubble.tag,
        "requested": list(bubble.requested),
        "builder": bubble.builder or "a copy",
        "created": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        "scripts": {},
        "files": {},
        "copy": {"of": str(bubble.path), "created": bubble.created, "terms": list(terms)},
        **fill(site_packages, f"{bubble.id}/{name}"),
    }
    manifest.write_text(json.dumps(entry, indent=1) + "\n", "utf-8")
    for path in (manifest, site_packages, stage):
        sync(path)


def _put_in_place(made: Path, final: Path, bubble: Bubble) -> Bubble:
    for directory in (final.parent.parent, final.parent):
        directory.mkdir(mode=0o700, exist_ok=True)
    while True:
        try:
            made.rename(final)
        except OSError:
            if not final.exists():
                raise
        else:
            sync(final.parent)
            return Bubble.open(final, tag=bubble.tag)
        # Where locks do not work somebody else may have been faster after all.
        if (present := _whole(final, bubble)) is not None:
            return present
        with suppress(FileNotFoundError):
            trash = final.parent.parent.parent / f"{TRASH}{os.urandom(8).hex()}"
            final.rename(trash)  # what is broken is made anew
            discard(trash)


def _whole(final: Path, bubble: Bubble) -> Bubble | None:
    """Return the copy that is there, if it is whole."""
    if not final.is_dir():
        return None
    try:
        return Bubble.open(final, tag=bubble.tag)
    except BubbleInvalidError:
        return None


# -- filling ----------------------------------------------------------------------


def _fill_from_bubble(
    bubble: Bubble, without: frozenset[str], site_packages: Path, seed: str
) -> dict[str, Any]:
    """Fill a directory with what stays of a bubble; return the entries of its manifest."""
    kept = {
        name: bubble.dist_info(name).name for name in bubble.distributions if name not in without
    }
    recorded = {name: _recorded(bubble, name) for name in bubble.distributions}
    staying = {path for name in kept for path in recorded[name]}
    dropped = {path for name in without for path in recorded.get(name, ())} - staying
    changed = {path: str(one) for path, one in dict(bubble.entry.get("rewritten", {})).items()}
    for path, entry in record.files(bubble.site_packages):
        # The links of private names are made anew, under other names.
        made = changed.get(path, "").startswith(LINK)
        if not (made or path in dropped or is_byte_code(path, dropped) or is_unfinished(path)):
            _bring(Path(entry.path), site_packages / path, link=True)
    native = list(native_files.own(record.natives(dict(record.files(site_packages)))))
    names = {} if bubble.libraries is None else bubble.libraries.private
    for path in native:
        _make_public(site_packages / path, names)
    private = native_files.make_private(site_packages, native, seed)
    _check_left(site_packages, native, names, bubble)
    rewritten = {
        path: record.digest(site_packages / path)
        for path, one in changed.items()
        if not one.startswith(LINK) and (site_packages / path).exists()
    }
    return {
        "distributions": {
            name: {
                "version": bubble.distributions[name],
                "dist_info": info,
                "sha256": bubble.digests.get(name, "unknown"),
                "requires": list(bubble.requires[name]),
            }
            for name, info in kept.items()
        },
        "import_names": {
            name: [one for one in by if one in kept]
            for name, by in bubble.import_names.items()
            if not by or not kept.keys().isdisjoint(by)
        },
        **_described(native, private, names),
        "rewritten": {**rewritten, **private.rewritten},
    }


@dataclass(frozen=True)
class _OfMain:
    """What of main is copied.

    Attributes:
        bubble: the bubble that it is for.
        beside: the files that the bubble's realm loads.
        distributions: distributions, copied whole.
        modules: names of further modules and packages.
        sources: each file that is copied, by its path in the copy.
    """

    bubble: Bubble
    beside: Bubble
    distributions: tuple[Installed, ...]
    modules: tuple[str, ...]
    sources: Mapping[str, Path]


def _fill_from_main(wanted: _OfMain, site_packages: Path, seed: str) -> dict[str, Any]:
    """Fill a directory with packages of main; return the entries of its manifest."""
    sources, distributions = wanted.sources, wanted.distributions
    for path, place in sources.items():
        _bring(place, site_packages / path, link=False)
    infos = {one.name: one.information.name for one in distributions}
    for one in distributions:
        _write_record(site_packages / one.information.name, sources.keys())
    native = list(native_files.own(record.natives(dict(record.files(site_packages)))))
    private = native_files.make_private(site_packages, native, seed)
    others = {} if wanted.beside.libraries is None else wanted.beside.libraries.private
    rewritten = dict(private.rewritten)
    for path in native:
        if _bind(site_packages, path, others, wanted.bubble):
            rewritten[path] = record.digest(site_packages / path)
    recorded = {line.path for info in infos.values() for line in record.read(site_packages / info)}
    for path in sources.keys() - recorded - rewritten.keys():
        rewritten[path] = record.digest(site_packages / path)
    names = record.import_names(
        {one.name: [path for path in one.files if path in sources] for one in distributions}
    )
    return {
        "distributions": {
            one.name: {
                "version": one.version,
                "dist_info": infos[one.name],
                "sha256": "unknown",
                "requires": list(one.requires),
            }
            for one in distributions
        },
        "import_names": {**dict.fromkeys(wanted.modules, ()), **names},
        **_described(native, private, {}),
        "rewritten": rewritten,
    }


def _recorded(bubble: Bubble, name: str) -> list[str]:
    try:
        return [line.path for line in record.read(bubble.dist_info(name))]
    except (OSError, ValueError):
        return []


def _bring(source: Path, target: Path, *, link: bool) -> None:
    """Bring a file, with its times: byte code is known to be of a source by its time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink() and source.readlink().name == os.fspath(source.readlink()):
        target.symlink_to(source.readlink())  # to its neighbour; any other would lead outside
        return
    if link:
        with suppress(OSError):  # another file system, or one without links
            os.link(source, target)
            return
    with suppress(FileNotFoundError):  # byte code that another process has just replaced
        shutil.copy2(source, target)


def _identity(place: Path) -> str:
    """Return what changes when a file does, without reading it."""
    status = place.stat()
    return f"{status.st_size} {status.st_mtime_ns} {place}"


def _write_record(information: Path, present: Collection[str]) -> None:
    """Leave out of a RECORD what was not copied: scripts, and what is gone."""
    lines = [line for line in record.read(information) if line.path in present]
    with (information / "RECORD").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows((*line, "") for line in lines)


def _described(
    native: Sequence[str], private: native_files.Private, before: Mapping[str, str]
) -> dict[str, Any]:
    """Return the entries about native files.

    Args:
        native: the native files.
        private: what became of the names of libraries.
        before: the private name of each in the bubble, which could not be given back to all.
    """
    again = {old: private.names[new] for old, new in before.items() if new in private.names}
    return {
        "native_files": list(native),
        "native": {
            "private": {**private.names, **again},
            "public": private.public,
            "untouched": private.untouched,
        },
    }


# -- names of libraries -----------------------------------------------------------


def _make_public(path: Path, private: Mapping[str, str]) -> None:
    """Give names back that were replaced where they stood when the bubble was built.

    They stand between two zero bytes, hold a digest, and are nothing else's.
    """
    pairs = [
        (os.fsencode(new) + b"\0", os.fsencode(old) + b"\0")
        for old, new in private.items()
        if len(os.fsencode(old)) == len(os.fsencode(new))
    ]
    mode = stat.S_IMODE(path.stat().st_mode)
    if not pairs or not path.stat().st_size:
        return
    path.chmod(mode | stat.S_IWUSR)
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
            for new, old in pairs:
                at = data.find(new)
                while at >= 0:
                    data[at : at + len(old)] = old
                    at = data.find(new, at + len(old))
    finally:
        path.chmod(mode)


def _check_left(
    site_packages: Path, native: Iterable[str], private: Mapping[str, str], bubble: Bubble
) -> None:
    """See that no library needs one by a private name that nothing in the copy has any more.

    Raises:
        TermsError: one does: its name could not be replaced where it stood.
    """
    present = {os.path.basename(path) for path, _ in record.files(site_packages)}  # noqa: PTH119
    grown = {new for old, new in private.items() if len(old) != len(new)}
    for path in native if grown else ():
        with suppress(elf.ElfError):
            soname, needed = elf.names(site_packages / path)
            if lost := sorted((grown & set(needed)) - present - {soname}):
                raise TermsError(
                    f"{bubble!r} cannot share what brings along {lost[0]}.",
                    cause=f"{path} needs it under that name, and there is no room for another one",
                    requirement=path,
                )


def _bind(site_packages: Path, path: str, private: Mapping[str, str], bubble: Bubble) -> bool:
    """Have a library use those of the bubble, which it would find by their public names in main.

    Returns:
        Whether it was changed.

    Raises:
        TermsError: a name cannot be replaced where it stands.
    """
    file = site_packages / path
    try:
        found = elf.read(file)
    except elf.ElfError:
        return False
    names = {
        old: private[old]
        for old in {*found.needed, *found.opened} & private.keys()
        if not native_files._on_system(old)
    }
    for old, new in names.items():
        if len(os.fsencode(old)) != len(os.fsencode(new)) or old in found.shared:
            raise TermsError(
                f"{bubble!r} cannot adopt {path}.",
                cause=f"it needs {old}, which the bubble has as {new}, "
                "and has no room for that name",
                requirement=path,
            )
    if names:
        elf.rewrite(file, found, names)
    return bool(names)


def _words(terms: Sequence[str]) -> list[str]:
    """Return what terms say in characters that a file name may have."""
    text = "".join(one if one.isalnum() or one in "._" else " " for one in " ".join(terms))
    return text.split()
