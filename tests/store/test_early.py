"""The index is asked before this program is loaded: when that may be done, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from omnipkg_meta import requirements
from omnipkg_meta.cli import main
from omnipkg_meta.errors import RequirementError
from omnipkg_meta.store import builders, early
from omnipkg_meta.store.record import requires, script_targets
from tests.wheels import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from omnipkg_meta.store.store import Store
    from tests.conftest import Wheelhouse

needs_uv = pytest.mark.skipif(builders.find_uv() is None, reason="needs uv")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the command lines of all that is started."""
    told: list[list[str]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: Sequence[str], **options: Any) -> None:
            told.append([*command])
            super().__init__(command, **options)

    monkeypatch.setattr("subprocess.Popen", Noted)
    return told


def resolutions(asked: list[list[str]]) -> int:
    return sum(words[1:3] == ["pip", "compile"] for words in asked)


@pytest.mark.parametrize(
    "text",
    [
        *("-r evil.txt", "--index-url=http://evil", "-e.", "", " ", "leaf\n-r evil", "leaf\n"),
        *("leaf @ file:///leaf-1.0-py3-none-any.whl", "http://evil/leaf.whl", "./leaf", "leaf.whl"),
        *("leaf.zip", "leaf[x]", "leaf; python_version > '3'", "leaf==1 --hash=sha256:0", "leaf#x"),
        *("leaf===1", "leaf==1;x", "leaf==$HOME", "leaf==${X}", "leaf,other", "leaf==1,", "leaf=="),
        *("l_eaf", "l--eaf", "-leaf", "leaf-", "\u217ceaf", "leaf==\u0661", "leaf==1+x", "l" * 65),
    ],
)
def test_what_is_more_than_a_name_and_versions_is_read_in_full_first(text: str) -> None:
    assert early._name(text) == ""


@given(st.from_regex(early._PLAIN, fullmatch=True) | st.from_regex(r"[a-z.-]{1,4}[=<>~!0-9.,*]*"))
def test_what_is_handed_on_at_once_means_what_it_means_when_it_is_read(text: str) -> None:
    if name := early._name(text):
        try:
            (one,) = requirements.parse([text])
        except RequirementError:
            return  # uv is ended
        assert one.name == name
        assert one.specifier == SpecifierSet(text[len(name) :])
        assert (one.wheel, one.extras) == (None, frozenset())


@needs_uv
def test_the_index_is_asked_once_and_by_what_was_begun(
    wheelhouse: Wheelhouse, store: Store, asked: list[list[str]]
) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("leaf", "2.0")
    assert main(["install", "--builder", "uv", "Leaf<2", *wheelhouse.options]) == 0
    assert resolutions(asked) == 1
    (bubble,) = store.bubbles()
    assert (bubble.requested, dict(bubble.distributions)) == (("leaf<2",), {"leaf": "1.0"})
    assert bubble.builder == builders.uv_version(str(builders.find_uv()))
    assert store.verify(bubble) == []
    assert names(store.tag_path) == [bubble.id]
    # By now the store has to be looked at first, and has it.
    assert main(["install", "--builder", "uv", "leaf<2", *wheelhouse.options]) == 0
    assert resolutions(asked) == 1
    assert main(["install", "--builder", "uv", "--reinstall", "leaf<2", *wheelhouse.options]) == 0
    assert resolutions(asked) == 2
    assert store.bubbles()[0].created > bubble.created


