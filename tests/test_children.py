"""Interpreters that code of a bubble starts have that bubble; what main starts begins in main."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no fork_exec on Windows")

#: A package that starts interpreters as packages do, and says which version was seen there.
STARTER = """
__version__ = 'VERSION'

import multiprocessing, os, subprocess, sys
from multiprocessing.util import spawnv_passfds

LOOK = "import PKG; print(PKG.__version__, flush=True)"

class Thing:
    version = 'VERSION'

def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options)
    return done.stdout.strip()

def start(executable=sys.executable, **options):
    return run(executable, "-c", LOOK, **options)

def spawnv():
    ours, theirs = os.pipe()
    code = f"import os, PKG; os.write({theirs}, PKG.__version__.encode())"
    child = spawnv_passfds(os.fsencode(sys.executable), [sys.executable, "-c", code], [theirs])
    os.close(theirs)
    os.waitpid(child, 0)
    return os.read(ours, 100).decode()

def after_fork(replace, *more):
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    code = f"import os, PKG; os.write({theirs}, PKG.__version__.encode())"
    child = os.fork()
    if not child:
        replace(sys.executable, [sys.executable, "-c", code], *more)
    os.close(theirs)
    os.waitpid(child, 0)
    return os.read(ours, 100).decode()

def asynchronous():
    import asyncio

    async def ask():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LOOK, stdout=asyncio.subprocess.PIPE
        )
        return (await child.communicate())[0].decode().strip()

    return asyncio.run(ask())

def tell(pipe, thing):
    import PKG
    pipe.send([PKG.__version__, type(thing) is PKG.Thing and thing.version])

def process(method):
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=tell, args=(theirs, Thing()))
    child.start()
    seen = ours.recv()
    child.join()
    return seen
