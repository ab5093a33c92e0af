"""The magics of notebooks, in a kernel that all tests of this file share, and in a terminal."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integrations.notebooks import Notebook
from tests.worlds import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PACKAGE = {
    "PKG/__init__.py": """
        __version__ = 'VERSION'

        def fail():
            raise ValueError('failed in VERSION')
    """,
    "PKG/plot.py": """
        class Plot:
            def _repr_html_(self):
                from PKG import late  # when the cell is over, perhaps
                return f'<b>{late.which}</b>'
    """,
    "PKG/late.py": "which = 'VERSION'\n",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in [one for one in os.environ if one.startswith("OMNIPKG_META_")]:
            patch.delenv(variable)
        yield World(tmp_path_factory.mktemp("world"), patch)


@pytest.fixture(scope="module")
def kernel(world: World) -> Iterator[Notebook]:
    """A kernel with the magics; PKG is a package: 0.5 in main, 1.0 and 2.0 in bubbles."""
    pkg = world.name("plots")
    files = {name.replace("PKG", pkg): text.replace("PKG", pkg) for name, text in _PACKAGE.items()}
    world.versions(pkg, "1.0", "2.0", main="0.5", files=files)
    notebook = Notebook(sys.executable, world.path / "jupyter", world.environment, pkg)
    with notebook.running():
        notebook.quiet("%load_ext omnipkg_meta")
        yield notebook


@pytest.fixture
def notebook(kernel: Notebook) -> Notebook:
    assert kernel.run("%use main") == "main"
    return kernel


def test_cells_run_in_the_scope_until_it_is_left(notebook: Notebook) -> None:
    assert notebook.run("import PKG; PKG.__version__") == "'0.5'"
    assert "PKG 1.0 (bubble PKG-".replace("PKG", notebook.pkg) in notebook.run("%use PKG==1.0")
    assert notebook.run("import PKG; PKG.__version__") == "'1.0'"
    assert notebook.run("%use") == "use('PKG==1.0')".replace("PKG", notebook.pkg)
    notebook.run("%use PKG>1")
    assert notebook.run("import PKG; PKG.__version__") == "'2.0'"
    assert notebook.run("%use main") == "main"
    assert notebook.run("import PKG; PKG.__version__") == "'0.5'"
    assert notebook.run("%use") == "<the main environment>"


def test_a_scope_holds_in_cells_that_await_and_after_them(notebook: Notebook) -> None:
    awaiting = """
        import asyncio
        await asyncio.sleep(0)
        import PKG
        async def inner():
            import PKG
            return PKG.__version__
        PKG.__version__, await asyncio.create_task(inner())
    """
    notebook.run("%use PKG==1.0")
    assert notebook.run(awaiting) == "('1.0', '1.0')"
    assert notebook.run("import PKG; PKG.__version__") == "'1.0'"
    notebook.run("%use main")
    assert notebook.run(awaiting) == "('0.5', '0.5')"


def test_the_scope_begins_with_the_line_that_says_so(notebook: Notebook) -> None:
    text, result = notebook.outputs("import PKG as old\n%use PKG==1.0\nimport PKG as new\n"
                                    "old.__version__, new.__version__")  # fmt: skip
    assert "still as imported before: old" in text.text
    assert result.data["text/plain"] == "('0.5', '1.0')"
    assert notebook.run("if True:\n    %use main\n    import PKG\n    print(PKG.__version__)") == (
        "main\n0.5"
    )


def test_one_cell_runs_in_a_bubble_with_await_and_rich_output(notebook: Notebook) -> None:
    (shown,) = notebook.outputs(
        "%%use PKG==2.0\n"
        "import asyncio\n"
        "import PKG.plot as kept\n"
        "await asyncio.sleep(0)\n"
        "async def version():\n"
        "    import PKG\n"
        "    return PKG.__version__\n"
        "seen = await version()\n"
        "kept.Plot()"
    )
    assert shown.output_type == "execute_result", shown
    assert shown.data["text/html"] == "<b>2.0</b>"
    assert notebook.run("seen, type(_) is kept.Plot, _._repr_html_()") == (
        "('2.0', True, '<b>2.0</b>')"
    )
    assert notebook.run("import PKG; PKG.__version__, type(Out[max(Out)])") == "('0.5', tuple)"


def test_two_cells_two_versions_and_their_objects_side_by_side(notebook: Notebook) -> None:
    notebook.quiet("%%use PKG==1.0\nimport PKG.plot; first = PKG.plot.Plot()")
    notebook.quiet("%%use PKG==2.0\nimport PKG.plot; second = PKG.plot.Plot()")
    assert notebook.run("[one._repr_html_() for one in (first, second)]") == (
        "['<b>1.0</b>', '<b>2.0</b>']"
    )


def test_one_cell_lies_inside_of_what_all_cells_run_in(notebook: Notebook, world: World) -> None:
    other = world.name("other")
    world.versions(other, "3.0")
    notebook.run(f"%use {other}")
    assert (
        notebook.run(f"%%use PKG==1.0\nimport PKG, {other}; PKG.__version__, {other}.__version__")
        == "('1.0', '3.0')"
    )
    assert notebook.run(f"%%use main\nfrom importlib.util import find_spec; find_spec('{other}')"
                        " is None") == "True"  # fmt: skip
    assert notebook.run(f"import PKG, {other}; PKG.__version__") == "'0.5'"


def test_an_exception_shows_the_users_lines(notebook: Notebook) -> None:
    (error,) = notebook.outputs("%%use PKG==2.0\nimport PKG\n\ndef ask():\n    PKG.fail()\n\nask()")
    shown = "\n".join(error.traceback)
    plain = "".join(part.partition("m")[2] for part in f"m{shown}".split("\x1b["))
    assert error.ename == "ValueError"
    assert "----> 7 ask()" in plain
    assert f"----> 5     {notebook.pkg}.fail()" in plain
    assert "ipython_cells" not in plain


def test_a_scope_is_left_when_a_cell_fails(notebook: Notebook) -> None:
    notebook.outputs("%%use PKG==2.0\n1 / 0")
    notebook.outputs("%%use PKG==2.0\nimport asyncio\nawait asyncio.sleep(0)\n1 / 0")
    notebook.outputs("%%use PKG==2.0\nthis is no Python")
    assert notebook.run("import PKG; PKG.__version__") == "'0.5'"


def test_magics_and_shell_commands_work_in_the_cell(notebook: Notebook) -> None:
    assert notebook.run("%%use PKG==1.0\nx = !echo hello\nimport PKG; x[0], PKG.__version__") == (
        "('hello', '1.0')"
    )
    shown = notebook.run("%%use PKG==1.0\n%%time\nimport PKG; print(PKG.__version__)")
    assert shown.startswith("1.0\nCPU times")
    stacked = "%%use PKG==1.0\n%%use PKG==2.0\nimport PKG; PKG.__version__"
    assert notebook.run(stacked) == "'2.0'"
    notebook.quiet("%%capture seen\n%%use PKG==2.0\nimport PKG; print(PKG.__version__)")
    assert notebook.run("print(seen, end='')\nimport PKG; print(PKG.__version__)") == "2.0\n0.5"


def test_a_cell_that_runs_others_has_them_in_its_scope(notebook: Notebook) -> None:
    assert (
        notebook.run(
            "%%use PKG==1.0\nget_ipython().run_cell('import PKG; seen = PKG.__version__')\n"
            "get_ipython().run_cell('   ')\nimport PKG; seen, PKG.__version__"
        )
        == "('1.0', '1.0')"
    )
    notebook.run("get_ipython().run_cell('%use PKG==2.0')\nimport PKG; seen = PKG.__version__")
    assert notebook.run("import PKG; seen, PKG.__version__") == "('2.0', '2.0')"
    assert (
        notebook.run(
            "get_ipython().run_cell_magic('use', 'PKG==1.0', 'import PKG; PKG.__version__')"
        )
        == "'1.0'"
    )


def test_what_a_cell_left_behind_runs_cells_as_they_run_by_then(notebook: Notebook) -> None:
    notebook.run("%use PKG==1.0")
    notebook.quiet(
        """
        import asyncio
        go = asyncio.Event()

        async def later():
            await go.wait()
            get_ipython().run_cell("import PKG; seen = PKG.__version__")

        task = asyncio.create_task(later())
        """
    )
    notebook.run("%use main")
    notebook.quiet("go.set()\nawait task")
    assert notebook.run("seen") == "'0.5'"


def test_wrong_usage_is_said_as_ipython_says_it(notebook: Notebook) -> None:
    missing = notebook.refused("%%use PKG==9.0\n1")
    name = notebook.pkg
    assert missing.startswith(f"UsageError: no bubble satisfies {name}==9.0\n")
    assert f"the store holds {name} 1.0, {name} 2.0" in missing
    assert f"tip: omnipkg-meta install '{name}==9.0'" in missing
    assert missing.rstrip().endswith(f"or, here: %%use --install {name}==9.0")
    for line, words in {
        "%use --fast PKG": "unrecognized arguments: --fast",
        "%use --hermetic": "needs a requirement",
        "%%use\n1": "needs a requirement",
        "%%use PKG": "the cell body is empty",
        "%use 'PKG": "No closing quotation",
        "%use PKG==": "not a requirement",
        "%use --share PKG PKG": "all that it holds is shared",
        "%use --share 1/2 PKG": "share takes a list",
        "%use --hermetic main": "Main cannot be hermetic",
        "%bubbles PKG==": "not a requirement",
    }.items():
        assert words in notebook.refused(line).replace(name, "PKG"), line
    assert notebook.run("import PKG; PKG.__version__") == "'0.5'"


def test_a_missing_bubble_is_built_where_that_is_said_and_not_else(
    notebook: Notebook, world: World
) -> None:
    name = world.name("fresh")
    wheel = world.wheel(name, "1.5")
    assert "or, here" in notebook.refused(f"%use {wheel}")
    assert world.store.matching([name]) == []
    said = notebook.run(f"%use --install {wheel}")
    assert f"{name} 1.5 (bubble" in said.splitlines()[-1]
    assert notebook.run(f"import {name}; {name}.__version__") == "'1.5'"


def test_terms_are_those_of_use(notebook: Notebook, world: World) -> None:
    top, helper = world.name("top"), world.name("helper")
    world.versions(helper, main="7.0")
    files = {f"{top}.py": f"import {helper}\n"}
    world.bubble(world.wheel(top, "1.0", files), world.wheel(helper, "8.0"))
    world.module("own_module", f"import {helper}\nversion = {helper}.__version__\n")
    ask = f"import {top}; {top}.{helper}.__version__"
    assert notebook.run(f"%%use {top}\n{ask}") == "'8.0'"
    assert notebook.run(f"%%use --share {helper} {top}\n{ask}") == "'7.0'"
    assert notebook.run(
        f"%%use --adopt own_module {top}\nimport own_module; own_module.version"
    ) == ("'8.0'")
    assert notebook.run(f"%%use {top} --hermetic\n{ask}") == "'8.0'"


@pytest.fixture
def project(notebook: Notebook, world: World) -> Iterator[Path]:
    """The file of a project that the notebook belongs to; one of its bubbles has terms."""
    helper = world.name("helper")
    world.install(world.wheel(helper, "7.0"))
    top = world.wheel(f"{helper}_top", "1.0", {f"{helper}_top.py": f"import {helper}\n"})
    world.bubble(top, world.wheel(helper, "8.0"))
    file = world.path / "pyproject.toml"
    file.write_text(
        f"""
        [tool.omnipkg-meta.bubbles]
        old = ["{notebook.pkg}==1.0"]
        shared = {{ requirements = ["{helper}_top"], share = ["{helper}"] }}
        lost = ["{notebook.pkg}==9.0"]
        """
    )
    yield file
    file.unlink()


def test_a_bubble_of_the_project_is_used_by_its_name_and_on_its_terms(
    notebook: Notebook, world: World, project: Path
) -> None:
    assert notebook.run("%use project:old").startswith(f"{notebook.pkg} 1.0 (bubble")
    assert notebook.run("import PKG; PKG.__version__") == "'1.0'"
    assert notebook.run("%%use 'project:old'\nimport PKG; PKG.__version__") == "'1.0'"
    (top,) = re.findall(r'requirements = \["(\w+)"\]', project.read_text())
    helper = top.removesuffix("_top")
    ask = f"import {top}; {top}.{helper}.__version__"
    assert notebook.run(f"%%use project:shared\n{ask}") == "'7.0'"
    assert notebook.run(f"%%use {top}\n{ask}") == "'8.0'"
    # A project that names nothing like it takes no part in what a requirement means.
    bubble = world.make("old", "3.0")
    assert notebook.run("%use old") == f"old 3.0 (bubble {bubble.id})"


def test_what_a_project_does_not_name_or_has_not_made_is_said_as_ipython_says_it(
    notebook: Notebook, project: Path
) -> None:
    name = notebook.pkg
    for line, words in {
        "%use project:new": f"UsageError: {project} names no bubble 'new'\n"
        "cause: it names lost, old, shared\n",
        "%use project:": "names no bubble ''",
        "%%use project:old PKG\n1": "stands alone",
        "%use project:lost": f"tip: omnipkg-meta sync --project {project.parent}\n"
        "or, here: %use --install project:lost",
        "%bubbles project:old": "not a requirement",
    }.items():
        assert words in notebook.refused(line), line
    assert notebook.run(f"import {name}; {name}.__version__") == "'0.5'"
    project.write_text("[tool.omnipkg-meta]\nbubbles = 3\n")
    assert "bubbles is no table" in notebook.refused("%use project:old")
    project.write_text("")
    assert "no pyproject.toml names bubbles" in notebook.refused("%use project:old")


def test_a_bubble_of_the_project_is_made_where_that_is_said(
    notebook: Notebook, world: World, project: Path
) -> None:
    name = world.name("fresh")
    wheel = world.wheel(name, "1.5")
    project.write_text(f'[tool.omnipkg-meta.bubbles]\nfresh = ["{wheel}"]\n')
    assert "or, here" in notebook.refused("%use project:fresh")
    said = notebook.run("%use --install project:fresh")
    assert f"{name} 1.5 (bubble" in said.splitlines()[-1]


def test_what_there_is_one_of_in_a_kernel_is_mains_in_bubbles_too(
    notebook: Notebook, world: World
) -> None:
    top = world.name("widgets")
    world.bubble(
        world.wheel(top, "1.0", {f"{top}.py": "import traitlets\n"}, requires=["traitlets"]),
        world.wheel("traitlets", "0.1"),
    )
    assert (
        notebook.run(
            f"%%use {top}\nimport {top}\n{top}.traitlets.HasTraits in type(get_ipython()).__mro__"
        )
        == "True"
    )
    assert notebook.run("%%use traitlets==0.1\nimport traitlets; traitlets.__version__") == "'0.1'"


def test_the_list_of_bubbles_is_a_table_that_can_be_filtered(notebook: Notebook) -> None:
    (shown,) = notebook.outputs("%bubbles PKG")
    lines = shown.data["text/plain"].splitlines()
    assert lines[0].split() == ["MADE", "FOR", "HOLDS", "CREATED", "ID"]
    assert [line.split()[0] for line in lines[1:]] == [
        f"{notebook.pkg}==1.0",
        f"{notebook.pkg}==2.0",
    ]
    assert shown.data["text/html"].count("<td") == 8
    notebook.quiet("some = get_ipython().run_line_magic('bubbles', 'PKG>1')")
    assert notebook.run("len(some), some[0].distributions['PKG']") == "(1, '2.0')"
    assert notebook.run("%bubbles PKG>2") == f"no bubble has {notebook.pkg}>2"


@pytest.fixture
def proposed(notebook: Notebook) -> Callable[[str], list[str]]:
    """What the Tab key proposes after a text, with that text."""

    def complete(text: str) -> Any:
        notebook.quiet(f"text = {text!r}")
        found = notebook.run(
            "from IPython.core.completer import provisionalcompleter\n"
            "with provisionalcompleter():\n"
            "    found = list(get_ipython().Completer.completions(text, len(text)))\n"
            "[text[:one.start] + one.text for one in found]"
        )
        return ast.literal_eval(found)

    return complete


def test_names_are_completed_as_a_cell_sees_them(
    notebook: Notebook, proposed: Callable[[str], list[str]], world: World
) -> None:
    name = world.name("only")
    world.make(name, "1.0", {f"{name}/__init__.py": "", f"{name}/part.py": ""})
    assert f"import {name}.part" not in proposed(f"import {name}.")
    notebook.run(f"%use {name}")
    assert f"import {name}.part" in proposed(f"import {name}.")


def test_requirements_of_installed_bubbles_are_completed(
    notebook: Notebook, proposed: Callable[[str], list[str]]
) -> None:
    name = notebook.pkg
    both = [f"{name}==1.0", f"{name}==2.0"]
    assert proposed(f"%use {name[:4]}") == [f"%use {one}" for one in both]
    assert proposed(f"%use {name}==2") == [f"%use {both[1]}"]
    assert proposed(f"%%use --install '{name}==") == [f"%%use --install '{one}" for one in both]
    assert proposed(f"%bubbles {name}=") == [f"%bubbles {one}" for one in both]
    assert proposed("%use --he") == ["%use --hermetic"]
    assert proposed("%use mai") == ["%use main"]
    assert not [one for one in proposed(f"used = '{name}=") if both[0] in one]


def test_names_of_the_projects_bubbles_are_completed(
    proposed: Callable[[str], list[str]], project: Path
) -> None:
    names = ["project:old", "project:shared", "project:lost"]
    assert proposed("%use proj") == [f"%use {one}" for one in names]
    assert proposed("%%use --hermetic 'project:o") == ["%%use --hermetic 'project:old"]
    assert "%bubbles project:lost" not in proposed("%bubbles project:l")
    project.write_text("[tool.omnipkg-meta]\nbubbles = 3\n")
    assert "%use project:lost" not in proposed("%use project:l")


def test_unloading_puts_the_shell_back(notebook: Notebook) -> None:
    notebook.run("%use PKG==1.0")
    notebook.quiet("%unload_ext omnipkg_meta")
    try:
        assert notebook.run("import PKG; PKG.__version__") == "'0.5'"
        assert "not found" in notebook.refused("%use PKG")
        assert (
            notebook.run(
                "[one for one in vars(get_ipython()) if one.startswith(('run_cell', 'enable_'))]"
                " + [one for one in vars(get_ipython().Completer) if one == 'completions']"
            )
            == "[]"
        )
    finally:
        notebook.quiet("%load_ext omnipkg_meta")
    assert notebook.run("%use") == "<the main environment>"


def test_importing_the_package_imports_nothing_of_ipython(world: World) -> None:
    world.run(
        """
        import sys
        import omnipkg_meta

        names = {name.partition(".")[0] for name in sys.modules}
        assert not names & {"IPython", "traitlets", "html"}, names
        assert "load_ipython_extension" not in omnipkg_meta.__all__
        assert callable(omnipkg_meta.load_ipython_extension)
        assert "IPython" in sys.modules
        """
    )


def test_in_a_terminal_cells_are_run_and_said_in_plain_text(kernel: Notebook) -> None:
    lines = """
        %load_ext omnipkg_meta
        %use PKG==1.0
        import PKG; PKG.__version__
        %%use PKG==2.0
        import PKG
        print("one cell:", PKG.__version__)


        import PKG; print("all cells:", PKG.__version__)
        import asyncio, PKG; await asyncio.sleep(0); print("awaiting:", PKG.__version__)
        %use
        %use PKG==9
        %bubbles PKG
        import omnipkg_meta; omnipkg_meta.explain("PKG")
    """
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--simple-prompt", "--colors=NoColor"],
        input="\n".join(line.strip() for line in lines.strip().splitlines()).replace(
            "PKG", kernel.pkg
        )
        + "\n",
        env=dict(kernel.environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    shown = (done.stdout + done.stderr).replace(kernel.pkg, "PKG")
    for words in (
        "Out[3]: '1.0'",
        "one cell: 2.0",
        "all cells: 1.0",
        "awaiting: 1.0",
        ": use('PKG==1.0')",
        "UsageError: no bubble satisfies PKG==9",
        "MADE FOR",
        "PKG 1.0 from the bubble",
    ):
        assert words in shown, shown
