"""Scopes: entering and leaving them, in all their forms, and what they refuse."""

from __future__ import annotations

import importlib
import pickle
import sys
from contextvars import copy_context
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import omnipkg_meta as om
from omnipkg_meta.errors import BubbleNotFoundError, RequirementError
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from omnipkg_meta.store.bubble import Bubble


@pytest.fixture
def name(world: World) -> str:
    """A package with versions 1.0 and 2.0 in bubbles, and 0.5 in main."""
    name = world.name()
    world.versions(name, "1.0", "2.0", main="0.5")
    return name


def test_the_scope_gives_the_bubble_and_its_end_gives_main(name: str) -> None:
    assert seen(name) == "0.5"
    with om.use(f"{name}==1.0"):
        assert seen(name) == "1.0"
    assert seen(name) == "0.5"


def test_entering_gives_the_scope_itself_and_says_its_bubbles(world: World, name: str) -> None:
    scope = om.use(f"{name}==1.0")
    with scope as entered:
        assert entered is scope
    (bubble,) = scope.bubbles
    assert bubble.distributions == {name: "1.0"}
    assert bubble.path.parent == world.store.tag_path
    assert f"{name}==1.0" in repr(scope)


def test_nested_scopes_the_inner_one_answers_and_main_is_a_scope_too(name: str) -> None:
    with om.use(f"{name}==1.0"):
        with om.use(f"{name}==2.0"):
            assert seen(name) == "2.0"
            with om.use(om.main):
                assert seen(name) == "0.5"
                with om.use(f"{name}==1.0"):
                    assert seen(name) == "1.0"
                assert seen(name) == "0.5"
            assert seen(name) == "2.0"
        assert seen(name) == "1.0"
    assert seen(name) == "0.5"


def test_a_nested_scope_leaves_the_names_it_does_not_provide_to_the_outer_one(
    world: World, name: str
) -> None:
    other = world.name()
    world.versions(other, "7.0")
    with om.use(f"{name}==1.0"), om.use(f"{other}==7.0"):
        assert (seen(name), seen(other)) == ("1.0", "7.0")


def test_several_bubbles_in_one_scope_are_asked_in_order(world: World, name: str) -> None:
    other = world.name()
    (first,) = world.versions(other, "7.0")
    both = world.bubble(world.wheel(other, "8.0"), world.wheel(name, "3.0"))
    with om.use(first, both):
        assert (seen(name), seen(other)) == ("3.0", "7.0")


def test_several_requirements_are_one_bubble(world: World, name: str) -> None:
    other = world.name()
    world.versions(other, "7.0")
    both = world.bubble(world.wheel(other, "7.0"), world.wheel(name, "1.0"))
    assert om.use(f"{name}<2", f"{other}>6").bubbles == (both,)


def test_entering_again_gives_the_same_module_objects(name: str) -> None:
    modules = []
    for _ in range(3):
        with om.use(f"{name}==1.0"):
            modules.append(importlib.import_module(name))
    assert modules[0] is modules[1] is modules[2]


def test_main_keeps_its_module_objects(name: str) -> None:
    before = importlib.import_module(name)
    with om.use(f"{name}==1.0"):
        assert importlib.import_module(name) is not before
    assert importlib.import_module(name) is before
    assert sys.modules[name] is before


def test_a_scope_may_be_nested_in_itself(name: str) -> None:
    scope = om.use(f"{name}==1.0")
    with scope, scope:
        with scope:
            assert seen(name) == "1.0"
        assert seen(name) == "1.0"
    assert seen(name) == "0.5"


def test_scopes_may_be_left_in_another_order_than_they_were_entered(name: str) -> None:
    one, two = om.use(f"{name}==1.0"), om.use(f"{name}==2.0")
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert seen(name) == "2.0"
    two.__exit__(None, None, None)
    assert seen(name) == "0.5"


