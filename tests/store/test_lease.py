"""Who uses a bubble, and that it is not taken away from them."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Protocol

import pytest

import omnipkg_meta as om
from omnipkg_meta.cli import main
from omnipkg_meta.errors import (
    BubbleInUseError,
    BubbleInvalidError,
    BubbleNotFoundError,
    LeaseWarning,
    StoreError,
)
from omnipkg_meta.store import lease
from tests.wheels import names
from tests.worlds import World, world_fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble

__all__ = ["world_fixture"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="an open file is what guards it there")

#: Enters a bubble, does what it is told, and waits until it is told to end.
USER = """
    import os, subprocess, sys
    import omnipkg_meta as om
    with om.use(sys.argv[1]):
        __import__(sys.argv[1])
    if sys.argv[2] == "fork" and os.fork():
        os._exit(0)
    if sys.argv[2] == "exec":
        print("ready", flush=True)
        os.execv(sys.executable, [sys.executable, "-c", "input()"])
    if sys.argv[2] == "child":
        child = subprocess.Popen([sys.executable, "-c", "input()"], close_fds=False)
        print(child.pid, flush=True)
        os._exit(0)
    print(os.getpid(), flush=True)
    sys.stdin.readline()
"""


class User:
    """A program that has entered a bubble."""

    def __init__(self, world: World, name: str, how: str) -> None:
        self.process = subprocess.Popen(
            world.command(USER, name, how),
            env=world.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()


class StartUser(Protocol):
    """Starts a program that enters a bubble."""

    def __call__(self, name: str, how: str = "stay") -> User: ...


@pytest.fixture(name="user")
def user_fixture(world: World) -> Iterator[StartUser]:
    started: list[User] = []

    def start(name: str, how: str = "stay") -> User:
        started.append(User(world, name, how))
        return started[-1]

    yield start
    for one in started:
        assert one.process.stdin is not None
        assert one.process.stdout is not None
        one.process.stdin.close()
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()


def removable(bubble: Bubble) -> bool:
    return lease.in_use(bubble.path) is False


def eventually(condition: Callable[[Bubble], bool], argument: Bubble) -> bool:
    """Wait until the kernel has taken a killed process apart."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if condition(argument):
            return True
        time.sleep(0.01)
    return False


def test_a_bubble_in_use_is_not_removed_and_the_error_says_who_uses_it(
    world: World, user: StartUser
) -> None:
    name = "in_use"
    bubble = world.make(name, "1.0")
    program = user(name)
    with pytest.raises(BubbleInUseError) as caught:
        world.store.remove(bubble)
    error = caught.value
    assert [pid for pid, _ in error.users] == [program.process.pid]
    assert sys.executable in error.users[0][1]
    assert f"process {program.process.pid} ({sys.executable}" in str(error)
    assert str(error).splitlines()[-1].endswith(f"omnipkg-meta remove --force {bubble.id}")
    assert isinstance(error, OSError)
    assert error.errno == errno.EBUSY
    again = pickle.loads(pickle.dumps(error))
    assert (again.users, again.errno, str(again)) == (error.users, error.errno, str(error))
    bubble.check_whole()
    program.process.kill()
    assert eventually(removable, bubble)
    world.store.remove(bubble)
    assert names(world.store.tag_path) == []


def test_a_password_on_the_command_line_of_a_user_is_not_told(
    world: World, user: StartUser
) -> None:
    bubble = world.make("secretive", "1.0")
    user("secretive", "https://user:s3cr3t@host/")
    with pytest.raises(BubbleInUseError) as caught:
        world.store.remove(bubble)
    assert "https://***@host/" in caught.value.users[0][1]
    assert "s3cr3t" not in f"{caught.value} {caught.value.__dict__}"


def test_a_program_that_is_killed_holds_no_lease(world: World, user: StartUser) -> None:
    bubble = world.make("killed", "1.0")
    program = user("killed")
    assert not removable(bubble)
    program.process.send_signal(signal.SIGKILL)
    program.process.wait()
    assert removable(bubble)


def test_a_forked_child_goes_on_holding_the_lease(world: World, user: StartUser) -> None:
    bubble = world.make("forked", "1.0")
    program = user("forked", "fork")
    program.process.wait()
    child = int(program.said)
    assert child != program.process.pid
    with pytest.raises(BubbleInUseError) as caught:
        world.store.remove(bubble)
    assert child in [pid for pid, _ in caught.value.users]
    assert program.process.stdin is not None
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    assert eventually(removable, bubble)


@pytest.mark.parametrize("how", ["exec", "child"])
def test_a_program_that_is_executed_does_not_inherit_the_lease(
    world: World, user: StartUser, how: str
) -> None:
    name = f"executed_{how}"
    bubble = world.make(name, "1.0")
    program = user(name, how)
    if how == "child":
        program.process.wait()
    assert eventually(removable, bubble)
    alive = program.process.pid if how == "exec" else int(program.said)
    os.kill(alive, 0)  # it is there, and does not hold it


def test_this_process_is_named_as_a_user_too(world: World) -> None:
    bubble = world.make("mine", "1.0")
    with om.use(bubble):
        pass
    with pytest.raises(BubbleInUseError, match=f"used by this process {os.getpid()} "):
        world.store.remove(bubble)
    world.store.remove(bubble, force=True)
    assert world.store.bubbles() == []


def test_entering_again_takes_no_other_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bubble = world.make("warm", "1.0")
    scope = om.use(bubble)
    with scope:
        pass

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(lease, "hold", never)
    with scope:
        pass
    with om.use(bubble):
        pass


