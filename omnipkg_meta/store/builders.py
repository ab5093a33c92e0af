"""uv and pip, made to do the same two things: resolve, and install exactly that.

Owns every command line of the two tools.
Must not know what a bubble is, or where it will be in the end.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from omnipkg_meta.errors import BuildError
from omnipkg_meta.store.tasks import Resolution, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from omnipkg_meta.requirements import Asked
    from omnipkg_meta.store.lock import Lock
    from omnipkg_meta.store.staging import Staging

__all__ = ["Begun", "Builder", "Resolving", "Uv", "choose", "find_uv", "resolving", "uv_version"]

# The first uv that reads and writes ``pylock.toml``.
_FIRST_UV = (0, 7)


class Builder(Protocol):
    """What the store asks of uv and of pip alike."""

    @property
    def version(self) -> str:
        """Name and version, for example ``uv 0.9.1``."""

    def resolving(self, task: Task) -> AbstractContextManager[Resolution]:
        """Choose a version of everything that is needed, beside the block; install nothing."""

    def guessing(self, task: Task) -> AbstractContextManager[Resolution | None]:
        """Choose, beside the block, by what the index said last; None where that is not kept."""

    def install(
        self, task: Task, resolved: Lock, pylock: Path, target: Path, *, fresh: bool
    ) -> None:
        """Install exactly what was resolved into the directory *target*, hash by hash.

        With *fresh*, without whatever the tool keeps in its cache.
        """


class Uv(NamedTuple):
    """The builder of choice: fast, and right about RECORD."""

    executable: str
    version: str

    @contextmanager
    def resolving(self, task: Task) -> Iterator[Resolution]:
        """Choose a version of everything that is needed, beside the block; install nothing."""
        with self._asking(task, list(map(_line, task.asked))) as resolution:
            yield resolution

    @contextmanager
    def beginning(self, task: Task, lines: Sequence[str], stage: Staging) -> Iterator[Begun]:
        """Begin to resolve and to guess, for who has no more yet than the lines of a file.

        Args:
            task: what uv is told, but for what is asked.
            lines: what is asked, a requirement each.
            stage: where it is done.
        """
        with self.going_on(task, lines) as going_on:
            yield Begun(self, going_on, task, stage)

    @contextmanager
    def going_on(self, task: Task, lines: Sequence[str] | None = None) -> Iterator[Resolving]:
        """Resolve and guess, both beside the block.

        Args:
            task: what is to be done.
            lines: what is asked, where that is not in the task yet.
        """
        lines = [_line(one) for one in task.asked] if lines is None else lines
        with self._asking(task, lines) as resolution, self._guessing(task, lines) as guess:
            yield Resolving(self, resolution, guess)

    @contextmanager
    def _asking(self, task: Task, lines: Sequence[str]) -> Iterator[Resolution]:
        given = task.directory / "requirements.in"
        resolved = task.directory / "pylock.resolved.toml"
        given.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        command = [
            *(self.executable, "pip", "compile", str(given), "--quiet", "--format", "pylock.toml"),
            *("--output-file", str(resolved), "--no-header", "--no-annotate"),
            *self._common(task),
        ]
        command += ["--prerelease", "allow"] if task.sources.pre else []
        with task.running(command) as run:
            yield Resolution(run, functools.partial(self._read, resolved))

    @contextmanager
    def guessing(self, task: Task) -> Iterator[Resolution | None]:
        """Choose, beside the block, by what the index said last; None where that is not kept."""
        with self._guessing(task, list(map(_line, task.asked))) as guess:
            yield guess

    @contextmanager
    def _guessing(self, task: Task, lines: Sequence[str]) -> Iterator[Resolution | None]:
        if task.sources.no_index:
            yield None  # nobody is waited for
            return
        offline = task._replace(directory=task.directory / "guess", offline=True)
        offline.directory.mkdir()
        with self._asking(offline, lines) as guess:
            yield guess

    def _read(self, resolved: Path, asked: tuple[Asked, ...]) -> Lock:
        from omnipkg_meta.store import lock

        try:
            data = lock.read_toml(resolved.read_text("utf-8"))
        except ImportError:
            raise BuildError(
                "the lock that uv made cannot be read",
                cause="before Python 3.11 that needs the package tomli",
                tip="pip install tomli, or choose --builder pip",
                requirements=[one.text for one in asked],
                output="",
            ) from None
        return lock.read_uv(data, asked, Path.cwd())

    def install(
        self, task: Task, resolved: Lock, pylock: Path, target: Path, *, fresh: bool
    ) -> None:
        """Install exactly what was resolved into the directory *target*, hash by hash.

        With *fresh*, without whatever the tool keeps in its cache.
        """
        del resolved  # the lock file says it all
        command = [
            *(self.executable, "pip", "install", "--quiet", "--no-deps", "--target", str(target)),
            *("--requirements", str(pylock), *self._common(task)),
        ]
        # A file of uv's settings may say that everything be a link into the cache.
        task.run([*command, "--no-cache", "--link-mode", "copy"] if fresh else command)
        # uv's own lock on the target.
        (target / ".lock").unlink(missing_ok=True)

    def _common(self, task: Task) -> list[str]:
        # A bubble is the same whatever directory it was built from, so uv's settings are the
        # user's and the system's, and not those of a project that happens to be around.
        words = [
            "--project",
            str(task.directory),
            "--python",
            sys.executable,
            "--no-python-downloads",
        ]
        words += task.sources.arguments()
        words += ["--offline"] if task.offline else []
        return words if task.allow_build else [*words, "--only-binary", ":all:"]


class Begun(NamedTuple):
    """A question that uv puts to the index since before all else was known.

    Attributes:
        uv: who was asked.
        going_on: what goes on.
        task: what it was told, but for what was asked.
        stage: the directory for it.
    """

    uv: Uv
    going_on: Resolving
    task: Task
    stage: Staging


class Pip(NamedTuple):
    """The builder that is nearly everywhere."""

    version: str

    @contextmanager
    def resolving(self, task: Task) -> Iterator[Resolution]:
        """Choose a version of everything that is needed, beside the block; install nothing."""
        report = task.directory / "report.json"
        given = task.directory / "requirements.in"
        given.write_text("".join(f"{_line(one)}\n" for one in task.asked), "utf-8")
        command = [
            *("install", "--dry-run", "--ignore-installed", "--report", str(report)),
            *("--requirement", str(given), *self._common(task)),
        ]
        with task.running(_pip([*command, "--pre"] if task.sources.pre else command)) as run:
            yield Resolution(run, functools.partial(self._read, report))

    def guessing(self, task: Task) -> AbstractContextManager[Resolution | None]:
        """Return None: pip keeps archives, and not what the index said of them."""
        del task
        return nullcontext(None)

    def _read(self, report: Path, asked: tuple[Asked, ...]) -> Lock:
        import json

        from omnipkg_meta.requirements import normalize
        from omnipkg_meta.store import lock

        data = json.loads(report.read_text("utf-8"))
        wheels = {one.name: one for one in asked if one.wheel is not None}
        packages = []
        for item in data["install"]:
            name = normalize(item["metadata"]["name"])
            if name in wheels:
                packages.append(lock.local(wheels[name], item["metadata"]["version"]))
                continue
            download = item["download_info"]
            if item["is_direct"] or "archive_info" not in download:
                raise lock.from_an_address(name, asked)
            url = download["url"]
            sha256 = (download["archive_info"].get("hashes") or {}).get("sha256")
            packages.append(
                lock.Locked(
                    name,
                    item["metadata"]["version"],
                    lock.filename_of({"url": url}),
                    url,
                    sha256 or lock.digest_of(url, asked),
                )
            )
        return lock.Lock.of(packages, asked)

    def install(
        self, task: Task, resolved: Lock, pylock: Path, target: Path, *, fresh: bool
    ) -> None:
        """Install exactly what was resolved into the directory *target*, hash by hash.

        With *fresh*, without whatever the tool keeps in its cache.
        """
        from html import escape

        del pylock  # pip reads requirement files only
        given = task.directory / "requirements.txt"
        lines = [
            f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in resolved.packages
        ]
        given.write_text("".join(lines), "utf-8")
        # By name and version, and from this page where they are: by its address alone a
        # distribution would be given a ``direct_url.json``, which nobody asked for.
        page = task.directory / "links.html"
        links = [
            f'<a href="{escape(one.address)}#sha256={one.sha256}">{escape(one.filename)}</a>\n'
            for one in resolved.packages
        ]
        page.write_text(f"<!DOCTYPE html>\n<html><body>\n{''.join(links)}</body></html>\n", "utf-8")
        command = [
            *("install", "--no-deps", "--no-compile", "--require-hashes", "--target", str(target)),
            *("--no-warn-script-location", "--requirement", str(given), *self._common(task)),
            *("--find-links", str(page)),
        ]
        task.run(_pip([*command, "--no-cache-dir"] if fresh else command))
        _mend_records(target)

    def _common(self, task: Task) -> list[str]:
        words = ["--progress-bar", "off", "--no-user", *task.sources.arguments()]
        return words if task.allow_build else [*words, "--only-binary", ":all:"]


class Resolving(NamedTuple):
    """What goes on while the index is asked.

    Attributes:
        tool: the builder.
        resolution: what the index says.
        guess: what it said last; None where that is not kept.
    """

    tool: Builder
    resolution: Resolution
    guess: Resolution | None


@contextmanager
def resolving(wanted: str, task: Task, begun: Begun | None = None) -> Iterator[Resolving]:
    """Choose a version of everything that is needed, beside the block.

    Args:
        wanted: ``auto``, ``uv`` or ``pip``.
        task: what is asked for.
        begun: what uv was asked before, if it was (early.py).

    Raises:
        BuildError: there is no builder.
    """
    _check_executable(task.asked)
    executable = None if wanted == "pip" else begun.uv.executable if begun else find_uv()
    if executable is not None:
        tool = Uv(executable, "uv")
        with tool.going_on(task) if begun is None else nullcontext(begun.going_on) as going_on:
            for one in (going_on.resolution, going_on.guess):
                if one is not None:
                    one.answers(task.asked)
            # Whether it is new enough is asked while it waits for the index.
            version = uv_version(executable)
            if version is not None:
                yield going_on._replace(tool=tool._replace(version=version))
                return
    chosen = choose(wanted, task.asked)
    with chosen.resolving(task) as resolution, chosen.guessing(task) as guess:
        yield Resolving(chosen, resolution, guess)


def choose(wanted: str, asked: Sequence[Asked]) -> Builder:
    """Return the builder: the one that was named, or uv where it is and pip where it is not.

    Args:
        wanted: ``auto``, ``uv`` or ``pip``.
        asked: the requirements, for the error.

    Raises:
        BuildError: there is none.
    """
    _check_executable(asked)
    texts = [one.text for one in asked]
    if wanted in ("auto", "uv"):
        executable = find_uv()
        if executable is not None:
            version = uv_version(executable)
            if version is not None:
                return Uv(executable, version)
        if wanted == "uv":
            cause = "it was not found" if executable is None else f"{executable} is older than 0.7"
            raise BuildError(
                "uv cannot be used",
                cause=cause,
                tip="pip install -U uv",
                requirements=texts,
                output="",
            )
    if not _has_pip():
        raise BuildError(
            "there is neither uv nor pip to build a bubble with"
            if wanted == "auto"
            else "there is no pip",
            cause=f"{sys.executable} has no pip",
            tip="install uv, or run python -m ensurepip",
            requirements=texts,
            output="",
        )
    return Pip(_pip_version())


def _check_executable(asked: Sequence[Asked]) -> None:
    if not sys.executable:
        raise BuildError(
            "nothing can be built in this process",
            cause="this Python is embedded and does not know its own executable",
            tip="build the bubble with omnipkg-meta install",
            requirements=[one.text for one in asked],
            output="",
        )


def find_uv() -> str | None:
    """Return the uv that belongs to this Python, else the one on ``PATH``, else None."""
    import sysconfig

    scheme = sysconfig.get_preferred_scheme("user")
    beside = [str(Path(sys.executable).parent), sysconfig.get_path("scripts")]
    for directories in (
        *beside,
        os.environ.get("PATH", os.defpath),
        sysconfig.get_path("scripts", scheme),
    ):
        if (found := shutil.which("uv", path=directories)) is not None:
            return found
    return None


def uv_version(executable: str) -> str | None:
    """Return name and version of a uv; None if it is too old, or does not run."""
    return _uv_version(executable, os.stat(executable).st_mtime_ns)  # noqa: PTH116


@functools.cache
def _uv_version(executable: str, changed: int) -> str | None:
    del changed  # only makes an upgrade of uv a new question
    try:
        done = subprocess.run(
            [executable, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        version = done.stdout.split()[1]
        if tuple(int(part) for part in version.split(".")[:2]) >= _FIRST_UV:
            return f"uv {version}"
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        pass
    return None


def _has_pip() -> bool:
    from importlib.machinery import PathFinder

    return PathFinder.find_spec("pip") is not None


def _pip_version() -> str:
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    # Not ``importlib.metadata.version``, which would answer with the pip of a bubble in its scope.
    context = DistributionFinder.Context(name="pip", path=sys.path)
    found = [one.version for one in MetadataPathFinder.find_distributions(context)]
    return f"pip {found[0]}" if found else "pip"


def _pip(arguments: Sequence[str]) -> list[str]:
    # ``-m`` and ``-c`` put the current directory first on ``sys.path``: a file pip.py that lies
    # there would be run (PYTHONSAFEPATH cures it from 3.11 only).
    start = (
        "import sys; sys.path[:] = [p for p in sys.path if p]; "
        "import runpy; runpy.run_module('pip', run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", start, *arguments]


def _line(one: Asked) -> str:
    if one.wheel is None:
        return one.canonical
    return one.canonical.partition("#sha256=")[0]


def _mend_records(target: Path) -> None:
    """Give RECORD the paths that ``pip install --target`` moved files to.

    pip installs into a temporary home scheme and then moves ``bin`` and the data
    directories into the target, but RECORD keeps ``../../bin/x``.
    """
    for path in target.glob("*.dist-info/RECORD"):
        lines = path.read_text("utf-8").splitlines(keepends=True)
        mended = [
            line[6:]
            if line.startswith("../../") and (target / line[6:].partition(",")[0]).exists()
            else line
            for line in lines
        ]
        if mended != lines:
            path.write_text("".join(mended), "utf-8")
