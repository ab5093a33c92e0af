"""A little extension module that asks the interpreter itself for what it keeps.

Owns the C source and the compiling of it.  What it does, and who does so:

* reads a sibling from the storage of the table of modules as soon as it has imported
  it, and takes for granted that it is there (mypyc);
* writes an object of its own into that storage while it initialises (Cython with a
  shared module, cffi), by either of the two ways to that dict;
* keeps something in the dict of the thread, under a fixed key (lxml, numpy before 2).
"""

from __future__ import annotations

import functools

from tests.native_source import built, filled

__all__ = ["WAYS", "asking"]

#: How the dict behind ``sys.modules`` is come by.
WAYS = ("PyImport_GetModuleDict", "PySys_GetObject")

_SOURCE = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <signal.h>

/* Rooms of 80 bytes; not static, so that the compiler takes nothing for granted. */
char omt_version[80] = "@VERSION@";
char omt_reads[80] = "@READS@";
char omt_writes[80] = "@WRITES@";
char omt_calls[80] = "@CALLS@";

#ifdef PySys_GetObject_
static PyObject *modules(void) { return PySys_GetObject("modules"); }
#else
/* By a pointer that the loader fills in, as if compiled with -fno-plt. */
PyObject *(*volatile omt_modules)(void) = PyImport_GetModuleDict;
static PyObject *modules(void) { return omt_reads[0] ? PyImport_GetModuleDict() : omt_modules(); }
#endif

static PyObject *found_or_none(PyObject *found) {
    if (found == NULL) found = Py_None;
    Py_INCREF(found);
    return found;
}
static PyObject *address(PyObject *self, PyObject *unused) {
    return PyLong_FromVoidPtr(modules());
}
static PyObject *address_after_signal(PyObject *self, PyObject *number) {
    raise((int)PyLong_AsLong(number));
    return PyLong_FromVoidPtr(modules());
}
static PyObject *read_storage(PyObject *self, PyObject *name) {
    return found_or_none(PyDict_GetItemString(modules(), PyUnicode_AsUTF8(name)));
}
static PyObject *read_mapping(PyObject *self, PyObject *name) {
    return PyObject_GetItem(modules(), name);
}
static PyObject *write_storage(PyObject *self, PyObject *arguments) {
    PyObject *name, *value;
    if (!PyArg_ParseTuple(arguments, "OO", &name, &value)) return NULL;
    if (PyDict_SetItem(modules(), name, value) < 0) return NULL;
    Py_RETURN_NONE;
}
static PyObject *write_mapping(PyObject *self, PyObject *arguments) {
    PyObject *name, *value;
    if (!PyArg_ParseTuple(arguments, "OO", &name, &value)) return NULL;
    if (PyObject_SetItem(modules(), name, value) < 0) return NULL;
    Py_RETURN_NONE;
}
static PyObject *delete_mapping(PyObject *self, PyObject *name) {
    if (PyObject_DelItem(modules(), name) < 0) return NULL;
    Py_RETURN_NONE;
}
static PyObject *of_thread(PyObject *self, PyObject *key) {
    return found_or_none(PyDict_GetItem(PyThreadState_GetDict(), key));
}
static PyObject *keep_in_thread(PyObject *self, PyObject *arguments) {
    PyObject *key, *value;
    if (!PyArg_ParseTuple(arguments, "OO", &key, &value)) return NULL;
    if (PyDict_SetItem(PyThreadState_GetDict(), key, value) < 0) return NULL;
    Py_RETURN_NONE;
}
static PyMethodDef methods[] = {
    {"address", address, METH_NOARGS, ""},
    {"address_after_signal", address_after_signal, METH_O, ""},
    {"read", read_storage, METH_O, ""},
    {"read_mapping", read_mapping, METH_O, ""},
    {"write", write_storage, METH_VARARGS, ""},
    {"write_mapping", write_mapping, METH_VARARGS, ""},
    {"delete_mapping", delete_mapping, METH_O, ""},
    {"of_thread", of_thread, METH_O, ""},
    {"keep_in_thread", keep_in_thread, METH_VARARGS, ""},
    {NULL, NULL, 0, NULL},
};
static int execute(PyObject *module) {
    if (omt_reads[0]) {
        PyObject *imported = PyImport_ImportModule(omt_reads);
        if (imported == NULL) return -1;
        PyObject *stored = PyDict_GetItemString(modules(), omt_reads);
        if (stored != imported) {
            PyErr_Format(PyExc_RuntimeError, "%s is not in the storage", omt_reads);
            return -1;
        }
        if (PyModule_AddObject(module, "read_at_first", imported) < 0) return -1;
    }
    if (omt_writes[0]) {
        PyObject *made = PyUnicode_FromString(omt_version);
        PyObject *object = PyModule_New(omt_writes);
        if (object == NULL || PyModule_AddObject(object, "version", made) < 0) return -1;
        if (PyDict_SetItemString(modules(), omt_writes, object) < 0) return -1;
        Py_DECREF(object);
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
static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "", 0, methods, slots};
PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
"""


def asking(
    version: str,
    way: str = "PyImport_GetModuleDict",
    *,
    reads: str = "",
    writes: str = "",
    calls: str = "",
    module: str = "_native",
) -> bytes:
    """Return a compiled extension module.

    Args:
        version: what its attribute ``version`` says.
        way: one of :data:`WAYS`.
        reads: a module that it imports while it initialises, and reads from the storage.
        writes: the name under which it writes an object into the storage meanwhile.
        calls: a module whose ``meet()`` it calls meanwhile.
        module: what it is called, without its package.
    """
    rooms = {"VERSION": version, "READS": reads, "WRITES": writes, "CALLS": calls}
    return filled(_compiled(way, module), rooms)


@functools.cache
def _compiled(way: str, module: str) -> bytes:
    return built(_SOURCE.replace("PyInit__native", f"PyInit_{module}"), f"{way}_")
