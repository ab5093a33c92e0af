"""Threads: each sees what it entered, whatever the others do at that moment."""

from __future__ import annotations

import importlib
import sys
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.realm import CLAIMED, realm_of
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from omnipkg_meta.store.bubble import Bubble

#: Seconds after which a meeting of threads has failed.
PATIENCE = 60


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Run functions in a thread each; return what they return, in order."""
    with ThreadPoolExecutor(len(functions)) as pool:
        futures = [pool.submit(function) for function in functions]
        # The first that fails says why; those that wait for it would only say so.
        for future in wait(futures, PATIENCE, FIRST_EXCEPTION).done:
            future.result()
        return [future.result(PATIENCE) for future in futures]


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_two_threads_at_the_same_moment_see_a_version_each(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", "2.0", main="0.5")
    barrier = threading.Barrier(3, timeout=PATIENCE)

    def look(version: str) -> tuple[str, str, str]:
        with om.use(f"{name}=={version}") as scope:
            barrier.wait()
            module = importlib.import_module(name)
            barrier.wait()
            file = str(sys.modules[name].__file__)
            assert file.startswith(str(scope.bubbles[0].site_packages))
            assert sys.modules[name] is module
            barrier.wait()
            return seen(name), metadata.version(name), module.__version__

    def bystander() -> tuple[str, str, str]:
        found = []
        for _ in range(3):
            barrier.wait()
            found.append(seen(name))
        return found[0], found[1], found[2]

    assert together(lambda: look("1.0"), lambda: look("2.0"), bystander) == [
        ("1.0", "1.0", "1.0"),
        ("2.0", "2.0", "2.0"),
        ("0.5", "0.5", "0.5"),
    ]


@pytest.mark.usefixtures("fast_switching")
def test_eight_threads_that_alternate_versions_never_see_a_wrong_one(world: World) -> None:
    name = world.name()
    world.versions(
        name,
        "1.0",
        "2.0",
        files={
            f"{name}/__init__.py": "__version__ = 'VERSION'\n",
            f"{name}/sub.py": f"from {name} import __version__ as version\n",
        },
    )
    scopes = [(om.use(f"{name}=={version}"), version) for version in ("1.0", "2.0")]
    code = compile(f"import {name}.sub as sub\nversion = sub.version", "<user>", "exec")
    barrier = threading.Barrier(8, timeout=PATIENCE)

    def alternate() -> int:
        namespace = {"__name__": "user"}
        right = 0
        barrier.wait()
        for turn in range(10_000):
            scope, version = scopes[turn % 2]
            with scope:
                exec(code, namespace)  # noqa: S102  # an import statement
                right += namespace["version"] == version
        return right

    assert together(*[alternate] * 8) == [10_000] * 8


def test_a_bystander_keeps_main_while_another_thread_is_in_a_scope(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    entered, looked = threading.Event(), threading.Event()

    def stay() -> str:
        with om.use(f"{name}==1.0"):
            first = seen(name)
            entered.set()
            assert looked.wait(PATIENCE)
            return first + seen(name)

    def look() -> tuple[str, str]:
        assert entered.wait(PATIENCE)
        found = seen(name), metadata.version(name)
        looked.set()
        return found

    assert together(stay, look) == ["1.01.0", ("0.5", "0.5")]


def test_a_bystander_process_keeps_main(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    with om.use(f"{name}==1.0"):
        assert seen(name) == "1.0"
        done = world.run(
            f"""
            import {name}, importlib.metadata as metadata, sys
            print({name}.__version__, metadata.version("{name}"), "omnipkg_meta" in sys.modules)
            """
        )
    assert done.stdout.split() == ["0.5", "0.5", "False"]


def test_threads_and_executors_start_without_the_scope_of_their_starter(world: World) -> None:
    if getattr(sys.flags, "thread_inherit_context", 0):
        pytest.skip("this Python copies the context into new threads")
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    found = []
    with om.use(f"{name}==1.0"), ThreadPoolExecutor(1) as pool:
        thread = threading.Thread(target=lambda: found.append(seen(name)))
        thread.start()
        thread.join()
        found.append(pool.submit(seen, name).result(PATIENCE))
        found.append(pool.submit(copy_context().run, seen, name).result(PATIENCE))
    assert found == ["0.5", "0.5", "1.0"]


def test_a_bubble_is_loaded_once_by_threads_that_enter_it_at_once(world: World) -> None:
    name, runs = world.name(), world.name("runs")
    world.module(runs, "count = []\n")
    world.make(
        name, "1.0", {f"{name}.py": f"import {runs}\n{runs}.count.append(1)\nready = True\n"}
    )
    barrier = threading.Barrier(8, timeout=PATIENCE)

    def load() -> object:
        barrier.wait()
        with om.use(f"{name}==1.0"):
            module = importlib.import_module(name)
            assert module.ready
            return module

    assert len(set(together(*[load] * 8))) == 1
    assert importlib.import_module(runs).count == [1]


def crossed(world: World, name: str, meeting: str) -> list[Bubble]:
    """Make two versions whose submodules import each other in opposite order.

    Each meets the other while it holds the lock of its first submodule.
    """
    world.module(
        meeting,
        f"""
        import threading
        barrier = threading.Barrier(2, timeout={PATIENCE})
        """,
    )
    bubbles = []
    for version, first, second in (("1.0", "a", "b"), ("2.0", "b", "a")):
        files = {
            f"{name}/__init__.py": f"__version__ = '{version}'\n",
            f"{name}/{first}.py": f"""
                from {meeting} import barrier
                barrier.wait()
                import {name}.{second}
                """,
            f"{name}/{second}.py": f"from {name} import __version__ as version\n",
        }
        bubbles.append(world.make(name, version, files))
    return bubbles


def test_versions_whose_submodules_import_each_other_in_opposite_order_load_at_once(
    world: World,
) -> None:
    name = world.name()
    bubbles = crossed(world, name, world.name("meeting"))
    rounds = 1000
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def load(bubble: Bubble, first: str, second: str, version: str) -> int:
        realm = realm_of(bubble)
        right = 0
        with om.use(bubble):
            for _ in range(rounds):
                barrier.wait()
                realm.modules.clear()  # as if it had never been loaded
                importlib.import_module(f"{name}.{first}")
                right += sys.modules[f"{name}.{second}"].version == version
        return right

    assert together(
        lambda: load(bubbles[0], "a", "b", "1.0"), lambda: load(bubbles[1], "b", "a", "2.0")
    ) == [rounds, rounds]


def test_a_name_is_claimed_while_another_thread_imports_mains_package(world: World) -> None:
    name, events = world.name(), world.name("events")
    world.module(
        events,
        """
        import threading
        started, claimed = threading.Event(), threading.Event()
        """,
    )
    world.install(
        world.wheel(
            name,
            "0.5",
            {
                f"{name}/__init__.py": f"""
                    from {events} import claimed, started
                    import {name}.early
                    started.set()
                    assert claimed.wait({PATIENCE})
                    import {name}.late
                    from {name} import later
                    __version__ = "0.5"
                    """,
                f"{name}/early.py": "where = 'main'\n",
                f"{name}/late.py": f"import {name}.early as early\nfrom . import early as same\n",
                f"{name}/later.py": "where = 'main'\n",
            },
        )
    )
    bubble = world.make(
        name,
        "1.0",
        {f"{name}/__init__.py": "__version__ = '1.0'\n", f"{name}/early.py": "where = 'bubble'\n"},
    )
    meeting = importlib.import_module(events)

    def claim() -> str:
        assert meeting.started.wait(PATIENCE)
        assert name not in CLAIMED
        with om.use(bubble):
            version = seen(name)
            assert importlib.import_module(f"{name}.early").where == "bubble"
        meeting.claimed.set()
        return version

    version, package = together(claim, lambda: importlib.import_module(name))
    assert (version, package.__version__) == ("1.0", "0.5")
    assert importlib.import_module(name) is package
    assert package.early.where == package.late.early.where == package.later.where == "main"
    assert sys.modules[f"{name}.early"] is package.early is package.late.same
    assert sys.modules[f"{name}.later"] is package.later


@pytest.mark.usefixtures("fast_switching")
def test_names_are_claimed_at_any_moment_of_mains_imports(world: World) -> None:
    names = [world.name() for _ in range(60)]
    bubbles = []
    for name in names:
        bubbles += world.versions(
            name,
            "1.0",
            main="0.5",
            files={
                f"{name}/__init__.py": f"from {name}.sub import version as __version__\n",
                f"{name}/sub.py": "version = 'VERSION'\n",
            },
        )
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def in_main() -> set[str]:
        found = set()
        for name in names:
            barrier.wait()
            package = importlib.import_module(name)
            found |= {package.__version__, package.sub.version}
            assert sys.modules[name] is package
        return found

    def in_bubbles() -> set[str]:
        found = set()
        for bubble, name in zip(bubbles, names, strict=True):
            barrier.wait()
            with om.use(bubble):
                package = importlib.import_module(name)
                found |= {package.__version__, package.sub.version}
        return found

    assert together(in_main, in_bubbles) == [{"0.5"}, {"1.0"}]


@pytest.mark.usefixtures("fast_switching")
def test_the_table_can_be_read_whole_while_others_import(world: World) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1.0", main="0.5")
    importlib.import_module(name)
    done = threading.Event()

    def load() -> None:
        realm = realm_of(bubble)
        try:
            for turn in range(1000):
                with om.use(bubble):
                    importlib.import_module(name)
                    realm.modules.clear()
                sys.modules[f"{name}_{turn % 10}"] = sys
        finally:
            done.set()

    def read() -> set[str]:
        versions = set()
        while not done.is_set():
            versions.add(dict(sys.modules)[name].__version__)
            versions |= {module.__version__ for key, module in sys.modules.items() if key == name}
            assert name in list(sys.modules)
        return versions

    assert together(load, read)[1] <= {"0.5"}
    for turn in range(10):
        del sys.modules[f"{name}_{turn}"]
