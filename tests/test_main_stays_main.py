"""Main stays main: what is loaded into main is bound to main, whatever scope asked first."""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import MainModuleWarning
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture
def name(world: World) -> str:
    """A package with version 1.0 in a bubble, and 0.5 in main."""
    name = world.name()
    world.versions(name, "1.0", main="0.5")
    return name


def installed(world: World, name: str, text: str | None = None) -> str:
    """Install a distribution into main that uses a package and declares it; return its name."""
    user = world.name("installed")
    text = text or f"import {name} as used\n\ndef later():\n    import {name}\n    return {name}\n"
    world.install(world.wheel(user, "1.0", {f"{user}.py": text}, requires=[name]))
    return user


def mine(world: World, text: str) -> str:
    user = world.name("mine")
    world.module(user, text)
    return user


def test_an_installed_module_first_imported_inside_a_scope_is_bound_to_main(
    world: World, name: str
) -> None:
    user = installed(world, name)
    with om.use(f"{name}==1.0"):
        module = importlib.import_module(user)
        assert seen(name) == "1.0"
        assert module.later() is module.used
    assert module.used is importlib.import_module(name)
    assert module.used.__version__ == "0.5"
    assert importlib.import_module(user) is module


def test_an_installed_module_that_does_not_declare_what_it_uses_is_bound_to_main_all_the_same(
    world: World, name: str
) -> None:
    user = world.name("installed")
    world.install(world.wheel(user, "1.0", {f"{user}.py": f"import {name} as used\n"}))
    with om.use(f"{name}==1.0"), warnings.catch_warnings():
        warnings.simplefilter("ignore", MainModuleWarning)
        module = importlib.import_module(user)
    assert module.used.__version__ == "0.5"


@pytest.mark.filterwarnings("ignore::omnipkg_meta.errors.MainModuleWarning")
def test_the_users_own_module_first_imported_inside_a_scope_is_bound_to_main(
    world: World, name: str
) -> None:
    user = mine(
        world,
        f"""
        import {name} as used
        from importlib import metadata
        version = metadata.version("{name}")

        def later():
            import {name}
            return {name}.__version__
        """,
    )
    with om.use(f"{name}==1.0"):
        module = importlib.import_module(user)
        # Its body ran outside of the scope, and what is called inside of it is inside.
        assert module.later() == "1.0"
    assert (module.used.__version__, module.version, module.later()) == ("0.5", "0.5", "0.5")


@pytest.mark.filterwarnings("ignore::omnipkg_meta.errors.MainModuleWarning")
def test_what_that_module_imports_in_turn_is_bound_to_main_too(world: World, name: str) -> None:
    inner = mine(world, f"import {name} as used\n")
    outer = mine(world, f"import {inner} as inner\nimport {name} as used\n")
    with om.use(f"{name}==1.0"):
        module = importlib.import_module(outer)
    assert module.used is module.inner.used is importlib.import_module(name)


def test_a_scope_that_such_a_module_enters_itself_is_in_force(world: World, name: str) -> None:
    user = mine(
        world,
        f"""
        import omnipkg_meta as om
        before = om.current()
        with om.use("{name}==1.0"):
            import {name} as used
        """,
    )
    with om.use(f"{name}==1.0"):
        module = importlib.import_module(user)
    assert module.used.__version__ == "1.0"
    assert module.before is om.main


def test_a_submodule_of_main_first_imported_inside_a_scope_is_bound_to_main(
    world: World, name: str
) -> None:
    user = world.name("installed")
    world.install(
        world.wheel(
            user,
            "1.0",
            {f"{user}/__init__.py": "", f"{user}/sub.py": f"import {name} as used\n"},
            requires=[name],
        )
    )
    package = importlib.import_module(user)
    with om.use(f"{name}==1.0"):
        importlib.import_module(f"{user}.sub")
    assert package.sub.used.__version__ == "0.5"


