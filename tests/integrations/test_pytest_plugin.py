"""Tests that run in bubbles: the marks, the fixture, and ``--bubble``."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integrations.suites import suite_fixture, world_fixture  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from tests.integrations.suites import Suite


def test_a_marked_test_runs_in_the_scope_with_its_function_fixtures(suite: Suite) -> None:
    suite.write(
        """
        import pytest

        seen = []

        @pytest.fixture
        def made():
            import PKG
            yield PKG.__version__
            import PKG
            seen.append(PKG.__version__)

        @pytest.mark.bubble("PKG==1.0")
        def test_marked(made, bubble):
            import PKG
            assert made == PKG.__version__ == "1.0"
            assert bubble.distributions == {"PKG": "1.0"} == PKG.__bubble__.distributions

        def test_not_marked(made, bubble):
            import PKG
            assert made == PKG.__version__ == "0.5"
            assert bubble is None
            assert seen == ["1.0"]

        @pytest.mark.bubble("PKG==2.0")
        class TestMarked:
            def setup_method(self):
                import PKG
                self.version = PKG.__version__

            def test_in_a_class(self):
                assert self.version == "2.0"

            @pytest.mark.bubble("PKG==1.0")
            def test_the_nearest_mark_counts(self):
                assert self.version == "1.0"
        """.replace("\n        ", "\n")
    )
    suite.run().assert_outcomes(passed=4)


def test_bubbles_is_one_test_for_each_version_with_a_readable_name(suite: Suite) -> None:
    other = suite.world.name("other")
    suite.world.versions(other, "3.0", "4.0", main="2.5")
    suite.write(
        f"""
import pytest

@pytest.mark.bubbles("PKG==1.*", "PKG == 2.*")
@pytest.mark.parametrize("letter", ["a", "b"])
def test_letters(letter):
    import PKG
    print(letter, PKG.__version__)

@pytest.mark.bubbles("PKG==1.0", "PKG==2.0")
@pytest.mark.bubbles("{other}==3.0", ["{other}==4.0"])
def test_matrix():
    import PKG, {other}
    print("matrix", PKG.__version__, {other}.__version__)
"""
    )
    done = suite.run("-rP", "-v")
    done.assert_outcomes(passed=8)
    names = [line.split("::")[1].split(" ")[0] for line in done.outlines if " PASSED" in line]
    name = suite.name
    assert {n for n in names if "letters" in n} == {
        f"test_letters[{letter}-{name}=={version}]" for letter in "ab" for version in ("1.*", "2.*")
    }
    for line in (f"{x} {v}" for x in "ab" for v in ("1.0", "2.0")):
        assert line in done.outlines
    for line in (f"matrix {one} {two}" for one in ("1.0", "2.0") for two in ("3.0", "4.0")):
        assert line in done.outlines


def test_one_of_the_versions_can_be_run_by_its_name(suite: Suite) -> None:
    suite.write(
        "import pytest\n@pytest.mark.bubbles('PKG==1.*', 'PKG==2.*')\ndef test_it(): pass\n"
    )
    suite.run("test_it.py::test_it[PKG==2.*]").assert_outcomes(passed=1)
    suite.run("-k", "1.").assert_outcomes(passed=1, deselected=1)


def test_fixtures_of_a_wider_scope_are_set_up_and_torn_down_outside(suite: Suite) -> None:
    suite.write(
        """
import pytest

def version():
    import PKG
    return PKG.__version__

torn = []

@pytest.fixture(scope="module")
def wide():
    yield version()
    torn.append(version())

@pytest.fixture(scope="class", autouse=True)
def wider(request):
    request.addfinalizer(lambda: torn.append(version()))

class TestOne:
    @pytest.mark.bubble("PKG==1.0")
    def test_first(self, wide):
        assert (wide, version()) == ("0.5", "1.0")

    @pytest.mark.bubble("PKG==2.0")
    def test_second(self, request):
        assert (request.getfixturevalue("wide"), version()) == ("0.5", "2.0")

def teardown_module():
    assert torn == ["0.5", "0.5"]
"""
    )
    suite.run().assert_outcomes(passed=2)


def test_terms_and_what_a_module_of_tests_asks_for_with_pytestmark(suite: Suite) -> None:
    library = suite.world.name("library")
    suite.world.module(library, f"import {suite.name} as used\n")
    suite.write(
        f"""
import pytest
pytestmark = pytest.mark.bubble("PKG==1.0", adopt=["{library}"])

def test_the_library_sees_it():
    import {library}
    assert {library}.used.__version__ == "1.0"
"""
    )
    suite.run().assert_outcomes(passed=1)


def test_assertions_are_explained_inside_a_scope(suite: Suite) -> None:
    suite.write(
        """
import pytest
@pytest.mark.bubble("PKG==1.0")
def test_it():
    import PKG
    assert PKG.__version__ == "9.9"
"""
    )
    done = suite.run()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*AssertionError: assert '1.0' == '9.9'"])


def test_marks_take_bubbles_that_the_project_names(suite: Suite) -> None:
    (suite.pytester.path / "pyproject.toml").write_text(
        f"[tool.omnipkg-meta.bubbles]\nold = ['{suite.name}==1.0']\n"
    )
    suite.write(
        """
