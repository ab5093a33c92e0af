"""``sys.modules`` agrees, in every way to look and to write, with what an import gives."""

from __future__ import annotations

import copy
import importlib
import operator
import pickle
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import omnipkg_meta as om
from omnipkg_meta import modules, storage
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnipkg_meta.scope import Scope


class Loaded(NamedTuple):
    """A package that main and a bubble have loaded, with a submodule that the bubble alone has."""

    name: str
    sub: str
    main: ModuleType
    inside: ModuleType
    scope: Scope


@pytest.fixture
def loaded(world: World) -> Loaded:
    name = world.name()
    world.install(world.wheel(name, "0.5", {f"{name}/__init__.py": "__version__ = '0.5'\n"}))
    files = {f"{name}/__init__.py": "__version__ = '1.0'\n", f"{name}/sub.py": ""}
    scope = om.use(world.make(name, "1.0", files))
    main = importlib.import_module(name)
    with scope:
        inside = importlib.import_module(name)
        importlib.import_module(f"{name}.sub")
    return Loaded(name, f"{name}.sub", main, inside, scope)


LOOKS: dict[str, Callable[[str], Any]] = {
    "getitem": lambda name: sys.modules[name],
    "get": lambda name: sys.modules.get(name),  # noqa: PLW0108  # not bound before the hooks are in
    "get with a default": lambda name: sys.modules.get(name, "default"),
    "setdefault": lambda name: sys.modules.setdefault(name, sys),
    "items": lambda name: dict(sys.modules.items())[name],
    "keys and values": lambda name: dict(
        zip(sys.modules.keys(), sys.modules.values(), strict=True)
    )[name],
    "iteration": lambda name: {key: sys.modules[key] for key in sys.modules}[name],
    "reversed": lambda name: {key: sys.modules[key] for key in reversed(sys.modules)}[name],
    "dict": lambda name: dict(sys.modules)[name],
    "unpacking": lambda name: {**sys.modules}[name],
    "keyword arguments": lambda name: dict(**sys.modules)[name],
    "update of another": lambda name: _updated({}, sys.modules)[name],
    "copy": lambda name: sys.modules.copy()[name],
    "copy.copy": lambda name: copy.copy(sys.modules)[name],
    "or": lambda name: (sys.modules | {})[name],
    "reflected or": lambda name: ({} | sys.modules)[name],
    "vars of sys": lambda name: vars(sys)["modules"][name],
    "reduce": lambda name: sys.modules.__reduce_ex__(2)[1][0][name],  # type: ignore[index]
}


