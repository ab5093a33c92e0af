"""A thread in which only the standard library's code runs acts for whoever started it."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from types import ModuleType

    from tests.worlds import World

FILES = {
    "PKG/__init__.py": """
import importlib, multiprocessing, os, pickle, threading
version = "VERSION"
class Thing: pass
def feed():
    queue = multiprocessing.Queue()
    queue.put(Thing())  # pickled by a thread of the queue's
    return type(queue.get(timeout=60))
def start(target, *args):
    thread = threading.Thread(target=target, args=args)
    thread.start()
    thread.join()
def submit(pool, *args):
    return pool.submit(*args).result()
""",
}


@pytest.fixture
def name(world: World) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, and 0.5 in main."""
    name = world.name()
    files = {path.replace("PKG", name): text for path, text in FILES.items()}
    world.versions(name, "1.0", "2.0", main="0.5", files=files)
    return name


def versions(name: str) -> dict[str, Any]:
    """Return the package as main and each bubble have it."""
    found = {"0.5": importlib.import_module(name)}
    for version in ("1.0", "2.0"):
        with om.use(f"{name}=={version}"):
            found[version] = importlib.import_module(name)
    return found


def test_a_queue_pickles_for_whoever_put_into_it_first(name: str) -> None:
    for package in versions(name).values():
        assert package.feed() is package.Thing


def test_the_standard_librarys_code_in_a_thread_imports_for_whoever_started_it(name: str) -> None:
    for version, package in versions(name).items():
        seen: list[Any] = []
        # Both are the standard library's; what it returns is dropped by the thread.
        text = f"import {name}; seen.append({name}.version)"
        package.start(exec, compile(text, importlib.__file__, "exec"), {"seen": seen})
        assert seen == [version]


def test_a_thread_that_main_starts_is_mains_in_a_scope_too(name: str) -> None:
    found = versions(name)
    seen: list[Any] = []

    class Told:
        def __reduce__(self) -> tuple[Any, ...]:
            return importlib.import_module, (name,)

    text = pickle.dumps(Told())
    with om.use(f"{name}==1.0"):
        thread = threading.Thread(target=lambda: seen.append(pickle.loads(text)))
        thread.start()
        thread.join()
    assert seen == [found["0.5"]]


def test_the_threads_of_an_executor_are_not_of_whoever_submits_first(name: str) -> None:
    found = versions(name)
    with ThreadPoolExecutor(1) as pool:
        first = found["1.0"].submit(pool, importlib.import_module, name)
        assert (first, pool.submit(importlib.import_module, name).result()) == (
            found["0.5"],
            found["0.5"],
        )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_of_such_a_thread_goes_on_for_the_same_realm(name: str) -> None:
    package: ModuleType = versions(name)["1.0"]
    child = multiprocessing.get_context("fork").Process(target=_look, args=(package,))
    package.start(child.start)
    child.join()
    assert child.exitcode == 0


def _look(package: Any) -> None:
    assert package.feed() is package.Thing


def test_where_threads_start_is_as_it_was_when_the_hooks_are_out(world: World) -> None:
    world.run(
        """
        import threading
        names = "_start_new_thread", "_start_joinable_thread"
        before = [getattr(threading, one, None) for one in names]
        import omnipkg_meta as om
        with om.use(om.main):
            assert before != [getattr(threading, one, None) for one in names]
        om.uninstall_hooks()
        assert before == [getattr(threading, one, None) for one in names]
        """
    )
