"""``PATH`` is that of the context: a bubble's scripts come first inside its scope only."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
import sys
import threading
from contextvars import Context
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om

if TYPE_CHECKING:
    from omnipkg_meta.store.bubble import Bubble
    from tests.conftest import Install, Wheelhouse

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="scripts are looked up otherwise there"
)


@pytest.fixture
def bubbles(
    wheelhouse: Wheelhouse, install: Install, monkeypatch: pytest.MonkeyPatch
) -> tuple[Bubble, Bubble]:
    """Two versions of a package with a script, which prints its version."""
    monkeypatch.setenv("PATH", os.environ["PATH"])  # put back afterwards, whatever a test does
    made = []
    for version in ("1.0", "2.0"):
        text = f"__version__ = {version!r}\ndef main():\n    print(__version__)\n"
        points = {"console_scripts": {"scripted-tool": "scripted:main"}}
        wheelhouse.make("scripted", version, {"scripted.py": text}, entry_points=points)
        made.append(install(f"scripted=={version}"))
    return made[0], made[1]


def run() -> str:
    return subprocess.run(
        ["scripted-tool"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def first() -> str:
    return os.environ["PATH"].split(os.pathsep)[0]


def test_the_scripts_of_the_scope_are_found_and_run(bubbles: tuple[Bubble, Bubble]) -> None:
    one, two = bubbles
    before = os.environ["PATH"]
    assert shutil.which("scripted-tool") is None
    with om.use(one):
        assert shutil.which("scripted-tool") == str(one.scripts / "scripted-tool")
        assert run() == "1.0"
        with om.use(two):
            assert run() == "2.0"
            with om.use(om.main):
                assert shutil.which("scripted-tool") is None
                assert os.environ["PATH"] == before
        assert run() == "1.0"
    assert os.environ["PATH"] == before


def test_every_way_to_read_the_path_gives_the_same(bubbles: tuple[Bubble, Bubble]) -> None:
    with om.use(bubbles[0]):
        expected = os.environ["PATH"]
        assert expected.startswith(str(bubbles[0].scripts) + os.pathsep)
        assert os.environ.get("PATH") == expected
        assert os.getenv("PATH") == expected
        assert dict(os.environ)["PATH"] == expected
        assert os.environ.copy()["PATH"] == expected
        assert dict(os.environ.items())["PATH"] == expected
        assert {**os.environ}["PATH"] == expected
        assert (os.environ | {})["PATH"] == expected
        assert os.environb[b"PATH"] in (
            os.fsencode(expected),
            os.fsencode(expected.partition(os.pathsep)[2]),
        )
        assert os.get_exec_path()[0] == str(bubbles[0].scripts)


def test_a_thread_without_the_scope_has_mains_path(bubbles: tuple[Bubble, Bubble]) -> None:
    found: list[str] = []
    before = os.environ["PATH"]
    with om.use(bubbles[0]):
        # A context of its own: from 3.14 on a thread may be started with its starter's.
        look = functools.partial(Context().run, lambda: found.append(os.environ["PATH"]))
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == [before]


def test_tasks_that_interleave_have_a_path_each(bubbles: tuple[Bubble, Bubble]) -> None:
    async def look(bubble: Bubble) -> bool:
        async with om.use(bubble):
            await asyncio.sleep(0)
            right = first() == str(bubble.scripts)
            process = await asyncio.create_subprocess_exec(
                "scripted-tool", stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            return right and output.decode().strip() == bubble.distributions["scripted"]

    async def both() -> list[bool]:
        return await asyncio.gather(*map(look, bubbles))

    assert asyncio.run(both()) == [True, True]


def test_what_is_written_to_the_path_inside_a_scope_stays_without_the_scopes_addition(
    bubbles: tuple[Bubble, Bubble],
) -> None:
    before = os.environ["PATH"]
    with om.use(bubbles[0]):
        os.environ["PATH"] += os.pathsep + "/added"
        os.environ["PATH"] = os.pathsep.join(["/prepended", os.environ["PATH"]])
        with om.use(bubbles[1]):
            assert first() == str(bubbles[1].scripts)
        assert first() == str(bubbles[0].scripts)
    assert os.environ["PATH"] == os.pathsep.join(["/prepended", before, "/added"])


def test_a_bubble_without_scripts_adds_nothing(wheelhouse: Wheelhouse, install: Install) -> None:
    wheelhouse.make("scriptless", "1.0")
    before = os.environ["PATH"]
    with om.use(install("scriptless==1.0")):
        assert os.environ["PATH"] == before


def test_the_other_variables_are_common_to_all(
    bubbles: tuple[Bubble, Bubble], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_A_TEST", "before")
    with om.use(bubbles[0]):
        os.environ["OF_A_TEST"] = "inside"
        del os.environ["HOME"]
    assert os.environ["OF_A_TEST"] == "inside"
    assert "HOME" not in os.environ
