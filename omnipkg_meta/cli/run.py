"""``omnipkg-meta run``: a program with bubbles active for the whole process.

Owns the options that say which program and which bubbles, and how it is started.  The
program replaces
this process and is run by Python itself, so ``sys.argv``, ``__main__``, exit
codes, signals and tracebacks are those of ``python script.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from omnipkg_meta.cli.store import add_compile_option

if TYPE_CHECKING:
    import argparse

    from omnipkg_meta.inline import Script
    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = ["PROGRAM", "add_commands", "add_program_options", "run_program", "split"]

#: How a program is named, in usage lines.
PROGRAM = "(script.py | -m module | -c code | script of the bubble) [args]"
#: Our own options that take a value, before the program's words.
_VALUED = frozenset({"--with", "--store", "--bubble", "-o", "--output"})


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's command to the parser."""
    run = commands.add_parser(
        "run",
        help="run a program with bubbles active",
        description="Run a program as python would, "
        "with bubbles laid over main for the whole process: of --with, of the project, and "
        "of what a script says of itself (PEP 723).",
        usage=f"omnipkg-meta run [--with REQ] [--bubble NAME] {PROGRAM}",
        allow_abbrev=False,
    )
    add_program_options(run)
    run.set_defaults(run=_run, parser=run)


def add_program_options(run: argparse.ArgumentParser) -> None:
    """Add the options that say which bubbles a program gets."""
    run.add_argument(
        "--with",
        dest="requirements",
        metavar="REQ",
        action="append",
        default=[],
        help="a PEP 508 string; several are resolved together into one bubble, "
        "and so is what the script says that it needs",
    )
    run.add_argument(
        "--bubble",
        dest="names",
        metavar="NAME",
        action="append",
        default=[],
        help="a bubble that the pyproject.toml here or above names",
    )
    run.add_argument(
        "--install", action="store_true", help="make the bubble first if it is missing"
    )
    add_compile_option(run)
    run.add_argument("--store", metavar="DIR", help="the store to look in")


def _run(arguments: argparse.Namespace) -> int:
    return run_program(arguments)


def run_program(arguments: argparse.Namespace, *, map_file: str | None = None) -> int:
    """Run the program; this process becomes it, where the system can do that.

    Args:
        arguments: what the options of :func:`add_program_options` said, and ``program``.
        map_file: where it is to leave a map of itself, if anywhere.
    """
    from omnipkg_meta import inline, launch
    from omnipkg_meta.store.store import Store

    program = _program(arguments)
    said = None if program[0].startswith("-") else inline.read(program[0])
    if map_file is None and said is None and not arguments.requirements and not arguments.names:
        arguments.parser.error(
            "say what to run it with: --with REQ, --bubble NAME, or `# /// script` in the script"
        )
    store = Store(arguments.store)
    bubbles = [*_of_requirements(arguments, said, store), *_of_project(arguments, store)]
    script = None if os.path.exists(program[0]) else launch.script_of(bubbles, program[0])
    command = [sys.executable, *_interpreter_flags(), *program]
    if script is not None:
        command = [str(script), *program[1:]]
    return _replace_process(command, launch.environment(bubbles, map_file=map_file))


def _of_requirements(
    arguments: argparse.Namespace, said: Script | None, store: Store
) -> list[Bubble]:
    """Return the bubble of what was asked for here and in the script; none where main serves."""
    from omnipkg_meta.requirements import satisfied_by_main
    from omnipkg_meta.store.build import install

    requirements = [*arguments.requirements, *(said.dependencies if said else ())]
    if not requirements:
        return []
    found = store.find(requirements)
    if found is not None:
        return [found]
    if satisfied_by_main(requirements):
        return []
    if _may_install(arguments):
        from omnipkg_meta.cli.output import Progress

        with Progress() as progress:
            return [
                install(
                    requirements,
                    store=store,
                    compile_bytecode=arguments.compile_bytecode,
                    progress=progress,
                )
            ]
    return [store.require(requirements)]


def _of_project(arguments: argparse.Namespace, store: Store) -> list[Bubble]:
    """Return the bubbles of the project; none for those that main serves.

    Raises:
        ProjectError: one of them has terms, which end at the process.
    """
    from omnipkg_meta.errors import ProjectError
    from omnipkg_meta.store.build import install

    if not arguments.names:
        return []
    from omnipkg_meta.projects import named

    bubbles = []
    for one in named(arguments.names):
        if one.terms:
            raise ProjectError(
                f"the bubble {one.name!r} cannot be laid over a whole program",
                cause=f"{one.file} gives it terms: {', '.join(one.terms.arguments())}",
                tip=f"enter it in the program: use(project({one.name!r}))",
                file=one.file,
            )
        found = one.find(store)
        if found is None and not one.served_by_main():
            if not _may_install(arguments):
                raise one.not_found(store)
            found = install(
                one.requirements,
                lock=one.lock,
                store=store,
                compile_bytecode=arguments.compile_bytecode,
            )
        bubbles += [] if found is None else [found]
    return bubbles


def _may_install(arguments: argparse.Namespace) -> bool:
    from omnipkg_meta import config

    return arguments.install or config.install_missing()


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return our own words, and the program's with its arguments.

    Args:
        words: the command line from ``run`` (or ``map``) on.
    """
    index = 1
    while index < len(words):
        word = words[index]
        if word == "--":
            return words[:index], words[index + 1 :]
        if word in _VALUED:
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
