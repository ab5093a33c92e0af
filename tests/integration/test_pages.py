"""Pages whose programs stand by themselves, run with the real rich.

tests/test_docs.py runs all pages, with little packages in the place of the real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import STRICT
from tests.pages import ROOT, read

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

PROGRAMS = read(ROOT / "docs" / "threads-and-processes.md")
AUTHORS = read(ROOT / "docs" / "for-library-authors.md")


def test_every_program_of_the_page_has_what_it_prints_below_it() -> None:
    programs = [block for block in PROGRAMS.blocks if block.language == "python"]
    assert PROGRAMS.programs
    assert [block for block in programs if block.prints is None] == []
    assert len(programs) == 4


@pytest.mark.parametrize(
    ("code", "printed"),
    [(block.text, block.prints) for block in PROGRAMS.blocks if block.language == "python"],
)
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
    (main,) = (block for block in AUTHORS.blocks if block.prints is not None)
    script = program(main.text)
    files = [block for block in AUTHORS.blocks if block.file is not None]
    for block in files:
        path = script.parent / Path(str(block.file))
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, "utf-8")
    assert len(files) == 2
    done = scene.run(*STRICT, script)
    assert (done.stdout, done.stderr, done.returncode) == (main.prints, "", 0)