@needs_uv
def test_what_turns_out_to_be_no_requirement_ends_what_was_begun(
    wheelhouse: Wheelhouse, store: Store, asked: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    wheelhouse.make("leaf", "1.0")
    assert main(["install", "--builder", "uv", "leaf>=1.*", *wheelhouse.options]) == 2
    assert resolutions(asked) == 1
    assert "not a requirement" in capsys.readouterr().err
    assert names(store.tag_path) == []


@needs_uv
def test_where_nothing_fits_the_error_says_what_was_asked(
    wheelhouse: Wheelhouse, store: Store, asked: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    wheelhouse.make("leaf", "1.0")
    assert main(["install", "--builder", "uv", "leaf>1", *wheelhouse.options]) == 1
    assert resolutions(asked) == 1
    assert "leaf>1" in capsys.readouterr().err
    assert names(store.tag_path) == []


@needs_uv
def test_a_uv_that_is_too_old_has_begun_in_vain(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builders, "_uv_version", lambda *_: None)
    wheelhouse.make("leaf", "1.0")
    assert main(["install", "leaf", *wheelhouse.options]) == 0
    (bubble,) = store.bubbles()
    assert bubble.builder.startswith("pip")
    assert store.verify(bubble) == []
    assert names(store.tag_path) == [bubble.id]


@needs_uv
@pytest.mark.parametrize(
    "words", [["--builder", "pip"], ["--lock", "nothing.toml"], ["--builder", "uv", "leaf[x]"]]
)
def test_nothing_is_begun_where_it_is_not_sure_to_be_wanted(
    store: Store, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def refused(*_: object, **__: object) -> Iterator[None]:
        raise AssertionError("it was begun")

    monkeypatch.setattr(builders.Uv, "beginning", refused)
    assert main(["install", "--no-index", "leaf", *words]) in (1, 2)
    assert not store.tag_path.exists() or names(store.tag_path) == []


@needs_uv
def test_uv_is_asked_before_what_it_need_not_wait_for_is_loaded(tmp_path: Path) -> None:
    code = (
        "import argparse, subprocess, sys\n"
        "argparse.ArgumentParser().parse_args([])\n"
        "before = set(sys.modules)\n"  # argparse of 3.14 has colours, and they are dataclasses
        "class Stop(BaseException): pass\n"
        "def stop(*_, **__): raise Stop\n"
        "from omnipkg_meta.cli import main\n"
        "subprocess.Popen = stop\n"
        "try: main(['install', '--builder', 'uv', 'leaf==1.0'])\n"
        "except Stop: pass\n"
        "print([n for n in ('packaging', 'dataclasses', 'hashlib', 'omnipkg_meta.store.store')"
        " if n in sys.modules.keys() - before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"


# -- what is read without loading what reads everything --------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "Requires-Dist: a\nRequires-Dist: b>=1 ; extra == 'x'\n",
        "requires-dist:a\nName: x\nREQUIRES-DIST:\tb\n",
        "Summary: x\n  Requires-Dist: no\nRequires-Dist: a\n   >=1\nAuthor: y\n",
        "Requires-Dist: a\n\nRequires-Dist: in the description\n",
        "Requires-Dist: a\n \nRequires-Dist: b\n",
        "Requires-Dist: a\nthis is no header\nRequires-Dist: in the description\n",
        "Requires-Dist: a\r\nRequires-Dist: b\r\n\r\nRequires-Dist: c\r\n",
        "Summary: ünïcödé\nRequires-Dist: a\n",
        "",
    ],
)
def test_requirements_are_read_as_importlib_metadata_reads_them(tmp_path: Path, head: str) -> None:
    from importlib.metadata import PathDistribution

    (tmp_path / "METADATA").write_bytes(f"Metadata-Version: 2.1\n{head}".encode())
    known = PathDistribution(tmp_path).requires or []
    assert requires(tmp_path) == [" ".join(one.split()) for one in known]


def test_scripts_are_read_as_importlib_metadata_reads_them(tmp_path: Path) -> None:
    (tmp_path / "entry_points.txt").write_text(
        "a = in:none\n[console_scripts]\n# no = x:y\n; no = x:y\nOne = pkg:main [extra]\n"
        "  two=pkg.sub:go\n../three = x:y\n.four = x:y\nnothing\n\n[other]\nfive = x:y\n"
        "[gui_scripts]\nsix : x = pkg:w\n"
    )
    expected = {"One": "pkg:main", "two": "pkg.sub:go", "six : x": "pkg:w"}
    assert script_targets([tmp_path]) == expected
