"""``share=``: names that a bubble takes from main, so that objects cross."""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import BubbleInUseError, RequirementError, TermsError
from omnipkg_meta.store import lease
from tests.worlds import seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from omnipkg_meta.store.bubble import Bubble
    from tests.worlds import World


class Pair:
    """A package that needs another one: a bubble with 1.0 of both, and main with 2.0 of the other.

    Attributes:
        world: where they are.
        upper: the package that needs the other one.
        lower: the other one, whose ``Box`` the upper one makes.
        bubble: the bubble.
    """

    def __init__(
        self, world: World, requires: str = "", *, main: str | None = "2.0", extra: str = ""
    ) -> None:
        self.world = world
        self.upper, self.lower = world.name("upper"), world.name("lower")
        self.bubble = world.bubble(
            world.wheel(
                self.upper,
                "1.0",
                {
                    f"{self.upper}/__init__.py": f"""
                        import importlib.metadata
                        import {self.lower}
                        __version__ = "1.0"
                        def make():
                            return {self.lower}.Box()
                        def versions():
                            import {self.lower}.part as part
                            return part.version, importlib.metadata.version("{self.lower}")
                    """
                },
                requires=[f"{self.lower}{requires}"],
                extras={"fast": [f"{self.lower}{extra}"]} if extra else None,
            ),
            self.wheel("1.0"),
        )
        if main is not None:
            world.install(self.wheel(main))

    def wheel(self, version: str) -> Any:
        return self.world.wheel(
            self.lower,
            version,
            {
                f"{self.lower}/__init__.py": f"__version__ = '{version}'\nclass Box:\n    pass\n",
                f"{self.lower}/part.py": f"version = '{version}'\n",
            },
        )


def test_a_bubble_on_mains_module_makes_objects_of_mains_classes(world: World) -> None:
    pair = Pair(world)
    with om.use(pair.bubble, share=[pair.lower]):
        upper = importlib.import_module(pair.upper)
        lower = importlib.import_module(pair.lower)
        assert seen(pair.upper) == "1.0"
        assert seen(pair.lower) == "2.0"
    mains = importlib.import_module(pair.lower)
    assert lower is mains
    assert type(upper.make()) is mains.Box
    assert upper.versions() == ("2.0", "2.0")
    assert not hasattr(mains, "__bubble__")
    assert upper.__bubble__ == pair.bubble


def test_the_same_bubble_with_and_without_is_two_realms(world: World) -> None:
    pair = Pair(world)
    with om.use(pair.bubble):
        own = importlib.import_module(pair.upper)
    with om.use(pair.bubble, share=[pair.lower]):
        sharing = importlib.import_module(pair.upper)
        assert importlib.import_module(pair.upper) is sharing
    assert own is not sharing
    assert own.versions() == ("1.0", "1.0")
    assert sharing.versions() == ("2.0", "2.0")
    assert Path(str(own.__file__)).samefile(str(sharing.__file__))  # linked, not copied
    assert own.make.__code__.co_filename != sharing.make.__code__.co_filename


def test_the_same_arguments_give_the_same_scope_and_other_spellings_the_same_modules(
    world: World,
) -> None:
    pair = Pair(world)
    scope = om.use(pair.bubble, share=[pair.lower])
    assert om.use(pair.bubble, share=(pair.lower,)) is scope
    assert repr(scope) == f"use({pair.bubble!r}, share=['{pair.lower}'])"
    with scope:
        one = importlib.import_module(pair.upper)
        assert om.current() is scope
    with om.use(pair.bubble, share=[pair.lower.upper()]):
        assert importlib.import_module(pair.upper) is one
    assert om.load(pair.bubble, name=pair.upper, share=[pair.lower]) is one
    assert scope.bubbles == (pair.bubble,)


def test_a_shared_name_stays_mains_within_a_scope_that_has_its_own(world: World) -> None:
    pair = Pair(world)
    other = world.bubble(pair.wheel("3.0"))
    inner = om.use(pair.bubble, share=[pair.lower])
    with om.use(other), inner:
        assert seen(pair.lower) == "2.0"
        assert seen(pair.upper) == "1.0"
    with inner, om.use(other):
        assert seen(pair.lower) == "3.0"
        assert importlib.import_module(pair.upper).versions() == ("2.0", "2.0")


def test_metadata_shows_mains_version_of_what_is_shared_once(world: World) -> None:
    pair = Pair(world)
    with om.use(pair.bubble, share=[pair.lower]):
        found = [one.version for one in metadata.distributions() if one.name == pair.lower]
        owners = metadata.packages_distributions()
    assert found == ["2.0"]
    if sys.version_info >= (3, 11):  # before, it knows what top_level.txt says
        assert owners[pair.lower] == [pair.lower]
        assert owners[pair.upper] == [pair.upper]


