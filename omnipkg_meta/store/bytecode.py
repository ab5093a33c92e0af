"""Byte code for a place where the sources are not yet.

Owns the compiling of a bubble before it is put in place.  Must not know what else
is done to it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from omnipkg_meta.store import record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["compile_sources"]

# Up to so many sources are compiled in this process: below it, starting another takes longer.
_FEW_SOURCES = 40


def compile_sources(site_packages: Path, final: Path) -> None:
    """Compile all sources, so that tracebacks name the directory where they will be.

    A file that does not compile is left alone: wheels carry templates and code for
    other versions, and Python would not complain before somebody imports them.
    """
    sources = [path for path, _ in record.files(site_packages) if path.endswith(".py")]
    if len(sources) > _FEW_SOURCES:
        command = [
            *(sys.executable, "-I", "-m", "compileall", "-qq", "-f", "-j", "0"),
            *("-s", str(site_packages), "-p", str(final), str(site_packages)),
        ]
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return
    import py_compile
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's code
        for path in sources:
            with suppress(py_compile.PyCompileError, OSError, ValueError, RecursionError):
                py_compile.compile(str(site_packages / path), dfile=str(final / path), doraise=True)
