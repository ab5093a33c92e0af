/* Which symbols of a loaded library mean a function of somebody else's: symbols.c. */

#ifndef SYMBOLS_H
#define SYMBOLS_H

#include <Python.h>

PyObject *undefined(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
