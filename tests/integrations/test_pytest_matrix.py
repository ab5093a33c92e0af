"""``--bubbles``: every test of a run, once on each of several versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integrations.suites import PLUGINS, suite_fixture, world_fixture  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from tests.integrations.suites import Suite

BOTH = ("--bubbles", "PKG==1.*", "--bubbles", "PKG==2.*")

LIBRARY = """
import PKG

def version():
    return PKG.__version__

def late():
    import PKG
    return PKG.__version__
"""

TESTS = """
import threading

import pytest
import PKG
import mylib
from mylib import late

seen = []

@pytest.fixture(params=["a", "b"])
def letter(request):
    return request.param

@pytest.fixture(scope="module")
def in_module():
    yield PKG.__version__
    assert late() == PKG.__version__

def test_the_module_the_library_and_its_functions_see_it(bubble):
    wanted = bubble.distributions["PKG"]
    assert PKG.__version__ == wanted == mylib.version() == late()
    seen.append(wanted)

def test_so_do_fixtures_of_all_scopes(bubble, in_module, in_conftest, letter, for_all):
    assert bubble.distributions["PKG"] == in_module == in_conftest == for_all[0]
    assert seen == [in_module]

class TestOfAClass:
    @classmethod
    def setup_class(cls):
        cls.version = PKG.__version__

    def test_a_thread_of_its_own_sees_it(self, bubble):
        found = []
        thread = threading.Thread(target=lambda: found.append(late()))
        thread.start()
        thread.join()
        assert found == [bubble.distributions["PKG"]] == [self.version]
"""

CONFTEST = """
import PKG
import pytest
from mylib import version

made = []

@pytest.fixture(scope="session")
def in_conftest():
    assert not made  # once in a run, for each version
    made.append(1)
    yield version()
    assert version() == PKG.__version__

@pytest.fixture(autouse=True)
def for_all():
    yield [PKG.__version__]
"""

LAYOUTS = {
    "flat": ("mylib", "", ()),
    "package of tests": ("mylib", "tests/", ("tests/__init__",)),
    "src": ("src/mylib", "tests/", ()),
}


def lay_out(suite: Suite, layout: str, *lines: str) -> None:
    library, tests, empty = LAYOUTS[layout]
    suite.write(LIBRARY, f"{library}/__init__")
    suite.write(CONFTEST, f"{tests}conftest")
    suite.write(TESTS, f"{tests}test_one")
    suite.write(TESTS, f"{tests}unit/test_two" if layout == "src" else f"{tests}test_two")
    for name in empty:
        suite.write("", name)
    suite.ini(f"pythonpath = {'src' if layout == 'src' else '.'}", *lines)


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_tests_run_on_all_versions(suite: Suite, layout: str, mode: str) -> None:
    lay_out(suite, layout)
    done = suite.run(f"--import-mode={mode}", *BOTH)
    done.assert_outcomes(passed=16)
    done.stdout.fnmatch_lines(["bubbles: *==1.* (*), *==2.* (*)"])


def test_tests_are_named_and_chosen_as_parametrized_ones(suite: Suite) -> None:
    lay_out(suite, "src")
    done = suite.run("--collect-only", "-q", "tests/test_one.py", *BOTH)
    assert [line.replace(suite.name, "PKG") for line in done.outlines if "::" in line] == [
        line
        for version in ("PKG==1.*", "PKG==2.*")
        for line in (
            f"tests/test_one.py::test_the_module_the_library_and_its_functions_see_it[{version}]",
            f"tests/test_one.py::test_so_do_fixtures_of_all_scopes[a-{version}]",
            f"tests/test_one.py::test_so_do_fixtures_of_all_scopes[b-{version}]",
            f"tests/test_one.py::TestOfAClass::test_a_thread_of_its_own_sees_it[{version}]",
        )
    ]
    one = "tests/test_one.py::TestOfAClass::test_a_thread_of_its_own_sees_it"
    suite.run(one, *BOTH).assert_outcomes(passed=2)
    suite.run(f"{one}[PKG==2.*]", *BOTH).assert_outcomes(passed=1)
    suite.run("-k", "thread", *BOTH).assert_outcomes(passed=4, deselected=12)


@pytest.mark.parametrize("distribution", ["load", "loadfile", "worksteal"])
def test_workers_of_xdist_share_them_out(suite: Suite, distribution: str) -> None:
    lay_out(suite, "src", "bubbles =", "    PKG==1.*", "    PKG==2.*")
    # In one file a test looks for what another one left.
    suite.write("def test_it(bubble): assert bubble", "tests/test_three")
    tests = "tests/test_three.py" if distribution != "loadfile" else "tests"
    done = suite.run("-n", "2", "--dist", distribution, tests)
    done.assert_outcomes(passed=18 if tests == "tests" else 2)


def test_the_last_failed_are_run_again(suite: Suite) -> None:
    suite.write("import PKG\ndef test_it():\n    assert PKG.__version__ != '2.0'\n")
    suite.write("def test_fine(): pass\n", "test_other")
    suite.run(*BOTH, without=PLUGINS).assert_outcomes(failed=1, passed=3)
    done = suite.run("--lf", *BOTH, without=PLUGINS)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([f"FAILED test_it.py::test_it[[]{suite.name}==2.[*][]]*"])


def test_what_looks_a_module_up_for_the_test_finds_the_versions(suite: Suite) -> None:
    lay_out(suite, "src")
    suite.write(
        """
