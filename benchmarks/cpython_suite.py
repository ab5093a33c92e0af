"""CPython's own tests of the import system, without the hooks and with them.

    python benchmarks/cpython_suite.py PYTHON... [--all] [--everywhere] [--control | --plain]
    python benchmarks/cpython_suite.py --chroot DIR /usr/bin/python3.14

The files that have to do with imports, or with ``--all`` nearly every file of
CPython's suite (but ``cpython_left_out.py``).  Each runs twice in the interpreter
under test, each time in a process of its own and with the same environment: once
as it is, and once with the hooks in and a bubble's names claimed, through a
``sitecustomize``.  The outcome of every test has to be the same.  That a test
fails in both is a fact about the machine, and is listed, but is no difference.

A ``sitecustomize`` does not reach the interpreters that tests start with ``-I``
or ``-E``.  With ``--everywhere`` the runs are made in virtual environments whose
``site-packages`` puts the hooks into those as well, and without two tests for
which the hooks are not nothing (see ``NOT_EVERYWHERE``).

The interpreter under test needs CPython's ``test`` package.  This library and
its dependencies are put beside it in a temporary folder, by uv or pip; nothing
is installed into it, and nothing outside the temporary folder is written to but
the byte code caches of its own standard library (much of the import tests is
skipped where no byte code may be written).

Exit code: 0 no difference; 1 differences; 2 wrong usage, or the preparation
failed; 3 an interpreter has no ``test`` package, and the others had no
difference.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.cpython_left_out import LEFT_OUT, WITH_A_REASON  # noqa: E402
from tests.wheels import make_wheel  # noqa: E402  (this is a script; the path comes first)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TESTS = (
    *("test_importlib", "test_import", "test_pkgutil", "test_runpy", "test_pickle"),
    *("test_copyreg", "test_zipimport", "test_inspect", "test_modulefinder"),
    *("test_typing", "test_dataclasses"),
)
# The bubble, and the names that it claims: a package, a module, and one
# that the interpreter under test also has in its main environment.
BUBBLE = "cpython-suite-bubble==1.0"
BUBBLE_FILES = {
    "cpython_suite_bubble/__init__.py": "from cpython_suite_bubble import inner\n",
    "cpython_suite_bubble/inner.py": "VALUE = 1\n",
    "cpython_suite_module.py": "VALUE = 1\n",
    "zipp/__init__.py": "VALUE = 1\n",
}
ALONE = "subinterpreter: left alone"  # as sitecustomize.py says it
# They demand that a fresh interpreter has not loaded `threading`, which the hooks need.
NOT_EVERYWHERE = ("*.test_isolated_config", "*.test_python_compat")
PATH = "/usr/local/bin:/usr/bin:/bin"
USAGE, NO_TESTS = 2, 3
NONE_RAN = "no test ran"


class PreparationError(Exception):
    """What has to be there before the first test was not."""


@dataclass(frozen=True)
class Interpreter:
    """The interpreter under test, seen from outside."""

    path: str
    root: Path | None  # the root of its file system, where it lives in a chroot

    def inside(self, path: Path) -> str:
        """Return *path* as the interpreter sees it."""
        if self.root is None:
            return str(path)
        return "/" + path.relative_to(self.root).as_posix()

    def outside(self, path: str) -> Path:
        """Return where *path*, as the interpreter sees it, is seen from here."""
        return Path(path) if self.root is None else self.root / path.lstrip("/")

    def command(self, *arguments: str, env: Mapping[str, str]) -> list[str]:
        """Return the command that starts it with *arguments* and exactly *env*."""
        chroot = ["chroot", str(self.root)] if self.root is not None else []
        settings = [f"{name}={value}" for name, value in env.items()]
        return [*chroot, "/usr/bin/env", "-i", *settings, self.path, *arguments]


class Run(NamedTuple):
    """What one test file did in one process."""

    outcomes: dict[str, Counter[str]]  # by test id; a test has several through its subtests
    details: dict[str, str]
    exit_code: int
    seconds: float
    starts: Counter[str]  # how the interpreters that it started said they were set up
    complaint: str  # why the run proves nothing, or ""


@dataclass
class Report:
    """What one interpreter did."""

    version: str
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)  # by mode and test file
    differences: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)


class Bench:
    """One interpreter under test with its temporary folder."""

    def __init__(self, interpreter: Interpreter, folder: Path) -> None:
        """Take *folder*, which has to be empty and visible to the interpreter."""
        self.interpreter = interpreter
        self.folder = folder
        self.site = folder / "site"
        self.tools = folder / "tools"
        self.record = folder / "record.py"
        self.pythons: dict[str, Interpreter] = {}  # by mode
        self.options = ["--use", "cpu"]

    def variables(self, mode: str, job: str) -> dict[str, str]:
        """Return all the environment variables of a process, with folders of its own."""
        inside = self.interpreter.inside
        own = self.folder / "own" / f"{mode}-{job}"
        for name in ("home", "tmp"):
            (own / name).mkdir(parents=True, exist_ok=True)
        return {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "HOME": inside(own / "home"),
            "TMPDIR": inside(own / "tmp"),
            "PYTHONPATH": os.pathsep.join([inside(self.folder / mode), inside(self.site)]),
            "OMNIPKG_META_STORE": inside(self.folder / "store"),
            "CPYTHON_SUITE_LOG": inside(own / "log"),
        }

    def ask(self, *arguments: str, **variables: str) -> str:
        """Return what the interpreter under test prints when run with *arguments*."""
        env = {**self.variables("preparation", ""), **variables}
        return _output(self.interpreter.command(*arguments, env=env)).strip()

    def prepare(self, modes: Sequence[str], *, everywhere: bool) -> None:
        """Set up each of *modes*; for ``"hooks"`` install the library and build the bubble."""
        inside = self.interpreter.inside
        source = ROOT / "benchmarks" / "inside_cpython"
        shutil.copy(source / self.record.name, self.record)
        self.site.mkdir()
        for mode in modes:
            start = self.folder / mode
            start.mkdir()
            if mode == "hooks":
                shutil.copy(source / "sitecustomize.py", start)
                (start / "bubble").write_text(BUBBLE)
            else:
                (start / "sitecustomize.py").write_text('"""No hooks."""\n')
            self.pythons[mode] = self.virtual_environment(mode) if everywhere else self.interpreter
        if everywhere:
            self.options += [f"--ignore={pattern}" for pattern in NOT_EVERYWHERE]
        if "hooks" not in modes:
            return
        version = self.ask("-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        _install(self.site, version, str(ROOT))
        # The builder, where the interpreter under test can reach it.
        _install(self.tools, version, "uv")
        name, version = BUBBLE.split("==")
        wheel = make_wheel(self.folder, name, version, BUBBLE_FILES)
        self.ask(
            *("-c", f"import omnipkg_meta; omnipkg_meta.install({inside(wheel)!r})"),
            PATH=f"{inside(self.tools / 'bin')}{os.pathsep}{PATH}",
            PYTHONPATH=f"{inside(self.site)}{os.pathsep}{inside(self.tools)}",
        )

    def virtual_environment(self, mode: str) -> Interpreter:
        """Return an interpreter that imports ``sitecustomize`` under ``-I`` and ``-E`` too."""
        inside = self.interpreter.inside
        place = inside(self.folder / f"{mode}-env")
        self.ask("-m", "venv", "--without-pip", place)
        python = Interpreter(f"{place}/bin/python", self.interpreter.root)
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        packages = _output(python.command("-c", code, env={})).strip()
        start = inside(self.folder / mode)
        # First on the path, because Linux distributions ship a sitecustomize too.
        line = (
            f"import sys; sys.path.insert(0, {start!r}); import sitecustomize; "
            f"sys.path.remove({start!r})"
        )
        pth = python.outside(packages) / "cpython_suite.pth"
        pth.write_text(f"{inside(self.site)}\n{line}\n")
        return python

    def run(self, mode: str, test: str, timeout: float) -> Run:
        """Run the test file *test* in *mode*."""
        python = self.pythons[mode]
        env = self.variables(mode, test)
        output = self.folder / f"{mode}-{test}"
        command = python.command(
            *(python.inside(self.record), python.inside(output.with_suffix(".jsonl"))),
            *(*self.options, "--tempdir", env["TMPDIR"], test),
            env=env,
        )
        start = time.monotonic()
        with output.with_suffix(".out").open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout)
                complaint = ""
            except subprocess.TimeoutExpired:
                complaint = f"not done after {timeout:.0f} s"
                code = -signal.SIGKILL
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = time.monotonic() - start

        outcomes: dict[str, Counter[str]] = {}
        details: dict[str, str] = {}
        for line in _lines(output.with_suffix(".jsonl")):
            entry = json.loads(line)
            name = re.sub(r"\b0x[0-9a-f]+", "0x…", entry["id"])
            outcomes.setdefault(name, Counter())[entry["outcome"]] += 1
            details[name] = details.get(name, "") + entry["detail"]
        said = _lines(python.outside(env["CPYTHON_SUITE_LOG"]))
        if not complaint and not outcomes:
            complaint = f"{NONE_RAN}: " + _tail(output.with_suffix(".out"))
        if not complaint and mode == "hooks":
            own = {line.partition(" ")[2] for line in said if line.startswith(f"{process.pid} ")}
            if own - {ALONE} != {"start: hooks in", "end: hooks in"}:
                complaint = f"the hooks were not in from start to end: {sorted(own)}"
        failed = sum(line.partition(" ")[2].startswith("start: failed") for line in said)
        if not complaint and failed:
            complaint = f"{failed} interpreters started without hooks"
        starts = Counter(line.partition(" ")[2] for line in said)
        return Run(outcomes, details, code, seconds, starts, complaint)


def compare(test: str, plain: Run, other: Run) -> Iterator[str]:
    """Yield each difference between two runs of one test file, as a line to print."""
    for name in sorted(plain.outcomes.keys() | other.outcomes.keys()):
        before = plain.outcomes.get(name, Counter())
        after = other.outcomes.get(name, Counter())
        if before != after:
            yield f"{name}: plain: {_words(before)}; then: {_words(after)}"
    if plain.exit_code != other.exit_code:
        yield f"{test}: plain: exit code {plain.exit_code}; then: {other.exit_code}"
    if plain.complaint.startswith(NONE_RAN) and other.complaint.startswith(NONE_RAN):
        return  # the file is skipped as a whole, or holds nothing but doctests
    for run in (plain, other):
        if run.complaint:
            yield f"{test}: {run.complaint}"


def explain(test: str, lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the differences of a test file that nothing explains, and those with a reason."""
    reasons = {line: WITH_A_REASON.get(line.partition(": ")[0]) for line in lines}
    left = [line for line, reason in reasons.items() if reason is None]
    told = [f"{line} ({reason})" for line, reason in reasons.items() if reason is not None]
    if told and left == [f"{test}: plain: exit code 0; then: 2"]:  # since these have failed
        left = []
    return left, told


