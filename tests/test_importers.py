"""What loads within a realm loads as importlib loads; and importlib is put back as it was."""

from __future__ import annotations

import functools
import importlib
import importlib._bootstrap
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta import importers
from omnipkg_meta.realm import MAIN, realm_of
from tests.test_threads import PATIENCE, together
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from omnipkg_meta.realm import Realm
    from tests.worlds import World

bootstrap: Any = importlib._bootstrap


def loaded(
    world: World, name: str, files: dict[str, str], *, main: str | None = "0.5"
) -> tuple[Any, Realm]:
    """Load the module ``start`` of a package in a bubble, beside main's version of the package."""
    sources = {f"{name}/__init__.py": "", **{f"{name}/{path}": files[path] for path in files}}
    (bubble,) = world.versions(name, "1.0", main=main, files=sources)
    with om.use(bubble):
        return importlib.import_module(f"{name}.start"), realm_of(bubble)


def parts(realm: Realm) -> set[str]:
    """Return what a realm has loaded of a package, without the package's name."""
    return {name.partition(".")[2] for name in realm.modules} - {""}


def locks_of(realm: Realm) -> list[str]:
    """Return the names of the modules that somebody holds the lock of, there and in main."""
    return [*importers._importer(realm).locks, *bootstrap._module_locks]


START = """
    def load(name):
        namespace = {"__name__": __name__, "__realm__": __realm__}
        exec(f"import {__package__}.{name}", namespace)
"""


@pytest.mark.parametrize("error", ["ValueError", "ImportError", "SystemExit", "KeyboardInterrupt"])
def test_a_module_that_raises_is_gone_lets_go_of_its_lock_and_is_tried_afresh(
    world: World, error: str
) -> None:
    name = world.name()
    files = {
        "start.py": f"""
            tries = []

            def load():
                import {name}.outer
                return {name}.outer.inner
            """,
        "outer.py": f"import {name}.inner as inner\n",
        "inner.py": f"""
            from {name}.start import tries

            tries.append(None)
            if len(tries) < 3:
                raise {error}("not yet")
            """,
    }
    start, realm = loaded(world, name, files)
    for _ in range(2):
        with pytest.raises(BaseException, match="not yet") as caught:
            start.load()
        assert type(caught.value).__name__ == error
        assert parts(realm) == {"start"}
        assert not hasattr(realm.modules[name], "inner")
        del caught  # in 3.15 a frame of importlib's has the lock, as long as there is a traceback
        assert not locks_of(realm)
    assert start.load() is realm.modules[f"{name}.inner"]
    assert len(start.tries) == 3
    assert not [one for one in (*MAIN.modules, *dict.keys(sys.modules)) if one.startswith(name)]


def test_tracebacks_show_the_modules_and_nothing_of_what_loads_them(world: World) -> None:
    name = world.name()
    files = {
        "start.py": f"""
            def load():
                import {name}.outer
            """,
        "outer.py": f"import {name}.inner\n",
        "inner.py": f"import {name}.nothing\n",
    }
    start, _ = loaded(world, name, files)
    with pytest.raises(ModuleNotFoundError, match=f"{name}.nothing") as caught:
        start.load()
    shown = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)][1:]
    files_of_loaders = [one for one in shown if "importlib" in one]
    assert files_of_loaders == []
    assert [one.rpartition("/")[2] for one in shown if name in one] == [
        "start.py",
        "outer.py",
        "inner.py",
    ]


def test_a_module_may_put_something_else_in_its_place_or_nothing(world: World) -> None:
    name = world.name()
    files = {
        "start.py": f"""
            import sys
            import {name}.other
            found = sys.modules["{name}.other"]

            def load():
                import {name}.nothing
            """,
        "other.py": "import sys\nsys.modules[__name__] = made = type('Made', (), {})()\n",
        "nothing.py": "import sys\ndel sys.modules[__name__]\n",
    }
    start, realm = loaded(world, name, files)
    assert type(start.found).__name__ == "Made"
    assert realm.modules[f"{name}.other"] is start.found
    assert getattr(realm.modules[name], "other") is start.found  # noqa: B009  # as bound by importlib
    with pytest.raises(KeyError, match=f"{name}.nothing"):
        start.load()
    assert parts(realm) == {"start", "other"}
    assert not locks_of(realm)


def test_none_in_the_table_halts_an_import_by_code_of_the_bubble(world: World) -> None:
    name = world.name()
    files = {"start.py": f"def load():\n    import {name}.sub\n", "sub.py": ""}
    start, realm = loaded(world, name, files)
    table: dict[str, Any] = realm.modules
    table[f"{name}.sub"] = None
    with pytest.raises(ModuleNotFoundError, match="halted"):
        start.load()


