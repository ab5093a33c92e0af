"""``activate``: a bubble laid over main for the whole process, main's own code included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World


@pytest.fixture
def claimed(world: World) -> World:
    """A world whose main has ``claimed`` 0.5 and a user of it, and whose store has 1.0 and 2.0."""
    files = {
        "claimed/__init__.py": "__version__ = 'VERSION'\n",
        "claimed/sub.py": "import claimed\nversion = claimed.__version__\n",
    }
    world.versions("claimed", "1.0", "2.0", main="0.5", files=files)
    user = """
        import claimed as used

        def later():
            import claimed.sub
            return claimed.sub.version
        """
    world.install(world.wheel("installed", "0.5", {"installed.py": user}, requires=["claimed"]))
    world.module("mine", user)
    return world


def test_an_activated_bubble_serves_all_code_and_all_threads(claimed: World) -> None:
    claimed.run(
        """
        import threading, omnipkg_meta as om
        from importlib import metadata
        handle = om.activate("claimed==1.0")
        import claimed, installed, mine
        assert claimed.__version__ == metadata.version("claimed") == "1.0"
        assert installed.used is mine.used is claimed
        found = []
        def look():
            import claimed.sub
            version = metadata.version("claimed")
            found.append((claimed.sub.version, installed.later(), mine.later(), version))
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert found == [("1.0",) * 4], found
        assert "claimed" in repr(handle)
        """,
        options=("-X", "dev", "-W", "error"),
    )


def test_what_main_has_loaded_already_refuses_it_by_name_and_nothing_changes(
    claimed: World,
) -> None:
    done = claimed.run(
        """
        import sys, omnipkg_meta as om
        from omnipkg_meta.errors import ActivationError
        import claimed.sub
        try:
            om.activate("claimed==1.0")
        except ActivationError as error:
            assert isinstance(error, RuntimeError)
            print(*error.modules)
            print(str(error).splitlines()[-1])
            assert "claimed" in str(error)
        else:
            raise SystemExit("was not refused")
        import claimed as again
        assert again is claimed is sys.modules["claimed"]
        assert claimed.__version__ == "0.5"
        with om.use("claimed==1.0"):
            import claimed as inside
            assert inside.__version__ == "1.0"
        """
    )
    modules, tip = done.stdout.splitlines()
    assert modules.split() == ["claimed", "claimed.sub"]
    assert "omnipkg-meta run" in tip


def test_scopes_and_main_as_a_scope_go_before_what_is_activated(
    claimed: World,
) -> None:
    claimed.run(
        """
        import omnipkg_meta as om
        from importlib import metadata
        def look():
            import claimed
            assert claimed.__version__ == metadata.version("claimed")
            return claimed.__version__
        with om.activate("claimed==1.0"):
            assert look() == "1.0"
            with om.use("claimed==2.0"):
                assert look() == "2.0"
                with om.use(om.main):
                    assert look() == "0.5"
            assert look() == "1.0"
        """
    )


def test_closing_gives_main_back_once_and_for_all(claimed: World) -> None:
    claimed.run(
        """
        import sys, omnipkg_meta as om
        handle = om.activate("claimed==1.0")
        import claimed as overlaid
        handle.close()
        handle.close()
        import claimed
        assert claimed is not overlaid and claimed.__version__ == "0.5"
        assert sys.modules["claimed"] is claimed
        assert overlaid.__version__ == "1.0"
        with om.use("claimed==1.0"):
            import claimed as inside
        assert inside is overlaid
        """
    )


def test_the_newest_activation_goes_first_and_each_ends_by_itself(claimed: World) -> None:
    claimed.versions("other", "1.0", main="0.5")
    claimed.run(
        """
        import omnipkg_meta as om
        first = om.activate("claimed==1.0")
        second = om.activate("other==1.0")
        import claimed, other
        assert (claimed.__version__, other.__version__) == ("1.0", "1.0")
        first.close()
        import claimed, other
        assert (claimed.__version__, other.__version__) == ("0.5", "1.0")
        second.close()
        import claimed, other
        assert (claimed.__version__, other.__version__) == ("0.5", "0.5")
        """
    )


def test_activating_what_main_serves_changes_nothing(claimed: World) -> None:
    claimed.run(
        """
        import omnipkg_meta as om
        import claimed as before
        with om.activate("claimed==0.5"):
            import claimed
            assert claimed is before
        """
    )


def test_a_bubble_that_is_missing_or_malformed_is_not_activated(claimed: World) -> None:
    claimed.run(
        """
        import sys, omnipkg_meta as om
        from omnipkg_meta.errors import BubbleNotFoundError, RequirementError
        for text, error in (("claimed==9", BubbleNotFoundError), ("../claimed", RequirementError)):
            try:
                om.activate(text)
            except error:
                pass
            else:
                raise SystemExit("was activated")
        import claimed
        assert claimed.__version__ == "0.5" and type(sys.modules) is dict
        """
    )


def test_the_hooks_can_be_taken_out_under_an_activation(claimed: World) -> None:
    claimed.run(
        """
        import sys, omnipkg_meta as om
        handle = om.activate("claimed==1.0")
        import claimed as overlaid
        om.uninstall_hooks()
        import claimed
        assert claimed.__version__ == "0.5" and type(sys.modules) is dict
        handle.close()
        import claimed as again
        assert again is claimed
        """,
        options=("-X", "dev", "-W", "error"),
    )
