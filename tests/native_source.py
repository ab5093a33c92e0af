"""A little extension module, compiled by the tests that need one.

Owns the C source and the compiling of it, in several kinds that differ in how the
module comes to be.  Must not know anything of the library.

Each kind is compiled once; names and versions are written into the compiled file,
where the source leaves room for them.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "SUFFIX", "built", "compiled", "filled", "needs_compiler"]

SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")

#: Single-phase and multi-phase initialisation, and each of them writing itself into
#: the interpreter's dict of modules, as Cython's code does.
KINDS = ("SINGLE_PHASE", "MULTI_PHASE", "SINGLE_PHASE_WRITES_ITSELF", "WRITES_ITSELF")

_SOURCE = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>

#ifdef SINGLE_PHASE_WRITES_ITSELF
#define SINGLE_PHASE
#define WRITES_ITSELF
#endif

#ifdef SINGLE_PHASE_ADDS
#define SINGLE_PHASE
#define ADDS
#endif
#ifdef MULTI_PHASE_ADDS
#define ADDS
#endif

/* Rooms of 80 bytes; not static, so that the compiler takes nothing for granted. */
char omt_full_name[80] = "@FULL_NAME@";
char omt_version[80] = "@VERSION@";
char omt_imports[80] = "@IMPORTS@";
char omt_calls[80] = "@CALLS@";

static PyObject *import(PyObject *self, PyObject *name) {
    return PyImport_Import(name);
}
static PyObject *import_module(PyObject *self, PyObject *name) {
    return PyImport_ImportModule(PyUnicode_AsUTF8(name));
}
static PyObject *import_level(PyObject *self, PyObject *name) {
    return PyImport_ImportModuleLevelObject(name, NULL, NULL, NULL, 0);
}
static PyObject *get_module(PyObject *self, PyObject *name) {
    PyObject *module = PyImport_GetModule(name);
    if (module == NULL && !PyErr_Occurred()) Py_RETURN_NONE;
    return module;
}
static PyObject *get_item(PyObject *self, PyObject *name) {
    return PyObject_GetItem(PyImport_GetModuleDict(), name);
}
static PyObject *add_module(PyObject *self, PyObject *name) {
    PyObject *module = PyImport_AddModuleObject(name);
    Py_XINCREF(module);
    return module;
}
static PyObject *call(PyObject *self, PyObject *function) {
    return PyObject_CallObject(function, NULL);
}
struct request { PyObject *name; PyObject *result; };
static void *import_in_thread(void *argument) {
    struct request *request = argument;
    PyGILState_STATE state = PyGILState_Ensure();
    request->result = PyImport_Import(request->name);
    if (request->result == NULL) PyErr_Print();
    PyGILState_Release(state);
    return NULL;
}
static PyObject *import_in_a_thread_of_its_own(PyObject *self, PyObject *name) {
    struct request request = {name, NULL};
    pthread_t thread;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = pthread_create(&thread, NULL, import_in_thread, &request);
    if (!failed) failed = pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS
    if (request.result == NULL) {
        PyErr_Format(PyExc_RuntimeError, "the thread failed (%d)", failed);
    }
    return request.result;
}
static PyMethodDef methods[] = {
    {"import_", import, METH_O, ""},
    {"import_module", import_module, METH_O, ""},
    {"import_level", import_level, METH_O, ""},
    {"get_module", get_module, METH_O, ""},
    {"get_item", get_item, METH_O, ""},
    {"add_module", add_module, METH_O, ""},
    {"call", call, METH_O, ""},
    {"import_in_a_thread_of_its_own", import_in_a_thread_of_its_own, METH_O, ""},
    {NULL, NULL, 0, NULL},
};
static int execute(PyObject *module) {
#ifdef WRITES_ITSELF
    if (PyDict_SetItemString(PyImport_GetModuleDict(), omt_full_name, module) < 0) return -1;
#endif
    if (omt_imports[0]) {
#ifdef ADDS
        /* Made up, unless it is there, and written to once. */
        PyObject *imported = PyImport_AddModule(omt_imports);
        Py_XINCREF(imported);
        if (imported != NULL && PyObject_HasAttrString(imported, "version")) {
            PyErr_SetString(PyExc_RuntimeError, "an object with that name is already defined");
            return -1;
        }
        if (imported != NULL) PyModule_AddStringConstant(imported, "version", omt_version);
#else
        PyObject *imported = PyImport_ImportModule(omt_imports);
#endif
        if (imported == NULL) return -1;
        if (PyModule_AddObject(module, "imported", imported) < 0) return -1;
    }
    if (omt_calls[0]) {
        PyObject *called = PyImport_ImportModule(omt_calls);
        if (called == NULL) return -1;
        PyObject *result = PyObject_CallMethod(called, "meet", NULL);
        Py_DECREF(called);
        if (result == NULL) return -1;
        Py_DECREF(result);
    }
    return PyModule_AddStringConstant(module, "version", omt_version);
}
#ifdef SINGLE_PHASE
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "", -1, methods};
PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && execute(module) < 0) Py_CLEAR(module);
    return module;
}
#else
static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "", 0, methods, slots};
PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
#endif
"""


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def needs_compiler() -> str:
    """Return why nothing can be compiled here; empty where it can."""
    if sys.platform == "win32":
        return "the little extension modules are written for POSIX"
    if _compiler() is None:
        return "there is no C compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers are not installed"
    return ""


def compiled(package: str, version: str, kind: str, *, imports: str = "", calls: str = "") -> bytes:
    """Return a compiled extension module called ``_native``.

    Args:
        package: the package that it is in.
        version: what its attribute ``version`` says.
        kind: one of :data:`KINDS`, or SINGLE_PHASE_ADDS, MULTI_PHASE_ADDS.
        imports: a module that it imports (or adds to the table) while it is initialised.
        calls: a module whose ``meet()`` it calls while it is initialised.
    """
    rooms = {
        "FULL_NAME": f"{package}._native",
        "VERSION": version,
        "IMPORTS": imports,
        "CALLS": calls,
    }
    return filled(_compiled(kind), rooms)


@functools.cache
def _compiled(kind: str) -> bytes:
    return built(_SOURCE, kind)


def filled(library: bytes, rooms: Mapping[str, str]) -> bytes:
    """Write texts into the rooms of 80 bytes that the source of a library left for them."""
    for room, text in rooms.items():
        before = f"@{room}@".encode().ljust(80, b"\0")
        assert library.count(before) == 1
        library = library.replace(before, text.encode().ljust(80, b"\0"))
    return library


def built(text: str, *defines: str) -> bytes:
    """Compile an extension module of one C file, with some macros defined."""
    with tempfile.TemporaryDirectory() as directory:
        source, library = Path(directory, "source.c"), Path(directory, "built.so")
        source.write_text(text)
        link = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
        subprocess.run(
            [
                *(str(_compiler()), "-shared", "-fPIC", "-pthread", "-O1", *link),
                *(f"-D{define}" for define in defines),
                *("-I", sysconfig.get_path("include"), "-o", str(library), str(source)),
            ],
            check=True,
        )
        return library.read_bytes()