def test_a_module_of_a_bubble_is_reloaded_in_its_realm(world: World) -> None:
    name = world.name()
    files = {
        "start.py": f"""
            import importlib
            import {name}.sub as sub

            def reload():
                return importlib.reload(sub)
            """,
        "sub.py": f"""
            runs = globals().get("runs", 0) + 1
            import {name}.deeper as deeper
            """,
        "deeper.py": "",
    }
    start, realm = loaded(world, name, files)
    assert start.reload() is start.sub is realm.modules[f"{name}.sub"]
    assert start.sub.runs == 2
    del realm.modules[f"{name}.deeper"]
    assert start.reload().deeper is realm.modules[f"{name}.deeper"]
    assert start.sub.runs == 3
    assert not locks_of(realm)


@pytest.mark.parametrize("by", ["statement", "import_module", "scope"])
def test_who_imports_a_module_that_another_thread_is_loading_waits_for_it(
    world: World, by: str
) -> None:
    # Whoever asks, and by whatever functions: it is one lock.
    name, meeting = world.name(), world.name("meeting")
    world.module(meeting, "import threading\nbegun, waits = threading.Event(), threading.Event()\n")
    files = {
        "start.py": f"""
            import importlib

            def statement():
                import {name}.slow
                return {name}.slow.done

            def import_module():
                return importlib.import_module("{name}.slow").done
            """,
        "slow.py": f"""
            from {meeting} import begun, waits
            begun.set()
            assert waits.wait({PATIENCE})
            done = True
            """,
    }
    start, realm = loaded(world, name, files)
    met: Any = importlib.import_module(meeting)

    def in_scope() -> object:
        with om.use(f"{name}==1.0"):
            return importlib.import_module(f"{name}.slow").done

    class Waiting(bootstrap._ModuleLock):  # type: ignore[misc]
        """Says that somebody comes to the lock."""

        def acquire(self) -> Any:
            if threading.current_thread().name == "second":
                met.waits.set()
            return super().acquire()

    def second() -> object:
        threading.current_thread().name = "second"
        assert met.begun.wait(PATIENCE)
        # From here on, the first one goes on only when this one has come to its lock.
        lock = importers._importer(realm).locks[f"{name}.slow"]()
        lock.__class__ = Waiting
        return in_scope() if by == "scope" else getattr(start, by)()

    assert together(start.statement, second) == [True, True]
    assert not locks_of(realm)


def test_circles_in_opposite_directions_load_at_once_in_two_realms(world: World) -> None:
    name, meeting = world.name(), world.name("meeting")
    world.module(meeting, f"import threading\nbarrier = threading.Barrier(2, timeout={PATIENCE})\n")
    starts = []
    for version, first, last in (("1.0", "a", "b"), ("2.0", "b", "a")):
        files = {
            f"{name}/__init__.py": "",
            f"{name}/start.py": f"def load():\n    import {name}.{first}\n    return {name}\n",
            f"{name}/{first}.py": f"""
                from {meeting} import barrier
                barrier.wait()
                import {name}.{last}
                version = {name}.{last}.version
                """,
            f"{name}/{last}.py": f"""
                version = "{version}"
                import {name}.{first}
                """,
        }
        with om.use(world.make(name, version, files)):
            starts.append(importlib.import_module(f"{name}.start"))
    for _ in range(200):
        packages = together(*(one.load for one in starts))
        assert [(one.a.version, one.b.version) for one in packages] == [
            ("1.0", "1.0"),
            ("2.0", "2.0"),
        ]
        for package in packages:
            realm = vars(package)["__realm__"]
            del realm.modules[f"{name}.a"], realm.modules[f"{name}.b"]


def test_each_submodule_is_run_once_however_many_threads_ask_for_it(world: World) -> None:
    name = world.name()
    labels = [f"m{number}" for number in range(20)]
    files = {
        "start.py": "runs = []\n\n"
        + "".join(f"def {one}():\n    import {name}.{one}\n\n" for one in labels),
        **{f"{one}.py": f"from {name}.start import runs\nruns.append('{one}')\n" for one in labels},
    }
    start, realm = loaded(world, name, files)
    barrier = threading.Barrier(4, timeout=PATIENCE)

    def load(order: list[str]) -> None:
        barrier.wait()
        for one in order:
            getattr(start, one)()

    together(*(functools.partial(load, labels[at:] + labels[:at]) for at in (0, 5, 10, 15)))
    assert sorted(start.runs) == sorted(labels)
    assert parts(realm) == {"start", *labels}


def test_the_table_never_has_a_gap_while_a_module_is_put_at_its_end(world: World) -> None:
    name = world.name()
    start, realm = loaded(world, name, {"start.py": "", "sub.py": ""})
    seen: list[bool] = []

    class Watched(dict):  # type: ignore[type-arg]
        def pop(self, *_: object) -> None:
            raise AssertionError("taken out")

    table = Watched(realm.modules)
    copy = importers.Importer(table)
    modules: Any = copy.system.modules
    assert modules.pop(f"{name}.start") is start
    assert f"{name}.start" in table
    with pytest.raises(KeyError):
        modules.pop(f"{name}.sub")
    assert not seen


