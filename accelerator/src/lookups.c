/* The look-ups of omnipkg_meta that nearly all imports come to, in C.
 *
 * Each function here is one of the library's own in Python, of the same name and the same
 * behaviour, for the cases that are only looked up and not decided:
 *
 * - `subscript` is `RealmModules.__missing__` with `modules._missing`, and
 *   `guarded_subscript` is `GuardedModules.__getitem__`;
 * - `at_home` and `settle_at_home` are those of `answering`, `is_claimed` that of `storage`.
 *
 * They read and write the very tables of the library (`SETTLED`, `_names_at_home`,
 * `CLAIMED`, the memo of an activation), and what they find no answer in goes the way that
 * it goes without them: to what stood in the slot before.  So nothing is decided here.
 *
 * What is remembered in `the` belongs to the main interpreter: there is one table of modules
 * in it.  Other interpreters and free-threaded builds are refused when this is imported.
 */

#define PY_SSIZE_T_CLEAN
#include "execution.h"
#include "native_state.h"
#include "symbols.h"
#include <structmember.h> /* PyMemberDef, before 3.12 */

#ifndef VERSION
#error "setup.py defines VERSION: the version of omnipkg_meta that this is a part of"
#endif

/* What the library hands over, in the order of `LIBRARYS`. */
static struct {
    PyObject *activation;    /* CURRENT, the context variable */
    PyObject *answering;     /* the namespace of omnipkg_meta.answering */
    PyObject *before_import; /* the namespace of omnipkg_meta.modules, whose function it is */
    PyObject *bootstrap;     /* the file name of importlib's code */
    PyObject *call;          /* the code of _call_with_frames_removed */
    PyObject *claimed;       /* CLAIMED */
    PyObject *entry;         /* ENTRY, the code in which extension modules are initialised */
    PyObject *from_list;     /* the code of _handle_fromlist */
    PyObject *import_name;   /* the number of the instruction */
    PyObject *imports;       /* asking.imports */
    PyObject *joined;        /* JOINED */
    PyObject *mains;         /* MAIN.modules */
    PyObject *memo;          /* the member Activation.memo */
    PyObject *modules;       /* the member Realm.modules */
    PyObject *ordinary;      /* ORDINARY */
    PyObject *overlays;      /* OVERLAYS */
    PyObject *settled;       /* SETTLED */
    PyObject *tables;        /* the member Answered.tables */
    PyObject *wanted;        /* trace.wanted */
} the;

static const struct {
    const char *name;
    PyObject **place;
    enum { ANY, CODE, CONTEXT_VARIABLE, DICT, INT, LIST, MEMBER, SET, STR } kind;
} LIBRARYS[] = {
    {"activation", &the.activation, CONTEXT_VARIABLE},
    {"answering", &the.answering, DICT},
    {"before_import", &the.before_import, DICT},
    {"bootstrap", &the.bootstrap, STR},
    {"call", &the.call, CODE},
    {"claimed", &the.claimed, SET},
    {"entry", &the.entry, CODE},
    {"from_list", &the.from_list, CODE},
    {"import_name", &the.import_name, INT},
    {"imports", &the.imports, ANY},
    {"joined", &the.joined, SET},
    {"mains", &the.mains, DICT},
    {"memo", &the.memo, MEMBER},
    {"modules", &the.modules, MEMBER},
    {"ordinary", &the.ordinary, DICT},
    {"overlays", &the.overlays, LIST},
    {"settled", &the.settled, DICT},
    {"tables", &the.tables, MEMBER},
    {"wanted", &the.wanted, ANY},
};
#define HOW_MANY ((Py_ssize_t)(sizeof(LIBRARYS) / sizeof(LIBRARYS[0])))

static int import_name = -2; /* no instruction, until the library says which */

/* Names that are looked up again and again. */
static struct {
    PyObject *before_import;
    PyObject *names_at_home;
    PyObject *realm;
} names;

/* The two types of sys.modules, and what stood in their slot. */
static struct {
    PyTypeObject *type;
    binaryfunc slot;
} plain, guarding;

