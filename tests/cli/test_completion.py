"""Completion, by the shells themselves: a line is typed with a tab in it, and run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli import main, make_parser
from omnipkg_meta.cli.completion import commands_of
from omnipkg_meta.cli.shells import bash, fish, zsh

if TYPE_CHECKING:
    from pathlib import Path

#: What is typed, and the words that the command gets.
LINES = {
    "inst\t": "install",
    "install --builder u\t": "install --builder uv",
    "install --allow\t": "install --allow-build",
    "show one-\t": "show one-1.0+x-abc",
    "remove -y tw\t": "remove -y two-2",
    "run --with x --inst\t": "run --with x --install",
    "map -o out.html scri\t": "map -o out.html script.py",
    "run --with x script.py --with fil\t": "run --with x script.py --with file.txt",
    "export -o fil\t": "export -o file.txt",
    "list --store dire\t": "list --store directory",
    "completion fi\t": "completion fish",
    "gc --older-than fil\t": "gc --older-than fil",
}

_SPAWN = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def typed(shell: list[str], begin: str, tmp_path: Path) -> list[str]:
    """Type the lines into an interactive shell, and return what the command got."""
    for name in ("script.py", "file.txt"):
        (tmp_path / name).touch()
    (tmp_path / "directory").mkdir()
    command = (
        'omnipkg-meta() { if [ "$1 $2" = "list " ]; then '
        "printf '%s\\n' 'one-1.0+x-abc  one' 'two-2  two'; "
        "else printf 'GOT:%s:END\\n' \"$*\"; fi; }"
    )
    lines = [begin, command, *(f"omnipkg-meta {one}" for one in LINES), "exit"]
    done = subprocess.run(
        [sys.executable, "-c", _SPAWN, *shell],
        input="\n".join([*lines, ""]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "HOME": str(tmp_path), "PS1": "$ "},
        timeout=60,
        check=False,
    )
    got = re.findall(r"^GOT:(.*?):END", done.stdout, re.MULTILINE)
    assert got, done.stdout + done.stderr
    # zsh takes the slash away again.
    return [one.rstrip("/ ") for one in got]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(bash(commands_of(make_parser())))
    begin = f"source {script}"
    assert typed(["bash", "--norc", "-i"], begin, tmp_path) == list(LINES.values())


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh (Debian: zsh)")
def test_zsh_completes(tmp_path: Path) -> None:
    script = tmp_path / "completion.zsh"
    script.write_text(zsh(commands_of(make_parser())))
    begin = f"autoload -U compinit && compinit -u -D && source {script}"
    assert typed(["zsh", "-f", "-i"], begin, tmp_path) == list(LINES.values())


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish (Debian: fish)")
def test_fish_completes(tmp_path: Path) -> None:
    for name in ("script.py", "file.txt"):
        (tmp_path / name).touch()
    (tmp_path / "directory").mkdir()
    script = tmp_path / "completion.fish"
    script.write_text(fish(commands_of(make_parser())))
    lines = [
        f"source {script}",
        "function omnipkg-meta; printf '%s\\n' 'one-1.0+x-abc  one' 'two-2  two'; end",
        *(f"complete -C 'omnipkg-meta {one}'; echo END" for one in map(str.strip, LINES)),
    ]
    done = subprocess.run(
        ["fish", "--no-config"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert not done.stderr
    offered = [
        [line.partition("\t")[0] for line in one.splitlines() if line]
        for one in done.stdout.split("END\n")[:-1]
    ]
    for words, found in zip(LINES.values(), offered, strict=True):
        word = words.rpartition(" ")[2]
        assert (word in [one.rstrip("/") for one in found]) is (word != "fil"), (words, found)


def test_what_is_completed_is_what_the_parser_has() -> None:
    commands = {one.name: one for one in commands_of(make_parser())}
    assert {"install", "list", "run", "map", "completion"} <= commands.keys()
    (builder,) = (one for one in commands["install"].options if "--builder" in one.flags)
    assert builder.choices == ("auto", "uv", "pip")
    assert commands["show"].kind == "bubble"
    assert {one.kind for one in commands["list"].options if "--json" in one.flags} == {""}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_data_on_stdout(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    captured = capsys.readouterr()
    assert "omnipkg-meta" in captured.out
    assert captured.err == ""
    assert main(["completion", "tcsh"]) == 2