def test_the_name_of_a_distribution_and_an_import_name_say_the_same(world: World) -> None:
    dist, names = world.name("py-Dist"), (world.name("one"), world.name("two"))
    user = world.name("user")

    def wheel(version: str) -> Any:
        files = {f"{name}.py": f"__version__ = '{version}'\n" for name in names}
        return world.wheel(dist, version, files)

    bubble = world.bubble(wheel("1.0"), world.wheel(user, "1.0"))
    world.install(wheel("2.0"))
    modules = set()
    for given in (dist, dist.replace("-", "_").lower(), *names):
        with om.use(bubble, share=[given]):
            assert [importlib.import_module(name).__version__ for name in names] == ["2.0"] * 2
            modules.add(importlib.import_module(user))
    assert len(modules) == 1


def test_what_a_bubble_does_not_have_is_shared_too(world: World) -> None:
    """It makes no difference but in a scope around it, and to a hermetic bubble."""
    name, other = world.name(), world.name()
    bubble = world.make(name, "1.0")
    (around,) = world.versions(other, "3.0", main="2.0")
    with om.use(around), om.use(bubble, share=[other]):
        assert seen(other) == "2.0"


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize("share", ["numpy", [1], 3, ["../x"], [""], b"numpy", [None]])
def test_share_takes_a_list_of_names(share: Any) -> None:
    with pytest.raises(TypeError, match="share takes a list"):
        om.use("whatever==1.0", share=share)


@pytest.mark.parametrize("name", ["json", "sys", "__main__", "omnipkg_meta"])
def test_what_is_one_in_a_process_is_not_shared(name: str) -> None:
    with pytest.raises(RequirementError, match=f"'{name}' cannot be shared"):
        om.use("whatever==1.0", share=[name])


def test_a_name_is_not_both_shared_and_adopted() -> None:
    with pytest.raises(RequirementError, match="both shared"):
        om.use("whatever==1.0", share=["numpy"], adopt=["numpy"])


def refused(bubble: Bubble | str, *share: str) -> TermsError:
    scope = om.use(bubble, share=share)
    with pytest.raises(TermsError) as caught, scope:
        pass
    assert om.current() is om.main
    return caught.value


def test_a_requirement_of_the_bubble_that_mains_version_does_not_meet(world: World) -> None:
    pair = Pair(world, "<2,>=1")
    error = refused(pair.bubble, pair.lower)
    expected = (
        f"the bubble's {pair.upper} 1.0 requires {pair.lower}<2,>=1, and main has {pair.lower} 2.0"
    )
    assert error.conflicts == [expected]
    assert expected in str(error)
    assert "share=" in str(error).splitlines()[-1]


def test_a_requirement_of_an_extra_counts_where_the_bubble_was_made_for_it(world: World) -> None:
    pair = Pair(world, extra="<2")
    with om.use(pair.bubble, share=[pair.lower]):
        assert seen(pair.lower) == "2.0"
    manifest = pair.bubble.path / "manifest.json"
    other = pair.bubble.path.with_name(f"{pair.upper}-fast")
    shutil.copytree(pair.bubble.path, other)
    text = manifest.read_text().replace(f'"{pair.upper}==1.0"', f'"{pair.upper}[fast]==1.0"')
    (other / "manifest.json").write_text(text)
    assert "<2" in str(refused(om.Bubble.open(other), pair.lower))


def test_a_requirement_whose_marker_is_false_does_not_count(world: World) -> None:
    pair = Pair(world, "<2 ; python_version < '3'")
    with om.use(pair.bubble, share=[pair.lower]):
        assert seen(pair.lower) == "2.0"


def test_what_was_asked_for_in_the_same_scope_counts_too(world: World) -> None:
    pair = Pair(world)
    scope = om.use(f"{pair.upper}==1.0", f"{pair.lower}==1.0", share=[pair.lower])
    with pytest.raises(TermsError, match=rf"{pair.lower}==1.0 was asked for, and main has") as one:
        scope.__enter__()
    assert "2.0" in str(one.value)
    with om.use(f"{pair.upper}==1.0", share=[pair.lower]):
        assert seen(pair.lower) == "2.0"


def test_what_main_does_not_have(world: World) -> None:
    pair = Pair(world, main=None)
    error = refused(pair.bubble, pair.lower)
    assert f"main has no distribution {pair.lower}" in str(error)
    assert error.requirement == pair.lower
    assert "main does not have it" in str(refused(pair.bubble, "no-such-thing"))
    assert "main does not have it" in str(refused(pair.bubble, "nosuchthing"))


