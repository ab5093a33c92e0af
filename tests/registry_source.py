"""A little extension module that keeps a registry with the interpreter, as pybind11 does.

Owns the C source and the compiling of it.  What it does, and where pybind11 or
nanobind do so:

* the registry is looked up first of all in ``PyInit_*`` and in the exec slot, under
  a key of the interpreter's dict or of ``builtins``, made if it is not there, and
  kept in a static of the shared object (``get_internals``, ``nb_module_init``);
* what it registers may be there once (``generic_type: type is already registered``);
* the create slot takes the module from a cache by name, and the exec slot writes it
  there last of all (``cached_create_module``, ``cache_completed_module``).
"""

from __future__ import annotations

import functools

from tests.native_source import built, filled

__all__ = ["PLACES", "registering"]

#: Where the key lies: in the dict of ``PyInterpreterState_GetDict``, or in ``builtins``.
PLACES = ("IN_INTERPRETER", "IN_BUILTINS")

_SOURCE = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Rooms of 80 bytes; not static, so that the compiler takes nothing for granted. */
char omt_key[80] = "@KEY@";
char omt_registers[80] = "@REGISTERS@";
char omt_version[80] = "@VERSION@";
char omt_calls[80] = "@CALLS@";

static PyObject *registry;  /* leaked, as pybind11's internals are */

static PyObject *state_dict(void) {
#ifdef IN_BUILTINS
    return PyEval_GetBuiltins();
#else
    return PyInterpreterState_GetDict(PyInterpreterState_Get());
#endif
}
static int ensure_registry(void) {
    PyObject *capsule = PyDict_GetItemString(state_dict(), omt_key);
    if (capsule == NULL) {
        PyObject *made = PyDict_New();
        capsule = PyCapsule_New(made, NULL, NULL);
        if (capsule == NULL || PyDict_SetItemString(state_dict(), omt_key, capsule) < 0) return -1;
        Py_DECREF(capsule);
    }
    registry = PyCapsule_GetPointer(capsule, NULL);
    return registry == NULL ? -1 : 0;
}
static PyObject *module_cache(int make) {
    PyObject *interpreter = PyInterpreterState_GetDict(PyInterpreterState_Get());
    PyObject *cache = PyDict_GetItemString(interpreter, "__pybind11_module_cache");
    if (cache == NULL && make) {
        cache = PyDict_New();
        if (cache == NULL) return NULL;
        PyDict_SetItemString(interpreter, "__pybind11_module_cache", cache);
        Py_DECREF(cache);
    }
    return cache;
}
static PyObject *registered(PyObject *self, PyObject *unused) {
    return PyDict_Copy(registry);
}
static PyObject *standing(PyObject *self, PyObject *unused) {
    PyObject *capsule = PyDict_GetItemString(state_dict(), omt_key);
    if (capsule == NULL) Py_RETURN_NONE;
    return PyDict_Copy(PyCapsule_GetPointer(capsule, NULL));
}
static PyMethodDef methods[] = {
    {"registered", registered, METH_NOARGS, "what the registry holds that this module uses"},
    {"standing", standing, METH_NOARGS, "what that registry holds which is found there now"},
    {NULL, NULL, 0, NULL},
};
static PyObject *create(PyObject *spec, PyModuleDef *definition) {
    PyObject *name = PyObject_GetAttrString(spec, "name");
    PyObject *cache = module_cache(0);
    PyObject *module = cache == NULL ? NULL : PyDict_GetItem(cache, name);
    if (module != NULL) Py_INCREF(module);
    else module = PyModule_NewObject(name);
    Py_DECREF(name);
    return module;
}
static int execute(PyObject *module) {
    if (ensure_registry() < 0) return -1;
    PyObject *spec = PyObject_GetAttrString(module, "__spec__");
    if (spec == NULL) return -1;
    PyObject *name = PyObject_GetAttrString(spec, "name");
    Py_DECREF(spec);
    PyObject *cache = module_cache(0);
    if (cache != NULL && PyDict_Contains(cache, name)) return 0;
    if (PyDict_GetItemString(registry, omt_registers) != NULL) {
        PyErr_Format(PyExc_ImportError, "type \"%s\" is already registered!", omt_registers);
        return -1;
    }
    if (omt_calls[0]) {
        PyObject *called = PyImport_ImportModule(omt_calls);
        if (called == NULL) return -1;
        PyObject *result = PyObject_CallMethod(called, "meet", NULL);
        Py_DECREF(called);
        if (result == NULL) return -1;
        Py_DECREF(result);
    }
    PyObject *version = PyUnicode_FromString(omt_version);
    if (PyDict_SetItemString(registry, omt_registers, version) < 0) return -1;
    if (PyModule_AddObject(module, "version", version) < 0) return -1;
    if (PyModule_AddFunctions(module, methods) < 0) return -1;
    return PyObject_SetItem(module_cache(1), name, module);
}
static PyModuleDef_Slot slots[] = {{Py_mod_create, create}, {Py_mod_exec, execute}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "", 0, NULL, slots};
PyMODINIT_FUNC PyInit__native(void) {
    if (ensure_registry() < 0) return NULL;
    return PyModuleDef_Init(&definition);
}
"""


def registering(key: str, registers: str, version: str, place: str, *, calls: str = "") -> bytes:
    """Return a compiled extension module called ``_native``.

    Args:
        key: what the registry is found under.
        registers: the name that it registers, once.
        version: what it registers, and what its attribute ``version`` says.
        place: one of :data:`PLACES`.
        calls: a module whose ``meet()`` it calls, after it has found the registry.
    """
    rooms = {"KEY": key, "REGISTERS": registers, "VERSION": version, "CALLS": calls}
    return filled(_built(place), rooms)


@functools.cache
def _built(place: str) -> bytes:
    return built(_SOURCE, place)