def test_taking_the_hooks_out_puts_importlibs_functions_back(world: World) -> None:
    world.versions("claimed", "1.0", main="0.5")
    world.run(
        """
        import importlib._bootstrap as bootstrap
        import omnipkg_meta as om
        names = ("_find_and_load", "_get_module_lock")
        before = [vars(bootstrap)[name] for name in names]
        for _ in range(3):
            with om.use("claimed==1.0"):
                import claimed
            now = [vars(bootstrap)[name] for name in names]
            assert not any(map(lambda one, other: one is other, now, before))
            om.uninstall_hooks()
            assert [vars(bootstrap)[name] for name in names] == before
        """
    )


FILES = {
    "pkg/__init__.py": "def load():\n    import pkg.sub\n    return pkg.sub.version\n",
    "pkg/sub.py": "version = 'VERSION'\n",
}

# As Cython would compile it, which leaves no frame that could be taken for who asks.
WRAP = """
    import importlib._bootstrap as bootstrap, sys
    import omnipkg_meta as om

    seen = []

    def wrap(function):
        text = "def wrapper(*args, **kwargs):\\n    see(args)\\n    return inner(*args, **kwargs)"
        inner = getattr(bootstrap, function)
        namespace = {"see": lambda args: seen.append(args[0]), "inner": inner}
        exec(compile(text, bootstrap.__spec__.origin, "exec"), namespace)
        setattr(bootstrap, function, namespace["wrapper"])
        return namespace["wrapper"]
    """


@pytest.mark.parametrize("function", ["_find_and_load", "_load_unlocked", "_find_spec"])
def test_what_somebody_put_in_the_place_of_importlibs_before_us_is_still_called(
    world: World, function: str
) -> None:
    world.versions("pkg", "1.0", main="0.5", files=FILES)
    world.run(
        WRAP
        + f"""
    theirs = wrap({function!r})
    for _ in range(2):
        seen.clear()
        package = om.load("pkg==1.0")
        assert package.load() == "1.0"
        assert len(seen) >= 2, seen
        om.uninstall_hooks()
        assert bootstrap.{function} is theirs
        package.__realm__.modules.clear()
    """
    )


def test_what_somebody_put_over_ours_stays_and_ours_beneath_it_sleeps_and_wakes(
    world: World,
) -> None:
    world.versions("pkg", "1.0", main="0.5", files=FILES)
    world.run(
        WRAP
        + """
    package = om.load("pkg==1.0")
    theirs = wrap("_find_and_load")
    assert package.load() == "1.0"
    om.uninstall_hooks()
    assert bootstrap._find_and_load is theirs
    import pkg.sub
    assert pkg.sub.version == pkg.load() == "0.5"
    del sys.modules["pkg.sub"]
    assert package.load() == "0.5"  # no hooks, no bubbles
    del sys.modules["pkg.sub"]
    for _ in range(2):
        seen.clear()
        with om.use("pkg==1.0"):
            del sys.modules["pkg.sub"]
        assert package.load() == "1.0"
        assert seen.count("pkg.sub") == 1, seen
        assert bootstrap._find_and_load is theirs
    import pkg.sub
    assert pkg.sub.version == "0.5"
    """
    )


def test_what_stands_in_importlib_for_a_moment_does_not_stay_in_a_realm(world: World) -> None:
    world.versions("pkg", "1.0", main="0.5", files=FILES)
    world.run(
        WRAP
        + """
    with om.use("pkg==1.0"):
        before = bootstrap._find_spec
        wrap("_find_spec")
        import pkg
        assert pkg.load() == "1.0"
        bootstrap._find_spec = before
        seen.clear()
        del sys.modules["pkg.sub"]
        assert pkg.load() == "1.0"
        assert not seen
    """
    )


@pytest.mark.parametrize(
    "change",
    [
        "bootstrap._module_locks = type('Locks', (dict,), {})()",
        "bootstrap._get_module_lock = lambda name: bootstrap._ModuleLock(name)",
        "exec('def _get_module_lock(name): return _ModuleLock(name)', vars(bootstrap))",
        "exec('def _load_unlocked(spec): return module_from_spec(spec)', vars(bootstrap))",
        "exec('def _find_and_load(name): pass', vars(bootstrap))",
    ],
)
def test_another_importlib_is_refused_and_left_alone(world: World, change: str) -> None:
    world.run(
        f"""
        import importlib._bootstrap as bootstrap
        from omnipkg_meta import importers
        from omnipkg_meta.errors import HookError
        before = dict(vars(bootstrap))
        {change}
        changed = dict(vars(bootstrap))
        try:
            importers.install()
        except HookError as error:
            assert "apart" in str(error), error
        else:
            raise SystemExit("installed")
        finally:
            now = dict(vars(bootstrap))
            vars(bootstrap).update(before)
        assert now == changed
        """
    )
