/* What a thread executes: the code, its namespace, and the instruction.
 *
 * The public API reaches all of it by frame objects (`PyFrame_GetCode`,
 * `PyFrame_GetLasti`, `PyFrame_GetGlobals`).  Two things of it cost more than the look-up
 * that they are wanted for, and stand here, and nowhere else, in another way:
 *
 * - the frame that runs now has an object from Python 3.11 on only if somebody asks for
 *   one, so it is read where the interpreter keeps it (`_PyInterpreterFrame`);
 * - `PyCode_GetCode` makes a copy of all instructions from Python 3.11 on, so the one that
 *   is executed is read off the code itself.  There it may have been replaced by another
 *   one (specialised, or instrumented for a debugger); then it is not the one that is
 *   looked for, and who looks asks in Python.
 */

#ifndef EXECUTION_H
#define EXECUTION_H

#include <Python.h>
#include <frameobject.h>

#if PY_VERSION_HEX < 0x030A0000 || PY_VERSION_HEX >= 0x03100000
#error "written for CPython 3.10 to 3.15: each later version has to be looked at"
#endif

/* The frame that runs now, in the three ways that there are to read it. */
#if PY_VERSION_HEX >= 0x030C0000
/* `PyUnstable_InterpreterFrame_*` are there for this; only where a thread keeps its frame
 * is no function, but a public member of `PyThreadState`. */
#elif PY_VERSION_HEX >= 0x030B0000
/* No function reads it; the structure itself is in a header of the interpreter's own, which
 * gives what it holds to whoever defines this.  3.11 gets no more than security fixes. */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE
#endif

/* An instruction takes so many bytes, or a multiple (`_Py_CODEUNIT`), since Python 3.6. */
#define CODE_UNIT 2

typedef struct {
    PyCodeObject *code;  /* a reference of one's own */
    PyObject *globals;   /* borrowed: alive as long as the code is executed */
    int instruction;     /* the one that is executed; -1 where that is not known */
} Execution;

/* Return the instruction at an offset in bytes; -1 where there is none. */
static inline int
instruction_at(PyCodeObject *code, int offset)
{
    if (offset < 0) { /* before the first */
        return -1;
    }
#if PY_VERSION_HEX >= 0x030B0000
    if (offset >= Py_SIZE(code) * CODE_UNIT) {
        return -1; /* somebody's frame that is not executed from the code */
    }
    /* The first byte of a code unit, whatever its type, is the instruction. */
    return ((unsigned char *)code->co_code_adaptive)[offset];
#else
    return ((unsigned char *)PyBytes_AS_STRING(code->co_code))[offset];
#endif
}

/* Read what a frame object executes. */
static inline void
execution_of(PyFrameObject *frame, Execution *it)
{
    it->code = PyFrame_GetCode(frame);
#if PY_VERSION_HEX >= 0x030B0000
    it->globals = PyFrame_GetGlobals(frame);
    Py_DECREF(it->globals); /* the frame has one */
    it->instruction = instruction_at(it->code, PyFrame_GetLasti(frame));
#else
    it->globals = frame->f_globals;
    it->instruction = instruction_at(it->code, frame->f_lasti * CODE_UNIT);
#endif
}

/* Read what this thread executes; 0 where that is no code of Python, or has not begun. */
static inline int
execution_now(Execution *it)
{
    PyThreadState *thread = PyThreadState_Get();
    PyObject *code;
    int offset;
#if PY_VERSION_HEX >= 0x030C0000
#if PY_VERSION_HEX >= 0x030D0000
    struct _PyInterpreterFrame *frame = thread->current_frame;
#else
    struct _PyInterpreterFrame *frame = thread->cframe->current_frame;
#endif
    if (frame == NULL) {
        return 0;
    }
    code = PyUnstable_InterpreterFrame_GetCode(frame);
    if (!PyCode_Check(code)) { /* the base of a run of the evaluation loop, as it ends */
        Py_DECREF(code);
        return 0;
    }
    offset = PyUnstable_InterpreterFrame_GetLasti(frame);
    it->globals = PyEval_GetGlobals();
#elif PY_VERSION_HEX >= 0x030B0000
    _PyInterpreterFrame *frame = thread->cframe->current_frame;
    if (frame == NULL || _PyFrame_IsIncomplete(frame)) {
        return 0;
    }
    code = (PyObject *)frame->f_code;
    Py_INCREF(code);
    offset = _PyInterpreterFrame_LASTI(frame) * CODE_UNIT;
    it->globals = frame->f_globals;
#else
    PyFrameObject *frame = thread->frame;
    if (frame == NULL) {
        return 0;
    }
    code = (PyObject *)frame->f_code;
    Py_INCREF(code);
    offset = frame->f_lasti * CODE_UNIT;
    it->globals = frame->f_globals;
#endif
    it->code = (PyCodeObject *)code;
    it->instruction = instruction_at(it->code, offset);
    if (it->globals == NULL) {
        Py_DECREF(code);
        return 0;
    }
    return 1;
}

#endif
