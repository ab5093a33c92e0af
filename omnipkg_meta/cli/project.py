"""``omnipkg-meta sync``: the bubbles of a project, and their locks.

Owns the command's options and what it prints.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.cli import output
from omnipkg_meta.cli.store import add_compile_option, add_index_options, index_options

if TYPE_CHECKING:
    import argparse

    from omnipkg_meta.projects import Synced

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's command to the parser."""
    sync = commands.add_parser(
        "sync",
        help="make the bubbles that a project names, and their locks",
        description="Make the bubbles that the nearest pyproject.toml names, from their locks; "
        "and locks beside it where there are none that fit.",
        allow_abbrev=False,
    )
    sync.add_argument("names", nargs="*", metavar="NAME", help="only these; all when not given")
    sync.add_argument("--project", metavar="DIR", help="the project, when it is not here or above")
    which = sync.add_mutually_exclusive_group()
    which.add_argument(
        "--frozen", action="store_true", help="make what the locks name, and write none"
    )
    which.add_argument(
        "--upgrade", action="store_true", help="resolve anew, whatever the locks name"
    )
    add_index_options(sync)
    sync.add_argument(
        "--allow-build",
        action="store_true",
        help="allow source distributions; building one runs its code",
    )
    add_compile_option(sync)
    sync.add_argument("--store", metavar="DIR", help="the store's directory")
    sync.add_argument("--json", action="store_true", help="print JSON")
    sync.set_defaults(run=_sync)


def _sync(arguments: argparse.Namespace) -> int:
    from omnipkg_meta.projects import named, sync
    from omnipkg_meta.scope import install

    done: list[Synced] = []
    with output.Progress() as progress:
        make = functools.partial(
            install,
            store=arguments.store,
            index_options=index_options(arguments),
            allow_build=arguments.allow_build,
            compile_bytecode=arguments.compile_bytecode,
            progress=progress,
        )
        start = None if arguments.project is None else Path(arguments.project)
        wanted = named(arguments.names, start)
        for one in sync(wanted, make, frozen=arguments.frozen, upgrade=arguments.upgrade):
            done.append(one)
            what = "wrote" if one.written else "as locked in"
            output.note(f"{one.asked.name}: {one.bubble.id}, {what} {one.lock.name}")
            if not arguments.json:
                output.data(str(one.bubble.path))
    if arguments.json:
        facts = [
            {
                "name": one.asked.name,
                "id": one.bubble.id,
                "path": str(one.bubble.path),
                "lock": str(one.lock),
                "written": one.written,
            }
            for one in done
        ]
        output.json(facts)
    return 0
