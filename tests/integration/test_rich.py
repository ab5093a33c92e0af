"""rich 13.7.1 in main, 13.5.3 and 13.4.2 in bubbles: who sees which, and when."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

#: What a program sees of rich: by the file, by the metadata, and by ``sys.modules``.
SEEN = """
    import asyncio, gc, json, sys, threading
    from importlib import metadata
    from pathlib import Path

    import omnipkg_meta as om

    OLD, OLDER = om.use("rich==13.5.3"), om.use("rich==13.4.2")

    def bubble_of(file):
        place = Path(file).parts
        tag = om.Store().tag
        return place[place.index(tag) + 1].split("-")[1] if tag in place else "main"

    def seen():
        import rich
        from rich.console import Console
        assert sys.modules["rich"] is rich
        assert sys.modules["rich.console"].Console is Console
        code = Console.print.__code__.co_filename
        return [bubble_of(rich.__file__), bubble_of(code), metadata.version("rich")]
"""
#: Development mode complains of tasks that take long, which depends on the machine.
UNHURRIED = ("-W", "error")

IN_MAIN = ["main", "main", "13.7.1"]
IN_OLD = ["13.5.3"] * 3
IN_OLDER = ["13.4.2"] * 3


def test_threads_that_meet_inside_their_scopes_see_a_version_each(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        barrier = threading.Barrier(3, timeout=60)
        result = {}

        def look(name, scope):
            with scope:
                barrier.wait()
                result[name] = [seen()]
                barrier.wait()
                result[name].append(seen())
                barrier.wait()

        def bystander():
            barrier.wait()
            result["bystander"] = [seen()]
            barrier.wait()
            result["bystander"].append(seen())
            barrier.wait()

        threads = [
            threading.Thread(target=look, args=("old", OLD)),
            threading.Thread(target=look, args=("older", OLDER)),
            threading.Thread(target=bystander),
        ]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(json.dumps(result))
        """,
    )
    assert scene.answer(script) == {
        "old": [IN_OLD] * 2,
        "older": [IN_OLDER] * 2,
        "bystander": [IN_MAIN] * 2,
    }


def test_eight_threads_that_alternate_versions_ten_thousand_times_are_never_wrong(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        sys.setswitchinterval(1e-5)
        barrier = threading.Barrier(9, timeout=60)
        done = threading.Event()
        right, wrong = [], []

        def alternate(start):
            try:
                barrier.wait()
                count = 0
                for turn in range(start, start + 10_000):
                    scope, version = ((OLD, "rich-13.5.3"), (OLDER, "rich-13.4.2"))[turn % 2]
                    with scope:
                        import rich.text
                        from rich.console import Console
                        count += (
                            version in rich.__file__
                            and version in Console.print.__code__.co_filename
                            and version in sys.modules["rich.text"].__file__
                        )
                        if not turn % 100:
                            count -= metadata.version("rich") != version[5:]
                right.append(count)
            except BaseException as error:
                wrong.append(repr(error))

        def bystander():
            barrier.wait()
            while not done.is_set():
                if (found := seen()) != ["main", "main", "13.7.1"]:
                    wrong.append(found)

        threads = [threading.Thread(target=alternate, args=(n,)) for n in range(8)]
        threads.append(threading.Thread(target=bystander))
        for thread in threads: thread.start()
        for thread in threads[:-1]: thread.join()
        done.set()
        threads[-1].join()
        print(json.dumps([right, wrong]))
        """,
    )
    assert scene.answer(script, flags=UNHURRIED) == [[10_000] * 8, []]


def test_a_second_process_sees_mains_version_while_the_first_is_inside_a_scope(
    scene: Scene, program: Program
) -> None:
    inside = program(
        SEEN,
        """
        with OLD:
            print(json.dumps(seen()), flush=True)
            input()
            print(json.dumps(seen()))
        """,
        name="inside.py",
    )
    outside = program(SEEN, "print(json.dumps(seen()))", name="outside.py")
    with scene.start(inside) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        try:
            assert json.loads(first.stdout.readline()) == IN_OLD
            assert scene.answer(outside) == IN_MAIN
            first.stdin.write("go on\n")
            first.stdin.flush()
            assert json.loads(first.stdout.readline()) == IN_OLD
            assert first.wait(60) == 0
        finally:
            first.kill()


def test_nested_scopes_are_right_at_each_level_on_the_way_in_and_out(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        result = [seen()]
        with OLD:
            result.append(seen())
            with OLDER:
                result.append(seen())
                with om.use(om.main):
                    result.append(seen())
                    with OLD:
                        result.append(seen())
                    result.append(seen())
                result.append(seen())
            result.append(seen())
        result.append(seen())
        print(json.dumps(result))
        """,
    )
    assert scene.answer(script) == [
        *(IN_MAIN, IN_OLD, IN_OLDER, IN_MAIN, IN_OLD),
        *(IN_MAIN, IN_OLDER, IN_OLD, IN_MAIN),
    ]


