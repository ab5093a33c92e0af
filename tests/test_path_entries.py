"""Entries of ``sys.path`` that lie in a bubble: for that bubble's code, and never for main's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: As cv2 does: its own directory goes on ``sys.path``, where a module of the package's
#: own name is found, and a mark on ``sys`` says that this is under way.
ITSELF = {
    "cv2/__init__.py": """
        import copy, importlib, os, sys
        before = copy.copy(sys.path)
        if hasattr(sys, "OpenCV_LOADER"):
            raise ImportError("recursion is detected")
        sys.OpenCV_LOADER = True
        sys.path.insert(1, os.path.dirname(os.path.realpath(__file__)))
        package = sys.modules.pop("cv2")
        native = importlib.import_module("cv2")
        sys.modules["cv2"] = package
        version = native.version
        sys.path = before
        del sys.OpenCV_LOADER
        """,
    "cv2/cv2.py": "import cv2_meets\ncv2_meets.wait()\nversion = 'VERSION'\n",
}


@pytest.mark.parametrize("way", ["threads", "turns"])
def test_a_package_that_finds_itself_again_in_its_own_directory_on_the_path(
    world: World, way: str
) -> None:
    world.versions("cv2", "1.0", "2.0", main="0.5", files=ITSELF)
    world.module(
        "cv2_meets",
        """
        import threading, sys
        both = threading.Event()

        def wait():
            # Within the load: long enough for another copy to look at the mark.
            both.wait(0.2)
        """,
    )
    world.run(
        """
        import sys, threading, omnipkg_meta as om
        path = list(sys.path)
        found = {}

        def load(source, version):
            with om.use(source):
                import cv2
                assert sys.modules["cv2"] is cv2
                found[version] = (cv2.version, cv2.__path__ is not None)

        sources = [(om.main, "0.5"), ("cv2==1.0", "1.0"), ("cv2==2.0", "2.0")]
        threads = [threading.Thread(target=load, args=one) for one in sources]
        for thread in threads:
            thread.start()
            if "WAY" == "turns":
                thread.join()
        for thread in threads:
            thread.join()
        assert found == {version: (version, True) for _, version in sources}, found
        assert sys.path == path
        """.replace("WAY", way)
    )


#: A package that ships a copy of what it needs, and puts that on the path.
VENDORS = {
    "pkg/__init__.py": """
        import os, sys
        sys.path.PLACE
        import vendored, vendored.sub
        assert vendored.version == vendored.sub.version == "VERSION"
        version = vendored.version

        def again():
            import vendored.late
            return vendored.late.version
        """,
    **{
        f"pkg/_vendor/vendored/{label}.py": "version = 'VERSION'\n"
        for label in ("__init__", "sub", "late")
    },
    "pkg/_vendor/both.py": "version = 'VERSION'\n",
    "pkg/_vendor/getopt.py": "version = 'VERSION'\n",
}
DIRECTORY = "os.path.join(os.path.dirname(__file__), '_vendor')"


@pytest.mark.parametrize("place", [f"insert(0, {DIRECTORY})", f"append({DIRECTORY})"])
def test_what_a_bubbles_code_finds_in_its_own_directory_on_the_path_is_its_own(
    world: World, place: str
) -> None:
    files = {path: text.replace("PLACE", place) for path, text in VENDORS.items()}
    world.versions("pkg", "1.0", "2.0", files=files)
    world.module("both", "version = 'main'\n")
    world.run(
        """
        import importlib.util, sys, omnipkg_meta as om
        versions = {v: om.load(f"pkg=={v}") for v in ("1.0", "2.0")}
        for version, pkg in versions.items():
            assert pkg.version == pkg.again() == version
            with om.use(f"pkg=={version}"):
                import vendored
                assert vendored.version == version  # loaded from its file, so its module
                assert vendored.__bubble__ is pkg.__bubble__
                del vendored
        assert "vendored" not in sys.modules
        for statement in ("import vendored", "import vendored.late"):
            try:
                exec(statement)
            except ModuleNotFoundError as error:
                assert error.name == "vendored"
            else:
                raise SystemExit("main was led into a bubble")
        import both, getopt
        assert both.version == "main" and hasattr(getopt, "gnu_getopt")
        """
    )


@pytest.mark.parametrize("in_main", ["nothing", "a portion", "a package"])
def test_a_namespace_package_there_is_joined_with_mains_and_a_package_goes_before_it(
    world: World, in_main: str
) -> None:
    # As setuptools' _vendor holds jaraco.functools.
    files = {
        "pkg/__init__.py": f"""
            import os, sys
            sys.path.append({DIRECTORY})
            import space
            try:
                from space import part
            except ImportError:
                part = None
            def miss():
                try:
                    from space import nowhere
                except ImportError:
                    return True

            def other():
                from space import other
                return other
            """,
        "pkg/_vendor/space/part.py": "from space import more\nversion = 'VERSION'\n",
        "pkg/_vendor/space/more.py": "",
    }
    world.versions("pkg", "1.0", "2.0", files=files)
    if in_main != "nothing":
        portion = {"space/other.py": "", **({"space/__init__.py": ""} if "pack" in in_main else {})}
        world.install(world.wheel("space-other", "0.5", portion))
    world.run(
        """
        import sys, omnipkg_meta as om
        packages = {}
        for version in ("1.0", "2.0"):
            with om.use(f"pkg=={version}"):
                import pkg
                if sys.argv[1] == "nothing":
                    assert pkg.miss()
            packages[version] = pkg
        assert sys.argv[1] != "nothing" or "space" not in sys.modules
        for version, pkg in packages.items():
            if sys.argv[1] == "a package":
                assert pkg.part is None
            else:
                assert pkg.part.version == version and pkg.part.__bubble__ is pkg.__bubble__
            if sys.argv[1] != "nothing":
                assert pkg.other().__file__ == sys.modules["space.other"].__file__
        if sys.argv[1] != "nothing":
            import space.other
        try:
            import space.part
        except ModuleNotFoundError:
            pass
        else:
            raise SystemExit("main was led into a bubble")
        """,
        in_main,
    )


def test_threads_that_look_for_it_at_once_get_it_whole(world: World) -> None:
    files = {
        "pkg/__init__.py": f"""
            import os, sys
            sys.path.insert(0, {DIRECTORY})

            def load():
                import vendored
                assert vendored.ready
                return vendored
            """,
        "pkg/_vendor/vendored.py": "import loads\nloads.note('VERSION')\nready = True\n",
    }
    world.versions("pkg", "1.0", "2.0", files=files)
    world.module(
        "loads",
        """
        import threading
        begun = {version: threading.Event() for version in ("1.0", "2.0")}
        never, count = threading.Event(), []

        def note(version):
            count.append(version)
            begun[version].set()
            never.wait(0.5)  # while the others look for it, too
        """,
    )
    world.run(
        """
        import threading, omnipkg_meta as om, loads
        packages = {version: om.load(f"pkg=={version}") for version in ("1.0", "2.0")}
        found = []

        def load(version, late):
            if late:
                # The first one began while nobody claimed the name; by now it is claimed.
                loads.begun[version].wait()
            found.append((packages[version], packages[version].load()))

        threads = [
            threading.Thread(target=load, args=(version, late))
            for late in (False, True, True)
            for version in packages
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(loads.count) == ["1.0", "2.0"], loads.count
        assert len(found) == 6 and len({id(module) for _, module in found}) == 2
        for package, module in found:
            assert module.__bubble__ is package.__bubble__
        """
    )


def test_code_of_main_in_a_scope_loads_from_a_directory_of_the_bubble_into_the_bubble(
    world: World,
) -> None:
    # As pytest does with the tests that a package ships, whose directory is no package.
    files = {
        "pkg/__init__.py": "version = 'VERSION'\n",
        "pkg/tests/test_it.py": "import pkg, helper\nfound = pkg.version, helper.version\n",
        "pkg/tests/helper.py": "version = 'VERSION'\n",
        "pkg/tests/mine.py": "raise AssertionError\n",
    }
    world.versions("pkg", "1.0", "2.0", main="0.5", files=files)
    world.module("mine", "")
    world.run(
        """
        import importlib, importlib.util, os, sys, omnipkg_meta as om
        for version in ("1.0", "2.0"):
            with om.use(f"pkg=={version}"):
                import pkg
                sys.path.insert(0, os.path.join(os.path.dirname(pkg.__file__), "tests"))
                with om.use(om.main):
                    try:
                        import test_it
                    except ModuleNotFoundError:
                        pass
                    else:
                        raise SystemExit("main in the scope")
                module = importlib.import_module("test_it")
                assert module.found == (version, version), module.found
                assert sys.modules["test_it"] is module and module.__bubble__ is pkg.__bubble__
                import mine
                assert "no_such" not in sys.modules
                assert importlib.util.find_spec("no_such") is None
                sys.path.pop(0)
        for name in ("test_it", "helper"):
            assert name not in sys.modules
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                pass
            else:
                raise SystemExit(name)
        """
    )


def test_a_bubble_that_is_laid_over_main_shows_main_what_its_code_put_on_the_path(
    world: World,
) -> None:
    text = f"import os, sys\nsys.path.insert(0, {DIRECTORY})\n"
    files = {"pkg/__init__.py": text, "pkg/_vendor/vendored.py": "version = 'VERSION'\n"}
    world.versions("pkg", "1.0", files=files)
    world.run(
        """
        import omnipkg_meta as om
        om.activate("pkg==1.0")
        import pkg, vendored
        assert vendored.version == "1.0" and vendored.__bubble__ is pkg.__bubble__
        """
    )


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_store_that_is_reached_by_a_link_has_the_same_entries(world: World) -> None:
    world.versions("cv2", "1.0", files=ITSELF)
    world.module("cv2_meets", "def wait(): pass")
    store = world.path / "store"
    store.rename(world.path / "elsewhere")
    store.symlink_to(world.path / "elsewhere")
    world.run(
        """
        import omnipkg_meta as om
        with om.use("cv2==1.0"):
            import cv2
            assert cv2.version == "1.0" and cv2.native.__bubble__ is cv2.__bubble__
        """
    )


def test_the_metadata_of_a_bubble_on_the_path_is_no_metadata_of_mains(world: World) -> None:
    files = {
        "wanders/__init__.py": """
            import os, sys
            sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
            """
    }
    world.versions("wanders", "1.0", "2.0", main="0.5", files=files)
    world.versions("strays", "3.0", files={"strays/__init__.py": files["wanders/__init__.py"]})
    world.run(
        """
        import sys
        from importlib import metadata
        import omnipkg_meta as om

        def seen():
            names = ("wanders", "strays")
            found = [one for one in metadata.distributions() if one.metadata["Name"] in names]
            return sorted((one.metadata["Name"], one.version) for one in found)

        def version(name):
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                return None

        with om.use("wanders==1.0"):
            import wanders
            assert seen() == [("wanders", "1.0")], seen()
        with om.use("strays"):
            import strays
            assert seen() == [("strays", "3.0"), ("wanders", "0.5")], seen()
            assert version("wanders") == "0.5"
        assert sum("store" in entry for entry in sys.path) == 2
        assert seen() == [("wanders", "0.5")], seen()
        assert (version("wanders"), version("strays")) == ("0.5", None)
        assert metadata.packages_distributions().get("strays") is None
        om.uninstall_hooks()
        assert version("strays") == "3.0"  # plain Python looks wherever the path leads
        """
    )
