"""Callers that an import system does not expect, each named after what it does."""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import inspect
import os
import pathlib
import sys
import threading
import types
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import omnipkg_meta as om
from omnipkg_meta import sources
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from omnipkg_meta.store.bubble import Bubble
    from tests.worlds import World

#: A package whose function imports its own module when called.
LAZY = {
    "{name}/__init__.py": """
        __version__ = "VERSION"

        def late():
            from {name} import part
            return part.version

        def call(function):
            return function()
        """,
    "{name}/part.py": "version = 'VERSION'\n",
}


def lazy(world: World, *versions: str, main: str) -> tuple[str, list[Bubble]]:
    name = world.name()
    files = {key.format(name=name): text.format(name=name) for key, text in LAZY.items()}
    return name, world.versions(name, *versions, main=main, files=files)


@pytest.mark.parametrize("replacement", ["a function", "a mock"])
def test_a_replaced_import_function_leaves_code_its_home(
    world: World, monkeypatch: pytest.MonkeyPatch, replacement: str
) -> None:
    name, (one, two) = lazy(world, "1.0", "2.0", main="0.5")
    importlib.import_module(name)
    first, second = om.load(one, name=name), om.load(two, name=name)
    real = builtins.__import__

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **kwargs)

    chosen: Any = wrapper if replacement == "a function" else mock.Mock(side_effect=wrapper)
    monkeypatch.setattr(builtins, "__import__", chosen)
    late = first.late()
    with om.use(one):
        inside = second.late()
    monkeypatch.undo()
    assert (late, inside) == ("1.0", "2.0")


def test_an_entry_of_sys_path_that_is_no_text_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, (bubble,) = lazy(world, "1.0", main="0.5")
    monkeypatch.setattr(sys, "path", [pathlib.Path("nowhere"), *sys.path])
    with om.use(bubble):
        assert importlib.import_module(name).late() == "1.0"
    assert importlib.import_module(name).late() == "0.5"


def test_a_package_of_the_user_with_the_name_of_a_bubbles_stays_its_own(world: World) -> None:
    name = world.name("tests")
    bubble = world.make(name, "1.0", {f"{name}/__init__.py": "", f"{name}/helpers.py": "who = 1\n"})
    folder = world.main / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helpers.py").write_text("who = 'mine'\n")
    (folder / "case.py").write_text(
        "def late():\n    from . import helpers\n    return helpers.who\n"
    )
    case = importlib.import_module(f"{name}.case")
    with om.use(bubble):
        assert case.late() == "mine"
        assert importlib.import_module(f"{name}.helpers").who == 1


def test_a_bubbles_copy_of_a_standard_module_is_never_seen(world: World) -> None:
    bubble = world.make("uuid", "1.30", {"uuid.py": "copy = True\n"})
    with om.use(bubble):
        import uuid
    assert not hasattr(uuid, "copy")
    assert type(dict.get(sys.modules, "uuid")) is types.ModuleType


def test_a_lazy_module_of_a_bubble_loads_at_home_whoever_touches_it(world: World) -> None:
    name = world.name()
    text = f"""
        import importlib.util
        import sys

        def lazy(name):
            spec = importlib.util.find_spec(name)
            loader = spec.loader = importlib.util.LazyLoader(spec.loader)
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            loader.exec_module(module)
            return module

        late = lazy("{name}.late")
        """
    files = {f"{name}/__init__.py": text, f"{name}/late.py": "version = 'VERSION'\n"}
    (bubble,) = world.versions(name, "1.0", main="0.5", files=files)
    mains = importlib.import_module(name)
    module = om.load(bubble, name=name)
    assert (module.late.version, mains.late.version) == ("1.0", "0.5")


