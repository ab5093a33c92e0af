"""``omnipkg-meta types``: an environment that shows a bubble to type checkers and editors.

Owns the command's options and what it prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.cli import output

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's command to the parser."""
    types = commands.add_parser(
        "types",
        help="show a bubble's versions to type checkers",
        description="Make an environment in which type checkers and editors see a bubble's "
        "versions, and print its interpreter: mypy --python-executable, pyright --pythonpath.",
        allow_abbrev=False,
    )
    which = types.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--with",
        dest="requirements",
        metavar="REQ",
        action="append",
        help="a PEP 508 string; several are resolved together into one bubble",
    )
    which.add_argument(
        "--bubble", metavar="NAME", help="a bubble that the pyproject.toml here or above names"
    )
    types.add_argument("directory", metavar="DIR", help="where the environment goes")
    types.add_argument(
        "--install", action="store_true", help="make the bubble first if it is missing"
    )
    types.add_argument("--store", metavar="DIR", help="the store to look in")
    types.set_defaults(run=_types)


def _types(arguments: argparse.Namespace) -> int:
    from omnipkg_meta import checkers
    from omnipkg_meta.projects import named
    from omnipkg_meta.scope import use

    mains = checkers.mains_path()
    sources = named([arguments.bubble]) if arguments.bubble else arguments.requirements
    scope = use(*sources, install=arguments.install or None, store=arguments.store)
    bubbles = scope.bubbles
    entries = checkers.search_path(scope._realms, mains)
    interpreter = checkers.make(Path(arguments.directory), entries)
    for one in bubbles:
        output.note(f"shows {one.id}")
    if not bubbles:
        output.note("shows main, which serves what was asked")
    output.data(str(interpreter))
    return 0
