"""A bubble's own scripts.

Owns the text of the launchers in a bubble's ``bin``.  Must not know how a bubble
is activated: that is ``omnipkg_meta.launch``, which they call.

The scripts that installers make start main's interpreter without the bubble, so
they would run main's version; these activate the bubble they stand in first.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["write"]

_BODY = """\
import os, sys
from omnipkg_meta.launch import main
if __name__ == "__main__":
    here = os.path.dirname(os.path.realpath(__file__))
    sys.exit(main(os.path.dirname(here), {target!r}))
"""

# The longest first line that Linux hands to an interpreter is 127 bytes before 5.1, 255 since.
_LONGEST_SHEBANG = 127


def write(directory: Path, scripts: Mapping[str, str]) -> None:
    """Write a launcher for each script into *directory*, which is made if there is any.

    Args:
        directory: the bubble's ``bin``.
        scripts: what each calls, as ``module:attribute``.

    Raises:
        OSError: a file cannot be written.
    """
    for name, target in scripts.items():
        directory.mkdir(exist_ok=True)
        if os.name == "nt":
            (directory / f"{name}.py").write_text(_BODY.format(target=target), "utf-8")
            starter = f'@"{sys.executable}" "%~dp0{name}.py" %*\r\n'
            (directory / f"{name}.cmd").write_text(starter, "utf-8")
            continue
        script = directory / name
        script.write_text(_shebang(sys.executable) + _BODY.format(target=target), "utf-8")
        script.chmod(0o755)


def _shebang(executable: str) -> str:
    line = f"#!{executable}\n"
    if len(line.encode()) <= _LONGEST_SHEBANG and not re.search(r"\s", executable):
        return line
    # The kernel splits at blanks and cuts long lines: let the shell start it. To Python the
    # second and third line are one string.
    quoted = executable.replace("'", "'\"'\"'")
    return f"#!/bin/sh\n'''exec' '{quoted}' \"$0\" \"$@\"\n' '''\n"