import omnipkg_meta as om
import pytest

@pytest.mark.bubbles(om.project("old"), om.main, "PKG==2.0")
def test_it(request):
    import PKG
    names = {"old": "1.0", "main": "0.5", "PKG==2.0": "2.0"}
    assert PKG.__version__ == names[request.node.callspec.id]
""",
        "tests/test_it",
    )
    suite.run().assert_outcomes(passed=3)


def test_a_missing_bubble_is_an_error_with_the_command_to_run(suite: Suite) -> None:
    suite.write(
        """
import pytest
@pytest.mark.bubble("PKG==7.0")
def test_missing(): pass
@pytest.mark.skip
@pytest.mark.bubble("PKG==7.0")
def test_skipped(): pass
def test_plain(): pass
"""
    )
    done = suite.run()
    done.assert_outcomes(errors=1, passed=1, skipped=1)
    text = done.stdout.str()
    assert f"no bubble satisfies {suite.name}==7.0" in text
    assert f"tip: omnipkg-meta install '{suite.name}==7.0'" in text
    assert "another exception" not in text
    assert "Traceback" not in text
    assert "pytest_plugin.py" not in text


def test_a_bubble_is_built_where_that_is_allowed(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = suite.world.wheel(suite.name, "7.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("OMNIPKG_META_BUILDER", "pip")
    suite.write(
        """
import pytest
@pytest.mark.bubble("PKG==7.0")
def test_it(bubble):
    import PKG
    assert PKG.__version__ == "7.0" == bubble.distributions["PKG"]
"""
    )
    suite.run().assert_outcomes(errors=1)
    suite.run("--bubble-install").assert_outcomes(passed=1)
    suite.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ("bubble('not a requirement')", "not a requirement that a bubble can hold"),
        ("bubbles('PKG==1.0', '=')", "not a requirement that a bubble can hold"),
        ("bubble()", "bubble(): it is empty"),
        ("bubbles()", "bubbles(): it is empty"),
        ("bubbles('PKG==1.0', ids=['x'])", "no argument of it is called ids"),
        ("bubble('PKG==1.0', adopt='x')", "adopt takes a list"),
        ("bubbles(3)", "a requirement is a str"),
        (
            "bubbles('PKG==1.0', 'PKG==2.0')\n@pytest.mark.bubble('PKG==1.0')",
            "conflicting marks: @pytest.mark.bubble",
        ),
    ],
)
def test_a_mark_that_is_wrong_is_named_when_tests_are_collected(
    suite: Suite, marks: str, said: str
) -> None:
    suite.write(f"import pytest\n@pytest.mark.{marks}\ndef test_it(): pass\n")
    done = suite.run()
    done.assert_outcomes(errors=1)
    assert said.replace("PKG", suite.name) in done.stdout.str()
    assert "Traceback" not in done.stdout.str()
    assert "pytest_plugin.py" not in done.stdout.str()


def test_methods_of_unittest_run_in_one_bubble_and_not_in_several(suite: Suite) -> None:
    suite.write(
        """
import unittest, pytest

@pytest.mark.bubble("PKG==1.0")
class One(unittest.TestCase):
    def setUp(self):
        import PKG
        self.version = PKG.__version__

    def test_it(self):
        import PKG
        self.assertEqual((self.version, PKG.__version__), ("1.0", "1.0"))

@pytest.mark.bubbles("PKG==1.0", "PKG==2.0")
class Several(unittest.TestCase):
    def test_it(self): pass
"""
    )
    done = suite.run()
    done.assert_outcomes(passed=1, errors=1)
    assert "not methods of unittest.TestCase" in done.stdout.str()


@pytest.mark.parametrize("said", ["option", "ini"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_whole_run_in_a_bubble(suite: Suite, said: str, workers: str) -> None:
    library = suite.world.name("library")
    module = {f"{library}.py": f"import {suite.name} as used\n"}
    suite.world.install(suite.world.wheel(library, "1.0", module, requires=[suite.name]))
    suite.write("import PKG\nversion = PKG.__version__\n", "conftest")
    suite.write(
        f"""
import threading
import PKG
import {library}
from conftest import version

def test_all_code_gets_it(bubble):
    assert PKG.__version__ == version == {library}.used.__version__ == "1.0"
    assert bubble.distributions["PKG"] == "1.0"

def test_threads_get_it():
    found = []
    def look():
        import PKG
        found.append(PKG.__version__)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == ["1.0"]
