"""Packages that do something of their own with ``sys.modules`` and with their attributes.

Each is in main and in two bubbles; each is looked at by the user and by its own
code, during the scope and after it, in this thread and in another one.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.test_threads import together
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: A submodule that is loaded late, and says which version it is.
LATE = {
    "PKG/late.py": "from PKG import marker\nversion = 'VERSION'\nassert marker == version\n",
    "PKG/user.py": """
        def lazily():
            import PKG
            return PKG.late.version

        def by_statement():
            from PKG import late
            return late.version

        def by_name():
            import importlib, sys
            name = "PKG.late"
            assert sys.modules.get(name, importlib.import_module(name)) is sys.modules[name]
            return importlib.import_module(name).version
        """,
}

#: Ways in which a package makes ``package.late`` load when it is touched.
STYLES = {
    "PEP 562": {
        "PKG/__init__.py": """
            import importlib
            marker = "VERSION"

            def __getattr__(name):
                if name == "late":
                    return importlib.import_module("." + name, __name__)
                raise AttributeError(name)
            """,
    },
    "lazy_loader": {
        "PKG/__init__.py": """
            from .loading import attach
            marker = "VERSION"
            __getattr__, __dir__, __all__ = attach(__name__, ["late"])
            """,
        "PKG/loading.py": """
            import importlib, sys

            def attach(package, submodules):
                def __getattr__(name):
                    if name not in submodules:
                        raise AttributeError(name)
                    found = importlib.import_module(f"{package}.{name}")
                    sys.modules[package].__dict__[name] = found
                    return found
                return __getattr__, lambda: submodules, submodules
            """,
    },
    "apipkg": {
        "PKG/__init__.py": """
            from PKG.loading import initpkg
            initpkg(__name__, {"late": "PKG.late", "marker": "PKG.marking:marker"})
            """,
        "PKG/marking.py": "marker = 'VERSION'\n",
        "PKG/loading.py": """
            import sys
            from types import ModuleType

            def initpkg(name, exports):
                old = sys.modules[name]
                new = ApiModule(name)
                vars(new).update({key: value for key, value in vars(old).items()
                                  if key.startswith("__")})
                new.exports = exports
                sys.modules[name] = new

            class ApiModule(ModuleType):
                def __getattr__(self, name):
                    try:
                        module, _, attribute = vars(self)["exports"][name].partition(":")
                    except KeyError:
                        raise AttributeError(name) from None
                    found = __import__(module, None, None, ["__doc__"])
                    found = getattr(found, attribute) if attribute else found
                    setattr(self, name, found)
                    return found
            """,
    },
    "another class": {
        "PKG/__init__.py": """
            import sys, types
            marker = "VERSION"

            class Lazy(types.ModuleType):
                def __getattribute__(self, name):
                    if name == "late" and "late" not in object.__getattribute__(self, "__dict__"):
                        __import__("PKG.late")
                    return super().__getattribute__(name)

            sys.modules[__name__].__class__ = Lazy
            """,
    },
    "replaced by a module": {
        "PKG/__init__.py": """
            import sys, types
            marker = "VERSION"

            class Lazy(types.ModuleType):
                @property
                def late(self):
                    import importlib
                    vars(self).pop("late", None)
                    return importlib.import_module("PKG.late")

                @late.setter
                def late(self, value):
                    assert value.version == self.marker

            new = Lazy(__name__)
            vars(new).update(globals())
            sys.modules[__name__] = new
            """,
    },
    "replaced by an object in the middle of its import": {
        "PKG/__init__.py": """
            import sys

            class Package:
                marker = "VERSION"
                __path__, __name__, __spec__ = __path__, __name__, __spec__

                def __getattr__(self, name):
                    if name != "late":
                        raise AttributeError(name)
                    from importlib import import_module
                    return import_module("PKG.late")

            sys.modules[__name__] = Package()
            import PKG.early
            from PKG import early as again
            assert again is sys.modules["PKG.early"] is sys.modules[__name__].early
            """,
        "PKG/early.py": "from PKG import marker\n",
    },
    "made by update": {
        "PKG/__init__.py": """
            import sys, types
            marker = "VERSION"
            made = types.ModuleType("PKG.late")
            made.version = marker
            sys.modules.update({"PKG.late": made})
            late = made
            del made
            """,
    },
    "six": {
        "PKG/__init__.py": """
            import sys, types
            from importlib.machinery import ModuleSpec
            marker = "VERSION"

            class Moved(types.ModuleType):
                __path__ = []

                @property
                def version(self):
                    from PKG import marker
                    return marker

            class Importer:
                def __init__(self):
                    self.known = {"PKG.late": Moved("PKG.late")}

                def find_spec(self, fullname, path=None, target=None):
                    return ModuleSpec(fullname, self) if fullname in self.known else None

                def find_module(self, fullname, path=None):
                    return self if fullname in self.known else None

                def create_module(self, spec):
                    return self.known[spec.name]

                def exec_module(self, module):
                    pass

            for index, importer in enumerate(sys.meta_path):
                if type(importer).__name__ == "Importer":
                    del sys.meta_path[index]
                    break
            importer = Importer()
            sys.meta_path.append(importer)
            late = importer.known["PKG.late"]
            """,
    },
}


@pytest.fixture(params=STYLES)
def package(world: World, request: pytest.FixtureRequest) -> Any:
    """The name of a package of one style, in main (0.5) and in two bubbles (1.0 and 2.0)."""
    before = list(sys.meta_path)
    name = world.name()
    files = {**LATE, **STYLES[request.param]}
    world.versions(
        name,
        "1.0",
        "2.0",
        main="0.5",
        files={
            path.replace("PKG", name): text.replace("PKG", name) for path, text in files.items()
        },
    )
    yield name
    sys.meta_path[:] = before


def users_look(name: str) -> str:
    """Look at what is late, in each way that the user has."""
    by_attribute: dict[str, Any] = {"__name__": __name__}
    exec(f"import {name}; found = {name}.late.version", by_attribute)  # noqa: S102
    by_from: dict[str, Any] = {"__name__": __name__}
    exec(f"from {name} import late, marker", by_from)  # noqa: S102
    module = importlib.import_module(f"{name}.late")
    assert by_from["late"] is module is sys.modules[f"{name}.late"]
    assert by_attribute["found"] == by_from["marker"] == module.version
    return str(module.version)


@pytest.mark.parametrize("order", ["main first", "bubbles first"])
def test_what_loads_late_is_of_the_same_version_whoever_looks(package: str, order: str) -> None:
    sources: list[tuple[Any, str]] = [
        (om.main, "0.5"),
        (f"{package}==1.0", "1.0"),
        (f"{package}==2.0", "2.0"),
    ]
    users = {}
    for source, version in sources if order == "main first" else sources[::-1]:
        with om.use(source):
            importlib.import_module(package)
            users[version] = importlib.import_module(f"{package}.user")
    # Its own code: after the scope, in the scope of another one, in another thread.
    for version, user in users.items():
        for function in (user.lazily, user.by_statement, user.by_name):
            assert function() == version
            assert together(function) == [version]
            with om.use(f"{package}==1.0"):
                assert function() == version

    def look(source: Any) -> str:
        with om.use(source):
            return users_look(package)

    for source, version in sources:
        assert look(source) == version
    calls = [functools.partial(look, source) for source, _ in sources]
    assert together(*calls) == ["0.5", "1.0", "2.0"]
    assert users_look(package) == "0.5"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="finders of PEP 302 are asked up to 3.11")
def test_finders_of_pep_302_that_bubbles_bring_along_are_kept_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    name = world.name()
    text = f"""
        import sys, types

        class Importer:
            def find_module(self, fullname, path=None):
                return self if fullname == "{name}.made" else None

            def load_module(self, fullname):
                module = sys.modules.setdefault(fullname, types.ModuleType(fullname))
                module.version = "VERSION"
                module.__loader__ = self
                return module

        sys.meta_path.append(Importer())
        __path__ = []
        """
    world.versions(name, "1.0", "2.0", main="0.5", files={f"{name}.py": text})
    sources: list[tuple[Any, str]] = [
        (f"{name}==2.0", "2.0"),
        (om.main, "0.5"),
        (f"{name}==1.0", "1.0"),
    ]
    for source, _ in sources:
        with om.use(source):
            importlib.import_module(name)
    for source, version in sources:
        with om.use(source), warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)
            assert importlib.import_module(f"{name}.made").version == version


def test_a_module_taken_out_of_the_table_is_imported_anew_on_the_side_of_who_did(
    world: World,
) -> None:
    name = world.name()
    text = f"""
        import sys

        def again():
            del sys.modules[__name__]
            import {name}
            return {name}

        def popped():
            sys.modules.pop(__name__)
            return __import__(__name__)
        """
    world.versions(name, "1.0", main="0.5", files={f"{name}.py": text})
    outside = importlib.import_module(name)
    inside = om.load(f"{name}==1.0")
    for function in ("again", "popped"):
        new = getattr(inside, function)()
        assert new is not inside
        assert new.__bubble__ is inside.__bubble__
        assert om.load(f"{name}==1.0") is new
        assert sys.modules[name] is outside
        inside = new
    with om.use(f"{name}==1.0"):
        del sys.modules[name]
        newest = importlib.import_module(name)
        assert newest is not inside
    assert sys.modules[name] is outside
    del sys.modules[name]
    assert importlib.import_module(name) is not outside
    assert om.load(f"{name}==1.0") is newest


@pytest.mark.parametrize("part", ["", ".sub"])
def test_reloading_by_a_bubbles_own_code_after_the_scope_and_in_a_thread(
    world: World, part: str
) -> None:
    name = world.name()
    files = {
        f"{name}/__init__.py": "runs = globals().get('runs', 0) + 1\nversion = 'VERSION'\n",
        f"{name}/sub.py": "runs = globals().get('runs', 0) + 1\nversion = 'VERSION'\n",
        f"{name}/tool.py": """
            import importlib

            def reload(name):
                return importlib.reload(importlib.import_module(name))
            """,
    }
    world.versions(name, "1.0", main="0.5", files=files)
    tools = [importlib.import_module(f"{name}.tool")]
    with om.use(f"{name}==1.0"):
        tools.append(importlib.import_module(f"{name}.tool"))
        module = importlib.import_module(name + part)
    for tool, version in zip(tools, ("0.5", "1.0"), strict=True):
        first = tool.reload(name + part)
        (second,) = together(functools.partial(tool.reload, name + part))
        assert first is second
        assert (first.version, first.runs) == (version, 3)
    assert module.runs == 3
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
