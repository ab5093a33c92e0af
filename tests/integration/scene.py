"""The scene of the tests against real packages: a main environment and a store of bubbles.

Owns what is installed where, by the versions that have wheels for this Python, and
how a program is run in it.  Everything lies in one directory; the programs have a
home there too.  Only what downloads (pip, uv) reads the user's own settings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta
from omnipkg_meta import config
from omnipkg_meta.store.builders import find_uv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "NUMPY",
    "PLAIN",
    "STRICT",
    "Scene",
    "needs_compiled_pydantic_1",
    "needs_pandas",
    "once",
    "python_of",
]

#: A numpy that is older than main's and has wheels for this Python.
NUMPY = (
    "numpy==1.26.4"
    if sys.version_info < (3, 13)
    else "numpy==2.1.*"
    if sys.version_info < (3, 14)
    else "numpy==2.3.*"
    if sys.version_info < (3, 15)
    else "numpy<2.5.1"
)
MAIN = (
    "rich==13.7.1",
    "numpy>=2",
    "pytest",
    "hypothesis",
    "importlib-metadata",
    "packaging",
    "platformdirs",
)
BARE = ("importlib-metadata", "packaging", "platformdirs")
PLAIN = (NUMPY, "pytest", "hypothesis")
BUBBLES: tuple[tuple[str, ...], ...] = (
    ("rich==13.5.3",),
    ("rich==13.4.2",),
    (NUMPY,),
    *((("pandas==2.1.4", NUMPY),) if sys.version_info < (3, 13) else ()),
    ("pydantic[email]==1.10.19",),
    ("pydantic>=2",),
    ("packaging==21.3",),
)

needs_pandas = pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="pandas 2.1.4 and numpy 1.26.4 have no wheels for CPython 3.13",
)
needs_compiled_pydantic_1 = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="pydantic 1.10.19 has no compiled wheel for CPython 3.13"
)

#: How programs are run that have nothing to be forgiven.
STRICT = ("-X", "dev", "-W", "error")

#: Variables that would change what a Python is, or that belong to this very test run.
_LEFT_OUT = re.compile(
    r"PYTHON|PYTEST_|COV|OMNIPKG_META_|VIRTUAL_ENV|CONDA_|XDG_DATA|NO_COLOR|FORCE_COLOR"
)


@dataclass(frozen=True)
class Scene:
    """Where everything is, and how to run a program in it.

    Attributes:
        path: the directory that holds all of it.
        cache: the directory of what was downloaded.
    """

    path: Path
    cache: Path

    @property
    def store(self) -> Path:
        """The store, which is also the configured one."""
        return self.path / "store"

    @property
    def main(self) -> Path:
        """The directory of the main environment: rich 13.7.1, numpy 2, pytest."""
        return self.path / "main"

    @property
    def bare(self) -> Path:
        """The directory of another main environment: only what the library needs."""
        return self.path / "bare"

    @property
    def plain(self) -> Path:
        """The directory of an environment without the library: the older numpy, pytest."""
        return self.path / "plain"

    def build(self, main: Sequence[str] = MAIN, bubbles: Sequence[Sequence[str]] = BUBBLES) -> None:
        """Make the two main environments and the store."""
        for environment, holds in ((self.main, main), (self.bare, BARE)):
            self.make_environment(environment, *holds)
            package = Path(omnipkg_meta.__file__).parent
            target = _site_packages(environment) / package.name
            shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
            # What is there already is not written when a program runs.
            _run((python_of(environment), "-m", "compileall", "-q", target), self.variables())
        for requirements in bubbles:
            words = ("install", "--compile-bytecode", *requirements)  # as the environments have it
            command = (python_of(self.main), "-m", "omnipkg_meta", *words)
            _run(command, self.variables(builds=True))

    def make_environment(self, path: Path, *requirements: str) -> None:
        """Make a virtual environment, with uv where it is and pip where it is not."""
        variables = self.variables(builds=True)
        uv = _uv()
        install: list[str | Path]
        if uv is not None:
            _run([uv, "venv", "--quiet", "--python", sys.executable, path], variables)
            install = [uv, "pip", "install", "--quiet", "--compile-bytecode"]
            install += ["--python", python_of(path)]
        else:
            _run([sys.executable, "-m", "venv", path], variables)
            install = [python_of(path), "-m", "pip", "install", "--quiet"]
        _run([*install, "--only-binary", ":all:", *requirements], variables)

    def variables(self, *, builds: bool = False) -> dict[str, str]:
        """Return the environment variables of a program.

        Args:
            builds: whether it downloads, and so may read the user's settings.
        """
        variables = {name: value for name, value in os.environ.items() if not _LEFT_OUT.match(name)}
        home = self.path / "home"
        home.mkdir(exist_ok=True)
        if not builds:
            variables.update(HOME=str(home), USERPROFILE=str(home), LOCALAPPDATA=str(home))
        variables["OMNIPKG_META_STORE"] = str(self.store)
        variables["UV_CACHE_DIR"] = str(self.cache / "uv")
        variables["PIP_CACHE_DIR"] = str(self.cache / "pip")
        if (uv := _uv()) is None:
            variables["OMNIPKG_META_BUILDER"] = "pip"
        else:
            variables["PATH"] += os.pathsep + str(Path(uv).parent)
        return variables

    def run(
        self,
        *words: str | Path,
        environment: Path | None = None,
        input: str | None = None,  # noqa: A002  # as subprocess has it
        builds: bool = False,
        timeout: float = 240,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with these words, in main unless told otherwise, whatever comes of it.

        Args:
            words: what stands behind ``python``.
            environment: the directory of another environment.
            input: what is typed.
            builds: whether it downloads, and so may read the user's settings.
            timeout: seconds.
            variables: environment variables besides the usual ones.
        """
        return subprocess.run(
            [str(python_of(environment or self.main)), *map(str, words)],
            input=input,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=timeout,
            cwd=self.path / "home",
            env=self.variables(builds=builds)
            | {"PYTHONIOENCODING": "utf-8"}
            | dict(variables or {}),
        )

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start Python with these words in main, with pipes to all its streams."""
        return subprocess.Popen(
            [str(python_of(self.main)), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.path / "home",
            env=self.variables(),
        )

    def answer(
        self,
        program: Path,
        *arguments: str | Path,
        environment: Path | None = None,
        flags: Sequence[str] = STRICT,
    ) -> Any:
        """Run a program that must succeed and be silent but for one line of JSON; return that."""
        done = self.run(*flags, program, *arguments, environment=environment)
        assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)


def once(path: Path, make: Callable[[], None], patience: float = 1200) -> None:
    """Let one of several processes make a directory, and the others wait until it is there."""
    ready, failed = path / ".ready", path / ".failed"
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        end = time.monotonic() + patience
        while not ready.exists():
            assert not failed.exists(), failed.read_text("utf-8")
            assert time.monotonic() < end, f"nobody made {path}"
            time.sleep(0.1)
        return
    try:
        make()
    except BaseException as error:
        failed.write_text(f"another process could not make it: {error}", "utf-8")
        raise
    ready.touch()


def python_of(environment: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _site_packages(environment: Path) -> Path:
    return next(environment.glob("[Ll]ib/**/site-packages"))


def _uv() -> str | None:
    return None if config.builder() == "pip" else find_uv()


def _run(command: Sequence[object], variables: Mapping[str, str]) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=dict(variables),
        cwd=Path(variables["OMNIPKG_META_STORE"]).parent,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