"""
    )
    if said == "ini":
        suite.ini("bubble =", "    PKG==1.0")
    done = suite.run("-n", workers, *(["--bubble", "PKG==1.0"] if said == "option" else []))
    done.assert_outcomes(passed=2)
    if workers == "0":
        done.stdout.fnmatch_lines([f"bubble: {suite.name}-*"])


def test_a_whole_run_in_bubbles_that_the_project_names(suite: Suite) -> None:
    other = suite.world.name("other")
    suite.world.versions(other, "3.0", main="2.5")
    (suite.pytester.path / "pyproject.toml").write_text(
        f"[tool.omnipkg-meta.bubbles]\nold = ['{suite.name}==1.0']\n"
    )
    suite.write(
        f"import PKG, {other}\ndef test_it(bubble):\n"
        f"    assert (PKG.__version__, {other}.__version__) == ('1.0', '3.0')\n"
        f"    assert bubble.distributions == {{'{other}': '3.0'}}\n",
        "tests/test_it",
    )
    done = suite.run("--bubble", "project:old", "--bubble", f"{other}==3.0")
    done.assert_outcomes(passed=1)
    done = suite.run("--bubble", "project:none")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "names no bubble 'none'" in done.stderr.str()


def test_a_mark_goes_before_the_bubble_of_the_run(suite: Suite) -> None:
    suite.write(
        """
import pytest

@pytest.fixture(scope="session")
def wide():
    import PKG
    return PKG.__version__

@pytest.mark.bubble("PKG==2.0")
def test_it(bubble, wide):
    import PKG
    assert (PKG.__version__, bubble.distributions["PKG"], wide) == ("2.0", "2.0", "1.0")
"""
    )
    suite.run("--bubble", "PKG==1.0").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("PKG==7.0", "tip: omnipkg-meta install 'PKG==7.0'"),
        ("not a requirement", "not a requirement that a bubble can hold"),
    ],
)
def test_a_bubble_for_the_run_that_cannot_be_had_is_wrong_usage(
    suite: Suite, requirement: str, said: str
) -> None:
    suite.write("def test_it(): pass\n")
    done = suite.run("--bubble", requirement)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert said.replace("PKG", suite.name) in done.stderr.str()
    assert "Traceback" not in done.stderr.str()


def test_what_a_plugin_has_loaded_already_cannot_be_laid_over(suite: Suite) -> None:
    suite.write("import PKG\n", "early")
    suite.write("def test_it(): pass\n")
    done = suite.run("-p", "early", "--bubble", "PKG==1.0")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert f"Main has loaded {suite.name} already" in done.stderr.str()


def test_workers_of_xdist_run_the_same_tests(suite: Suite) -> None:
    suite.write(
        """
import pytest
@pytest.mark.parametrize("number", range(5))
@pytest.mark.bubbles("PKG==1.0", "PKG==2.0")
def test_it(number, bubble):
    import PKG
    assert PKG.__version__ == bubble.distributions["PKG"]
"""
    )
    suite.run("-n", "2").assert_outcomes(passed=10)


def test_coroutines_run_in_the_scope_with_pytest_asyncio(suite: Suite) -> None:
    pytest.importorskip("pytest_asyncio")
    suite.ini("asyncio_default_fixture_loop_scope = function")
    suite.write(
        """
import asyncio
import pytest, pytest_asyncio

async def version():
    await asyncio.sleep(0)
    import PKG
    return PKG.__version__

@pytest_asyncio.fixture
async def made():
    yield await version()
    assert torn == await version()

@pytest.mark.asyncio
@pytest.mark.bubbles("PKG==1.0", "PKG==2.0")
async def test_marked(made, bubble):
    global torn
    torn = bubble.distributions["PKG"]
    assert made == torn == await version() == await asyncio.create_task(version())

@pytest.mark.asyncio
async def test_not_marked():
    assert await version() == "0.5"
"""
    )
    suite.run(without=["anyio", "cacheprovider"]).assert_outcomes(passed=3)


def test_coroutines_run_in_the_scope_with_anyio(suite: Suite) -> None:
    pytest.importorskip("anyio")
    suite.write(
        """
import anyio
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def version():
    await anyio.lowlevel.checkpoint()
    import PKG
    return PKG.__version__

@pytest.fixture
async def made():
    yield await version()
    assert torn == await version()

@pytest.mark.anyio
@pytest.mark.bubbles("PKG==1.0", "PKG==2.0")
async def test_marked(made, bubble):
    global torn
    torn = bubble.distributions["PKG"]
    assert made == torn == await version()

@pytest.mark.anyio
async def test_not_marked():
    assert await version() == "0.5"
"""
    )
    suite.run(without=["asyncio", "cacheprovider"]).assert_outcomes(passed=3)


def test_a_run_without_bubbles_is_left_alone(suite: Suite) -> None:
    suite.write(
        """
import sys
def test_it(pytestconfig):
    assert type(sys.modules) is dict
    ours = {name for name in sys.modules if name.startswith("omnipkg_meta")}
    plugin = "omnipkg_meta.integrations.pytest_plugin"
    assert ours == {"omnipkg_meta", "omnipkg_meta.integrations", plugin}
    assert not pytestconfig.pluginmanager.has_plugin("omnipkg_meta_scopes")
"""
    )
    suite.run().assert_outcomes(passed=1)


def test_the_package_does_not_import_its_integrations() -> None:
    code = "import sys, omnipkg_meta; assert not any('integrations' in x for x in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": ""})
