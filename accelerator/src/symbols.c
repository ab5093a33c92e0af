/* `relink._undefined`: the numbers of the symbols by which a library means some functions.
 *
 * The library is in memory, and what says where its tables are was read by `relink`.  Only
 * the symbols that it does not define itself are looked at, which come first, instead of all
 * the text of its names.
 */

#define PY_SSIZE_T_CLEAN
#include "symbols.h"

#include <stdint.h>
#include <string.h>

/* Tags of the dynamic section, and what a symbol is, in the ELF of 64 bits. */
#define DT_HASH 4
#define DT_STRTAB 5
#define DT_SYMTAB 6
#define DT_STRSZ 10
#define DT_GNU_HASH 0x6ffffef5

typedef struct {
    uint32_t name; /* where its name is in the table of texts */
    uint32_t kind_and_section;
    uint64_t value;
    uint64_t size;
} Symbol;

/* So many functions may be looked for at once; there are three. */
#define MOST 16

/* Read an entry of the dynamic section: 1, 0 where there is none, -1. */
static int
entry(PyObject *entries, unsigned long tag, uintptr_t *value)
{
    PyObject *key = PyLong_FromUnsignedLong(tag), *found;
    if (key == NULL) {
        return -1;
    }
    found = PyDict_GetItemWithError(entries, key);
    Py_DECREF(key);
    if (found == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    *value = (uintptr_t)PyLong_AsUnsignedLongLong(found);
    return PyErr_Occurred() ? -1 : 1;
}

/* undefined(entries, functions): a dict of numbers to the values of `functions`. */
PyObject *
undefined(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *found, *key, *value, *values[MOST];
    const char *names[MOST];
    uint32_t places[MOST];
    size_t lengths[MOST];
    uintptr_t table = 0, texts = 0, size = 0, symbols = 0;
    Py_ssize_t position = 0, functions = 0, index, length;
    uint32_t number, many;
    int has;
    (void)module;

    if (count != 2 || !PyDict_CheckExact(arguments[0]) || !PyDict_CheckExact(arguments[1]) ||
        PyDict_GET_SIZE(arguments[1]) > MOST) {
        PyErr_SetString(PyExc_TypeError, "undefined() takes two dicts");
        return NULL;
    }
    while (PyDict_Next(arguments[1], &position, &key, &value)) {
        names[functions] = PyUnicode_AsUTF8AndSize(key, &length);
        if (names[functions] == NULL) {
            return NULL;
        }
        lengths[functions] = (size_t)length + 1; /* with the zero at its end */
        places[functions] = UINT32_MAX;
        values[functions++] = value;
    }
    found = PyDict_New();
    if (found == NULL) {
        return NULL;
    }
    has = entry(arguments[0], DT_GNU_HASH, &table);
    if (has == 0) {
        has = entry(arguments[0], DT_HASH, &table);
    }
    if (has <= 0 || (has = entry(arguments[0], DT_STRTAB, &texts)) <= 0 ||
        (has = entry(arguments[0], DT_STRSZ, &size)) <= 0 ||
        (has = entry(arguments[0], DT_SYMTAB, &symbols)) <= 0) {
        if (has < 0) {
            Py_CLEAR(found);
        }
        return found;
    }
    /* The second word of either table says how many symbols come before those that the
     * library defines, or how many there are. */
    many = ((const uint32_t *)table)[1];
    for (number = 0; number < many; number++) {
        uint32_t place = ((const Symbol *)symbols)[number].name;
        for (index = 0; index < functions; index++) {
            if (place >= size || lengths[index] > size - place || place == places[index] ||
                memcmp((const char *)texts + place, names[index], lengths[index]) != 0) {
                continue;
            }
            places[index] = place; /* of several with one text the first is meant */
            key = PyLong_FromUnsignedLong(number);
            if (key == NULL || PyDict_SetItem(found, key, values[index]) < 0) {
                Py_XDECREF(key);
                Py_DECREF(found);
                return NULL;
            }
            Py_DECREF(key);
        }
    }
    return found;
}
