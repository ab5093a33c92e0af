"""What packages put into registries of the standard library is seen by their own version only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: Puts a context of its own into multiprocessing's registry, as joblib's loky does.
CONTEXTUAL = """
__version__ = 'VERSION'
import multiprocessing as mp

class Context(mp.context.BaseContext):
    _name = "of-PKG"
    version = 'VERSION'

registry = mp.context._concrete_contexts
mp.context._concrete_contexts["of-PKG"] = Context()

def context():
    return mp.get_context("of-PKG").version

def names():
    return sorted(mp.context._concrete_contexts)
"""


def prepared(world: World) -> str:
    name = world.name()
    files = {f"{name}.py": CONTEXTUAL.replace("PKG", name)}
    world.versions(name, "1.0", "2.0", main="0.5", files=files)
    return name


@pytest.mark.parametrize("before", ["", "import multiprocessing.context", "import PKG as mains"])
@pytest.mark.parametrize(
    "around", ["", "sys.path.insert(0, str(om.use('PKG==1.0').bubbles[0].path))"]
)
def test_each_version_finds_its_own_entry_and_main_its_own(
    world: World, before: str, around: str
) -> None:
    name = prepared(world)
    code = f"""
        import sys, threading
        import omnipkg_meta as om
        {before}
        {around}
        barrier, inside = threading.Barrier(2), {{}}

        def load(version):
            barrier.wait()
            with om.use(f"PKG=={{version}}"):
                import PKG
                inside[version] = PKG

        threads = [threading.Thread(target=load, args=(one,)) for one in ("1.0", "2.0")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        import PKG
        import multiprocessing
        print(inside["1.0"].context(), inside["2.0"].context(), PKG.context())
        print(multiprocessing.get_context("of-PKG").version)
        with om.use("PKG==2.0"):
            print(multiprocessing.get_context("of-PKG").version)
        assert inside["1.0"].names() == PKG.names()
        assert "spawn" in PKG.names()
        """.replace("PKG", name)
    assert world.run(code).stdout.split() == ["1.0", "2.0", "0.5", "0.5", "0.5"]


def test_what_main_has_not_is_found_by_its_code_in_a_scope_only(world: World) -> None:
    name = prepared(world)
    code = """
        import multiprocessing
        import omnipkg_meta as om

        with om.use("PKG==1.0"):
            import PKG as first
        with om.use("PKG==2.0"):
            import PKG
            print(multiprocessing.get_context("of-PKG").version)
            with om.use("PKG==1.0"):
                print(multiprocessing.get_context("of-PKG").version)
                with om.use(om.main):
                    print("of-PKG" in multiprocessing.context._concrete_contexts)
        try:
            multiprocessing.get_context("of-PKG")
        except ValueError:
            print("none")
        print(first.names() == [*sorted([*multiprocessing.context._concrete_contexts, "of-PKG"])])
        """.replace("PKG", name)
    assert world.run(code).stdout.split() == ["2.0", "1.0", "False", "none", "True"]


def test_what_a_bubble_that_is_laid_over_main_has_put_there_is_found_by_main(world: World) -> None:
    name = world.name()
    world.versions(name, "1.0", files={f"{name}.py": CONTEXTUAL.replace("PKG", name)})
    code = """
        import multiprocessing
        import omnipkg_meta as om

        om.activate("PKG==1.0")
        import PKG
        print(multiprocessing.get_context("of-PKG").version)
        """.replace("PKG", name)
    assert world.run(code).stdout.split() == ["1.0"]


def test_a_registry_can_be_changed_by_all_that_a_dict_has(world: World) -> None:
    name = prepared(world)
    code = """
        import omnipkg_meta as om

        with om.use("PKG==1.0"):
            import PKG
        code = '''
        registry = mp.context._concrete_contexts
        before = len(registry)
        registry.update(one=1)
        print(registry.setdefault("one", 2), registry.setdefault("two", 2), registry.get("three"))
        print(registry.pop("one"), registry.pop("one", "gone"), "two" in registry)
        del registry["two"]
        print(len(registry) == before, dict(registry.items()) == registry.copy())
        print(list(registry.keys()) == list(registry), len(registry.values()) == before)
        try:
            del registry["spawn"]
        except KeyError:
            print("main's stays")
        '''
        import textwrap
        exec(textwrap.dedent(code), PKG.__dict__)
        """.replace("PKG", name)
    assert world.run(code).stdout.splitlines() == [
        *("1 2 None", "1 gone True", "True True", "True True", "main's stays"),
    ]


def test_taking_the_hooks_out_leaves_what_is_mains_and_the_rest_comes_back_with_them(
    world: World,
) -> None:
    name = prepared(world)
    code = """
        import multiprocessing.context as where
        import omnipkg_meta as om

        with om.use("PKG==1.0"):
            import PKG
        om.uninstall_hooks()
        print(type(where._concrete_contexts) is dict, "of-PKG" in where._concrete_contexts)
        with om.use("PKG==1.0"):
            pass
        print(PKG.context())
        """.replace("PKG", name)
    assert world.run(code).stdout.splitlines() == ["True False", "1.0"]
