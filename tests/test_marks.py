"""Marks that packages leave on ``sys``: each version its own, and the rest of ``sys`` as ever."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta import marks
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: As OpenCV does: the mark says that the package is being loaded, and is taken away.
WHILE_LOADING = {
    "loader/__init__.py": """
    import sys
    if hasattr(sys, "Loader_MARK"):
        raise ImportError("recursion is detected")
    sys.Loader_MARK = "VERSION"
    from loader import inner
    assert sys.Loader_MARK == "VERSION"
    del sys.Loader_MARK
    assert not hasattr(sys, "Loader_MARK")
    """,
    "loader/inner.py": "import meeting\nmeeting.point.wait()\nversion = 'VERSION'\n",
}

#: As PyTorch does: the mark says that the package was loaded, and stays.
FOR_GOOD = {
    "once/__init__.py": """
    import sys
    if getattr(sys, "_once_import_started", False):
        raise ImportError("once can be imported once")
    sys._once_import_started = "VERSION"
    from once.later import mark, remove
    version = "VERSION"
    """,
    "once/later.py": """
    import sys

    def mark():
        return sys._once_import_started

    def remove():
        del sys._once_import_started
    """,
}

MEETING = "import threading\npoint = threading.Barrier(3, timeout=30)\n"

SEEN = """
import sys, types, omnipkg_meta as om

def seen():
    return getattr(sys, "_once_import_started", None)
