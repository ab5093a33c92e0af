"""Starting programs with bubbles active for the whole process.

Owns the environment of such a program: how the bubbles are handed over, and what
a bubble's launchers and the child itself do first.  It reads bubbles by their
path and nothing else, so that the program may bring its own version of anything,
the dependencies of this library included.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta.errors import BubbleTagError, OmnipkgMetaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble

__all__ = ["activate_from_environment", "environment", "handed_over", "main"]

_ACTIVE = "OMNIPKG_META_ACTIVE"
#: Where the program is to leave its map; taken away by it, since its children leave none.
_MAP = "OMNIPKG_META_MAP"
_BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot")


def environment(
    bubbles: Sequence[Bubble],
    base: Mapping[str, str] | None = None,
    *,
    map_file: str | None = None,
) -> dict[str, str]:
    """Return the environment variables of a Python process that has bubbles active.

    Child processes inherit them, as they would a virtual environment; a child of
    another interpreter ignores them.

    Args:
        bubbles: the bubbles, the innermost first.
        base: the variables to start from; those of this process when not given.
        map_file: where the process is to leave a map of itself when it ends, if anywhere.
    """
    variables = dict(os.environ if base is None else base)
    variables[_ACTIVE] = os.pathsep.join(str(bubble.path) for bubble in bubbles)
    if map_file is not None:
        variables[_MAP] = os.path.abspath(map_file)
    paths = [
        _BOOT,
        *(
            entry
            for entry in variables.get("PYTHONPATH", "").split(os.pathsep)
            if entry not in ("", _BOOT)
        ),
    ]
    variables["PYTHONPATH"] = os.pathsep.join(paths)
    scripts = [str(bubble.scripts) for bubble in bubbles if bubble.scripts_provided]
    kept = [
        entry
        for entry in variables.get("PATH", os.defpath).split(os.pathsep)
        if entry not in scripts
    ]
    variables["PATH"] = os.pathsep.join([*scripts, *kept])
    return variables


def handed_over(bubble: Bubble, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a Python process that has one more bubble active.

    Args:
        bubble: the bubble, which comes before those that *base* hands over.
        base: the variables to start from.
    """
    there = base.get(_ACTIVE, "").split(os.pathsep)
    variables = environment([bubble], base)
    paths = dict.fromkeys((str(bubble.path), *filter(None, there)))
    variables[_ACTIVE] = os.pathsep.join(paths)
    return variables


def activate_from_environment() -> None:
    """Activate the bubbles that the parent process named; end the process if that cannot be done.

    Before that, begin to record what a map is to tell, if the parent wants one.

    Called while ``site`` is imported, where an exception would be printed and
    forgotten: the program would run with main's versions.
    """
    from omnipkg_meta.overlay import activate
    from omnipkg_meta.store.bubble import Bubble

    if map_file := os.environ.pop(_MAP, ""):
        from omnipkg_meta.mapped.program import leave_map

        leave_map(map_file)
    paths = [path for path in os.environ.get(_ACTIVE, "").split(os.pathsep) if path]
    try:
        bubbles = [Bubble.open(path) for path in paths]
        if bubbles:
            activate(*bubbles)
    except BubbleTagError:
        return  # the bubbles of another interpreter, whose child this process is
    except OmnipkgMetaError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def main(bubble: str | os.PathLike[str], target: str) -> Any:
    """Run an entry point of a bubble; what the launchers in its ``bin`` call.

    Args:
        bubble: the bubble's directory.
        target: ``module:attribute``, as in ``entry_points.txt``.

    Returns:
        What the entry point returns, for ``sys.exit``.
    """
    from omnipkg_meta.overlay import activate
    from omnipkg_meta.store.bubble import Bubble

    try:
        opened = Bubble.open(bubble)
        os.environ.update(environment([opened]))
        activate(opened)
    except OmnipkgMetaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    # ``module:attribute [extra]``: extras in entry points mean nothing any more.
    module, _, attributes = target.partition("[")[0].strip().partition(":")
    found: Any = importlib.import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        found = getattr(found, attribute)
    return found()


def script_of(bubbles: Sequence[Bubble], name: str) -> Path | None:
    """Return the launcher of a script that one of the bubbles provides."""
    for bubble in bubbles:
        if name in bubble.scripts_provided:
            return bubble.scripts / name
    return None
