"""What a bubble's code writes into the standard library while it loads is said, once, by name."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import StandardLibraryPatchWarning
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

PATCHES = {
    "a function of a module": ("import {m}\n{m}.{a} = replaced", "{m}.{a}"),
    "a class of a module": ("import {m}\nclass Own: pass\n{m}.{a} = Own", "{m}.{a}"),
    "a new function": ("import {m}\n{m}.brand_new = replaced", "{m}.brand_new"),
    "a method of a class": (
        "import logging\nlogging.Handler.brand_new = replaced",
        "logging.Handler.brand_new",
    ),
}


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_is_said_once_for_each_bubble(world: World, patch: str) -> None:
    # Another attribute each time, and put back: this process goes on.
    name, attribute = world.name("patcher"), world.name("attribute")
    text, place = (one.format(m="copyreg", a=attribute) for one in PATCHES[patch])
    files = {
        f"{name}/__init__.py": f"def replaced(*_): pass\nfrom {name} import inner\n",
        f"{name}/inner.py": f"def replaced(*_): pass\n{text}\n",
        f"{name}/late.py": "",
    }
    bubbles = world.versions(name, "1.0", "2.0", files=files)
    try:
        for bubble in bubbles:
            with pytest.warns(StandardLibraryPatchWarning) as caught:
                om.load(bubble, name=name)
            (warning,) = caught
            assert place in str(warning.message)
            assert repr(bubble) in str(warning.message)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                om.load(bubble, name=f"{name}.late")
    finally:
        owner = sys.modules[place.partition(".")[0]]
        *path, last = place.split(".")[1:]
        for part in path:
            owner = getattr(owner, part)
        delattr(owner, last)


def test_the_warning_points_at_the_import_that_loaded_the_bubble(world: World) -> None:
    world.versions(
        "patcher", "1.0", files={"patcher.py": "import copyreg\ncopyreg.new = lambda: 0\n"}
    )
    done = world.run(
        """
        import omnipkg_meta as om
        with om.use("patcher==1.0"):
            import patcher  # here
        """
    )
    assert "program" in done.stderr
    assert ":4: StandardLibraryPatchWarning" in done.stderr
    assert "copyreg.new" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "import copyreg\ncopyreg.pickle(type('Own', (), {}), lambda one: one)\n",
        "import logging\nclass Own(logging.Logger): pass\nlogging.setLoggerClass(Own)\n",
        "import collections, collections.abc\ncollections.Mapping = collections.abc.Mapping\n",
        "import copyreg\ncopyreg.cache_of_results = {}\n",
        "import xml.etree.ElementTree, concurrent.futures.thread, importlib.resources\n",
    ],
    ids=["registers", "sets", "alias", "cache", "imports"],
)
def test_what_is_no_code_of_the_bubble_is_no_patch(world: World, text: str) -> None:
    world.versions("harmless", "1.0", files={"harmless.py": text})
    done = world.run(
        'import omnipkg_meta as om\nwith om.use("harmless==1.0"):\n    import harmless\n',
        options=("-W", "error"),
    )
    assert done.stderr == ""


def test_a_patch_that_main_made_is_not_said(world: World) -> None:
    world.versions("plain", "1.0")
    world.module("mine", "import copyreg\ndef new(): pass\ncopyreg.new = new\n")
    done = world.run(
        """
        import omnipkg_meta as om, mine
        with om.use("plain==1.0"):
            import plain
        """,
        options=("-W", "error"),
    )
    assert done.stderr == ""


def test_the_ordinary_loader_is_seen_in_the_outermost_module_too(world: World) -> None:
    name = world.name()
    text = "before = __loader__, __spec__.loader\nfrom . import inner\n"
    files = {f"{name}/__init__.py": text, f"{name}/inner.py": "before = __loader__\n"}
    (bubble,) = world.versions(name, "1.0", files=files)
    module = om.load(bubble, name=name)
    kinds = {type(one).__name__ for one in (*module.before, module.inner.before)}
    assert kinds == {"SourceFileLoader"}
    assert module.__spec__ is not None
    assert module.__loader__ is module.__spec__.loader is module.before[0]