@pytest.mark.parametrize("library", ["importlib.metadata", "importlib_metadata"])
def test_distributions_show_the_bubbles_version_once_and_mains_not_at_all(
    scene: Scene, program: Program, library: str
) -> None:
    script = program(
        f"import {library} as library",
        """
        import json
        import omnipkg_meta as om

        def listed():
            by_name = {}
            for each in library.distributions():
                by_name.setdefault(each.metadata["Name"].lower(), []).append(each)
            scripts = library.entry_points(group="console_scripts", name="pygmentize")
            owners = library.packages_distributions()
            return {
                "rich": [each.version for each in by_name["rich"]],
                "version": library.version("rich"),
                "requires": library.distribution("rich").version,
                "file": str(library.distribution("rich").locate_file("rich/__init__.py")),
                "pygments": [str(each.locate_file("")) for each in by_name["pygments"]],
                "scripts": [str(each.dist.locate_file("")) for each in scripts],
                "owners": [owners.get("rich"), owners.get("pygments")],
                "numpy": [each.version for each in by_name["numpy"]],
            }

        outside = listed()
        with om.use("rich==13.5.3"):
            inside = listed()
        print(json.dumps([outside, inside, listed() == outside]))
        """,
    )
    outside, inside, same_after = scene.answer(script)
    (bubble,) = scene.store.glob("*/rich-13.5.3-*")
    site_packages = bubble / "site-packages"
    assert same_after
    assert outside["rich"] == [outside["version"]] == ["13.7.1"]
    assert inside["rich"] == [inside["version"]] == [inside["requires"]] == ["13.5.3"]
    assert inside["file"] == str(site_packages / "rich" / "__init__.py")
    assert [path.rstrip("/") for path in inside["pygments"]] == [str(site_packages)]
    assert [path.rstrip("/") for path in inside["scripts"]] == [str(site_packages)]
    if library == "importlib.metadata" and sys.version_info < (3, 11):
        # Before 3.11 it knew only distributions with a top_level.txt.
        assert inside["owners"] == outside["owners"]
    else:
        assert inside["owners"] == [["rich"], ["Pygments"]]
    assert len(outside["pygments"]) == len(outside["scripts"]) == 1
    # What the bubble does not hold is main's, inside as well.
    assert inside["numpy"] == outside["numpy"] != []


def test_an_entry_point_of_a_bubble_loads_in_its_bubble_after_the_scope(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        def script():
            (found,) = metadata.entry_points(group="console_scripts", name="pygmentize")
            return found

        with OLD:
            old = script()
        import pygments.cmdline
        files = [bubble_of(each.load().__code__.co_filename) for each in (script(), old)]
        print(json.dumps(files))
        """,
    )
    assert scene.answer(script) == ["main", "13.5.3"]


def test_mains_modules_keep_their_identity_and_refer_to_no_bubble(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        import rich.console, rich.table, rich.markdown, rich.traceback, numpy, pygments.lexers
        import types

        before = dict(sys.modules)

        def use_it():
            from rich.console import Console
            from rich.markdown import Markdown
            from rich.syntax import Syntax
            from rich.table import Table
            console = Console(file=open("/dev/null", "w"), force_terminal=True)
            console.print(Markdown("# hello [there](https://example.invalid)"))
            console.print(Syntax("print(1)", "python"), Table("a", "b"))
            console.file.close()

        for scope in (OLD, OLDER):
            with scope:
                use_it()
                assert seen() != ["main", "main", "13.7.1"]

        after = dict(sys.modules)
        changed = [name for name in before if after.get(name) is not before[name]]

        # Everything that can be reached from a module of main without passing through
        # another module, a frame, or this library.
        store = str(om.Store().path)
        def home(thing):
            if isinstance(thing, types.ModuleType):
                return getattr(thing, "__file__", None) or ""
            if isinstance(thing, types.FunctionType):
                return thing.__code__.co_filename
            return ""

        empty = types.CellType()
        leaks = []
        packages = {"rich", "pygments", "markdown_it", "mdurl", "numpy"}
        for name, module in after.items():
            if name.partition(".")[0] not in packages:
                continue
            todo, done = list(vars(module).values()), set()
            while todo:
                thing = todo.pop()
                if id(thing) in done:
                    continue
                done.add(id(thing))
                if home(thing).startswith(store):
                    leaks.append([name, repr(thing)])
                elif isinstance(thing, types.FunctionType):
                    todo += [thing.__defaults__, thing.__kwdefaults__, vars(thing)]
                    cells = thing.__closure__ or ()
                    todo += [cell.cell_contents for cell in cells if cell != empty]
                elif isinstance(thing, dict):
                    todo += [*thing.keys(), *thing.values()]
                elif isinstance(thing, (list, tuple, set, frozenset)):
                    todo += thing
                elif issubclass(type(thing), type):  # on 3.10 list[int] is an "instance" of type
                    if thing.__module__.partition(".")[0] in packages:
                        todo += [*vars(thing).values(), *thing.__mro__, *type.__subclasses__(thing)]
                elif type(thing).__module__.partition(".")[0] in packages:
                    todo += [type(thing), getattr(thing, "__dict__", None)]
        bubbles = [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, types.ModuleType) and home(thing).startswith(store)
        ]
        print(json.dumps([len(bubbles) > 100, changed, leaks]))
        """,
    )
    assert scene.answer(script, flags=UNHURRIED) == [True, [], []]


