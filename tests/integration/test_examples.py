"""The libraries under examples/, built into wheels and used as they are installed.

They pin pydantic 1, pydantic 2 and an attrs of their own; the program that calls
them has a third pydantic, a second attrs, and a fourth pydantic in a scope.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.scene import BARE, Scene, once, python_of
from tests.wheels import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Program

pytestmark = [
    pytest.mark.world,
    pytest.mark.skipif(
        sys.version_info >= (3, 14), reason="pydantic 1 does not work with CPython 3.14"
    ),
]

ROOT = Path(__file__).parents[2]
LIBRARIES = ("receipts", "parcels", "labels")
#: What the program itself has; none of it is what a library is pinned to.
OWN = ("pydantic==2.8.*", "attrs>=25")
#: Made beforehand, so that only the test of that builds at an import.
PARCELS = "pydantic>=2.11,<3"


@pytest.fixture(scope="module")
def examples(_builder_cache: Path) -> Iterator[Scene]:
    """An environment with the libraries installed, one with them in place, and their bubbles."""
    scene = Scene(_builder_cache.parent / "examples", _builder_cache)
    once(scene.path, lambda: build(scene))
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(scene.path, ignore_errors=True)


def build(scene: Scene) -> None:
    """Do what the README files say, in a copy of the folder."""
    sources, wheels = scene.path / "sources", scene.path / "wheels"
    shutil.copytree(ROOT / "examples", sources, ignore=shutil.ignore_patterns("_vendor"))
    variables = scene.variables(builds=True)
    prepare, *_ = commands(sources / "labels" / "README.md")
    assert "--target src/labels/_vendor attrs==22.2.0" in prepare
    call(scene, sources / "labels", *shlex.split(prepare)[1:], variables=variables)
    wheel = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels)
    call(scene, sources, *wheel, ROOT, *(sources / name for name in LIBRARIES), variables=variables)
    (library,) = wheels.glob("omnipkg_meta-*.whl")
    scene.make_environment(scene.main, *map(str, wheels.glob("*.whl")), *OWN)
    scene.make_environment(in_place(scene), str(library), *OWN, "pip", "hatchling", "editables")
    editable = [word for name in LIBRARIES for word in ("-e", sources / name)]
    done = scene.run(
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
        *editable,
        environment=in_place(scene),
        builds=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for requirement in ("pydantic<2", "pydantic==2.10.*", PARCELS):
        done = scene.run("-m", "omnipkg_meta", "install", requirement, builds=True)
        assert done.returncode == 0, done.stdout + done.stderr


def in_place(scene: Scene) -> Path:
    return scene.path / "in-place"


def commands(readme: Path) -> list[str]:
    """Return the commands that a README tells to type."""
    found = re.findall(r"^\$ (.*)$", readme.read_text("utf-8"), re.MULTILINE)
    assert found
    return found


def call(scene: Scene, directory: Path, *words: str | Path, variables: dict[str, str]) -> None:
    """Run this Python, which has pip, in a directory."""
    assert scene.path in directory.parents
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=directory,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def same(seen: dict[str, str]) -> str:
    """Return the one version that was seen in all three ways."""
    assert set(seen) == {"import", "sys.modules", "metadata"}
    (version,) = set(seen.values())
    return version


def release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


@pytest.mark.parametrize("where", ["installed", "in place"])
def test_libraries_keep_their_versions_beside_the_programs_own(examples: Scene, where: str) -> None:
    environment = examples.main if where == "installed" else in_place(examples)
    told = examples.answer(examples.path / "sources" / "shop.py", environment=environment)
    assert told["own pydantic"][0].startswith("2.8.")
    assert told["pydantic of the scope"][0].startswith("2.10.")
    for pair in ("own pydantic", "pydantic of the scope", "own attrs"):
        assert len(set(told[pair])) == 1
    assert release(same(told["receipts"]))[0] == 1
    assert (2, 11) <= release(same(told["parcels"])) < (3, 0)
    assert same(told["labels' attrs"]) == "22.2.0" != told["own attrs"][0]
    assert told["totals"] == ["17.00"] * 2
    assert told["weights"] == [{"grams": 600, "heavy": False}] * 2
    assert told["labels"] == ["Ada\n1 Loop Road\nLONDON"] * 2
    # "definitions" is what pydantic 1 says for what is "$defs" to pydantic 2.
    assert told["schemas"] == [
        ["definitions", "items", "title", "type"],
        ["$defs", "items", "type"],
    ]
    assert told["fields"] == ["name", "street", "town"]


def test_each_library_is_taken_from_where_it_was_installed(
    examples: Scene, program: Program
) -> None:
    script = program(
        """
        import json
        import labels, parcels, receipts
        import attrs
        from labels import address
        print(json.dumps([*(one.__file__ for one in (labels, parcels, receipts)),
                          address.attrs.__file__, attrs.__file__]))
        """
    )
    *libraries, vendored, own = map(Path, examples.answer(script))
    assert all(file.parts[-3] == "site-packages" for file in [*libraries, own])
    assert vendored == libraries[0].parent / "_vendor" / "attrs" / "__init__.py"
    places = examples.answer(script, environment=in_place(examples))
    sources = examples.path / "sources"
    assert [Path(file).is_relative_to(sources) for file in places] == [*[True] * 4, False]


@pytest.mark.parametrize("first", ["libraries", "own"])
def test_libraries_and_the_programs_own_are_first_imported_at_once_in_threads(
    examples: Scene, program: Program, first: str
) -> None:
    script = program(
        """
        import importlib, json, sys, threading
        import omnipkg_meta as om

        if sys.argv[1] == "own":
            import pydantic
        barrier = threading.Barrier(5, timeout=60)
        seen, failed = {}, []

        def load(name, scope):
            try:
                with scope:
                    barrier.wait()
                    if name == "own":
                        import pydantic
                        from pydantic import BaseModel

                        class Own(BaseModel):
                            n: int

                        assert Own(n="1").model_dump() == {"n": 1}
                        seen[name] = pydantic.VERSION
                    else:
                        seen[name] = importlib.import_module(name).versions()["import"]
            except BaseException as error:
                failed.append(repr(error))
                barrier.abort()

        scope = om.use("pydantic==2.10.*")
        threads = [
            threading.Thread(target=load, args=arguments)
            for arguments in [
                ("receipts", om.use(om.main)), ("parcels", scope), ("labels", scope),
                ("own", om.use(om.main)),
            ]
        ]
        for thread in threads: thread.start()
        barrier.wait()
        for thread in threads: thread.join()
        import pydantic
        print(json.dumps([failed, seen, pydantic.VERSION]))
        """
    )
    failed, seen, own = examples.answer(script, first)
    assert failed == []
    assert seen["own"] == own
    assert own.startswith("2.8.")
    assert release(seen["receipts"])[0] == 1
    assert release(seen["parcels"]) >= (2, 11)
    assert seen["labels"] == "22.2.0"


def test_an_error_of_a_library_is_plain(examples: Scene, program: Program) -> None:
    script = program(
        """
        import json, pydantic, receipts, parcels
        errors = []
        for call in (lambda: receipts.total([{"name": "tea", "price": -1}]),
                     lambda: parcels.weigh([{"name": "tea", "grams": 0}])):
            try:
                call()
            except ValueError as error:
                errors.append([type(error) is ValueError, str(error)])
        print(json.dumps(errors))
        """
    )
    (first, one), (second, two) = examples.answer(script)
    assert first is second is True
    assert "a price is not negative" in one
    assert "Input should be greater than 0" in two


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_readme_of_a_library_says_what_happens(
    examples: Scene, library: str, tmp_path: Path
) -> None:
    readme = (examples.path / "sources" / library / "README.md").read_text("utf-8")
    text = tmp_path / "readme.txt"
    text.write_text(re.sub(r"^```.*$", "", readme, flags=re.MULTILINE), "utf-8")
    done = examples.run("-m", "doctest", "-v", text)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_without_its_bubble_a_library_says_what_to_run_and_that_is_enough(
    examples: Scene, tmp_path: Path
) -> None:
    variables = {"OMNIPKG_META_STORE": str(tmp_path / "store")}
    look = ("-c", "import receipts; print(receipts.versions()['import'])")
    done = examples.run(*look, variables=variables)
    assert done.returncode == 1
    *_, cause, tip = done.stderr.splitlines()
    assert cause == "cause: the store holds no pydantic"
    assert tip == "tip: omnipkg-meta install 'pydantic<2'"
    words = shlex.split(tip.removeprefix("tip: omnipkg-meta"))
    done = examples.run("-m", "omnipkg_meta", *words, variables=variables, builds=True)
    assert done.returncode == 0, done.stderr
    done = examples.run(*look, variables=variables)
    assert done.stdout.startswith("1."), done.stderr


def test_install_true_makes_the_bubble_at_the_first_import_and_not_again(
    examples: Scene, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    variables = examples.variables(builds=True) | {"OMNIPKG_META_STORE": str(store)}
    look = """
