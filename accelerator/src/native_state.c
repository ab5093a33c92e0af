/* `interpreter_state._settle`, in one call: the standing set of keys goes out of the dicts of
 * the interpreter, and that of the latest flight comes in.
 *
 * No code of Python runs in between.  Nothing here makes an object that the garbage
 * collector knows, so before Python 3.12, too, it collects nothing meanwhile.
 */

#define PY_SSIZE_T_CLEAN
#include "native_state.h"

/* So many keys are taken out in one round; there are a handful. */
#define IN_ONE_ROUND 32

static PyObject *state_name;

/* Tell whether a key is one that each realm has for itself: 1, 0, -1. */
static int
is_ours(PyObject *key, PyObject *prefixes)
{
    Py_ssize_t index;
    if (!PyUnicode_Check(key) || PyUnicode_GET_LENGTH(key) < 2 ||
        PyUnicode_READ_CHAR(key, 0) != '_' || PyUnicode_READ_CHAR(key, 1) != '_') {
        return 0; /* as nearly all: the prefixes begin so, which `exchange` sees to */
    }
    for (index = 0; index < PyTuple_GET_SIZE(prefixes); index++) {
        Py_ssize_t found = PyUnicode_Tailmatch(key, PyTuple_GET_ITEM(prefixes, index), 0,
                                               PyUnicode_GET_LENGTH(key), -1);
        if (found != 0) {
            return found < 0 ? -1 : 1;
        }
    }
    return 0;
}

/* Move the keys that are ours out of a dict of the interpreter into the table of a realm. */
static int
take_out(PyObject *live, PyObject *table, PyObject *prefixes)
{
    PyObject *keys[IN_ONE_ROUND], *key, *value;
    Py_ssize_t count, index;
    int found = 0;

    do {
        Py_ssize_t position = 0;
        count = 0;
        while (count < IN_ONE_ROUND && PyDict_Next(live, &position, &key, NULL)) {
            found = is_ours(key, prefixes);
            if (found < 0) {
                break;
            }
            if (found) {
                Py_INCREF(key);
                keys[count++] = key;
            }
        }
        for (index = 0; index < count; index++) {
            value = found < 0 ? NULL : PyDict_GetItemWithError(live, keys[index]);
            Py_XINCREF(value);
            if (value == NULL || PyDict_SetItem(table, keys[index], value) < 0 ||
                PyDict_DelItem(live, keys[index]) < 0) {
                found = -1;
            }
            Py_XDECREF(value);
            Py_DECREF(keys[index]);
        }
    } while (found >= 0 && count == IN_ONE_ROUND);
    return found < 0 ? -1 : 0;
}

/* Return the table of a flight's state that belongs to one dict of the interpreter. */
static PyObject *
table_of_flight(PyObject *flight, PyObject *attribute)
{
    PyObject *table, *state = PyObject_GetAttr(flight, state_name);
    if (state == NULL) {
        return NULL;
    }
    table = PyObject_GetAttr(state, attribute);
    Py_DECREF(state);
    if (table != NULL && !PyDict_CheckExact(table)) {
        PyErr_SetString(PyExc_TypeError, "a table of a state is a dict");
        Py_CLEAR(table);
    }
    return table;
}

/* exchange(live, flights, standing, prefixes): the lists of `interpreter_state`. */
PyObject *
exchange(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *live, *flights, *standing, *prefixes, *flight, *table;
    Py_ssize_t index;
    int round, failed;
    (void)module;

    if (count != 4 || !PyList_CheckExact(arguments[0]) || !PyList_CheckExact(arguments[1]) ||
        !PyList_CheckExact(arguments[2]) || !PyTuple_CheckExact(arguments[3])) {
        PyErr_SetString(PyExc_TypeError, "exchange() takes three lists and a tuple");
        return NULL;
    }
    live = arguments[0];
    flights = arguments[1];
    standing = arguments[2];
    prefixes = arguments[3];
    if (PyList_GET_SIZE(flights) < 1 || PyList_GET_SIZE(standing) < 1) {
        PyErr_SetString(PyExc_IndexError, "no set of keys stands");
        return NULL;
    }
    for (index = 0; index < PyTuple_GET_SIZE(prefixes); index++) {
        PyObject *prefix = PyTuple_GET_ITEM(prefixes, index);
        if (!PyUnicode_Check(prefix) || PyUnicode_GET_LENGTH(prefix) < 2 ||
            PyUnicode_READ_CHAR(prefix, 0) != '_' || PyUnicode_READ_CHAR(prefix, 1) != '_') {
            PyErr_SetString(PyExc_ValueError, "exchange(): each prefix begins with \"__\"");
            return NULL;
        }
    }
    if (state_name == NULL && (state_name = PyUnicode_InternFromString("state")) == NULL) {
        return NULL;
    }
    for (round = 0; round < 2; round++) {
        if (round == 1) {
            /* From here on the latest flight's is what stands. */
            flight = PyList_GET_ITEM(flights, PyList_GET_SIZE(flights) - 1);
            Py_INCREF(flight);
            if (PyList_SetItem(standing, 0, flight) < 0) {
                return NULL;
            }
        }
        for (index = 0; index < PyList_GET_SIZE(live); index++) {
            PyObject *pair = PyList_GET_ITEM(live, index);
            if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2 ||
                !PyDict_CheckExact(PyTuple_GET_ITEM(pair, 0))) {
                PyErr_SetString(PyExc_TypeError, "exchange(): a dict and an attribute each");
                return NULL;
            }
            table = table_of_flight(PyList_GET_ITEM(standing, 0), PyTuple_GET_ITEM(pair, 1));
            if (table == NULL) {
                return NULL;
            }
            failed = round == 0 ? take_out(PyTuple_GET_ITEM(pair, 0), table, prefixes)
                                : PyDict_Update(PyTuple_GET_ITEM(pair, 0), table);
            Py_DECREF(table);
            if (failed < 0) {
                return NULL;
            }
        }
    }
    Py_RETURN_NONE;
}
