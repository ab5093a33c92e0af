"""The commands about bubbles: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli import main
from tests.wheels import names

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.store import Store
    from tests.conftest import MakeBubble, Wheelhouse

Output = pytest.CaptureFixture[str]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omnipkg_meta", *words], capture_output=True, text=True, check=False
    )


def test_install_prints_the_path_of_the_bubble_and_tells_the_rest_on_stderr(
    wheelhouse: Wheelhouse, store: Store, capsys: Output
) -> None:
    wheelhouse.make("leaf", "1.0")
    assert main(["install", "leaf", *wheelhouse.options]) == 0
    captured = capsys.readouterr()
    (bubble,) = store.bubbles()
    assert captured.out == f"{bubble.path}\n"
    assert captured.err.startswith(f"installed {bubble.id}: 1 distribution, ")
    assert main(["install", "leaf", *wheelhouse.options, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["distributions"] == {"leaf": "1.0"}
    assert captured.err == f"{bubble.id} is there already\n"


def test_list_and_show_print_what_is_there(make_bubble: MakeBubble, capsys: Output) -> None:
    assert main(["list"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err[:10]) == ("", "no bubbles")
    bubble = make_bubble({"leaf==1.0": None})
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == [bubble.id, "leaf==1.0", "1", bubble.created[:10]]
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in listed["bubbles"]] == [bubble.id]
    for word in (bubble.id, "leaf", "leaf<2"):
        assert main(["show", word]) == 0
        assert "  leaf 1.0\n" in capsys.readouterr().out
    assert main(["show", "leaf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["import_names"] == {"leaf": ["leaf"]}


def test_show_of_what_is_not_there_fails_with_the_command_last(capsys: Output) -> None:
    assert main(["show", "leaf==2"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.partition(":")[0] for line in captured.err.splitlines()] == [
        "error",
        "cause",
        "tip",
    ]
    assert captured.err.splitlines()[-1] == "tip: omnipkg-meta install 'leaf==2'"


def test_remove_asks_first_and_takes_only_bubbles_made_for_it(
    wheelhouse: Wheelhouse, make_bubble: MakeBubble, store: Store, capsys: Output
) -> None:
    wheelhouse.make("user", "1.0", requires=["leaf"])
    leaf, user = make_bubble({"leaf==1.0": None}), make_bubble({}, "user")
    assert main(["remove", "leaf"]) == 2, "nobody to ask, and no --yes"
    assert len(store.bubbles()) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["remove", "leaf", "--yes"]) == 0
    assert capsys.readouterr().out == f"{leaf.id}\n"
    assert store.bubbles() == [user]
    assert main(["remove", "leaf", "--yes"]) == 1
    shutil.rmtree(user.site_packages)
    assert main(["remove", user.id, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [user.id], "in_use": {}}
    assert names(store.tag_path) == []


def test_verify_says_what_is_wrong_and_fails(make_bubble: MakeBubble, capsys: Output) -> None:
    good, bad = make_bubble({"leaf==1.0": None}), make_bubble({"leaf==2.0": None})
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == f"{good.id}: ok\n{bad.id}: ok\n"
    (bad.site_packages / "added.py").write_text("")
    assert main(["verify", "--all"]) == 1
    assert capsys.readouterr().out == f"{good.id}: ok\n{bad.id}: 1 wrong\n  added.py was added\n"
    assert main(["verify", good.id]) == 0
    shutil.rmtree(bad.site_packages)
    capsys.readouterr()
    assert main(["verify", "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert problems == {good.id: [], bad.id: ["its site-packages directory is gone"]}


def test_another_store_can_be_named(wheelhouse: Wheelhouse, store: Store, capsys: Output) -> None:
    other = store.path.parent / "other"
    wheelhouse.make("leaf", "1.0")
    assert main(["install", "leaf", *wheelhouse.options, "--store", str(other)]) == 0
    assert capsys.readouterr().out.startswith(str(other))
    assert store.bubbles() == []
    assert main(["show", "missing", "--store", str(other)]) == 1
    assert capsys.readouterr().err.rstrip().endswith(f"--store {other}")


@pytest.mark.parametrize(
    "words",
    [
        ["install"],
        ["install", "--no-such-option", "x"],
        ["no-such-command"],
        [],
        ["install", "../x"],
        ["install", "rich=1"],
        ["install", "x", "--builder", "conda"],
    ],
)
def test_wrong_usage_is_exit_code_two(words: list[str], capsys: Output) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("OMNIPKG_META_BUILDER", "conda")
    assert main(["install", "leaf"]) == 2
    assert "OMNIPKG_META_BUILDER" in capsys.readouterr().err


def test_help_and_version_are_no_failure(capsys: Output) -> None:
    assert main(["--help"]) == 0
    assert "install" in capsys.readouterr().out
    assert main(["install", "--help"]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("omnipkg-meta ")


def test_help_imports_neither_packaging_nor_platformdirs() -> None:
    code = (
        "import sys; from omnipkg_meta.cli import main; main(['--help']);"
        "print([n for n in ('packaging', 'platformdirs') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_traceback(make_bubble: MakeBubble) -> None:
    for number in range(3):
        make_bubble({f"leaf==1.{number}": None})
    process = subprocess.Popen(
        [sys.executable, "-m", "omnipkg_meta", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait() == 1


def test_the_process_ends_at_once_and_nothing_that_was_said_or_was_to_be_done_is_lost(
    make_bubble: MakeBubble, tmp_path: Path
) -> None:
    for number in range(30):
        make_bubble({f"leaf==1.{number}": None})
    mark = tmp_path / "mark"
    program = (
        "import atexit, sys\n"
        "from omnipkg_meta.cli import command\n"
        f"atexit.register(open({str(mark)!r}, 'w').write, 'done at exit')\n"
        "sys.argv[1:] = ['list', '--json']\n"
        "class Slow:\n"
        "    def __del__(self): sys.stderr.write('taken apart')\n"
        "sys.slow = Slow()\n"
        "command()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert len(json.loads(done.stdout)["bubbles"]) == 30
    assert (done.returncode, done.stderr, mark.read_text()) == (0, "", "done at exit")
    assert run("show", "leaf==2").returncode == 1
    assert run("show").returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_what_cannot_be_written_is_no_success(make_bubble: MakeBubble) -> None:
    make_bubble({"leaf==1.0": None})
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "omnipkg_meta", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "No space left" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_ends_with_130_and_leaves_nothing(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(60)
        address = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        process = subprocess.Popen(
            [sys.executable, "-m", "omnipkg_meta", "install", "x", "--index-url", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        connection, _ = index.accept()  # and never an answer: the build is under way, and stays so
        assert names(store.tag_path) != []
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        connection.close()
    assert (out, errors, process.returncode) == ("", "interrupted\n", 130)
    assert names(store.tag_path) == []


def test_colour_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    from omnipkg_meta.cli import output

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not output.coloured(sys.stderr)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert output.coloured(sys.stderr)
    assert output.paint("x", "red", sys.stderr) == "\033[31mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.coloured(sys.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_progress_is_shown_on_a_terminal_and_cleared(wheelhouse: Wheelhouse) -> None:
    import pty

    wheelhouse.make("leaf", "1.0")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "omnipkg_meta", "install", "leaf", *wheelhouse.options],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
    )
    os.close(theirs)
    process.communicate()
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.returncode == 0
    assert b"resolving leaf" in shown
    assert shown.rindex(b"\r\x1b[K") < shown.index(b"installed leaf-1.0")


def test_a_lock_is_exported_and_makes_the_same_bubble_in_another_store(
    make_bubble: MakeBubble, store: Store, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = make_bubble({"leaf==1.0": None}, "leaf<2")
    for word in (bubble.id, "leaf"):
        assert main(["export", word]) == 0
        captured = capsys.readouterr()
        assert captured.out == bubble.lock.read_text()
        assert captured.err == ""
    file, other = store.path.parent / "file", str(store.path.parent / "other")
    assert main(["export", "leaf", "-o", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert file.read_text() == bubble.lock.read_text()
    assert main(["install", "--lock", str(file), "--store", other, "--no-index", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["id"] == bubble.id
    assert made["requested"] == ["leaf<2"]
    monkeypatch.setattr("sys.stdin", io.StringIO(file.read_text()))
    assert main(["install", "--lock", "-", "--store", other]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{made['path']}\n"
    assert captured.err == f"{bubble.id} is there already\n"


def test_what_cannot_be_exported_or_made_from_a_lock_says_error_cause_and_tip(
    make_bubble: MakeBubble, store: Store, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    file = store.path.parent / "pylock.toml"
    file.write_text(bubble.lock.read_text().replace("lock-version", "no-version"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for words, code in (
        (["export", "leaf==2"], 1),
        (["export", "leaf", "-o", str(store.path)], 1),
        (["install", "--lock", str(file.parent / "missing")], 1),
        (["install", "--lock", str(file)], 1),
        (["install", "--lock", "-"], 1),
        (["install", "leaf=1", "--lock", str(bubble.lock)], 2),
    ):
        assert main(words) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        kinds = [line.partition(":")[0] for line in captured.err.splitlines()]
        assert kinds[:2] == ["error", "cause"], words
    for usage in (["export"], ["export", "leaf", "--json"], ["install", "--lock"]):
        assert main(usage) == 2