/* ---- small steps -------------------------------------------------------------------- */

/* Return the top-level name of a module's full name, as a reference of the caller's. */
static PyObject *
top_of(PyObject *name)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, length, 1);
    if (dot == -2) {
        return NULL;
    }
    if (dot == -1) {
        Py_INCREF(name);
        return name;
    }
    return PyUnicode_Substring(name, 0, dot);
}

/* Look a key up in a dict: 1 and a reference in *value, 0 where it is not there, -1. */
static int
look_up(PyObject *table, PyObject *key, PyObject **value)
{
    *value = PyDict_GetItemWithError(table, key);
    if (*value != NULL) {
        Py_INCREF(*value);
        return 1;
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* Return the dict that a member (of `__slots__`) holds, borrowed; NULL, without an error, where
 * the object has no such member, or holds none there.
 *
 * `PyObject_GetAttr` would look the member up by name, which takes longer than all the rest. */
static PyObject *
table_of(PyObject *object, PyObject *member)
{
    PyObject *table;
    if (!PyObject_TypeCheck(object, PyDescr_TYPE(member))) {
        return NULL;
    }
    table = *(PyObject **)((char *)object + ((PyMemberDescrObject *)member)->d_member->offset);
    return table != NULL && PyDict_CheckExact(table) ? table : NULL;
}

/* Look a name up in the table that a table of tables has for it. */
static int
look_up_twice(PyObject *tables, PyObject *name, PyObject **module)
{
    PyObject *table;
    int found = look_up(tables, name, &table);
    if (found > 0) {
        found = PyDict_CheckExact(table) ? look_up(table, name, module) : 0;
        Py_DECREF(table);
    }
    return found;
}

static int
is_bootstrap(PyCodeObject *code)
{
    PyObject *file = code->co_filename;
    return file == the.bootstrap ||
           (PyUnicode_GET_LENGTH(file) == PyUnicode_GET_LENGTH(the.bootstrap) &&
            PyUnicode_Compare(file, the.bootstrap) == 0);
}

/* ---- at_home, settle_at_home -------------------------------------------------------- */

/* `answering.at_home` for what importlib, if it stands between, acts for: 1 and a reference
 * in *realm, 0 where it takes more to find out, -1.  The frame is borrowed; NULL: the one
 * that runs now, which has no object, mostly, and needs none. */
static int
home_answers(PyObject *top, const Execution *asking, PyFrameObject *frame, PyObject **realm)
{
    PyObject *home, *answers, *all;
    int joined, found;

    *realm = NULL;
    found = look_up(asking->globals, names.realm, &home);
    if (found <= 0) {
        return found;
    }
    /* Replaced when it is forgotten, so looked up each time. */
    found = look_up(the.answering, names.names_at_home, &all);
    if (found > 0) {
        found = PyDict_Check(all) ? look_up(all, home, &answers) : 0;
        Py_DECREF(all);
        if (found > 0) {
            found = PyDict_Check(answers) ? look_up(answers, top, realm) : 0;
            Py_DECREF(answers);
        }
    }
    Py_DECREF(home);
    if (found <= 0) {
        return found;
    }
    found = asking->instruction == import_name || (PyObject *)asking->code == the.entry;
    if (!found && frame == NULL) {
        frame = PyEval_GetFrame();
    }
    if (!found && frame != NULL) { /* a call of `__import__` is as good as a statement */
        PyObject *answer = PyObject_CallOneArg(the.imports, (PyObject *)frame);
        found = answer == NULL ? -1 : PyObject_IsTrue(answer);
        Py_XDECREF(answer);
    }
    else if (!found && PyErr_Occurred()) {
        found = -1;
    }
    if (found > 0) {
        joined = PySet_Contains(the.joined, top);
        found = joined < 0 ? -1 : !joined;
    }
    if (found <= 0) {
        Py_CLEAR(*realm);
    }
    return found;
}

/* The whole of `answering.at_home`, for a frame; arguments and results as above. */
static int
home_of_frame(PyObject *top, PyFrameObject *frame, PyObject **realm)
{
    PyObject *within = NULL, *inner = NULL; /* compared by identity only: alive in their frames */
    Execution it;
    int found;

    *realm = NULL;
    if (frame == NULL && (frame = PyEval_GetFrame()) == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    Py_INCREF(frame);
    for (;;) {
        PyFrameObject *back;
        execution_of(frame, &it);
        if (!is_bootstrap(it.code)) {
            break;
        }
        within = inner;
        inner = (PyObject *)it.code;
        Py_DECREF(it.code);
        back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        if (back == NULL) {
            return 0; /* there is nobody but importlib */
        }
        frame = back;
    }
    if (inner != NULL && inner == the.from_list && within != the.call) {
        found = 0; /* it looks for an attribute, and what is native may import meanwhile */
    }
    else {
        found = home_answers(top, &it, frame, realm);
    }
    Py_DECREF(it.code);
    Py_DECREF(frame);
    return found;
}

/* `answering.settle_at_home`: 1, 0 where more is to be said or noted than this, -1. */
static int
settle(PyObject *realm, const Execution *it)
{
    PyObject *home, *answer, *table, *entry;
    int found;

    if ((PyObject *)it->code == the.entry || is_bootstrap(it->code)) {
        return 1; /* not the import statement itself */
    }
    found = look_up(it->globals, names.realm, &home);
    if (found <= 0) {
        return found;
    }
    Py_DECREF(home);
    if (home != realm || PyList_GET_SIZE(the.overlays) < 1) {
        return 0;
    }
    found = PyObject_IsTrue(PyList_GET_ITEM(the.overlays, 0));
    if (found != 0) {
        return found < 0 ? -1 : 0;
    }
    answer = PyObject_CallNoArgs(the.wanted);
    found = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (found != 0) {
        return found < 0 ? -1 : 0;
    }
    table = table_of(realm, the.modules);
    if (table == NULL) {
        return 0;
    }
    entry = PyTuple_Pack(2, it->globals, table);
    if (entry == NULL) {
        return -1;
    }
    found = PyDict_SetItem(the.settled, it->code->co_filename, entry);
    Py_DECREF(entry);
    return found < 0 ? -1 : 1;
}

/* ---- the slots ---------------------------------------------------------------------- */

/* What is settled for import statements of this code: 1, 0, -1. */
static int
settled(PyObject *name, const Execution *it, PyObject **module)
{
    PyObject *entry, *modules, *activation, *table;
    int found;

    found = look_up(the.settled, it->code->co_filename, &entry);
    if (found <= 0) {
        return found;
    }
    if (!PyTuple_CheckExact(entry) || PyTuple_GET_SIZE(entry) != 2 ||
        PyTuple_GET_ITEM(entry, 0) != it->globals) {
        Py_DECREF(entry);
        return 0;
    }
    modules = PyTuple_GET_ITEM(entry, 1);
    if (modules == Py_None) {
        /* The user's own code, which is not pinned: the scope is all there is to ask. */
        found = PyContextVar_Get(the.activation, Py_None, &activation);
        if (found == 0 && activation == Py_None) {
            found = look_up(the.mains, name, module);
        }
        else if (found == 0 && (table = table_of(activation, the.memo)) != NULL) {
            found = look_up_twice(table, name, module);
        }
        Py_XDECREF(activation);
    }
    else if (PyDict_CheckExact(modules)) {
        found = look_up(modules, name, module);
    }
    else {
        table = table_of(modules, the.tables);
        found = table == NULL ? 0 : look_up_twice(table, name, module);
    }
    Py_DECREF(entry);
    return found;
}

/* `modules._missing` for code that has a home: 1, 0 where it takes more, -1. */
static int
missing(PyObject *name, PyObject *top, const Execution *it, PyObject **module)
{
    PyObject *realm, *answer, *table;
    int found;

    *module = NULL;
    found = is_bootstrap(it->code) ? home_of_frame(top, NULL, &realm)
                                   : home_answers(top, it, NULL, &realm);
    if (found <= 0) {
        return found;
    }
    table = table_of(realm, the.modules);
    if (table == NULL) {
        Py_DECREF(realm);
        return 0;
    }
    found = look_up(table, name, module);
    if (found == 0) {
        Py_DECREF(realm);
        if (look_up(the.before_import, names.before_import, &answer) <= 0) {
            return PyErr_Occurred() ? -1 : 0;
        }
        realm = PyObject_CallNoArgs(answer);
        Py_DECREF(answer);
        if (realm != NULL) {
            PyErr_SetObject(PyExc_KeyError, name);
        }
        Py_XDECREF(realm);
        return -1;
    }
    if (found > 0) {
        found = settle(realm, it);
        if (found <= 0) {
            Py_CLEAR(*module);
        }
    }
    Py_DECREF(realm);
    return found;
}

static PyObject *
subscript(PyObject *self, PyObject *name)
{
    PyObject *module = NULL, *top;
    Execution it;
    int found = look_up(self, name, &module);
    if (found != 0) {
        return module;
    }
    if (!PyUnicode_CheckExact(name)) {
        return plain.slot(self, name);
    }
    if (execution_now(&it)) {
        if (it.instruction == import_name) {
            found = settled(name, &it, &module);
        }
        if (found == 0) {
            top = top_of(name);
            found = top == NULL ? -1 : PySet_Contains(the.claimed, top);
            if (found == 0) {
                PyErr_SetObject(PyExc_KeyError, name);
                found = -1;
            }
            else if (found > 0) {
                found = missing(name, top, &it, &module);
            }
            Py_XDECREF(top);
        }
        Py_DECREF(it.code);
    }
    return found == 0 ? plain.slot(self, name) : module;
}

static PyObject *
guarded_subscript(PyObject *self, PyObject *name)
{
    PyObject *module = NULL, *top, *known = NULL;
    Execution it;
    int found;

    if (!PyUnicode_CheckExact(name)) {
        return guarding.slot(self, name);
    }
    top = top_of(name);
    found = top == NULL ? -1 : PySet_Contains(the.claimed, top);
    if (found > 0) {
        found = 0;
        if (execution_now(&it)) {
            found = missing(name, top, &it, &module);
            Py_DECREF(it.code);
        }
    }
    else if (found == 0) {
        found = look_up(the.ordinary, name, &known);
        if (found > 0) {
            found = look_up(self, name, &module);
            if (found > 0 && !(PyLong_Check(known) && PyLong_AsVoidPtr(known) == module)) {
                Py_CLEAR(module);
                found = PyErr_Occurred() ? -1 : 0;
            }
            Py_DECREF(known);
        }
    }
    Py_XDECREF(top);
    return found == 0 ? guarding.slot(self, name) : module;
}

/* ---- what the library calls --------------------------------------------------------- */

/* Tell whether the arguments of a function are so many, of which one has to be a str. */
static int
are(const char *function, Py_ssize_t count, Py_ssize_t expected)
{
    if (count != expected) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", function, expected,
                     count);
        return 0;
    }
    if (import_name < 0) {
        PyErr_Format(PyExc_RuntimeError, "%s() needs the tables of omnipkg_meta", function);
        return 0;
    }
    return 1;
}

static int
is_frame(const char *function, PyObject *argument)
{
    if (!PyFrame_Check(argument)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a frame, not %.100s", function,
                     Py_TYPE(argument)->tp_name);
        return 0;
    }
    return 1;
}

