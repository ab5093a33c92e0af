"""``explain``: the right rule for each of the rules, and never another answer than imports."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.cli import main as command
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.explanation import Explanation
    from tests.worlds import World


def rules(found: Explanation) -> list[tuple[str, str | None, bool]]:
    return [
        (one.rule, None if one.bubble is None else one.bubble.id, one.provides)
        for one in found.candidates
    ]


def asking_code(world: World, name: str, *, requires: list[str] | None = None) -> Any:
    """Make a module that explains and imports; of the user's own, or of an installed package."""
    module = world.name("asker")
    source = f"""
        import omnipkg_meta as om

        def ask():
            found = om.explain("{name}")
            import {name} as module
            assert module.__file__ == found.origin
            return found
    """
    if requires is None:
        world.module(module, source)
    else:
        world.install(world.wheel(module, "1", {f"{module}.py": source}, requires=requires))
    return importlib.import_module(module).ask


def test_an_unclaimed_name() -> None:
    found = om.explain("json.decoder")
    assert (found.rule, found.bubble, found.candidates) == ("unclaimed", None, ())
    assert found.origin == sys.modules["json.decoder"].__file__
    assert (found.asker, found.file) == (__name__, __file__)
    assert found.line == test_an_unclaimed_name.__code__.co_firstlineno + 1


def test_the_scope_rule_and_main(world: World) -> None:
    name = world.name()
    one, two = world.versions(name, "1", "2", main="3")
    ask = asking_code(world, name)
    with om.use(one), om.use(two):
        found = ask()
    assert (found.rule, found.bubble, found.version) == ("scope", two, "2")
    assert rules(found) == [("scope", two.id, True), ("scope", one.id, True), ("main", None, True)]
    found = ask()
    assert (found.rule, found.bubble, found.version) == ("main", None, "3")
    assert found.origin == str(world.main / f"{name}.py")
    with om.use(one), om.use(om.main):
        assert (ask().rule, ask().bubble) == ("scope", None)


def test_the_home_rule_for_declared_dependencies(world: World) -> None:
    name = world.name()
    one, _ = world.versions(name, "1", "2", main="3")
    declares, silent = (
        asking_code(world, name, requires=[name]),
        asking_code(world, name, requires=[]),
    )
    with om.use(one):
        found = declares()
        assert (found.rule, found.bubble) == ("home", None)
        assert "declares" in found.why
        assert (silent().rule, silent().bubble) == ("scope", one)


def test_the_home_rule_for_a_distributions_own_package_and_for_its_extras(world: World) -> None:
    name = world.name()
    bubble = world.make(name, "1")
    own = {
        f"{name}.py": "import omnipkg_meta\ndef ask():\n    return omnipkg_meta.explain(__name__)\n"
    }
    world.install(world.wheel(name, "3", own))
    extra = world.name("extra")
    world.install(
        world.wheel(
            extra,
            "1",
            {
                f"{extra}.py": "import omnipkg_meta\n"
                f"def ask():\n    return omnipkg_meta.explain('{name}')\n"
            },
            extras={"fast": [name]},
        )
    )
    for asks in (name, extra):
        ask = importlib.import_module(asks).ask
        with om.use(bubble):
            assert om.explain(name).bubble == bubble
            found = ask()
        assert (found.rule, found.bubble, found.version) == ("home", None, "3")


def test_a_bubble_laid_over_main_answers_by_the_rule_of_main(world: World) -> None:
    world.versions("pkg", "1", main="3")
    done = world.run(
        """
        import omnipkg_meta as om
        with om.activate("pkg==1"):
            found = om.explain("pkg")
            print(found.rule, found.version, [one.bubble is not None for one in found.candidates])
        print(om.explain("pkg").version)
        """
    )
    assert done.stdout.splitlines() == ["main 1 [True, False]", "3"]


def test_the_home_rule_for_code_of_a_bubble(world: World) -> None:
    name, user = world.name(), world.name("user")
    world.versions(name, main="3")
    bubble = world.bubble(
        world.wheel(name, "1"),
        world.wheel(
            user,
            "1",
            {
                f"{user}.py": "import omnipkg_meta\n"
                f"def ask():\n    return omnipkg_meta.explain('{name}')\n"
            },
        ),
    )
    with om.use(bubble):
        ask = importlib.import_module(user).ask
    found = ask()
    assert (found.rule, found.bubble, found.version, found.asker) == ("home", bubble, "1", user)
    assert "at home" in str(found)
    assert bubble.id in str(found)


def test_the_pin_rule(world: World) -> None:
    name, lib = world.name(), world.name("lib")
    one, _ = world.versions(name, "1", "2", main="3")
    world.install(
        world.wheel(
            lib,
            "1",
            {
                f"{lib}.py": f"import omnipkg_meta\nomnipkg_meta.pin(__name__, '{name}==1')\n"
                f"def ask():\n    return omnipkg_meta.explain('{name}')\n"
            },
            requires=[name],
        )
    )
    found = importlib.import_module(lib).ask()
    assert (found.rule, found.bubble) == ("pin", one)
    assert rules(found) == [("pin", one.id, True), ("home", None, True)]