def test_a_bubble_of_which_nothing_would_be_left(world: World) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1.0", main="1.0")
    assert "Nothing" in str(refused(bubble, name))


def test_where_main_serves_there_is_nothing_to_share(world: World) -> None:
    name, other = world.name(), world.name()
    world.versions(name, main="1.0")
    world.versions(other, main="1.0")
    with om.use(f"{name}==1.0", share=[other]) as scope:
        assert (seen(name), seen(other), scope.bubbles) == ("1.0", "1.0", ())


# -- names that several distributions provide ---------------------------------------


def test_a_portion_of_a_namespace_package_is_shared_alone(world: World) -> None:
    space, one, two = world.name("space"), world.name("one"), world.name("two")

    def wheel(portion: str, version: str) -> Any:
        files = {f"{space}/{portion}/__init__.py": f"version = '{version}'\n"}
        return world.wheel(portion, version, files)

    bubble = world.bubble(wheel(one, "1.0"), wheel(two, "1.0"))
    world.install(wheel(one, "2.0"), wheel(two, "2.0"))
    with om.use(bubble, share=[one]):
        found = [importlib.import_module(f"{space}.{part}") for part in (one, two)]
    assert [module.version for module in found] == ["2.0", "1.0"]
    assert found[0] is importlib.import_module(f"{space}.{one}")


def test_a_module_that_another_distribution_of_the_bubble_provides_too_stays_the_bubbles(
    world: World,
) -> None:
    one, two, both = world.name("one"), world.name("two"), world.name("both")

    def wheel(name: str, version: str) -> Any:
        files = {f"{name}.py": f"version = '{version}'\n", f"{both}.py": f"version = '{version}'\n"}
        return world.wheel(name, version, files)

    bubble = world.bubble(wheel(one, "1.0"), wheel(two, "1.0"), world.wheel(world.name(), "1.0"))
    world.install(wheel(one, "2.0"), wheel(two, "2.0"))
    with om.use(bubble, share=[one]):
        found = [importlib.import_module(name).version for name in (one, two, both)]
    assert found == ["2.0", "1.0", "1.0"]
    with om.use(bubble, share=[both]):
        found = [importlib.import_module(name).version for name in (one, two, both)]
    assert found == ["2.0", "2.0", "2.0"]


def test_a_module_of_nobodys_can_be_shared(world: World) -> None:
    name, user = world.name(), world.name("user")
    bubble = world.make(name, "1.0")
    world.module(user, "state = []\n")
    with om.use(bubble, share=[user]):
        inside = importlib.import_module(user)
    assert importlib.import_module(user) is inside


# -- elsewhere -----------------------------------------------------------------------


def test_an_explanation_says_that_it_is_shared(world: World) -> None:
    pair = Pair(world)
    scope = om.use(pair.bubble, share=[pair.lower])
    with scope:
        found = om.explain(pair.lower)
        module = importlib.import_module(pair.lower)
    assert (found.rule, found.bubble, found.version) == ("scope", None, "2.0")
    assert "shares it with main" in found.why
    assert found.origin == module.__file__
    first = found.candidates[0]
    assert (first.bubble, first.provides, first.shares, first.version) == (
        *(pair.bubble, True, True),
        "2.0",
    )
    assert f"shares main's 2.0 in {module.__file__}" in str(found)
    with scope:
        assert "shares" not in om.explain(pair.upper).why


def test_the_home_of_an_object_is_the_scope_on_the_same_terms(world: World) -> None:
    pair = Pair(world)
    with om.use(pair.bubble, share=[pair.lower]):
        sharing = importlib.import_module(pair.upper)
    with om.use(pair.bubble):
        own = importlib.import_module(pair.upper)
    with om.home(sharing.make):
        assert importlib.import_module(pair.upper) is sharing
        assert seen(pair.lower) == "2.0"
    with om.home(own.make):
        assert importlib.import_module(pair.upper) is own
        assert seen(pair.lower) == "1.0"


def test_a_pinned_package_shares_with_whoever_calls_it(world: World) -> None:
    pair, library = Pair(world), world.name("library")
    source = f"""
        import omnipkg_meta
        omnipkg_meta.pin(__name__, "{pair.upper}==1.0", share=["{pair.lower}"])
        import {pair.upper}, {pair.lower}
        def make():
            return {pair.upper}.make()
        def lower():
            import {pair.lower}
            return {pair.lower}
    """
    world.install(world.wheel(library, "1.0", {f"{library}.py": source}))
    module = importlib.import_module(library)
    mains = importlib.import_module(pair.lower)
    assert type(module.make()) is mains.Box
    assert module.lower() is mains
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(pair.upper)


