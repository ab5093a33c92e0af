"""Who answers: the rules, by example and against an oracle written another way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnipkg_meta.activation import Activation, pins_of
from omnipkg_meta.realm import MAIN, Realm, Shared, normalize
from omnipkg_meta.resolution import Decision, Rule, decide, in_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def realm(
    provided: Iterable[str],
    outer: Realm | None = None,
    *,
    shared: Iterable[str] = (),
    hermetic: bool = False,
) -> Realm:
    """Make a realm that provides these names, each from a distribution called ``dist-<name>``.

    It takes the shared ones from main.
    """
    taken = frozenset(shared)
    provided = sorted(set(provided) - taken)
    return Realm(
        bubble=None,
        directories=(),
        import_names={name: [f"dist-{name}"] for name in provided},
        distributions={f"dist-{name}": "1" for name in provided},
        outer=outer,
        shared=Shared(taken, frozenset(f"dist-{name}" for name in taken)),
        hermetic=hermetic,
    )


def stack(*entries: Sequence[Realm]) -> Activation | None:
    """Make a stack; the outermost scope comes first, as it is entered."""
    top = None
    for realms in entries:
        top = Activation(object(), tuple(realms), top)
    return top


def never(_: str) -> bool:
    return False


def always(_: str) -> bool:
    return True


def answer(
    name: str,
    *,
    home: Realm | None = None,
    declares: Callable[[str], bool] = never,
    pins: Sequence[Realm] = (),
    activation: Activation | None = None,
    overlays: Sequence[Realm] = (),
) -> Decision:
    return decide(
        name,
        home=home,
        declares=declares,
        pins=pins,
        activation=activation,
        overlays=overlays,
        hermetic=home is not None and home.hermetic,
    )


X, Y, Z = realm("a"), realm("ab"), realm("abc")


def test_main_answers_where_nothing_is_active() -> None:
    assert answer("a") == (MAIN, Rule.MAIN)


def test_the_scope_answers_for_code_of_the_user() -> None:
    assert answer("a", activation=stack([X])) == (X, Rule.SCOPE)


def test_a_name_that_no_scope_provides_is_mains() -> None:
    assert answer("c", activation=stack([X], [Y])) == (MAIN, Rule.MAIN)


def test_the_inner_scope_is_asked_first_name_by_name() -> None:
    nested = stack([Y], [X])
    assert answer("a", activation=nested).realm is X
    assert answer("b", activation=nested).realm is Y


def test_main_as_a_scope_hides_the_scopes_around_it() -> None:
    assert answer("a", activation=stack([X], [MAIN])) == (MAIN, Rule.SCOPE)


def test_a_scope_inside_of_main_as_a_scope_answers_again() -> None:
    nested = stack([Y], [MAIN], [X])
    assert answer("a", activation=nested).realm is X
    assert answer("b", activation=nested).realm is MAIN


def test_the_first_realm_of_a_scope_goes_before_its_second() -> None:
    assert answer("a", activation=stack([X, Y])).realm is X
    assert answer("b", activation=stack([X, Y])).realm is Y


def test_code_of_a_bubble_answers_to_its_bubble_whatever_is_active() -> None:
    assert answer("a", home=X, activation=stack([Y])) == (X, Rule.HOME)


def test_code_of_a_bubble_gets_mains_and_not_the_scopes_where_its_bubble_has_none() -> None:
    assert answer("b", home=X, activation=stack([Y])) == (MAIN, Rule.HOME)


def test_code_of_a_bubble_that_stands_in_another_asks_outwards() -> None:
    inner = realm("a", outer=Y)
    assert answer("a", home=inner).realm is inner
    assert answer("b", home=inner).realm is Y
    assert answer("c", home=inner).realm is MAIN


def test_what_an_installed_distribution_declares_is_mains_inside_a_scope() -> None:
    assert answer("a", declares=always, activation=stack([X])) == (MAIN, Rule.HOME)


def test_what_an_installed_distribution_does_not_declare_is_the_scopes() -> None:
    decision = answer("a", declares=lambda name: name == "b", activation=stack([X]))
    assert decision == (X, Rule.SCOPE)


def test_a_pin_goes_before_the_scope() -> None:
    assert answer("a", pins=[Y], activation=stack([X])) == (Y, Rule.PIN)


def test_a_pin_goes_before_home_and_what_was_declared() -> None:
    assert answer("a", home=X, pins=[Y]) == (Y, Rule.PIN)
    assert answer("a", declares=always, pins=[Y]) == (Y, Rule.PIN)
    assert answer("c", home=X, pins=[Y]) == (MAIN, Rule.HOME)


def test_a_pin_to_main_hides_the_scopes() -> None:
    assert answer("a", pins=[MAIN], activation=stack([X])) == (MAIN, Rule.PIN)


def test_a_pin_answers_for_no_name_but_its_own() -> None:
    assert answer("b", pins=[X], activation=stack([Y])) == (Y, Rule.SCOPE)


def test_an_overlay_answers_wherever_main_would() -> None:
    assert answer("a", overlays=[X]) == (X, Rule.MAIN)
    assert answer("a", declares=always, overlays=[X]) == (X, Rule.HOME)
    assert answer("b", home=X, overlays=[Y]) == (Y, Rule.HOME)


def test_a_scope_goes_before_an_overlay() -> None:
    assert answer("a", activation=stack([X]), overlays=[Y]).realm is X


def test_the_newest_overlay_goes_first() -> None:
    assert answer("a", overlays=[X, Y]).realm is X
    assert answer("b", overlays=[X, Y]).realm is Y


def test_distributions_are_answered_for_by_the_same_rules() -> None:
    decision = decide(
        "dist-b",
        home=None,
        declares=never,
        pins=(),
        activation=stack([Y], [X]),
        overlays=(),
        provider=Realm.distribution_provider,
    )
    assert decision == (Y, Rule.SCOPE)


def test_what_is_shared_is_mains_wherever_the_bubble_would_answer() -> None:
    sharing = realm("b", shared="a")
    assert answer("a", home=sharing, activation=stack([X]), overlays=[Y]) == (MAIN, Rule.HOME)
    assert answer("a", activation=stack([X], [sharing])) == (MAIN, Rule.SCOPE)
    assert answer("a", activation=stack([sharing], [X])) == (X, Rule.SCOPE)
    assert answer("a", pins=[sharing], activation=stack([X])) == (MAIN, Rule.PIN)
    assert answer("b", activation=stack([X], [sharing])) == (sharing, Rule.SCOPE)
    assert in_scope("a", stack([X], [sharing])) is MAIN


def test_what_stands_on_a_bubble_that_shares_shares_too() -> None:
    adopting = realm("c", outer=realm("b", shared="a"))
    assert answer("a", home=adopting) == (MAIN, Rule.HOME)
    assert answer("c", home=adopting).realm is adopting


def test_a_hermetic_home_is_all_that_its_code_sees() -> None:
    closed = realm("a", hermetic=True)
    assert answer("a", home=closed) == (closed, Rule.HOME)
    assert answer("b", home=closed, activation=stack([Y]), overlays=[Y]) == (closed, Rule.HERMETIC)


def test_a_hermetic_bubble_closes_nothing_for_code_of_the_user() -> None:
    closed = realm("a", hermetic=True)
    assert answer("a", activation=stack([Y], [closed])) == (closed, Rule.SCOPE)
    assert answer("b", activation=stack([Y], [closed])) == (Y, Rule.SCOPE)
    assert answer("c", activation=stack([closed])) == (MAIN, Rule.MAIN)


def test_code_of_a_hermetic_bubble_sees_what_was_brought_in_by_name() -> None:
    closed = realm("a", shared="b", hermetic=True)
    assert answer("b", home=closed) == (MAIN, Rule.HOME)
    assert answer("c", home=closed, pins=[Z]) == (Z, Rule.PIN)
    adopting = realm("c", outer=closed, hermetic=True)
    assert answer("c", home=closed, activation=stack([adopting])) == (adopting, Rule.HOME)
    assert answer("a", home=adopting) == (closed, Rule.HOME)
    assert answer("d", home=adopting) == (adopting, Rule.HERMETIC)


def test_no_scope_answers_where_none_provides() -> None:
    assert in_scope("c", stack([X], [Y])) is None
    assert in_scope("a", None) is None


def test_pins_of_a_module_are_those_of_its_package_and_of_the_packages_around() -> None:
    pins = {"pkg": (X,), "pkg.sub": (Y,), "pkgs": (Z,)}
    assert pins_of("pkg.sub.module", pins) == (Y, X)
    assert pins_of("pkg.other", pins) == (X,)
    assert pins_of("pkg", pins) == (X,)
    assert pins_of("pk", pins) == ()
    assert pins_of("", pins) == ()


@pytest.mark.parametrize("name", ["Ab.c_d", "ab-C-D", "ab__c.d", "ab-.-c--d"])
def test_names_of_distributions_are_compared_in_their_normal_form(name: str) -> None:
    assert normalize(name) == "ab-c-d"


# -- against an oracle -----------------------------------------------------------

_NAMES = st.sampled_from("abc")
_TERMS = {"shared": st.frozensets(_NAMES), "hermetic": st.booleans()}
_PLAIN = st.builds(realm, st.frozensets(_NAMES), **_TERMS)
_ADOPTING = st.builds(
    lambda names, outer: realm(names, outer, hermetic=outer.hermetic), st.frozensets(_NAMES), _PLAIN
)
_REALM = st.one_of(_PLAIN, _ADOPTING)


@st.composite
def _situations(draw: st.DrawFn) -> tuple[Realm | None, list[list[Realm]]]:
    """Make a home, and scopes of which some adopt something on top of it."""
    home = draw(st.none() | _REALM)
    choices = [_REALM, st.just(MAIN)]
    if home is not None and home.outer is None:
        on_top = st.builds(
            lambda names: realm(names, home, hermetic=home.hermetic), st.frozensets(_NAMES)
        )
        choices.append(on_top)
    return home, draw(st.lists(st.lists(st.one_of(choices), min_size=1, max_size=2), max_size=4))


# What is slow is the machine, where other tests run beside this one.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    name=_NAMES,
    situation=_situations(),
    declared=st.booleans(),
    pins=st.lists(_REALM | st.just(MAIN), max_size=2),
    overlays=st.lists(_REALM, max_size=2),
)
def test_the_first_candidate_that_provides_the_name_answers(
    *,
    name: str,
    situation: tuple[Realm | None, list[list[Realm]]],
    declared: bool,
    pins: list[Realm],
    overlays: list[Realm],
) -> None:
    home, scopes = situation
    candidates = [(one, Rule.PIN) for one in pins]
    if home is not None:
        candidates += [(home, Rule.HOME)]
        candidates += [
            (one, Rule.HOME) for scope in reversed(scopes) for one in scope if one.outer is home
        ]
        candidates += [(one, Rule.HOME) for one in (*overlays, MAIN) if not home.hermetic]
    elif declared:
        candidates += [(one, Rule.HOME) for one in (*overlays, MAIN)]
    else:
        candidates += [(one, Rule.SCOPE) for scope in reversed(scopes) for one in scope]
        candidates += [(one, Rule.MAIN) for one in (*overlays, MAIN)]
    layers = [
        (one, rule) for top, rule in candidates for one in (top, top.outer) if one is not None
    ]
    found = (
        (MAIN if name in one.shared.names else one, rule)
        for one, rule in layers
        if one is MAIN or name in one.import_names or name in one.shared.names
    )
    # Only where the home is hermetic is there an end to it.
    expected = next(found, (home, Rule.HERMETIC))
    for asked, provider in (
        (name, Realm.provider),
        (f"dist-{name}", Realm.distribution_provider),
    ):
        decision = decide(
            asked,
            home=home,
            declares=always if declared else never,
            pins=pins,
            activation=stack(*scopes),
            overlays=overlays,
            hermetic=home is not None and home.hermetic,
            provider=provider,
        )
        assert decision == expected
