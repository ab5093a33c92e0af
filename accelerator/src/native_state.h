/* What native code keeps with the interpreter, put in place for one realm: native_state.c. */

#ifndef NATIVE_STATE_H
#define NATIVE_STATE_H

#include <Python.h>

PyObject *exchange(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