def test_a_module_of_main_that_fails_inside_a_scope_leaves_the_scope_as_it_was(
    world: World, name: str
) -> None:
    user = mine(world, "raise ValueError('half way')\n")
    with om.use(f"{name}==1.0") as scope:
        with pytest.raises(ValueError, match="half way"):
            importlib.import_module(user)
        assert user not in sys.modules
        assert om.current() is scope
        assert seen(name) == "1.0"


# -- loaders ---------------------------------------------------------------------


def test_the_loader_of_a_module_of_main_is_the_original_one(world: World, name: str) -> None:
    user = installed(world, name)
    with om.use(f"{name}==1.0"):
        module = importlib.import_module(user)
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert importlib.reload(module) is module
    assert importlib.util.find_spec(user) is module.__spec__
    del sys.modules[user]
    with om.use(f"{name}==1.0"):
        spec = importlib.util.find_spec(user)
    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_source(user).startswith("import")  # type: ignore[attr-defined]


def test_a_module_of_main_sees_its_own_loader_while_it_is_executed(world: World, name: str) -> None:
    user = installed(
        world, name, "loader, same = type(__loader__).__name__, __spec__.loader is __loader__\n"
    )
    with om.use(f"{name}==1.0"):
        module = importlib.import_module(user)
    assert (module.loader, module.same) == ("SourceFileLoader", True)


def test_a_module_of_main_that_is_loaded_lazily_is_bound_to_main(world: World, name: str) -> None:
    user = installed(world, name)
    with om.use(f"{name}==1.0"):
        spec = importlib.util.find_spec(user)
        assert spec is not None
        assert spec.loader is not None
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules[user] = module
        spec.loader.exec_module(module)
        assert module.used.__version__ == "0.5"
    del sys.modules[user]


class _Finder:
    """Finds one module, by a loader of one's own."""

    def __init__(self, name: str, loader: Any) -> None:
        self._name = name
        self._loader = loader

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        return importlib.machinery.ModuleSpec(name, self._loader) if name == self._name else None


@pytest.fixture
def meta_path() -> Iterator[list[Any]]:
    before = list(sys.meta_path)
    yield sys.meta_path
    sys.meta_path[:] = before


