"""Import graphs that run in opposite directions, loading at once, never lock each other."""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from typing import TYPE_CHECKING

import omnipkg_meta as om
from omnipkg_meta.realm import MAIN, realm_of
from tests.test_threads import PATIENCE, together
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

ROUNDS = 1000


def test_three_versions_and_main_import_their_submodules_in_four_orders(world: World) -> None:
    name, meeting = world.name(), world.name("meeting")
    world.module(
        meeting,
        f"""
        import threading
        barrier = threading.Barrier(4, timeout={PATIENCE})
        """,
    )
    orders = {"0.5": "abcd", "1.0": "bdac", "2.0": "dcba", "3.0": "cadb"}
    bubbles = {}
    for version, order in orders.items():
        # Each holds the lock of its first submodule when it meets the others, then
        # goes on to the next one, which imports the one after it, and so on.
        files = {f"{name}/__init__.py": f"__version__ = '{version}'\n"}
        for index, label in enumerate(order):
            lines = [f"from {name} import __version__ as version"]
            if index == 0:
                lines += [f"from {meeting} import barrier", "barrier.wait()"]
            if index + 1 < len(order):
                lines += [f"import {name}.{order[index + 1]}"]
            files[f"{name}/{label}.py"] = "\n".join(lines)
        wheel = world.wheel(name, version, files)
        if version == "0.5":
            world.install(wheel)
        else:
            bubbles[version] = world.bubble(wheel)
    for bubble in bubbles.values():
        om.use(bubble).__enter__().__exit__()  # the name is claimed, and main's modules are kept
    barrier = threading.Barrier(4, timeout=PATIENCE)

    def load(version: str) -> int:
        order = orders[version]
        realm = MAIN if version == "0.5" else realm_of(bubbles[version])
        right = 0
        with om.use(bubbles.get(version, om.main)):
            for _ in range(ROUNDS):
                barrier.wait()
                for module in [one for one in realm.modules if one.partition(".")[0] == name]:
                    del realm.modules[module]  # as if it had never been loaded
                importlib.import_module(f"{name}.{order[0]}")
                right += all(sys.modules[f"{name}.{one}"].version == version for one in order)
        return right

    assert together(*[functools.partial(load, v) for v in orders]) == [ROUNDS] * 4


def test_packages_that_import_one_another_load_at_once_from_either_end(world: World) -> None:
    # One thread a bubble: two threads that load a circle of one environment from both
    # ends get a _DeadlockError from plain Python too.
    left, right, meeting = world.name("left"), world.name("right"), world.name("meeting")
    world.module(
        meeting,
        f"""
        import threading
        barrier = threading.Barrier(3, timeout={PATIENCE})
        """,
    )
    bubbles = []
    for version in ("1.0", "2.0", "3.0"):
        wheels = []
        for name, other in ((left, right), (right, left)):
            files = {
                f"{name}/__init__.py": f"version = '{version}'\nfrom . import a, b\n",
                f"{name}/a.py": f"""
                    from {meeting} import barrier
                    barrier.wait()
                    import {other}.b
                    version = {other}.b.version
                    """,
                f"{name}/b.py": f"from {name} import version\n",
            }
            wheels.append(world.wheel(name, version, files))
        bubbles.append(world.bubble(*wheels))
    barrier = threading.Barrier(3, timeout=PATIENCE)

    def load(index: int) -> int:
        realm, first = realm_of(bubbles[index]), (left, right, left)[index]
        found = 0
        with om.use(bubbles[index]):
            for _ in range(ROUNDS // 4):
                barrier.wait()
                realm.modules.clear()  # as if it had never been loaded
                module = importlib.import_module(first)
                found += module.a.version == f"{index + 1}.0"
                found += sys.modules[f"{left}.b"].version == sys.modules[f"{right}.b"].version
        return found

    assert together(*[functools.partial(load, index) for index in range(3)]) == [ROUNDS // 2] * 3