def examine(interpreter: Interpreter, arguments: argparse.Namespace) -> Report | None:
    """Run everything in one interpreter; return None where it has no tests."""
    parent = interpreter.root / "tmp" if interpreter.root is not None else None
    with _temporary_folder(parent, keep=arguments.keep) as folder:
        bench = Bench(interpreter, folder)
        report = Report(bench.ask("-c", "import sys; print(sys.version.split()[0])"))
        tests = arguments.test or TESTS
        if arguments.all:
            tests = bench.ask("-c", _ALL).split()
        probe = f"""
import importlib.util
if importlib.util.find_spec('test.libregrtest'):
    print(*[t for t in {tests!r} if importlib.util.find_spec('test.' + t)])
"""
        available = bench.ask("-c", probe).split()
        if not available:
            _tell(f"{interpreter.path} ({report.version}): it has no `test` package")
            return None
        for test in set(tests) - set(available):
            _tell(f"{interpreter.path} ({report.version}): it has no {test}")

        second = None if arguments.plain else "control" if arguments.control else "hooks"
        modes = ["plain", second] if second else ["plain"]
        bench.prepare(modes, everywhere=arguments.everywhere)
        work = [(mode, test) for test in available for mode in modes]

        def run(job: tuple[str, str]) -> tuple[tuple[str, str], Run]:
            done = bench.run(*job, arguments.timeout)
            _tell(f"{report.version} {job[0]:<7} {job[1]:<18} {_summary([done])}")
            return job, done

        with ThreadPoolExecutor(arguments.jobs) as pool:
            report.runs = dict(pool.map(run, work))
        for test in available:
            plain = report.runs["plain", test]
            other = report.runs[second, test] if second else plain
            lines, explained = explain(test, [*compare(test, plain, other)])
            report.explained += explained
            for line in lines:
                report.differences.append(line)
                if arguments.details:
                    print(line, other.details.get(line.partition(": ")[0], ""), sep="\n")
        return report


