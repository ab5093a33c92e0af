"""``omnipkg-meta demo``: the main job, shown on real packages, each line checked.

Owns what is shown and how.  Every line is the outcome of a comparison; the exit
code tells whether all of them held.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any

from omnipkg_meta.cli import output

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from omnipkg_meta.scope import Scope
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["add_commands"]

_RICH = ("rich==13.5.3", "rich==13.4.2")
#: The newest numpy 1 where it has wheels, else an older numpy 2.
_NUMPY = (
    ("numpy==1.26.4", "numpy>=2") if sys.version_info < (3, 13) else ("numpy<2.4", "numpy>=2.4")
)
if sys.version_info >= (3, 15):
    _NUMPY = ("numpy<2.5.1", "numpy>=2.5.1")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this file's command to the parser."""
    demo = commands.add_parser(
        "demo",
        help="see it work on real packages",
        description="Make four bubbles, use them at once in one process, "
        "and check every line that is shown.",
    )
    demo.add_argument("--store", metavar="DIR", help="the store to build in")
    demo.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    show = _Show()
    before = _main_state()
    scopes = _build(show, arguments.store)
    rich = [scopes[requirement] for requirement in _RICH]
    numpy = [scopes[requirement] for requirement in _NUMPY]
    show.title(
        "Three threads at the same moment, three versions of rich"
        if before
        else "Two threads at the same moment, two versions of rich"
    )
    _threads(show, rich, main=bool(before))
    show.title("Two asyncio tasks that take turns")
    import asyncio

    asyncio.run(_tasks(show, rich))
    show.title("Two versions of numpy computing side by side")
    _arrays(show, numpy)
    show.title("What comes out of a bubble stays what it is")
    _escaped(show, rich[0], numpy[0])
    show.title("Main is untouched")
    _untouched(show, before)
    return show.end()


class _Show:
    """Prints what was checked, and counts."""

    def __init__(self) -> None:
        self.held = 0
        self.failed = 0

    def title(self, text: str) -> None:
        output.data("")
        output.data(output.paint(text, "bold", sys.stdout))

    def check(self, holds: object, text: str) -> None:
        """Print one line, marked by whether it holds."""
        self.held += bool(holds)
        self.failed += not holds
        mark = (
            output.paint("ok  ", "green", sys.stdout)
            if holds
            else output.paint("FAIL", "red", sys.stdout)
        )
        output.data(f"  {mark} {text}")

    def end(self) -> int:
        output.data("")
        if self.failed:
            output.data(
                output.paint(
                    f"{self.failed} of {self.held + self.failed} checks failed.", "red", sys.stdout
                )
            )
            return 1
        output.data(f"All {self.held} checks held: one process, nothing renamed, nothing reloaded.")
        output.data("")
        output.data("Try it:  omnipkg-meta list")
        output.data(
            f"         omnipkg-meta run --with '{_RICH[0]}' -c 'import rich; print(rich.__file__)'"
        )
        return 0


def _main_state() -> dict[str, Any]:
    """Return what main has of rich, imported before any scope; empty where it has none."""
    try:
        module = importlib.import_module("rich")
    except ImportError:
        return {}
    return {"module": module, "version": importlib.metadata.version("rich"), "path": list(sys.path)}


def _build(show: _Show, directory: str | None) -> dict[str, Scope]:
    from omnipkg_meta.scope import use
    from omnipkg_meta.store.build import install
    from omnipkg_meta.store.store import Store

    store = Store(directory)
    show.title(f"Bubbles, each made once, in {store.path}")
    scopes = {}
    for requirement in (*_RICH, *_NUMPY):
        with output.Progress() as progress:
            progress(requirement)
            bubble: Bubble = store.find([requirement]) or install(
                [requirement], store=store, progress=progress
            )
        held = ", ".join(
            f"{name} {version}" for name, version in sorted(bubble.distributions.items())
        )
        show.check(
            bubble.site_packages.is_dir(),
            f"{requirement:<15} {output.paint(held, 'dim', sys.stdout)}",
        )
        scopes[requirement] = use(bubble)
    return scopes


def _version_seen(name: str) -> tuple[str, str]:
    """Return a module's file and its distribution's version, as the caller sees them."""
    module = importlib.import_module(name)
    assert sys.modules[name] is module
    return str(module.__file__), importlib.metadata.version(name)


def _expect(
    show: _Show, who: str, scope: Scope | None, seen: tuple[str, str] | BaseException
) -> None:
    if isinstance(seen, BaseException):
        show.check(None, f"{who}: {type(seen).__name__}: {seen}")
        return
    file, version = seen
    if scope is None:
        show.check(
            not file.startswith(_store_directories()), f"{who} sees rich {version}  (main's)"
        )
        return
    (bubble,) = scope.bubbles
    right = file.startswith(str(bubble.path)) and version == bubble.distributions["rich"]
    show.check(right, f"{who} sees rich {version}  {output.paint(bubble.id, 'dim', sys.stdout)}")


