"""The compatibility bench cannot pass falsely: each of its checks is made to fail once.

The programs that run in the environments are run here with this interpreter,
on little wheels that misbehave on purpose.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta
from benchmarks.compat import judge, upstream
from benchmarks.compat.places import Outcome, Places, run
from benchmarks.compat.rows import Bench as Rows
from benchmarks.compat.rows import IndexMovedError, Plain
from benchmarks.compat.table import Row, Version, rows
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnipkg_meta.store.bubble import Bubble
    from tests.worlds import World

_LIBRARY = str(Path(omnipkg_meta.__file__).parent.parent)
_SOUND = {
    "PKG/__init__.py": "VERSION = '@'\n",
    "PKG/part.py": "from PKG import VERSION\n",
}


class Bench:
    """Two versions of a little package, and what the bench says about them."""

    def __init__(self, world: World, *, main: bool = False) -> None:
        self.world = world
        self.name = world.name()
        self.smoke = ""
        self.modules = [self.name, f"{self.name}.part"]
        self.main = main

    def files(self, changes: Mapping[str, str], version: str) -> dict[str, str | bytes]:
        """Return the sources of a version, with the test's own changes."""
        return {
            path.replace("PKG", self.name): text.replace("PKG", self.name).replace("@", version)
            for path, text in {**_SOUND, **changes}.items()
        }

    def problems(
        self,
        changes: Mapping[str, str] | None = None,
        *,
        mode: str = "turns",
        limit: float = 60,
        edit: Any = None,
    ) -> list[str]:
        """Run a mode and return what was wrong; the changes are the older version's."""
        bubbles = [
            self.world.make(self.name, "2.0", self.files({}, "2.0")),
            self.world.make(self.name, "1.0", self.files(changes or {}, "1.0")),
        ]
        if self.main:
            self.world.install(self.world.wheel(self.name, "2.0", self.files({}, "2.0")))
        if edit is not None:
            edit(bubbles[1])
        smoke = self.world.path / "smoke"
        smoke.mkdir()
        (smoke / "own.py").write_text(self.smoke.replace("PKG", self.name))
        job = {
            "mode": mode,
            "name": self.name,
            "smoke": str(smoke),
            "store": str(self.world.store.path),
            "versions": [self.side(bubble) for bubble in bubbles],
            "in_main": "2.0" if self.main else None,
            "main_roots": [self.name] if self.main else [],
        }
        self.outcome = self.run("side_by_side.py", job, limit)
        return judge.problems(mode, ["2.0", "1.0"], self.outcome, [])

    def side(self, bubble: Bubble) -> dict[str, Any]:
        """Return what the program is told about one version."""
        version = bubble.distributions[self.name]
        return {
            "version": version,
            "requirement": f"{self.name}=={version}",
            "site_packages": str(bubble.site_packages),
            "roots": [self.name],
            "modules": self.modules,
            "tried": [*self.modules, f"{self.name}.fails_in_plain_too"],
        }

    def run(self, program: str, job: dict[str, Any], limit: float = 60) -> Outcome:
        """Run one of the programs with this interpreter."""
        path = os.pathsep.join((str(self.world.main), _LIBRARY))
        variables = {"PYTHONPATH": path, "OMNIPKG_META_STORE": str(self.world.store.path)}
        folder = self.world.path / "runs"
        return run(sys.executable, program, job, folder, limit=limit, variables=variables)


@pytest.fixture
def bench(world: World) -> Bench:
    """A bench whose main does not have the package."""
    return Bench(world)


def of(problems: list[str], check: str) -> str:
    """Return the problem that a check found; it must be the first of all."""
    assert problems, "the bench found nothing"
    found = [line for line in problems if line.startswith(check)]
    assert found, problems
    return found[0]


@pytest.mark.parametrize("mode", judge.MODES)
def test_a_sound_package_passes_and_every_check_was_made(world: World, mode: str) -> None:
    bench = Bench(world, main=mode == "main")
    bench.smoke = "def PKG():\n    import PKG\n    yield\n    assert PKG.VERSION\n"
    assert bench.problems(mode=mode) == []
    made = {(event["name"], event["version"]) for event in bench.outcome.of("check")}
    assert made == judge.expected(mode, ["2.0", "1.0"])


