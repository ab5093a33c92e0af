"""What happens to a bubble in the hidden directory that it is built in.

Owns the order of what is done to the files, and the manifest.  Must not know where the
bubble goes in the end but by its path, nor who else builds it.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta import requirements
from omnipkg_meta.errors import BuildError
from omnipkg_meta.store import archives, launchers, record
from omnipkg_meta.store.bubble import LOCK, MANIFEST, SCHEMA, SCRIPTS, SITE_PACKAGES
from omnipkg_meta.store.bytecode import compiling
from omnipkg_meta.store.staging import sync
from omnipkg_meta.store.verify import compare, digesting, expected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from omnipkg_meta.requirements import Asked
    from omnipkg_meta.store import builders
    from omnipkg_meta.store.lock import Lock
    from omnipkg_meta.store.record import Recorded
    from omnipkg_meta.store.tasks import Task
    from omnipkg_meta.store.verify import Difference

__all__ = ["fill"]


class _Installed(NamedTuple):
    """What was installed.

    Attributes:
        dist_infos: the metadata directory of each distribution.
        lines: what the RECORD of each says.
        native: the native files, each with an inode of its own.
        names: how the loader knows them, as the manifest has it.
        rewritten: the digests of those that were changed, and of the links that were made.
    """

    dist_infos: dict[str, str]
    lines: dict[str, list[Recorded]]
    native: list[str]
    names: dict[str, dict[str, str]]
    rewritten: dict[str, str]


def fill(
    built: Path,
    final: Path,
    tool: builders.Builder,
    task: Task,
    resolved: Lock,
    *,
    compile_bytecode: bool,
    say: Callable[[str], None],
) -> None:
    """Install what was resolved into a new directory, and make it a bubble.

    Args:
        built: the directory, which is made.
        final: where it will be.
        tool: who installs.
        task: what was asked of it.
        resolved: what is installed.
        compile_bytecode: whether to compile all sources.
        say: called with what is going on, a few words at a time.

    Raises:
        BuildError: something cannot be installed, or is not what it says.
        OSError: a file cannot be written.
    """
    archives.check(resolved.packages, [one.text for one in task.asked])
    count = len(resolved.packages)
    say(f"installing {count} distribution" + ("" if count == 1 else "s"))
    built.mkdir(mode=0o700)
    pylock_path, site_packages = built / LOCK, built / SITE_PACKAGES
    pylock_path.write_text(resolved.to_toml(), "utf-8")
    installed, rewritten = _install(task, tool, resolved, pylock_path, site_packages)
    dist_infos = installed.dist_infos

    if compile_bytecode:
        say("compiling byte code")
    with ExitStack() as beside:
        if compile_bytecode:
            there = final / SITE_PACKAGES
            beside.enter_context(compiling(site_packages, there, keep_open=task.keep_open))
        scripts = record.script_targets(site_packages / info for info in dist_infos.values())
        launchers.write(built / SCRIPTS, scripts)
        distributions = _describe(resolved, dist_infos, site_packages)
        import_names = record.import_names(
            {name: [line.path for line in lines] for name, lines in installed.lines.items()}
        )

    frame = [LOCK]
    if scripts:
        frame += [f"{SCRIPTS}/{path}" for path, _ in record.files(built / SCRIPTS)]
    entry = {
        "schema": SCHEMA,
        "library": f"omnipkg-meta {_own_version()}",
        "id": resolved.bubble_id,
        "tag": final.parent.name,
        "requested": list(resolved.requested),
        "builder": tool.version,
        "created": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        "distributions": distributions,
        "import_names": import_names,
        "native_files": installed.native,
        # How the loader knows them: the private name of each library's name, the names that
        # could not be made private, and the files that were left alone.
        "native": installed.names,
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


def _install(
    task: Task, tool: builders.Builder, resolved: Lock, pylock: Path, site_packages: Path
) -> tuple[_Installed, dict[str, str]]:
    """Install, and compare all with RECORD.

    Returns:
        What was installed, and the digests of the files that RECORD is wrong about by now.
    """
    installed, wrong = _install_once(task, tool, resolved, pylock, site_packages, fresh=False)
    if wrong:
        # uv hard-links from its cache: who edits a file of some environment in place edits the
        # cache, and every later installation would be wrong in the same way. So once without it.
        shutil.rmtree(site_packages)
        installed, wrong = _install_once(task, tool, resolved, pylock, site_packages, fresh=True)
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
    rewritten = {one.path: record.digest(site_packages / one.path) for one in wrong}
    return installed, {**rewritten, **installed.rewritten}


def _install_once(
    task: Task,
    tool: builders.Builder,
    resolved: Lock,
    pylock: Path,
    site_packages: Path,
    *,
    fresh: bool,
) -> tuple[_Installed, list[Difference]]:
    site_packages.mkdir()
    tool.install(task, resolved, pylock, site_packages, fresh=fresh)
    dist_infos = _dist_infos(site_packages, resolved, task.asked)
    present = dict(record.files(site_packages))
    recorded = expected(site_packages, dist_infos.values())
    native = record.natives(present)
    names: dict[str, dict[str, str]] = {"private": {}, "public": {}, "untouched": {}}
    known: dict[str, str | None] = {}
    rewritten: dict[str, str] = {}
    with digesting(
        site_packages, recorded, present, known=native, keep_open=task.keep_open
    ) as apart:
        if native:
            from omnipkg_meta.store import native_files

            digests = native_files.own(native, recorded.digests)
            known = {path: digest.word() for path, digest in digests.items()}
            # Before the comparison, since helpers are still at it: what it finds wrong is thrown
            # away, with what was done to it. The digests are those of the files as they came.
            private = native_files.make_private(site_packages, digests, resolved.bubble_id)
            names = {
                "private": private.names,
                "public": private.public,
                "untouched": private.untouched,
            }
            rewritten = private.rewritten
        wrong = compare(site_packages, recorded, present=present, apart=apart, known=known)
    lines = {name: recorded.lines.get(info, []) for name, info in dist_infos.items()}
    return _Installed(dist_infos, lines, list(native), names, rewritten), wrong


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
    locked = {one.name: one for one in resolved.packages}
    return {
        name: {
            "version": locked[name].version,
            "dist_info": info,
            "sha256": locked[name].sha256,
            "archive": locked[name].filename,
            "requires": record.requires(site_packages / info),
        }
        for name, info in dist_infos.items()
    }


def _own_version() -> str:
    import omnipkg_meta

    return str(getattr(omnipkg_meta, "__version__", "unknown"))
