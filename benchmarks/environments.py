"""Virtual environments that a benchmark makes with uv, and the programs that run in them.

Owns both command lines.  Must not know what is measured; it imports nothing of the library,
which is not installed where some of the benchmarks run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ROOT", "environment", "run"]

#: The checkout, which is what environments install.
ROOT = Path(__file__).resolve().parent.parent


def environment(path: Path, *wanted: str, compiled: bool = True) -> Path:
    """Make a virtual environment of the running Python; return its interpreter.

    Args:
        path: where; not there yet.
        *wanted: what uv is to install there: requirements, paths, options.
        compiled: make byte code at once.
    """
    python = path / ("Scripts" if os.name == "nt" else "bin") / "python"
    run("uv", "venv", "-q", "--python", sys.executable, str(path))
    options = ("--compile-bytecode",) if compiled else ()
    run("uv", "pip", "install", "-q", *options, "--python", str(python), *wanted)
    return python


def run(
    *command: str,
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
    patience: float | None = None,
) -> str:
    """Run a program, and return what it prints.

    Args:
        *command: the program and its arguments.
        cwd: where it runs.
        variables: its environment variables, all of them; by default those of this process.
        patience: the seconds after which it is ended, or None.

    Raises:
        SystemExit: it failed, or was ended; with the command and what it has written.
    """
    told = " ".join(command)
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{told}\nit had not ended after {patience:g} s") from None
    if done.returncode:
        raise SystemExit(f"{told} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
