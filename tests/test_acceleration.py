"""The compiled accelerator: when it is used, that it goes again, and that only time changes.

That each answer is the same is what all other tests show when they run with it
(``nox -s tests_accelerated``).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta
from omnipkg_meta import acceleration, config, interpreter_state, relink
from omnipkg_meta.cli import main
from omnipkg_meta.errors import ConfigError
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.worlds import World

_ROOT = Path(omnipkg_meta.__file__).parent.parent
_installed = importlib.util.find_spec(acceleration.NAME) is not None
_unless_off = pytest.mark.skipif(
    not _installed or os.environ.get(config.ACCELERATOR) == "0",
    reason="the accelerator is not installed: pip install ./accelerator",
)


class _Fake(ModuleType):
    """An accelerator that is not of this library as it stands here."""

    def __init__(self, version: str) -> None:
        super().__init__(acceleration.NAME)
        self.__version__ = version

    def read(self, **_: Any) -> None:
        raise TypeError("read(): what is this?")


@pytest.mark.parametrize(
    "case",
    [
        ("no", _Fake("9"), "OMNIPKG_META_ACCELERATOR says no"),
        ("", None, "omnipkg_meta_accelerator is not installed"),
        ("", _Fake("9"), f"omnipkg_meta_accelerator 9 is not of .* {omnipkg_meta.__version__}"),
        ("", _Fake(omnipkg_meta.__version__), "built from other sources .*: .* what is this"),
    ],
)
def test_where_it_does_not_fit_it_is_not_used_and_doctor_says_why(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, ModuleType | None, str],
) -> None:
    setting, module, why = case
    monkeypatch.setenv(config.ACCELERATOR, setting)
    monkeypatch.setitem(sys.modules, acceleration.NAME, module)  # None: it cannot be imported
    found, reason = acceleration.state()
    assert found is None
    assert re.search(why, reason)
    assert main(["doctor", "--store", str(world.store.path), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["accelerator"] == {"used": False, "why": reason}
    assert main(["doctor", "--store", str(world.store.path)]) == 0
    assert f"imports are looked up in Python: {reason}" in capsys.readouterr().err


def test_one_that_is_a_must_and_missing_is_an_error_and_leaves_nothing_behind(world: World) -> None:
    world.versions("claimed", "1.0", main="0.5")
    world.run(
        """
        import os, sys
        os.environ["OMNIPKG_META_ACCELERATOR"] = "yes"
        sys.modules["omnipkg_meta_accelerator"] = None
        import omnipkg_meta as om
        from omnipkg_meta.errors import HookError
        finders = list(sys.meta_path)
        try:
            om.use("claimed==1.0").__enter__()
        except HookError as error:
            assert "not installed" in str(error), error
        else:
            raise SystemExit("it was entered")
        assert type(sys.modules) is dict and sys.meta_path == finders
        os.environ["OMNIPKG_META_ACCELERATOR"] = "no"
        with om.use("claimed==1.0"):
            import claimed
        assert claimed.__version__ == "1.0"
        """
    )


def test_a_setting_that_is_neither_yes_nor_no_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config.ACCELERATOR, "maybe")
    with pytest.raises(ConfigError, match="neither yes nor no"):
        acceleration.state()


def test_its_distribution_is_of_this_version_and_asks_for_it() -> None:
    text = (_ROOT / "accelerator" / "pyproject.toml").read_text("utf-8")
    version = omnipkg_meta.__version__
    assert f'\nversion = "{version}"' in text
    assert f'dependencies = ["omnipkg-meta=={version}"]' in text


@_unless_off
def test_its_twins_come_with_the_hooks_and_go_with_them(world: World) -> None:
    world.versions("claimed", "1.0", main="0.5")
    world.run(
        """
        import sys, omnipkg_meta as om
        from omnipkg_meta import acceleration, answering, modules

        originals = {name: vars(home)[name] for name, home in acceleration._TWINS.items()}

        def holders():
            ours = [one for name, one in list(sys.modules.items())
                    if name.startswith("omnipkg_meta.")]
            return {(one.__name__, name) for one in ours for name in originals
                    if vars(one).get(name) is originals[name]}

        before = holders()
        assert {name for _, name in before} == originals.keys()
        for _ in range(3):
            with om.use("claimed==1.0"):
                import claimed
            assert claimed.__version__ == "1.0"
            assert not holders(), holders()
            om.uninstall_hooks()
            assert holders() == before
            import claimed
            assert claimed.__version__ == "0.5"
        # What stood in the slots answers again.
        probe = dict.fromkeys(["there"], 1)
        from omnipkg_meta.retype import set_type
        set_type(probe, modules.GuardedModules)
        calls = []
        modules.ORDINARY["there"] = id(probe["there"])
        modules.is_claimed, known = lambda name: calls.append(name), modules.is_claimed
        try:
            assert probe["there"] == 1 and calls == ["there"]
        finally:
            modules.is_claimed = known
            set_type(probe, dict)
        """
    )


@_unless_off
def test_keys_that_are_no_names_of_modules_behave_as_in_a_dict(world: World) -> None:
    world.versions("claimed", "1.0")
    world.run(
        """
        import sys, omnipkg_meta as om
        from omnipkg_meta import storage

        class Name(str):
            pass

        class Awkward:
            def __hash__(self):
                raise RuntimeError("no hash")

        def asked(key):
            try:
                return sys.modules[key]
            except Exception as error:
                return type(error), error.args

        with om.use("claimed==1.0"):
            import claimed
            for guarded in (False, True):
                with storage.guarded() if guarded else om.use("claimed==1.0"):
                    assert asked("claimed") is asked(Name("claimed")) is claimed
                    assert asked(Name("sys")) is sys
                    assert asked("claimed.no") == (KeyError, ("claimed.no",))
                    assert asked("nothing.at.all") == (KeyError, ("nothing.at.all",))
                    assert asked("") == (KeyError, ("",))
                    assert asked(1) == (KeyError, (1,))
                    assert asked((1, 2)) == (KeyError, ((1, 2),))
                    assert asked(None) == (KeyError, (None,))
                    assert asked([])[0] is TypeError
                    assert asked(Awkward()) == (RuntimeError, ("no hash",))
        """
    )


_PACKAGE = {
    "claimed/__init__.py": "__version__ = 'VERSION'\n",
    "claimed/part.py": """
        def home():
            import claimed.part
            from claimed import part
            return claimed.__version__

        def nothing():
            try:
                import claimed.nothing
            except ModuleNotFoundError:
                return True
    """,
}


@_unless_off
def test_neither_answers_nor_errors_leave_references_behind(world: World) -> None:
    world.versions("claimed", "1.0", main="0.5", files=_PACKAGE)
    world.run(
        """
        import gc, sys, omnipkg_meta as om
        from omnipkg_meta import answering, storage

        scope = om.use("claimed==1.0")
        with scope:
            from claimed import part

        def ask():
            import claimed
            frame = sys._getframe()
            assert answering.at_home("claimed", frame) is None
            assert storage.is_claimed("claimed.part") and not storage.is_claimed("sys")
            assert not answering.settle_at_home(part.__realm__, frame)
            for wrong in (lambda: answering.at_home("claimed"), lambda: storage.is_claimed(),
                          lambda: answering.settle_at_home(part.__realm__, None)):
                try:
                    wrong()
                except (TypeError, AttributeError):
                    pass
                else:
                    raise SystemExit("that was no question")
            return claimed.__version__

        def all_of_it():
            assert ask() == "0.5" and part.home() == "1.0" and part.nothing()
            with scope:
                assert ask() == "1.0" and part.home() == "1.0" and part.nothing()
            with storage.guarded():
                assert part.home() == "1.0" and part.nothing()

        def counts():
            gc.collect()
            watched = (part, part.__realm__, part.__realm__.modules, answering.SETTLED,
                       vars(part), part.home.__code__, ask.__code__, None, sys.modules)
            return sys.getallocatedblocks(), [sys.getrefcount(one) for one in watched[:-2]]

        for _ in range(50):
            all_of_it()
        blocks, references = counts()
        for _ in range(500):
            all_of_it()
        after, references_after = counts()
        assert references_after == references, (references, references_after)
        assert after - blocks < 250, (blocks, after)
        """
    )


@_unless_off
def test_a_debugger_that_looks_at_each_instruction_changes_no_answer(world: World) -> None:
    world.versions("claimed", "1.0", main="0.5", files=_PACKAGE)
    world.run(
        """
        import sys, omnipkg_meta as om

        scope = om.use("claimed==1.0")
        with scope:
            from claimed import part

        def ask():
            import claimed
            return claimed.__version__

        def trace(frame, event, argument):
            frame.f_trace_opcodes = True
            steps.append(event)
            return trace

        for turn in range(4):
            steps = []
            if turn % 2:
                sys.settrace(trace)
            try:
                answers = [ask(), part.home(), part.nothing()]
                with scope:
                    answers += [ask(), part.home()]
            finally:
                sys.settrace(None)
            assert answers == ["0.5", "1.0", True, "1.0", "1.0"], (turn, answers)
            assert bool(steps) == bool(turn % 2)
        """
    )


@_unless_off
def test_it_says_what_it_was_given_that_it_cannot_read() -> None:
    accelerator, _ = acceleration.state()
    assert accelerator is not None
    tables = acceleration._tables()
    for wrong in (
        {},
        {**tables, "more": 1},
        {**tables, "claimed": []},
        {**{name: one for name, one in tables.items() if name != "memo"}, "other": 1},
    ):
        with pytest.raises(TypeError, match=r"read\(\)"):
            accelerator.read(**wrong)
    with pytest.raises(ValueError, match="no instruction"):
        accelerator.read(**{**tables, "import_name": 256})
    with pytest.raises(TypeError, match="two subclasses of dict"):
        accelerator.put_in(dict, SimpleNamespace)


@_unless_off
@pytest.mark.parametrize("many", [3, 100])
def test_it_exchanges_the_sets_of_native_code_as_the_calls_in_python_do(many: int) -> None:
    accelerator, _ = acceleration.state()
    assert accelerator is not None

    def after(exchange: Callable[[list[Any], list[Any], list[Any]], object]) -> list[Any]:
        ours = {f"__pybind11_{number}": number for number in range(many)}
        others: dict[Any, Any] = {7: "seven", "__nb_internals_x": 1, "__nb": 2, "": 3}
        live = [
            ({"a": 0, **ours, **others}, "interpreter"),
            ({"_": 0, "__name__": "b", f"__pybind11_{many}": 4}, "builtins"),
        ]
        first, second = (interpreter_state._Flight(interpreter_state.State()) for _ in range(2))
        second.state.interpreter = {"__pybind11_own": 5}
        flights, standing = [first], [first]
        seen: list[Any] = []
        for latest in (second, first):
            flights.append(latest)
            exchange(live, flights, standing)
            assert standing == [latest]
            seen += [dict(table) for table, _ in live]
            seen += [dict(one.state.interpreter) for one in (first, second)]
            seen += [dict(one.state.builtins) for one in (first, second)]
        return seen

    def in_python(live: list[Any], flights: list[Any], standing: list[Any]) -> None:
        state = {"_live": live, "_flights": flights, "_standing": standing}
        state["_others"] = [frozenset(), frozenset()]
        original, _ = acceleration._placed.get("_settle", (interpreter_state._settle, None))
        settle = FunctionType(original.__code__, {**vars(interpreter_state), **state})
        tuple(map(partial.__call__, settle()))

    def in_c(live: list[Any], flights: list[Any], standing: list[Any]) -> None:
        accelerator.exchange(live, flights, standing, interpreter_state.PREFIXES)

    assert after(in_c) == after(in_python)


@_unless_off
def test_an_exchange_of_something_else_is_refused() -> None:
    accelerator, _ = acceleration.state()
    assert accelerator is not None
    flight = interpreter_state._Flight(interpreter_state.State())
    prefixes = interpreter_state.PREFIXES
    for wrong, error in (
        ((), TypeError),
        (([], [], [], prefixes), IndexError),
        (([({}, "interpreter")], [flight], [flight], ("a",)), ValueError),
        (([({}, "nothing")], [flight], [flight], prefixes), AttributeError),
        (([{}], [flight], [flight], prefixes), TypeError),
        (([({}, "interpreter")], [None], [None], prefixes), AttributeError),
    ):
        with pytest.raises(error):
            accelerator.exchange(*wrong)


@_unless_off
def test_it_finds_the_symbols_of_a_library_that_python_finds() -> None:
    accelerator, _ = acceleration.state()
    assert accelerator is not None
    if not relink.possible():
        pytest.skip("libraries are not ELF of 64 bits here")
    library = relink.loaded(str(accelerator.__file__))
    assert library is not None
    entries = relink._layout(library).entries
    in_python, _ = acceleration._placed.get("_undefined", (relink._undefined, None))
    functions = {
        name: (number, number)
        for number, name in enumerate(("PyDict_Next", "PyDict_GetItemWithError", "Next", "no_such"))
    }
    found = accelerator._undefined(entries, functions)
    assert found == in_python(entries, functions)
    assert sorted(found.values()) == [(0, 0), (1, 1)]
    assert accelerator._undefined({}, functions) == in_python({}, functions) == {}
    assert accelerator._undefined(entries, {}) == {}
    wrongs: list[tuple[Any, ...]] = [(), (entries,), (entries, []), (entries, {1: (1, 1)})]
    for wrong in wrongs:
        with pytest.raises(TypeError):
            accelerator._undefined(*wrong)


def _jit() -> bool:
    """Tell whether this interpreter has a compiler of its own that can be switched on."""
    known = getattr(sys, "_jit", None)
    return known is not None and known.is_available()


@pytest.mark.parametrize(
    "jit",
    [
        "0",
        pytest.param("1", marks=pytest.mark.skipif(not _jit(), reason="there is no JIT here")),
    ],
)
def test_a_loop_that_has_run_hot_goes_on_seeing_what_its_scope_has(
    world: World, monkeypatch: pytest.MonkeyPatch, jit: str
) -> None:
    monkeypatch.setenv("PYTHON_JIT", jit)
    files = {
        "claimed/__init__.py": """
            __version__ = "VERSION"
            def again(times):
                for _ in range(times):
                    import claimed.part as part
                    assert part.version == "VERSION", part.version
            """,
        "claimed/part.py": "version = 'VERSION'\n",
    }
    texts = {path: textwrap.dedent(text) for path, text in files.items()}
    world.versions("claimed", "1.0", "2.0", main="0.5", files=texts)
    world.run(
        f"""
        import sys
        import omnipkg_meta as om
        if {jit}:
            assert sys._jit.is_enabled()

        def see(times, version):
            for _ in range(times):
                import claimed
                from claimed import part
                assert claimed.__version__ == part.version == version, (claimed, version)

        for _ in range(3):
            for version in ("1.0", "2.0"):
                with om.use(f"claimed=={{version}}"):
                    see(5000, version)
                    import claimed
                    claimed.again(5000)
            see(5000, "0.5")
        """
    )


@pytest.mark.skipif(sys.version_info < (3, 15), reason="there is no frozendict before 3.15")
def test_code_whose_namespace_is_a_frozendict_is_answered_as_any(world: World) -> None:
    world.versions("claimed", "1.0", "2.0", main="0.5")
    world.run(
        """
        import omnipkg_meta as om

        seen = []
        names = {"__name__": "mine", "__builtins__": __builtins__, "seen": seen}
        code = compile("import claimed; seen.append(claimed.__version__)", "mine.py", "exec")
        for version in ("1.0", "2.0", "1.0"):
            with om.use(f"claimed=={version}"):
                exec(code, frozendict(names), {})
        exec(code, frozendict(names), {})
        with om.use("claimed==2.0"):
            import claimed
        exec(code, frozendict({**names, "__realm__": claimed.__realm__}), {})
        assert seen == ["1.0", "2.0", "1.0", "0.5", "2.0"], seen
        """
    )
