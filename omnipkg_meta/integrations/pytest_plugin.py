"""The pytest plugin: tests that run in bubbles, and runs that do.

pytest loads this file at the start of every run (entry point ``pytest11``), whatever
version of pytest that is.  So it imports nothing but pytest, and does nothing until
somebody asks for a bubble.

Owns the options, the marks' names, the ``bubble`` fixture and ``--bubble``.  What the
marks mean is in :mod:`omnipkg_meta.integrations.pytest_scopes`, and ``--bubbles`` in
:mod:`omnipkg_meta.integrations.pytest_matrix`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omnipkg_meta.overlay import Handle
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["MARKS", "bubble", "installing", "project_bubble"]

MARKS = ("bubble", "bubbles")
_WHOLE_RUN, _MATRIX, _SCOPES = (f"omnipkg_meta_{one}" for one in ("whole_run", "matrix", "scopes"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with its setting."""
    group = parser.getgroup("omnipkg-meta", "bubbles (omnipkg-meta)")
    group.addoption(
        "--bubble",
        action="append",
        default=[],
        metavar="REQ",
        help="lay a bubble over main for the whole run; several requirements make one bubble, "
        "and project:NAME is one that pyproject.toml names",
    )
    group.addoption(
        "--bubbles",
        action="append",
        default=[],
        metavar="REQ",
        help="run every test on this version too, in the same process: give it once for each "
        "version; 'REQ + REQ' is one bubble of several requirements, and project:NAME one that "
        "pyproject.toml names",
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


def project_bubble(text: str) -> str | None:
    """Return the name in ``project:NAME``, which stands for a bubble of the project; else None."""
    prefix, colon, name = text.strip().partition(":")
    return name if colon and prefix == "project" else None


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
        from omnipkg_meta.overlay import activate

        asked = [one for one in requirements if project_bubble(one) is None]
        names = [name for name in map(project_bubble, requirements) if name is not None]
        install = installing(early_config)
        whole = _WholeRun()
        with usage_errors():
            if names:
                from omnipkg_meta.projects import named

                for one in named(names, early_config.rootpath):
                    whole.handles.append(activate(one, install=install))
            if asked:
                whole.handles.append(activate(*asked, install=install))
        early_config.pluginmanager.register(whole, _WHOLE_RUN)


class _WholeRun:
    """Registered for a run of ``--bubble``.

    Attributes:
        handles: what the run activated, the last one innermost.
    """

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    @property
    def bubbles(self) -> list[Bubble]:
        """What lies over main, the innermost first."""
        return [bubble for handle in reversed(self.handles) for bubble in handle.bubbles]

    def pytest_report_header(self) -> list[str]:
        """Say what lies over main."""
        bubbles = ", ".join(one.id for one in self.bubbles)
        return [f"bubble: {bubbles or 'none, main serves'}"]

    def pytest_unconfigure(self) -> None:
        """End what ``--bubble`` began."""
        for handle in self.handles:
            handle.close()


# -- all tests on several versions, and marks -------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """See to it that every test runs on each of the versions of ``--bubbles``."""
    config = session.config
    versions = config.option.bubbles or config.getini("bubbles")
    if not versions:
        return
    if config.pluginmanager.has_plugin(_WHOLE_RUN):
        raise pytest.UsageError("--bubble and --bubbles contradict each other: give one of them")
    _check_pytest()
    from omnipkg_meta.integrations.pytest_matrix import Matrix

    with usage_errors():
        matrix = Matrix(
            config, versions, [*config.getini("bubble_adopt"), *config.option.bubble_adopt]
        )
    config.pluginmanager.register(matrix, _MATRIX)


def _check_pytest() -> None:
    # Since 8.1 fixtures are looked for among the nodes above a test, and not by its name.
    if tuple(map(int, pytest.__version__.split(".")[:2])) < (8, 1):
        raise pytest.UsageError(f"bubbles need pytest 8.1 or newer; this is {pytest.__version__}")


@pytest.hookimpl(trylast=True)  # after other parameters, so that the version stands last
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each bubble of a ``bubbles`` mark."""
    if any(mark.name in MARKS for mark in metafunc.definition.iter_markers()):
        _check_pytest()
        from omnipkg_meta.integrations.pytest_scopes import parametrize

        parametrize(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Enter and leave scopes from now on, if there is a test that asks for it."""
    plugins = config.pluginmanager
    if plugins.has_plugin(_MATRIX) or any(any(map(one.get_closest_marker, MARKS)) for one in items):
        _check_pytest()
        from omnipkg_meta.integrations.pytest_scopes import InScopes

        plugins.register(InScopes(), _SCOPES)


@pytest.fixture
def bubble(request: pytest.FixtureRequest) -> Bubble | None:
    """The bubble that the test runs in; of several the innermost one's, and None in main."""
    import omnipkg_meta

    scope = omnipkg_meta.current()
    active: Sequence[Bubble] = getattr(scope, "bubbles", ())
    whole: Any = request.config.pluginmanager.get_plugin(_WHOLE_RUN)
    if scope is omnipkg_meta.main and whole is not None:
        active = whole.bubbles
    return next(iter(active), None)
