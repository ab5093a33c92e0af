"""The pytest plugin: tests that run in bubbles, and runs that do.

pytest loads this file at the start of every run (entry point ``pytest11``), so it
imports nothing but pytest, and does nothing until somebody asks for a bubble.

Owns the options, the marks, the ``bubble`` fixture, and when a test's scope is
entered and left.  It must not know how modules are loaded anew for a version:
that is ``--bubbles``, and :mod:`omnipkg_meta.integrations.pytest_matrix`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omnipkg_meta.activation import Activation
    from omnipkg_meta.overlay import Handle
    from omnipkg_meta.scope import Scope
    from omnipkg_meta.sources import Source
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["SCOPE", "bubble", "installing", "usage_errors"]

_MARKS = ("bubble", "bubbles")
_HANDLE: pytest.StashKey[Handle] = pytest.StashKey()
#: The scope that all of an item, and of its fixtures, runs in; set by whoever loaded its module.
SCOPE: pytest.StashKey[Scope] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with its setting."""
    group = parser.getgroup("omnipkg-meta", "bubbles (omnipkg-meta)")
    group.addoption(
        "--bubble",
        action="append",
        default=[],
        metavar="REQ",
        help="lay a bubble over main for the whole run; several requirements make one bubble",
    )
    group.addoption(
        "--bubbles",
        action="append",
        default=[],
        metavar="REQ",
        help="run every test on this version too, in the same process: give it once for each "
        "version; 'REQ + REQ' is one bubble of several requirements",
    )
    group.addoption(
        "--bubble-adopt",
        action="append",
        default=[],
        metavar="NAME",
        help="with --bubbles: an installed package that is loaded anew for each version; "
        "what lies below the root of the run is anyway",
    )
    group.addoption(
        "--bubble-install",
        action="store_true",
        help="make the bubbles that are missing; nothing is installed otherwise",
    )
    parser.addini("bubble", "requirements, as --bubble takes them", type="linelist", default=[])
    parser.addini("bubbles", "versions, as --bubbles takes them", type="linelist", default=[])
    parser.addini("bubble_adopt", "names, as --bubble-adopt takes them", type="args", default=[])
    parser.addini("bubble_install", "as --bubble-install", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    config.addinivalue_line(
        "markers",
        "bubble(*requirements, share=[], adopt=[], hermetic=False, install=None): "
        "run the test in the scope of a bubble, as omnipkg_meta.use takes it",
    )
    config.addinivalue_line(
        "markers",
        "bubbles(*requirements, share=[], adopt=[], hermetic=False, install=None): "
        "run the test once in each of several bubbles; a list of requirements is one bubble",
    )


def installing(config: pytest.Config) -> bool | None:
    """Return what ``use`` is told about bubbles that are missing; None: as configured."""
    options: Any = getattr(config, "known_args_namespace", config.option)
    return True if options.bubble_install or config.getini("bubble_install") else None


@contextmanager
def usage_errors() -> Iterator[None]:
    """Say what is wrong with an option or a setting as pytest does."""
    from omnipkg_meta.errors import OmnipkgMetaError

    try:
        yield
    except OmnipkgMetaError as error:
        raise pytest.UsageError(str(error)) from None


# -- the whole run ----------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Lay the bubble of ``--bubble`` over main before a conftest can have loaded main's."""
    requirements = early_config.known_args_namespace.bubble or early_config.getini("bubble")
    if requirements:
        import omnipkg_meta

        with usage_errors():
            handle = omnipkg_meta.activate(*requirements, install=installing(early_config))
        early_config.stash[_HANDLE] = handle


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """See to it that every test runs on each of the versions of ``--bubbles``."""
    config = session.config
    versions = config.option.bubbles or config.getini("bubbles")
    if not versions:
        return
    if _HANDLE in config.stash:
        raise pytest.UsageError("--bubble and --bubbles contradict each other: give one of them")
    from omnipkg_meta.integrations.pytest_matrix import Matrix

    with usage_errors():
        matrix = Matrix(
            config, versions, [*config.getini("bubble_adopt"), *config.option.bubble_adopt]
        )
    config.pluginmanager.register(matrix, "omnipkg_meta_matrix")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which bubble lies over main."""
    if _HANDLE not in config.stash:
        return []
    bubbles = ", ".join(one.id for one in config.stash[_HANDLE].bubbles)
    return [f"bubble: {bubbles or 'none, main serves'}"]


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what ``--bubble`` began."""
    if _HANDLE in config.stash:
        config.stash[_HANDLE].close()


@pytest.fixture
def bubble(request: pytest.FixtureRequest) -> Bubble | None:
    """The bubble that the test runs in; of several the innermost one's, and None in main."""
    import omnipkg_meta

    scope = omnipkg_meta.current()
    active: Sequence[Bubble] = getattr(scope, "bubbles", ())
    if scope is omnipkg_meta.main and _HANDLE in request.config.stash:
        active = request.config.stash[_HANDLE].bubbles
    return next(iter(active), None)


# -- marks ------------------------------------------------------------------------


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
        if mark.name in _MARKS:
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
    from omnipkg_meta.errors import OmnipkgMetaError
    from omnipkg_meta.requirements import parse
    from omnipkg_meta.scope import use

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
    import omnipkg_meta

    texts = ("main" if one is omnipkg_meta.main else getattr(one, "id", one) for one in sources)
    return "+".join(str(text).replace(" ", "") for text in texts)


def _text(mark: pytest.Mark) -> str:
    words = [*map(repr, mark.args), *(f"{key}={value!r}" for key, value in mark.kwargs.items())]
    return f"@pytest.mark.{mark.name}({', '.join(words)})"


@pytest.hookimpl(trylast=True)  # after other parameters, so that the version stands last
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each bubble of a ``bubbles`` mark."""
    if any(mark.name in _MARKS for mark in metafunc.definition.iter_markers()):
        for one in _asked(metafunc.definition):
            if one.parameter:
                metafunc.fixturenames.append(one.parameter)
                ids = [name for name, _ in one.scopes]
                metafunc.parametrize(one.parameter, [scope for _, scope in one.scopes], ids=ids)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Enter and leave scopes from now on, if there is a test that asks for it."""
    if any(SCOPE in item.stash or any(map(item.get_closest_marker, _MARKS)) for item in items):
        config.pluginmanager.register(_InScopes(), "omnipkg_meta_scopes")


class _InScopes:
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
        from omnipkg_meta.activation import CURRENT
        from omnipkg_meta.errors import OmnipkgMetaError

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
        from omnipkg_meta.activation import CURRENT

        self._hidden.append(CURRENT.get())
        if self._inside:
            CURRENT.set(self._outer)

    def _go_back(self) -> None:
        from omnipkg_meta.activation import CURRENT

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