def test_a_wrong_result_of_the_smoke_function_is_found(bench: Bench) -> None:
    bench.smoke = "def PKG():\n    import PKG\n    assert PKG.VERSION == '2.0', PKG.VERSION\n"
    assert "AssertionError: 1.0" in of(bench.problems(), "smoke 1.0")


def test_a_wrong_result_after_the_scope_is_found(bench: Bench) -> None:
    bench.smoke = "def PKG():\n    import PKG\n    yield\n    assert PKG.VERSION == '2.0'\n"
    assert "AssertionError" in of(bench.problems(), "smoke after the scope 1.0")


def test_a_wrong_result_in_main_is_found(world: World) -> None:
    bench = Bench(world, main=True)
    bench.smoke = "def PKG():\n    import PKG\n    assert PKG.VERSION != '2.0'\n"
    problems = bench.problems(mode="main")
    of(problems, "main smoke")
    of(problems, "main smoke again")


def test_a_version_that_only_claims_to_be_it_is_found_by_its_metadata(bench: Bench) -> None:
    def edit(bubble: Bubble) -> None:
        (metadata,) = bubble.site_packages.glob("*.dist-info/METADATA")
        metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 3.0"))

    assert "metadata says 3.0" in of(bench.problems(edit=edit), "metadata 1.0")


def test_a_module_from_elsewhere_is_found_by_its_file(bench: Bench) -> None:
    stray = bench.world.module("stray_of_" + bench.name, "x = 1\n")
    problems = bench.problems({"PKG/__init__.py": f"__file__ = {str(stray)!r}\n"})
    assert str(stray) in of(problems, "file 1.0")
    of(problems, "realm files")


def test_a_module_of_main_in_a_realm_is_found(bench: Bench) -> None:
    stray = bench.world.module("stray_of_" + bench.name, "x = 1\n")
    load = (
        "import importlib.util as u, sys\n"
        f"spec = u.spec_from_file_location('PKG.odd', {str(stray)!r})\n"
        "sys.modules['PKG.odd'] = u.module_from_spec(spec)\n"
    )
    assert "odd" in of(bench.problems({"PKG/__init__.py": load}), "realm files")


def test_a_claimed_name_in_mains_storage_is_found(bench: Bench) -> None:
    leak = "import sys\ndict.__setitem__(sys.modules, 'PKG.leak', sys)\n"
    problems = bench.problems({"PKG/part.py": leak})
    assert ".leak" in of(problems, "storage")


def test_a_replaced_module_of_main_is_found(bench: Bench) -> None:
    problems = bench.problems({"PKG/__init__.py": "import sys\nsys.modules['json'] = sys\n"})
    assert "main's json was replaced" in of(problems, "main modules")


def test_a_vanished_module_of_main_is_found(bench: Bench) -> None:
    problems = bench.problems(
        {"PKG/__init__.py": "import sys\ndict.pop(sys.modules, 'json', None)\n"}
    )
    assert "main's json is gone" in of(problems, "main modules")


def test_a_bubbles_module_under_a_name_that_nobody_claimed_is_found(bench: Bench) -> None:
    leak = "import sys\ndict.__setitem__(sys.modules, 'leak_of_PKG', sys.modules[__name__])\n"
    assert "leak_of_" in of(bench.problems({"PKG/part.py": leak}), "main files")


def test_a_bubbles_function_in_a_module_of_main_is_found(bench: Bench) -> None:
    bench.world.module("victim_of_" + bench.name, "def hello(): pass\n")
    patch = "import victim_of_PKG as v\ndef hello(): pass\nv.hello = hello\n"
    problems = bench.problems({"PKG/__init__.py": patch})
    assert ".hello is from" in of(problems, "main bindings")


def test_what_is_written_into_the_standard_library_is_told(bench: Bench) -> None:
    patch = "import json\ndef odd(): pass\njson.odd_of_PKG = odd\n"
    assert bench.problems({"PKG/part.py": patch}) == []
    (event,) = bench.outcome.of("patches")
    assert f"json.odd_of_{bench.name}" in event["lines"][0]