"""


def prepared(world: World, *versions: str, main: str | None = "0.5") -> str:
    name = world.name()
    files = {f"{name}.py": STARTER.replace("PKG", name)}
    world.versions(name, *versions, main=main, files=files)
    return name


def said(world: World, name: str, code: str, *arguments: str) -> list[str]:
    done = world.run(code.replace("PKG", name), *arguments)
    return done.stdout.splitlines()


@pytest.mark.parametrize("main", ["0.5", None])
@pytest.mark.parametrize(
    "call",
    [
        *("start()", "start(env=dict(os.environ))", "start(env={'PYTHONPATH': path})"),
        *("spawnv()", "asynchronous()", "start(close_fds=False)"),
        *("after_fork(os.execv)", "after_fork(os.execve, os.environ)"),
        *("after_fork(os.execvp)", "after_fork(os.execvpe, dict(os.environb))"),
        "start(os.path.join(os.path.dirname(sys.executable), 'python3'))",
    ],
)
def test_a_child_of_a_bubbles_code_imports_what_that_code_would(
    world: World, call: str, main: str | None
) -> None:
    name = prepared(world, "1.0", "2.0", main=main)
    code = f"""
        import os, sys
        import omnipkg_meta as om

        path = os.environ["PYTHONPATH"]
        for version in ("2.0", "1.0"):
            with om.use(f"PKG=={{version}}"):
                import PKG
            os.environ["EXTRA"] = "kept"
            print(PKG.{call})
        """
    assert said(world, name, code) == ["2.0", "1.0"]


def test_what_another_program_starts_begins_in_main(world: World) -> None:
    name = prepared(world, "1.0")
    code = """
        import sys
        import omnipkg_meta as om

        with om.use("PKG==1.0"):
            import PKG
        print(PKG.run("sh", "-c", '"$0" -c "$1"', sys.executable, PKG.LOOK))
        """
    assert said(world, name, code) == ["0.5"]


def test_objects_go_to_a_process_that_the_package_spawns(world: World) -> None:
    name = prepared(world, "1.0")
    code = """
        import omnipkg_meta as om

        if __name__ == "__main__":
            with om.use("PKG==1.0"):
                import PKG
            print(*PKG.process("spawn"))
        """
    assert said(world, name, code) == ["1.0 1.0"]


def test_a_child_of_the_users_own_code_begins_in_main_in_a_scope_too(world: World) -> None:
    name = prepared(world, "1.0")
    code = """
        import subprocess, sys
        import omnipkg_meta as om

        with om.use("PKG==1.0"):
            import PKG
            subprocess.run([sys.executable, "-c", PKG.LOOK], check=True)
        """
    assert said(world, name, code) == ["0.5"]


def test_the_server_of_forkserver_is_everybodys(world: World) -> None:
    name = prepared(world, "1.0")
    code = """
        import multiprocessing
        import omnipkg_meta as om
        import PKG

        def look(pipe):
            import PKG
            pipe.send(PKG.__version__)

        if __name__ == "__main__":
            with om.use("PKG==1.0"):
                import PKG as inside
            try:
                inside.process("forkserver")
            except Exception as error:
                print(type(error).__name__)
            context = multiprocessing.get_context("forkserver")
            ours, theirs = context.Pipe()
            child = context.Process(target=look, args=(theirs,))
            child.start()
            print(ours.recv())
            child.join()
        """
    assert said(world, name, code)[-1] == "0.5"


def test_another_environments_interpreter_is_started_as_it_is(world: World) -> None:
    name = prepared(world, "1.0")
    code = """
        import os, sys
        import omnipkg_meta as om

        other = os.path.abspath("elsewhere/python")
        os.makedirs("elsewhere")
        os.symlink(os.path.realpath(sys.executable), other)
        with om.use("PKG==1.0"):
            import PKG
        look = "import os; print(os.environ.get('OMNIPKG_META_ACTIVE', 'nothing'))"
        print(PKG.run(other, "-S", "-c", look))
        print(PKG.run("env").count("OMNIPKG_META_ACTIVE"))
        """
    assert said(world, name, code) == ["nothing", "0"]


@pytest.mark.parametrize("terms", ["hermetic=True", "share=['OTHER']"])
def test_a_bubble_on_terms_of_its_own_is_not_handed_over(world: World, terms: str) -> None:
    name, other = prepared(world, "1.0"), world.name()
    world.install(world.wheel(other, "1.0"))
    code = f"""
        import omnipkg_meta as om

        with om.use("PKG==1.0", {terms.replace("OTHER", other)}):
            import PKG
        print(PKG.start())
        """
    assert said(world, name, code) == ["0.5"]


def test_a_bubble_goes_before_those_that_were_handed_over_to_this_process(world: World) -> None:
    name, other = prepared(world, "1.0", "2.0"), world.name()
    world.versions(other, "3.0", main="0.5")
    code = f"""
        import os
        from omnipkg_meta import launch, use
        import subprocess, sys

        bubbles = [*use("PKG==1.0").bubbles, *use("{other}==3.0").bubbles]
        inner = '''
        import {other} as other, PKG
        import omnipkg_meta as om
        with om.use("PKG==2.0"):
            import PKG as inside
        print(PKG.__version__, other.__version__, inside.start())
        print(inside.run(sys.executable, "-c", "import {other}; print({other}.__version__)"))
        '''
        import textwrap
        variables = launch.environment(bubbles)
        program = "import sys" + textwrap.dedent(inner)
        subprocess.run([sys.executable, "-c", program], env=variables, check=True)
        """
    assert said(world, name, code) == ["1.0 3.0 2.0", "3.0"]


def test_taking_the_hooks_out_puts_the_function_back_and_somebody_elses_stays(
    world: World,
) -> None:
    name = prepared(world, "1.0")
    code = """
        import _posixsubprocess as system, os, subprocess
        import omnipkg_meta as om

        before, others = system.fork_exec, (os.execv, os.execve, os.posix_spawn)
        with om.use("PKG==1.0"):
            import PKG
        ours = system.fork_exec
        assert os.execve in os.supports_fd and os.execve is not others[1]
        print(ours is before, PKG.start())
        om.uninstall_hooks()
        assert others == (os.execv, os.execve, os.posix_spawn)
        assert "children" not in str(os.supports_fd)
        print(system.fork_exec is before, getattr(subprocess, "_fork_exec", before) is before)
        print(PKG.start())

        with om.use("PKG==1.0"):
            pass
        calls = []
        def theirs(*arguments):
            calls.append(1)
            return ours(*arguments)
        system.fork_exec = theirs
        if hasattr(subprocess, "_fork_exec"):
            subprocess._fork_exec = theirs
        print(PKG.start(), len(calls))
        om.uninstall_hooks()
        print(PKG.start(), len(calls), system.fork_exec is theirs)
        with om.use("PKG==1.0"):
            pass
        print(PKG.start(), len(calls), system.fork_exec is theirs)
        """
    assert said(world, name, code) == [
        *("False 1.0", "True True", "0.5"),
        # It is main's function that starts the child then.
        *("0.5 1", "0.5 2 True", "0.5 3 True"),
    ]
