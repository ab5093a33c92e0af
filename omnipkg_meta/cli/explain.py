"""``omnipkg-meta explain`` and ``which``: why an import resolves as it does, and to which file.

Owns the commands' options, and how a program is run up to the line in question.
Must not know the rules.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta.cli import output

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from omnipkg_meta.explanation import Explanation

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's commands to the parser."""
    explain = commands.add_parser(
        "explain",
        help="say why an import resolves as it does",
        description="Run a program up to a line, and say how an import in that line resolves: "
        "which rule answers, for whom, from where, and what else there was.",
        allow_abbrev=False,
    )
    explain.add_argument("name", metavar="NAME", help="the full name of a module")
    explain.add_argument(
        "--in",
        dest="place",
        metavar="script.py:LINE",
        required=True,
        help="where the import stands, or could stand; the program stops there",
    )
    explain.add_argument("arguments", nargs="*", metavar="ARG", help="arguments of the program")
    explain.set_defaults(run=_explain, parser=explain)
    which = commands.add_parser(
        "which",
        help="say which file a module would be imported from",
        description="Say which file a module would be imported from in a scope; import nothing.",
        allow_abbrev=False,
    )
    which.add_argument("name", metavar="MODULE", help="the full name of a module")
    which.set_defaults(run=_which, parser=which)
    for parser in (explain, which):
        parser.add_argument(
            "--with",
            dest="requirements",
            metavar="REQ",
            action="append",
            default=[],
            help="a PEP 508 string; several are resolved together into one bubble",
        )
        parser.add_argument("--store", metavar="DIR", help="the store to look in")
        parser.add_argument("--json", action="store_true", help="print JSON")


def _which(arguments: argparse.Namespace) -> int:
    import omnipkg_meta

    _check_name(arguments)
    if arguments.requirements:
        with omnipkg_meta.use(*arguments.requirements, store=arguments.store):
            found = _seen_by_a_user(arguments.name)
    else:
        found = _seen_by_a_user(arguments.name)
    if arguments.json:
        output.json(_facts(found))
    elif found.origin is not None:
        output.data(found.origin)
    if found.origin is None:
        output.note(f"there is no module {arguments.name!r} with a file there")
    return 0 if found.origin is not None else 1


def _seen_by_a_user(name: str) -> Explanation:
    """Explain an import of code that belongs to nobody but the user."""
    from omnipkg_meta.explanation import explain

    namespace: dict[str, Any] = {"__name__": "__main__", "explain": explain, "name": name}
    exec("found = explain(name)", namespace)  # noqa: S102  # a frame of the user's own
    found: Explanation = namespace["found"]
    return found


class _Reached(BaseException):
    """Raised to end the program at the line in question."""


def _explain(arguments: argparse.Namespace) -> int:
    _check_name(arguments)
    script, line = _place(arguments)
    found: list[Explanation] = []

    def trace(frame: FrameType, _: str, __: object) -> Any:
        return at_line if os.path.abspath(frame.f_code.co_filename) == script else None

    def at_line(frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and frame.f_lineno == line and not found:
            from omnipkg_meta.explanation import explain_for

            sys.settrace(None)
            found.append(explain_for(arguments.name, frame))
            raise _Reached
        return at_line

    if arguments.requirements:
        import omnipkg_meta

        omnipkg_meta.activate(*arguments.requirements, store=arguments.store)
    import threading

    sys.argv = [script, *arguments.arguments]
    sys.path.insert(0, os.path.dirname(script))
    threading.settrace(trace)
    sys.settrace(trace)
    ended = "it ended"
    try:
        runpy.run_path(script, run_name="__main__")
    except _Reached:
        pass
    except SystemExit as exit_:
        ended = f"it exited with {exit_.code!r}"
    except Exception as error:  # noqa: BLE001  # the program's own; told below if it matters
        ended = f"it raised {type(error).__name__}: {error}"
    finally:
        sys.settrace(None)
        threading.settrace(None)
    if not found:
        output.note(f"line {line} of {script} was never run: {ended} before")
        return 1
    if arguments.json:
        output.json(_facts(found[0]))
    else:
        output.data(str(found[0]))
    return 0


def _place(arguments: argparse.Namespace) -> tuple[str, int]:
    script, _, line = arguments.place.rpartition(":")
    if not script or not line.isdecimal() or not int(line):
        arguments.parser.error(f"--in takes script.py:LINE, not {arguments.place!r}")
    if not os.path.isfile(script):
        arguments.parser.error(f"there is no file {script!r}")
    return os.path.abspath(script), int(line)


def _check_name(arguments: argparse.Namespace) -> None:
    if not all(map(str.isidentifier, arguments.name.split("."))):
        arguments.parser.error(f"{arguments.name!r} is no module name")


def _facts(found: Explanation) -> dict[str, Any]:
    facts = {**vars(found), "candidates": [dict(vars(one)) for one in found.candidates]}
    for one in (facts, *facts["candidates"]):
        one["bubble"] = None if one["bubble"] is None else one["bubble"].id
    return facts
