"""The code blocks of README and docs/, run as a reader would run them.

Each page is run in one process, its blocks in order and in one namespace, in an
environment and a store in which little packages stand for the real ones
(tests/stand_ins.py).  Cells are run in a kernel there, those of a page one after another.
No index is reached.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

import omnipkg_meta
from tests import page_program, pages, stand_ins
from tests.conftest import Wheelhouse
from tests.integrations.notebooks import Notebook
from tests.pages import PAGES, ROOT, Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What the environment has besides the stand-ins, from the environment of the tests.
BROUGHT = ("pytest", "packaging", "platformdirs", "importlib-metadata")
#: What it has besides where cells are run.
KERNEL = ("ipykernel",)

LINKING = sorted({*PAGES, ROOT / "CHANGELOG.md", *ROOT.glob("examples/*/README.md")})
RUN = [path for path in PAGES if any(map(pages.is_run, pages.read(path).blocks))]
NOTEBOOKS = [path for path in PAGES if any(map(pages.is_cell, pages.read(path).blocks))]


@dataclass(frozen=True)
class Surroundings:
    """Where pages are run.

    Attributes:
        main: a virtual environment.
        store: a store with the bubbles that the pages speak of.
        variables: the environment variables of a program that is run there.
    """

    main: Path
    store: Path
    variables: dict[str, str]

    def run(
        self, *words: str | Path, where: Path, store: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python in a directory; bubbles are made in *store*."""
        stores = [self.store] if store is None else [store, self.store]
        return subprocess.run(
            [str(self.main / "bin" / "python"), *map(str, words)],
            cwd=where,
            env=self.variables | {"OMNIPKG_META_STORE": os.pathsep.join(map(str, stores))},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )


@pytest.fixture(scope="module")
def surroundings(
    tmp_path_factory: pytest.TempPathFactory, _builder_cache: Path
) -> Iterator[Surroundings]:
    """An environment, and a store, made the way that users make them."""
    path = tmp_path_factory.mktemp("docs")
    wheelhouse = Wheelhouse(path / "wheels")
    stand_ins.make_wheels(wheelhouse)
    main = path / "main"
    venv.create(main, symlinks=True)
    site_packages = next(main.glob("lib/python*/site-packages"))
    for name in _with_dependencies(BROUGHT):
        _bring(metadata.distribution(name), site_packages)
    _bring_library(site_packages, main / "bin")
    for name, version in stand_ins.MAIN.items():
        (wheel,) = wheelhouse.path.glob(f"{name.replace('-', '_')}-{version}-*.whl")
        zipfile.ZipFile(wheel).extractall(site_packages)
    home = path / "home"
    # What uv and pip are told, as a user tells them: these wheels, and no index.
    settings = home / ".config"
    (settings / "uv").mkdir(parents=True)
    (settings / "uv" / "uv.toml").write_text(
        f'no-index = true\nfind-links = ["{wheelhouse.path}"]\n'
    )
    (settings / "pip").mkdir()
    (settings / "pip" / "pip.conf").write_text(
        f"[global]\nno-index = true\nfind-links = {wheelhouse.path}\n"
    )
    variables = {
        "HOME": str(home),
        "PATH": os.pathsep.join((str(main / "bin"), os.environ["PATH"], str(_beside_python()))),
        "UV_CACHE_DIR": str(_builder_cache / "uv"),
        "UV_PYTHON": str(main / "bin" / "python"),
        "PYTHONWARNINGS": "error",
        **{name: value for name, value in os.environ.items() if name.startswith("COV")},
    }
    made = Surroundings(main, path / "store", variables)
    for requirements in stand_ins.BUBBLES:
        done = made.run("-m", "omnipkg_meta", "install", *requirements, where=home)
        assert done.returncode == 0, done.stderr
    yield made
    shutil.rmtree(path)


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_do_what_it_says(
    path: Path, surroundings: Surroundings, tmp_path: Path
) -> None:
    done = _run_page(pages.read(path), surroundings, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nimport rich  # 13.5.3\n```", ":2: 13.5.3 was promised, and it was 13.7.1"),
        ("```python\nprint('one')  # two\n```", ":2: the page says\ntwo\nand it was\none"),
        ("```python\nint('1')  # ValueError\n```", ":2: ValueError was promised, and nothing"),
        ("```python\nint('x')  # KeyError\n```", "ValueError: invalid literal"),
        ("```python\ndef f():\n    import rich  # 13.7.1\n```", "never reached: lines [3]"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```", ":2: the page says\n2\nand it was\n1"),
        ("<!-- python\nassert False\n-->", "AssertionError"),
        ("```console\n$ true\n$ false\n```", ":3: false: 1"),
        ("```console\n$ echo one\ntwo\n```", ":2: the page says\ntwo\nand it was\none"),
        ("```console\n$ true\nerror: no\n```", ":2: true: 0"),
    ],
)
def test_a_promise_that_is_not_kept_is_an_error(
    text: str, said: str, surroundings: Surroundings, tmp_path: Path
) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    done = _run_page(pages.read(path), surroundings, tmp_path)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.fixture(scope="module")
def with_kernel(
    surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory
) -> Surroundings:
    """The same environment, which sees a kernel of the tests' own, link by link."""
    path = tmp_path_factory.mktemp("kernel")
    for name in _with_dependencies(KERNEL) - _with_dependencies(BROUGHT):
        for file in metadata.distribution(name).files or ():
            link = path / file.parts[0]
            if file.parts[0] not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(str(file.locate()).removesuffix("/".join(file.parts[1:])))
    variables = surroundings.variables | {
        "OMNIPKG_META_STORE": str(surroundings.store),
        "PYTHONPATH": str(path),
    }
    del variables["PYTHONWARNINGS"]  # of IPython's own there are some
    return Surroundings(surroundings.main, surroundings.store, variables)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_cells_of_a_page_show_what_it_says(
    path: Path, with_kernel: Surroundings, tmp_path: Path
) -> None:
    _run_cells(pages.read(path), with_kernel, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```ipython\n1 + 1\n```\n\n```text\n3\n```", "the page says\n3\nand it was\n2"),
        ("```ipython\nint('x')\n```", "ValueError: invalid literal"),
        ("```ipython\n%%use rich==1.0\n1\n```", "UsageError: no bubble satisfies"),
    ],
)
def test_a_cell_that_does_not_do_what_the_page_says_is_an_error(
    text: str, said: str, with_kernel: Surroundings, tmp_path: Path
) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"```ipython\n%load_ext omnipkg_meta\n```\n\n{text}")
    with pytest.raises(AssertionError, match=rf"page\.md:6: {re.escape(said)}"):
        _run_cells(pages.read(path), with_kernel, tmp_path)


def _run_cells(page: Page, where: Surroundings, tmp_path: Path) -> None:
    notebook = Notebook(where.main / "bin" / "python", tmp_path / "jupyter", where.variables)
    with notebook.running():
        for cell in filter(pages.is_cell, page.blocks):
            place = f"{page.path.name}:{cell.line}"
            shown = ""
            for one in notebook.outputs(cell.text):
                if one.output_type == "error":
                    raise AssertionError(f"{place}: {one.ename}: {one.evalue}")
                if one.get("name") == "stderr" and cell.prints is None:
                    raise AssertionError(f"{place}: {one.text}")
                shown += one.get("text") or one["data"]["text/plain"] + "\n"
            if cell.prints is not None:
                page_program.said(place, cell.prints, shown)


def _run_page(
    page: Page, surroundings: Surroundings, tmp_path: Path
) -> subprocess.CompletedProcess[str]:
    where = tmp_path / "page"
    where.mkdir()
    blocks = [block for block in page.blocks if pages.is_run(block)]
    if page.programs:
        _each_program(page, surroundings, where)
        blocks = [block for block in blocks if block.language != "python"]
    told = tmp_path / "page.json"
    told.write_text(
        json.dumps(
            {
                "page": page.path.name,
                "known": stand_ins.KNOWN,
                "blocks": [asdict(block) | {"file": block.file} for block in blocks],
            }
        )
    )
    return surroundings.run(page_program.__file__, told, where=where, store=tmp_path / "store")


def _each_program(page: Page, surroundings: Surroundings, where: Path) -> None:
    for number, block in enumerate(page.blocks):
        if block.language == "python":
            program = where / f"program{number}.py"
            program.write_text(block.text)
            flags = ("-X", "dev", "-W", "ignore::DeprecationWarning:multiprocessing")
            done = surroundings.run(*flags, program, where=where)
            assert (done.stdout, done.stderr, done.returncode) == (block.prints, "", 0), (
                f"{page.path}:{block.line}"
            )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_is_of_a_language_that_is_known_here(path: Path) -> None:
    """Otherwise a block could be left out by a slip of the pen."""
    known = {*pages.RUN, *pages.CELLS, *pages.SHOWN, *pages.FILES}
    assert [one for one in pages.read(path).blocks if one.language not in known] == []
    files = [one for one in pages.read(path).blocks if one.language in pages.FILES]
    assert [one for one in files if one.file is None] == []


def test_what_a_page_shows_as_a_part_of_a_file_stands_there() -> None:
    shown = [
        (block.text, block.why_not.removeprefix("a part of "))
        for path in PAGES
        for block in pages.read(path).blocks
        if block.why_not is not None and block.why_not.startswith("a part of ")
    ]
    assert len(shown) >= 6
    assert [part for part, file in shown if part not in (ROOT / file).read_text("utf-8")] == []


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files_of_the_repository(path: Path) -> None:
    """In the site, and to headings there, the strict build looks at them (``nox -s docs``)."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    local = [link for link in links if not link.startswith(("https://", "http://"))]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_every_public_name_stands_in_the_reference() -> None:
    """Under where it lives; of ``main`` that is its class."""
    reference = (ROOT / "docs" / "reference.md").read_text("utf-8")
    homes = {name: ".".join(omnipkg_meta._HOMES[name]) for name in omnipkg_meta.__all__}
    homes["main"] = "omnipkg_meta.sources.Main"
    assert [name for name, home in homes.items() if f"::: {home}\n" not in reference] == []


def _with_dependencies(names: Sequence[str]) -> set[str]:
    """Return distributions and what they need, by name."""
    found: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        wanted += [
            requirement.name
            for requirement in map(Requirement, metadata.requires(name) or ())
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]
    return found


def _bring(distribution: metadata.Distribution, site_packages: Path) -> None:
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def _bring_library(site_packages: Path, scripts: Path) -> None:
    library = ROOT / "omnipkg_meta"
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(library, site_packages / "omnipkg_meta", ignore=leave)
    distribution = metadata.distribution("omnipkg-meta")
    info = site_packages / f"omnipkg_meta-{distribution.version}.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (info / name).write_text(distribution.read_text(name) or "", "utf-8")
    (info / "RECORD").write_text(
        "".join(f"{one.relative_to(ROOT)},,\n" for one in library.rglob("*.py")), "utf-8"
    )
    command = scripts / "omnipkg-meta"
    command.write_text(
        f"#!{scripts / 'python'}\nimport sys\nfrom omnipkg_meta.cli import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    command = scripts / "pytest"
    command.write_text(
        f"#!{scripts / 'python'}\nimport sys\nimport pytest\nsys.exit(pytest.main())\n"
    )
    command.chmod(0o755)


def _beside_python() -> Path:
    """Return where the commands of the tests' own environment are, uv among them."""
    return Path(sys.executable).parent