@pytest.mark.skipif(
    not hasattr(importlib._bootstrap, "_load_backward_compatible"),
    reason="this Python knows no load_module any more",
)
def test_a_loader_that_only_has_load_module_loads_into_main(
    name: str, world: World, meta_path: list[Any]
) -> None:
    class Legacy:
        def load_module(self, fullname: str) -> ModuleType:
            module = sys.modules[fullname] = ModuleType(fullname)
            module.__loader__ = self
            exec(f"import {name} as used", vars(module))  # noqa: S102  # as a loader does
            return module

    user, loader = world.name("legacy"), Legacy()
    meta_path.insert(0, _Finder(user, loader))
    with om.use(f"{name}==1.0"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importlib's own, about load_module, and ours
        module = importlib.import_module(user)
    assert module.used.__version__ == "0.5"
    assert module.__loader__ is loader
    assert module.__spec__ is not None
    assert module.__spec__.loader is loader  # type: ignore[comparison-overlap]


def test_a_loader_may_create_a_module_of_its_own_kind(
    name: str, world: World, meta_path: list[Any]
) -> None:
    class Kind(ModuleType):
        pass

    class Loader(importlib.abc.Loader):
        def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
            return Kind(spec.name)

        def exec_module(self, module: ModuleType) -> None:
            vars(module)["used"] = importlib.import_module(name)

    user, loader = world.name("kind"), Loader()
    meta_path.insert(0, _Finder(user, loader))
    with om.use(f"{name}==1.0"), warnings.catch_warnings():
        warnings.simplefilter("ignore", MainModuleWarning)
        module = importlib.import_module(user)
    assert type(module) is Kind
    assert module.__loader__ is loader


# -- nothing of a bubble is left in main -----------------------------------------


def test_no_module_of_main_refers_to_a_module_of_a_bubble_afterwards(
    world: World, name: str
) -> None:
    other = world.name()
    world.make(
        other,
        "1.0",
        {f"{other}/__init__.py": f"import json, {name}\n", f"{other}/sub.py": "import logging\n"},
    )
    users = [installed(world, name), installed(world, name)]
    importlib.import_module(users[0])
    with om.use(f"{name}==1.0"), om.use(f"{other}==1.0"):
        inside = [importlib.import_module(one) for one in (name, other, f"{other}.sub")]
        importlib.import_module(users[1])
    assert all(hasattr(one, "__bubble__") for one in inside)
    for one in inside:
        namespaces = [holder for holder in gc.get_referrers(one) if "__name__" in holder]
        holders = {holder["__name__"] for holder in namespaces if "__bubble__" not in holder}
        assert holders == set()


def test_a_module_of_main_is_not_set_as_an_attribute_of_a_bubbles_package(world: World) -> None:
    name = world.name()
    world.install(
        world.wheel(name, "0.5", {f"{name}/__init__.py": "", f"{name}/only_in_main.py": ""})
    )
    bubble = world.make(name, "1.0", {f"{name}/__init__.py": "", f"{name}/only_inside.py": ""})
    package = importlib.import_module(name)
    with om.use(bubble):
        inside = importlib.import_module(name)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.only_in_main")
        importlib.import_module(f"{name}.only_inside")
    importlib.import_module(f"{name}.only_in_main")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{name}.only_inside")
    assert not hasattr(inside, "only_in_main")
    assert not hasattr(package, "only_inside")


# -- the warning -----------------------------------------------------------------


def test_the_users_own_module_that_gets_mains_inside_a_scope_is_warned_about(
    world: World, name: str
) -> None:
    user = mine(world, f"import {name} as used\n")
    with om.use(f"{name}==1.0"), pytest.warns(MainModuleWarning) as caught:
        importlib.import_module(user)
    (warning,) = caught
    assert user in str(warning.message)
    assert name in str(warning.message)
    assert f'adopt=["{user}"]' in str(warning.message)


def test_the_warning_comes_once_for_a_module_and_a_name(world: World, name: str) -> None:
    other = world.name()
    world.versions(other, "1.0", main="0.5")
    user = mine(
        world,
        f"""
        for _ in range(3):
            import {name}
            import {name} as again
        import {other}
        """,
    )
    with om.use(f"{name}==1.0"), om.use(f"{other}==1.0"), pytest.warns(MainModuleWarning) as caught:
        importlib.import_module(user)
    assert len(caught) == 2
    assert [name in str(one.message) for one in caught] == [True, False]
    del sys.modules[user]
    with om.use(f"{name}==1.0"), warnings.catch_warnings(record=True) as again:
        warnings.simplefilter("always")
        importlib.import_module(user)
    assert [one for one in again if issubclass(one.category, MainModuleWarning)] == []


def test_there_is_no_warning_where_there_is_no_surprise(world: World, name: str) -> None:
    lacked = world.name()
    world.versions(lacked, "1.0", main="0.5")
    declared = installed(world, name)
    unrelated = mine(world, f"import json, {lacked}\n")
    before = mine(world, f"import {name}\n")
    importlib.import_module(before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with om.use(f"{name}==1.0"):
            for one in (declared, unrelated, before):
                importlib.import_module(one)
        with om.use(f"{name}==1.0"), om.use(om.main):
            importlib.import_module(mine(world, f"import {name}\n"))


def test_a_warning_that_is_an_error_does_not_break_the_import_for_good(
    world: World, name: str
) -> None:
    user = mine(world, f"import {name} as used\n")
    with warnings.catch_warnings(), om.use(f"{name}==1.0"):
        warnings.simplefilter("error", MainModuleWarning)
        with pytest.raises(MainModuleWarning):
            importlib.import_module(user)
        assert user not in sys.modules
    assert importlib.import_module(user).used.__version__ == "0.5"