def test_a_scope_that_is_left_in_another_context_changes_nothing_there(name: str) -> None:
    scope = om.use(f"{name}==1.0")
    with scope:
        context = copy_context()
        context.run(scope.__exit__)
        assert seen(name) == "1.0"
        assert context.run(seen, name) == "0.5"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_leaves_the_scope_and_goes_on(name: str, error: type[BaseException]) -> None:
    raised = error("out")
    with pytest.raises(error) as caught, om.use(f"{name}==1.0"):
        raise raised
    assert caught.value is raised
    assert seen(name) == "0.5"


def test_the_names_are_the_real_ones_and_the_module_says_its_bubble(name: str) -> None:
    with om.use(f"{name}==1.0") as scope:
        module = importlib.import_module(name)
    assert module.__name__ == name
    assert module.__spec__ is not None
    assert module.__spec__.name == name
    assert module.__bubble__ == scope.bubbles[0]
    assert str(scope.bubbles[0].path) in repr(module)


# -- what is asked for -----------------------------------------------------------


@pytest.mark.parametrize("text", ["", "two words", "a==", "../x", "a/b==1", "a=1"])
def test_a_malformed_requirement_is_refused_and_changes_nothing(text: str, name: str) -> None:
    with pytest.raises(RequirementError) as caught:
        om.use(text)
    assert isinstance(caught.value, ValueError)
    assert seen(name) == "0.5"


@pytest.mark.parametrize("source", [None, 1, ["a"], b"a", om])
def test_what_is_no_requirement_is_refused(source: Any) -> None:
    with pytest.raises(TypeError):
        om.use(source)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(TypeError, match="at least one"):
        om.use()


def test_a_missing_bubble_says_what_was_asked_what_is_there_and_what_to_run(name: str) -> None:
    scope = om.use(f"{name}==9.9")
    with pytest.raises(BubbleNotFoundError) as caught, scope:
        pytest.fail("entered")
    assert isinstance(caught.value, RuntimeError)
    assert f"{name}==9.9" in str(caught.value)
    assert {f"{name} 1.0", f"{name} 2.0"} <= set(caught.value.available)
    last_line = str(caught.value).splitlines()[-1]
    assert last_line.endswith(caught.value.command)
    assert caught.value.command.startswith("omnipkg-meta install")
    assert pickle.loads(pickle.dumps(caught.value)).available == caught.value.available
    assert seen(name) == "0.5"
    assert om.current() is om.main


def test_a_bubble_that_comes_later_is_found_by_the_same_scope(world: World, name: str) -> None:
    scope = om.use(f"{name}==3.0")
    with pytest.raises(BubbleNotFoundError):
        scope.__enter__()
    world.make(name, "3.0")
    with scope:
        assert seen(name) == "3.0"


def test_the_best_bubble_is_taken(world: World, name: str) -> None:
    assert om.use(name).bubbles[0].distributions[name] == "2.0"
    assert om.use(f"{name}<2").bubbles[0].distributions[name] == "1.0"
    assert world.store.path.is_dir()


def test_main_serves_where_it_satisfies_and_no_bubble_does(name: str) -> None:
    with om.use(f"{name}<1") as scope:
        assert scope.bubbles == ()
        assert seen(name) == "0.5"
        assert om.current() is scope
    with om.use(f"{name}==1.0"), om.use(f"{name}<1"):
        assert seen(name) == "0.5"


def test_a_bubble_of_another_store_is_used_by_saying_the_store(
    tmp_path: Any, world: World, name: str
) -> None:
    with (
        pytest.raises(BubbleNotFoundError),
        om.use(f"{name}==1.0", store=om.Store(tmp_path / "none")),
    ):
        pytest.fail("entered")
    with om.use(f"{name}==1.0", store=world.store):
        assert seen(name) == "1.0"


# -- load, current ---------------------------------------------------------------


def test_load_gives_the_module_without_a_block(name: str) -> None:
    module = om.load(f"{name}==1.0")
    assert module.__version__ == "1.0"
    assert seen(name) == "0.5"
    assert om.load(f"{name}==1.0") is module


def test_load_finds_the_module_whose_name_is_not_the_distributions(world: World) -> None:
    name = world.name("inner")
    bubble = world.make(f"dist-of-{name}", "1.0", {f"{name}/__init__.py": "", f"{name}/sub.py": ""})
    assert om.load(f"dist-of-{name}").__name__ == name
    assert om.load(bubble, name=f"{name}.sub").__name__ == f"{name}.sub"


