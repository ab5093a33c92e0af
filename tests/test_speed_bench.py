"""What decides a row of the speed bench: its limit, its mark, and where it is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import write_figures
from benchmarks.instructions import EXPECTED
from benchmarks.speed import others
from benchmarks.speed.first import first_imports
from benchmarks.speed.rows import Other, Row, over, tables
from benchmarks.speed.statements import ACCELERATED, MEASURES, SETUPS, has_accelerator


@pytest.mark.parametrize(
    ("row", "is_over"),
    [
        (Row("x", 1.0, 9.0), False),
        (Row("x", 1.0, 1.05, limit=1.05), False),
        (Row("x", 1.0, 1.06, limit=1.05), True),
        (Row("x", 1.0, 0.4e-6, most=0.4e-6), False),
        (Row("x", 1.0, 0.5e-6, most=0.4e-6), True),
        (Row("x", 1.0, 2.0, limit=3, most=1.5), True),
        (Other("x", "y", 2.0, 1.0), False),
        (Other("x", "y", 2.0, 1.0, least=2), False),
        (Other("x", "y", 1.9, 1.0, least=2), True),
        (Other("x", "y", None, 1.0, least=2, happened="failed"), True),
        (Other("x", "y", None, 1.0, happened="failed"), False),
    ],
)
def test_a_row_is_over_where_its_ratio_or_its_own_time_is_beyond_a_limit(
    row: Row | Other, is_over: bool
) -> None:
    assert row.over is is_over
    assert ("**over**" in row.line()) is is_over
    assert bool(over([row])) is is_over


def test_all_rows_are_shown_each_kind_in_its_table() -> None:
    rows: list[Row | Other] = [
        Row("imports", 70e-9, 140e-9, 1.05),
        Other("purging", "runs again", 0.02, 1e-6),
        Row("memory", 2e7, 2e7, 1.005, memory=True),
        Other("daemon", "asks", None, 1e-6, happened="failed: no such file"),
    ]
    first, second = tables(rows).split("\n\n")
    assert first.splitlines()[2:] == [
        "| imports | 70 ns | 140 ns | 2.00 x | 1.05 x | **over** |",
        "| memory | 20.00 MB | 20.00 MB | 1.00 x | 1.005 x |  |",
    ]
    assert second.splitlines()[2:] == [
        "| purging | runs again | 20.00 ms | 1.00 µs | 20,000 x |  |  |",
        "| daemon | asks; failed: no such file |  | 1.00 µs |  |  |  |",
    ]
    for table in (first, second):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_page_has_a_place_for_the_tables(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text((Path(__file__).parents[1] / "docs" / "performance.md").read_text("utf-8"))
    write_figures(page, tables([Row("everything", 1.0, 1.0)]))
    assert "| everything | 1.00 s |" in page.read_text("utf-8")


def _ours() -> dict[str, float]:
    return {"activation": 2e-6, "scope": 4e-7}


def _way(**told: Any) -> others.Way:
    return others.Way("way", "works", 2, lambda _: told)


def test_what_another_way_did_wrong_stands_in_its_row() -> None:
    way = _way(seconds=[0.01, 0.03, 0.02], wrong=1)
    (row,) = others.beside(_ours, way, rounds=1)
    assert (row.theirs, row.ours, row.happened) == (0.02, 2e-6, "1 of 3 saw another version")


@pytest.mark.parametrize(("seconds", "is_over"), [(0.016, False), (0.0159, True)])
def test_entering_and_leaving_alone_has_to_be_40_000_times_as_fast(
    seconds: float, is_over: bool
) -> None:
    whole, alone = others.beside(_ours, _way(seconds=[1.0], wrong=0, alone=[seconds]), rounds=1)
    assert (whole.happened, whole.over) == ("", False)
    assert (alone.theirs, alone.ours, alone.over) == (seconds, 4e-7, is_over)


def test_another_way_that_fails_is_a_row_that_says_so() -> None:
    def fails(_: int) -> dict[str, Any]:
        raise SystemExit("python x.py failed:\nTraceback\nRuntimeError: no daemon\n")

    (row,) = others.beside(_ours, others.Way("way", "works", 2, fails), rounds=3)
    assert (row.theirs, row.happened) == (None, "failed: RuntimeError: no daemon")


def test_each_statement_has_its_set_up_and_a_name_of_its_own() -> None:
    for one in (*MEASURES, *ACCELERATED):
        assert {one.setup, one.reference[0]} <= set(SETUPS)
    names = [one.what for one in (*MEASURES, *ACCELERATED)]
    assert len(set(names)) == len(names)
    assert all(one.limit == 1.5 for one in ACCELERATED)


def test_every_count_of_instructions_that_is_expected_is_still_made() -> None:
    made = {one.what for one in (*MEASURES, *ACCELERATED)}
    firsts = {f"first import of {module}" for module, _ in first_imports()}
    made |= firsts | {f"{one}, accelerated" for one in firsts}
    for interpreter, expected in json.loads(EXPECTED.read_text("utf-8")).items():
        assert set(expected) <= made, interpreter


def test_the_accelerated_figures_are_made_only_where_it_is_installed() -> None:
    from benchmarks.speed.statements import measures

    assert (ACCELERATED[0] in measures()) is has_accelerator()