"""


def test_versions_that_mark_their_loading_load_at_the_same_moment(world: World) -> None:
    # Main's and two bubbles' are all half way through their loads when they meet.
    world.versions("loader", "1.0", "2.0", main="0.5", files=WHILE_LOADING)
    world.module("meeting", MEETING)
    world.run(
        """
        import sys, threading, types, omnipkg_meta as om
        found = []

        def load(source):
            with om.use(source):
                import loader
                found.append(loader.inner.version)

        threads = [
            threading.Thread(target=load, args=[source])
            for source in (om.main, "loader==1.0", "loader==2.0")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == ["0.5", "1.0", "2.0"], found
        assert not hasattr(sys, "Loader_MARK") and "Loader_MARK" not in vars(sys)
        assert type(sys) is types.ModuleType and "__getattr__" not in vars(sys)
        """
    )


@pytest.mark.parametrize("first", ["main before the hooks", "main after them", "a bubble"])
def test_versions_that_mark_that_they_were_loaded_are_loaded_beside_each_other(
    world: World, first: str
) -> None:
    world.versions("once", "1.0", "2.0", main="0.5", files=FOR_GOOD)
    world.run(
        SEEN
        + f"""
first = {first!r}
if first == "main before the hooks":
    import once as main
loaded = []
for version in ("1.0", "2.0"):
    if first == "main after them" and version == "2.0":
        import once as main
    with om.use(f"once=={{version}}"):
        import once
        assert once.version == version and seen() == version
        loaded.append(once)
import once as main
assert main.version == "0.5" and main.mark() == seen() == "0.5"
assert [one.mark() for one in loaded] == ["1.0", "2.0"]
loaded[0].remove()
assert [hasattr(sys, "_once_import_started"), loaded[1].mark()] == [True, "2.0"]
try:
    loaded[0].mark()
except AttributeError as error:
    assert str(error) == "module 'sys' has no attribute '_once_import_started'", error
    assert error.name == "_once_import_started" and error.obj is sys
else:
    raise SystemExit("the mark is still there")
om.uninstall_hooks()
assert type(sys) is types.ModuleType and "__getattr__" not in vars(sys)
assert vars(sys)["_once_import_started"] == "0.5"
"""
    )


def test_a_mark_is_seen_by_whoever_gets_the_package_that_set_it(world: World) -> None:
    world.versions("once", "1.0", main="0.5", files=FOR_GOOD)
    looks = "import sys\ndef seen(): return getattr(sys, '_once_import_started', None)\n"
    world.versions("looks", "1.0", files={"looks.py": looks})
    world.install(world.wheel("needs", "1.0", {"needs.py": looks}, requires=["once"]))
    world.run(
        SEEN
        + """
import needs
with om.use("once==1.0"):
    import once
    assert seen() == "1.0" and "_once_import_started" in dir(sys)
    assert needs.seen() is None  # it gets main's once, which was not loaded
    with om.use(om.main):
        assert seen() is None and "_once_import_started" not in dir(sys)
assert seen() is None and "__getattr__" not in dir(sys)
import once
with om.use("looks==1.0"):
    import looks
    assert looks.seen() == seen() == "0.5"  # it brings no once of its own along
assert needs.seen() == "0.5"
"""
    )


def test_main_code_in_a_scope_replaces_and_deletes_what_it_sees(world: World) -> None:
    world.versions("once", "1.0", "2.0", files=FOR_GOOD)
    world.run(
        SEEN
        + """
with om.use("once==1.0"):
    import once as first
with om.use("once==2.0"):
    import once as second
    sys._once_import_started = "changed"
    assert second.mark() == seen() == "changed"
assert first.mark() == "1.0" and seen() is None
sys._once_import_started = "main's"
assert (first.mark(), second.mark(), seen()) == ("1.0", "changed", "main's")
with om.use("once==1.0"):
    del sys._once_import_started
    assert seen() == "main's"  # the program's own, which no once of anybody's has set
del sys._once_import_started
assert seen() is None and second.mark() == "changed"
try:
    del sys._once_import_started
except AttributeError as error:
    assert "_once_import_started" in str(error), error
else:
    raise SystemExit("there was nothing to delete")
"""
    )


def test_what_the_interpreter_keeps_on_sys_is_set_for_everybody(world: World) -> None:
    world.versions(
        "setter",
        "1.0",
        files={
            "setter.py": """
            import sys
            def hook(*error): pass
            sys.excepthook = hook
            sys.ps1 = "setter"
            sys.tracebacklimit = 7
            del sys.tracebacklimit
            """
        },
    )
    done = world.run(
        """
        import sys, omnipkg_meta as om
        setter = om.load("setter==1.0")
        assert sys.excepthook is setter.hook
        assert vars(sys)["ps1"] == "setter" and not hasattr(sys, "tracebacklimit")
        """
    )
    assert "setter.hook in the place of sys.excepthook" in done.stderr


WAYS = {
    "statement": "sys._by_hand = 'VERSION'",
    "setattr": "setattr(sys, '_by_hand', 'VERSION')",
    "standard library": (
        "from unittest.mock import patch\n"
        "patch.object(sys, '_by_hand', 'VERSION', create=True).start()"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_however_it_is_set_a_mark_is_that_of_who_set_it(world: World, way: str) -> None:
    world.versions(
        "hand",
        "1.0",
        "2.0",
        files={"hand.py": f"import sys\n{WAYS[way]}\ndef seen(): return sys._by_hand\n"},
    )
    world.run(
        """
        import sys, omnipkg_meta as om
        one, two = (om.load(f"hand=={version}") for version in ("1.0", "2.0"))
        assert (one.seen(), two.seen()) == ("1.0", "2.0")
        assert not hasattr(sys, "_by_hand")
        """
    )


@pytest.mark.parametrize("stored", ["sys.frozen = True", "setattr(sys, 'frozen', True)"])
def test_what_main_has_set_is_taken_out_of_sight_only_where_code_sets_it_on_sys(
    world: World, stored: str
) -> None:
    world.versions("own", "1.0", files={"own.py": f"import sys\nif 0:\n    {stored}\n"})
    world.versions(
        "other",
        "1.0",
        files={
            "other.py": """
            import sys
            class Frame: pass
            frame = Frame()
            frame.frozen = frame.here = False
            def seen(): return getattr(sys, "frozen", None)
            """
        },
    )
    world.run(
        """
        import sys, omnipkg_meta as om
        sys.frozen = "by main"
        assert om.load("other==1.0").seen() == "by main" == vars(sys)["frozen"]
        own = om.load("own==1.0")
        assert own.sys is sys and sys.frozen == "by main"
        assert om.load("other==1.0").seen() == "by main"
        """
    )


def test_sys_is_a_plain_module_but_while_packages_load_and_while_there_are_marks(
    world: World,
) -> None:
    world.versions("once", "1.0", files=FOR_GOOD)
    world.versions(
        "plain",
        "1.0",
        main="0.5",
        files={"plain.py": "import sys, inspect\nkind = type(sys)\nis_one = inspect.ismodule(sys)"},
    )
    done = world.run(
        """
        import atexit, inspect, sys, types
        def at_exit():
            print(type(sys) is types.ModuleType, "__getattr__" in vars(sys))
        atexit.register(at_exit)
        import omnipkg_meta as om
        plain = om.load("plain==1.0")
        assert plain.kind is not types.ModuleType and plain.is_one
        assert type(sys) is types.ModuleType
        once = om.load("once==1.0")
        assert type(sys) is not types.ModuleType and inspect.ismodule(sys)
        assert repr(sys) == "<module 'sys' (built-in)>" and type(sys).__name__ == "module"
        once.remove()
        assert type(sys) is types.ModuleType and "__getattr__" not in vars(sys)
        assert repr(om.load("once==1.0").version) == "'1.0'"
        om.uninstall_hooks()
        with om.use("plain==1.0"):
            pass
        assert type(sys) is types.ModuleType
        """
    )
    assert done.stdout.split() == ["True", "False"]


def test_the_class_of_sys_stands_for_the_class_of_modules_meanwhile(world: World) -> None:
    world.versions(
        "asks",
        "1.0",
        files={
            "asks/__init__.py": """
            import copyreg, importlib.util, io, pickle, sys, types
            from asks import inner
            Module = type(sys)
            assert Module is not types.ModuleType
            assert Module == types.ModuleType and {types.ModuleType: 1}[Module] == 1
            assert not Module != types.ModuleType and Module != type
            assert isinstance(types, Module) and not isinstance(1, Module)
            class Own(Module):
                def __init__(self, name):
                    super().__init__(name)
                    self.own = True
            assert issubclass(Own, Module) and isinstance(Own("one"), Module)
            assert Own.__mro__[1] is types.ModuleType and Own("one").own
            spec = importlib.util.spec_from_loader("made", None)
            for made in (inner, Module("made", "words"), importlib.util.module_from_spec(spec)):
                assert type(made) is types.ModuleType
                made.attribute = 1
                assert vars(made)["attribute"] == 1
            assert Module("made", "words").__doc__ == "words"
            class Pickler(pickle.Pickler):
                dispatch_table = {types.ModuleType: lambda one: (__import__, (one.__name__,))}
            stream = io.BytesIO()
            Pickler(stream).dump(sys)
            assert pickle.loads(stream.getvalue()) is sys
            try:
                pickle.dumps(sys)
            except TypeError as error:
                assert str(error) == "cannot pickle 'module' object", error
            assert repr(Module) == "<class 'module'>"
            """,
            "asks/inner.py": "",
        },
    )
    world.run('import omnipkg_meta as om; om.load("asks==1.0")')


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forgets_what_other_threads_of_its_parent_were_loading(world: World) -> None:
    world.versions(
        "slow", "1.0", files={"slow.py": "import meeting\nmeeting.here.set()\nmeeting.go.wait(30)"}
    )
    world.module("meeting", "import threading\nhere, go = threading.Event(), threading.Event()\n")
    world.run(
        """
        import os, sys, threading, types, warnings, meeting, omnipkg_meta as om
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        thread = threading.Thread(target=om.load, args=["slow==1.0"])
        thread.start()
        assert meeting.here.wait(30)
        kind = type(sys)
        if (child := os.fork()) == 0:
            os._exit(kind is types.ModuleType or type(sys) is not types.ModuleType)
        _, status = os.waitpid(child, 0)
        meeting.go.set()
        thread.join()
        assert status == 0 and type(sys) is types.ModuleType
        """
    )


def test_all_that_a_bare_interpreter_has_on_sys_is_known_as_the_interpreters() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; print(*vars(sys))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [name for name in done.stdout.split() if not marks.is_interpreters(name)] == []
