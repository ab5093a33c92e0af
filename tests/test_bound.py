"""Bound functions in this process: called, pickled, opened again, and refused."""

from __future__ import annotations

import asyncio
import copy
import functools
import importlib
import inspect
import io
import marshal
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.bound import Bound, bind
from omnipkg_meta.errors import (
    BindError,
    BubbleInvalidError,
    BubbleNotFoundError,
    RequirementError,
)
from omnipkg_meta.executor import ScopedExecutor
from omnipkg_meta.store import filling
from tests.test_executor import Sending
from tests.wheels import names
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.conftest import Install, Wheelhouse

SOURCE = """
    __version__ = "VERSION"
    class Thing:
        version = "VERSION"
        def __init__(self, value=0):
            self.value = value
        def double(self):
            return self.value * 2
    class Trouble(Exception):
        pass
    """


@pytest.fixture
def name(world: World, wheelhouse: Wheelhouse, install: Install) -> str:
    """A package with versions 1.0 and 2.0 in bubbles that were built, and 0.5 in main."""
    name = world.name()
    text = textwrap.dedent(SOURCE)
    for version in ("1.0", "2.0"):
        wheelhouse.make(name, version, {f"{name}.py": text.replace("VERSION", version)})
        install(f"{name}=={version}")
    world.versions(name, main="0.5", files={f"{name}.py": text})
    return name


def sent(bound: Callable[..., Any]) -> Any:
    return pickle.loads(pickle.dumps(bound))


def looks(name: str) -> Iterator[str]:
    yield seen(name)
    yield seen(name)


async def looks_later(name: str) -> str:
    await asyncio.sleep(0)
    return seen(name)


async def looks_often(name: str) -> AsyncIterator[str]:
    yield seen(name)
    await asyncio.sleep(0)
    yield seen(name)


class Looker:
    def __init__(self, name: str = "") -> None:
        self.name = name
        self.saw = seen(name) if name else ""

    def look(self, ending: str = "") -> str:
        return seen(self.name) + ending

    def __call__(self) -> str:
        return seen(self.name)

    @staticmethod
    def look_at(name: str) -> str:
        return seen(name)