static PyObject *
py_at_home(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *realm = NULL;
    int found;
    (void)module;
    if (!are("at_home", count, 2) || !is_frame("at_home", arguments[1])) {
        return NULL;
    }
    found = home_of_frame(arguments[0], (PyFrameObject *)arguments[1], &realm);
    if (found == 0) {
        Py_RETURN_NONE;
    }
    return realm;
}

static PyObject *
py_settle_at_home(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Execution it;
    int found;
    (void)module;
    if (!are("settle_at_home", count, 2) || !is_frame("settle_at_home", arguments[1])) {
        return NULL;
    }
    execution_of((PyFrameObject *)arguments[1], &it);
    found = settle(arguments[0], &it);
    Py_DECREF(it.code);
    return found < 0 ? NULL : PyBool_FromLong(found);
}

static PyObject *
py_is_claimed(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *top;
    int found;
    (void)module;
    if (!are("is_claimed", count, 1)) {
        return NULL;
    }
    if (!PyUnicode_Check(arguments[0])) {
        Py_RETURN_FALSE;
    }
    top = top_of(arguments[0]);
    if (top == NULL) {
        return NULL;
    }
    found = PySet_Contains(the.claimed, top);
    Py_DECREF(top);
    return found < 0 ? NULL : PyBool_FromLong(found);
}