def test_load_asks_which_where_there_are_several(world: World) -> None:
    name = world.name()
    bubble = world.make(f"dist-{name}", "1.0", {f"{name}_a.py": "", f"{name}_b.py": ""})
    with pytest.raises(RequirementError, match=f"{name}_a.*{name}_b"):
        om.load(f"dist-{name}")
    with pytest.raises(RequirementError):
        om.load(bubble)


def test_load_of_what_main_serves_gives_mains(name: str) -> None:
    assert om.load(f"{name}==0.5") is importlib.import_module(name)


def test_current_is_the_innermost_scope(name: str) -> None:
    one, two = om.use(f"{name}==1.0"), om.use(f"{name}==2.0")
    assert om.current() is om.main
    with one:
        assert om.current() is one
        with two:
            assert om.current() is two
            with om.use(om.main) as outside:
                assert om.current() is outside
        assert om.current() is one
    assert om.current() is om.main


def test_a_scope_pickles_as_what_was_asked_for(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", "2.0")
    for asked in (
        om.use(f"{name}==1.0"),
        om.use(f"{name}==1.0", share=["packaging"], install=False, verify="quick"),
        om.use(f"{name}==1.0", store=world.store),
        om.use(om.main),
    ):
        again = pickle.loads(pickle.dumps(asked))
        assert repr(again) == repr(asked)
        assert again.bubbles == asked.bubbles
    assert pickle.loads(pickle.dumps(om.use(name))) is om.use(name)
    # What is there decides, and not what was found here.
    sent = om.use(f"{name}<3")
    assert [one.distributions[name] for one in sent.bubbles] == ["2.0"]
    pickled = pickle.dumps(sent)
    world.make(name, "2.5")
    done = world.run(
        f"import pickle; print(pickle.loads({pickled!r}).bubbles[0].distributions[{name!r}])"
    )
    assert done.stdout == "2.5\n"


def test_main_is_one_object_and_pickles_as_such() -> None:
    assert pickle.loads(pickle.dumps(om.main)) is om.main
    assert "main" in repr(om.main)


def test_the_metadata_of_what_only_a_bubble_has_is_gone_after_the_scope(world: World) -> None:
    name = world.name()
    only: Bubble = world.make(name, "1.0")
    with om.use(only):
        assert seen(name) == "1.0"
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version(name)
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(name)
    assert caught.value.name == name
    assert name not in sys.modules


# -- any nesting at all ----------------------------------------------------------

_NESTING: st.SearchStrategy[list[Any]] = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.integers(0, 4), inner), max_size=3),
    max_leaves=8,
)


@given(_NESTING)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_nesting_gives_what_the_rules_say(
    three: tuple[list[str], list[dict[str, str]], list[om.Bubble]], nesting: list[Any]
) -> None:
    names, provided, bubbles = three

    def walk(entered: list[int], nested: list[Any]) -> None:
        expected = []
        for name in names:
            found = "0.5"
            for one in reversed(entered):
                if one == len(bubbles):
                    break
                if name in provided[one]:
                    found = provided[one][name]
                    break
            expected.append(found)
        assert [seen(name) for name in names] == expected
        for one, inner in nested:
            with om.use(om.main if one == len(bubbles) else bubbles[one]):
                walk([*entered, one], inner)
            assert [seen(name) for name in names] == expected

    walk([], nesting)


@pytest.fixture
def three(world: World) -> tuple[list[str], list[dict[str, str]], list[om.Bubble]]:
    """Three packages in main, and four bubbles of some of them."""
    a, b, c = names = [world.name() for _ in range(3)]
    for name in names:
        world.versions(name, main="0.5")
    provided = [{a: "1.0"}, {a: "2.0", b: "2.0"}, {b: "3.0", c: "3.0"}, {a: "4.0", c: "4.0"}]
    bubbles = [
        world.bubble(*[world.wheel(name, version) for name, version in one.items()])
        for one in provided
    ]
    return names, provided, bubbles