import json, sys, threading
import omnipkg_meta as om

barrier = threading.Barrier(4)
seen = []

def load():
    barrier.wait()
    import parcels
    seen.append(parcels.versions()["metadata"])

threads = [threading.Thread(target=load) for _ in range(4)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([seen, [one.id for one in om.Store().bubbles()]]))
"""
    processes = [
        subprocess.Popen(
            [str(python_of(examples.main)), "-c", look],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        )
        for _ in range(3)
    ]
    answers: list[Any] = []
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert (process.returncode, err) == (0, "")
        answers.append(json.loads(out))
    assert all(answer == answers[0] for answer in answers)
    seen, (bubble,) = answers[0]
    assert len(seen) == 4
    assert len(set(seen)) == 1
    (tag,) = (one for one in store.iterdir() if one.is_dir())  # and the catalogue
    assert names(tag) == [bubble]
    # Once it is there, nothing is asked of anybody: there is no builder to ask.
    offline = {"OMNIPKG_META_STORE": str(store), "OMNIPKG_META_BUILDER": "uv", "PATH": ""}
    done = examples.run(
        "-c", "import parcels; print(parcels.versions()['import'])", variables=offline
    )
    assert done.stdout == f"{seen[0]}\n", done.stderr


@pytest.mark.parametrize("library", LIBRARIES)
def test_types_of_a_library_are_checked_against_what_it_pins(
    examples: Scene, library: str, tmp_path: Path
) -> None:
    folder = examples.path / "sources" / library
    environment = tmp_path / "environment"
    (wheel,) = (examples.path / "wheels").glob("omnipkg_meta-*.whl")
    examples.make_environment(environment, str(wheel), *BARE, *typing_extra(folder))
    done = subprocess.run(
        [str(python_of(environment)), "-m", "mypy", "--cache-dir", str(tmp_path / "cache")],
        cwd=folder,
        env=examples.variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success: no issues found in 2 source files" in done.stdout


def typing_extra(folder: Path) -> list[str]:
    """Return what a library's extra ``typing`` names."""
    text = (folder / "pyproject.toml").read_text("utf-8")
    (names,) = re.findall(r"^typing = (\[.*\])$", text, re.MULTILINE)
    found: list[str] = json.loads(names)
    return found


def test_a_pin_that_the_environment_satisfies_needs_no_bubble(
    examples: Scene, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    wheels = [*(examples.path / "wheels").glob("*.whl")]
    examples.make_environment(environment, *map(str, wheels), "pydantic<2")
    done = examples.run(
        *("-c", "import receipts; print(receipts.versions()['import'])"),
        environment=environment,
        variables={"OMNIPKG_META_STORE": str(tmp_path / "store")},
    )
    assert done.stdout.startswith("1."), done.stderr
    assert not (tmp_path / "store").exists()