def _updated(target: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    target.update(other)
    return target


@pytest.mark.parametrize("look", LOOKS)
def test_every_way_to_look_gives_what_an_import_gives(loaded: Loaded, look: str) -> None:
    assert LOOKS[look](loaded.name) is loaded.main
    with loaded.scope:
        assert LOOKS[look](loaded.name) is loaded.inside
        assert LOOKS[look]("sys") is sys
        with om.use(om.main):
            assert LOOKS[look](loaded.name) is loaded.main
    assert LOOKS[look](loaded.name) is loaded.main


def test_what_only_a_bubble_has_loaded_is_in_the_table_of_its_scope_only(loaded: Loaded) -> None:
    def found() -> set[bool]:
        table = sys.modules
        return {
            loaded.sub in table,
            loaded.sub in list(table),
            loaded.sub in table.keys(),  # noqa: SIM118  # the method is meant
            loaded.sub in dict(table),
            loaded.sub in list(reversed(table)),
            loaded.sub in repr(table),
            table.get(loaded.sub) is not None,
        }

    outside = len(sys.modules)
    assert found() == {False}
    with pytest.raises(KeyError) as caught:
        sys.modules[loaded.sub]
    assert caught.value.args == (loaded.sub,)
    with loaded.scope:
        assert found() == {True}
        assert len(sys.modules) == outside + 1
    assert found() == {False}


def test_the_table_equals_what_it_shows(loaded: Loaded) -> None:
    outside = dict(sys.modules)
    assert sys.modules == outside
    assert outside == sys.modules
    assert (sys.modules != outside) is False
    with loaded.scope:
        assert sys.modules != outside
        assert sys.modules == sys.modules.copy()
        assert sys.modules == sys.modules


def test_what_the_table_gives_are_plain_dicts_of_ones_own(loaded: Loaded) -> None:
    table = sys.modules
    for given_ in (
        table.copy(),
        copy.copy(table),
        table | {},
        {} | table,
        type(table)(),
        type(table).fromkeys("ab"),
    ):
        assert type(given_) is dict
    taken = table.copy()
    del taken[loaded.name]
    assert table[loaded.name] is loaded.main
    assert isinstance(table, dict)
    with pytest.raises(TypeError):
        hash(table)


def test_the_table_pickles_no_better_and_no_worse_than_a_dict_of_modules() -> None:
    with pytest.raises(TypeError, match="module"):
        pickle.dumps(sys.modules)


def test_none_bars_a_name_and_a_module_that_is_put_again_goes_to_the_end(loaded: Loaded) -> None:
    table: dict[str, Any] = sys.modules
    for name in ("json_that_is_not_there", loaded.name):
        before = table.get(name)
        try:
            table[name] = None
            table[name] = None
            assert table[name] is None
            table[name] = importlib
            table["put_after"] = importlib
            table[name] = importlib
            names = list(table)
            assert names.index(name) > names.index("put_after") or name == loaded.name
        finally:
            table.pop("put_after", None)
            del table[name]
            if before is not None:
                table[name] = before


def test_keys_that_are_no_names_behave_as_in_a_dict() -> None:
    table: dict[Any, Any] = sys.modules
    assert 1 not in table
    assert table.get(None) is None
    with pytest.raises(TypeError):
        [] in table  # noqa: B015  # raises
    with pytest.raises(TypeError):
        table.get([])
    with pytest.raises(KeyError):
        table[1]
    with pytest.raises(KeyError):
        del table[1]
    table[1] = "one"
    assert table.pop(1) == "one"
    with pytest.raises(TypeError):
        table | [("a", 1)]  # type: ignore[operator]


WRITES: dict[str, Callable[[str, Any], Any]] = {
    "setitem": lambda name, module: operator.setitem(sys.modules, name, module),
    "update": lambda name, module: sys.modules.update({name: module}),
    "update by pairs": lambda name, module: sys.modules.update([(name, module)]),
    "update by keyword": lambda name, module: sys.modules.update(**{name: module}),
    "in-place or": lambda name, module: sys.modules.__ior__({name: module}),
    "pop and setdefault": lambda name, module: (
        sys.modules.pop(name),
        sys.modules.setdefault(name, module),
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_way_to_write_reaches_what_the_writer_sees_and_nothing_else(
    loaded: Loaded, write: str
) -> None:
    mine = ModuleType(loaded.name)
    with loaded.scope:
        WRITES[write](loaded.name, mine)
        assert importlib.import_module(loaded.name) is mine
    assert importlib.import_module(loaded.name) is loaded.main
    WRITES[write](loaded.name, mine)
    assert importlib.import_module(loaded.name) is mine


def test_what_is_deleted_inside_a_scope_is_loaded_anew_there_and_kept_in_main(
    loaded: Loaded,
) -> None:
    with loaded.scope:
        del sys.modules[loaded.name]
        assert sys.modules.pop(loaded.name, "gone") == "gone"
        with pytest.raises(KeyError):
            sys.modules.pop(loaded.name)
        assert loaded.name not in sys.modules
    assert sys.modules[loaded.name] is loaded.main
    with loaded.scope:
        again = importlib.import_module(loaded.name)
        assert again is not loaded.inside
        assert again.__version__ == "1.0"


def test_none_in_the_table_stops_the_import_in_that_scope_only(loaded: Loaded) -> None:
    with loaded.scope:
        sys.modules[loaded.name] = None  # type: ignore[assignment]
        with pytest.raises(ModuleNotFoundError, match=r"None in sys\.modules"):
            importlib.import_module(loaded.name)
        with pytest.raises(ModuleNotFoundError, match=r"None in sys\.modules"):
            exec(f"import {loaded.name}", {"__name__": "user"})  # noqa: S102  # a statement
    assert seen(loaded.name) == "0.5"


@pytest.mark.parametrize("inside", [False, True])
def test_a_patched_table_is_put_back(loaded: Loaded, inside: bool) -> None:
    fake = ModuleType(loaded.name)
    with loaded.scope if inside else om.use(om.main):
        before = dict(sys.modules)
        with mock.patch.dict(sys.modules, {loaded.name: fake, "made_up_by_a_test": fake}):
            assert importlib.import_module(loaded.name) is fake
            assert importlib.import_module("made_up_by_a_test") is fake
        assert dict(sys.modules) == before
        with mock.patch.dict(sys.modules):
            del sys.modules[loaded.name]
            sys.modules.pop("json", None)
        assert dict(sys.modules) == before
    assert importlib.import_module(loaded.name) is loaded.main
    with loaded.scope:
        assert importlib.import_module(loaded.name) is loaded.inside


_KEYS = ["CLAIMED", "CLAIMED.sub", "free", "free.sub"]
_KEY = st.sampled_from(_KEYS)
_VALUE = st.integers()
_OPERATION = st.one_of(
    st.tuples(st.sampled_from(["set", "setdefault", "pop default", "get"]), _KEY, _VALUE),
    st.tuples(st.sampled_from(["del", "pop", "getitem", "in"]), _KEY),
    st.tuples(
        st.sampled_from(["update", "update pairs", "update keywords", "or", "ior"]),
        st.dictionaries(_KEY, _VALUE, max_size=3),
    ),
    st.tuples(st.just("switch")),
)


def apply(table: Any, operation: str, *arguments: Any) -> Any:  # noqa: C901, PLR0911  # one line each
    """Do one operation, and return what it gives or the kind of error it raises."""
    (first, *rest) = arguments
    try:
        if operation == "set":
            table[first] = rest[0]
        elif operation == "del":
            del table[first]
        elif operation == "getitem":
            return table[first]
        elif operation == "in":
            return first in table
        elif operation == "get":
            return table.get(first, *rest)
        elif operation == "setdefault":
            return table.setdefault(first, *rest)
        elif operation.startswith("pop"):
            return table.pop(first, *rest)
        elif operation == "or":
            return {key: value for key, value in (table | first).items() if isinstance(value, int)}
        elif operation == "ior":
            same = table
            table |= first
            return same is table
        elif operation == "update keywords":
            table.update(**first)
        else:
            table.update(list(first.items()) if operation == "update pairs" else first)
    except KeyError as error:
        return error.args
    return None


@given(st.lists(_OPERATION, max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_sequence_of_operations_does_what_a_dict_for_each_side_would_do(
    loaded: Loaded, operations: list[tuple[Any, ...]]
) -> None:
    def named(thing: Any) -> Any:
        if isinstance(thing, dict):
            return {named(key): value for key, value in thing.items()}
        return thing.replace("CLAIMED", loaded.name) if isinstance(thing, str) else thing

    keys = set(map(named, _KEYS))
    table: Any = sys.modules
    for scope in (loaded.scope, om.use(om.main)):
        with scope:
            for key in keys:
                table.pop(key, None)
    sides: tuple[dict[str, int], dict[str, int]] = ({}, {})
    here = 0
    count = len(table)
    for operation, *arguments in operations:
        if operation == "switch":
            # What is not claimed is common to both sides.
            common = {key: value for key, value in sides[here].items() if key.startswith("free")}
            here = 1 - here
            for key in [key for key in sides[here] if key.startswith("free")]:
                del sides[here][key]
            sides[here].update(common)
            continue
        expected = apply(sides[here], operation, *map(named, arguments))
        with loaded.scope if here else om.use(om.main):
            assert apply(table, operation, *map(named, arguments)) == expected
            assert {key: table[key] for key in table if key in keys} == sides[here]
            assert len(table) == count + len(sides[here])
    for scope in (loaded.scope, om.use(om.main)):
        with scope:
            for key in keys:
                table.pop(key, None)


ANSWERS: dict[str, Callable[[str, Any], bool]] = {
    "in": lambda name, _: name in sys.modules,
    "setdefault": lambda name, module: sys.modules.setdefault(name, sys) is module,
    "pop": lambda name, module: sys.modules.pop(name) is module,
    "pop with a default": lambda name, module: sys.modules.pop(name, None) is module,
    "del": lambda name, _: operator.delitem(sys.modules, name) is None,
    "setitem": lambda name, module: _set(name, module) and sys.modules[name] is module,
    "update": lambda name, module: _set(name, module, update=True) and sys.modules[name] is module,
}


def _set(name: str, module: Any, *, update: bool = False) -> bool:
    if update:
        sys.modules.update({name: module})
    else:
        sys.modules[name] = module
    return name not in dict.keys(sys.modules)


@pytest.mark.parametrize("way", ANSWERS)
def test_a_name_that_is_claimed_between_the_question_and_the_answer_is_answered_right(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    name, other = world.name(), world.name()
    world.versions(other, "1.0")
    om.load(f"{other}==1.0")  # the hooks are in
    world.install(world.wheel(name, "0.5"))
    module = importlib.import_module(name)
    assert name in dict.keys(sys.modules)
    asked: list[str] = []

    def and_then_another_thread_claims_it(ask: Callable[..., Any]) -> Callable[..., Any]:
        def answer(key: Any, *frame: Any) -> Any:
            found = ask(key, *frame)
            if key == name and not asked:
                asked.append(key)
                storage.claim([name])
            return found

        return answer

    for question in ("realm_for", "is_claimed"):
        asks = and_then_another_thread_claims_it(getattr(modules, question))
        monkeypatch.setattr(modules, question, asks)
    assert ANSWERS[way](name, module)
    assert asked
    assert name not in dict.keys(sys.modules)
    assert (name in sys.modules) is (way not in ("pop", "pop with a default", "del"))