def test_a_name_that_is_nowhere_and_a_submodule(world: World) -> None:
    name = world.name()
    files = {f"{name}/__init__.py": "", f"{name}/sub.py": "raise SystemExit('imported')"}
    bubble = world.make(name, "1", files)
    found = om.explain(f"{name}.sub")
    with om.use(bubble):
        inside = om.explain(f"{name}.sub")
        assert om.explain(f"{name}.gone").origin is None
    assert (inside.rule, inside.bubble) == ("scope", bubble)
    assert inside.origin == str(bubble.site_packages / name / "sub.py")
    after = om.explain(f"{name}.sub")
    assert (found.rule, after.rule, after.origin) == ("unclaimed", "main", None)
    assert "not there" in str(after)


@pytest.mark.parametrize("name", ["", "a..b", "../x", "a b", 3])
def test_what_is_no_module_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="full name"):
        om.explain(name)


def test_decisions_are_traced_once_for_each_module(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    name = world.name()
    one, two = world.versions(name, "1", "2", main="3")
    ask = asking_code(world, name)
    with caplog.at_level(logging.DEBUG, "omnipkg_meta"):
        for _ in range(3):
            for bubble in (one, two):
                with om.use(bubble):
                    ask()
    lines = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    mine = [line for line in lines if "asker" in line.partition(" asked")[0]]
    assert [bubble.id in line for bubble, line in zip((one, two), mine, strict=True)] == [True] * 2
    assert all("scope rule" in line for line in mine)


def test_tracing_is_switched_on_by_the_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = world.name()
    (one,) = world.versions(name, "1", main="3")
    monkeypatch.setenv("OMNIPKG_META_TRACE", "1")
    done = world.run(f"import omnipkg_meta as om\nwith om.use('{name}==1'):\n    import {name}\n")
    assert f"omnipkg_meta: {name}: __main__ asked for it" in done.stderr
    assert one.id in done.stderr


# -- the commands ---------------------------------------------------------------


def test_explain_runs_a_program_up_to_the_line(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = world.name()
    (one,) = world.versions(name, "1", main="3")
    program = tmp_path / "program.py"
    program.write_text(
        f"import omnipkg_meta as om\n"
        f"def work():\n"
        f"    with om.use('{name}==1'):\n"
        f"        import {name}\n"
        f"        raise SystemExit(7)\n"
        f"work()\n"
    )
    done = world.run(
        "import sys\nfrom omnipkg_meta.cli import main\nsys.exit(main(sys.argv[1:]))",
        *("explain", name, "--in", f"{program}:4", "--json"),
    )
    found = json.loads(done.stdout)
    assert (found["rule"], found["bubble"], found["line"]) == ("scope", one.id, 4)
    assert found["asker"] == "__main__"
    done = world.run(
        "import sys\nfrom omnipkg_meta.cli import main\nsys.exit(main(sys.argv[1:]))",
        *("explain", name, "--in", f"{program}:40"),
        status=1,
    )
    assert "never run" in done.stderr
    assert "exited with 7" in done.stderr
    for asked, place in ((name, "nowhere.py:3"), (name, f"{program}:x"), ("a..b", f"{program}:1")):
        with pytest.raises(SystemExit, match="2"):
            command(["explain", asked, "--in", place])
    assert "script.py:LINE" in capsys.readouterr().err


def test_which_says_the_file(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    name = world.name()
    (one,) = world.versions(name, "1", main="3")
    assert command(["which", name, "--with", f"{name}==1"]) == 0
    assert capsys.readouterr().out == f"{one.site_packages / name}.py\n"
    assert command(["which", name]) == 0
    assert capsys.readouterr().out == f"{world.main / name}.py\n"
    assert command(["which", name, "--with", f"{name}==1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "1"
    assert command(["which", f"{name}.gone"]) == 1
    assert command(["which", name, "--with", f"{name}==9"]) == 1
    assert name not in sys.modules


# -- notes ----------------------------------------------------------------------


def test_errors_say_which_bubble_and_scope_they_happened_in(world: World) -> None:
    name = world.name()
    bubble = world.make(name, "1", {f"{name}.py": "def fail():\n    raise ValueError('no')\n"})
    other = world.make(world.name(), "1")
    with (
        pytest.raises(ValueError, match="no") as caught,
        om.use(bubble),
        om.use(other),
        om.use(bubble),
    ):
        importlib.import_module(name).fail()
    (note,) = caught.value.__notes__  # type: ignore[attr-defined, unused-ignore]
    assert bubble.id in note
    assert repr(om.use(bubble)) in note
    with pytest.raises(ValueError, match="mine") as caught, om.use(bubble):
        raise ValueError("mine")
    assert not hasattr(caught.value, "__notes__")
