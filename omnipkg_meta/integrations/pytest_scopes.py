"""What the marks mean: which scopes a test runs in, and when they are entered and left.

It must not know how modules are loaded anew for a version: that is ``--bubbles``, and
:mod:`omnipkg_meta.integrations.pytest_matrix`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import omnipkg_meta
from omnipkg_meta.activation import CURRENT
from omnipkg_meta.errors import OmnipkgMetaError
from omnipkg_meta.integrations.pytest_plugin import MARKS, installing
from omnipkg_meta.requirements import parse
from omnipkg_meta.scope import Scope, use

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omnipkg_meta.activation import Activation
    from omnipkg_meta.sources import Source

__all__ = ["SCOPE", "InScopes", "parametrize"]

#: The scope that all of a test, and of its fixtures, runs in; set by whoever loaded its module.
SCOPE = pytest.StashKey[Scope]()


class _Asked(NamedTuple):
    """What one mark asks for.

    Attributes:
        mark: the mark.
        scopes: the scope of a ``bubble`` mark, or those of a ``bubbles`` mark, each with its name.
        parameter: the name of the parameter that chooses one of them; empty for ``bubble``.
        names: the normalized names of the distributions that are asked for.
    """

    mark: pytest.Mark
    scopes: list[tuple[str, Scope]]
    parameter: str
    names: frozenset[str]


def _asked(node: pytest.Item) -> list[_Asked]:
    """Return what the marks of a test ask for, the outermost first.

    Fails the test, or its collection, where a mark is wrong or contradicts another one.
    """
    found = []
    count = 0
    for mark in node.iter_markers():
        if mark.name in MARKS:
            parameter = "" if mark.name == "bubble" else f"_bubbles_{count}"
            count += bool(parameter)
            found.append(_read(mark, parameter, node.config))
    for one in found:
        for other in found:
            both = sorted(one.names & other.names)
            if both and one.parameter and one is not other:
                pytest.fail(
                    f"conflicting marks: {_text(one.mark)} and {_text(other.mark)} "
                    f"both say which {', '.join(both)} is used",
                    pytrace=False,
                )
    return found[::-1]


def _read(mark: pytest.Mark, parameter: str, config: pytest.Config) -> _Asked:
    groups: list[tuple[Source, ...]] = [mark.args] if mark.args else []
    if parameter:
        groups = [tuple(one) if isinstance(one, (tuple, list)) else (one,) for one in mark.args]
    allowed = ("share", "adopt", "hermetic", "install")
    wrong = sorted(mark.kwargs.keys() - set(allowed))
    cause = f"no argument of it is called {wrong[0]}" if wrong else "" if groups else "it is empty"
    scopes: list[tuple[str, Scope]] = []
    names: set[str] = set()
    try:
        for sources in [] if cause else groups:
            arguments = {"install": installing(config), **mark.kwargs}
            scopes.append((_id(sources), use(*sources, **arguments)))
            texts = [one for one in sources if isinstance(one, str)]
            for one in sources:
                texts += getattr(one, "requirements", ())  # those of what a project names
            names.update(one.name for one in (parse(texts) if texts else ()))
    except (OmnipkgMetaError, TypeError) as error:
        cause = str(error)
    if cause:
        pytest.fail(f"{_text(mark)}: {cause}", pytrace=False)
    return _Asked(mark, scopes, parameter, frozenset(names))


def _id(sources: Sequence[Source]) -> str:
    texts = ("main" if one is omnipkg_meta.main else getattr(one, "id", one) for one in sources)
    return "+".join(str(text).replace(" ", "") for text in texts)


def _text(mark: pytest.Mark) -> str:
    words = [*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())]
    return f"@pytest.mark.{mark.name}({', '.join(words)})"


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make one test for each bubble of the ``bubbles`` marks of a function.

    Fails the collection where one of its marks is wrong.
    """
    for one in _asked(metafunc.definition):
        if one.parameter:
            metafunc.fixturenames.append(one.parameter)
            ids = [name for name, _ in one.scopes]
            metafunc.parametrize(one.parameter, [scope for _, scope in one.scopes], ids=ids)


class InScopes:
    """Has tests run in the scopes that they ask for: function fixtures, call and teardown.

    Fixtures of a wider scope serve tests that ask for something else too.  They are set up
    and torn down outside of what a mark asks for, whichever test comes first or last.
    """

    def __init__(self) -> None:
        self._entered = ExitStack()
        self._inside = False
        self._outer: Activation | None = None
        self._hidden: list[Activation | None] = []

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Enter the scopes; after a mark may have skipped the test, and before fixtures."""
        asked = _asked(item)
        if asked and SCOPE in item.stash:
            pytest.fail(
                f"{_text(asked[0].mark)} contradicts --bubbles, which says what all tests run on: "
                "leave such tests out with -m 'not bubble and not bubbles'",
                pytrace=False,
            )
        trouble = None
        try:
            scope = item.stash.get(SCOPE, None)
            if scope is not None:
                self._entered.enter_context(scope)
            self._outer, self._inside = CURRENT.get(), True
            for one in asked:
                self._entered.enter_context(_chosen(one, item))
        except OmnipkgMetaError as error:
            trouble = str(error)
        if trouble:  # out here, so that it is told once, and not as what happened meanwhile
            pytest.fail(trouble, pytrace=False)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        """Leave the scopes; after all that the test set up is torn down."""
        yield
        self._inside = False
        self._entered.close()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        """Set a fixture of a wider scope up outside, and have it torn down there."""
        if fixturedef.scope == "function":
            yield
            return
        fixturedef.addfinalizer(self._go_back)  # the first is the last to run
        self._go_outside()
        yield
        self._go_back()
        fixturedef.addfinalizer(self._go_outside)

    def _go_outside(self) -> None:
        self._hidden.append(CURRENT.get())
        if self._inside:
            CURRENT.set(self._outer)

    def _go_back(self) -> None:
        CURRENT.set(self._hidden.pop())


def _chosen(one: _Asked, item: pytest.Item) -> Scope:
    if not one.parameter:
        return one.scopes[0][1]
    callspec = getattr(item, "callspec", None)
    scope: Scope | None = callspec and callspec.params.get(one.parameter)
    if scope is None:
        pytest.fail(
            f"{_text(one.mark)}: only functions can be run several times, and not methods of "
            "unittest.TestCase, nor single cases of a parametrized test",
            pytrace=False,
        )
    return scope
