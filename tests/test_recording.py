"""What is recorded of imports, and that nothing else changes by it."""

from __future__ import annotations

import importlib
import importlib._bootstrap
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta import answering, recording, trace
from omnipkg_meta.errors import HookError
from omnipkg_meta.realm import MAIN, known
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnipkg_meta.recording import Import, Recording
    from tests.worlds import World

_bootstrap: Any = importlib._bootstrap


@pytest.fixture
def seen() -> Iterator[Recording]:
    assert recording.active() is None
    one = recording.start()
    yield one
    recording.stop()


def of(seen: Recording, top: str) -> list[Import]:
    return [one for one in seen.imports if one.name.partition(".")[0] == top]


def rule_of(seen: Recording, by: str, name: str) -> list[tuple[str, str]]:
    return [(one.rule, one.how) for one in seen.imports if (one.by, one.name) == (by, name)]


def test_each_rule_is_recorded_with_who_asked_and_who_answers(
    world: World, seen: Recording
) -> None:
    name, asker = world.name(), world.name("asker")
    one, _ = world.versions(name, "1", "2", main="3")
    world.module(asker, f"def ask():\n    import {name}\n    return {name}\n")
    ask = importlib.import_module(asker).ask
    ask()
    with om.use(one):
        assert ask().__version__ == "1"
    found = {one.rule: one for one in of(seen, name) if one.by == asker}
    assert found["scope"].realm is known(one)
    assert found["scope"].home is MAIN
    assert "main" not in found, "the name was not claimed before the scope"
    ask()
    assert rule_of(seen, asker, name) == [("scope", "statement"), ("main", "statement")]


def test_an_import_of_what_is_loaded_already_is_recorded_for_each_module_that_makes_it(
    world: World, seen: Recording
) -> None:
    name = world.name()
    text = {
        f"{name}/__init__.py": "",
        f"{name}/a.py": f"import {name}.leaf\nimport {name}.other",
        f"{name}/b.py": f"import {name}.leaf\nfrom {name} import other",
        f"{name}/leaf.py": "",
        f"{name}/other.py": "",
    }
    bubble = world.make(name, "1", text)
    with om.use(bubble):
        for part in ("a", "b"):
            importlib.import_module(f"{name}.{part}")
    statement = [("home", "statement")]
    for part in ("a", "b"):
        assert rule_of(seen, f"{name}.{part}", f"{name}.leaf") == statement
    assert rule_of(seen, f"{name}.a", f"{name}.other") == statement
    # A name that the package has already is looked for there, and nothing is imported.
    assert rule_of(seen, f"{name}.b", f"{name}.other") == []
    assert rule_of(seen, f"{name}.b", name) == statement


def test_calls_are_told_from_statements(world: World, seen: Recording) -> None:
    name, asker = world.name(), world.name("asker")
    (bubble,) = world.versions(name, "1")
    world.module(
        asker, f"import importlib\ndef ask():\n    return importlib.import_module('{name}')\n"
    )
    ask = importlib.import_module(asker).ask
    with om.use(bubble):
        ask()
    assert rule_of(seen, asker, name) == [("scope", "call")]


def test_load_times_are_those_of_nested_imports(world: World, seen: Recording) -> None:
    name = world.name()
    files = {
        f"{name}/__init__.py": f"import time\nimport {name}.slow\ntime.sleep(0.02)",
        f"{name}/slow.py": "import time\ntime.sleep(0.05)",
    }
    bubble = world.make(name, "1", files)
    began = time.perf_counter()
    with om.use(bubble):
        importlib.import_module(name)
    took = time.perf_counter() - began
    realm = known(bubble)
    assert realm is not None
    whole, slow = seen.loads[realm, name], seen.loads[realm, f"{name}.slow"]
    assert 0.05 <= slow.own == slow.total
    assert 0.02 <= whole.own <= whole.total - slow.total + 1e-9
    assert 0.07 <= whole.total <= took
    assert (slow.by, slow.home) == (name, realm)
    assert (whole.by, whole.home) == (__name__, MAIN)


def test_mains_modules_of_names_that_nobody_claimed_are_recorded_when_they_load(
    world: World, seen: Recording
) -> None:
    asker, asked = world.name("asker"), world.name("asked")
    world.module(asker, f"import {asked}\n")
    world.module(asked, "")
    importlib.import_module(asker)
    load = seen.loads[MAIN, asked]
    assert (load.by, load.home, load.realm, load.error) == (asker, MAIN, MAIN, "")
    assert not of(seen, asked)