def everywhere(bound: Bound[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a bound function as it is, sent once, and sent on without having been opened."""
    yield bound
    yield sent(bound)
    yield sent(sent(bound))
    opened = sent(bound)
    yield opened
    yield sent(opened)


def test_a_bound_function_runs_in_its_scope_here_and_where_it_was_sent(name: str) -> None:
    for requirement, version in ((f"{name}==1.0", "1.0"), (f"{name}==2.0", "2.0")):
        for bound in everywhere(om.bind(seen, requirement)):
            assert bound(name) == version
            with om.use(f"{name}==1.0"):
                assert bound(name) == version
            assert seen(name) == "0.5"
        for bound in everywhere(om.bind(Looker(name).look, requirement)):
            assert bound(ending="!") == version + "!"
        for bound in everywhere(om.bind(Looker(name), requirement)):
            assert bound() == version
        for bound in everywhere(om.bind(Looker.look_at, requirement)):
            assert bound(name) == version
        for bound in everywhere(om.bind(functools.partial(seen, name), requirement)):
            assert bound() == version
        for bound in everywhere(om.bind(Looker, requirement)):
            assert bound(name).saw == version
    assert om.bind(seen, om.main)(name) == "0.5"
    assert sent(om.bind(seen, om.main))(name) == "0.5"


def test_coroutines_and_generators_run_in_the_scope_whenever_they_go_on(name: str) -> None:
    for bound in everywhere(om.bind(looks, f"{name}==1.0")):
        found = []
        for version in bound(name):
            found += [version, seen(name)]
        assert found == ["1.0", "0.5"] * 2

    async def collect(bound: Callable[..., Any]) -> list[str]:
        return [one async for one in bound(name)] + [seen(name)]

    for bound in everywhere(om.bind(looks_often, f"{name}==1.0")):
        assert asyncio.run(collect(bound)) == ["1.0", "1.0", "0.5"]

    async def both() -> list[str]:
        first, second = (om.bind(looks_later, f"{name}=={v}") for v in ("1.0", "2.0"))
        return list(await asyncio.gather(first(name), sent(second)(name), looks_later(name)))

    assert asyncio.run(both()) == ["1.0", "2.0", "0.5"]
    for partly in (looks_later, functools.partial(looks_later, name)):
        for bound in everywhere(om.bind(partly, f"{name}==1.0")):
            asked = (name,) if partly is looks_later else ()
            assert asyncio.run(bound(*asked)) == "1.0"
            if sys.version_info >= (3, 12):
                assert inspect.iscoroutinefunction(bound)


def test_a_bound_function_looks_like_its_function(name: str) -> None:
    bound = om.bind(seen, f"{name}==1.0")
    assert (bound.__name__, bound.__doc__) == ("seen", seen.__doc__)  # type: ignore[attr-defined]
    assert inspect.signature(bound) == inspect.signature(seen)
    assert bound.scope is om.use(f"{name}==1.0")
    assert repr(bound) == f"<seen bound to use('{name}==1.0')>"
    assert copy.copy(bound) is bound
    assert copy.deepcopy([bound]) == [bound]
    arrived = sent(bound)
    assert repr(arrived) == "<seen bound to its scope, not entered yet>"
    assert [one.id for one in arrived.scope.bubbles] == [one.id for one in bound.scope.bubbles]
    arrived(name)
    assert "use(<Bubble" in repr(arrived)


def test_a_scope_can_be_bound_to_and_is_given_alone(name: str) -> None:
    with om.use(f"{name}==1.0") as scope:
        assert om.bind(seen, om.current()).scope is scope
    assert sent(om.bind(seen, scope))(name) == "1.0"
    with pytest.raises(TypeError, match="a scope is given alone"):
        om.bind(seen, scope, f"{name}==2.0")
    with pytest.raises(TypeError, match="a scope is given alone"):
        om.bind(seen, scope, install=True)


def test_scopes_of_several_bubbles_of_main_and_with_adopted_modules_are_sent(
    world: World, name: str, wheelhouse: Wheelhouse, install: Install
) -> None:
    other, mine = world.name(), world.name("mine")
    wheelhouse.make(other, "7.0")
    (first,) = om.use(f"{name}==2.0").bubbles
    second = install(f"{other}==7.0")

    def both(*sources: Any) -> Any:
        bound = sent(om.bind(Looker.look_at, *sources))
        return bound(name), bound(other)

    assert both(f"{other}==7.0", first) == ("2.0", "7.0")
    assert both(second, f"{name}==1.0") == ("1.0", "7.0")
    assert sent(om.bind(seen, om.main, f"{name}==1.0"))(name) == "1.0"
    assert sent(om.bind(seen, om.main, first))(name) == "0.5"
    world.module(mine, f"import {name}\ndef look():\n    return {name}.__version__\n")
    with om.use(f"{name}==1.0", adopt=[mine]):
        module = __import__(mine)
    bound = om.bind(module.look, f"{name}==1.0", adopt=[mine])
    assert bound() == "1.0"
    assert sent(bound)() == "1.0"
    assert __import__(mine).look() == "0.5"


def test_nested_bound_functions_keep_their_scopes(name: str) -> None:
    inner = om.bind(seen, f"{name}==1.0")
    for bound in everywhere(om.bind(inner, f"{name}==2.0")):
        assert bound(name) == "1.0"


def test_threads_that_share_bound_functions_each_run_in_their_scope(name: str) -> None:
    asked = ["1.0", "2.0"] * 4
    barrier = threading.Barrier(8, timeout=60)
    arrived = {version: sent(om.bind(seen, f"{name}=={version}")) for version in ("1.0", "2.0")}

    def run(version: str) -> list[str]:
        barrier.wait()
        return [arrived[version](name) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        for version, found in zip(asked, pool.map(run, asked), strict=True):
            assert set(found) == {version}


def test_what_is_sent_of_a_scope_is_opened_once_for_all_that_is_sent_in_it(name: str) -> None:
    pickled = [pickle.dumps(bind(one, f"{name}==1.0")) for one in (len, repr)]
    one, two = (pickle.loads(data)._parcel for data in pickled)
    assert one.passage is two.passage
    assert one.passage.scope() is two.passage.scope()
    other = pickle.loads(pickle.dumps(bind(len, f"{name}==2.0")))._parcel
    assert other.passage != one.passage
    assert other.passage.scope() is not one.passage.scope()


def test_what_was_sent_once_is_looked_at_again_by_sender_and_receiver(
    world: World, name: str
) -> None:
    """Who sends thousands of tasks packs a function once, and who gets them opens it once."""
    stem = world.name("tasks")
    path = world.module(stem, "def work():\n    return 'old'\n")
    module = importlib.import_module(stem)
    bound = bind(module.work, f"{name}==1.0")
    first = pickle.dumps(bound)
    assert pickle.loads(first)() == "old"
    opened = pickle.loads(first)
    assert opened() == "old"
    assert (opened.__name__, opened.scope) == ("work", pickle.loads(first).scope)

    # The module is loaded anew where it arrives, as Dask's upload_file does it.
    path.write_text("def work():\n    return 'another'\n")
    importlib.reload(module)
    assert pickle.loads(first)() == "another"
    # The sender's is another function than the one of that name by now.
    with pytest.raises(BindError, match="not the same object"):
        pickle.dumps(bound)
    module.work = bound  # type: ignore[attr-defined]  # and now it leads there by way of it
    assert pickle.loads(pickle.dumps(bound))() == "old"

    # What holds more than a name is packed as it is by then.
    values = [1]
    held = bind(functools.partial(sum, values), f"{name}==1.0")
    assert pickle.loads(pickle.dumps(held))() == 1
    values.append(2)
    assert pickle.loads(pickle.dumps(held))() == 3


def test_a_payload_of_classes_that_only_the_bubble_has_is_opened_in_the_scope(
    world: World, wheelhouse: Wheelhouse, install: Install
) -> None:
    only = world.name("only")
    wheelhouse.make(only, "1.0", {f"{only}.py": textwrap.dedent(SOURCE)})
    install(only)
    scope = om.use(only)
    with scope:
        thing = __import__(only).Thing(21)
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(thing)
    assert sent(om.bind(thing.double, only))() == 42
    assert sent(om.bind(functools.partial(describe, thing), only))() == (only, 21)
    assert sent(om.bind(type(thing), only))(3).value == 3


def describe(thing: Any) -> tuple[str, int]:
    return type(thing).__module__, thing.value


def test_what_a_payload_names_is_the_scopes_also_where_a_framework_of_main_opens_it(
    world: World, name: str
) -> None:
    framework = world.name("framework")
    text = "def call(function, *arguments):\n    return function(*arguments)\n"
    world.install(world.wheel(framework, "1.0", {f"{framework}.py": text}, requires=[f"{name}<1"]))
    call = __import__(framework).call
    with om.use(f"{name}==1.0"):
        thing = __import__(name).Thing(1)
    bound = om.bind(functools.partial(type, thing), f"{name}==1.0")
    data = call(pickle.dumps, bound)
    assert call(call(pickle.loads, data)) is type(thing)


def test_a_lambda_is_refused_and_what_has_no_name_elsewhere_cannot_be_sent(name: str) -> None:
    def local(name: str) -> str:
        return seen(name)

    with pytest.raises(BindError, match="a lambda cannot be bound"):
        om.bind(lambda: None, f"{name}==1.0")
    bound = om.bind(local, f"{name}==1.0")
    assert bound(name) == "1.0"
    for unsendable in (
        bound,
        om.bind(functools.partial(describe, threading.Lock()), f"{name}==1.0"),
    ):
        with pytest.raises(BindError, match="cannot be sent to another process") as caught:
            pickle.dumps(unsendable)
        assert caught.value.tip
        assert pickle.loads(pickle.dumps(caught.value)).cause == caught.value.cause
    with pytest.raises(TypeError, match="cannot be called"):
        om.bind(3, f"{name}==1.0")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs at least one"):
        om.bind(seen)
    with pytest.raises(RequirementError):
        om.bind(seen, "a=1")


class ByValue(pickle.Pickler):
    """A pickler that holds functions by their code, as cloudpickle does."""

    def reducer_override(self, thing: Any) -> Any:
        if not isinstance(thing, FunctionType) or thing is rebuild:
            return NotImplemented
        return rebuild, (marshal.dumps(thing.__code__), thing.__name__)


def rebuild(code: bytes, name: str) -> FunctionType:
    return FunctionType(marshal.loads(code), {"__name__": "__main__"}, name)  # noqa: S302


def by_value(thing: object) -> bytes:
    file = io.BytesIO()
    ByValue(file).dump(thing)
    return file.getvalue()


def test_another_pickler_sends_functions_that_have_no_name_elsewhere(name: str) -> None:
    def local(name: str) -> object:
        return __import__(name).__version__

    for bound in everywhere(om.bind(local, f"{name}==1.0", dumps=by_value)):
        assert bound(name) == "1.0"
    executor = ScopedExecutor(Sending(), f"{name}==2.0", dumps=by_value)
    assert executor.submit(local, name).result() == "2.0"
    returned = executor.submit(returns_a_local).result()
    assert (returned.__name__, returned()) == ("local", 3)
    problem = ScopedExecutor(Sending(), f"{name}==2.0").submit(returns_a_local).exception()
    assert isinstance(problem, BindError)

    def unfound(thing: object) -> bytes:
        return pickle.dumps(thing)

    for wrong in (unfound, functools.partial(pickle.dumps), 3):
        with pytest.raises(TypeError, match="takes a function of a module"):
            om.bind(seen, f"{name}==1.0", dumps=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes a function of a module"):
            ScopedExecutor(Sending(), f"{name}==1.0", dumps=wrong)  # type: ignore[arg-type]


def returns_a_local() -> Callable[[], int]:
    def local() -> int:
        return 3

    return local


def test_a_process_that_does_not_know_the_function_says_so_when_it_is_called(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(om.bind(renamed, f"{name}==1.0"))
    monkeypatch.delattr(sys.modules[__name__], "renamed")
    arrived = pickle.loads(data)
    for _ in range(2):
        with pytest.raises(BindError, match="sent to a process that does not know it") as caught:
            arrived(name)
        assert "renamed" in (caught.value.cause or "")
    monkeypatch.undo()


def renamed(name: str) -> str:
    return seen(name)


def test_a_function_whose_bound_form_took_its_name_is_sent(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = om.bind(renamed, f"{name}==1.0")
    monkeypatch.setattr(sys.modules[__name__], "renamed", bound)
    for one in everywhere(bound):
        assert one(name) == "1.0"


def test_a_missing_bubble_is_said_with_a_command_that_makes_it(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = om.bind(seen, f"{name}==1.0")
    (bubble,) = bound.scope.bubbles
    data = pickle.dumps(bound)
    other = world.path / "an other store"
    monkeypatch.setenv("OMNIPKG_META_STORE", str(other))
    arrived = pickle.loads(data)
    with pytest.raises(BubbleNotFoundError) as caught:
        arrived(name)
    assert bubble.id in caught.value.message
    assert str(other) in (caught.value.cause or "")
    assert str(caught.value).endswith(caught.value.command)
    assert not other.exists()
    shell = f"PATH={Path(sys.executable).parent}:$PATH; {caught.value.command}"
    subprocess.run(["sh", "-ec", shell], check=True, capture_output=True)
    assert arrived(name) == "1.0"
    assert arrived.scope.bubbles[0].path.parent.parent == other
    assert arrived.scope.bubbles[0].digests == bubble.digests


@pytest.mark.parametrize("allowed", ["argument", "configuration"])
def test_a_missing_bubble_is_built_from_its_lock_once_for_all_threads(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    bound = om.bind(seen, f"{name}==1.0", install=True if allowed == "argument" else None)
    (bubble,) = bound.scope.bubbles
    data = pickle.dumps(bound)
    monkeypatch.setenv("OMNIPKG_META_STORE", str(world.path / "other"))
    if allowed == "configuration":
        monkeypatch.setenv("OMNIPKG_META_INSTALL", "1")
    builds: list[object] = []
    inner = filling._install

    def counted(*arguments: Any) -> Any:
        builds.append(arguments)
        return inner(*arguments)

    monkeypatch.setattr(filling, "_install", counted)
    barrier = threading.Barrier(6, timeout=60)

    def arrive(_: int) -> tuple[str, dict[str, str], str]:
        one = pickle.loads(data)
        barrier.wait()
        version = one(name)
        (made,) = one.scope.bubbles
        return version, dict(made.digests), made.lock.read_text()

    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(arrive, range(6)):
            assert found == ("1.0", dict(bubble.digests), bubble.lock.read_text())
    assert len(builds) == 1
    (tag,) = (one for one in names(world.path / "other") if one[0] != ".")
    assert names(world.path / "other" / tag) == [bubble.id]


def test_a_loop_goes_on_while_the_bubble_of_a_coroutine_function_is_built(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(om.bind(looks_later, f"{name}==1.0", install=True))
    monkeypatch.setenv("OMNIPKG_META_STORE", str(world.path / "other"))
    building, going_on = threading.Event(), threading.Event()
    inner = filling._install

    def slow(*arguments: Any) -> Any:
        building.set()
        assert going_on.wait(60), "the loop waits for the build"
        return inner(*arguments)

    monkeypatch.setattr(filling, "_install", slow)

    async def go_on() -> None:
        while not building.is_set():  # noqa: ASYNC110  # set by a thread
            await asyncio.sleep(0.01)
        going_on.set()

    async def both() -> str:
        other = asyncio.create_task(go_on())
        version: str = await pickle.loads(data)(name)
        await other
        return version

    assert asyncio.run(both()) == "1.0"


def test_modules_of_main_that_a_payload_brings_in_are_mains_and_no_surprise(
    world: World, name: str
) -> None:
    mine = world.name("mine")
    text = f"import {name}\nclass Setting:\n    saw = {name}.__version__\n"
    world.module(mine, text)
    setting = __import__(mine).Setting()
    bound = om.bind(functools.partial(type, setting), f"{name}==1.0")
    data = pickle.dumps(bound)
    del sys.modules[mine]  # as in a process that has not imported it
    kind = pickle.loads(data)()  # a MainModuleWarning would be an error here
    assert kind.saw == "0.5"
    assert kind is __import__(mine).Setting
    assert kind is not type(setting)


def test_a_bubble_that_was_given_is_taken_from_where_it_is_or_from_the_store(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bubble,) = om.use(f"{name}==1.0").bubbles
    data = pickle.dumps(om.bind(seen, bubble))
    named = pickle.dumps(om.bind(seen, f"{name}==1.0", store=world.store))
    monkeypatch.setenv("OMNIPKG_META_STORE", str(world.path / "other"))
    assert pickle.loads(data)(name) == "1.0"
    assert pickle.loads(named)(name) == "1.0"
    bubble.path.rename(bubble.path.with_name(".gone"))
    monkeypatch.setenv("OMNIPKG_META_STORE", str(world.path / "third"))
    with pytest.raises(BubbleNotFoundError) as caught:
        pickle.loads(data)(name)
    assert f"--store {world.store.path} |" in caught.value.command
    om.install(lock=(bubble.path.with_name(".gone") / "pylock.toml").read_text())
    assert pickle.loads(data)(name) == "1.0"


def test_a_broken_bubble_is_an_error_unless_it_may_be_built_anew(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bubble,) = om.use(f"{name}==1.0").bubbles
    data = pickle.dumps(om.bind(seen, f"{name}==1.0"))
    allowed = pickle.dumps(om.bind(seen, f"{name}==1.0", install=True))
    other = world.path / "other"
    shutil.copytree(world.store.path, other)
    shutil.rmtree(other / bubble.tag / bubble.id / "site-packages")
    monkeypatch.setenv("OMNIPKG_META_STORE", str(other))
    with pytest.raises(BubbleInvalidError):
        pickle.loads(data)(name)
    assert pickle.loads(allowed)(name) == "1.0"


def test_a_bubble_whose_lock_was_changed_is_not_sent(name: str) -> None:
    bound = om.bind(seen, f"{name}==2.0")
    (bubble,) = bound.scope.bubbles
    bubble.lock.write_text(bubble.lock.read_text() + "\n")
    with pytest.raises(BubbleInvalidError, match="its lock was changed"):
        pickle.dumps(bound)
    assert bound(name) == "2.0"


def test_what_main_serves_has_to_be_served_by_main_at_the_other_end(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = om.bind(seen, f"{name}<1")
    data = pickle.dumps(bound)
    assert pickle.loads(data)(name) == "0.5"
    monkeypatch.setenv("OMNIPKG_META_STORE", str(world.path / "other"))
    shutil.rmtree(world.main / f"{name}-0.5.dist-info")
    with pytest.raises(BubbleNotFoundError, match=f"no bubble satisfies {name}<1"):
        pickle.loads(data)(name)


def test_bind_is_what_the_package_gives_whoever_loads_its_module_first() -> None:
    code = (
        "import omnipkg_meta.bound, omnipkg_meta.executor, omnipkg_meta as om;"
        "assert om.bind is omnipkg_meta.bound.bind;"
        "assert om.ScopedExecutor is omnipkg_meta.executor.ScopedExecutor"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert om.bind is bind
