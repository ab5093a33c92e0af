"""One command for each check: ``nox -s tests lint types coverage build ...``.

Plain ``nox`` runs what has to pass before a change goes in.  What each tool is
told stands in ``pyproject.toml``; here is only how it is started.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # the interpreters that are there, and no others
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "docs", "build"]

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
PACKAGE = "omnipkg_meta"

# What the sdist holds besides the folders, which it holds whole.
SDIST_FILES = {
    *(".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md"),
    *("mkdocs.yml", "noxfile.py", "pyproject.toml"),
}
SDIST_FOLDERS = (".ci", "benchmarks", "docs", "examples", PACKAGE, "tests")
DIST_INFO_FILES = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests: ``nox -s tests-3.12 -- -m world``."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(venv_backend="uv")
def tests_lowest(session: nox.Session) -> None:
    """Run the quick tests with the oldest runtime dependencies that are allowed."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    session.install("-e", ".[test]")
    session.install("--upgrade", "--resolution", "lowest-direct", *project["dependencies"])
    session.run("pytest", "-m", "not world and not slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check form and style; ``nox -s lint -- --fix`` mends what can be mended."""
    session.install("ruff")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly, as the oldest and the newest Python see them."""
    session.install("-e", ".[dev]")
    session.run("mypy", "--python-version", PYTHONS[0])
    session.run("mypy", "--python-version", PYTHONS[-2])


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site of the documentation in ``build/site``; a link that leads nowhere fails."""
    session.install("-e", ".[docs]")
    # What else could be used instead of mkdocs is no warning about these pages.
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure which lines and branches the tests reach, in subprocesses too."""
    session.install("-e", ".[test]", "coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel, check their metadata, their contents and the command."""
    session.install("build", "twine")
    folder = Path(session.create_tmp()) / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    # The wheel is made from the sdist, which shows that the sdist is enough.
    session.run("python", "-m", "build", "--outdir", str(folder), silent=True)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))

    listing = session.run("git", "ls-files", *SDIST_FOLDERS, external=True, silent=True)
    tracked = set(str(listing).split())
    stem = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive:
        held = {entry.name.removeprefix(f"{stem}/") for entry in archive if entry.isfile()}
    _compare(session, sdist, held, SDIST_FILES | tracked)
    with zipfile.ZipFile(wheel) as archive_of_wheel:
        held = set(archive_of_wheel.namelist())
    package = {name for name in tracked if name.startswith(f"{PACKAGE}/")}
    _compare(session, wheel, held, package | {f"{stem}.dist-info/{x}" for x in DIST_INFO_FILES})

    session.install(str(wheel))
    with session.chdir(session.create_tmp()):  # away from the checkout
        session.run("omnipkg-meta", "--version")


@nox.session(python=PYTHONS)
def cpython_suite(session: nox.Session) -> None:
    """Run CPython's own import tests without the hooks and with them.

    Each interpreter that has CPython's ``test`` package is taken; the others are
    skipped.  Arguments go to ``benchmarks/cpython_suite.py``.
    """
    session.install("uv")
    # Not the session's own Python: some of CPython's tests are skipped in an environment.
    found = session.run("python", "-c", "import sys; print(sys._base_executable)", silent=True)
    no_test_package = 3
    session.run(
        *("python", "benchmarks/cpython_suite.py", *session.posargs, str(found).strip()),
        success_codes=[0, no_test_package],
    )


@nox.session
def crashes(session: nox.Session) -> None:
    """Kill 500 builds and removals at random moments, and look at what is left."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks.crashes", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Build and remove on a full disk, and while calls fail, and look at what is left."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks.faults", *session.posargs)


@nox.session
def traffic(session: nox.Session) -> None:
    """Let processes install, use, verify, remove and collect at random, in one store."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks.traffic", *session.posargs)


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """Read whatever atheris comes upon: ``nox -s fuzz -- --seconds 600 lock``."""
    session.install("-e", ".[fuzz]")
    session.run("python", "-m", "benchmarks.fuzz", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """Measure what grows with the number of bubbles, realms, scopes and threads."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks.scale", *session.posargs)


@nox.session
def speed(session: nox.Session) -> None:
    """Measure what the hooks cost, as ratios within one run."""
    session.install("-e", ".[all]", "pyperf")
    session.run("python", "-m", "benchmarks.speed", *session.posargs)


@nox.session
def instructions(session: nox.Session) -> None:
    """Count the instructions of the hot paths, and compare with what they took before."""
    session.install("-e", ".[all]", "pyperf")
    session.run("python", "-m", "benchmarks.instructions", *session.posargs)


@nox.session
def task_start(session: nox.Session) -> None:
    """Time a task in another version: a bound function, and a subprocess."""
    session.install("uv")
    session.run("python", "-m", "benchmarks.task_start", *session.posargs)


@nox.session
def distributed(session: nox.Session) -> None:
    """Measure tasks of several versions on clusters of Dask and of Ray."""
    session.install("uv")
    session.run("python", "-m", "benchmarks.distributed", *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """Time the tests of one library on several versions: in one process, and by nox."""
    session.install("uv", "nox")
    session.run("python", "-m", "benchmarks.matrix", *session.posargs)


@nox.session
def compat(session: nox.Session) -> None:
    """Put two versions of each package that people use into one process.

    It takes an hour or two, and goes on where it was stopped: ``nox -s compat -- --only numpy``.
    """
    session.install("uv")
    arguments = session.posargs or ["--markdown", "docs/compatibility.md"]
    session.run("python", "benchmarks/compat", *arguments)


@nox.session
def upstream(session: nox.Session) -> None:
    """Run the tests that packages ship, plain and inside a scope, and compare each outcome."""
    session.install("uv")
    arguments = session.posargs or ["--markdown", "docs/compatibility.md"]
    session.run("python", "-m", "benchmarks.compat.upstream", *arguments)


def _compare(session: nox.Session, archive: Path, held: set[str], expected: set[str]) -> None:
    missing, surplus = sorted(expected - held), sorted(held - expected)
    if missing or surplus:
        lines = [
            *(f"missing: {name}" for name in missing),
            *(f"surplus: {name}" for name in surplus),
        ]
        session.error(f"{archive.name} does not hold what it should:", os.linesep.join(lines))
    session.log("%s holds the %d files that it should", archive.name, len(held))
