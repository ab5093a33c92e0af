"""What else gives one program two versions of a package, each beside this library in turns.

Owns the environments that only the others need, and which figures are made.  Each does
another kind of work, which its row says; and each is checked to have seen the right version.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import distributed
from benchmarks.environments import run
from benchmarks.speed.places import VERSIONS
from benchmarks.speed.rows import Other

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.speed.places import Places

__all__ = ["Way", "beside", "rows"]

_OMNIPKG = "omnipkg==3.4.1"
#: How much faster entering and leaving is to be than omnipkg's.
_LEAST = 40_000
_TWO = VERSIONS[:2]
_OURS = 2000
#: Seconds after which omnipkg's command is given up.
_PATIENCE = 300


class Way(NamedTuple):
    """Another way: what it is, what it does, how often in a turn, and what does that.

    ``run`` takes how often, and returns the seconds, the same of entering and leaving alone,
    and how many saw another version.
    """

    name: str
    work: str
    times: int
    run: Callable[[int], dict[str, Any]]


def rows(places: Places, *, quick: bool, ray: bool = False) -> list[Other]:
    """Measure each way; the quick part needs nothing that is not there already.

    Args:
        places: where.
        quick: less of all.
        ray: Ray as well, which is a large download.
    """
    others = _Others(places)
    ways = [
        Way(
            "modules purged from `sys.modules`",
            "executes the modules again, for the whole process",
            20,
            others.purging,
        ),
        Way(
            "a subprocess for each call",
            "another process and environment, which imports everything again",
            5,
            others.subprocesses,
        ),
    ]
    if sys.version_info >= (3, 14):
        ways.append(
            Way(
                "`InterpreterPoolExecutor`",
                "a task in another interpreter of the process; arguments and results are copied",
                500,
                others.interpreters,
            )
        )
    if not quick:
        ways += [
            Way(
                f"`{_OMNIPKG}`, its loader",
                "renames directories and executes the modules again, for the whole process",
                8,
                others.omnipkg_loader,
            ),
            Way(
                f"`{_OMNIPKG}`, its daemon",
                "another process for each version, which gets code as text and answers with text",
                500,
                others.omnipkg_daemon,
            ),
        ]
    found = []
    for way in ways:
        print(f"beside {way.name}", file=sys.stderr)
        found += beside(others.ours, way, rounds=1 if quick else 3)
    if ray and not quick:
        found += _ray(places.directory / "ray")
    return found


def beside(measure: Callable[[], dict[str, float]], way: Way, *, rounds: int) -> list[Other]:
    """Measure one way and this library, in turns.

    Args:
        measure: measures this library, and returns the seconds of an activation and of a scope.
        way: the other way.
        rounds: how many turns.
    """
    theirs: list[dict[str, Any]] = []
    ours: list[dict[str, float]] = []
    happened = ""
    for _ in range(rounds):
        ours.append(measure())
        try:
            theirs.append(way.run(way.times))
        except SystemExit as error:
            happened = f"failed: {str(error).strip().splitlines()[-1]}"
            break
    activation, scope = (
        statistics.median(one[key] for one in ours) for key in ("activation", "scope")
    )
    if happened:
        return [Other(way.name, way.work, None, activation, happened=happened)]
    seconds = [second for one in theirs for second in one["seconds"]]
    wrong = sum(one["wrong"] for one in theirs)
    if wrong:
        happened = f"{wrong} of {len(seconds)} saw another version"
    name = f"{way.name}: a version, and `import rich.console`"
    found = [Other(name, way.work, statistics.median(seconds), activation, happened=happened)]
    if alone := [second for one in theirs for second in one.get("alone", ())]:
        name = f"{way.name}: entering and leaving"
        found.append(Other(name, way.work, statistics.median(alone), scope, _LEAST))
    return found


def _ray(place: Path) -> list[Other]:
    """Take the figures of Ray from the bench of clusters."""
    place.mkdir()
    told = distributed.Bench(place).ray()
    name = 'Ray, `runtime_env={"uv": ...}`'
    work = "a process and an environment for each version; ours: a task of Ray in a scope"
    return [
        Other(f"{name}: {what}", work, told[f"uv, {key}"], told[f"scope, {key}"])
        for what, key in (
            ("the first task of a version that is not there", "to be made"),
            ("each later task", "alternating"),
        )
    ]


class _Others:
    """Each way as a program, in the environment that it needs."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._directories = [f"{one}={places.bubble(f'rich=={one}')}" for one in _TWO]
        self._omnipkg: Path | None = None

    def ours(self) -> dict[str, float]:
        """Run this library."""
        program = self._places.program("ours.py")
        told: dict[str, float] = json.loads(
            self._places.run(self._places.main, program, str(_OURS), *_TWO)
        )
        return told

    def purging(self, count: int) -> dict[str, Any]:
        """Run what purges modules."""
        return self._program(self._places.main, "purging.py", count, self._directories)

    def interpreters(self, count: int) -> dict[str, Any]:
        """Run the pools of interpreters."""
        return self._program(self._places.main, "interpreters.py", count, self._directories)

    def subprocesses(self, count: int) -> dict[str, Any]:
        """Run an interpreter of a plain environment each time."""
        pythons = [self._places.environment(f"plain-{one}", f"rich=={one}") for one in _TWO]
        code = "import rich.console, sys; print(rich.console.__file__)"
        seconds, wrong = [], 0
        for turn in range(count + 1):
            for version, python in zip(_TWO, pythons, strict=True):
                start = perf_counter()
                file = self._places.run(python, "-c", code)
                if turn:
                    seconds.append(perf_counter() - start)
                    wrong += f"plain-{version}" not in file
        return {"seconds": seconds, "wrong": wrong}

    def omnipkg_loader(self, count: int) -> dict[str, Any]:
        """Run omnipkg's loader."""
        python = self._omnipkg_python()
        return self._program(python, "omnipkg_loader.py", count, _TWO, self._omnipkg_variables())

    def omnipkg_daemon(self, count: int) -> dict[str, Any]:
        """Run omnipkg's daemon."""
        python = self._omnipkg_python()
        return self._program(python, "omnipkg_daemon.py", count, _TWO, self._omnipkg_variables())

    def _program(
        self,
        python: Path,
        name: str,
        count: int,
        words: tuple[str, ...] | list[str],
        variables: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        program = self._places.program(name)
        told = self._places.run(python, program, str(count), *words, variables=variables)
        # What is imported may print, too.
        found: dict[str, Any] = json.loads(told.splitlines()[-1])
        return found

    def _omnipkg_python(self) -> Path:
        """Return the interpreter of omnipkg's environment, with its bubbles made by it."""
        if self._omnipkg is None:
            python = self._places.environment("omnipkg", _OMNIPKG)
            for name in ("home", "tmp"):
                (self._places.directory / f"omnipkg-{name}").mkdir(exist_ok=True)
            variables = self._omnipkg_variables()
            for version in _TWO:
                command = (str(python.with_name("omnipkg")), "install", f"rich=={version}")
                place = self._places.directory
                run(*command, cwd=place, variables=variables, patience=_PATIENCE)
            self._omnipkg = python
        return self._omnipkg

    def _omnipkg_variables(self) -> dict[str, str]:
        """Return variables that keep all that omnipkg writes in the bench's directory."""
        place = self._places.directory
        home, environment = place / "omnipkg-home", place / "omnipkg"
        strange = ("OMNIPKG", "PYTHON", "VIRTUAL_ENV", "CONDA", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        return {
            **_configuration_of_pip(),
            **kept,
            "HOME": str(home),
            "TMPDIR": str(place / "omnipkg-tmp"),
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "OMNIPKG_VENV_ROOT": str(environment),
            "OMNIPKG_NONINTERACTIVE": "1",
            "OMNIPKG_LANG": "en",
        }


def _configuration_of_pip() -> dict[str, str]:
    """Return where the user's index is configured, which is looked for in the home otherwise."""
    home = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "pip" / "pip.conf"
    return {"PIP_CONFIG_FILE": str(home)} if home.exists() else {}
