"""Packages that import by a string on behalf of the user, and what says where code comes from."""

from __future__ import annotations

import importlib
import importlib.resources
import inspect
import linecache
import logging
import logging.config
import pkgutil
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import MainModuleWarning
from tests.test_threads import together
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from types import ModuleType

    from tests.worlds import World

#: As Django: settings are named by a string, and name further modules by strings.
FRAMEWORK = """
    import importlib
    __version__ = "VERSION"
    _settings = None

    def configure(name):
        settings = importlib.import_module(name)
        return [resolve(path) for path in settings.MIDDLEWARE]

    def resolve(path):
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)

    class Base:
        version = __version__
    """


@pytest.fixture
def framework(world: World) -> str:
    name = world.name("framework")
    world.versions(name, "1.0", "2.0", main="0.5", files={f"{name}.py": FRAMEWORK})
    return name


def site(world: World, framework: str, imports: str) -> str:
    """Write the user's site: settings, and a module with the classes that they name."""
    name = world.name("site")
    (world.main / name).mkdir()
    world.module(f"{name}/__init__", "")
    world.module(
        f"{name}/settings",
        f"MIDDLEWARE = ['{name}.middleware.Mine', '{framework}.Base']\n",
    )
    world.module(f"{name}/middleware", imports)
    return name


def test_settings_by_string_are_the_users_module_and_name_the_frameworks_own_version(
    world: World, framework: str
) -> None:
    name = site(world, framework, "class Mine:\n    pass\n")
    found = {}
    for version in ("1.0", "2.0"):
        with om.use(f"{framework}=={version}"):
            module = importlib.import_module(framework)
            found[version] = module, module.configure(f"{name}.settings")
    for version, (module, (mine, base)) in found.items():
        assert base is module.Base
        assert base.version == version
        assert mine is importlib.import_module(f"{name}.middleware").Mine
        assert together(lambda m=module: m.configure(f"{name}.settings")) == [[mine, base]]  # type: ignore[misc]


def test_an_adopted_site_is_found_by_string_by_the_framework_in_its_bubble(
    world: World, framework: str
) -> None:
    name = site(world, framework, f"from {framework} import Base\nclass Mine(Base):\n    pass\n")
    barrier = threading.Barrier(2, timeout=60)

    def configure(version: str) -> tuple[str, bool]:
        with om.use(f"{framework}=={version}", adopt=[name]):
            module = importlib.import_module(framework)
            barrier.wait()
            mine, base = module.configure(f"{name}.settings")
            assert mine is importlib.import_module(f"{name}.middleware").Mine
            return mine.version, issubclass(mine, base)

    assert together(lambda: configure("1.0"), lambda: configure("2.0")) == [
        ("1.0", True),
        ("2.0", True),
    ]
    in_main = importlib.import_module(framework).configure(f"{name}.settings")
    assert [one.version for one in in_main] == ["0.5", "0.5"]
    # Without adoption the site is main's, and says so.
    other = site(world, framework, f"from {framework} import Base\nclass Mine(Base):\n    pass\n")
    with om.use(f"{framework}==1.0"), pytest.warns(MainModuleWarning, match="adopt="):
        mine, base = importlib.import_module(framework).configure(f"{other}.settings")
    assert (mine.version, base.version) == ("0.5", "1.0")


def test_logging_is_configured_by_strings_with_what_the_caller_sees(world: World) -> None:
    name = world.name("handlers")
    text = "import logging\nversion = 'VERSION'\nclass Handler(logging.NullHandler):\n    pass\n"
    text += "def make():\n    return Handler()\n"
    world.versions(name, "1.0", "2.0", main="0.5", files={f"{name}.py": text})

    def configure(kind: str) -> type:
        handler = {"class": f"{name}.Handler"} if kind == "class" else {"()": f"{name}.make"}
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"h": handler},
                "loggers": {name: {"handlers": ["h"]}},
            }
        )
        logger = logging.getLogger(name)
        (made,), logger.handlers = logger.handlers, []
        return type(made)

    for kind in ("class", "factory"):
        for source in (f"{name}==1.0", om.main, f"{name}==2.0"):
            with om.use(source):
                assert configure(kind) is importlib.import_module(name).Handler
        assert configure(kind) is importlib.import_module(name).Handler


@pytest.fixture
def failing(world: World) -> list[ModuleType]:
    """Modules of one name that fail in different lines: main's and those of two bubbles."""
    name = world.name("failing")
    found = []
    for index, version in enumerate(("0.5", "1.0", "2.0")):
        text = "\n" * index + f"def fail():\n    raise RuntimeError('{version}')  # of {version}\n"
        text += "\ndef warn():\n    import warnings\n    warnings.warn('once', UserWarning)\n"
        wheel = world.wheel(name, version, {f"{name}.py": text})
        if version == "0.5":
            world.install(wheel)
            found.append(importlib.import_module(name))
        else:
            found.append(om.load(world.bubble(wheel), name=name))
    return found


@pytest.mark.parametrize("inside", [None, 1, 2])
def test_tracebacks_and_sources_are_those_of_the_version_that_ran(
    failing: list[ModuleType], inside: int | None
) -> None:
    name = failing[0].__name__
    with om.use(om.main if inside is None else f"{name}=={inside}.0"):
        for module, version in zip(failing, ("0.5", "1.0", "2.0"), strict=True):
            with pytest.raises(RuntimeError) as caught:
                module.fail()
            text = "".join(traceback.format_exception(caught.value))
            assert f"# of {version}" in text
            assert str(module.__file__) in text
            assert inspect.getsource(module.fail).endswith(f"# of {version}\n")
            assert inspect.getmodule(module.fail).__name__ == name  # type: ignore[union-attr]
            code = module.fail.__code__
            linecache.checkcache()
            line = linecache.getline(code.co_filename, code.co_firstlineno + 1)
            assert f"# of {version}" in line


def test_a_warning_that_one_version_gave_once_is_given_once_by_the_other(
    failing: list[ModuleType],
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter("default")
        for module in failing * 2:
            module.warn()
    assert [one.filename for one in caught] == [module.__file__ for module in failing]


def test_resources_as_files_are_those_of_whoever_looks(world: World) -> None:
    name = world.name()
    files = {
        f"{name}/__init__.py": """
            import importlib.resources, pkgutil

            def own():
                with importlib.resources.as_file(
                    importlib.resources.files("PKG") / "data" / "one.txt"
                ) as path:
                    return path.read_text(), pkgutil.get_data("PKG.sub", "two.txt").decode()
            """.replace("PKG", name),
        f"{name}/data/one.txt": "VERSION",
        f"{name}/sub/__init__.py": "",
        f"{name}/sub/two.txt": "VERSION",
    }
    world.versions(name, "1.0", "2.0", main="0.5", files=files)
    sources: list[tuple[Any, str]] = [(om.main, "0.5")]
    sources += [(f"{name}=={version}", version) for version in ("1.0", "2.0")]
    loaded = []
    for source, version in sources:
        with om.use(source):
            loaded.append((importlib.import_module(name), version))
            folder = importlib.resources.files(f"{name}.data")  # a folder without __init__
            with importlib.resources.as_file(folder / "one.txt") as path:
                assert path.read_text() == version
            assert pkgutil.get_data(f"{name}.sub", "two.txt") == version.encode()
            assert pkgutil.resolve_name(f"{name}.sub:__name__") == f"{name}.sub"
    for module, version in loaded:
        assert module.own() == (version, version)
        assert together(module.own) == [(version, version)]
    assert name in sys.modules
