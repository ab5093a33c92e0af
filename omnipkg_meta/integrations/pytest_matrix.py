"""``pytest --bubbles``: every test of a run, once on each of several bubbles, in one process.

A module of tests is loaded once for each version, together with the project that it
tests and the conftests above it, on top of that version's bubble (``adopt=``).  So
what stands at the top of a module (``import pydantic``, ``from mylib import Model``)
is the version's, and so are fixtures of every scope.

Owns the tree of collectors that holds one copy of each module for each version, and
the rule what belongs to the project.  It must not know how scopes are entered around
tests; it tells by an entry in the stash of each.

This is the one file that touches privates of pytest: ``Module._getobj``, which is
there to be overridden; ``FixtureManager.parsefactories`` for the fixtures of a
conftest; and, before pytest 9.1, the id of a test.
"""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from omnipkg_meta import installed
from omnipkg_meta.errors import MainModuleWarning
from omnipkg_meta.integrations.pytest_plugin import installing, project_bubble
from omnipkg_meta.integrations.pytest_scopes import SCOPE
from omnipkg_meta.projects import named
from omnipkg_meta.realm import MAIN
from omnipkg_meta.requirements import name_of, parse
from omnipkg_meta.scope import use
from omnipkg_meta.sources import adopt_also
from omnipkg_meta.terms import Terms, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

    from omnipkg_meta.sources import Source

__all__ = ["Matrix", "Version"]

_PARAMETER = "_bubble_of_the_run"
#: What runs the tests is main's for all of them.
_RUNNER = ("pytest", "pluggy")


class Version:
    """One of the bubbles that all tests run on.

    Args:
        text: the requirements, with `` + `` between them; or ``project:NAME``.
        adopt: what main has installed and is loaded anew for it.
        root: where the project lies, all of which is loaded anew.
        install: whether the bubble may be built if it is missing.

    Attributes:
        name: what the tests are called by.
        scope: what they run in.
    """

    def __init__(
        self, text: str, *, adopt: Sequence[str], root: Path, install: bool | None
    ) -> None:
        name = project_bubble(text)
        sources: list[Source] = [one.strip() for one in text.split(" + ")]
        terms = Terms()
        if name is not None:
            (own_bubble,) = named([name], root)
            sources, terms = [own_bubble], own_bubble.terms
        self.name = name or "+".join(str(one).replace(" ", "") for one in sources)
        self._root = root
        requirements = [
            text for one in sources for text in getattr(one, "requirements", (str(one),))
        ]
        self.roots = frozenset(name_of(one.canonical) for one in parse(requirements))
        self.scope = use(*sources, install=install)
        self._realm = MAIN
        if self.scope.bubbles:  # else main has that version, and its modules serve
            (bubble,) = self.scope.bubbles
            own = (_importable(root) | _in_place(root)) - bubble.import_names.keys()
            names = sorted({*own, *adopt, *terms.adopt, "conftest"})
            share = [one for one in _RUNNER if one in bubble.distributions]
            self.scope = use(
                bubble, share=[*terms.share, *share], adopt=names, hermetic=terms.hermetic
            )
            self._realm = self.scope._realms[0] if self.scope.bubbles else MAIN

    def __str__(self) -> str:
        bubbles = [one.id for one in self.scope.bubbles]
        return f"{self.name} ({', '.join(bubbles) or 'main has it'})"

    def load(self, node: pytest.Module) -> ModuleType:
        """Load a module of tests, or a conftest, for this version."""
        if self._realm is not MAIN:
            adopt_also(self._realm, _importable(self._root, node.path))
            if node.path.stem == "conftest":
                # Those outside of packages have one name (``_importconftest`` in pytest).
                self._realm.modules.pop("conftest", None)
        with self.scope:
            try:
                module: ModuleType = pytest.Module._getobj(node)  # type: ignore[no-untyped-call]
            except node.CollectError as error:
                raise node.CollectError(f"on {self.name}: {error}") from error
        if self._realm is not MAIN:
            self._look_for_main(module)
        return module

    def _look_for_main(self, module: ModuleType) -> None:
        """Warn of what a module has got of main's that goes on with main's version."""
        for value in list(vars(module).values()):
            name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
            top = name.partition(".")[0] if isinstance(name, str) else ""
            if not top or self._realm.provider(top) is not None or _is_everybodys(top):
                continue
            for one in installed.owners(top):
                both = self.roots & {need.name for need in installed.requirements(one)}
                if both:
                    warnings.warn(
                        f"{module.__name__!r} tests on {self.name}, and uses main's {one.name}, "
                        f"which goes on with main's {', '.join(sorted(both))}. "
                        f"Have it loaded anew for each version: --bubble-adopt={top}.",
                        MainModuleWarning,
                        stacklevel=2,
                    )


