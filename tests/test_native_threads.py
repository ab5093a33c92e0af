"""Extension modules that initialise at the same moment: none lands on the other's side."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import omnipkg_meta as om
from tests.native_source import SUFFIX, compiled, needs_compiler
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnipkg_meta.store.bubble import Bubble

pytestmark = pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler())

#: Seconds after which a meeting of threads has failed.
PATIENCE = 60


class Half(NamedTuple):
    """An extension module of bubble 1.0 that has written itself into the table, and waits."""

    slow: str
    fast: str
    bubbles: list[Bubble]
    go_on: threading.Event
    thread: threading.Thread
    loaded: list[Any]


@pytest.fixture(params=["WRITES_ITSELF", "SINGLE_PHASE_WRITES_ITSELF"])
def half(world: World, request: pytest.FixtureRequest) -> Iterator[Half]:
    name, meeting = world.name("nat"), world.name("meeting")
    world.module(
        meeting,
        f"""
        import threading
        written, go_on = threading.Event(), threading.Event()
        def meet():
            written.set()
            assert go_on.wait({PATIENCE})
        """,
    )
    bubbles = []
    for version, calls in (("1.0", meeting), ("2.0", "")):
        slow = compiled(f"{name}.slow", version, request.param, calls=calls)
        fast = compiled(f"{name}.fast", version, request.param)
        files: dict[str, str | bytes] = {
            f"{name}/__init__.py": "",
            f"{name}/slow/__init__.py": "",
            f"{name}/slow/_native{SUFFIX}": slow,
            f"{name}/fast/__init__.py": "",
            f"{name}/fast/_native{SUFFIX}": fast,
        }
        bubbles.append(world.make(name, version, files))
    slow_name, fast_name = f"{name}.slow._native", f"{name}.fast._native"
    events = importlib.import_module(meeting)
    loaded: list[Any] = []
    thread = threading.Thread(target=lambda: loaded.append(om.load(bubbles[0], name=slow_name)))
    thread.start()
    assert events.written.wait(PATIENCE)
    try:
        yield Half(slow_name, fast_name, bubbles, events.go_on, thread, loaded)
    finally:
        events.go_on.set()
        thread.join()


def finish(half: Half) -> None:
    half.go_on.set()
    half.thread.join()
    (extension,) = half.loaded
    assert extension.version == "1.0"
    with om.use(half.bubbles[0]):
        assert sys.modules[half.slow] is extension


def test_an_extension_of_another_bubble_that_loads_meanwhile_takes_nothing_along(
    half: Half,
) -> None:
    with om.use(half.bubbles[1]):
        assert importlib.import_module(half.fast).version == "2.0"
        assert half.slow not in sys.modules
        assert importlib.import_module(half.slow).version == "2.0"
    finish(half)
    with om.use(half.bubbles[1]):
        assert sys.modules[half.slow].version == "2.0"


def test_a_name_that_is_claimed_meanwhile_gives_main_nothing_of_a_bubble(
    world: World, half: Half
) -> None:
    other = world.name()
    world.versions(other, "1.0", main="0.5")
    with om.use(f"{other}==1.0"):
        assert seen(other) == "1.0"
    assert half.slow not in sys.modules
    finish(half)
    assert half.slow not in sys.modules


def test_an_extension_of_main_that_loads_meanwhile_takes_nothing_along(
    world: World, half: Half
) -> None:
    name = world.name("nat")
    files: dict[str, str | bytes] = {
        f"{name}/__init__.py": "",
        f"{name}/_native{SUFFIX}": compiled(name, "0.5", "MULTI_PHASE"),
    }
    world.install(world.wheel(name, "0.5", files))
    world.make(name, "1.0", {f"{name}/__init__.py": "__version__ = '1.0'\n"})
    om.load(f"{name}==1.0")
    assert importlib.import_module(f"{name}._native").version == "0.5"
    assert half.slow not in sys.modules
    finish(half)
    assert half.slow not in sys.modules
