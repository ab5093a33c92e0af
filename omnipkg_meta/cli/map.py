"""``omnipkg-meta map``: run a program, and show what came from where on one page.

Owns the command's options.  The program is run as ``omnipkg-meta run`` does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.cli.run import PROGRAM, add_program_options, run_program

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's command to the parser."""
    map_ = commands.add_parser(
        "map",
        help="run a program, and show on a page what came from where",
        description="Run a program as omnipkg-meta run does, with bubbles or without, and when it "
        "has ended write one HTML page: realms and their modules, who imported what and by which "
        "rule, load times, distributions that are there several times, and what they take of the "
        "disk.",
        usage=f"omnipkg-meta map [-o FILE] [--with REQ] [--bubble NAME] {PROGRAM}",
        allow_abbrev=False,
    )
    map_.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where the page goes; omnipkg-map.html when not given",
    )
    map_.add_argument(
        "--json", action="store_true", help="write the data instead; omnipkg-map.json"
    )
    add_program_options(map_)
    map_.set_defaults(run=_map, parser=map_)


def _map(arguments: argparse.Namespace) -> int:
    suffix = ".json" if arguments.json else ".html"
    file = Path(arguments.output or f"omnipkg-map{suffix}").absolute()
    if (file.suffix == ".json") != arguments.json:
        arguments.parser.error(
            f"--json and a file that ends in .json go together, unlike {arguments.output!r}"
        )
    # Now, and not when the program has run for hours.
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        arguments.parser.error(f"{str(file)!r} cannot be written")
    return run_program(arguments, map_file=str(file))