static void
take_out(void)
{
    if (plain.type != NULL) {
        plain.type->tp_as_mapping->mp_subscript = plain.slot;
        guarding.type->tp_as_mapping->mp_subscript = guarding.slot;
        Py_CLEAR(plain.type);
        Py_CLEAR(guarding.type);
    }
}

static PyObject *
py_put_in(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *types[2];
    Py_ssize_t index;
    (void)module;
    if (!are("put_in", count, 2)) {
        return NULL;
    }
    for (index = 0; index < 2; index++) {
        types[index] = arguments[index];
        if (!PyType_Check(types[index]) ||
            !PyType_HasFeature((PyTypeObject *)types[index], Py_TPFLAGS_DICT_SUBCLASS) ||
            !PyType_HasFeature((PyTypeObject *)types[index], Py_TPFLAGS_HEAPTYPE)) {
            PyErr_SetString(PyExc_TypeError, "put_in() takes two subclasses of dict");
            return NULL;
        }
    }
    take_out();
    Py_INCREF(types[0]);
    Py_INCREF(types[1]);
    plain.type = (PyTypeObject *)types[0];
    guarding.type = (PyTypeObject *)types[1];
    plain.slot = plain.type->tp_as_mapping->mp_subscript;
    guarding.slot = guarding.type->tp_as_mapping->mp_subscript;
    plain.type->tp_as_mapping->mp_subscript = subscript;
    guarding.type->tp_as_mapping->mp_subscript = guarded_subscript;
    Py_RETURN_NONE;
}

