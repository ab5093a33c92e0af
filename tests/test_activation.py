"""The stack of what is active: leaving in any order, from any context, and never more than one."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from omnipkg_meta.activation import CURRENT, Activation, without

if TYPE_CHECKING:
    from collections.abc import Iterator


def push(*owners: object) -> Activation | None:
    """Make a stack; the outermost owner comes first."""
    top = None
    for owner in owners:
        top = Activation(owner, (), top)
    return top


def owners(stack: Activation | None) -> list[object]:
    """Return the owners, the outermost first."""

    def down(node: Activation | None) -> Iterator[object]:
        while node is not None:
            yield node.owner
            node = node.parent

    return list(down(stack))[::-1]


def test_nothing_is_active_in_a_new_context() -> None:
    assert CURRENT.get() is None


def test_leaving_the_innermost_gives_the_very_entry_below() -> None:
    below = push("a")
    assert without(Activation("b", (), below), "b") is below


def test_leaving_the_only_entry_gives_nothing() -> None:
    assert without(push("a"), "a") is None


def test_leaving_an_outer_entry_first_keeps_the_inner_one() -> None:
    assert owners(without(push("a", "b", "c"), "b")) == ["a", "c"]


def test_leaving_keeps_what_an_entry_above_hides_and_brings_in() -> None:
    hidden = push("h")
    stack = Activation("top", (), push("a"), hidden=hidden)
    left = without(stack, "a")
    assert left is not None
    assert left.hidden is hidden
    assert left.parent is None


def test_leaving_does_not_change_the_stack_that_another_context_still_has() -> None:
    stack = push("a", "b")
    without(stack, "a")
    assert owners(stack) == ["a", "b"]


def test_of_an_owner_nested_in_itself_the_innermost_entry_leaves() -> None:
    stack = push("a", "b", "a")
    assert owners(without(stack, "a")) == ["a", "b"]
    assert owners(without(without(stack, "a"), "a")) == ["b"]


def test_leaving_where_the_owner_never_entered_changes_nothing() -> None:
    stack = push("a")
    assert without(stack, "b") is stack
    assert without(None, "b") is None


def test_owners_are_told_apart_by_identity() -> None:
    one, other = [0], [0]
    stack = push(one)
    assert without(stack, other) is stack


def test_what_is_entered_in_a_copied_context_stays_there() -> None:
    copy_context().run(CURRENT.set, push("a"))
    assert CURRENT.get() is None


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_leaving_removes_the_last_occurrence_and_nothing_else(
    entered: list[int], left: list[int]
) -> None:
    stack, expected = push(*entered), list(entered)
    for owner in left:
        stack = without(stack, owner)
        if owner in expected:
            del expected[len(expected) - 1 - expected[::-1].index(owner)]
        assert owners(stack) == expected
