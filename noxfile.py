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
SDIST_FOLDERS = (".ci", "accelerator", "benchmarks", "docs", "examples", PACKAGE, "tests")
DIST_INFO_FILES = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests: ``nox -s tests-3.12 -- -m world``."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def tests_accelerated(session: nox.Session) -> None:
    """Build the accelerator, and run the tests with it: ``nox -s tests_accelerated-3.12``."""
    session.install("-e", ".[test]")
    session.install("--no-deps", "./accelerator")  # it is built; its one dependency is this
    session.run("pytest", *session.posargs, env={"OMNIPKG_META_ACCELERATOR": "1"})


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


def _benchmark(name: str, what: str, *needs: str, python: str | None = None) -> None:
    """Make the session of one module of ``benchmarks``: ``nox -s NAME -- ARGUMENTS``."""

    def run(session: nox.Session) -> None:
        session.install(*needs)
        session.run("python", "-m", f"benchmarks.{name}", *session.posargs)

    run.__doc__ = what
    nox.session(name=name, python=python)(run)


TEST, HOOKS = ("-e", ".[test]"), ("-e", ".[all]", "pyperf")
for session_of_benchmark in (
    ("crashes", "Kill 500 builds and removals at random moments, and look at what is left.", *TEST),
    ("faults", "Build and remove on a full disk, and while calls fail; look at the rest.", *TEST),
    ("traffic", "Let processes install, use, verify, remove and collect in one store.", *TEST),
    ("scale", "Measure what grows with bubbles, realms, scopes and threads.", *TEST),
    ("speed", "Measure what the hooks cost, as ratios within one run.", *HOOKS),
    ("instructions", "Count the hot paths' instructions; compare with those before.", *HOOKS),
    ("task_start", "Time a task in another version: a bound function, and a subprocess.", "uv"),
    ("distributed", "Measure tasks of several versions on clusters of Dask and of Ray.", "uv"),
    ("matrix", "Time tests on several versions: in one process, and by nox.", "uv", "nox"),
):
    _benchmark(*session_of_benchmark)
# Its arguments name what is read: ``nox -s fuzz -- --seconds 600 lock``.
_benchmark("fuzz", "Read whatever atheris comes upon.", "-e", ".[fuzz]", python="3.11")


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