def _importable(root: Path, file: Path | None = None) -> set[str]:
    """Return the top-level names of the project: what can be imported, and lies below its root.

    Without what main has installed as a distribution that is not edited in place.

    Args:
        root: the project's directory.
        file: a module of tests, which may have to be imported under any of several names.
    """
    folders = {
        Path(entry or os.curdir).absolute()  # an empty entry is the working directory
        for entry in sys.path
        if os.path.basename(entry) not in ("site-packages", "dist-packages")  # noqa: PTH119
    }
    found: set[str] = set()
    if file is not None:
        folder = file.parent
        while (folder / "__init__.py").exists():
            folder = folder.parent
        folders.add(folder)
        # ``--import-mode=importlib`` names it by its way from the root of the run.
        above = file.relative_to(root).parts[:-1] if file.is_relative_to(root) else ()
        found |= {file.stem, *above}
    for folder in folders:
        if folder.is_relative_to(root) and folder.is_dir():
            found |= {one.stem for one in folder.glob("*.py")}
            found |= {one.parent.name for one in folder.glob("*/__init__.py")}
            # Namespaces, but for environments that lie in the project.
            spaces = {one.parent.parent for one in folder.glob("*/*/__init__.py")}
            found |= {one.name for one in spaces if not (one / "pyvenv.cfg").exists()}
    return {one for one in found if one.isidentifier() and not _is_foreign(one)}


@lru_cache
def _in_place(root: Path) -> frozenset[str]:
    """Return what distributions provide that are installed in place and lie below the root.

    Some installers put a finder of their own in the place of a directory on ``sys.path``.
    """
    names = (name for one in installed.in_place(root) for name in one.import_names)
    return frozenset(filter(str.isidentifier, names))


def _is_everybodys(name: str) -> bool:
    return name in sys.stdlib_module_names or name in ("omnipkg_meta", "_pytest", *_RUNNER)


def _is_foreign(name: str) -> bool:
    if _is_everybodys(name):
        return True
    return any(not one.editable for one in installed.owners(name))


# -- the tree of collectors -------------------------------------------------------


class _Folder(pytest.Collector):
    """A directory as one version sees it: the conftest in it is the version's.

    It stands in the place of pytest's own collector of the directory above modules, so
    fixtures of main's conftest are not seen beside the version's.
    """

    version: Version
    obj: ModuleType | None = None
    _loaded = False

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        """Nothing: pytest collects the directory itself."""
        return []

    def load(self) -> None:
        """Load the conftest for the version, if pytest has loaded main's; its fixtures with it."""
        if isinstance(self.parent, _Folder):
            self.parent.load()
        if self._loaded:
            return
        self._loaded = True
        file = self.path / "conftest.py"
        if self.config.pluginmanager.get_plugin(str(file)) is not None:
            self.obj = self.version.load(pytest.Module.from_parent(self, path=file))
            fixtures: Any = self.session._fixturemanager
            fixtures.parsefactories(self)


