"""The command line: ``omnipkg-meta``, also ``python -m omnipkg_meta``.

Owns the parser's frame, the exit codes and what happens on errors, Ctrl-C and a
closed pipe.  Must not know any command: each group of commands is a file beside
this one, named in ``GROUPS``, that registers itself with ``add_commands``.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from omnipkg_meta.errors import ConfigError, OmnipkgMetaError, RequirementError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GROUPS", "command", "main", "make_parser"]

#: The files of this package that hold commands, in the order in which help lists them, and
#: which each holds: to run one, no other file is loaded.
GROUPS = {
    "store": ("install", "export", "list", "show", "remove", "verify"),
    "upkeep": ("gc", "doctor"),
    "project": ("sync",),
    "checkers": ("types",),
    "run": ("run",),
    "map": ("map",),
    "explain": ("explain", "which"),
    "demo": ("demo",),
    "completion": ("completion",),
}

#: Those whose commands run nobody's code but ours.
_OURS = ("store", "upkeep", "project", "completion")

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = (
    "Several versions of one package, alive at once in one Python process, "
    "each seen only by the code that asked for it."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words after the program's name; those of ``sys.argv`` when not given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    program: list[str] = []
    if words[:1] in (["run"], ["map"]):
        from omnipkg_meta.cli.run import split

        # argparse would take the program's own options, and its "--", for ours.
        words, program = split(words)
    try:
        arguments = make_parser(words[:1]).parse_args(words)
        arguments.program = program
    except SystemExit as exit_:  # how argparse says help, version and wrong usage
        return exit_.code if isinstance(exit_.code, int) else USAGE
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except OmnipkgMetaError as error:
        from omnipkg_meta.cli import output

        output.error(error)
        return USAGE if isinstance(error, (RequirementError, ConfigError)) else FAILED
    except KeyboardInterrupt:
        from omnipkg_meta.cli import output

        output.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough. Python flushes stdout once more at exit: give it
        # something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def command() -> NoReturn:
    """Run the command that this process was started for, and end it."""
    import gc

    if any(name in GROUPS[group] for group in _OURS for name in sys.argv[1:2]):
        # To look for garbage in what a command loads, and once more when all of it is thrown
        # away, takes longer than the rest of its start.
        gc.set_threshold(100_000)
        _end(main())
    sys.exit(main())


def _end(code: int) -> NoReturn:
    """End the process without taking apart what the kernel is about to free anyway.

    What was to be done at exit is done first, by what ``Py_FinalizeEx`` calls for it; and if
    the streams do not take what is left in them, the interpreter ends as it does and says so.
    """
    import atexit
    import threading

    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as there
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed; or there are none (None)
        sys.exit(code)
    os._exit(code)


def make_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser with all commands, or with the group that has the one of the first word."""
    parser = argparse.ArgumentParser(
        prog="omnipkg-meta", description=_DESCRIPTION, allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    wanted = [group for group, names in GROUPS.items() if words and words[0] in names]
    for group in wanted or GROUPS:
        importlib.import_module(f"{__name__}.{group}").add_commands(commands)
    return parser


class _Version(argparse.Action):
    """Print the version; the package is looked at only when somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import omnipkg_meta

        print(f"omnipkg-meta {getattr(omnipkg_meta, '__version__', 'unknown')}")
        parser.exit()
