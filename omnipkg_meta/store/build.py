"""Making a bubble: resolve (or take a lock), install, check, describe, put in place in one step.

Owns the order of the steps.  Must not know how uv and pip are told what to do
(builders.py), nor how bubbles are found or loaded.

Until the last step nothing is where ``list`` or ``use`` would look, so a build
that is killed at any moment leaves the store as it was.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from omnipkg_meta import config, requirements
from omnipkg_meta.errors import (
    BubbleFormatError,
    BubbleInvalidError,
    BubbleNotFoundError,
    BuildError,
    OmnipkgMetaError,
    RequirementError,
)
from omnipkg_meta.store import (
    archives,
    builders,
    launchers,
    lease,
    native_files,
    pylock,
    record,
    search,
)
from omnipkg_meta.store.bubble import LOCK, MANIFEST, SCHEMA, SCRIPTS, SITE_PACKAGES, Bubble
from omnipkg_meta.store.bytecode import compiling
from omnipkg_meta.store.failures import unwritable
from omnipkg_meta.store.index import IndexOptions
from omnipkg_meta.store.staging import alone, staging, sweep, sync
from omnipkg_meta.store.store import Store, discard
from omnipkg_meta.store.verify import compare

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from omnipkg_meta.requirements import Asked
    from omnipkg_meta.store.lock import Lock
    from omnipkg_meta.store.verify import Difference

__all__ = ["install"]


def install(
    asked: Sequence[str | Asked] = (),
    *,
    lock: str | os.PathLike[str] | None = None,
    store: Store | None = None,
    builder: str | None = None,
    index_options: Sequence[str] = (),
    allow_build: bool = False,
    reinstall: bool = False,
    upgrade: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Bubble:
    """Return a bubble that was made for these requirements; make it if there is none.

    The index is asked unless the store has a bubble that was made for exactly
    the same requirements.  With a lock nothing is resolved: what it names is
    installed, archive by archive and digest by digest, or nothing at all.

    Args:
        asked: PEP 508 strings, or paths of local wheels.  With a lock, what the bubble is
            for, which the lock has to satisfy; by default what the lock was made for.
        lock: the path of a ``pylock.toml``, or its text.
        store: where the bubble goes; the configured store when not given.
        builder: ``auto``, ``uv`` or ``pip``; as configured when not given.
        index_options: ``--index-url``, ``--extra-index-url``, ``--find-links``,
            ``--no-index`` and ``--pre``, as on a command line.
        allow_build: whether source distributions may be built, which runs their code.
        reinstall: whether to resolve and install afresh even if there is such a bubble.
        upgrade: whether to resolve afresh, and install if that gives another bubble.
        progress: called with what is going on, a few words at a time.

    Raises:
        RequirementError: a requirement is malformed, or none applies to this interpreter.
        LockError: the lock cannot be read, or no bubble may be made of it here.
        ConfigError: an option or a setting cannot be used.
        BuildError: nothing could be resolved, downloaded or installed.
        StoreError: the store cannot be written, or is full.
    """
    say = progress or (lambda _: None)
    locked = None if lock is None else pylock.read(lock, asked, allow_build=allow_build)
    wanted = requirements.parse(asked if locked is None else locked.requested)
    if not wanted:
        raise RequirementError(
            "none of the requirements applies to this interpreter",
            cause="their markers are false here",
            requirement=", ".join(str(one) for one in asked),
        )
    chosen = config.builder() if builder is None else builder
    if chosen not in config.BUILDERS:
        raise ValueError(f"builder must be one of {', '.join(config.BUILDERS)}, and not {chosen!r}")
    options = IndexOptions.read(index_options)
    store = Store() if store is None else store
    if not reinstall and (locked is not None or not upgrade):
        present = store.find_requested(wanted) if locked is None else _present(store, locked)
        if present is not None:
            return present
    tool = builders.choose(chosen, wanted)
    sweep(store.tag_path)
    with staging(store.tag_path) as stage:
        work = stage.path / ".work"
        task = builders.Task(wanted, options, allow_build, work, stage.keep_open)
        try:
            work.mkdir()
            if locked is None:
                say(f"resolving {', '.join(one.text for one in wanted)}")
                locked = tool.resolve(task)
            # Others that build the same wait here, and find it made.
            with alone(store.tag_path, locked.bubble_id):
                if not reinstall and (present := _present(store, locked)) is not None:
                    return present
                _build(store, tool, task, stage.path, resolved=locked, say=say)
                return _put_in_place(store, stage.path, locked, reinstall=reinstall)
        except OmnipkgMetaError:
            raise
        except OSError as error:
            raise unwritable(stage.path, error) from None


def _build(
    store: Store,
    tool: builders.Builder,
    task: builders.Task,
    built: Path,
    *,
    resolved: Lock,
    say: Callable[[str], None],
) -> None:
    archives.check(resolved.packages, [one.text for one in task.asked])
    say(f"installing {_count(len(resolved.packages), 'distribution')}")
    pylock_path, site_packages = built / LOCK, built / SITE_PACKAGES
    pylock_path.write_text(resolved.to_toml(), "utf-8")
    dist_infos, rewritten = _install_checked(task, tool, resolved, pylock_path, site_packages)
    shutil.rmtree(task.directory)

    say("compiling byte code")
    final = store.tag_path / resolved.bubble_id / SITE_PACKAGES
    with compiling(site_packages, final, keep_open=task.keep_open):
        native = native_files.own(site_packages)
        private = native_files.make_private(site_packages, native, resolved.bubble_id)
        rewritten.update(private.rewritten)
        scripts = record.script_targets(site_packages / info for info in dist_infos.values())
        launchers.write(built / SCRIPTS, scripts)
        distributions = _describe(resolved, dist_infos, site_packages)
        import_names = _import_names(dist_infos, site_packages)

    frame = [LOCK]
    if scripts:
        frame += [f"{SCRIPTS}/{path}" for path, _ in record.files(built / SCRIPTS)]
    entry = {
        "schema": SCHEMA,
        "library": f"omnipkg-meta {_own_version()}",
        "id": resolved.bubble_id,
        "tag": store.tag,
        "requested": list(resolved.requested),
        "builder": tool.version,
        "created": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        "distributions": distributions,
        "import_names": import_names,
        "native_files": native,
        # How the loader knows them: the private name of each library's name, the names that
        # could not be made private, and the files that were left alone.
        "native": {
            "private": private.names,
            "public": private.public,
            "untouched": private.untouched,
        },
        "scripts": scripts,
        # The digests of what RECORD is wrong about (by then), and of what it does not cover.
        "rewritten": rewritten,
        "files": {path: record.digest(built / path) for path in frame},
    }
    manifest = built / MANIFEST
    manifest.write_text(json.dumps(entry, indent=1) + "\n", "utf-8")
    for path, mode in ((pylock_path, 0o600), (manifest, 0o600), (site_packages, 0o700)):
        path.chmod(mode)  # whatever the umask: a bubble is its owner's alone
    for path in (pylock_path, manifest, site_packages, built):
        sync(path)


def _install_checked(
    task: builders.Task, tool: builders.Builder, resolved: Lock, pylock: Path, site_packages: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Install, and compare with RECORD.

    Returns:
        The metadata directory of each distribution, and the digests of the files
        that the wheels' own RECORDs are wrong about.
    """
    dist_infos: dict[str, str] = {}
    wrong: list[Difference] = []
    # uv hard-links from its cache: who edits a file of some environment in place edits the cache,
    # and every later installation would be wrong in the same way. The second time goes without it.
    for fresh in (False, True):
        if site_packages.exists():
            shutil.rmtree(site_packages)
        site_packages.mkdir()
        tool.install(task, resolved, pylock, site_packages, fresh=fresh)
        dist_infos = _dist_infos(site_packages, resolved, task.asked)
        wrong = compare(site_packages, list(dist_infos.values()))
        if not wrong:
            return dist_infos, {}
    # The archive's own digest was right, so the wheel was published with a RECORD that is wrong.
    # Installers accept that, so there are such wheels; what they hold is written down instead.
    faults = [one for one in wrong if one.what not in ("was added", "was changed")]
    if faults:
        raise BuildError(
            "what was installed is not what its RECORD says",
            cause="; ".join(map(str, faults[:5])),
            requirements=[one.text for one in task.asked],
            output="\n".join(map(str, wrong)),
        )
    return dist_infos, {one.path: record.digest(site_packages / one.path) for one in wrong}


