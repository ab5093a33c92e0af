"""What a script says of itself: inline script metadata (PEP 723).

    # /// script
    # requires-python = ">=3.11"
    # dependencies = ["rich==13.5.3"]
    # ///

Owns the reading and the check of such a block.  Must not know what a bubble is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta.errors import ScriptError

if TYPE_CHECKING:
    import os

__all__ = ["Script", "read"]

_START = re.compile(r"# /// (?P<type>[a-zA-Z0-9-]+)")
_END = "# ///"


class Script(NamedTuple):
    """What a script says of itself.

    Attributes:
        dependencies: its requirements, as they are written.
        requires_python: the versions of Python that it is for; empty where it does not say.
    """

    dependencies: tuple[str, ...]
    requires_python: str


def read(path: str | os.PathLike[str]) -> Script | None:
    """Return what a script says of itself; None where it says nothing.

    Raises:
        ScriptError: it says it twice, it is not what it should be, or it is for another Python.
    """
    script = Path(path)
    try:
        text = script.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None  # Python says what is wrong with it
    blocks = [content for kind, content in _blocks(text.splitlines()) if kind == "script"]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise _wrong(script, "it has more than one block `# /// script`")
    return _read(script, blocks[0])


def _blocks(lines: list[str]) -> list[tuple[str, str]]:
    """Return the blocks of comments, each with its type.

    A block goes on up to the last line of comments that would end it.
    """
    found = []
    index = 0
    while index < len(lines):
        start = _START.fullmatch(lines[index])
        index += 1
        if start is None:
            continue
        end = index
        while end < len(lines) and (lines[end] == "#" or lines[end].startswith("# ")):
            end += 1
        ends = [number for number in range(index, end) if lines[number] == _END]
        if ends:
            content = [line[2:] for line in lines[index : ends[-1]]]
            found.append((start["type"], "\n".join(content) + "\n"))
            index = ends[-1] + 1
    return found


def _read(script: Path, content: str) -> Script:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    from omnipkg_meta.store.lock import read_toml

    try:
        data: dict[str, Any] = read_toml(content)
    except ImportError:
        tip = "pip install tomli"
        raise _wrong(script, "reading it needs tomli before Python 3.11", tip) from None
    except ValueError as error:
        raise _wrong(script, f"it is not TOML: {error}") from None
    dependencies, wanted = data.get("dependencies", []), data.get("requires-python", "")
    if not isinstance(dependencies, list) or not all(isinstance(x, str) for x in dependencies):
        raise _wrong(script, "its dependencies are no list of strings")
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        fits = SpecifierSet(wanted).contains(python, prereleases=True)
    except (InvalidSpecifier, TypeError, AttributeError):
        raise _wrong(script, f"its requires-python is {wanted!r}") from None
    if not fits:
        tip = "run it with the omnipkg-meta of such a Python"
        raise _wrong(script, f"it is for Python {wanted}, and this is {python}", tip)
    return Script(tuple(dependencies), wanted)


def _wrong(script: Path, cause: str, tip: str | None = None) -> ScriptError:
    return ScriptError(
        f"{script} cannot be run as its metadata says", cause=cause, tip=tip, script=script
    )
