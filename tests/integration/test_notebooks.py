"""Two versions of matplotlib in one notebook, each drawing its figures, and main's beside them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.scene import BARE, Scene, once, python_of
from tests.integrations.notebooks import Notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.world

#: Versions that have wheels for this Python.  (An older one than 3.9 does not know IPython 9,
#: and draws its first figure a cell late, wherever it is installed.)
OLD, NEW, MAIN = (
    ("3.9", "3.10.0", "3.10") if sys.version_info < (3, 14) else ("3.10.5", "3.10.6", "3.10")
)


@pytest.fixture(scope="module", params=["beside", "alone"])
def notebook(
    request: pytest.FixtureRequest, _builder_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Notebook]:
    """A kernel in an environment that has a matplotlib of its own, or none."""
    scene = Scene(_builder_cache.parent / f"figures-{request.param}", _builder_cache)
    main = [*BARE, "ipykernel", *([f"matplotlib=={MAIN}.*"] if request.param == "beside" else [])]
    once(scene.path, lambda: scene.build(main, [(f"matplotlib=={one}.*",) for one in (OLD, NEW)]))
    path = tmp_path_factory.mktemp("jupyter")
    notebook = Notebook(python_of(scene.main), path, scene.variables())
    with notebook.running():
        notebook.quiet("%load_ext omnipkg_meta")
        yield notebook


def _shown(outputs: list[Any]) -> list[str]:
    """Return the plain text of what is shown, and ``figure`` for each picture."""
    for one in outputs:
        assert one.output_type in ("execute_result", "display_data"), one
    return ["figure" if "image/png" in one.data else one.data["text/plain"] for one in outputs]


def _draw(requirement: str) -> str:
    """Return a cell that draws, in a bubble; what a figure is drawn by stands in its PNG."""
    return f"""%%use {requirement}
import io, matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 2, 3])
plt.show()
figure.savefig(file := io.BytesIO())
file.getvalue().split(b"Matplotlib version")[1][:6].decode().strip()
"""


def test_each_version_draws_its_figures_into_the_notebook(notebook: Notebook) -> None:
    for version in (OLD, NEW, OLD):
        figure, drawn_by = _shown(notebook.outputs(_draw(f"matplotlib=={version}.*")))
        assert figure == "figure"
        assert drawn_by.strip("'").startswith(version)


def test_a_figure_of_an_earlier_cell_is_drawn_by_its_own_version(notebook: Notebook) -> None:
    notebook.outputs(_draw(f"matplotlib=={NEW}.*"))
    notebook.quiet("kept = figure")
    notebook.outputs(_draw(f"matplotlib=={OLD}.*"))
    assert _shown(notebook.outputs("kept")) == ["figure"]


def test_a_hermetic_bubble_draws_too(notebook: Notebook) -> None:
    figure, _ = _shown(notebook.outputs(_draw(f"--hermetic matplotlib=={OLD}.*")))
    assert figure == "figure"


def test_matplotlib_inline_can_be_asked_for(notebook: Notebook) -> None:
    notebook.outputs(f"%use matplotlib=={OLD}.*")
    shown = _shown(
        notebook.outputs(
            "%matplotlib inline\nimport matplotlib.pyplot as plt\n"
            "line = plt.plot([1, 2])\nplt.__name__"
        )
    )
    assert sorted(shown) == ["'matplotlib.pyplot'", "figure"]
    notebook.outputs("%use main")


def test_mains_own_figures_are_drawn_as_ever(
    notebook: Notebook, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["notebook"] == "alone":
        (error,) = notebook.outputs("import matplotlib")
        assert error.ename == "ModuleNotFoundError"
        return
    shown = _shown(
        notebook.outputs(
            "import matplotlib.pyplot as plt\nline = plt.plot([1, 2])\nplt.matplotlib.__version__"
        )
    )
    assert shown[0].strip("'").startswith(MAIN)
    assert shown[1] == "figure"
