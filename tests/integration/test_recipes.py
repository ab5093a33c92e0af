"""The programs under examples/recipes, run with the frameworks that they are for."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.scene import BARE, Scene, needs_pandas, once
from tests.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Program

pytestmark = pytest.mark.world

#: What docs/recipes.md says was tried.
FRAMEWORKS = ("FastAPI==0.165.*", "Flask==3.1.*", "Celery==5.7.*")
#: CPython 3.10 gets the newest that there is for it: FastAPI 0.165 is not.
TRIED = FRAMEWORKS if sys.version_info >= (3, 11) else ("FastAPI", "Flask", "Celery")
OLD_PANDAS = ("pandas==2.1.4", "numpy==1.26.4")
HAS_PANDAS = sys.version_info < (3, 13)
#: What reads the locks that uv makes, before Python has it.
READER = ("tomli",) if sys.version_info < (3, 11) else ()
MAIN = (*BARE, *READER, *TRIED, "httpx", "jinja2>=3.1.5", "rich==13.7.1", "numpy>=2", "pandas>=2.3")
BUBBLES: tuple[tuple[str, ...], ...] = (
    ("jinja2==3.0.*",),
    ("rich==13.5.3",),
    ("rich==13.4.2",),
    *((("numpy==1.26.4",), OLD_PANDAS) if HAS_PANDAS else ()),
)


@pytest.fixture(scope="module")
def recipes(_builder_cache: Path) -> Iterator[Scene]:
    """An environment with the frameworks, the bubbles, and a copy of the programs.

    In the checkout they would count as code of this library, where that is installed in place.
    """
    scene = Scene(_builder_cache.parent / "recipes", _builder_cache)

    def build() -> None:
        scene.build(MAIN, BUBBLES)
        shutil.copytree(ROOT / "examples" / "recipes", scene.path / "programs")

    once(scene.path, build)
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(scene.path, ignore_errors=True)


def told(recipes: Scene, name: str, *arguments: Path, flags: tuple[str, ...] = ()) -> Any:
    """Run a program that prints a line of JSON and nothing else, and return that."""
    return recipes.answer(
        recipes.path / "programs" / name, *arguments, flags=("-W", "error", *flags)
    )


def test_fastapi_puts_one_route_into_a_scope(recipes: Scene) -> None:
    said = told(recipes, "fastapi_app.py")
    assert len(said["answers"]) == 15
    for path, (greeting, version) in said["answers"].items():
        _, route, number = path.split("/")
        assert greeting == f"Hello {number}!"
        assert version.startswith("3.1." if route == "new" else "3.0.")
    assert said["after"].startswith("3.1.")


def test_flask_puts_one_blueprint_into_a_scope_and_leaves_it_after_a_failure(
    recipes: Scene,
) -> None:
    said = told(recipes, "flask_app.py")
    seen = {path: answer and answer[1][:4] for path, answer in said["answers"].items()}
    assert seen == {
        "/old/Ada": "3.0.",
        "/new/Ada": "3.1.",
        "/old/fails": None,
        "/new/Bob": "3.1.",
        "/old/Bob": "3.0.",
    }
    assert said["after"].startswith("3.1.")


def test_celery_runs_each_task_in_its_version(recipes: Scene) -> None:
    said = told(recipes, "celery_tasks.py")
    assert said["answers"] == [["hello", "13.5.3"], ["hello", "13.7.1"]] * 5
    assert said["after"] == "13.7.1"


@pytest.mark.skipif(not HAS_PANDAS, reason="numpy 1.26.4 has no wheels for CPython 3.13")
def test_a_task_is_a_bound_function(recipes: Scene) -> None:
    said = told(recipes, "airflow_task.py")
    assert said["answer"] == {"mean": 2.0, "numpy": "1.26.4"}
    assert int(said["after"].partition(".")[0]) >= 2


def test_a_host_has_plugins_with_versions_that_exclude_each_other(recipes: Scene) -> None:
    said = told(recipes, "plugin_host.py")
    seen = [(name, text, version) for name, text, version, _ in said["answers"]]
    assert seen == [("minutes", "hello", "13.4.2"), ("tickets", "hello", "13.5.3")] * 3
    assert all(version in file for _, _, version, file in said["answers"])
    assert said["host"] == "13.7.1"


@needs_pandas
def test_pickles_of_an_old_pandas_are_written_by_the_installed_one(
    recipes: Scene, program: Program, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    data = """
        import sys
        import pandas

        times = pandas.to_datetime(["2020-01-01", "2021-02-03"])
        data = {"n": [1, 2], "x": [0.5, None], "s": ["a", "b"], "t": times}
        frame = pandas.DataFrame(data, index=pandas.Index([7, 8], name="key"))
    """
    write = program(data, "frame.to_pickle(sys.argv[1])\n", name="write.py")
    words = [word for one in OLD_PANDAS for word in ("--with", one)]
    done = recipes.run("-m", "omnipkg_meta", "run", *words, write, old / "a.pkl")
    assert done.returncode == 0, done.stderr

    ((reader, writer),) = told(recipes, "migrate_pickles.py", old, new).values()
    assert reader == "2.1.4" != writer
    check = program(
        data,
        """
        from pandas.testing import assert_frame_equal

        again = pandas.read_pickle(sys.argv[1])
        assert_frame_equal(again, frame, check_dtype=False, check_index_type=False)
        assert [one.kind for one in again.dtypes if one.kind != "O"] == ["i", "f", "M"]
        print(1)
        """,
        name="check.py",
    )
    assert recipes.answer(check, new / "a.pkl", flags=()) == 1


def test_the_page_names_the_versions_that_are_tried_here() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    table = re.findall(r"^\| (\w+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert [f"{name}=={version}.*" for name, version in table] == list(FRAMEWORKS)
