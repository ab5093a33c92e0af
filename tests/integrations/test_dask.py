"""The plugin for Dask, with clusters of a program's own: hooks are process-wide.

No index is reached: the locks name little wheels that lie on this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import BubbleNotFoundError, LockError
from omnipkg_meta.projects import named
from omnipkg_meta.store.store import Store
from tests.pages import ROOT
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Install, Wheelhouse
    from tests.worlds import World

pytest.importorskip("distributed", reason="the extra `dask` is not installed")

from dask.base import tokenize

from omnipkg_meta.integrations.dask import Bubbles

SOURCE = """
__version__ = "VERSION"
class Thing:
    version = "VERSION"
class Trouble(Exception):
    pass
"""

#: A module of the user's own, which the workers import as well.
TASKS = """
    import os, threading
    import omnipkg_meta as om

    both = threading.Barrier(2, timeout=60)

    def look(number=0):
        import {name}
        return {name}.__version__

    def meet(number):
        both.wait()
        import {name}
        both.wait()
        return [{name}.__version__, os.getpid()]

    @om.use("{name}==1.0")
    def decorated():
        import {name}
        return {name}.__version__

    def thing():
        import {name}
        return {name}.Thing()

    def trouble():
        import {name}
        raise {name}.Trouble("no")

    def version_of(thing):
        import {name}
        return thing.version + (" of its scope" if type(thing) is {name}.Thing else "")

    def process():
        return os.getpid()

    def where(number):
        from distributed import get_worker
        return get_worker().address
    """

START = """
    import json, logging, os, sys, threading
    import cloudpickle
    import dask
    from distributed import Client, LocalCluster
    import omnipkg_meta as om
    from omnipkg_meta.integrations.dask import Bubbles
    import {name}, tasks

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    ONE, TWO = "{name}==1.0", "{name}==2.0"
    there = sys.argv[1]

    def cluster(**options):
        kinds = {{"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}}
        # Not the store of this program: what workers have comes from the locks.
        if options.get("processes", True):
            kinds["env"] = {{"OMNIPKG_META_STORE": there}}
        return LocalCluster(**(kinds | options))

    def told(error):
        return [type(error).__name__, *str(error).splitlines()]
    """


@pytest.fixture
def name(world: World, wheelhouse: Wheelhouse, install: Install) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, and 0.5 in main."""
    name = world.name()
    for version in ("1.0", "2.0"):
        wheelhouse.make(name, version, {f"{name}.py": SOURCE.replace("VERSION", version)})
        install(f"{name}=={version}")
    world.versions(name, main="0.5", files={f"{name}.py": SOURCE})
    world.module("tasks", TASKS.format(name=name))
    return name


def run(world: World, name: str, there: Path, code: str) -> Any:
    body = textwrap.indent(textwrap.dedent(code), "    ")
    program = textwrap.dedent(START.format(name=name)) + "if __name__ == '__main__':" + body
    done = world.run(program, str(there))
    return json.loads(done.stdout)


def test_tasks_of_two_versions_run_at_once_in_the_threads_of_each_worker(
    world: World, name: str, tmp_path: Path
) -> None:
    code = """
    def at_the_top_of_the_program():
        import PKG
        return PKG.__version__

    with cluster(n_workers=2) as started, Client(started) as client:
        client.register_plugin(Bubbles(ONE, TWO))
        one, two = om.bind(tasks.meet, ONE), om.bind(tasks.meet, TWO)
        met = []
        for worker in client.scheduler_info()["workers"]:
            futures = [client.submit(each, 0, workers=[worker], pure=False) for each in (one, two)]
            (first, here), (second, also) = client.gather(futures)
            met.append([first, second, here == also])
        seen = client.gather(client.map(om.bind(tasks.look, TWO), range(20), pure=False))
        mains = client.gather(client.map(tasks.look, range(20), pure=False))
        sent = om.bind(at_the_top_of_the_program, ONE, dumps=cloudpickle.dumps)
        others = [
            client.submit(sent).result(),
            client.submit(om.use(ONE)(at_the_top_of_the_program)).result(),
            client.submit(tasks.decorated).result(),
            dask.delayed(om.bind(tasks.look, TWO))().compute(),
            list(client.get_executor().map(om.bind(tasks.look, ONE), range(2))),
        ]
        print(json.dumps([met, seen, mains, others]))
    """
    there = tmp_path / "there"
    met, seen, mains, others = run(world, name, there, code.replace("PKG", name))
    assert met == [["1.0", "2.0", True]] * 2
    assert seen == ["2.0"] * 20
    assert mains == ["0.5"] * 20
    assert others == ["1.0", "1.0", "1.0", "2.0", ["1.0", "1.0"]]
    made = Store(there).bubbles()
    assert [one.id for one in made] == [one.id for one in om.Store().bubbles()]
    assert [one.path.is_relative_to(there) for one in made] == [True, True]


def test_a_worker_that_joins_later_has_the_bubbles_before_its_first_task(
    world: World, name: str, tmp_path: Path
) -> None:
    code = """
    with cluster() as started, Client(started) as client:
        client.register_plugin(Bubbles(ONE))
        (first,) = client.scheduler_info()["workers"]
        before = client.submit(tasks.process).result()
        started.adapt(minimum=2, maximum=2)
        client.wait_for_workers(2, timeout=60)
        (second,) = client.scheduler_info()["workers"].keys() - {first}
        future = client.submit(tasks.look, workers=[second], pure=False)
        scoped = client.submit(tasks.decorated, workers=[second], pure=False)
        ran = client.submit(tasks.process, workers=[second], pure=False).result()
        found = [future.result(), scoped.result(), ran != before]
        client.restart()  # the nannies start other processes
        found.append(client.submit(tasks.decorated, pure=False).result())
        print(json.dumps(found))
    """
    assert run(world, name, tmp_path / "there", code) == ["0.5", "1.0", True, "1.0"]


def test_a_worker_that_cannot_make_a_bubble_is_an_error_of_the_registration(
    world: World, name: str, wheelhouse: Wheelhouse, tmp_path: Path
) -> None:
    code = """
    plugin = Bubbles(ONE, TWO)
    (wheel,) = [one for one in os.scandir(sys.argv[2]) if "-2.0-" in one.name]
    os.rename(wheel.path, wheel.path + ".away")
    with cluster() as started, Client(started) as client:
        try:
            client.register_plugin(plugin)
        except om.errors.OmnipkgMetaError as error:
            found = [told(error), error.package]
        found.append(client.submit(tasks.process, pure=False).result() > 0)
        os.rename(wheel.path + ".away", wheel.path)
        client.register_plugin(plugin)  # tried again
        found.append(client.submit(om.bind(tasks.look, TWO)).result())
        print(json.dumps(found))
    """
    code = code.replace("sys.argv[2]", repr(str(wheelhouse.path)))
    (kind, *lines), package, alive, seen = run(world, name, tmp_path / "there", code)
    assert kind == "LockError"
    assert f"{name}-2.0-py3-none-any.whl" in lines[1]
    assert (package, alive, seen) == (name, True, "2.0")


@pytest.mark.parametrize("processes", [True, False])
def test_a_worker_that_joins_and_cannot_make_a_bubble_closes_and_the_client_is_told(
    world: World, name: str, wheelhouse: Wheelhouse, tmp_path: Path, *, processes: bool
) -> None:
    code = """
    import shutil
    with cluster(processes=PROCESSES) as started, Client(started) as client:
        client.register_plugin(Bubbles(ONE, store=there))
        (first,) = client.scheduler_info()["workers"]
        heard, closed = threading.Event(), threading.Event()
        warned = []

        def hear(event):
            warned.append(client_loads(event[1]["message"]))
            heard.set()

        client_loads = cloudpickle.loads
        client.subscribe_topic("warn", hear)
        shutil.rmtree(there)
        shutil.rmtree(HOUSE)
        started.scale(2)
        assert heard.wait(60)
        ran = client.gather(client.map(tasks.where, range(20), pure=False))
        print(json.dumps([warned[0].splitlines(), list(set(ran)), first]))
    """
    code = code.replace("PROCESSES", str(processes)).replace("HOUSE", repr(str(wheelhouse.path)))
    warned, ran, first = run(world, name, tmp_path / "there", code)
    assert warned[0].startswith("the worker ")
    assert first not in warned[0]
    assert "has closed: the lock cannot be used" in warned[0]
    assert name in warned[1]
    assert ran == [first]


def test_an_object_of_a_bubble_is_carried_by_a_scoped_executor_and_else_an_error(
    world: World, name: str, tmp_path: Path
) -> None:
    code = """
    with cluster(n_workers=2) as started, Client(started) as client:
        client.register_plugin(Bubbles(ONE, TWO))
        thing = client.submit(om.bind(tasks.thing, ONE), pure=False)
        used = client.submit(om.bind(tasks.version_of, ONE), thing, pure=False)
        raised = client.submit(om.bind(tasks.trouble, ONE), pure=False)
        found = [told(future.exception()) for future in (thing, used, raised)]
        with om.ScopedExecutor(client.get_executor(), ONE) as pool:
            got = pool.submit(tasks.thing).result()
            found.append([got.version, pool.submit(tasks.version_of, got).result()])
        print(json.dumps(found))
    """
    thing, used, raised, carried = run(world, name, tmp_path / "there", code)
    assert thing[:2] == ["BindError", "thing returned an object, which this pool cannot carry"]
    assert used == thing
    assert raised[0] == "BindError"
    assert raised[1].startswith("trouble raised Trouble: no")
    assert carried == ["1.0", "1.0 of its scope"]


def test_what_is_not_here_is_an_error_before_anything_is_sent(name: str, tmp_path: Path) -> None:
    with pytest.raises(BubbleNotFoundError, match=rf"tip: omnipkg-meta install '?{name}==3.0"):
        Bubbles(f"{name}==3.0")
    with pytest.raises(LockError, match=r"pylock\.toml"):
        Bubbles(tmp_path / "pylock.toml")
    with pytest.raises(TypeError, match="needs at least one"):
        Bubbles()
    with pytest.raises(TypeError, match="not Scope"):
        Bubbles(om.use(f"{name}==1.0"))  # type: ignore[arg-type]


def test_each_way_to_name_a_bubble_sends_the_same_lock(name: str, tmp_path: Path) -> None:
    bubble = om.Store().require([f"{name}==1.0"])
    lock = tmp_path / "pylock.toml"
    lock.write_bytes(bubble.lock.read_bytes())
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.omnipkg-meta.bubbles]\nold = ["{name}==1.0"]\n'
    )
    (project,) = named(["old"], tmp_path)
    names = {Bubbles(one).name for one in (f"{name}==1.0", [f"{name}==1.0"], bubble, lock, project)}
    assert len(names) == 1
    assert Bubbles(f"{name}==2.0").name not in names