import importlib
import pickle
import sys
from importlib import metadata
from unittest import mock

import pytest
import mylib

class Thing:
    pass

def test_it(monkeypatch, bubble):
    wanted = bubble.distributions["PKG"]
    assert pytest.importorskip("PKG").__version__ == wanted
    assert importlib.import_module("PKG") is sys.modules["PKG"] is mylib.PKG
    assert metadata.version("PKG") == wanted
    monkeypatch.setattr("mylib.version", lambda: "patched")
    assert mylib.version() == "patched"
    with mock.patch("mylib.late", return_value="mocked"):
        assert mylib.late() == "mocked"
    assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
""",
        "tests/test_one",
    )
    suite.run("tests/test_one.py", *BOTH).assert_outcomes(passed=2)


def test_modules_beside_the_tests_are_the_versions_too(suite: Suite) -> None:
    suite.write("import PKG\n", "tests/helping")
    suite.write(
        """
import helping

def test_it(bubble):
    assert helping.PKG.__version__ == bubble.distributions["PKG"]
""",
        "tests/test_it",
    )
    suite.run(*BOTH).assert_outcomes(passed=2)


def test_a_version_that_main_has_is_mains(suite: Suite) -> None:
    lay_out(suite, "package of tests")
    suite.write(
        "import PKG\ndef test_it(bubble):\n    assert (PKG.__version__, bubble) == ('0.5', None)\n",
        "tests/test_one",
    )
    suite.write("", "tests/test_two")
    done = suite.run("--bubbles", "PKG<1", "--bubbles", "PKG==1.*", "tests/test_one.py")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["bubbles: *<1 (main has it), *==1.* (*)"])


def test_several_requirements_make_one_bubble(suite: Suite) -> None:
    other = suite.world.name("other")
    wheels = [suite.world.wheel(suite.name, "3.0"), suite.world.wheel(other, "4.0")]
    suite.world.bubble(*wheels)
    suite.write(
        f"import PKG, {other}\ndef test_it():\n"
        f"    assert (PKG.__version__, {other}.__version__) == ('3.0', '4.0')\n"
    )
    done = suite.run("-v", "--bubbles", f"PKG==3.* + {other} == 4.0")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines([f"*::test_it[[]{suite.name}==3.[*]+{other}==4.0[]] PASSED*"])


def test_versions_can_be_bubbles_that_the_project_names(suite: Suite) -> None:
    helper = suite.world.name("helper")
    suite.world.install(suite.world.wheel(helper, "3.0"))
    suite.world.bubble(suite.world.wheel(suite.name, "2.5"), suite.world.wheel(helper, "2.0"))
    (suite.pytester.path / "pyproject.toml").write_text(
        f"[tool.omnipkg-meta.bubbles]\nold = ['{suite.name}==1.*']\n"
        f"shared = {{ requirements = ['{suite.name}==2.5'], share = ['{helper}'] }}\n"
    )
    suite.write(
        f"""
