"""What is collected, by which rules, and what never is."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli import main
from omnipkg_meta.store import disk, lease
from omnipkg_meta.store.staging import staging
from tests.wheels import names
from tests.worlds import World, world_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from tests.conftest import MakeBubble, Wheelhouse

__all__ = ["world_fixture"]

DAY = timedelta(days=1)


def used(bubble: Bubble, days_ago: float) -> None:
    then = time.time() - days_ago * DAY.total_seconds()
    os.utime(bubble.path, (then, then))


def made(bubble: Bubble, days_ago: float) -> None:
    manifest = bubble.path / "manifest.json"
    entry = json.loads(manifest.read_text())
    entry["created"] = (datetime.now(timezone.utc) - days_ago * DAY).isoformat()
    manifest.write_text(json.dumps(entry))


def test_without_a_rule_only_litter_goes(world: World) -> None:
    bubble = world.make("kept", "1.0")
    used(bubble, 1000)
    tag_path = world.store.tag_path
    (tag_path / ".trash-1").mkdir()
    (tag_path / ".trash-1" / "file").write_text("x" * 5000)
    (tag_path / ".build-1").mkdir()
    (tag_path / ".build-2").mkdir()
    (tag_path / ".build-2.lock").write_text("")
    (tag_path / ".build-3.lock").write_text("")
    (tag_path / ".only-leaf-1.0-0123.lock").write_text("")
    with staging(tag_path) as stage:
        would = world.store.gc(dry_run=True)
        assert len(names(tag_path)) == 9
        done = world.store.gc()
        assert stage.path.is_dir(), "a build that goes on is no litter"
    assert (done.removed, done.litter) == ((), 5)
    assert would == done
    assert done.freed >= 5000
    assert names(tag_path) == [bubble.id]


def test_bubbles_go_by_age_by_use_and_where_both_are_asked_by_both(world: World) -> None:
    old, idle = world.make("old", "1.0"), world.make("idle", "1.0")
    both, young = world.make("both", "1.0"), world.make("young", "1.0")
    for bubble in (old, both):
        made(bubble, 50)
    for bubble in (idle, both):
        used(bubble, 50)
    made(idle, 1)
    made(young, 1)

    def named(
        *, older_than: timedelta | None = None, unused_since: timedelta | None = None
    ) -> set[str]:
        done = world.store.gc(dry_run=True, older_than=older_than, unused_since=unused_since)
        return set(done.removed)

    assert named(older_than=30 * DAY) == {old.id, both.id}
    assert named(unused_since=30 * DAY) == {idle.id, both.id}
    assert named(unused_since=30 * DAY, older_than=30 * DAY) == {both.id}
    assert named(unused_since=60 * DAY) == set()
    assert len(world.store.bubbles()) == 4
    assert world.store.gc(unused_since=30 * DAY).removed == (both.id, idle.id)
    assert world.store.bubbles() == [old, young]


def test_the_least_recently_used_go_until_the_rest_fits(world: World) -> None:
    bubbles = [world.make(f"big{n}", "1.0", {f"big{n}.py": "#" * 100_000}) for n in range(4)]
    for bubble, days in zip(bubbles, (3, 1, 4, 2), strict=True):
        used(bubble, days)
    each = disk.measure(bubbles[0].path).size
    done = world.store.gc(max_size=int(2.5 * each))
    assert done.removed == (bubbles[2].id, bubbles[0].id)
    assert done.size == disk.measure(bubbles[1].path, bubbles[3].path).size
    assert done.freed == pytest.approx(2 * each, rel=0.05)
    assert world.store.gc(max_size=3 * each).removed == ()
    assert len(world.store.gc(max_size=0).removed) == 2
    with pytest.raises(ValueError, match="negative"):
        world.store.gc(max_size=-1)


@pytest.mark.parametrize("rule", [{"unused_since": DAY}, {"max_size": 0}])
def test_a_bubble_in_use_stays_whatever_the_rules_say(world: World, rule: dict[str, int]) -> None:
    name = f"held_{next(iter(rule))}"
    held, free = world.make(name, "1.0"), world.make(f"free_{name}", "1.0")
    used(held, 0.9)
    held.hold()
    for bubble in (held, free):
        used(bubble, 10)
    would = world.store.gc(dry_run=True, **rule)  # type: ignore[arg-type]
    done = world.store.gc(**rule)  # type: ignore[arg-type]
    assert (would.removed, would.in_use) == (done.removed, done.in_use) == ((free.id,), (held.id,))
    assert world.store.bubbles() == [held]


def test_where_locks_do_not_work_no_bubble_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    bubble = world.make("unlocked", "1.0")

    def flock(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "")

    monkeypatch.setattr("fcntl.flock", flock)
    for dry_run in (True, False):
        assert world.store.gc(max_size=0, dry_run=dry_run).in_use == (bubble.id,)
    assert world.store.bubbles() == [bubble]


def test_what_cannot_be_read_stays_since_it_may_be_of_a_newer_version(world: World) -> None:
    bubble = world.make("newer", "1.0")
    manifest = bubble.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 99'))
    used(bubble, 1000)
    assert world.store.gc(unused_since=DAY, max_size=0).removed == ()
    assert len(world.store.broken()) == 1


def test_copies_go_when_what_they_are_of_is_gone_and_nobody_uses_them(world: World) -> None:
    bubble, gone = world.make("copied", "1.0"), world.make("copied_and_gone", "1.0")
    kept, orphan, used_orphan = (
        world.store.tag_path / ".copies" / name for name in ("a/x", "b/y", "c/z")
    )
    for copy, of in ((kept, bubble), (orphan, gone), (used_orphan, gone)):
        copy.mkdir(parents=True)
        (copy / "manifest.json").write_text(json.dumps({"copy": {"of": str(of.path)}}))
    world.store.remove(gone)
    with lease.shared(used_orphan):
        assert world.store.gc().litter == 1
    assert (kept.exists(), orphan.exists(), used_orphan.exists()) == (True, False, True)
    assert world.store.gc().litter == 1
    assert not used_orphan.exists()


def test_an_inode_is_counted_once_and_free_only_with_its_last_name(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
    (one / "a").write_bytes(os.urandom(100_000))
    os.link(one / "a", one / "b")
    os.link(one / "a", two / "c")
    (two / "d").write_bytes(os.urandom(50_000))
    alone = disk.measure(one)
    assert 100_000 <= alone.size < 120_000
    assert alone.freed < 20_000
    assert disk.measure(tmp_path).size < 180_000
    parts = [disk.measure(one), disk.measure(two)]
    assert disk.together(parts).size < sum(part.size for part in parts)
    assert disk.together(parts).freed == disk.together(parts).size
    assert disk.measure(tmp_path / "missing").size == 0


def test_the_command_says_what_went_and_what_is_left(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    old, young = world.make("cli_old", "1.0"), world.make("cli_young", "1.0")
    used(old, 40)
    assert main(["gc", "--unused-since", "30d", "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{old.id}\n"
    assert captured.err.startswith("would remove 1 bubble, ")
    assert main(["gc", "--unused-since", "30d", "--max-size", "10GB", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["removed"], told["in_use"], told["litter"]) == ([old.id], [], 0)
    assert world.store.bubbles() == [young]


@pytest.mark.parametrize(
    "words",
    [
        ["--older-than", "30"],
        ["--older-than", "-1d"],
        ["--unused-since", "soon"],
        ["--older-than", "9" * 40 + "w"],
        ["--max-size", "big"],
        ["--max-size", "10iB"],
        ["--max-size", "-1GB"],
    ],
)
def test_an_age_or_a_size_that_is_none_is_wrong_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gc", *words]) == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("1k", 1000), ("1.5GB", 1_500_000_000), ("2KiB", 2048), ("10 mb", 10_000_000)],
)
def test_sizes_are_read_as_people_write_them(text: str, number: int) -> None:
    from omnipkg_meta.cli.upkeep import _size

    assert _size(text) == number


def test_the_size_of_real_bubbles_counts_what_uv_shares_with_its_cache_once(
    make_bubble: MakeBubble, wheelhouse: Wheelhouse
) -> None:
    del wheelhouse
    bubble = make_bubble({"leaf==1.0": {"leaf.py": "#" * 200_000}})
    taken = disk.measure(bubble.path)
    assert taken.size >= 200_000
    links = (bubble.site_packages / "leaf.py").stat().st_nlink
    assert (taken.freed >= 200_000) == (links == 1), "what the cache has too is not free"
