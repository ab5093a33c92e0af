"""``omnipkg-meta completion bash|zsh|fish``: what makes a shell complete our command lines.

Owns the command, and what is read from the parser for it: commands, options, and what
kind of word each takes.  How a shell is told stands in :mod:`omnipkg_meta.cli.shells`.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from omnipkg_meta.cli import output

__all__ = ["Command", "Option", "add_commands", "commands_of"]

#: What a word is, by the name that help gives it.
_KINDS = {
    "FILE": "file",
    "DIR": "directory",
    "DIR|URL": "directory",
    "ID|REQ": "bubble",
    "script.py:LINE": "file",
    "REQ": "requirement",
}
#: Commands after whose options a program stands, with words of its own.
_PROGRAMS = frozenset({"run", "map"})


class Option(NamedTuple):
    """An option of a command.

    Attributes:
        flags: its spellings.
        help: what it does.
        kind: what kind of word it takes: ``file``, ``directory``, ``bubble``, ``requirement``,
            ``other``; empty where it takes none.
        choices: the words that it takes, where these are all.
    """

    flags: tuple[str, ...]
    help: str
    kind: str = ""
    choices: tuple[str, ...] = ()


class Command(NamedTuple):
    """A command.

    Attributes:
        name: its name.
        help: what it does.
        options: its options.
        kind: what kind of words it takes beside them, as of an option; or ``program``.
        choices: the words that it takes, where these are all.
    """

    name: str
    help: str
    options: tuple[Option, ...]
    kind: str = ""
    choices: tuple[str, ...] = ()


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's command to the parser."""
    completion = commands.add_parser(
        "completion",
        help="print what makes a shell complete these commands",
        description="Print a script that makes a shell complete the commands and options of "
        'omnipkg-meta. For bash, in ~/.bashrc: eval "$(omnipkg-meta completion bash)"; for zsh '
        "the same in ~/.zshrc, after compinit; for fish: omnipkg-meta completion fish > "
        "~/.config/fish/completions/omnipkg-meta.fish",
        allow_abbrev=False,
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    completion.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    from omnipkg_meta.cli import make_parser, shells

    writer = {"bash": shells.bash, "zsh": shells.zsh, "fish": shells.fish}[arguments.shell]
    output.data(writer(commands_of(make_parser())).rstrip("\n"))
    return 0


def commands_of(parser: argparse.ArgumentParser) -> list[Command]:
    """Read the commands of a parser."""
    # argparse has no other way to ask for them.
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    helps = {one.dest: one.help or "" for one in action._choices_actions}
    return [_command(name, helps[name], one) for name, one in action.choices.items()]


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Command:
    options: list[Option] = []
    kind, choices = "", tuple[str, ...]()
    for action in parser._actions:
        words = tuple(map(str, action.choices or ()))
        if action.option_strings:
            takes = "" if action.nargs == 0 else _kind(action)
            flags = tuple(action.option_strings)
            options.append(Option(flags, action.help or "", takes, words))
        elif not kind:
            kind, choices = _kind(action), words
    return Command(name, text, tuple(options), "program" if name in _PROGRAMS else kind, choices)


def _kind(action: argparse.Action) -> str:
    return _KINDS.get(str(action.metavar), "other")
