"""Type checkers see the version that a file asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli import main
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

Output = pytest.CaptureFixture[str]


def types(world: World, *words: str, status: int = 0) -> str:
    """Run the command as a program, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "omnipkg_meta", "types", *words],
        env=world.environment,
        cwd=world.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout.strip() if status == 0 else done.stderr


def path_of(interpreter: str) -> list[str]:
    """Return what is on the path of an interpreter, as checkers ask for it."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    code = "import json, sys; print(json.dumps(sys.path))"
    text = subprocess.run(
        [interpreter, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    found: list[str] = json.loads(text)
    return found


def typed(world: World, name: str, versions: dict[str, str], main: str) -> None:
    """Put versions with a function each into the store, and one into main."""
    for version, function in {**versions, main: "in_main"}.items():
        source = f"def {function}() -> int: return 'a type error that is not ours'\n"
        files = {f"{name}/__init__.py": source, f"{name}/py.typed": ""}
        wheel = world.wheel(name, version, files)
        if version == main:
            world.install(wheel)
        else:
            world.bubble(wheel)


def test_mypy_sees_the_version_of_the_environment(world: World, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    name, other = world.name(), world.name("other")
    typed(world, name, {"1.0": "old"}, main="2.0")
    typed(world, other, {}, main="1.0")
    file = tmp_path / "legacy.py"
    file.write_text(
        f"import omnipkg_meta as om\n"
        f"from {other} import in_main\n"
        f"with om.use('{name}==1.0'):\n    import {name}\n"
        f"reveal_type({name}.old())\n{name}.in_main()\nreveal_type(in_main())\n"
    )
    environment = {**os.environ, "MYPY_CACHE_DIR": str(tmp_path / "cache")}
    del environment["OMNIPKG_META_STORE"]
    interpreter = types(world, "--with", f"{name}==1.0", str(tmp_path / "types"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", interpreter, str(file)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.partition("legacy.py:")[2] for line in done.stdout.splitlines()]
    assert lines[:3] == [
        '5: note: Revealed type is "int"',
        '6: error: Module has no attribute "in_main"  [attr-defined]',
        '7: note: Revealed type is "int"',
    ], done.stdout + done.stderr
    assert len(lines) == 4  # and the sum, with nothing of what is wrong inside of packages


def test_the_bubble_comes_first_and_main_after_it(world: World) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1.0", main="0.5")
    path = path_of(types(world, "--with", f"{name}==1.0", "shown"))
    assert str(bubble.site_packages) in path
    assert path.index(str(bubble.site_packages)) < path.index(str(world.main))
    assert str(world.path) not in path  # where the command was run


def test_it_is_made_anew_in_its_place_and_nowhere_else(world: World, capsys: Output) -> None:
    name = world.name()
    one, two = world.versions(name, "1.0", "2.0")
    for bubble, version in ((one, "1.0"), (two, "2.0")):
        path = path_of(types(world, "--with", f"{name}=={version}", "shown"))
        assert [entry for entry in path if "site-packages" in entry and name in entry] == [
            str(bubble.site_packages)
        ]
    (world.path / "mine").mkdir()
    (world.path / "mine" / "pyvenv.cfg").write_text("home = elsewhere\n")
    for taken in ("mine", f"mine{os.sep}pyvenv.cfg"):
        said = types(world, "--with", f"{name}==1.0", taken, status=1)
        assert "something else lies there" in said
    assert [one.name for one in (world.path / "mine").iterdir()] == ["pyvenv.cfg"]
    assert main(["types", "somewhere"]) == 2
    assert "--with" in capsys.readouterr().err


def test_a_bubble_of_the_project_is_shown_on_its_terms(world: World) -> None:
    name, helper = world.name(), world.name("helper")
    world.install(world.wheel(helper, "3.0"))
    world.bubble(world.wheel(name, "1.0"), world.wheel(helper, "2.0"))
    (world.path / "pyproject.toml").write_text(
        "[tool.omnipkg-meta.bubbles]\n"
        f"sharing = {{ requirements = ['{name}'], share = ['{helper}'] }}\n"
        f"closed = {{ requirements = ['{name}'], hermetic = true }}\n"
    )

    def file_of(module: str, path: list[str]) -> Path | None:
        files = (Path(entry, f"{module}.py") for entry in path)
        return next((file for file in files if file.exists()), None)

    path = path_of(types(world, "--bubble", "sharing", "shared"))
    assert file_of(helper, path) == world.main / f"{helper}.py"
    assert "1.0" in (file_of(name, path) or Path()).read_text()
    path = path_of(types(world, "--bubble", "closed", "closed"))
    assert "2.0" in (file_of(helper, path) or Path()).read_text()
    assert str(world.main) not in path


def test_a_missing_bubble_is_an_error_and_nothing_is_made(world: World) -> None:
    name = world.name()
    said = types(world, "--with", f"{name}==1.0", "shown", status=1)
    assert f"tip: omnipkg-meta install '{name}==1.0'" in said
    assert not (world.path / "shown").exists()
