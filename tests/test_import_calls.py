"""Which calls a frame makes that import for it, as an import statement would."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import pytest

from omnipkg_meta.import_calls import calls_import

needs_positions = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="instructions have positions since 3.11 (PEP 657)"
)


def seen(expression: str, **given: Any) -> list[bool]:
    """Return what was seen at each moment in which an expression called something."""
    answers: list[bool] = []

    def look(*_: Any, **__: Any) -> Any:
        answers.append(calls_import(sys._getframe(1)))
        return look

    class Path:
        # What importlib reads while ``__import__`` runs: a finder of the test's own.
        def find_spec(self, name: str, *_: object) -> None:
            if name.startswith("no_module_of_that_name"):
                frame: Any = sys._getframe()
                while frame.f_code.co_name != "function":
                    frame = frame.f_back
                answers.append(calls_import(frame))

    finder: Any = Path()
    namespace = {"look": look, "name": "no_module_of_that_name", **given}
    exec(f"def function():\n    return {expression}\n", namespace)  # noqa: S102  # ours
    sys.meta_path.insert(0, finder)
    try:
        namespace["function"]()
    except ImportError:
        pass
    finally:
        sys.meta_path.remove(finder)
    return answers


@needs_positions
@pytest.mark.parametrize(
    "expression",
    [
        "__import__(name)",
        "__import__(name, globals(), {}, ['one'])",
        "__import__(name=name)",
        "__import__(*[name], **{})",
        "getattr(__import__(\n        name,\n    ), 'one')",
        "__import__(name).one.two",
        "__import__(name) if name else [__import__('sys')]",
    ],
)
def test_a_call_of_the_bare_name_is_one(expression: str) -> None:
    assert seen(expression) == [True]


@needs_positions
@pytest.mark.parametrize(
    "expression",
    [
        "look(__import__('sys'))",
        "look(__import__, name)",
        "(__import__ and look)(name)",
        "[look, __import__][0](name)",
        "(lambda *_: look)(__import__)(name)",
    ],
)
def test_a_call_of_anything_else_is_none(expression: str) -> None:
    assert seen(expression)
    assert not any(seen(expression))


@needs_positions
@pytest.mark.parametrize("expression", ["__import__.look(name)", "__import__()(name)"])
def test_a_call_of_what_is_got_from_it_is_none(expression: str) -> None:
    def replacement() -> Any:
        return vars(replacement)["look"]

    def look(*_: Any) -> None:
        answers.append(calls_import(sys._getframe(1)))

    answers: list[bool] = []
    vars(replacement)["look"] = look
    seen(expression, __import__=replacement)
    assert answers == [False]


@needs_positions
def test_somebody_elses_function_of_that_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []

    def look(*_: Any, **__: Any) -> Any:
        answers.append(calls_import(sys._getframe(1)))

    assert seen("__import__(name)", __import__=look) == []
    original = builtins.__import__

    def passed_on(name: str, *arguments: Any) -> Any:
        if name == "no_module_of_that_name":
            answers.append(calls_import(sys._getframe(1)))
            return None
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", passed_on)
    assert seen("__import__(name)") == []
    assert answers == [False, False]


def test_where_there_are_no_positions_nothing_is_known_to_be_one() -> None:
    code = (
        "import sys\n"
        "from omnipkg_meta.import_calls import calls_import\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name != 'no_module_of_that_name': return\n"
        "        frame = sys._getframe()\n"
        "        while frame.f_code.co_name != 'function': frame = frame.f_back\n"
        "        print(calls_import(frame))\n"
        "def function(): __import__('no_module_of_that_name')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "try: function()\n"
        "except ImportError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "no_debug_ranges", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
