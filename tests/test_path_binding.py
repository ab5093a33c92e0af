"""``sys.path`` bound to another list by code of several sides that load at once."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnipkg_meta.path_binding import merged
from omnipkg_meta.realm import MAIN, Realm
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

ONE, TWO = (
    Realm(bubble=None, directories=[f"/{name}"], import_names={}, distributions={})
    for name in ("one", "two")
)


def side(entry: str) -> Realm:
    return {"o": ONE, "t": TWO}.get(entry[0], MAIN)


sides = st.sampled_from([MAIN, ONE, TWO])
paths = st.lists(st.sampled_from(["main", "more", "of1", "of2", "to1", "to2"]), unique=True)


def after(
    wanted: list[str],
    current: list[str],
    binder: Realm,
    *,
    loading: tuple[Realm, ...] = (),
    withdrawn: dict[str, Realm] | None = None,
) -> list[str]:
    return merged(wanted, current, binder, loading=loading, withdrawn=withdrawn or {}, side=side)


@given(wanted=paths, current=paths)
def test_main_binds_what_it_likes_while_nothing_is_being_loaded(
    wanted: list[str], current: list[str]
) -> None:
    assert after(wanted, current, MAIN) == wanted


@given(wanted=paths, current=paths, binder=sides)
def test_a_side_has_the_word_over_its_own_entries_and_their_order(
    wanted: list[str], current: list[str], binder: Realm
) -> None:
    found = after(wanted, current, binder, loading=(ONE, TWO))
    assert [one for one in found if side(one) is binder] == [
        one for one in wanted if side(one) is binder
    ]
    assert len(found) == len(set(found))


@given(wanted=paths, current=paths, binder=st.sampled_from([ONE, TWO]))
def test_entries_of_other_realms_stay_as_they_stand(
    wanted: list[str], current: list[str], binder: Realm
) -> None:
    found = after(wanted, current, binder)
    others = {ONE, TWO} - {binder}
    assert {one for one in found if side(one) in others} == {
        one for one in current if side(one) in others
    }
    assert [one for one in found if side(one) is MAIN] == [
        one for one in wanted if side(one) is MAIN
    ]


@given(wanted=paths, current=paths, loading=st.sampled_from([(), (ONE,), (ONE, TWO)]))
def test_main_takes_away_what_no_loading_bubble_needs(
    wanted: list[str], current: list[str], loading: tuple[Realm, ...]
) -> None:
    found = after(wanted, current, MAIN, loading=loading)
    assert set(found) == {*wanted, *(one for one in current if side(one) in loading)}


@pytest.mark.parametrize(("binder", "back"), [(ONE, ["main"]), (MAIN, ["main", "more"])])
def test_what_a_side_took_away_meanwhile_only_that_side_brings_back(
    binder: Realm, back: list[str]
) -> None:
    assert after(["main", "more"], ["main"], binder, withdrawn={"more": MAIN}) == back


def test_an_entry_that_is_kept_stands_behind_its_neighbour() -> None:
    assert after(["a", "b"], ["a", "to1", "to2", "b", "of1"], ONE) == ["a", "to1", "to2", "b"]
    assert after(["b", "a"], ["to1", "a", "b"], ONE) == ["to1", "b", "a"]


#: As OpenCV does, in three steps, each when its turn comes.
STEPS = """
import os, sys, meeting
here = os.path.join(os.path.dirname(__file__), "inside-VERSION")
with meeting.turn("VERSION"):
    before = sys.path.copy()
with meeting.turn("VERSION"):
    sys.path.insert(1, here)
with meeting.turn("VERSION"):
    assert here in sys.path
    sys.path = before
    assert sys.path is before and here not in sys.path
"""

MEETING = """
import threading
from contextlib import contextmanager
schedule, changed = [], threading.Condition()

@contextmanager
def turn(who):
    with changed:
        assert changed.wait_for(lambda: schedule[0] == who, timeout=30)
        yield
        schedule.pop(0)
        changed.notify_all()
"""


@pytest.mark.parametrize("first", ["main", "0.5"])
def test_packages_that_put_back_an_older_path_leave_each_others_entries(
    world: World, first: str
) -> None:
    # In each order that two threads can take the three steps in.
    orders = sorted(set(itertools.permutations([first] * 3 + ["2.0"] * 3)))
    names = [world.name("steps") for _ in orders]
    for name in names:
        files = {f"{name}/__init__.py": STEPS}
        if first == "main":
            world.install(
                world.wheel(name, "1.0", {f"{name}/__init__.py": STEPS.replace("VERSION", "main")})
            )
            world.versions(name, "2.0", files=files)
        else:
            world.versions(name, "0.5", "2.0", files=files)
    world.module("meeting", MEETING)
    world.run(
        f"""
        import importlib, sys, threading, meeting, omnipkg_meta as om
        path = sys.path.copy()

        def scope(name, version):
            return om.use(om.main) if version == "main" else om.use(f"{{name}}=={{version}}")

        def load(name, version):
            with scope(name, version):
                importlib.import_module(name)
            done.append(version)

        for name, order in zip({names!r}, {orders!r}):
            done = []
            for version in set(order):
                with scope(name, version):
                    pass  # so that the name is claimed
            meeting.schedule[:] = [*order, None]
            threads = [threading.Thread(target=load, args=[name, one]) for one in set(order)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert set(done) == set(order), order
            assert sys.path == path, (order, sys.path)
        """
    )
