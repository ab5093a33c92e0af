"""What a builder has to do, and the tools that run for it.

Owns how a tool is started, in which environment, waited for and ended.  Must not know
which tools there are.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.errors import BuildError
from omnipkg_meta.store import surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omnipkg_meta.requirements import Asked
    from omnipkg_meta.store.index import IndexOptions
    from omnipkg_meta.store.lock import Lock
    from omnipkg_meta.store.staging import Staging

__all__ = ["Resolution", "Run", "Task"]


class Task(NamedTuple):
    """What a builder has to do, and with what.

    Attributes:
        asked: the requirements.
        sources: where archives come from.
        allow_build: whether source distributions may be built, which runs their code.
        directory: a private directory for whatever the builder needs to write.
        keep_open: a file descriptor that children inherit, or None.
        offline: whether only what the builder keeps in its cache is used.
    """

    asked: tuple[Asked, ...]
    sources: IndexOptions
    allow_build: bool
    directory: Path
    keep_open: int | None = None
    offline: bool = False

    @classmethod
    def at(cls, stage: Staging, index: IndexOptions, *, allow_build: bool) -> Task:
        """Return the task of a build, with its directory made; what is asked comes later.

        Raises:
            OSError: the directory cannot be made.
        """
        task = cls((), index, allow_build, stage.path / "work", keep_open=stage.keep_open)
        task.directory.mkdir()
        return task

    @contextmanager
    def running(self, command: Sequence[str]) -> Iterator[Run]:
        """Run a tool beside a block.

        Raises:
            BuildError: it cannot be started.
        """
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=surroundings.variables(os.environ, self.sources),
                encoding="utf-8",
                errors="replace",
                # The children hold the build's lock too: after a kill of this process
                # the directory counts as in use until the last of them is gone.
                pass_fds=() if self.keep_open is None else (self.keep_open,),
            )
        except OSError as error:
            raise BuildError(
                f"{Path(command[0]).name} cannot be started",
                cause=error.strerror,
                requirements=[one.text for one in self.asked],
                output="",
            ) from None

        with process:
            try:
                yield Run(self.asked, process, command[0], self.directory)
            finally:
                if process.returncode is None:  # nobody waits for what it does
                    process.kill()

    def run(self, command: Sequence[str]) -> None:
        """Run a tool to its end.

        Raises:
            BuildError: it failed.
            StoreError: it failed for want of room or of permission to write.
        """
        with self.running(command) as run:
            run.end()


class Run:
    """A tool that runs.

    Attributes:
        asked: the requirements that it runs for, by which an error names it.
    """

    def __init__(
        self,
        asked: tuple[Asked, ...],
        process: subprocess.Popen[str],
        tool: str,
        directory: Path,
    ) -> None:
        self.asked = asked
        self._process = process
        self._tool = tool
        self._directory = directory
        self._told: str | None = None

    def is_going_on(self) -> bool:
        """Say whether the tool has not ended yet."""
        return self._process.poll() is None

    def end(self) -> None:
        """Wait for the tool's end.

        Raises:
            BuildError: it failed.
            StoreError: it failed for want of room or of permission to write.
        """
        if self._told is None:
            self._told = self._process.communicate()[0]
        if code := self._process.returncode:
            from omnipkg_meta.store import failures

            raise failures.explain(self.asked, self._tool, code, self._told, self._directory)


class Resolution:
    """A resolution that goes on."""

    def __init__(self, run: Run, read: Callable[[tuple[Asked, ...]], Lock]) -> None:
        self._run = run
        self._read = read
        self._result: Lock | None = None

    def answers(self, asked: tuple[Asked, ...]) -> None:
        """Say what was asked, where that was not known in full when it was begun."""
        self._run.asked = asked

    def is_going_on(self) -> bool:
        """Say whether the result would have to be waited for."""
        return self._run.is_going_on()

    def result(self) -> Lock:
        """Wait for the end, and return what was chosen; the same each time.

        Raises:
            BuildError: there is no solution, or it cannot be read.
            StoreError: there was no room for it.
        """
        self._run.end()
        if self._result is None:
            self._result = self._read(self._run.asked)
        return self._result