static PyObject *
py_take_out(PyObject *module, PyObject *nothing)
{
    (void)module;
    (void)nothing;
    take_out();
    Py_RETURN_NONE;
}

static PyObject *
py_executing(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *found;
    Execution it;
    (void)module;
    (void)arguments; /* those of an import: who proves puts this in the place of __import__ */
    (void)count;
    if (!execution_now(&it)) {
        Py_RETURN_NONE;
    }
    found = Py_BuildValue("(OOi)", it.code, it.globals, it.instruction);
    Py_DECREF(it.code);
    return found;
}

/* Tell whether something is exactly of a kind: what is read here is read without a check. */
static int
is_of(PyObject *one, int kind)
{
    switch (kind) {
    case CODE:
        return Py_IS_TYPE(one, &PyCode_Type);
    case CONTEXT_VARIABLE:
        return PyContextVar_CheckExact(one);
    case DICT:
        return PyDict_CheckExact(one);
    case INT:
        return PyLong_CheckExact(one);
    case LIST:
        return PyList_CheckExact(one);
    case MEMBER:
        return Py_IS_TYPE(one, &PyMemberDescr_Type);
    case SET:
        return Py_IS_TYPE(one, &PySet_Type);
    case STR:
        return PyUnicode_CheckExact(one);
    default:
        return 1;
    }
}