def _put_in_place(store: Store, built: Path, resolved: Lock, *, reinstall: bool) -> Bubble:
    final = store.tag_path / resolved.bubble_id
    for _ in range(10):
        if not reinstall and (present := _present(store, resolved)) is not None:
            return present  # another process was faster; ours is discarded
        # Under a lease from the first moment in which others see it: nobody takes it away
        # before it was opened.
        with ExitStack() as after, lease.shared(built):
            if final.exists():
                with suppress(BubbleNotFoundError):
                    _present(store, resolved)  # one of a newer library stays
                    # Deleted when the new one is in its place: there is none for a moment only.
                    after.callback(discard, store.set_aside(final.name))
            try:
                built.rename(final)
            except OSError as error:
                if final.exists():
                    reinstall = False
                    continue
                raise unwritable(final, error) from None
            sync(final.parent)
            made = store.open(final.name)
            search.look(store)
            return made
    raise BuildError(
        f"the bubble {final.name} could not be put in place",
        cause="other processes keep making and removing it",
        requirements=(),
        output="",
    )


def _present(store: Store, resolved: Lock) -> Bubble | None:
    """Return the bubble of that lock if it is whole; one that is broken is made anew."""
    try:
        return store.get(resolved.bubble_id)
    except BubbleFormatError:
        raise  # it is not ours to replace
    except BubbleInvalidError:
        return None


def _dist_infos(site_packages: Path, resolved: Lock, wanted: Sequence[Asked]) -> dict[str, str]:
    """Return the metadata directory of each distribution; see that no other is there."""
    found = {}
    for path in site_packages.glob("*.dist-info"):
        found[requirements.normalize(path.name.removesuffix(".dist-info").partition("-")[0])] = (
            path.name
        )
    expected = {one.name for one in resolved.packages}
    if set(found) != expected:
        different = ", ".join(sorted(expected ^ set(found)))
        raise BuildError(
            "what was installed is not what was resolved",
            cause=f"these differ: {different}",
            requirements=[one.text for one in wanted],
            output="",
        )
    return {name: found[name] for name in sorted(found)}


def _describe(resolved: Lock, dist_infos: dict[str, str], site_packages: Path) -> dict[str, Any]:
    from importlib.metadata import PathDistribution

    locked = {one.name: one for one in resolved.packages}
    return {
        name: {
            "version": locked[name].version,
            "dist_info": info,
            "sha256": locked[name].sha256,
            "archive": locked[name].filename,
            "requires": list(PathDistribution(site_packages / info).requires or ()),
        }
        for name, info in dist_infos.items()
    }


def _import_names(dist_infos: dict[str, str], site_packages: Path) -> dict[str, list[str]]:
    return record.import_names(
        {
            name: [line.path for line in record.read(site_packages / info)]
            for name, info in dist_infos.items()
        }
    )


def _own_version() -> str:
    import omnipkg_meta

    return str(getattr(omnipkg_meta, "__version__", "unknown"))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
