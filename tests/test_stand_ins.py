"""Functions that somebody puts into the standard library act for their caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: As PyTorch's importer does with ``inspect.getfile``, which looks classes' modules up.
PATCH = """
import inspect
original = inspect.getfile

def getfile(value):
    from patch import own
    asked.append(own.version)
    return original(value)

asked = []
inspect.getfile = getfile
"""
MEETS = PATCH + "meeting.point.wait()\n"
PATCHES = {"patch/__init__.py": PATCH, "patch/own.py": "version = 'VERSION'\n"}

#: A package that both sides have, whose code asks for the file of its class.
OWNER = {
    "owner.py": """
    import inspect
    class Class: pass
    def file(): return inspect.getfile(Class)
    """
}


@pytest.mark.parametrize("side", ["a bubble", "main, before the hooks", "main, after them"])
def test_a_function_in_the_place_of_the_standard_librarys_acts_for_its_caller(
    world: World, side: str
) -> None:
    world.versions("owner", "1.0", "2.0", main="0.5", files=OWNER)
    world.versions("patch", "1.0", main="0.5", files=PATCHES)
    world.versions("later", "1.0")
    world.run(
        f"""
        import inspect, warnings, omnipkg_meta as om
        import owner as main
        warnings.simplefilter("ignore")
        side, version = {side!r}, "0.5"
        if side == "main, before the hooks":
            import patch
        one = om.load("owner==1.0")
        if side == "main, after them":
            with om.use("patch==1.0"):
                pass
            import patch
        if side == "a bubble":
            version, patch = "1.0", om.load("patch==1.0")
        two = om.load("owner==2.0")
        assert inspect.getfile is patch.getfile
        for module in (main, one, two):
            assert module.file() == module.__file__, (module.file(), module.__file__)
        assert inspect.getfile(main.Class) == main.__file__
        with om.use("owner==1.0"):
            assert inspect.getfile(one.Class) == one.__file__
            assert two.file() == two.__file__
        # Its own import statements are its own.
        assert set(patch.asked) == {{version}} and len(patch.asked) >= 6
        """
    )


@pytest.mark.parametrize("main", [False, True])
def test_versions_that_replace_each_other_act_for_their_caller(world: World, main: bool) -> None:
    # Half way through their loads they meet, so that one replaces the other unseen.
    meets = {**PATCHES, "patch/__init__.py": "import meeting\nfrom patch import own\n" + MEETS}
    world.versions("owner", "1.0", main="0.5", files=OWNER)
    world.versions("patch", "1.0", "2.0", main="0.5" if main else None, files=meets)
    world.module(
        "meeting", f"import threading\npoint = threading.Barrier({2 + main}, timeout=30)\n"
    )
    versions = ("1.0", "2.0", "0.5") if main else ("1.0", "2.0")
    sources = '("patch==1.0", "patch==2.0", om.main)' if main else '("patch==1.0", "patch==2.0")'
    world.run(
        """
        import threading, warnings, omnipkg_meta as om
        import owner as main
        warnings.simplefilter("ignore")
        one, found = om.load("owner==1.0"), {}

        def load(source):
            with om.use(source):
                import patch
                found[patch.own.version] = patch

        threads = [threading.Thread(target=load, args=[source]) for source in SOURCES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(found) == set(VERSIONS)
        wrong = []

        def ask(module):
            for _ in range(200):
                if module.file() != module.__file__:
                    wrong.append(module)

        threads = [threading.Thread(target=ask, args=[module]) for module in (main, one) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong
        # Each was called, by the next one or by whoever asked, and got its own.
        assert {version: set(patch.asked) for version, patch in found.items()} == {
            version: {version} for version in VERSIONS
        }
        """.replace("SOURCES", sources).replace("VERSIONS", repr(versions))
    )


def test_a_method_in_the_place_of_the_standard_librarys_acts_for_its_caller(world: World) -> None:
    files = {
        "method/__init__.py": """
        import logging, sys

        def emit(self, record):
            self.found = sys.modules.get("owner")

        logging.Handler.emit = emit
        """
    }
    world.versions("owner", "1.0", main="0.5", files=OWNER)
    world.versions("method", "1.0", files=files)
    world.run(
        """
        import logging, sys, warnings, omnipkg_meta as om
        import owner as main
        warnings.simplefilter("ignore")
        one = om.load("owner==1.0")
        om.load("method==1.0")
        handler = logging.Handler()
        logging.getLogger("some").addHandler(handler)
        logging.getLogger("some").error("text")
        assert handler.found is main
        with om.use("owner==1.0"):
            logging.getLogger("some").error("text")
        assert handler.found is one
        """
    )


def test_one_that_nobody_called_asks_for_itself(world: World) -> None:
    files = {
        "runner/__init__.py": """
        import threading, sys
        found = []

        def run(self):
            found.append(sys.modules.get("runner"))

        threading.Thread.run = run
        """
    }
    world.versions("runner", "1.0", main="0.5", files=files)
    world.run(
        """
        import threading, warnings, omnipkg_meta as om
        warnings.simplefilter("ignore")
        runner = om.load("runner==1.0")
        thread = threading.Thread()
        thread.start()
        thread.join()
        assert runner.found == [runner]
        """
    )


def test_a_function_of_a_bubble_that_stands_elsewhere_is_at_home_there(world: World) -> None:
    files = {
        "patch/__init__.py": """
        import inspect, sys
        def asks(value): return sys.modules["patch"]
        inspect.getfile = lambda value: asks(value)
        getfile = inspect.getfile
        """
    }
    world.versions("patch", "1.0", main="0.5", files=files)
    world.run(
        """
        import inspect, warnings, omnipkg_meta as om
        warnings.simplefilter("ignore")
        patch = om.load("patch==1.0")
        assert inspect.getfile is patch.getfile and inspect.getfile(int) is patch
        """
    )
