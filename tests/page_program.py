"""Runs the blocks of one page in one process, and sees that they keep what they promise.

Started by tests/test_docs.py with the blocks as JSON, in an environment made for it; so it
imports nothing but the standard library.

What a comment behind a statement promises is looked at where it is one of these:

    import rich  # 13.5.3               that version answers there, in all ways of looking
    print(...)  # text                  it prints that
    om.activate(...)  # SomeError ...   it raises that

and a promise in a place that is never reached is not kept.
"""

from __future__ import annotations

import builtins
import contextlib
import doctest
import io
import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_IMPORT = re.compile(r"( *)((?:from|import) (\w+).*?)  # .*?(\d+(?:\.\d+)+)")
_PRINT = re.compile(r"( *)print(\(.*\)  # (.+))")
_RAISE = re.compile(r"( *)(\S.*  # (?:\w+\.)*(\w+Error)\b.*)")
_CHECKER = doctest.OutputChecker()

_page = ""
_promised: set[int] = set()


def _same(expected: str, got: str) -> bool:
    return _CHECKER.check_output(expected.strip() + "\n", got.strip() + "\n", doctest.ELLIPSIS)


def said(place: str, expected: str, got: str) -> None:
    """See that a text is what a page says; ``...`` stands there for anything.

    Raises:
        AssertionError: it is not.
    """
    if not _same(expected, got):
        raise AssertionError(
            f"{place}: the page says\n{expected.strip()}\nand it was\n{got.strip()}"
        )


def _keeps(line: int) -> None:
    _promised.discard(line)


def _version(line: int, promised: str, *seen: str) -> None:
    _keeps(line)
    wrong = [one for one in seen if one != promised and not one.startswith(f"{promised}.")]
    if wrong:
        raise AssertionError(f"{_page}:{line}: {promised} was promised, and it was {wrong[0]}")


def _prints(line: int, promised: str) -> Callable[..., None]:
    def printing(*values: object, **options: Any) -> None:
        _keeps(line)
        text = io.StringIO()
        print(*values, file=text, **options)
        said(f"{_page}:{line}", promised, text.getvalue())
        sys.stdout.write(text.getvalue())

    return printing


@contextlib.contextmanager
def _raises(line: int, promised: str) -> Iterator[None]:
    _keeps(line)
    try:
        yield
    except Exception as error:
        if promised not in {one.__name__ for one in type(error).__mro__}:
            raise
    else:
        raise AssertionError(f"{_page}:{line}: {promised} was promised, and nothing was raised")


def _with_promises(text: str, first: int, known: list[str]) -> str:
    lines = text.splitlines()
    for number, line in enumerate(lines):
        place = first + number
        if (found := _IMPORT.match(line)) and found[3] in known:
            indent, statement, name, version = found.groups()
            looks = (
                f"__import__('importlib.metadata', fromlist=['']).version('{name}')",
                f"__import__('{name}').__version__",
                f"__import__('sys').modules['{name}'].__version__",
            )
            lines[number] = (
                f"{indent}{statement}; _version_({place}, '{version}', {', '.join(looks)})"
            )
        elif found := _PRINT.match(line):
            lines[number] = f"{found[1]}_prints_({place}, {found[3]!r}){found[2]}"
        elif found := _RAISE.match(line):
            lines[number] = f"{found[1]}with _raises_({place}, {found[3]!r}): {found[2]}"
        else:
            continue
        _promised.add(place)
    return "\n" * (first - 1) + "\n".join(lines) + "\n"


def _run_python(block: dict[str, Any], known: list[str], namespace: dict[str, Any]) -> None:
    source = _with_promises(block["text"], block["line"], known)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, _page, "exec"), namespace)  # noqa: S102  # that is what it is for
    if block["prints"] is not None:
        said(f"{_page}:{block['line']}", block["prints"], printed.getvalue())


def _run_console(block: dict[str, Any]) -> None:
    commands: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(block["text"].splitlines(), block["line"]):
        if line.startswith("$ "):
            commands.append((number, line[2:], []))
        elif block["language"] == "sh":
            commands.append((number, line, []))
        else:
            commands[-1][2].append(line)
    for number, command, output in commands:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        fails = any(line.startswith("error:") for line in output)
        if (done.returncode != 0) != fails:
            raise AssertionError(f"{_page}:{number}: {command}: {done.returncode}\n{done.stdout}")
        if output:
            said(f"{_page}:{number}", "\n".join(output), done.stdout)


def main() -> None:
    """Run what the file says that is named on the command line."""
    global _page  # noqa: PLW0603  # one page, one process
    told = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    _page = told["page"]
    sys.argv[1:] = []
    builtins._version_ = _version  # type: ignore[attr-defined]
    builtins._prints_ = _prints  # type: ignore[attr-defined]
    builtins._raises_ = _raises  # type: ignore[attr-defined]
    page = types.ModuleType("__main__")
    page.__file__ = str(Path("page.py").absolute())
    sys.modules["__main__"] = page
    sys.path[0] = str(Path.cwd())
    for block in told["blocks"]:
        if block["file"] is not None:
            path = Path(block["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"], "utf-8")
        elif block["language"] == "python":
            _run_python(block, told["known"], page.__dict__)
        else:
            _run_console(block)
    if _promised:
        raise AssertionError(f"{_page}: never reached: lines {sorted(_promised)}")


if __name__ == "__main__":
    main()