_ALL = f"""
import os.path, test
found = set(name.partition('.')[0] for name in os.listdir(os.path.dirname(test.__file__)))
print(*sorted(name for name in found if name[:5] == 'test_' and name not in {LEFT_OUT!r}))
"""


def show(interpreter: Interpreter, report: Report) -> None:
    """Print what one interpreter did."""
    print(f"{interpreter.path} ({report.version})")
    for mode in dict.fromkeys(mode for mode, _ in report.runs):
        runs = [run for (mode_of_run, _), run in report.runs.items() if mode_of_run == mode]
        print(f"  {mode:<8}{_summary(runs)}")
        starts: Counter[str] = sum((run.starts for run in runs), Counter())
        for said, number in sorted(starts.items()):
            print(f"          {number} times: {said}")
    for (mode, test), run in report.runs.items():
        if mode != "plain":
            continue
        for name, outcomes in sorted(run.outcomes.items()):
            if _is_bad(outcomes):
                print(f"  fails without hooks: {name}: {_words(outcomes)}")
        if run.exit_code:
            print(f"  fails without hooks: {test}: exit code {run.exit_code}")
    for line in report.explained:
        print(f"  different, as it should be: {line}")
    for line in report.differences:
        print(f"  DIFFERENT: {line}")
    print(f"  {len(report.differences)} differences")