@pytest.fixture
def slow_search(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Make the search for a bubble stop in the middle: (it has begun, let it go on)."""
    begun, go_on = threading.Event(), threading.Event()
    search = sources.realms_for

    def slow(*args: Any, **kwargs: Any) -> Any:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(30)
        return search(*args, **kwargs)

    monkeypatch.setattr("omnipkg_meta.scope.realms_for", slow)
    yield begun, go_on
    go_on.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_a_thread_prepares_a_scope_can_enter_it(
    world: World, slow_search: tuple[threading.Event, threading.Event]
) -> None:
    name, (bubble,) = lazy(world, "1.0", main="0.5")
    begun, go_on = slow_search
    scope = om.use(bubble)

    def enter() -> None:
        with scope:
            pass

    thread = threading.Thread(target=enter)
    thread.start()
    assert begun.wait(30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with scope:
                code = 0 if importlib.import_module(name).late() == "1.0" else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_scope_can_be_entered_while_its_own_thread_prepares_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a signal handler does, or a trace function.
    name, (bubble,) = lazy(world, "1.0", main="0.5")
    scope = om.use(bubble)
    search = sources.realms_for
    seen: list[str] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if not seen:
            seen.append("")
            with scope:
                seen.append(importlib.import_module(name).late())
        return search(*args, **kwargs)

    monkeypatch.setattr("omnipkg_meta.scope.realms_for", interrupted)
    with scope:
        assert importlib.import_module(name).late() == "1.0"
    assert seen == ["", "1.0"]


def plain_wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        return function(*args)

    return wrapped


def test_a_scope_reaches_the_body_behind_a_plain_wrapper(world: World) -> None:
    name, (bubble,) = lazy(world, "1.0", main="0.5")

    @om.use(bubble)
    @plain_wrapper
    def values() -> Iterator[str]:
        yield importlib.import_module(name).__version__

    @om.use(bubble)
    @plain_wrapper
    async def value() -> str:
        return str(importlib.import_module(name).__version__)

    assert not inspect.isgeneratorfunction(values)
    assert list(values()) == ["1.0"]
    with pytest.raises(StopIteration) as stop:
        value().send(None)
    assert stop.value.value == "1.0"
    assert om.current() is om.main


@pytest.mark.parametrize("what", [int, 5, None])
def test_a_scope_decorates_nothing_but_functions(world: World, what: Any) -> None:
    with pytest.raises(TypeError, match="decorates functions"):
        om.use(world.make(world.name(), "1.0"))(what)


def test_greenlets_are_safe_and_keep_their_homes(world: World) -> None:
    pytest.importorskip("greenlet")
    name, (bubble,) = lazy(world, "1.0", main="0.5")
    code = f"""
        import importlib, itertools, random
        import greenlet
        import omnipkg_meta as om
        from omnipkg_meta.store.bubble import Bubble

        bubble = Bubble.open({str(bubble.path)!r})
        with om.use(bubble):
            import {name} as inside
        import {name} as mains

        def deep(levels, function):
            return list(map(lambda _: deep(levels - 1, function), [0])) if levels else function()

        here = greenlet.getcurrent()

        def work(module, expected):
            while True:
                assert importlib.import_module({name!r}).__version__ == "0.5"
                assert module.late() == expected
                here.switch()

        random.seed(0)
        workers = [greenlet.greenlet(work) for _ in range(10)]
        for index, worker in enumerate(workers):
            arguments = (inside, "1.0") if index % 2 else (mains, "0.5")
            deep(random.randrange(10, 40), lambda: worker.switch(*arguments))
        # Without any frame of the program: C code and the standard library only.
        bare = greenlet.greenlet(list)
        names = map(importlib.import_module, map(here.switch, itertools.repeat(None)))
        deep(20, lambda: bare.switch(names))
        for _ in range(2000):
            worker = random.choice(workers)
            deep(random.randrange(45), worker.switch)
            deep(random.randrange(45), lambda: bare.switch({name!r}))
        print("alive")
        """
    done = world.run(code)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports are new in 3.15 (PEP 810)")
def test_lazy_imports_are_bound_to_where_they_stand(world: World) -> None:
    name = world.name()
    text = f"lazy import {name}.part as part\ndef late():\n    return part.version\n"
    files = {f"{name}/__init__.py": text, f"{name}/part.py": "version = 'VERSION'\n"}
    bubbles = world.versions(name, "1.0", "2.0", main="0.5", files=files)
    first, second = (om.load(bubble, name=name) for bubble in bubbles)
    user = world.name("user")
    world.module(user, f"lazy import {name}\n")
    module = importlib.import_module(user)
    with om.use(bubbles[0]):
        assert second.part.version == "2.0"
        assert getattr(module, name).part.version == "0.5"
    assert (first.part.version, first.late()) == ("1.0", "1.0")
