"""The programs on a page of the documentation, run word by word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import STRICT

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "threads-and-processes.md"
PROGRAMS = re.findall(
    r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
)


def test_every_program_of_the_page_has_what_it_prints_below_it() -> None:
    assert len(PROGRAMS) == PAGE.read_text("utf-8").count("```python") == 4


@pytest.mark.parametrize(("code", "printed"), PROGRAMS)
def test_a_program_of_the_page_prints_what_stands_below_it(
    scene: Scene, program: Program, code: str, printed: str
) -> None:
    # As it stands it may fork, which a program with threads is warned of from 3.12.
    flags = (*STRICT, "-W", "ignore::DeprecationWarning:multiprocessing")
    done = scene.run(*flags, program(code))
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


def test_the_library_of_the_page_for_authors_keeps_its_version(
    scene: Scene, program: Program
) -> None:
    page = (DOCS / "for-library-authors.md").read_text("utf-8")
    *modules, code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    script = program(code)
    for module in modules:
        name = module.partition("\n")[0].removeprefix("# ")
        file = script.parent / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(module, "utf-8")
    assert len(modules) == 2
    done = scene.run(*STRICT, script)
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)
