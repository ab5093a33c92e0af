"""``.pth`` files in a bubble: what stays inside of it counts, and nothing else ever happens."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import PathFileWarning
from tests.test_threads import together
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World


def test_a_path_line_that_stays_inside_adds_a_directory_to_the_bubble(world: World) -> None:
    # As pywin32 does: its modules lie in directories that a .pth file names.
    name, inner, deep = world.name(), world.name("inner"), world.name("deep")
    files = {
        f"{name}.pth": f"# where it is\n\n{name}_lib\n./{name}_lib/deep\nno_such_directory\n",
        f"{name}_lib/{inner}.py": f"""
            version = "1.0"

            def later():
                import {deep}
                return {deep}.version
            """,
        f"{name}_lib/deep/{deep}/__init__.py": f"from {inner} import version\n",
        f"{name}.py": "",
    }
    bubble = world.make(name, "1.0", files)
    world.install(world.wheel(inner, "0.5", {f"{inner}.py": "version = '0.5'\n"}))
    before = list(sys.path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with om.use(bubble):
            module = importlib.import_module(inner)
            assert module.version == "1.0"
            assert module.__bubble__ is bubble
    assert module.later() == "1.0"
    assert together(module.later) == ["1.0"]
    assert sys.path == before
    assert importlib.import_module(inner).version == "0.5"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(deep)


@pytest.mark.parametrize("line", ["../../..", "{outside}", "a_link"])
def test_a_path_line_that_leads_outside_is_ignored_and_named(world: World, line: str) -> None:
    name, other = world.name(), world.name("other")
    outside = world.path / "outside"
    outside.mkdir()
    (outside / f"{other}.py").write_text("")
    bubble = world.make(name, "1.0", {f"{name}.py": "", "leading.pth": f"{line}\n"})
    (bubble.site_packages / "leading.pth").write_text(line.format(outside=outside) + "\n")
    (bubble.site_packages / "a_link").symlink_to(outside)
    with pytest.warns(PathFileWarning, match=r"leading\.pth"), om.use(bubble):
        importlib.import_module(name)
    with om.use(bubble), pytest.raises(ModuleNotFoundError):
        importlib.import_module(other)


def test_a_line_that_would_be_executed_is_not_and_is_named_once(world: World) -> None:
    name, ran = world.name(), world.name("ran")
    lines = f"import sys; sys.modules['{ran}'] = sys\nimport\tos; os.environ['{ran}'] = '1'\n"
    bubble = world.make(name, "1.0", {f"{name}.py": "", "starting.pth": lines})
    with pytest.warns(PathFileWarning, match=r"starting\.pth") as caught, om.use(bubble):
        importlib.import_module(name)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with om.use(bubble):
            assert ran not in sys.modules


@pytest.mark.parametrize("stem", ["{name}-1.0-nspkg", "distutils-precedence"])
def test_what_setuptools_puts_there_is_not_needed_and_not_named(world: World, stem: str) -> None:
    name = world.name("space")
    line = (
        "import sys, types, os;p = os.path.join(sys._getframe(1).f_locals['sitedir'], "
        f"*('{name}',));m = sys.modules.setdefault('{name}', types.ModuleType('{name}'));"
        "mp = m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)\n"
    )
    files = {f"{stem.format(name=name)}.pth": line, f"{name}/part.py": "version = '1.0'\n"}
    bubble = world.make(f"{name}-part", "1.0", files)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with om.use(bubble):
            assert importlib.import_module(f"{name}.part").version == "1.0"
    assert name not in sys.modules


def test_a_namespace_that_setuptools_made_at_the_start_of_main_is_joined(world: World) -> None:
    name = world.name("space")
    line = (
        f"import sys, types, os;p = os.path.join({str(world.main)!r}, *('{name}',));"
        f"m = sys.modules.setdefault('{name}', types.ModuleType('{name}'));"
        "mp = m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)"
    )
    world.install(world.wheel(f"{name}-one", "0.5", {f"{name}/one.py": "version = '0.5'\n"}))
    bubble = world.make(f"{name}-two", "1.0", {f"{name}/two.py": "version = '1.0'\n"})
    done = world.run(
        f"""
        exec({line!r})
        import omnipkg_meta as om
        with om.use(om.Bubble.open({str(bubble.path)!r})):
            from {name} import one, two
            import {name}.one as same
        import {name}.one
        print(one is same is {name}.one, one.version, two.version, hasattr({name}, "two"))
        """
    )
    assert done.stdout.split() == ["True", "0.5", "1.0", "False"]


#: As setuptools: it takes ``distutils`` over, by a finder that is there from the start.
SETUPTOOLS = {
    "distutils-precedence.pth": "import os; __import__('_distutils_hack').add_shim();\n",
    "_distutils_hack/__init__.py": """
        import importlib, importlib.abc, importlib.util, sys

        class Finder:
            def find_spec(self, fullname, path=None, target=None):
                if path is None and fullname == "distutils":
                    module = importlib.import_module("setuptools._distutils")

                    class Loader(importlib.abc.Loader):
                        def create_module(self, spec):
                            module.__name__ = "distutils"
                            return module

                        def exec_module(self, module):
                            pass

                    return importlib.util.spec_from_loader(
                        "distutils", Loader(), origin=module.__file__
                    )

        FINDER = Finder()

        def add_shim():
            FINDER in sys.meta_path or sys.meta_path.insert(0, FINDER)
        """,
    "setuptools/__init__.py": """
        import sys
        import _distutils_hack
        for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
            del sys.modules[name]
        _distutils_hack.add_shim()
        import distutils.core
        assert "_distutils" in distutils.core.__file__
        version = distutils.core.version

        def late():
            import distutils.command
            return distutils.command.version
        """,
    "setuptools/_distutils/__init__.py": "version = 'VERSION'\n",
    "setuptools/_distutils/core.py": "from distutils import version\n",
    "setuptools/_distutils/command.py": "from distutils import version\n",
}


@pytest.mark.parametrize("main", ["0.5", None])
@pytest.mark.parametrize("first", ["setuptools", "distutils"])
def test_the_distutils_that_a_bubbles_setuptools_takes_over_is_the_bubbles(
    world: World, main: str | None, first: str
) -> None:
    bubbles = world.versions("setuptools", "1.0", "2.0", main=main, files=SETUPTOOLS)
    paths = [str(bubble.path) for bubble in bubbles]
    done = world.run(
        f"""
        import importlib, importlib.util, sys, threading
        import omnipkg_meta as om
        sys.path.insert(0, {str(world.main)!r})
        if {main!r}:
            __import__("_distutils_hack").add_shim()
            import setuptools
            assert setuptools.version == "0.5"
        before = sys.modules.get("distutils"), list(sys.meta_path)
        found = []

        def look(path):
            with om.use(om.Bubble.open(path)):
                importlib.import_module({first!r})
                import distutils.core, setuptools
                found.append((setuptools, distutils))

        for path in {paths!r}:
            thread = threading.Thread(target=look, args=(path,))
            thread.start()
            thread.join()
        for setuptools, distutils in found:
            print(setuptools.version, setuptools.late(), distutils.version)
        assert sys.modules.get("distutils") is before[0]
        assert [one for one in sys.meta_path if "omnipkg" not in repr(one)] == before[1]
        """
    )
    assert done.stdout.split() == ["1.0"] * 3 + ["2.0"] * 3