def test_a_bubble_is_laid_over_main_but_for_what_it_shares(world: World) -> None:
    pair = Pair(world)
    world.run(
        f"""
        import {pair.lower} as mains  # loaded already, and no hindrance
        import omnipkg_meta as om
        with om.activate("{pair.upper}==1.0", share=["{pair.lower}"]):
            import {pair.upper} as upper
            import {pair.lower} as lower
        assert lower is mains and type(upper.make()) is mains.Box
        """
    )


def test_decorators_and_threads_see_the_same(world: World) -> None:
    pair = Pair(world)

    @om.use(pair.bubble, share=[pair.lower])
    def inside() -> Any:
        return seen(pair.upper), seen(pair.lower)

    @om.use(pair.bubble, share=[pair.lower])
    def one_by_one() -> Any:
        yield seen(pair.lower)
        yield seen(pair.lower)

    assert inside() == ("1.0", "2.0")
    assert [(value, seen(pair.lower)) for value in one_by_one()] == [("2.0", "2.0")] * 2


def test_sharing_from_a_vendored_directory(world: World) -> None:
    pair, library = Pair(world), world.name("library")
    source = f"""
        import omnipkg_meta
        from pathlib import Path
        omnipkg_meta.pin(__name__, path=Path(__file__).parent / "_vendor", share=["{pair.lower}"])
        import {pair.upper}
        made = {pair.upper}.make()
    """
    world.install(world.wheel(library, "1.0", {f"{library}/__init__.py": source}))
    shutil.copytree(pair.bubble.site_packages, world.main / library / "_vendor")
    made = importlib.import_module(library).made
    assert type(made) is importlib.import_module(pair.lower).Box
    assert sys.modules[pair.lower].__version__ == "2.0"


def test_a_bound_function_is_sent_with_the_terms_of_its_scope(world: World) -> None:
    upper, lower, task = world.name("upper"), world.name("lower"), world.name("task")
    wheels = [
        world.wheel(upper, "1.0", {f"{upper}.py": f"from {lower} import __version__ as below\n"}),
        world.wheel(lower, "1.0"),
    ]
    om.install(*map(str, wheels), index_options=["--no-index"], store=world.store)
    world.install(world.wheel(lower, "2.0"))
    world.module(task, f"def look():\n    import {upper}\n    return {upper}.below\n")
    world.run(
        f"""
        import pickle
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        import omnipkg_meta as om
        from {task} import look

        if __name__ == "__main__":
            kinds = [dict(share=["{lower}"]), dict(), dict(hermetic=True)]
            bound = [om.bind(look, "{upper}==1.0", **kind) for kind in kinds]
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                there = [pool.submit(one).result() for one in bound]
            assert there == [one() for one in bound] == ["2.0", "1.0", "1.0"], there
            arrived = pickle.loads(pickle.dumps(bound[0]))
            assert "share=['{lower}']" in repr(arrived.scope), arrived.scope
            with om.ScopedExecutor(
                lambda: ProcessPoolExecutor(1, mp_context=spawn),
                "{upper}==1.0",
                share=["{lower}"],
            ) as pool:
                assert pool.submit(look).result() == "2.0"
        """
    )


def test_a_bubble_that_is_used_on_other_terms_is_not_removed(world: World) -> None:
    pair = Pair(world)
    with om.use(pair.bubble, share=[pair.lower]):
        importlib.import_module(pair.upper)
    with pytest.raises(BubbleInUseError):
        world.store.remove(pair.bubble)
    (copy,) = world.store.copies(pair.bubble)
    assert lease.in_use(copy.path)


def test_threads_that_enter_on_new_terms_at_once_get_the_same_modules(world: World) -> None:
    for _ in range(5):
        pair = Pair(world)
        # Each has a scope of its own: the name is spelt in other ways.
        spelt = (pair.lower, pair.lower.upper(), pair.lower.title(), pair.lower.swapcase())
        start = threading.Barrier(len(spelt))

        def enter(name: str, pair: Pair = pair, start: threading.Barrier = start) -> Any:
            scope = om.use(pair.bubble, share=[name])
            start.wait()
            with scope:
                return importlib.import_module(pair.upper)

        with ThreadPoolExecutor(len(spelt)) as threads:
            found = list(threads.map(enter, spelt))
        assert len(set(found)) == 1
        assert found[0].versions() == ("2.0", "2.0")
        assert len(world.store.copies(pair.bubble)) == 1