static PyObject *
py_read(PyObject *module, PyObject *arguments, PyObject *tables)
{
    Py_ssize_t index;
    long number;
    (void)module;
    if (PyTuple_GET_SIZE(arguments) != 0 || tables == NULL || PyDict_GET_SIZE(tables) != HOW_MANY) {
        PyErr_Format(PyExc_TypeError, "read() takes the %zd tables by their names", HOW_MANY);
        return NULL;
    }
    for (index = 0; index < HOW_MANY; index++) {
        PyObject *one = PyDict_GetItemString(tables, LIBRARYS[index].name);
        if (one == NULL || !is_of(one, LIBRARYS[index].kind)) {
            PyErr_Format(PyExc_TypeError, "read(): %s is not what it should be",
                         LIBRARYS[index].name);
            return NULL;
        }
    }
    number = PyLong_AsLong(PyDict_GetItemString(tables, "import_name"));
    if (number < 0 || number > 255) {
        PyErr_SetString(PyExc_ValueError, "read(): import_name is no instruction");
        return NULL;
    }
    for (index = 0; index < HOW_MANY; index++) {
        PyObject *before = *LIBRARYS[index].place;
        *LIBRARYS[index].place = PyDict_GetItemString(tables, LIBRARYS[index].name);
        Py_INCREF(*LIBRARYS[index].place);
        Py_XDECREF(before);
    }
    import_name = (int)number;
    Py_RETURN_NONE;
}

/* ---- the module --------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"at_home", (PyCFunction)(void (*)(void))py_at_home, METH_FASTCALL,
     "at_home($module, top, frame, /)\n--\n\nomnipkg_meta.answering.at_home"},
    {"settle_at_home", (PyCFunction)(void (*)(void))py_settle_at_home, METH_FASTCALL,
     "settle_at_home($module, realm, frame, /)\n--\n\nomnipkg_meta.answering.settle_at_home"},
    {"is_claimed", (PyCFunction)(void (*)(void))py_is_claimed, METH_FASTCALL,
     "is_claimed($module, name, /)\n--\n\nomnipkg_meta.storage.is_claimed"},
    {"exchange", (PyCFunction)(void (*)(void))exchange, METH_FASTCALL,
     "exchange($module, live, flights, standing, prefixes, /)\n--\n\n"
     "What the calls of omnipkg_meta.interpreter_state._settle do."},
    {"_undefined", (PyCFunction)(void (*)(void))undefined, METH_FASTCALL,
     "_undefined($module, entries, functions, /)\n--\n\nomnipkg_meta.relink._undefined"},
    {"executing", (PyCFunction)(void (*)(void))py_executing, METH_FASTCALL,
     "executing($module, /, *arguments)\n--\n\n"
     "Return what is executed now: code, namespace, and the number of the instruction."},
    {"read", (PyCFunction)(void (*)(void))py_read, METH_VARARGS | METH_KEYWORDS,
     "read($module, /, **tables)\n--\n\nRead these tables of the library from now on."},
    {"put_in", (PyCFunction)(void (*)(void))py_put_in, METH_FASTCALL,
     "put_in($module, plain, guarding, /)\n--\n\n"
     "Answer subscripts of these two types of sys.modules."},
    {"take_out", py_take_out, METH_NOARGS,
     "take_out($module, /)\n--\n\nLet what stood in their slots answer again."},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
    static const struct {
        PyObject **place;
        const char *text;
    } texts[] = {
        {&names.before_import, "before_import"},
        {&names.names_at_home, "_names_at_home"},
        {&names.realm, "__realm__"},
    };
    size_t index;

    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "the accelerator of omnipkg_meta serves the main interpreter only");
        return -1;
    }
    for (index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        if (*texts[index].place == NULL) {
            *texts[index].place = PyUnicode_InternFromString(texts[index].text);
            if (*texts[index].place == NULL) {
                return -1;
            }
        }
    }
    return PyModule_AddStringConstant(module, "__version__", VERSION);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "omnipkg_meta_accelerator",
    .m_doc = "The look-ups of omnipkg_meta that nearly all imports come to, in C.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_omnipkg_meta_accelerator(void)
{
#ifdef Py_GIL_DISABLED
    PyErr_SetString(PyExc_ImportError,
                    "the accelerator of omnipkg_meta is not made for free-threaded builds");
    return NULL;
#else
    return PyModuleDef_Init(&definition);
#endif
}
