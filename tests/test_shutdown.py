"""The end of a process: killed, exited, or with the hooks taken out, nothing is left behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World

#: Nothing may be said at the end, however strict the interpreter is.
STRICT = ("-X", "dev", "-W", "error")


@pytest.fixture
def claimed(world: World) -> World:
    """A world whose main has ``claimed`` 0.5 and whose store has 1.0 and 2.0 of it."""
    files = {
        "claimed/__init__.py": "__version__ = 'VERSION'\n",
        "claimed/sub.py": "import claimed\nversion = claimed.__version__\n",
    }
    world.versions("claimed", "1.0", "2.0", main="0.5", files=files)
    return world


def tree(root: Path) -> dict[str, tuple[str, int, int]]:
    """Return the digest, the mode and the time of every file."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mode,
            path.stat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_process_that_is_killed_inside_a_scope_leaves_main_byte_for_byte(claimed: World) -> None:
    look = "import claimed.sub; from importlib.metadata import version; "
    look += "print(claimed.sub.version, version('claimed'))"
    assert claimed.run(look).stdout.split() == ["0.5", "0.5"]  # makes main's byte code, too
    before = tree(claimed.main)
    process = subprocess.Popen(
        claimed.command(
            """
            import sys, omnipkg_meta as om
            with om.use("claimed==1.0"), om.use("claimed==2.0"):
                import claimed.sub
                print(claimed.sub.version, flush=True)
                sys.stdin.read()
            """
        ),
        env=claimed.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "2.0\n"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert tree(claimed.main) == before
    assert claimed.run(look).stdout.split() == ["0.5", "0.5"]
    again = claimed.run(
        f"""
        import omnipkg_meta as om
        with om.use("claimed==2.0"):
            {look}
        {look}
        """
    )
    assert again.stdout.split() == ["2.0", "2.0", "0.5", "0.5"]


PROGRAMS = {
    "the hooks are in and no scope is active": """
        import omnipkg_meta as om
        import claimed
        with om.use("claimed==1.0"):
            import claimed.sub
        """,
    "a scope is still active": """
        import omnipkg_meta as om
        om.use("claimed==1.0").__enter__()
        import claimed.sub
        assert claimed.sub.version == "1.0"
        """,
    "a bubble is active for the whole process": """
        import omnipkg_meta as om
        handle = om.activate("claimed==1.0")
        import claimed.sub
        assert claimed.sub.version == "1.0"
        """,
    "the hooks were taken out": """
        import omnipkg_meta as om
        with om.use("claimed==1.0"):
            import claimed
        om.uninstall_hooks()
        """,
    "objects die after the hooks are out": """
        import omnipkg_meta as om
        class Late:
            def __del__(self):
                try:
                    import claimed.sub
                except ImportError:
                    pass  # at the very end there are no finders any more
        with om.use("claimed==1.0"):
            import claimed.sub
            claimed.late, late = Late(), Late()
        """,
    "functions that run at exit import": """
        import atexit, omnipkg_meta as om
        @atexit.register
        def early():
            import claimed
        with om.use("claimed==1.0"):
            import claimed
        @atexit.register
        def late():
            import claimed.sub
            print(claimed.sub.version)
        @atexit.register
        @om.use("claimed==1.0")
        def latest():
            import claimed.sub
            assert claimed.sub.version == "1.0"
        """,
    "a thread is in a scope": """
        import threading, omnipkg_meta as om
        entered = threading.Event()
        def stay():
            with om.use("claimed==1.0"):
                import claimed.sub
                entered.set()
                threading.Event().wait(600)
        threading.Thread(target=stay, daemon=True).start()
        assert entered.wait(60)
        """,
    "asyncio was in a scope": """
        import asyncio, omnipkg_meta as om
        async def main():
            async with om.use("claimed==1.0"):
                import claimed.sub
                await asyncio.sleep(0)
        asyncio.run(main(), debug=False)  # which else says when the machine is slow
        """,
    "a generator is left half way": """
        import omnipkg_meta as om
        @om.use("claimed==1.0")
        def steps():
            yield
            import claimed.sub
        generator = steps()
        next(generator)
        """,
}


@pytest.mark.parametrize("when", PROGRAMS)
def test_the_interpreter_ends_in_silence_when(claimed: World, when: str) -> None:
    done = claimed.run(PROGRAMS[when], options=STRICT)
    assert done.stderr == ""


@pytest.mark.parametrize("how", ["sys.exit(3)", "raise SystemExit(3)", "os._exit(3)"])
def test_an_exit_from_inside_a_scope_keeps_its_code(claimed: World, how: str) -> None:
    done = claimed.run(
        f"""
        import os, sys, omnipkg_meta as om
        with om.use("claimed==1.0"):
            import claimed
            {how}
        """,
        options=STRICT,
        status=3,
    )
    assert done.stderr == ""


def test_at_exit_the_table_of_modules_is_an_ordinary_dict_again(claimed: World) -> None:
    done = claimed.run(
        """
        import atexit, os, sys
        finders = list(sys.meta_path)
        @atexit.register
        def look():
            import claimed
            print(type(sys.modules) is dict, sys.meta_path == finders, claimed.__version__)
            print(type(os.environ) is os._Environ)
        import omnipkg_meta as om
        with om.use("claimed==1.0"):
            import claimed
        """,
        options=STRICT,
    )
    assert done.stdout.split() == ["True", "True", "0.5", "True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("inside", [False, True])
def test_at_exit_a_module_is_taken_apart_although_something_in_c_holds_it(
    world: World, inside: bool
) -> None:
    # As the interpreter holds extension modules of single-phase initialisation.
    text = """
        import ctypes, os, sys
        class Last:
            def __init__(self, write):
                self.write = write
            def __del__(self):
                self.write(1, b"gone")
        last = Last(os.write)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(sys.modules[__name__]))
        """
    world.versions("held", "1.0", main="0.5", files={"held.py": text})
    source = '"held==1.0"' if inside else "om.main"
    done = world.run(f"import omnipkg_meta as om\nwith om.use({source}):\n    import held\n")
    assert (done.stdout, done.stderr) == ("gone", "")


@pytest.mark.parametrize("inside", [False, True])
def test_at_exit_what_a_function_needs_that_something_in_c_holds_is_left_to_it(
    world: World, inside: bool
) -> None:
    # Native code may let go of it after the interpreter's end, where nothing can be freed.
    text = """
        import ctypes, os
        class Last:
            def __init__(self, write):
                self.write = write
            def __del__(self):
                self.write(1, b"gone")
        last = Last(os.write)
        def function(): pass
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(function))
        """
    world.versions("held", "1.0", main="0.5", files={"held.py": text})
    source = '"held==1.0"' if inside else "om.main"
    done = world.run(
        f"import omnipkg_meta as om\nwith om.use({source}):\n    import held\ndel held\n"
    )
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("source", ["", "om.main", '"held==1.0"'])
def test_at_exit_modules_are_taken_apart_in_the_order_in_which_they_came(
    world: World, source: str
) -> None:
    last = """
        import ctypes, os, sys
        class Last:
            def __init__(self, name, write):
                self.name, self.write = name, write
            def __del__(self):
                self.write(1, self.name)
        def hold(name):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(sys.modules[name]))
            vars(sys.modules[name])["last"] = Last(f"{name} ".encode(), os.write)
        """
    files = {"last.py": last}
    for name, before in (("a", "import held.b"), ("b", "import held.c"), ("c", ""), ("d", "")):
        files[f"held/{name}.py"] = f"{before}\nimport last\nlast.hold(__name__)\n"
    files["held/__init__.py"] = "import held.a, last\nlast.hold(__name__)\nimport held.d\n"
    world.versions("held", "1.0", main="0.5", files=files)
    scope = f"import omnipkg_meta as om\nwith om.use({source}): " if source else ""
    done = world.run(f"{scope}import held\n")
    assert (done.stdout, done.stderr) == ("held held.d held.a held.b held.c ", "")


def test_a_forked_child_goes_on_in_the_scope_and_ends_in_silence(claimed: World) -> None:
    done = claimed.run(
        """
        import os, sys, warnings, omnipkg_meta as om
        with om.use("claimed==1.0"):
            import claimed
            if (child := os.fork()) == 0:
                import claimed.sub
                assert claimed.sub.version == "1.0"
                with om.use("claimed==2.0"):
                    import claimed.sub
                    assert claimed.sub.version == "2.0"
                sys.exit(4)
            _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
        """,
        options=STRICT,
    )
    assert (done.stdout, done.stderr) == ("4\n", "")


def test_the_hooks_come_in_and_go_out_a_thousand_times_without_a_trace(claimed: World) -> None:
    claimed.run(
        """
        import gc, sys, omnipkg_meta as om
        from omnipkg_meta import hooks
        def counts():
            gc.collect()
            return sys.getrefcount(dict), len(sys.meta_path), len(gc.get_objects())
        with om.use("claimed==1.0"):
            import claimed
        for turn in range(1000):
            om.uninstall_hooks()
            assert type(sys.modules) is dict
            hooks.install()
            assert type(sys.modules) is not dict
            if turn == 100:
                before = counts()
        after = counts()
        assert all(abs(a - b) < 100 for a, b in zip(before, after)), (before, after)
        """,
        options=STRICT,
    )


def test_importing_the_library_changes_nothing_and_loads_nothing_heavy(claimed: World) -> None:
    done = claimed.run(
        """
        import os, sys
        finders, before, path = list(sys.meta_path), set(sys.modules), list(sys.path)
        environ = dict(os.environ)
        import omnipkg_meta
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        assert type(sys.modules) is dict
        assert (sys.meta_path, sys.path) == (finders, path)
        assert dict(os.environ) == environ and type(os.environ) is os._Environ
        print(*sorted(new))
        """,
        options=("-S", *STRICT),
    )
    assert done.stdout.split() in (["omnipkg_meta"], ["__future__", "omnipkg_meta"])


def test_what_is_not_needed_to_enter_a_scope_is_not_loaded(claimed: World) -> None:
    done = claimed.run(
        """
        import sys, omnipkg_meta as om
        with om.use("claimed==1.0"):
            import claimed
        print(*sorted({"asyncio", "importlib_metadata", "typing_extensions"} & set(sys.modules)))
        """
    )
    assert done.stdout.split() == []
