"""``hermetic=True``: a bubble's code sees itself and the standard library.

All that main holds becomes claimed, for good, so each test is a process of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import BubbleNotFoundError, RequirementError
from tests.native_source import KINDS, SUFFIX, compiled, needs_compiler
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: Tells how code sees another module, whatever way it looks.
SEES = """
def sees(name):
    import importlib, importlib.util, sys
    found = set()
    for look in (
        lambda: __import__(name),
        lambda: importlib.import_module(name),
        lambda: sys.modules[name],
        lambda: [one for one in sys.modules if one == name][0],
    ):
        try:
            look()
        except (ImportError, KeyError, IndexError):
            found.add(False)
        else:
            found.add(True)
    found.add(name in sys.modules)
    found.add(sys.modules.get(name) is not None)
    found.add(importlib.util.find_spec(name) is not None)
    (answer,) = found
    return answer
"""


def bubble_and_main(world: World, *, loose: bool = False) -> tuple[str, str]:
    """Put a package into a bubble that looks for another one, which main has."""
    inside, mains = world.name("inside"), world.name("mains")
    world.bubble(world.wheel(inside, "1.0", {f"{inside}/__init__.py": SEES}))
    if loose:
        world.module(mains, "")
    else:
        world.install(world.wheel(mains, "2.0"))
    return inside, mains


@pytest.mark.parametrize("loaded", ["before", "after", "never"])
@pytest.mark.parametrize("loose", [True, False], ids=["the users", "installed"])
def test_main_is_not_there_for_the_bubbles_code(world: World, loaded: str, *, loose: bool) -> None:
    inside, mains = bubble_and_main(world, loose=loose)
    world.run(
        f"""
        import sys
        import omnipkg_meta as om
        if {loaded!r} == "before":
            import {mains}
        with om.use("{inside}==1.0", hermetic=True):
            import {inside} as inside
            assert not inside.sees("{mains}")
            if {loaded!r} == "after":
                import {mains}
            assert not inside.sees("{mains}")
            for name in ("json", "sys", "omnipkg_meta", "{inside}"):
                __import__(name)
                assert inside.sees(name), name
            import {mains} as users  # code of the user's own sees it
            assert "{mains}" in sys.modules
        assert not inside.sees("{mains}")
        assert users is sys.modules["{mains}"]
        with om.use("{inside}==1.0"):
            import {inside} as other
        assert other is not inside
        assert other.sees("{mains}")
        assert not inside.sees("{mains}")
        """
    )


def test_the_error_says_why(world: World) -> None:
    inside, mains = world.name("inside"), world.name("mains")
    bubble = world.bubble(
        world.wheel(inside, "1.0", {f"{inside}.py": f"def late():\n    import {mains}.part\n"})
    )
    world.install(world.wheel(mains, "2.0", {f"{mains}/__init__.py": "", f"{mains}/part.py": ""}))
    done = world.run(
        f"""
        import {mains}.part
        import omnipkg_meta as om
        with om.use("{inside}==1.0", hermetic=True):
            import {inside}
        try:
            {inside}.late()
        except ModuleNotFoundError as error:
            print(error.name, error)
        """
    )
    assert done.stdout.startswith(f"{mains} No module named '{mains}' in <Bubble ")
    assert bubble.id in done.stdout
    assert "hermetic" in done.stdout


def test_metadata_of_main_is_not_there_either(world: World) -> None:
    inside, mains = world.name("inside"), world.name("mains")
    source = """
        import importlib.metadata as metadata
        def look(name):
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                version = None
            points = metadata.entry_points(group="omt.hermetic")
            return version, sorted(one.name for one in metadata.distributions()), len(points)
    """
    world.bubble(
        world.wheel(
            inside,
            "1.0",
            {f"{inside}.py": source},
            entry_points={"omt.hermetic": {"mine": f"{inside}:look"}},
        )
    )
    world.install(
        world.wheel(mains, "2.0", entry_points={"omt.hermetic": {"theirs": f"{mains}:x"}})
    )
    world.run(
        f"""
        import importlib.metadata as metadata
        import omnipkg_meta as om
        with om.use("{inside}==1.0", hermetic=True):
            import {inside}
            assert metadata.version("{mains}") == "2.0"
            assert len(metadata.entry_points(group="omt.hermetic")) == 2
        assert {inside}.look("{mains}") == (None, ["{inside}"], 1), {inside}.look("{mains}")
        assert {inside}.look("{inside}")[0] == "1.0"
        with om.use("{inside}==1.0", hermetic=True, share=["{mains}"]):
            import {inside} as sharing
        assert sharing.look("{mains}") == ("2.0", ["{inside}", "{mains}"], 2)
        """
    )


def test_what_is_shared_is_seen_and_what_is_adopted_is_hermetic_too(world: World) -> None:
    inside, mains = bubble_and_main(world)
    user, other = world.name("user"), world.name("other")
    world.module(user, SEES)
    world.module(other, "")
    world.run(
        f"""
        import {mains}, {other}
        import omnipkg_meta as om
        terms = dict(share=["{mains}"], adopt=["{user}"], hermetic=True)
        with om.use("{inside}==1.0", **terms) as scope:
            import {inside} as inside, {user} as user
            assert inside.sees("{user}")
        assert repr(scope) == (
            "use('{inside}==1.0', share=['{mains}'], adopt=['{user}'], hermetic=True)"
        )
        for module in (inside, user):
            assert module.sees("{mains}") and module.sees("{inside}")
            assert not module.sees("{other}")
        with om.home(user.sees):
            import {user} as again
        assert again is user
        """
    )


def test_an_explanation_tells_the_rule(world: World) -> None:
    inside, mains = world.name("inside"), world.name("mains")
    source = "import omnipkg_meta\ndef explain(name):\n    return omnipkg_meta.explain(name)\n"
    bubble = world.bubble(world.wheel(inside, "1.0", {f"{inside}.py": source}))
    world.install(world.wheel(mains, "2.0"))
    done = world.run(
        f"""
        import {mains}
        import omnipkg_meta as om
        with om.use("{inside}==1.0", hermetic=True):
            import {inside}
        found = {inside}.explain("{mains}")
        assert (found.rule, found.bubble.id, found.origin) == ("hermetic", "{bubble.id}", None)
        assert [one.rule for one in found.candidates] == ["home", "hermetic"]
        assert {inside}.explain("{inside}").rule == "home"
        assert {inside}.explain("json").rule == "unclaimed"
        assert om.explain("{mains}").rule == "main"
        print(found)
        """
    )
    assert "hermetic" in done.stdout


def test_finders_of_main_bring_nothing_in_and_those_of_the_bubble_do(world: World) -> None:
    inside, mains, made = world.name("inside"), world.name("mains"), world.name("made")
    source = f"""
        import importlib.util, sys
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "{inside}.moves" or name == "{made}":
                    return importlib.util.spec_from_loader(name, self)
            def create_module(self, spec):
                return None
            def exec_module(self, module):
                module.made = True
        sys.meta_path.append(Finder())
        def moves():
            import {inside}.moves, {made}
            return {inside}.moves.made and {made}.made
        def editable():
            import {mains}
    """
    world.bubble(world.wheel(inside, "1.0", {f"{inside}/__init__.py": source}))
    world.module("found_elsewhere", "")
    world.run(
        f"""
        import importlib.util, sys
        import omnipkg_meta as om
        class Editable:
            def find_spec(self, name, path=None, target=None):
                if name == "{mains}":
                    return importlib.util.spec_from_file_location(
                        name, r"{world.main}/found_elsewhere.py"
                    )
        sys.meta_path.insert(0, Editable())
        with om.use("{inside}==1.0", hermetic=True):
            import {inside}
            assert {inside}.moves()
            try:
                {inside}.editable()
            except ModuleNotFoundError as error:
                assert "hermetic" in str(error)
            else:
                raise AssertionError("main's editable module was seen")
            import {mains}
        """
    )


def test_a_namespace_package_gets_no_portion_of_main_but_what_is_shared(world: World) -> None:
    space, one, two, three = (world.name(stem) for stem in ("space", "one", "two", "three"))

    def wheel(portion: str, version: str) -> Any:
        return world.wheel(portion, version, {f"{space}/{portion}.py": f"version = '{version}'\n"})

    world.bubble(wheel(one, "1.0"))
    world.install(wheel(two, "2.0"), wheel(three, "2.0"))
    world.run(
        f"""
        import omnipkg_meta as om
        from {space} import {two}
        with om.use("{one}==1.0", hermetic=True, share=["{three}"]):
            from {space} import {one}, {three}
            try:
                from {space} import {two}
            except ImportError:
                pass
            else:
                raise AssertionError("main's portion was lent")
        assert ({one}.version, {three}.version) == ("1.0", "2.0")
        """
    )


def test_main_never_serves_a_hermetic_scope(world: World) -> None:
    name = world.name()
    world.versions(name, main="1.0")
    scope = om.use(f"{name}==1.0", hermetic=True)
    with pytest.raises(BubbleNotFoundError, match="omnipkg-meta install"), scope:
        pass
    with pytest.raises(RequirementError, match="Main cannot be hermetic"):
        om.use(om.main, hermetic=True)


@pytest.mark.parametrize("hermetic", ["yes", 1, [True]])
def test_hermetic_is_true_or_false(hermetic: Any) -> None:
    with pytest.raises(TypeError, match="hermetic"):
        om.use("whatever==1.0", hermetic=hermetic)


def test_the_hooks_come_out_and_go_in_again(world: World) -> None:
    inside, mains = bubble_and_main(world)
    world.run(
        f"""
        import sys
        import omnipkg_meta as om
        scope = om.use("{inside}==1.0", hermetic=True)
        with scope:
            import {inside} as inside
        om.uninstall_hooks()
        assert type(sys.modules) is dict
        import {mains}
        assert sys.modules["{mains}"] is {mains}
        with scope:
            assert not inside.sees("{mains}")
        assert sys.modules["{mains}"] is {mains}
        """
    )


def test_threads_of_main_import_while_a_hermetic_scope_is_entered(world: World) -> None:
    """What main loads meanwhile is either there before, or claimed when it comes."""
    inside, _ = bubble_and_main(world)
    names = [world.name("late") for _ in range(40)]
    for name in names:
        world.module(name, "import time\ntime.sleep(0)\n")
    world.run(
        f"""
        import importlib, sys, threading
        import omnipkg_meta as om
        names = {names!r}
        start = threading.Barrier(3)
        failed = []
        def load(names):
            try:
                start.wait()
                for name in names:
                    module = importlib.import_module(name)
                    assert sys.modules[name] is module
            except BaseException as error:
                failed.append(error)
        threads = [threading.Thread(target=load, args=(names[one::2],)) for one in (0, 1)]
        for thread in threads:
            thread.start()
        start.wait()
        with om.use("{inside}==1.0", hermetic=True):
            import {inside} as inside
        for thread in threads:
            thread.join()
        assert not failed, failed
        for name in names:
            assert not inside.sees(name), name
        """
    )


def test_what_main_loaded_while_the_hooks_were_out_is_not_seen_when_they_are_in_again(
    world: World,
) -> None:
    inside, mains = bubble_and_main(world)
    other = world.name("other")
    world.make(other, "1.0")
    world.run(
        f"""
        import omnipkg_meta as om
        with om.use("{inside}==1.0", hermetic=True):
            import {inside} as inside
        om.uninstall_hooks()
        import {mains}
        with om.use("{other}==1.0"):  # not the hermetic one
            pass
        assert not inside.sees("{mains}")
        """
    )


@pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler())
@pytest.mark.parametrize("kind", KINDS)
def test_native_code_of_the_bubble_sees_no_more_than_the_rest(world: World, kind: str) -> None:
    name, mains, late = world.name("nat"), world.name("mains"), world.name("late")
    files: dict[str, str | bytes] = {
        f"{name}/__init__.py": "",
        f"{name}/_native{SUFFIX}": compiled(name, "1.0", kind, imports="json"),
    }
    world.make(name, "1.0", files)
    world.install(world.wheel(mains, "2.0"), world.wheel(late, "2.0"))
    world.run(
        f"""
        import {mains}
        import omnipkg_meta as om
        with om.use("{name}==1.0", hermetic=True):
            from {name} import _native
        import {late}
        for name in ("{mains}", "{late}"):
            for look in (_native.import_, _native.import_module, _native.import_level):
                try:
                    look(name)
                except ModuleNotFoundError as error:
                    assert "hermetic" in str(error), error
                else:
                    raise AssertionError((look, name))
            assert _native.get_module(name) is None
            try:
                _native.get_item(name)
            except KeyError:
                pass
            else:
                raise AssertionError(name)
        assert _native.import_("json") is _native.imported
        assert _native.get_module("{name}").__name__ == "{name}"
        """
    )
