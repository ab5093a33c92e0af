"""``list --tree``, and tables on terminals that are too narrow for them."""

from __future__ import annotations

import os
import shutil
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from omnipkg_meta.cli import main, output
from omnipkg_meta.cli.tree import branches
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.worlds import World

Output = pytest.CaptureFixture[str]


def tree(requested: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    bubble: Any = SimpleNamespace(
        requested=tuple(requested),
        distributions=dict.fromkeys(needs, "1"),
        requires={name: tuple(lines) for name, lines in needs.items()},
    )
    return list(branches(bubble, unicode=False))


def test_each_distribution_stands_under_what_needs_it() -> None:
    assert tree(["app==1"], {"app": ["b", "a>=1"], "a": [], "b": ["c"], "c": []}) == [
        "`-- app 1",
        "    |-- a 1",
        "    `-- b 1",
        "        `-- c 1",
    ]


def test_what_stands_there_already_is_not_told_again() -> None:
    needs = {"a": ["c"], "b": ["c"], "c": ["d"], "d": []}
    assert tree(["a", "b"], needs) == [
        "|-- a 1",
        "|   `-- c 1",
        "|       `-- d 1",
        "`-- b 1",
        "    `-- c 1 (see above)",
    ]


def test_extras_count_where_the_bubble_was_made_for_them() -> None:
    needs = {"app": ["fast; extra == 'speed'"], "fast": []}
    assert tree(["app[speed]"], needs) == ["`-- app 1", "    `-- fast 1"]
    assert tree(["app"], needs) == ["|-- app 1", "`-- fast 1"]


@pytest.mark.parametrize(
    "needs",
    [
        {"a": ["b"], "b": ["a"]},
        {"a": ["a"], "b": []},
        {"a": [], "b": ["c"], "c": ["b"]},
        {"a": ["gone"], "b": ["a"]},
    ],
)
def test_whatever_needs_whatever_each_stands_there_and_it_ends(
    needs: Mapping[str, Sequence[str]],
) -> None:
    lines = tree(["a"], needs)
    for name in needs:
        assert [one for one in lines if one.endswith(f"{name} 1")]


def test_the_tree_is_listed_for_each_bubble(world: World, capsys: Output) -> None:
    app, lib = world.name("app"), world.name("lib")
    bubble = world.bubble(world.wheel(app, "1", requires=[lib]), world.wheel(lib, "2"))
    assert main(["list", "--tree"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{bubble.id}  {app}==1, {lib}==2"
    assert rest == [f"├── {app} 1", f"│   └── {lib} 2", f"└── {lib} 2"]


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    monkeypatch.setenv("NO_COLOR", "1")


HEADER = ("ID", "MADE FOR", "N")
ROWS = (("short-id", "one[x]>=1, two==2, three<4", "3"), ("other", "[red]four[/red]", "4"))


def test_a_table_that_fits_is_one_line_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    on_a_terminal(monkeypatch, 80)
    output.table(HEADER, ROWS)
    assert capsys.readouterr().out.splitlines()[1] == "short-id  one[x]>=1, two==2, three<4  3"


def test_a_table_that_does_not_fit_is_folded_within_its_widest_column(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    pytest.importorskip("rich")
    on_a_terminal(monkeypatch, 32)
    output.table(HEADER, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 32
    assert len(lines) == 4
    assert lines[1].split() == ["short-id", "one[x]>=1,", "two==2,", "3"]
    assert "[red]four[/red]" in lines[3], "a text, and no markup"


@pytest.mark.parametrize("columns", [16, 32])
def test_without_rich_or_room_a_table_is_left_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, columns: int
) -> None:
    if columns == 32:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    on_a_terminal(monkeypatch, columns)
    output.table(HEADER, ROWS)
    assert capsys.readouterr().out.splitlines()[1] == "short-id  one[x]>=1, two==2, three<4  3"
