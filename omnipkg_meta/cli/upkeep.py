"""The commands that keep a store in order: ``gc`` and ``doctor``.

Owns their options and what they print.  Must not know by which rules they work.
"""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from omnipkg_meta.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_commands"]

_DONE, _FAILED = 0, 1

_SECONDS = {"s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60, "w": 7 * 24 * 60 * 60}
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_commands(commands: Commands) -> None:
    """Add this file's commands to the parser."""
    text = "delete what killed programs left behind, and bubbles that are old, unused or too much"
    gc = _command(commands, "gc", _gc, text)
    gc.add_argument(
        "--older-than", metavar="AGE", type=_age, help="bubbles made longer ago, for example 30d"
    )
    gc.add_argument(
        "--unused-since",
        metavar="AGE",
        type=_age,
        help="bubbles not used for so long; with --older-than, those for which both is true",
    )
    gc.add_argument(
        "--max-size",
        metavar="SIZE",
        type=_size,
        help="then the least recently used, until the rest takes no more, for example 10GB",
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")

    text = "look for what is wrong with the store, and say what to do about it"
    doctor = _command(commands, "doctor", _doctor, text)
    doctor.add_argument("--fix", action="store_true", help="do what can be done without asking")


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text.capitalize() + ".", allow_abbrev=False
    )
    parser.add_argument("--store", metavar="DIR", help="the store's directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def _gc(arguments: argparse.Namespace) -> int:
    from omnipkg_meta.store.store import Store

    store = Store(arguments.store)
    done = store.gc(
        older_than=arguments.older_than,
        unused_since=arguments.unused_since,
        max_size=arguments.max_size,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        output.json(
            {
                "store": str(store.path),
                "tag": store.tag,
                "dry_run": arguments.dry_run,
                "removed": list(done.removed),
                "in_use": list(done.in_use),
                "litter": done.litter,
                "freed": done.freed,
                "size": done.size,
            }
        )
    else:
        for one in done.removed:
            output.data(one)
    for one in done.in_use:
        output.note(f"{one} is in use, and stays")
    would = "would remove" if arguments.dry_run else "removed"
    what = [f"{len(done.removed)} bubble{'' if len(done.removed) == 1 else 's'}"]
    if done.litter:
        what.append(f"{done.litter} left-over{'' if done.litter == 1 else 's'} of killed programs")
    output.note(
        f"{would} {' and '.join(what)}, {output.size(done.freed)}; "
        f"{output.size(done.size)} remain in use of the disk"
    )
    return _DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from omnipkg_meta import acceleration
    from omnipkg_meta.store.doctor import examine
    from omnipkg_meta.store.store import Store

    store = Store(arguments.store)
    mended: list[str] = []
    while True:
        with output.Progress() as progress:
            findings = list(examine(store, progress))
        mends = [one for one in findings if one.mend and one.what not in mended]
        if not (arguments.fix and mends):
            break
        for one in mends:
            if one.mend is not None:
                one.mend()
            mended.append(one.what)
            output.note(f"mended: {one.what}")
    accelerator, why = acceleration.state()
    if arguments.json:
        output.json(
            {
                "store": str(store.path),
                "tag": store.tag,
                "mended": mended,
                "accelerator": {"used": accelerator is not None, "why": why},
                "findings": [
                    {
                        "what": one.what,
                        "cause": one.cause,
                        "tip": one.tip,
                        "wrong": one.wrong,
                        "path": None if one.path is None else str(one.path),
                        "can_be_mended": one.mend is not None,
                    }
                    for one in findings
                ],
            }
        )
    else:
        for one in findings:
            output.data(f"{'wrong' if one.wrong else 'note'}: {one.what}")
            output.data(f"  cause: {one.cause}")
            output.data(f"  tip: {one.tip}")
    output.note(f"imports are looked up {'in C' if accelerator else 'in Python'}: {why}")
    wrong = sum(one.wrong for one in findings)
    if not wrong:
        output.note("nothing is wrong")
    elif any(one.wrong and one.mend for one in findings):
        output.note("add --fix to have done what can be done without asking")
    return _FAILED if wrong else _DONE


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write 12h, 30d or 8w")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than anything can be") from None


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500MB, 10GB or 10GiB")
    unit = match[2].upper()
    factor = 1024 ** " KMGT".index(unit) if match[3] else _BYTES[unit]
    try:
        return int(float(match[1]) * factor)
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is more than any disk has") from None