def test_what_the_library_says_of_such_a_patch_is_a_note_and_no_error() -> None:
    said = "x.py:1: StandardLibraryPatchWarning: <Bubble 'a-1'> has put a.Error in the place of b"
    other = "x.py:1: UserWarning: an error"
    run = Outcome(stderr=f"{said}\n{other}\n")
    assert judge.errors(run.stderr, []) == [other]
    assert judge.notes(run.stderr, []) == [said]


def test_what_a_native_library_logs_for_information_is_no_error() -> None:
    informs = "I1124 14:38:12.201345   19287 transport.cc:1403] Got goaway err=UNAVAILABLE:error"
    early = "I0000 00:00:1795533305.280362   10354 port.cc:153] round-off errors"
    warns = "W1124 14:38:12.201345   19287 transport.cc:1403] error"
    assert judge.errors(f"{informs}\n{early}\n{warns}\n", []) == [warns]


def test_an_error_that_a_plain_run_wrote_under_another_path_is_known() -> None:
    plain = "W1124 14:53:44 81 pkg/part.py:62] errors follow\n"
    assert (
        judge.errors("W1125 15:36:06 1 /store/pkg-1/pkg/part.py:62] errors follow\n", [plain]) == []
    )
    assert judge.errors("W1125 15:36:06 1 /store/pkg-1/pkg/other.py:6] errors follow\n", [plain])


def test_what_is_particular_to_this_machine_does_not_come_into_the_page(tmp_path: Path) -> None:
    places = Places(tmp_path, sys.executable)
    inside = places.path / "environments" / "pkg-1" / "lib" / "python3.11" / "pkg.py"
    line = f"{inside}: failed (/opt/python/lib/python3.11/json/__init__.py) [in /opt]"
    assert places.brief(line) == (
        "pkg-1/lib/python3.11/pkg.py: failed (lib/python3.11/json/__init__.py) [in /opt]"
    )


def test_an_older_version_that_does_not_work_plain_is_passed_over(tmp_path: Path) -> None:
    versions = [Version("pkg", one, (f"pkg=={one}",)) for one in ("3.0", "1.0", "2.0")]
    newest, *older = versions

    class Resolved:
        def newest(self, _: Row) -> Version:
            return newest

        def older(self, _: Row, __: Version) -> list[Version]:
            return older

    class Plains(Rows):
        def _plain(self, version: Version) -> Plain:
            problems = ["smoke: it is broken"] if version.version == "1.0" else []
            return Plain(version, roots=["pkg"], problems=problems)

        def _modes(self, _: Row, plains: list[Plain], result: Any, __: Any) -> dict[str, Any]:
            return {**result, "taken": [plain.version.version for plain in plains]}

    places: Any = Places(tmp_path, sys.executable)
    resolver: Any = Resolved()
    result = Plains(places, resolver).row(Row("pkg", ()))
    assert result["taken"] == ["3.0", "2.0"]
    assert result["rejected"] == [{"version": "1.0", "reason": "smoke: it is broken"}]


@pytest.mark.parametrize(("moves", "status"), [(1, "passes"), (2, "fails")])
def test_where_the_index_has_moved_it_is_asked_again_once(
    tmp_path: Path, moves: int, status: str
) -> None:
    asked = []

    class Resolved:
        def newest(self, row: Row) -> Version:
            asked.append(row.name)
            return Version("pkg", str(len(asked)), ())

        def forget(self, row: Row) -> None:
            asked.append(f"forget {row.name}")

    class Moving(Rows):
        left = moves

        def _both(self, _: Row, newest: Version, __: list[Path]) -> dict[str, Any]:
            if self.left:
                self.left -= 1
                raise IndexMovedError(f"{newest.version} differs")
            return {"status": "passes"}

    resolver: Any = Resolved()
    result = Moving(Places(tmp_path, sys.executable), resolver).row(Row("pkg", ()))
    assert asked == ["pkg", "forget pkg", "pkg"]
    assert result["status"] == status


def test_a_submodule_that_does_not_import_is_found(bench: Bench) -> None:
    problems = bench.problems({"PKG/part.py": "raise ImportError('on purpose')\n"})
    assert "on purpose" in of(problems, "modules 1.0")


def test_a_submodule_that_is_not_there_is_found(bench: Bench) -> None:
    bench.modules.append(f"{bench.name}.nowhere")
    assert "nowhere" in of(bench.problems(), "modules 2.0")


