"""Inline script metadata (PEP 723), as it is read and as ``run`` follows it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta import inline
from omnipkg_meta.errors import ScriptError
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text), "utf-8")
    return path


def test_a_block_is_read_from_its_comments(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """\
        #!/usr/bin/env python
        # /// other
        # dependencies = ["not this one"]
        # ///

        # /// script
        # requires-python = ">=3.10"
        # dependencies = [
        #   "rich==13.5.3",  # ///
        #
        #   "httpx[http2] ; python_version > '3'",
        # ]
        # [tool.other]
        # text = '''
        # ///
        # '''
        # ///
        import rich
        """,
    )
    assert inline.read(path) == inline.Script(
        ("rich==13.5.3", "httpx[http2] ; python_version > '3'"), ">=3.10"
    )


@pytest.mark.parametrize(
    "text",
    [
        "print('no block')",
        "# /// script\n# dependencies = ['never ended']\n",
        "if 1:\n  # /// script\n  # dependencies = ['not at the start']\n  # ///\n  pass",
        "# /// script \n# dependencies = ['a space too many']\n# ///\n",
        "# /// script\n#dependencies = ['no space']\n# ///\n",
    ],
)
def test_what_is_no_block_says_nothing(tmp_path: Path, text: str) -> None:
    assert inline.read(script(tmp_path, text)) is None


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert inline.read(tmp_path / "none.py") is None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["dependencies = ["], "it is not TOML"),
        (["dependencies = 'rich'"], "no list of strings"),
        (["dependencies = [1]"], "no list of strings"),
        (["requires-python = 3"], "its requires-python is 3"),
        (["requires-python = 'new'"], "its requires-python is 'new'"),
        (["requires-python = '<3'"], "it is for Python <3, and this is"),
        (["///", "/// script", "x = 1"], "more than one block"),
    ],
)
def test_a_block_that_is_wrong_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    # The first block of two ends before a line of code, or it would go on to the last end.
    text = "\n".join(f"# {line}" for line in ["/// script", *lines, "///"])
    path = script(tmp_path, text.replace("# ///\n# /// script", "# ///\nx = 1\n# /// script"))
    with pytest.raises(ScriptError) as caught:
        inline.read(path)
    assert said in str(caught.value)
    assert caught.value.script == path


def run(world: World, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omnipkg_meta", "run", *words],
        env=world.environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_follows_what_the_script_says(world: World, tmp_path: Path) -> None:
    name, other = world.name(), world.name("other")
    world.versions(name, "1.0", main="0.5")
    world.bubble(world.wheel(name, "1.0"), world.wheel(other, "2.0"))
    path = script(
        tmp_path,
        f"""\
        # /// script
        # dependencies = ["{name}==1.0"]
        # ///
        import sys
        import {name}
        print({name}.__version__, *sys.argv[1:])
        """,
    )
    done = run(world, str(path), "--with", "x")
    assert (done.stdout, done.stderr) == ("1.0 --with x\n", "")
    path.write_text(path.read_text() + f"import {other}\nprint({other}.__version__)\n")
    done = run(world, "--with", f"{other}==2.0", str(path))
    assert done.stdout.split() == ["1.0", "2.0"]


def test_run_says_what_is_missing_and_for_whom_a_script_is(world: World, tmp_path: Path) -> None:
    path = script(tmp_path, "# /// script\n# dependencies = ['nothing==7.0']\n# ///\n")
    done = run(world, str(path))
    assert done.returncode == 1
    assert done.stderr.endswith("tip: omnipkg-meta install 'nothing==7.0'\n")
    path = script(tmp_path, "# /// script\n# requires-python = '<3'\n# ///\n")
    done = run(world, str(path))
    assert done.returncode == 1
    assert "it is for Python <3, and this is" in done.stderr


def test_a_script_without_requirements_runs_in_main(world: World, tmp_path: Path) -> None:
    path = script(tmp_path, "# /// script\n# dependencies = []\n# ///\nprint('here')\n")
    assert run(world, str(path)).stdout == "here\n"


def test_run_needs_something_to_run_it_with(world: World, tmp_path: Path) -> None:
    path = script(tmp_path, "print('here')\n")
    done = run(world, str(path))
    assert done.returncode == 2
    assert "say what to run it with" in done.stderr


def test_run_in_a_bubble_of_the_project(world: World, tmp_path: Path) -> None:
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    (tmp_path / "pyproject.toml").write_text(
        f"[tool.omnipkg-meta.bubbles]\nold = ['{name}==1.0']\nmissing = ['{name}==7.0']\n"
        f"sharing = {{ requirements = ['{name}==1.0'], share = ['x'] }}\n"
    )
    code = f"import {name}; print({name}.__version__)"
    assert run(world, "--bubble", "old", "-c", code, cwd=tmp_path).stdout == "1.0\n"
    for which, said in (
        ("missing", f"tip: omnipkg-meta sync --project {tmp_path}"),
        ("sharing", "cannot be laid over a whole program"),
        ("none", "names no bubble 'none'"),
    ):
        done = run(world, "--bubble", which, "-c", code, cwd=tmp_path)
        assert done.returncode == 1
        assert said in done.stderr