def test_looking_at_a_bubble_takes_no_lease(world: World) -> None:
    bubble = world.make("looked_at", "1.0")
    assert world.store.find(["looked_at"]) == bubble
    assert world.store.get(bubble.id) == bubble
    world.store.verify(bubble)
    world.store.remove(bubble)


def test_a_bubble_that_is_being_verified_is_not_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = world.make("verified", "1.0")
    refused = []

    def remove(_: Bubble) -> list[str]:
        with pytest.raises(BubbleInUseError) as caught:
            world.store.remove(bubble)
        refused.append(caught.value)
        return []

    monkeypatch.setattr("omnipkg_meta.store.verify.problems", remove)
    world.store.verify(bubble)
    assert len(refused) == 1


def test_a_bubble_that_was_removed_after_it_was_found_is_not_entered(world: World) -> None:
    bubble = world.make("gone", "1.0")
    world.store.remove(bubble)
    with pytest.raises(BubbleInvalidError, match="being removed"):
        om.use(bubble).__enter__()


def test_another_bubble_serves_where_the_best_was_removed_in_the_moment_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "between"
    old, new = world.make(name, "1.0"), world.make(name, "2.0")
    hold = lease.hold

    def late(path: Path) -> None:
        if new.path.exists():
            world.store.remove(new)
        hold(path)

    monkeypatch.setattr(lease, "hold", late)
    assert om.use(name).bubbles == (old,)


def test_a_bubble_made_anew_in_the_place_of_one_that_was_forced_away_is_leased_too(
    world: World,
) -> None:
    bubble = world.make("anew", "1.0")
    bubble.hold()
    copy = bubble.path.with_name("copy")
    bubble.path.rename(copy)
    import shutil

    shutil.copytree(copy, bubble.path)
    assert removable(bubble)
    bubble.hold()
    assert not removable(bubble)


def remove_at_once(
    world: World, bubble: Bubble, barrier: threading.Barrier, outcomes: list[str]
) -> None:
    barrier.wait()
    try:
        world.store.remove(bubble)
        outcomes.append("removed")
    except BubbleNotFoundError:
        outcomes.append("gone")


@pytest.mark.parametrize("old_is_used", [False, True])
def test_who_waits_to_remove_a_bubble_does_not_take_the_new_one_that_is_made_in_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, old_is_used: bool
) -> None:
    bubble = world.make(world.name("leaf"), "1.0")
    new, lock = tmp_path / "new", lease._lock
    shutil.copytree(bubble.path, new)
    held: list[int] = []

    def exchange(descriptor: int, *, shared: bool, patience: float) -> bool | None:
        if not shared and not held:  # the old one is open, and another process comes between
            if old_is_used:
                held.append(lease._shared(bubble.path))
            bubble.path.rename(tmp_path / "old")
            new.rename(bubble.path)
            held.append(lease._shared(bubble.path))
        return lock(descriptor, shared=shared, patience=patience)

    monkeypatch.setattr(lease, "_lock", exchange)
    with pytest.raises(BubbleInUseError):
        world.store.remove(bubble)
    assert world.store.get(bubble.id) == bubble
    for descriptor in held:
        os.close(descriptor)
    world.store.remove(bubble)
    assert world.store.get(bubble.id) is None


def test_of_threads_that_remove_at_once_one_succeeds_and_none_sees_a_lease(world: World) -> None:
    for round_ in range(20):
        bubble = world.make(f"contested{round_}", "1.0")
        outcomes: list[str] = []
        arguments = (world, bubble, threading.Barrier(4), outcomes)
        threads = [threading.Thread(target=remove_at_once, args=arguments) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["gone", "gone", "gone", "removed"]


def test_where_locks_do_not_work_it_is_said_once_and_removal_has_to_be_forced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = world.make("unlocked_one", "1.0"), world.make("unlocked_two", "1.0")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    monkeypatch.setattr(lease, "_said", False)
    with pytest.warns(LeaseWarning, match="knows no locks"):
        one.hold()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two.hold()
    assert lease.in_use(one.path) is None
    with pytest.raises(StoreError, match="may be in use") as caught:
        world.store.remove(one)
    assert "--force" in (caught.value.tip or "")
    assert not isinstance(caught.value, BubbleInUseError)
    world.store.remove(one, force=True)
    assert world.store.bubbles() == [two]


def test_the_day_of_use_is_written_down_once_a_day(world: World) -> None:
    bubble = world.make("dated", "1.0")
    hour = 3600
    now = time.time()
    os.utime(bubble.path, (now - hour, now - hour))
    bubble.hold()
    assert lease.last_used(bubble.path) == pytest.approx(now - hour, abs=2)
    other = world.make("dated_long_ago", "1.0")
    os.utime(other.path, (now - 30 * hour, now - 30 * hour))
    other.hold()
    assert lease.last_used(other.path) == pytest.approx(time.time(), abs=10)


def test_the_command_line_removes_the_rest_and_fails(
    world: World, user: StartUser, capsys: pytest.CaptureFixture[str]
) -> None:
    used, free = world.make("cli_used", "1.0"), world.make("cli_free", "1.0")
    program = user("cli_used")
    assert main(["remove", "--yes", "cli_used", "cli_free"]) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{free.id}\n"
    assert f"process {program.process.pid}" in captured.err
    assert world.store.bubbles() == [used]
    assert main(["remove", "--yes", "--force", used.id]) == 0
    assert world.store.bubbles() == []
