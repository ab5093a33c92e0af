"""``adopt=``: modules of main loaded anew inside a bubble."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import RequirementError
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