def test_an_installed_module_first_imported_inside_a_scope_is_bound_to_main(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        with OLD:
            # pytest declares Pygments, and the bubble has its own.
            import pygments
            import _pytest._io.terminalwriter as inside
            writer = inside.TerminalWriter(open("/dev/null", "w"))
            writer.hasmarkup = writer.code_highlight = True
            writer._highlight("print(1)")
            writer._file.close()
        loaded = sorted(
            {
                bubble_of(module.__file__)
                for name, module in list(sys.modules.items())
                if name.partition(".")[0] == "pygments"
            }
        )
        spec = inside.__spec__
        print(json.dumps([
            bubble_of(pygments.__file__),
            loaded,
            type(spec.loader).__name__,
            spec.loader is inside.__loader__,
        ]))
        """,
    )
    bubble, loaded, loader, same = scene.answer(script)
    assert (bubble, loaded) == ("13.5.3", ["main"])
    assert (loader, same) == ("SourceFileLoader", True)


def test_a_module_of_the_user_first_imported_inside_a_scope_gets_mains_and_a_warning(
    scene: Scene, program: Program
) -> None:
    program(
        """
        import rich
        from rich.console import Console
        """,
        name="report.py",
    )
    script = program(
        SEEN,
        """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with OLD:
                import report
                inside = seen()
        print(json.dumps([
            bubble_of(report.rich.__file__),
            inside,
            [[each.category.__name__, Path(each.filename).name, each.lineno] for each in caught],
        ]))
        """,
    )
    assert scene.answer(script) == ["main", IN_OLD, [["MainModuleWarning", "report.py", 2]]]


def test_functions_of_a_bubble_that_import_when_called_do_so_there_after_the_scope(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        import io
        import rich.console, rich.pretty, rich.json, rich.table  # main's, there to be taken
        with OLD:
            import rich as old
            from rich.pretty import pprint
            from rich.table import Table
        # Each of these imports inside: rich.console, rich._inspect, rich.json, ...
        console = old.get_console()
        output = console.file = io.StringIO()
        old.print("[bold]one[/]")
        old.print_json('{"two": 2}')
        old.inspect(3)
        pprint(["four"], console=console)
        table = Table("five")
        table.add_row("six")
        console.print(table)
        words = "one two int four five six".split()
        words = [word for word in words if word in output.getvalue()]

        class Escaped(Table):
            pass

        print(json.dumps([
            bubble_of(type(console).print.__code__.co_filename),
            isinstance(Escaped("x"), Table),
            isinstance(table, rich.table.Table),
            words,
            seen(),
        ]))
        """,
    )
    assert scene.answer(script) == [
        "13.5.3",
        True,
        False,
        ["one", "two", "int", "four", "five", "six"],
        IN_MAIN,
    ]