import PKG, {helper}
def test_it():
    print(PKG.__version__, {helper}.__version__)
""",
        "tests/test_it",
    )
    done = suite.run("-v", "-rP", "--bubbles", "project:old", "--bubbles", "project:shared")
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines(["*::test_it[[]old[]] PASSED*", "*::test_it[[]shared[]] PASSED*"])
    done.stdout.fnmatch_lines(["1.0 3.0", "*", "2.5 3.0"], consecutive=False)
    done = suite.run("--bubbles", "project:older")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "names no bubble 'older'" in done.stderr.str()


def test_pytest_is_mains_where_a_bubble_holds_another_one(suite: Suite) -> None:
    old = {"pytest/__init__.py": "", "_pytest/__init__.py": ""}
    suite.world.bubble(
        suite.world.wheel(suite.name, "3.0", requires=["pytest"]),
        suite.world.wheel("pytest", "0.1", old),
    )
    suite.write(
        """
import pytest
import PKG

@pytest.mark.parametrize("number", [1, 2])
def test_it(number):
    with pytest.raises(AssertionError):
        assert PKG.__version__ != "3.0"
"""
    )
    suite.run("--bubbles", "PKG==3.0").assert_outcomes(passed=2)


def test_what_runs_the_tests_is_not_said_to_go_on_with_mains_version(suite: Suite) -> None:
    suite.world.bubble(suite.world.wheel("iniconfig", "9.0"))
    suite.write(
        """
import iniconfig
import pytest
def test_it():
    assert iniconfig.__version__ == "9.0"
    assert pytest.version_tuple
"""
    )
    suite.run("--bubbles", "iniconfig==9.0").assert_outcomes(passed=1)


def test_what_is_installed_is_loaded_anew_only_if_it_is_named(suite: Suite) -> None:
    library = suite.world.name("library")
    module = {f"{library}.py": f"import {suite.name} as used\n"}
    suite.world.install(suite.world.wheel(library, "1.0", module, requires=[suite.name]))
    suite.write(
        f"""
import {library}
def test_it(bubble):
    assert {library}.used.__version__ == bubble.distributions["PKG"]
"""
    )
    done = suite.run("-W", "default", *BOTH)
    done.assert_outcomes(failed=2, warnings=2)
    done.stdout.fnmatch_lines([f"*Have it loaded anew*--bubble-adopt={library}.*"])
    suite.run(f"--bubble-adopt={library}", *BOTH).assert_outcomes(passed=2)
    suite.ini(f"bubble_adopt = {library}")
    suite.run(*BOTH).assert_outcomes(passed=2)


def test_a_library_in_a_namespace_is_loaded_anew(suite: Suite) -> None:
    space = suite.world.name("space")
    suite.write("import PKG as used\n", f"src/{space}/library/__init__")
    suite.write(f"import {space}.library\n", "conftest")
    suite.write(
        f"""
from {space} import library
def test_it(bubble):
    assert library.used.__version__ == bubble.distributions["PKG"]
""",
        "tests/test_it",
    )
    suite.ini("pythonpath = src")
    suite.run(*BOTH).assert_outcomes(passed=2)


def test_a_library_that_a_finder_of_its_own_finds_in_place_is_loaded_anew(suite: Suite) -> None:
    library = suite.world.name("library")
    checkout = suite.pytester.path / "lib"
    suite.write("import PKG as used\n", f"lib/{library}/__init__")
    wheel = suite.world.wheel(library, "0.1", {"top_level.txt": ""}, requires=[f"{suite.name}>=3"])
    suite.world.install(wheel)
    info = suite.world.main / f"{library}-0.1.dist-info"
    (info / "direct_url.json").write_text(
        json.dumps({"url": checkout.as_uri(), "dir_info": {"editable": True}})
    )
    (info / "top_level.txt").write_text(f"{library}\n")
    suite.world.module(
        "editable_finder",
        f"""
        import sys
        from importlib.machinery import PathFinder

        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.partition(".")[0] == "{library}":
                    return PathFinder.find_spec(name, path if "." in name else [r"{checkout}"])

        sys.meta_path.append(Finder)
        """,
    )
    suite.write(
        f"""