class _Module(pytest.Module):
    """A module of tests, loaded for one version."""

    version: Version
    mains_id: str

    def _getobj(self) -> ModuleType:
        return self.version.load(self)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Collect the tests, after the conftests above."""
        if isinstance(self.parent, _Folder):
            self.parent.load()
        return super().collect()


class Matrix:
    """The plugin that is registered for the run.

    Args:
        config: pytest's.
        texts: the versions, as ``--bubbles`` takes them.
        adopt: what main has installed and is to be loaded anew for each.
    """

    def __init__(self, config: pytest.Config, texts: Sequence[str], adopt: Sequence[str]) -> None:
        try:
            read((), adopt, hermetic=False)
        except TypeError as error:
            raise pytest.UsageError(f"--bubble-adopt: {error}") from None
        self._versions = [
            Version(text, adopt=adopt, root=config.rootpath, install=installing(config))
            for text in dict.fromkeys(texts)
        ]
        self._folders: dict[tuple[Version, pytest.Collector], _Folder] = {}

    def pytest_report_header(self) -> list[str]:
        """Say which versions the tests run on."""
        return [f"bubbles: {', '.join(map(str, self._versions))}"]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_collect_file(self, parent: pytest.Collector) -> Iterator[None]:
        """Put one collector for each version in the place of that of a module."""
        outcome: Any = yield
        found: list[pytest.Collector] = []
        for one in outcome.get_result():
            if type(one) is pytest.Module:
                found += [self._module(version, one, parent) for version in self._versions]
            else:  # another plugin's, a doctest: they run once
                found.append(one)
        outcome.force_result(found)

    def _module(self, version: Version, mains: pytest.Module, parent: pytest.Collector) -> _Module:
        unique: dict[str, Any] = {} if _BY_NODE else {"nodeid": f"{mains.nodeid}[{version.name}]"}
        module: _Module = _Module.from_parent(
            self._folder(version, parent), path=mains.path, **unique
        )
        module.version = version
        module.mains_id = mains.nodeid
        return module

    def _folder(self, version: Version, mains: pytest.Collector) -> pytest.Collector:
        if isinstance(mains, pytest.Session) or mains.parent is None:
            return mains
        known = self._folders.get((version, mains))
        if known is None:
            above = self._folder(version, mains.parent)
            outermost = not isinstance(above, _Folder)
            known = self._folders[version, mains] = _Folder.from_parent(
                above,
                name=version.name if outermost else mains.name,
                path=mains.path,
                nodeid=f"{mains.nodeid or '.'}[{version.name}]",
            )
            known.version = version
        return known

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Call the test by its version."""
        module = metafunc.definition.getparent(_Module)
        if module is not None:
            metafunc.fixturenames.append(_PARAMETER)
            metafunc.parametrize(_PARAMETER, [module.version.name], ids=[module.version.name])

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note which scope a test runs in."""
        module = item.getparent(_Module)
        if module is not None:
            item.stash[SCOPE] = module.version.scope
            _name(item, module)


# -- pytest's privates ------------------------------------------------------------


def _fixtures_are_found_by_node() -> bool:
    """Tell whether fixtures belong to collectors themselves, and not to all of one id."""
    from _pytest.fixtures import FixtureManager

    return "node" in inspect.signature(FixtureManager._register_fixture).parameters


_BY_NODE = _fixtures_are_found_by_node()


def _name(item: pytest.Item, module: _Module) -> None:
    """Give a test the id that it would have by ``parametrize``.

    Before fixtures belonged to collectors, each version's had to have an id of its own,
    which the ids of its tests begin with.  And methods of ``unittest.TestCase`` are not
    parametrized.
    """
    test: Any = item
    wanted = module.mains_id + item.nodeid[len(module.nodeid) :]
    if not hasattr(item, "callspec"):
        wanted += f"[{module.version.name}]"
        item.extra_keyword_matches.add(module.version.name)
    if wanted == item.nodeid:
        return
    if _BY_NODE:
        test._id = type(test.id).parse(wanted)
    else:
        test._nodeid = wanted
