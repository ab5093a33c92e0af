"""``omnipkg-meta run``: a program with bubbles active for the whole process.

Owns the command's options and how the program is started.  The program replaces
this process and is run by Python itself, so ``sys.argv``, ``__main__``, exit
codes, signals and tracebacks are those of ``python script.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from omnipkg_meta.store.bubble import Bubble

__all__ = ["add_commands"]

_USAGE = (
    "omnipkg-meta run --with REQ [--with REQ] "
    "(script.py | -m module | -c code | script of the bubble) [args]"
)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's command to the parser."""
    run = commands.add_parser(
        "run",
        help="run a program with bubbles active",
        description="Run a program as python would, "
        "with bubbles laid over main for the whole process.",
        usage=_USAGE,
        allow_abbrev=False,
    )
    run.add_argument(
        "--with",
        dest="requirements",
        metavar="REQ",
        action="append",
        required=True,
        help="a PEP 508 string; several are resolved together into one bubble",
    )
    run.add_argument(
        "--install", action="store_true", help="make the bubble first if it is missing"
    )
    run.add_argument("--store", metavar="DIR", help="the store to look in")
    run.set_defaults(run=_run, parser=run)


def _run(arguments: argparse.Namespace) -> int:
    from omnipkg_meta import config, launch
    from omnipkg_meta.requirements import satisfied_by_main
    from omnipkg_meta.store.build import install
    from omnipkg_meta.store.store import Store

    program = _program(arguments)
    store = Store(arguments.store)
    found = store.find(arguments.requirements)
    bubbles: list[Bubble] = []
    if found is not None:
        bubbles.append(found)
    elif not satisfied_by_main(arguments.requirements):
        if arguments.install or config.install_missing():
            from omnipkg_meta.cli.output import Progress

            with Progress() as progress:
                bubbles.append(install(arguments.requirements, store=store, progress=progress))
        else:
            bubbles.append(store.require(arguments.requirements))
    script = None if os.path.exists(program[0]) else launch.script_of(bubbles, program[0])
    command = [sys.executable, *_interpreter_flags(), *program]
    if script is not None:
        command = [str(script), *program[1:]]
    return _replace_process(command, launch.environment(bubbles))


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return our own words, and the program's with its arguments.

    Args:
        words: the command line from ``run`` on.
    """
    index = 1
    while index < len(words):
        word = words[index]
        if word == "--":
            return words[:index], words[index + 1 :]
        if word in ("--with", "--store"):
            index += 2
        elif word.startswith("--") or word == "-h":
            index += 1
        else:
            break
    return words[:index], words[index:]


def _program(arguments: argparse.Namespace) -> list[str]:
    """Return the words of the program, if they are such as ``python`` takes."""
    program: list[str] = arguments.program
    if not program:
        arguments.parser.error("say what to run: script.py, -m module or -c code")
    if program[0] in ("-m", "-c"):
        if len(program) == 1:
            arguments.parser.error(f"argument expected for {program[0]}")
    elif program[0].startswith("-") and program[0] != "-":
        arguments.parser.error(f"unknown option {program[0]}")
    return program


def _interpreter_flags() -> list[str]:
    """Return this interpreter's own flags, less those that would ignore PYTHONPATH."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [flag for flag in flags if flag not in ("-E", "-I", "-S")]


def _replace_process(command: list[str], environment: dict[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execve(command[0], command, environment)
    # There, exec would start a new process and lose its exit code.
    return subprocess.call(command, env=environment)
