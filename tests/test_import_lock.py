"""Nothing waits for another thread while it holds the import lock of the whole process."""

from __future__ import annotations

import _imp
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.locks import without_import_lock
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: Two threads that cannot both go on if one waits for the other with the import lock
#: held: ``slow`` loads in one and imports something, the other imports ``slow``
#: from within somebody's code.  ``meet`` is that code.
CIRCLE = """
    import faulthandler, sys, threading, warnings
    import omnipkg_meta as om

    faulthandler.dump_traceback_later(30, exit=True)  # of a circle nothing else tells

    import meeting

    def meet():
        if threading.current_thread().name == "asks":
            meeting.loads.wait()  # the other thread is within ``slow``, and holds its lock
            meeting.asks.set()
            import slow
            return slow.found

    meeting.meet = meet
    """
END = """
    threads = [
        threading.Thread(target=ask, name="asks"),
        threading.Thread(target=lambda: __import__("slow"), name="loads"),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["1.0"], answers
    """


@pytest.fixture
def circle(world: World) -> World:
    """A world with the module that loads slowly."""
    world.module("meeting", "import threading\nloads, asks = threading.Event(), threading.Event()")
    world.module(
        "slow",
        """
        import meeting
        meeting.loads.set()
        meeting.asks.wait()
        import another  # asks the finders, each with the import lock held
        found = another
        """,
    )
    world.module("another", "")
    return world


def test_a_finder_that_imports_does_not_wait_with_the_import_lock_held(circle: World) -> None:
    # As six does, whose loader says ``is_package`` by loading what it stands for.
    text = """
        import sys
        from importlib.machinery import ModuleSpec

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "pkg.made":
                    import meeting
                    assert meeting.meet()
                    return ModuleSpec(name, self)

            def create_module(self, spec):
                return None

            def exec_module(self, module):
                module.version = "VERSION"

        __path__ = []
        sys.meta_path.append(Finder())
        """
    circle.versions("pkg", "1.0", files={"pkg.py": text})
    circle.run(
        CIRCLE
        + """
    answers = []
    om.load("pkg==1.0")

    def ask():
        with om.use("pkg==1.0"):
            import pkg.made
            answers.append(pkg.made.version)
    """
        + END
    )


def test_a_warning_of_ours_is_not_shown_with_the_import_lock_held(circle: World) -> None:
    # Whoever shows warnings may import: so does the standard library (linecache).
    circle.versions("pkg", "1.0", main="0.5")
    text = "from importlib._bootstrap import _get_module_lock as ask\nask('pkg')\nimport pkg\n"
    circle.module("first", text)  # nobody has asked before who answers
    circle.run(
        CIRCLE
        + """
    answers = []
    shown = []

    def show(message, category, *_, **__):
        if category.__name__ == "MainModuleWarning":
            shown.append(meet())

    warnings.showwarning = show

    def ask():
        with om.use("pkg==1.0"):
            import first, pkg
            answers.append(pkg.__version__)
        assert first.pkg.__version__ == "0.5"
        assert len(shown) == 1, shown
    """
        + END
    )


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_the_import_lock_is_held_again_as_often_as_before(levels: int) -> None:
    for _ in range(levels):
        _imp.acquire_lock()
    try:
        with without_import_lock(), pytest.raises(RuntimeError):
            _imp.release_lock()
    finally:
        for _ in range(levels):
            _imp.release_lock()
    with pytest.raises(RuntimeError):
        _imp.release_lock()
