"""Where programs run: environments, the store, and the programs' own processes.

Owns the work folder and every command line.  Must not know what is checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.compat.table import Version

ROOT = Path(__file__).resolve().parent.parent.parent
INSIDE = Path(__file__).parent / "inside"


class PreparationError(Exception):
    """An environment could not be made."""


@dataclass
class Outcome:
    """What a program did: its events, and how it ended."""

    events: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int = 0
    stderr: str = ""
    seconds: float = 0.0
    ended: str = ""  # why it was ended from outside, or ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        return [event for event in self.events if event["event"] == kind]

    @property
    def done(self) -> bool:
        """Whether the program came to its end, and said so."""
        return bool(self.of("done")) and not self.exit_code and not self.ended

    @property
    def end(self) -> str:
        """How the program ended, in words; "" where it ended well."""
        if self.ended:
            return self.ended
        if self.exit_code < 0:
            return f"died of {signal.Signals(-self.exit_code).name}"
        if self.exit_code:
            return f"exit code {self.exit_code}"
        return "" if self.of("done") else "ended without having come to its end"


def run(
    python: str | Path,
    program: str,
    job: Mapping[str, Any],
    folder: Path,
    *,
    limit: float,
    stall: float | None = None,
    variables: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a program of ``inside/`` in a process group of its own, and end all of it.

    Args:
        python: the interpreter.
        program: the name of the program.
        job: what it is told.
        folder: where its files go; made new.
        limit: seconds after which it is ended.
        stall: seconds without an event after which it is ended.
        variables: further environment variables.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "home").mkdir(parents=True)
    (folder / "cwd").mkdir()
    asked, events, stderr = folder / "job.json", folder / "events.jsonl", folder / "stderr"
    asked.write_text(json.dumps({**job, "limit": max(limit - 10, 1)}), "utf-8")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "OMNIPKG_META_", "VIRTUAL_ENV"))
    }
    start = time.monotonic()
    with stderr.open("wb") as stream:
        process = subprocess.Popen(
            [str(python), str(INSIDE / program), str(asked), str(events)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=folder / "cwd",
            env={**kept, "HOME": str(folder / "home"), **(variables or {})},
            start_new_session=True,
        )
        try:
            ended = _watch(process, events, limit, stall)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = events.read_text("utf-8").splitlines() if events.exists() else []
    return Outcome(
        [json.loads(line) for line in lines if line.endswith("}")],
        process.returncode,
        stderr.read_text("utf-8", errors="replace"),
        round(time.monotonic() - start, 2),
        ended,
    )


def _watch(
    process: subprocess.Popen[bytes], events: Path, limit: float, stall: float | None
) -> str:
    """Wait for a process; return why it has to be ended, or ""."""
    start = last = time.monotonic()
    size = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5 if stall is not None else limit)
            return ""
        now = time.monotonic()
        if now - start >= limit:
            return f"not done after {limit:.0f} s"
        grown = events.stat().st_size if events.exists() else 0
        if grown != size:
            size, last = grown, now
        if stall is not None and now - last > stall:
            return f"nothing happened for {stall:.0f} s"


class Places:
    """The work folder: environments, the store, what the programs leave, and results.

    Attributes:
        path: the folder, one for each version of Python.
        library: the fingerprint of this library's sources.
        store: the store, made anew when what builds bubbles has changed.
    """

    def __init__(self, work: Path, python: str) -> None:
        self.python = python
        version = _output([python, "-c", "import sys; print(sys.version.split()[0])"]).strip()
        self.python_version = version
        self.path = work.resolve() / f"python-{version}"
        self.path.mkdir(parents=True, exist_ok=True)
        self.library = fingerprint(ROOT / "omnipkg_meta", "**/*.py")
        builder = fingerprint(ROOT / "omnipkg_meta" / "store", "**/*.py")
        self.store = self.path / f"store-{builder}"
        self.results = self.path / "results"
        self.results.mkdir(exist_ok=True)
        self._wheel: Path | None = None

    @property
    def variables(self) -> dict[str, str]:
        """What programs that use this library are told."""
        return {"OMNIPKG_META_STORE": str(self.store)}

    def wheel(self) -> Path:
        """Return this library's wheel, built now if need be; old ones are removed."""
        folder = self.path / f"library-{self.library}"
        if not list(folder.glob("*.whl")):
            for old in (*self.path.glob("library-*"), *self.path.glob("store-*")):
                if old != self.store:
                    shutil.rmtree(old)
            _output(["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)])
        (wheel,) = folder.glob("*.whl")
        return wheel

    def plain(self, version: Version) -> Path:
        """Return the interpreter of an environment with exactly one version in it."""
        return self.environment(f"{version.name}-{version.version}", version.pins)

    def main(self, version: Version | None = None) -> Path:
        """Return the interpreter of a main: this library, and perhaps a version."""
        if version is None:
            return self.environment("main", [str(self.wheel())])
        return self.environment(f"main-{version.name}", [str(self.wheel()), *version.pins])

    def builder(self) -> Path:
        """Return the interpreter of an environment with all that makes good bubbles."""
        return self.environment("builder", [f"omnipkg-meta[all] @ {self.wheel().as_uri()}"])

    def environment(self, name: str, requirements: Sequence[str]) -> Path:
        """Return the interpreter of an environment, made now if it is not there.

        Raises:
            PreparationError: uv could not make it.
        """
        path = self.path / "environments" / name
        python = path / "bin" / "python"
        made = path / "made-of"
        asked = "\n".join(requirements)
        if made.exists() and made.read_text("utf-8") == asked:
            return python
        _output(["uv", "venv", "--quiet", "--clear", "--python", self.python, str(path)])
        install = ["uv", "pip", "install", "--quiet", "--only-binary", ":all:"]
        _output([*install, "--python", str(python), *requirements])
        made.write_text(asked, "utf-8")
        return python

    def brief(self, line: str) -> str:
        """Return a line without what is particular to this machine."""
        text = re.sub(re.escape(str(self.store)) + r"/[^/]+/", "", line)
        for path in (self.path / "environments", INSIDE, self.path, ROOT):
            text = text.replace(f"{path}/", "")
        return re.sub(r"/[^\s:'\"()]*/(?=lib/python3\.)", "", text)

    def forget(self, name: str, *more: Path) -> None:
        """Remove the environments of a row, and what else it has on disk."""
        for path in (self.path / "environments").glob("*"):
            if path.name == f"main-{name}" or path.name.rpartition("-")[0] == name:
                shutil.rmtree(path, ignore_errors=True)
        for path in more:
            shutil.rmtree(path, ignore_errors=True)


def fingerprint(folder: Path, *patterns: str) -> str:
    """Return a digest of the files of a folder, by name and contents."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PreparationError(f"{' '.join(command[:4])} ...: {done.stderr.strip()}")
    return done.stdout