def main(argv: Sequence[str] | None = None) -> int:
    """Examine each interpreter and return the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n\n")[0])
    parser.add_argument(
        "python", nargs="*", default=[sys.executable], help="interpreter under test"
    )
    parser.add_argument("--chroot", type=Path, metavar="DIR", help="where the interpreters live")
    parser.add_argument("--test", action="append", metavar="NAME", help="only this test file")
    parser.add_argument("--jobs", type=int, default=1, help="test processes at once (default: 1)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one test file")
    parser.add_argument("--details", action="store_true", help="show tracebacks of differences")
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all outcomes there")
    parser.add_argument(
        "--everywhere", action="store_true", help="hooks in isolated interpreters too"
    )
    parser.add_argument("--all", action="store_true", help="nearly every file of `python -m test`")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--plain", action="store_true", help="run without hooks only")
    kind.add_argument(
        "--control", action="store_true", help="compare with a second run without hooks"
    )
    arguments = parser.parse_args(argv)
    root = arguments.chroot.resolve() if arguments.chroot else None

    different = without_tests = False
    everything: dict[str, object] = {}
    for path in arguments.python:
        found = path if root else shutil.which(path)
        if found is None:
            parser.error(f"no such interpreter: {path}")
        interpreter = Interpreter(os.path.abspath(found), root)  # noqa: PTH100 (a venv is a symlink)
        try:
            report = examine(interpreter, arguments)
        except PreparationError as error:
            _tell(f"{path}: {error}")
            return USAGE
        if report is None:
            without_tests = True
            continue
        show(interpreter, report)
        different = different or bool(report.differences)
        everything[path] = {
            "version": report.version,
            "differences": report.differences,
            "explained": report.explained,
            "runs": {f"{mode} {test}": run._asdict() for (mode, test), run in report.runs.items()},
        }
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    return 1 if different else NO_TESTS if without_tests else 0


def _install(target: Path, version: str, what: str) -> None:
    """Install *what* for Python *version* into the folder *target*, by uv or pip."""
    python = ["--python-version", version, "--target", str(target)]
    uv = shutil.which(
        "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if uv is not None:
        _output([uv, "pip", "install", "--quiet", *python, what])
        return
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if Path(what).is_dir():  # pip installs for another Python from wheels only
        with tempfile.TemporaryDirectory() as folder:
            _output([*pip, "wheel", "--no-deps", "--wheel-dir", folder, what])
            (wheel,) = Path(folder).glob("*.whl")
            _output([*pip, "install", *python, "--only-binary=:all:", str(wheel)])
    else:
        _output([*pip, "install", *python, "--only-binary=:all:", what])


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        message = f"cannot be started: {error}"
        raise PreparationError(message) from error
    except subprocess.CalledProcessError as error:
        message = f"exit code {error.returncode} of {' '.join(command)}\n{error.stderr.strip()}"
        raise PreparationError(message) from error
    return done.stdout


@contextlib.contextmanager
def _temporary_folder(parent: Path | None, *, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cpython-suite-", dir=parent)).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        if keep:
            _tell(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _tail(path: Path, number: int = 15) -> str:
    return "\n".join(_lines(path)[-number:])


def _words(outcomes: Counter[str]) -> str:
    return (
        ", ".join(f"{what} ({n} times)" if n > 1 else what for what, n in sorted(outcomes.items()))
        or "not run"
    )


def _is_bad(outcomes: Counter[str]) -> bool:
    return any(outcomes[bad] for bad in ("error", "failed", "passed unexpectedly"))


def _summary(runs: Sequence[Run]) -> str:
    tests = [outcomes for run in runs for outcomes in run.outcomes.values()]
    bad = sum(map(_is_bad, tests))
    skipped = sum(not _is_bad(each) and bool(each["skipped"]) for each in tests)
    seconds = sum(run.seconds for run in runs)
    return (
        f"{len(tests) - bad - skipped} passed, {bad} failed, {skipped} skipped in {seconds:.0f} s"
    )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