def test_what_is_not_found_is_recorded_once_with_the_error(world: World, seen: Recording) -> None:
    asker, broken = world.name("asker"), world.name("broken")
    gone = world.name("gone")
    world.module(broken, "1 / 0\n")
    world.module(
        asker,
        f"""
        for attempt in range(2):
            try:
                import {gone}
            except ImportError:
                pass
        try:
            import {broken}
        except ZeroDivisionError:
            pass
        """,
    )
    importlib.import_module(asker)
    failed = {one.name: one.error for one in seen.failed.values() if one.by == asker}
    assert failed == {gone: "ModuleNotFoundError", broken: "ZeroDivisionError"}
    assert (MAIN, broken) not in seen.loads


def test_tracebacks_are_those_without_a_recording(world: World) -> None:
    asker = world.name("asker")
    world.module(asker, "import no_such_module_anywhere\n")

    def told() -> list[str]:
        with pytest.raises(ModuleNotFoundError) as caught:
            __import__(asker)
        return traceback.format_tb(caught.value.__traceback__)

    plain = told()
    with om.map(record=True):
        recorded = told()
    assert recorded == plain


def test_another_thread_that_waits_for_a_module_does_not_count_for_it(
    world: World, seen: Recording
) -> None:
    name = world.name("waited")
    world.module(name, "import time, omnipkg_waiting as w\nw.begun.set()\nw.go.wait(30)\n")
    waiting: Any = type(sys)("omnipkg_waiting")
    waiting.begun, waiting.go = threading.Event(), threading.Event()
    sys.modules["omnipkg_waiting"] = waiting
    try:
        first = threading.Thread(target=importlib.import_module, args=(name,))
        first.start()
        assert waiting.begun.wait(30)
        second = threading.Thread(target=importlib.import_module, args=(name,))
        second.start()
        waiting.go.set()
        first.join()
        second.join()
    finally:
        del sys.modules["omnipkg_waiting"]
    loads = [one for one in seen.loads.values() if one.name == name]
    assert len(loads) == 1
    assert not recording._under_way.loads


def test_nothing_is_left_behind(world: World) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1")
    original = _bootstrap._find_and_load
    with om.map(record=True):
        assert _bootstrap._find_and_load is not original
        with om.map(record=True):
            pass
        assert recording.active() is not None, "who did not begin it does not end it"
    assert _bootstrap._find_and_load is original
    assert not trace.LISTENERS
    with om.use(bubble):
        __import__(name)
    assert recording.last() is not None
    recording.stop()  # a second time does nothing
    assert recording.active() is None


def test_somebody_who_puts_a_function_around_the_hook_keeps_it(world: World) -> None:
    names = [world.name() for _ in range(3)]
    for name in names:
        world.module(name, "")
    original = _bootstrap._find_and_load
    calls = []

    def around(name: str, import_: Any) -> Any:
        calls.append(name)
        return inner(name, import_)

    try:
        with om.map(record=True):
            inner = _bootstrap._find_and_load
            _bootstrap._find_and_load = around
        assert _bootstrap._find_and_load is around
        __import__(names[0])
        with om.map(record=True) as seen:
            __import__(names[1])
    finally:
        _bootstrap._find_and_load = inner
        with om.map(record=True):
            pass
    assert _bootstrap._find_and_load is original
    __import__(names[2])
    assert [one for one in calls if one in names] == names[:2]
    assert [one.name for one in seen.facts.realms[0].modules if one.total is not None] == [names[1]]


def test_what_is_settled_is_so_again_when_nobody_records_any_more(world: World) -> None:
    name, asker = world.name(), world.name("asker")
    (bubble,) = world.versions(name, "1")
    file = world.module(asker, f"def ask():\n    import {name}\n    return {name}\n")
    ask = importlib.import_module(asker).ask
    with om.map(record=True), om.use(bubble):
        ask()
        ask()
        assert str(file) not in answering.SETTLED
    with om.use(bubble):
        ask()
        ask()
        assert str(file) in answering.SETTLED


def test_an_interpreter_that_imports_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = _bootstrap._find_and_load
    monkeypatch.setattr(recording, "_HOOK", original)  # as if nobody came to the hook
    with pytest.raises(HookError, match="cannot be recorded"):
        recording.start()
    assert _bootstrap._find_and_load is original
    assert recording.active() is None
    assert not trace.LISTENERS