def test_entering_a_bubble_again_gives_the_same_modules_in_every_thread(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        found = []

        def look():
            with om.use("rich==13.5.3"):
                import rich.console
                found.append(rich.console)

        for _ in range(3):
            threads = [threading.Thread(target=look) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            look()
        print(json.dumps([len(found), len(set(map(id, found)))]))
        """,
    )
    assert scene.answer(script) == [15, 1]


def test_tasks_that_take_turns_inside_their_scopes_keep_their_versions(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        async def look(scope, turns):
            result = set()
            async with scope:
                for _ in range(turns):
                    result.add(tuple(seen()))
                    await asyncio.sleep(0)
                result.add(tuple(await asyncio.to_thread(seen)))
                result.add(tuple(await asyncio.create_task(child())))
            after = tuple(seen())
            return [sorted(result), after]

        async def child():
            await asyncio.sleep(0)
            return seen()

        async def bystander(turns):
            result = set()
            for _ in range(turns):
                result.add(tuple(seen()))
                await asyncio.sleep(0)
            return sorted(result)

        async def main():
            return await asyncio.gather(look(OLD, 200), look(OLDER, 200), bystander(200))

        print(json.dumps(asyncio.run(main())))
        """,
    )
    assert scene.answer(script, flags=UNHURRIED) == [
        [[IN_OLD], IN_MAIN],
        [[IN_OLDER], IN_MAIN],
        [IN_MAIN],
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new in Python 3.11")
def test_a_task_group_inside_a_scope_hands_it_to_its_tasks_and_errors_end_it(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        async def look(scope=None):
            await asyncio.sleep(0)
            if scope is None:
                return seen()
            with scope:
                await asyncio.sleep(0)
                return seen()

        async def fail():
            await asyncio.sleep(0.01)
            raise LookupError(str(seen()))

        async def last_words(result):
            try:
                await asyncio.sleep(60)
            finally:
                result.append(seen())

        async def main():
            result = []
            async with OLD:
                async with asyncio.TaskGroup() as group:
                    scopes = None, OLDER, om.use(om.main)
                    tasks = [group.create_task(look(scope)) for scope in scopes]
                result += [task.result() for task in tasks]
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(fail())
                        group.create_task(last_words(result))
                except* LookupError as errors:
                    result.append([str(error) for error in errors.exceptions])
                result.append(seen())
            result.append(seen())
            return result

        print(json.dumps(asyncio.run(main())))
        """,
    )
    assert scene.answer(script, flags=UNHURRIED) == [
        *(IN_OLD, IN_OLDER, IN_MAIN),
        *(IN_OLD, [str(IN_OLD)], IN_OLD, IN_MAIN),
    ]


def test_a_task_that_is_cancelled_inside_its_scope_leaves_it(
    scene: Scene, program: Program
) -> None:
    script = program(
        SEEN,
        """
        async def wait(result):
            try:
                with OLD:
                    try:
                        with OLDER:
                            result.append(seen())
                            await asyncio.sleep(60)
                    finally:
                        result.append(seen())
            except asyncio.CancelledError:
                result.append(seen())
                raise

        async def main():
            result = []
            task = asyncio.create_task(wait(result))
            await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            with OLD:
                try:
                    await asyncio.wait_for(wait(result), 0.01)
                except asyncio.TimeoutError:
                    result.append(seen())
            return [*result, type(outcome).__name__, seen()]

        print(json.dumps(asyncio.run(main())))
        """,
    )
    assert scene.answer(script, flags=UNHURRIED) == [
        *(IN_OLDER, IN_OLD, IN_MAIN),
        *(IN_OLDER, IN_OLD, IN_OLD, IN_OLD),
        *("CancelledError", IN_MAIN),
    ]


@pytest.mark.parametrize("ending", ["error", "exit", "return"])
def test_whatever_ends_the_block_ends_the_scope(
    scene: Scene, program: Program, ending: str
) -> None:
    script = program(
        SEEN,
        """
        def block():
            with OLD:
                if sys.argv[1] == "error":
                    raise LookupError
                if sys.argv[1] == "exit":
                    sys.exit(3)
                return seen()

        try:
            result = block()
        except (LookupError, SystemExit):
            result = None
        print(json.dumps([result, seen()]))
        """,
    )
    assert scene.answer(script, ending) == [IN_OLD if ending == "return" else None, IN_MAIN]


@pytest.mark.parametrize("ending", ["uninstall", "exit"])
def test_the_interpreter_is_as_it_was_after_uninstalling_and_at_exit(
    scene: Scene, program: Program, ending: str
) -> None:
    script = program(
        """
        import sys
        meta_path, path = list(sys.meta_path), list(sys.path)
        """,
        SEEN,
        """
        import atexit, os

        def report():
            print(json.dumps([
                type(sys.modules) is dict,
                list(sys.meta_path) == meta_path,
                sys.path == path,
                type(os.environ).__name__,
                bubble_of(sys.modules["rich"].__file__),
            ]))

        if sys.argv[1] == "exit":
            atexit.register(report)  # called last, since it was registered first
        seen()
        with OLD, OLDER:
            import rich.markdown, rich.progress
            kept = rich.progress.Progress
        thread = threading.Thread(target=OLD(seen))
        thread.start()
        thread.join()
        if sys.argv[1] == "uninstall":
            om.uninstall_hooks()
            report()
        """,
    )
    assert scene.answer(script, ending) == [True, True, True, "_Environ", "main"]


def test_a_program_that_dies_of_an_error_inside_a_scope_says_only_that(
    scene: Scene, program: Program
) -> None:
    script = program(SEEN, "with OLD:\n    import rich\n    1 / 0\n")
    done = scene.run("-X", "dev", "-W", "error", script)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert (lines[0], lines[-1]) == (
        "Traceback (most recent call last):",
        "ZeroDivisionError: division by zero",
    )
    assert sum(line.startswith("  File ") for line in lines) == 1
