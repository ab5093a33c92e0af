"""One row: both versions plain, then both in one process, in each mode.

Owns the order of the steps and the result files.  Must not know how a program
is run nor what it checks.
"""

from __future__ import annotations

import ast
import hashlib
import json
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.compat import judge
from benchmarks.compat.places import INSIDE, Outcome, Places, PreparationError, fingerprint, run
from benchmarks.compat.table import NoVersionError, Resolver, Row, Version

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds.  The largest packages have thousands of modules.
_PLAIN_LIMIT, _STALL, _BUILD_LIMIT = 1200, 120, 1800
#: A mode may take so many seconds, and so many times what both versions take plain.
_MODE_LEAST, _MODE_TIMES = 90, 10
_RESTARTS = 12

#: The threads run again and again: so many times, but not once so many seconds are gone.
_TIMES, _ENOUGH = 5, 20.0


@dataclass
class Plain:
    """What one version does in a plain environment.

    Attributes:
        version: the version.
        roots: the modules that the package begins with, those that import.
        modules: all its modules that import.
        failing: those that do not, each with the reason.
        tried: all its modules but those that end the process, in order.
        skipped: tests and programs, which are not tried.
        smoke: whether there is a smoke function.
        problems: why nothing can be said about this version.
        stderr: what was written.
        seconds: how long it took.
    """

    version: Version
    roots: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    failing: dict[str, str] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    smoke: bool = False
    problems: list[str] = field(default_factory=list)
    stderr: str = ""
    seconds: float = 0.0


class IndexMovedError(Exception):
    """A bubble does not hold what the plain environment of the same version holds."""