import {library}
def test_it(bubble):
    assert {library}.used.__version__ == bubble.distributions["PKG"]
""",
        "tests/test_it",
    )
    suite.run("-p", "editable_finder", *BOTH).assert_outcomes(passed=2)


def test_methods_of_unittest_run_on_all_versions(suite: Suite) -> None:
    suite.write(
        """
import unittest
import PKG

class Some(unittest.TestCase):
    def test_it(self):
        print(PKG.__version__)
"""
    )
    done = suite.run("-v", "-rP", *BOTH)
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines_random(["1.0", "2.0"])
    for version in "12":
        done.stdout.fnmatch_lines([f"test_it.py::Some::test_it[[]*=={version}.[*][]] PASSED*"])


def test_a_module_that_a_version_breaks_is_an_error_that_names_it(suite: Suite) -> None:
    suite.world.versions(suite.name, "3.0", files={f"{suite.name}.py": "new = 1\n"})
    suite.write("from PKG import new\ndef test_it(): assert new\n")
    done = suite.run("--continue-on-collection-errors", "--bubbles", "PKG==3.*", *BOTH[:2])
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines([f"on {suite.name}==1.[*]: ImportError while importing*"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bubbles", "PKG==7.0"), "tip: omnipkg-meta install 'PKG==7.0'"),
        (("--bubbles", "= = ="), "not a requirement that a bubble can hold"),
        ((*BOTH, "--bubble", "PKG==1.0"), "--bubble and --bubbles contradict each other"),
        ((*BOTH, "--bubble-adopt", "PKG"), "cannot be adopted"),
        ((*BOTH, "--bubble-adopt", "no-such-thing"), "cannot be adopted"),
        ((*BOTH, "--bubble-adopt", "a/b"), "adopt takes a list"),
    ],
)
def test_versions_that_cannot_be_had_are_wrong_usage(
    suite: Suite, arguments: tuple[str, ...], said: str
) -> None:
    suite.write("def test_it(): pass\n")
    done = suite.run(*arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert said.replace("PKG", suite.name) in done.stderr.str()
    assert "Traceback" not in done.stderr.str() + done.stdout.str()


def test_tests_with_marks_of_their_own_are_left_out_or_refused(suite: Suite) -> None:
    suite.write(
        "import pytest\n@pytest.mark.bubble('PKG==1.0')\ndef test_it(): pass\n"
        "def test_other(): pass\n"
    )
    done = suite.run(*BOTH)
    done.assert_outcomes(passed=2, errors=2)
    done.stdout.fnmatch_lines(["@pytest.mark.bubble(*) contradicts --bubbles*"])
    suite.run("-m", "not bubble", *BOTH).assert_outcomes(passed=2, deselected=2)


def test_coroutines_run_on_all_versions(suite: Suite) -> None:
    pytest.importorskip("pytest_asyncio")
    suite.ini("asyncio_default_fixture_loop_scope = function", "asyncio_mode = auto")
    suite.write(
        """
import asyncio
import pytest
import PKG

@pytest.fixture(scope="function")
async def made():
    yield PKG.__version__

async def test_it(made, bubble):
    import PKG as again
    assert PKG.__version__ == made == again.__version__ == bubble.distributions["PKG"]
"""
    )
    suite.run(*BOTH, without=["anyio", "cacheprovider"]).assert_outcomes(passed=2)


def test_assertions_and_doctests_are_as_ever(suite: Suite) -> None:
    suite.write(
        '''
import PKG

def shout():
    """
    >>> 1 + 1
    2
    """

def test_it():
    assert PKG.__version__ == "1.0"
'''
    )
    done = suite.run("--doctest-modules", *BOTH)
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["*AssertionError: assert '2.0' == '1.0'"])