def test_a_package_that_is_another_one_the_second_time_is_found(bench: Bench) -> None:
    forget = "import sys\nsys.modules.pop('PKG')\nimport PKG\n"
    problems = bench.problems({"PKG/part.py": forget})
    of(problems, "entered again 1.0")


def test_what_is_still_there_outside_the_scope_is_found(bench: Bench) -> None:
    show = """
import pathlib, sys, tempfile
place = pathlib.Path(tempfile.mkdtemp())
(place / "PKG-9.dist-info").mkdir()
(place / "PKG-9.dist-info" / "METADATA").write_text("Name: PKG\\nVersion: 9\\n")
sys.path.insert(0, str(place))
"""
    problems = bench.problems({"PKG/part.py": show})
    of(problems, "outside")


@pytest.mark.parametrize("where", ["PKG/__init__.py", "PKG/part.py"])
@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("import os\nos.abort()\n", "died of SIGABRT"),
        ("import os\nos._exit(0)\n", "ended without having come to its end"),
        ("import os\nos._exit(7)\n", "exit code 7"),
    ],
)
def test_an_ended_process_is_found(bench: Bench, where: str, death: str, words: str) -> None:
    problems = bench.problems({where: death})
    assert words in of(problems, "process")
    of(problems, "never checked")


def test_an_exit_code_after_everything_is_found(bench: Bench) -> None:
    late = "import atexit, os\natexit.register(os._exit, 5)\n"
    assert "exit code 5" in of(bench.problems({"PKG/part.py": late}), "process")


def test_a_hang_is_ended_and_says_where(bench: Bench) -> None:
    hang = "import threading\nthreading.Event().wait()\n"
    problems = bench.problems({"PKG/part.py": hang}, limit=11.5)
    assert "not done after" in of(problems, "process")
    assert "part.py" in of(problems, "process")


def test_an_error_on_stderr_is_found_unless_the_plain_run_wrote_it_too(bench: Bench) -> None:
    odd = "import sys\nprint('odd error 7', file=sys.stderr)\n"
    assert of(bench.problems({"PKG/part.py": odd}), "stderr") == "stderr: odd error 7"
    assert judge.problems("turns", ["2.0", "1.0"], bench.outcome, ["odd error 8\n"]) == []


def test_a_refusal_of_the_library_is_told_apart_from_a_failure(bench: Bench) -> None:
    def edit(bubble: Bubble) -> None:
        (bubble.path / "manifest.json").unlink()

    problems = bench.problems(edit=edit)
    assert judge.refused(problems)
    assert "scope 1.0: refused: BubbleNotFoundError" in of(problems, "scope")
    assert not judge.refused([*problems, "main modules: main's json is gone"])
    assert not judge.refused([])


def test_the_plain_walk_names_what_imports_and_what_does_not(bench: Bench) -> None:
    files = {
        **bench.files({}, "1.0"),
        f"{bench.name}/broken.py": "import nowhere_at_all\n",
        f"{bench.name}/leave.py": "raise SystemExit(3)\n",
        f"{bench.name}/tests/test_it.py": "raise RuntimeError\n",
        f"{bench.name}/__main__.py": "raise RuntimeError\n",
    }
    bench.world.install(bench.world.wheel(bench.name, "1.0", files))
    (bench.world.path / "own.py").write_text(
        f"def {bench.name}():\n    yield\n    assert 0, 'on purpose'\n"
    )
    job = {"name": bench.name, "smoke": str(bench.world.path), "done": [], "deadly": []}
    done = bench.run("walk.py", job)
    assert done.done, done.stderr
    (distribution,) = done.of("distribution")
    assert distribution["roots"] == [bench.name]
    assert distribution["skipped"] == [f"{bench.name}.__main__", f"{bench.name}.tests.test_it"]
    imported = [event["name"] for event in done.of("module") if not event["problems"]]
    assert imported == [bench.name, f"{bench.name}.part"]
    failing = {
        event["name"]: event["problems"][0] for event in done.of("module") if event["problems"]
    }
    assert set(failing) == {f"{bench.name}.broken", f"{bench.name}.leave"}
    (smoked,) = done.of("smoke")
    assert "on purpose" in smoked["problems"][0]