class Bench:
    """Runs rows, and keeps what they gave in files.

    Attributes:
        places: the work folder.
    """

    def __init__(
        self,
        places: Places,
        resolver: Resolver,
        *,
        again: bool = False,
        keep: bool = False,
        figures: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.places = places
        self._resolver = resolver
        self._again = again
        self._keep = keep
        self._figures = figures
        self._say = say
        self._checks = fingerprint(INSIDE, "walk.py", "witness.py", "side_by_side.py", "first.py")

    def row(self, row: Row) -> dict[str, Any]:
        """Run one row, as far as its results are not there yet, and return them."""
        try:
            newest = self._resolver.newest(row)
        except NoVersionError as error:
            return {"name": row.name, "status": "no wheel", "reason": str(error)}
        bubbles: list[Path] = []
        try:
            return self._both(row, newest, bubbles)
        except IndexMovedError:
            # What uv was asked hours ago is not what the bubbles are made of now.
            self._resolver.forget(row)
            try:
                return self._both(row, self._resolver.newest(row), bubbles)
            except IndexMovedError as error:
                return {"name": row.name, "status": "fails", "reason": str(error)}
        except PreparationError as error:
            return {"name": row.name, "status": "fails", "reason": f"preparation: {error}"}
        finally:
            if not self._keep:
                self.places.forget(row.name, *bubbles)

    def _both(self, row: Row, newest: Version, bubbles: list[Path]) -> dict[str, Any]:
        plain_newest = self._plain(newest)
        rejected = []
        plain_older = None
        for older in self._resolver.older(row, newest):
            plain_older = self._plain(older)
            if plain_older.roots and not plain_older.problems:
                break
            reasons = (*plain_older.problems, *plain_older.failing.values())
            reason = next(iter(reasons), "it has no modules")
            rejected.append({"version": older.version, "reason": self.places.brief(reason)})
            plain_older = None
        result: dict[str, Any] = {
            "name": row.name,
            "newest": newest.version,
            "older": plain_older and plain_older.version.version,
            "rejected": rejected,
            "modes": {},
        }
        if plain_older is None:
            return {**result, "status": "no wheel", "reason": "no older version to be used"}
        plains = [plain_newest, plain_older]
        result["smoke"] = plain_newest.smoke
        for which, plain in zip(("newest", "older"), plains, strict=True):
            result[f"plain {which}"] = {
                "modules": len(plain.modules),
                "failing": plain.failing,
                "skipped": plain.skipped,
            }
        wrong = [f"plain {newest.version}: {line}" for line in plain_newest.problems]
        if not plain_newest.roots:
            wrong.append(
                f"the newest does not import in a plain environment: {plain_newest.failing}"
            )
        if wrong:
            return {**result, "status": "fails", "reason": "; ".join(wrong)}
        return self._modes(row, plains, result, bubbles)

    def _modes(
        self, row: Row, plains: list[Plain], result: dict[str, Any], bubbles: list[Path]
    ) -> dict[str, Any]:
        key = self._key(
            self.places.library,
            self._checks,
            *(pin for plain in plains for pin in plain.version.pins),
            *(root for plain in plains for root in (*plain.roots, *plain.modules)),
            _function(row.name),
        )
        wanted = [*judge.MODES, *(["figures"] if self._figures else [])]
        kept = {mode: self._kept(row.name, mode, key) for mode in wanted}
        if not all(kept.values()):
            sides = []
            for plain in plains:
                built = self._build(plain.version)
                bubble = built.of("bubble")
                if bubble:
                    bubbles.append(Path(bubble[0]["path"]))
                    sides.append({**self._facts(plain), **bubble[0]})
                    differences = _differences(plain.version, bubble[0]["distributions"])
                    if differences:
                        raise IndexMovedError(differences)
                    continue
                said = [line for event in built.of("done") for line in event["problems"]]
                reason = "; ".join(said) or f"{built.end}: {built.stderr[-2000:]}"
                status = "refused" if said and said[0].startswith("refused: ") else "fails"
                return {**result, "status": status, "reason": f"build: {reason}"}
            for mode in wanted:
                if kept[mode] is None:
                    kept[mode] = self._mode(row, mode, plains, sides)
                    self._keep_result(row.name, mode, key, kept[mode])
        result["modes"] = {mode: kept[mode] for mode in judge.MODES}
        result["figures"] = kept.get("figures")
        states = {str((kept[mode] or {})["status"]) for mode in judge.MODES}
        result["status"] = next(
            (state for state in ("fails", "refused") if state in states), "passes"
        )
        return result

    def _facts(self, plain: Plain) -> dict[str, Any]:
        return {
            "version": plain.version.version,
            "requirement": plain.version.requirement,
            "roots": plain.roots,
            "modules": plain.modules,
            "tried": plain.tried,
        }

    def _mode(
        self, row: Row, mode: str, plains: list[Plain], sides: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if mode == "figures":
            return self._measure(plains[0], sides[0])
        newest = plains[0].version
        python = self.places.main(newest if mode == "main" else None)
        in_main = _version_in(python, row.name)
        job = {
            "mode": mode,
            "name": row.name,
            "smoke": str(INSIDE / "smoke"),
            "store": str(self.places.store),
            "versions": sides,
            "in_main": in_main,
            "main_roots": plains[0].roots if in_main == newest.version else [],
        }
        texts = [plain.stderr for plain in plains]
        versions = [plain.version.version for plain in plains]
        limit = _MODE_LEAST + _MODE_TIMES * sum(plain.seconds for plain in plains)
        seconds, times = 0.0, 0
        while True:
            done = self._run(python, "side_by_side.py", job, f"{row.name}-{mode}", limit=limit)
            found = judge.problems(mode, versions, done, texts)
            found = [self.places.brief(line) for line in found]
            seconds, times = seconds + done.seconds, times + 1
            # What threads do to each other is not the same each time.
            if found or mode != "threads" or times == _TIMES or seconds > _ENOUGH:
                break
        status = "refused" if judge.refused(found) else "fails" if found else "passes"
        self._say(f"  {mode}: {status} ({times} times, {seconds:.0f} s)")
        for line in found[:3]:
            self._say(f"    {line[:300]}")
        return {
            "status": status,
            "problems": found,
            "seconds": round(seconds, 1),
            "times": times,
            "notes": [*map(self.places.brief, judge.notes(done.stderr, texts))][:20],
            "patches": [line for event in done.of("patches") for line in event["lines"]],
        }

    def _plain(self, version: Version) -> Plain:
        """Look at one version in a plain environment; again and again where modules kill."""
        key = self._key(self._checks, self.places.python, *version.pins, _function(version.name))
        name = f"plain-{version.version}"
        kept = self._kept(version.name, name, key)
        if kept is not None:
            return Plain(**{**kept["plain"], "version": version})
        python = self.places.plain(version)
        plain = Plain(version)
        job: dict[str, Any] = {"name": version.name, "smoke": str(INSIDE / "smoke")}
        job |= {"done": [], "deadly": []}
        for _ in range(_RESTARTS):
            done = self._run(
                python, "walk.py", job, f"{version.name}-plain", limit=_PLAIN_LIMIT, stall=_STALL
            )
            self._take(plain, done, job["deadly"])
            if done.done:
                break
            begun = done.of("begun")
            if not begun:
                plain.problems.append(f"{done.end}: {done.stderr[-1000:]}")
                break
            last = begun[-1]["name"]
            plain.failing[last] = f"{done.end}: {done.stderr[-300:]}"
            if last in plain.modules:  # as a root it imported; it died the second time
                plain.modules.remove(last)
            job["deadly"].append(last)
            plain.tried = [one for one in plain.tried if one != last]
            job["done"] = [*plain.modules, *plain.failing]
        else:
            plain.problems.append(f"more than {_RESTARTS} modules end the process: {job['deadly']}")
        if "the smoke function" in plain.failing:
            plain.problems.append(f"smoke: {plain.failing['the smoke function']}")
        self._keep_result(
            version.name, name, key, {"plain": {**asdict(plain), "version": version.version}}
        )
        return plain

    def _take(self, plain: Plain, done: Outcome, deadly: list[str]) -> None:
        """Add what one plain run saw."""
        plain.seconds += done.seconds
        plain.stderr += done.stderr[-20000:]
        for event in done.of("distribution"):
            plain.skipped = event["skipped"]
            plain.tried = [one for one in event["modules"] if one not in deadly]
        roots = [event["name"] for event in done.of("root") if not event["problems"]]
        plain.roots = roots
        for event in done.of("module"):
            if event["problems"]:
                plain.failing[event["name"]] = event["problems"][0]
            else:
                plain.modules.append(event["name"])
        for event in done.of("smoke"):
            plain.smoke = event["there"]
            plain.problems = [f"smoke: {line}" for line in event["problems"]]

    def _build(self, version: Version) -> Outcome:
        return self._run(
            self.places.builder(),
            "build.py",
            {"requirements": [version.requirement]},
            f"{version.name}-build",
            limit=_BUILD_LIMIT,
        )

    def _measure(self, plain: Plain, side: dict[str, Any]) -> dict[str, Any]:
        """Time first imports, plain and in a bubble, in turns."""
        pythons = {"bubble": self.places.main(), "plain": self.places.plain(plain.version)}
        found: dict[str, list[Outcome]] = {"bubble": [], "plain": []}
        preload: list[str] = []
        roots = plain.roots[:50]
        turns = 5
        while len(found["plain"]) < turns:
            for which, python in pythons.items():
                job = {
                    "roots": roots,
                    "requirement": side["requirement"] if which == "bubble" else "",
                    "preload": preload if which == "plain" else [],
                }
                done = self._run(python, "first.py", job, f"{plain.version.name}-first", limit=300)
                if not done.done:
                    problem = f"{which}: {done.end}: {done.stderr[-500:]}"
                    return {"status": "fails", "problems": [problem]}
                file = done.of("done")[0]["file"]
                if file.startswith(side["site_packages"]) != (which == "bubble"):
                    return {"status": "fails", "problems": [f"{which} imported {file}"]}
                found[which].append(done)
                preload = done.of("done")[0]["standard"]
                if done.seconds > 3:
                    turns = 3
        figures: dict[str, Any] = {"status": "passes", "problems": []}
        for fact in ("seconds", "kilobytes", "before"):
            for which, runs in found.items():
                values = [one.of("done")[0][fact] for one in runs]
                figures[f"{which} {fact}"] = statistics.median(values)
            figures[f"{fact} ratio"] = round(
                figures[f"bubble {fact}"] / figures[f"plain {fact}"], 3
            )
        # What the library itself takes is the same whatever is imported.
        library = figures["bubble before"] - figures["plain before"]
        realm = figures["bubble kilobytes"] - library
        figures["realm ratio"] = round(realm / figures["plain kilobytes"], 3)
        figures["library kilobytes"] = library
        return figures

    def _run(
        self,
        python: Path,
        program: str,
        job: dict[str, Any],
        name: str,
        *,
        limit: float,
        stall: float | None = None,
    ) -> Outcome:
        return run(
            python,
            program,
            job,
            self.places.path / "runs" / name,
            limit=limit,
            stall=stall,
            variables=self.places.variables,
        )

    def _key(self, *parts: str) -> str:
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _file(self, name: str, mode: str) -> Path:
        return self.places.results / name / f"{mode}.json"

    def _kept(self, name: str, mode: str, key: str) -> dict[str, Any] | None:
        file = self._file(name, mode)
        if self._again or not file.exists():
            return None
        kept: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return kept if kept["key"] == key else None

    def _keep_result(self, name: str, mode: str, key: str, result: dict[str, Any] | None) -> None:
        file = self._file(name, mode)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"key": key, **(result or {})}, indent=1) + "\n", "utf-8")
        new.replace(file)


def _function(name: str) -> str:
    """Return the source of a row's smoke function; "" where it has none."""
    for path in (INSIDE / "smoke").glob("*.py"):
        source = path.read_text("utf-8")
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name == name.replace("-", "_"):
                return ast.get_source_segment(source, node) or ""
    return ""


def _version_in(python: Path, name: str) -> str | None:
    """Return the version of a distribution in an environment, or None."""
    for path in python.parent.parent.glob("lib/python*/site-packages/*.dist-info"):
        found, _, version = path.name.removesuffix(".dist-info").partition("-")
        if found.lower().replace("_", "-").replace(".", "-") == name:
            return version
    return None


def _differences(version: Version, distributions: dict[str, str]) -> str:
    """Say how a bubble differs from the plain environment; "" where it does not."""
    plain = dict(pin.split(";")[0].strip().split("==") for pin in version.pins)
    plain = {name.lower().replace("_", "-").replace(".", "-"): one for name, one in plain.items()}
    if plain == distributions:
        return ""
    odd = sorted(set(plain.items()) ^ set(distributions.items()))
    return f"the bubble of {version.requirement} differs from the plain environment: {odd}"


def interpreter() -> str:
    """Return the interpreter that rows are run with unless told otherwise."""
    return sys.executable
