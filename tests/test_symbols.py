"""What a bubble's libraries offer to the process: their symbols stay in their own bubble."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta import relink
from tests.native_source import SUFFIX, built, filled, needs_compiler
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World

pytestmark = [
    pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler()),
    pytest.mark.skipif(not relink.possible(), reason="the loader has no global scope here"),
]

_SOURCE = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#ifdef OFFERS
char omt_version[80] = "@VERSION@";
const char *@SYMBOL@(void) { return omt_version; }
#define NAME "_offers"
#define INIT PyInit__offers
#else
const char *@SYMBOL@(void);
#define NAME "_needs"
#define INIT PyInit__needs
#endif
static PyObject *who(PyObject *self, PyObject *unused) {
    return PyUnicode_FromString(@SYMBOL@());
}
static PyMethodDef methods[] = {{"who", who, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, NAME, "", 0, methods, slots};
PyMODINIT_FUNC INIT(void) { return PyModuleDef_Init(&definition); }
"""


@functools.cache
def library(symbol: str, kind: str) -> bytes:
    return built(_SOURCE.replace("@SYMBOL@", symbol), kind)


def wheel(world: World, name: str, version: str, *, needs: str = "") -> Path:
    """Make a wheel of a package that opens its extension modules for everybody."""
    symbol = f"{name}_who"
    text = "\n".join(
        [
            "import os, sys",
            "before = sys.getdlopenflags()",
            "sys.setdlopenflags(before | os.RTLD_GLOBAL)",
            "from . import _offers",
            "assert sys.getdlopenflags() == before | os.RTLD_GLOBAL",
            "sys.setdlopenflags(before)",
            needs,
            f"__version__ = {version!r}\n",
        ]
    )
    return world.wheel(
        name,
        version,
        {
            f"{name}/__init__.py": text,
            f"{name}/_offers{SUFFIX}": filled(library(symbol, "OFFERS"), {"VERSION": version}),
            f"{name}/_needs{SUFFIX}": library(symbol, "NEEDS"),
        },
    )


def test_a_library_that_is_opened_for_everybody_is_its_bubbles_only(world: World) -> None:
    name = world.name("open")
    flags = sys.getdlopenflags()
    for version in ("1.0", "2.0"):
        package: Any = om.load(world.bubble(wheel(world, name, version)), name=name)
        assert package._offers.who() == version
        found = relink.loaded(package._offers.__file__)
        assert found is not None
        assert not relink.offered(found)
    assert sys.getdlopenflags() == flags


def test_mains_libraries_are_opened_as_main_asks(world: World) -> None:
    name = world.name("open")
    world.install(wheel(world, name, "0.5"))
    world.versions("pure", "1.0")
    world.run(
        f"""
        import omnipkg_meta as om
        from omnipkg_meta import relink
        with om.use("pure==1.0"):
            import pure
            import {name}
        assert relink.offered(relink.loaded({name}._offers.__file__))
        """
    )


def test_a_library_that_cannot_do_without_finds_the_symbols_of_its_bubble(world: World) -> None:
    name = world.name("open")
    world.bubble(wheel(world, name, "1.0", needs="from . import _needs"))
    world.run(
        f"""
        import omnipkg_meta as om
        assert om.load("{name}==1.0", name="{name}")._needs.who() == "1.0"
        """
    )


def test_a_library_whose_symbols_are_nowhere_says_so(world: World) -> None:
    name = world.name("open")
    bubble = world.bubble(
        world.wheel(
            name,
            "1.0",
            {f"{name}/__init__.py": "", f"{name}/_needs{SUFFIX}": library(f"{name}_who", "NEEDS")},
        )
    )
    with pytest.raises(ImportError, match=f"{name}_who"):
        om.load(bubble, name=f"{name}._needs")