def test_the_plain_walk_is_ended_where_nothing_happens(bench: Bench) -> None:
    files = {
        **bench.files({}, "1.0"),
        f"{bench.name}/hang.py": "import threading\nthreading.Event().wait()\n",
    }
    bench.world.install(bench.world.wheel(bench.name, "1.0", files))
    job = {"name": bench.name, "smoke": str(bench.world.path), "done": [], "deadly": []}
    path = os.pathsep.join((str(bench.world.main), _LIBRARY))
    done = run(
        *(sys.executable, "walk.py", job, bench.world.path / "runs"),
        limit=60,
        stall=2,
        variables={"PYTHONPATH": path},
    )
    assert done.ended == "nothing happened for 2 s"
    assert done.of("begun")[-1]["name"] == f"{bench.name}.hang"


def test_the_table_is_read_as_its_first_line_says() -> None:
    found = rows()
    assert len(found) == len({row.name for row in found}) > 100
    assert Row("numpy", ("<2", "<2.5", "<2.5.5")) in found


def outcomes(*found: tuple[str, str]) -> Outcome:
    """Return a run of a suite with these outcomes, that came to its end."""
    events = [{"event": "outcome", "id": name, "outcome": outcome} for name, outcome in found]
    return Outcome([*events, {"event": "done"}])


def test_a_test_that_goes_differently_in_a_scope_is_found() -> None:
    plain = outcomes(("a", "passed"), ("b", "failed"), ("c", "passed"))
    assert upstream.differences([plain], [plain]) == []
    scope = outcomes(("a", "failed"), ("b", "failed"), ("d", "passed"))
    found = upstream.differences([plain], [scope])
    assert [line.partition(":")[0] for line in found] == ["a", "c", "d"]


def test_a_suite_that_ran_nothing_or_did_not_come_to_its_end_is_found() -> None:
    assert upstream.differences([outcomes()], [outcomes()]) == ["no test passed: "] * 2
    uncollected = outcomes(("a.py", "collect failed"))
    told = upstream.differences([uncollected], [uncollected])
    assert told == ["no test passed: 1 collect failed"] * 2
    ended = Outcome(outcomes(("a", "passed")).events, exit_code=-6)
    (line,) = upstream.differences([outcomes(("a", "passed"))], [ended])
    assert "SIGABRT" in line


def test_a_test_is_different_only_where_no_run_is_like_any_plain_run() -> None:
    good, bad = (outcomes(("a", one), ("other", "passed")) for one in ("passed", "failed"))
    assert upstream.differences([good, bad], [bad, bad]) == []
    assert upstream.differences([good, good], [bad, good]) == []
    assert len(upstream.differences([good, good], [bad, bad])) == 1


def test_pytest_inside_a_scope_runs_the_bubbles_tests_and_tells_each_outcome(bench: Bench) -> None:
    tests = (
        "import pytest, PKG\n"
        "def test_version(): assert PKG.VERSION == '1.0'\n"
        "def test_fails(): assert PKG.VERSION == '2.0'\n"
        "@pytest.mark.xfail\ndef test_expected(): raise RuntimeError\n"
        "@pytest.mark.skip\ndef test_skipped(): pass\n"
        "@pytest.fixture\ndef broken(): raise RuntimeError\n"
        "def test_error(broken): pass\n"
    ).replace("PKG", bench.name)
    sources = {**bench.files({}, "1.0"), f"{bench.name}/test_it.py": tests}
    bubble = bench.world.make(bench.name, "1.0", sources)
    bench.world.install(bench.world.wheel(bench.name, "2.0", bench.files({}, "2.0")))
    job = {
        "package": bench.name,
        "requirements": [f"{bench.name}==1.0"],
        "site_packages": str(bubble.site_packages),
        "copied": None,
        "arguments": ["--pyargs", bench.name],
    }
    done = bench.run("suite.py", job)
    assert done.done, done.stderr
    assert done.of("done")[0]["file"].startswith(str(bubble.site_packages))
    assert {
        name.partition("::")[2]: dict(one) for name, one in upstream.outcomes(done).items()
    } == {
        "test_version": {"passed": 1},
        "test_fails": {"failed": 1},
        "test_expected": {"expected to fail, skipped": 1},
        "test_skipped": {"setup skipped": 1},
        "test_error": {"setup failed": 1},
    }