def test_tasks_of_two_versions_have_different_keys_and_those_of_one_the_same(name: str) -> None:
    """Or Dask would give what the other version returned."""

    def key(bound: Any) -> str:
        return str(tokenize(bound))

    def made(requirement: str) -> tuple[Any, Any]:
        return om.bind(om.home, requirement), om.use(requirement)(om.home)

    versions = zip(*(made(f"{name}=={at}") for at in ("1.0", "1.0", "2.0")), strict=True)
    for one, again, two in versions:
        assert key(one) == key(again)
        assert len({key(one), key(two), key(om.home)}) == 3


def test_the_library_does_not_bring_dask_in(world: World) -> None:
    world.run(
        """
        import sys
        import omnipkg_meta, omnipkg_meta.bound, omnipkg_meta.executor, omnipkg_meta.cli
        assert not {"dask", "distributed"} & set(sys.modules)
        """
    )


def test_the_benchmark_sees_its_version_in_each_task(
    world: World, wheelhouse: Wheelhouse, install: Install, tmp_path: Path
) -> None:
    name = world.name()
    for version in ("1.0", "2.0", "3.0"):
        wheelhouse.make(name, version)
        install(f"{name}=={version}")
    world.versions(name, main="0.5")
    # Copies: in the checkout they would count as code of this library.
    for part in ("cluster_tasks.py", "on_dask.py"):
        shutil.copy(ROOT / "benchmarks" / part, tmp_path)
    words = [f"{name}=={version}" for version in ("1.0", "1.0", "2.0", "3.0")]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "on_dask.py"), name, "7", "1", "1", *words],
        env=world.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    took = json.loads(done.stdout)
    ways = {f"{how}, {way}" for how in ("submitted", "mapped") for way in ("with", "without")}
    assert took.keys() == {"first", *ways}
    assert all(len(took[way]) == 1 for way in ways)