def _store_directories() -> tuple[str, ...]:
    from omnipkg_meta.realm import loaded

    return tuple(directory for realm in loaded() for directory in realm.directories)


def _threads(show: _Show, scopes: list[Scope], *, main: bool) -> None:
    everybody: list[Scope | None] = [*scopes, None] if main else [*scopes]
    together = threading.Barrier(len(everybody))
    seen: dict[int, tuple[str, str] | BaseException] = {}

    def look(index: int, scope: Scope | None) -> None:
        try:
            if scope is None:
                together.wait(60)
                seen[index] = _version_seen("rich")
            else:
                with scope:
                    together.wait(60)
                    seen[index] = _version_seen("rich")
        except BaseException as error:  # noqa: BLE001  # shown as a failed check
            seen[index] = error

    threads = [threading.Thread(target=look, args=pair) for pair in enumerate(everybody)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, scope in enumerate(everybody):
        _expect(show, f"thread {index + 1}", scope, seen[index])


async def _tasks(show: _Show, scopes: list[Scope]) -> None:
    import asyncio  # slow to import, and the parser of every command imports this file

    async def look(scope: Scope) -> set[tuple[str, str]]:
        seen = set()
        async with scope:
            for _ in range(1000):
                seen.add(_version_seen("rich"))
                await asyncio.sleep(0)  # the other task runs here, in its scope
        return seen

    for index, seen in enumerate(await asyncio.gather(*map(look, scopes))):
        (only,) = seen if len(seen) == 1 else (RuntimeError(f"saw {sorted(seen)}"),)
        _expect(show, f"task {index + 1}, 1000 turns,", scopes[index], only)


def _arrays(show: _Show, scopes: list[Scope]) -> None:
    results: dict[int, Any] = {}

    def compute(index: int, scope: Scope) -> None:
        with scope:
            numpy: Any = importlib.import_module("numpy")
            matrix = numpy.array([[2.0, 1.0], [1.0, 3.0]])
            results[index] = (numpy, numpy.linalg.solve(matrix, numpy.array([3.0, 5.0])))

    threads = [threading.Thread(target=compute, args=pair) for pair in enumerate(scopes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, scope in enumerate(scopes):
        (bubble,) = scope.bubbles
        numpy, solution = results[index]
        right = (
            numpy.__version__ == bubble.distributions["numpy"] and type(solution) is numpy.ndarray
        )
        right = right and [round(float(x), 9) for x in solution] == [0.8, 1.4]
        show.check(
            right,
            f"numpy {numpy.__version__} solves 2x+y=3, x+3y=5: "
            f"x={solution[0]:.1f}, y={solution[1]:.1f}",
        )
    old, new = results[0][0], results[1][0]
    show.check(old.ndarray is not new.ndarray, "their array types are two different types")


def _escaped(show: _Show, rich: Scope, numpy: Scope) -> None:
    with numpy:
        array = importlib.import_module("numpy").arange(10.0)
    mean = array.mean()  # imports numpy.core._methods, in C, now that the scope is over
    home = sys.modules.get("numpy")
    (bubble,) = numpy.bubbles
    right = (
        float(mean) == 4.5
        and type(mean).__module__ == "numpy"
        and (home is None or type(mean) is not home.float64)
    )
    show.check(
        right,
        f"an array of numpy {bubble.distributions['numpy']} after its scope: "
        f"mean() is {mean}, computed by its own numpy",
    )
    with numpy:
        again = pickle.loads(pickle.dumps(array))
    show.check(
        type(again) is type(array) and bool((again == array).all()),
        "pickled and unpickled inside the scope: the same type",
    )
    with rich:
        markup: Callable[..., Any] = importlib.import_module("rich.text").Text.from_markup
    text = markup("[bold]hello[/]")
    file = sys.modules.get(type(text).__module__)
    show.check(
        str(text) == "hello" and (file is None or type(text) is not getattr(file, "Text", None)),
        f"a function of rich {rich.bubbles[0].distributions['rich']} "
        "called after its scope uses its own rich",
    )


def _untouched(show: _Show, before: dict[str, Any]) -> None:
    from omnipkg_meta.hooks import uninstall

    if before:
        same = importlib.import_module("rich") is before["module"]
        show.check(same, f"main's rich {before['version']} is the very module from before")
        show.check(
            importlib.metadata.version("rich") == before["version"],
            "main's metadata says the same version as before",
        )
        show.check(sys.path == before["path"], "sys.path is what it was")
    uninstall()
    show.check(type(sys.modules) is dict, "without the hooks, sys.modules is a plain dict again")
