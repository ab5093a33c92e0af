"""How bash, zsh and fish are told what to complete.

Owns the three scripts.  Must not know which commands there are.

Ids of bubbles are asked for when they are needed, by ``omnipkg-meta list``; all else
stands in the script.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from omnipkg_meta.cli.completion import Command, Option

__all__ = ["bash", "fish", "zsh"]

_NAME = "omnipkg-meta"
_GENERAL = {"--help": "show this help message and exit", "--version": "print the version and exit"}
_IDS = f"{_NAME} list 2>/dev/null"


# bash

_BASH = """\
_omnipkg_meta_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_omnipkg_meta_files() { compopt -o default; COMPREPLY=(); }
_omnipkg_meta_directories() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
}
_omnipkg_meta_bubbles() { _omnipkg_meta_words "$(IDS | cut -d ' ' -f 1)"; }
_omnipkg_meta() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' at
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            -*) ;;
            *) command=${COMP_WORDS[at]}; break ;;
        esac
    done
    case $command in
        '') _omnipkg_meta_words NAMES ;;
CASES
    esac
}
complete -F _omnipkg_meta omnipkg-meta
"""


def bash(commands: Sequence[Command]) -> str:
    """Return the script for bash, 4.4 and newer."""
    names = shlex.quote(" ".join([*(one.name for one in commands), *_GENERAL]))
    cases = "\n".join(_bash_case(one) for one in commands)
    return _filled(_BASH, IDS=_IDS, NAMES=names, CASES=cases)


def _filled(script: str, **parts: str) -> str:
    """Return a script with its parts put in, each where its name stands."""
    return re.sub("|".join(parts), lambda match: parts[match[0]], script)


def _bash_case(command: Command) -> str:
    flags = shlex.quote(" ".join(flag for one in command.options for flag in one.flags))
    taking = [one for one in command.options if one.kind]
    lines = [f"        {command.name})"]
    if command.kind == "program":
        # From the program's own words on there are files, and no options of ours.
        values = "|".join(flag for one in taking for flag in one.flags)
        lines += [
            "            for ((at++; at < COMP_CWORD; at++)); do",
            "                case ${COMP_WORDS[at]} in",
            f"                    {values}) ((at++)) ;;",
            "                    -m|-c|-) _omnipkg_meta_files; return ;;",
            "                    -*) ;;",
            "                    *) _omnipkg_meta_files; return ;;",
            "                esac",
            "            done",
        ]
    if taking:
        lines.append("            case $prev in")
        lines += [
            f"                {'|'.join(one.flags)}) {_bash_word(one.kind, one.choices)}; return ;;"
            for one in taking
        ]
        lines.append("            esac")
    lines += [
        "            case $cur in",
        f"                -*) _omnipkg_meta_words {flags} ;;",
        f"                *) {_bash_word(command.kind, command.choices)} ;;",
        "            esac ;;",
    ]
    return "\n".join(lines)


def _bash_word(kind: str, choices: Sequence[str]) -> str:
    if choices:
        return f"_omnipkg_meta_words {shlex.quote(' '.join(choices))}"
    return {
        "file": "_omnipkg_meta_files",
        "program": "_omnipkg_meta_files",
        "requirement": "_omnipkg_meta_files",  # of wheels
        "directory": "_omnipkg_meta_directories",
        "bubble": "_omnipkg_meta_bubbles",
    }.get(kind, ":")


# zsh

_ZSH = """\
#compdef omnipkg-meta
_omnipkg_meta_bubbles() {
    local -a ids
    ids=(${(f)"$(IDS | cut -d ' ' -f 1)"})
    compadd -a ids
}
_omnipkg_meta() {
    local curcontext="$curcontext" state line
    local -a commands
    commands=(
NAMES
    )
    _arguments -C GENERAL '1: :->command' '*:: :->words'
    case $state in
        command) _describe -t commands command commands ;;
        words)
            case $words[1] in
CASES
            esac ;;
    esac
}
if [ "$funcstack[1]" = _omnipkg_meta ]; then
    _omnipkg_meta "$@"
else
    compdef _omnipkg_meta omnipkg-meta
fi
"""


def zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh."""
    names = "\n".join(f"        {shlex.quote(f'{one.name}:{one.help}')}" for one in commands)
    general = " ".join(
        shlex.quote(f"(- *){flag}[{_zsh_text(text)}]") for flag, text in _GENERAL.items()
    )
    cases = "\n".join(_zsh_case(one) for one in commands)
    return _filled(_ZSH, IDS=_IDS, NAMES=names, GENERAL=general, CASES=cases)


def _zsh_case(command: Command) -> str:
    words = [word for one in command.options for word in _zsh_option(one)]
    if command.kind == "program":
        words = ["-A", "-*", *words, "*::program:_files"]  # no options of ours after it
    elif command.kind:
        words.append(f"*:{_zsh_word(command.kind, command.choices)}")
    listed = " \\\n                        ".join(map(shlex.quote, words))
    return f"                {command.name})\n                    _arguments {listed} ;;"


def _zsh_option(option: Option) -> Iterable[str]:
    takes = f":{_zsh_word(option.kind, option.choices)}" if option.kind else ""
    for flag in option.flags:
        yield f"*{flag}[{_zsh_text(option.help)}]{takes}"


def _zsh_word(kind: str, choices: Sequence[str]) -> str:
    if choices:
        return f"word:({' '.join(choices)})"
    return {
        "file": "file:_files",
        "requirement": "requirement:_files",  # of wheels
        "directory": "directory:_files -/",
        "bubble": "bubble:_omnipkg_meta_bubbles",
    }.get(kind, "word: ")


def _zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


# fish


def fish(commands: Sequence[Command]) -> str:
    """Return the script for fish, 3.0 and newer."""
    lines = [f"complete -c {_NAME} -f"]
    first = "__fish_use_subcommand"
    for flag, text in _GENERAL.items():
        lines.append(f"complete -c {_NAME} -n {first} -l {flag[2:]} -d {_fish_text(text)}")
    for command in commands:
        lines.append(
            f"complete -c {_NAME} -n {first} -a {command.name} -d {_fish_text(command.help)}"
        )
        here = f"complete -c {_NAME} -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            flags = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in option.flags
            )
            takes = _fish_word(option.kind, option.choices, "-r") if option.kind else ""
            lines.append(f"{here} {flags} {takes}-d {_fish_text(option.help)}")
        if command.kind:
            lines.append(f"{here} {_fish_word(command.kind, command.choices)}".rstrip())
    return "\n".join(lines) + "\n"


def _fish_word(kind: str, choices: Sequence[str], takes: str = "") -> str:
    """Return what completes a word; *takes* says that an option takes it."""
    if choices:
        return f"{takes and '-x '}-a {_fish_text(' '.join(choices))} "
    if kind == "bubble":
        return f"{takes and '-x '}-a '({_IDS} | string split -f 1 \" \")' "
    if kind == "directory":
        return f"{takes and '-x '}-a '(__fish_complete_directories)' "
    if kind in ("file", "program", "requirement"):
        return f"{takes and '-r '}-F "
    return "-x " if takes else ""


def _fish_text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
