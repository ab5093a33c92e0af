"""``adopt=``: modules of main loaded anew inside a bubble."""

from __future__ import annotations

import importlib
import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import RequirementError, TermsError
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from types import ModuleType

    from tests.worlds import World


def used_in(module: ModuleType) -> Any:
    return module.used.__version__


def test_the_users_own_module_is_one_instance_for_each_bubble_and_one_for_main(
    world: World,
) -> None:
    name, user = world.name(), world.name("user")
    bubbles = [world.make(name, version) for version in ("1.0", "2.0")]
    world.install(world.wheel(name, "0.5"))
    world.module(user, f"import {name} as used\nstate = []\n")
    mains = importlib.import_module(user)
    adopted = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for bubble in bubbles:
            with om.use(bubble, adopt=[user]):
                adopted.append(importlib.import_module(user))
            with om.use(bubble, adopt=[user]):
                assert importlib.import_module(user) is adopted[-1]
    assert [used_in(module) for module in (mains, *adopted)] == ["0.5", "1.0", "2.0"]
    adopted[0].state.append("one")
    assert (mains.state, adopted[1].state) == ([], [])
    assert importlib.import_module(user) is mains
    assert [module.__bubble__ for module in adopted] == bubbles


def test_a_function_of_an_adopted_module_is_at_home_in_the_bubble_later(world: World) -> None:
    name, user = world.name(), world.name("user")
    bubble = world.make(name, "1.0")
    world.install(world.wheel(name, "0.5"))
    late = f"def late():\n    import {name}\n    from . import part\n    return {name}, part\n"
    files = {f"{user}/__init__.py": late, f"{user}/part.py": f"import {name} as used\n"}
    world.install(world.wheel(user, "1.0", files))
    with om.use(bubble, adopt=[user]):
        function = importlib.import_module(user).late
    found, part = function()
    assert (found.__version__, used_in(part)) == ("1.0", "1.0")
    assert part.__bubble__ == bubble


@pytest.mark.parametrize("name", ["sys", "os", "threading", "__main__", "omnipkg_meta"])
def test_what_is_one_in_a_process_is_not_adopted(name: str) -> None:
    with pytest.raises(RequirementError, match=name):
        om.use("whatever==1.0", adopt=[name])


@pytest.mark.parametrize("adopt", ["user", ["a/b"], ["../user"], [1]])
def test_adopt_takes_a_list_of_top_level_names(adopt: Any) -> None:
    with pytest.raises(TypeError, match="top-level"):
        om.use("whatever==1.0", adopt=adopt)


def test_a_name_that_the_bubble_provides_is_not_adopted(world: World) -> None:
    name = world.name()
    bubble = world.make(name, "1.0")
    scope = om.use(bubble, adopt=[name])
    with pytest.raises(RequirementError, match="provides it"), scope:
        pass
    assert om.current() is om.main


def test_a_pinned_package_has_what_it_adopts_on_its_pin(world: World) -> None:
    name, helper, library = world.name(), world.name("helper"), world.name("library")
    world.versions(name, "1.0", main="0.5")
    world.install(world.wheel(helper, "3.0", {f"{helper}.py": f"import {name} as used\n"}))
    source = f"""
        import omnipkg_meta
        omnipkg_meta.pin(__name__, "{name}==1.0", adopt=["{helper}"])
        import {helper}
        def late():
            import {helper}, {name}
            return {helper}, {name}.__version__
    """
    world.install(world.wheel(library, "1.0", {f"{library}.py": source}, requires=[helper]))
    pinned = importlib.import_module(library)
    own = getattr(pinned, helper)
    assert (used_in(own), used_in(importlib.import_module(helper))) == ("1.0", "0.5")
    assert pinned.late() == (own, "1.0")


def test_of_nested_scopes_that_adopt_the_same_the_inner_one_answers(world: World) -> None:
    name, user = world.name(), world.name("user")
    one, two = world.versions(name, "1.0", "2.0", main="0.5")
    world.module(user, f"import {name} as used\n")
    with om.use(one, adopt=[user]):
        outer = importlib.import_module(user)
        with om.use(two, adopt=[user]):
            assert used_in(importlib.import_module(user)) == "2.0"
        with om.use(two):
            assert importlib.import_module(user) is outer
    assert used_in(outer) == "1.0"
    assert om.load(two, name=user, adopt=[user]).__bubble__ == two


def test_a_project_that_is_installed_in_place_is_adopted_whatever_it_requires(
    world: World,
) -> None:
    """To try it with another version is what it is adopted for."""
    name, project = world.name(), world.name("project")
    (bubble,) = world.versions(name, "1.0", main="2.0")
    checkout = world.path / "checkout"
    checkout.mkdir()
    (checkout / f"{project}.py").write_text(f"import {name} as used\n")
    world.install(world.wheel(project, "0.1", {f"{project}.pth": ""}, requires=[f"{name}>=2"]))
    info = world.main / f"{project}-0.1.dist-info"
    (info / "direct_url.json").write_text(
        json.dumps({"url": checkout.as_uri(), "dir_info": {"editable": True}})
    )
    world.run(
        f"""
        import sys
        sys.path.append(r"{checkout}")
        import importlib.metadata
        import omnipkg_meta as om
        with om.use("{name}==1.0", adopt=["{project}"]):
            import {project}
            assert importlib.metadata.version("{project}") == "0.1"
        assert {project}.used.__version__ == "1.0"
        """
    )
    assert bubble.distributions == {name: "1.0"}


def test_what_is_said_of_what_cannot_be_found_in_main(world: World) -> None:
    bubble = world.make(world.name(), "1.0")
    scope = om.use(bubble, adopt=["no-such-thing"])
    with pytest.raises(TermsError, match="nothing that can be imported"), scope:
        pass
    with om.use(bubble, adopt=["nosuchthing"]), pytest.raises(ModuleNotFoundError):
        importlib.import_module("nosuchthing")
