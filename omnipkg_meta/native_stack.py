"""Which shared object is calling: the C stack, read next to the Python stack.

Code compiled by Cython, PyO3 or plain C leaves no Python frame, so an import it
makes at call time looks like its caller's.  The C stack knows better.  Each run
of the evaluation loop (``_PyEval_EvalFrameDefault`` in ``Python/ceval.c``) shows
as one C frame, and each Python frame knows whether it *started* a run or was
called within one; so the C frames between two Python frames can be found by
counting, and the shared object they belong to names the code that asked.

Three facts of the platform are used, all read-only:

* ``backtrace`` (glibc, macOS) gives the return addresses of the C stack;
* ``_Unwind_FindEnclosingFunction`` (the C++ ABI's unwinder) gives the function
  an address belongs to, also where symbols are stripped;
* a frame object points to its ``_PyInterpreterFrame``, whose ``previous`` is the
  caller's frame if and only if no C code stands between (3.12 and newer), or
  which carries the flag ``is_entry`` (3.11).  Before 3.11 every Python frame
  starts a run.

The proof at run time is :func:`reader`: it recurses through several kinds of C
calls and accepts only an evaluation loop whose number of C frames equals the
number of Python frames that started a run, each time.  Where there is no such
function, there is no reader, and the asking frame decides.

This file knows nothing of bubbles or imports.
"""

from __future__ import annotations

import _thread
import struct
import sys
from collections import Counter
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["NativeStack", "reader"]

#: How many C frames are looked at, from the innermost out.  Unwinding is what
#: costs, and an import asked for by native code is found within the first thirty
#: or so; more are looked at only where these do not reach far enough.
_DEPTHS = (20, 40, 96, 512)

#: A user process has no addresses above this (48 bits with a sign on x86-64 and AArch64).
_MOST_ADDRESSES = 1 << (8 * struct.calcsize("P") - 1 if struct.calcsize("P") == 4 else 48)

_EVERY_FRAME_STARTS = sys.version_info < (3, 11)
_HAS_ENTRY_FLAG = not _EVERY_FRAME_STARTS and sys.version_info < (3, 12)

#: ``_PyInterpreterFrame`` of 3.11: f_func, f_globals, f_builtins, f_locals, f_code, frame_obj,
#: previous, prev_instr are words; int stacktop and bool is_entry come next.
_ENTRY_FLAG = 8

#: Any value but ``_URC_NO_REASON`` ends ``_Unwind_Backtrace``.
_STOP = 5

#: The answers that are remembered: a stack of return addresses says all.
_MOST_ANSWERS = 4096


class NativeStack:
    """Reads the C stack of the calling thread.

    Made by :func:`reader`, which proves that it reads right.
    """

    def __init__(self) -> None:
        import ctypes  # not before hooks go in: importing this package loads no ctypes

        self._pointer = ctypes.c_void_p
        self._word_size = ctypes.sizeof(ctypes.c_void_p)
        # Memory, as an array of words.  A subscript costs a tenth of ``from_address``
        # and ``value``, and a walk reads two words a frame.
        self._words = (ctypes.c_size_t * (_MOST_ADDRESSES // self._word_size)).from_address(0)
        self._bytes = (ctypes.c_uint8 * _MOST_ADDRESSES).from_address(0)
        self._buffers: dict[int, Any] = {depth: ctypes.c_void_p * depth for depth in _DEPTHS}
        self._answers: dict[tuple[int, bytes], tuple[str, ...] | None] = {}
        self._byref = ctypes.byref

        class SymbolInfo(ctypes.Structure):
            """``Dl_info`` of ``dladdr(3)``."""

            _fields_ = (
                ("file_name", ctypes.c_char_p),
                ("base", ctypes.c_void_p),
                ("symbol_name", ctypes.c_char_p),
                ("symbol", ctypes.c_void_p),
            )

        self._symbol_info: Any = SymbolInfo
        # PyDLL keeps the GIL: these calls are short, and a switch of threads is not.
        process = ctypes.PyDLL(None)
        self._backtrace = process.backtrace
        self._backtrace.restype = ctypes.c_int
        try:
            self._dladdr = process.dladdr
        except AttributeError:  # glibc before 2.34 keeps it in a library of its own
            self._dladdr = ctypes.PyDLL("libdl.so.2").dladdr
        self._dladdr.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        unwinder = process
        if not hasattr(process, "_Unwind_FindEnclosingFunction"):
            unwinder = ctypes.PyDLL("libgcc_s.so.1")
        self._find_function = unwinder._Unwind_FindEnclosingFunction
        self._find_function.argtypes = (ctypes.c_void_p,)
        self._find_function.restype = ctypes.c_void_p
        self._instruction_pointer = unwinder._Unwind_GetIP
        self._instruction_pointer.argtypes = (ctypes.c_void_p,)
        self._instruction_pointer.restype = ctypes.c_void_p
        self._step_type = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._unwind = unwinder._Unwind_Backtrace
        self._unwind.argtypes = (self._step_type, ctypes.c_void_p)
        self._functions: dict[int, int] = {}
        self._libraries: dict[int, str] = {}
        self._evaluation_loop = 0

    def started_run(self, frame: FrameType) -> bool:
        """Tell whether C code stands between ``frame`` and its caller.

        Source: ``Include/internal/pycore_frame.h``; ``_PyEval_EvalFrameDefault``
        puts a frame of its own below each run since 3.12.
        """
        back = frame.f_back
        if back is None or _EVERY_FRAME_STARTS:
            return True
        inner = self._interpreter_frame(frame)
        if _HAS_ENTRY_FLAG:
            return self._bytes[inner + _ENTRY_FLAG * self._word_size + 4] != 0
        return self._words[inner // self._word_size + 1] != self._interpreter_frame(back)

    def _interpreter_frame(self, frame: FrameType) -> int:
        # PyFrameObject: the object header, f_back, f_frame
        return self._words[(id(frame) + object.__basicsize__) // self._word_size + 1]

    def _function_at(self, address: int | None) -> int:
        if address is None:
            return 0
        try:
            return self._functions[address]
        except KeyError:
            # A return address may lie just behind the end of a function that
            # ends in a call, hence the - 1.
            start = self._functions[address] = self._find_function(address - 1) or 0
            return start

    def library_at(self, address: int | None) -> str:
        """Return the path of the shared object that an address lies in; empty where in none."""
        if address is None:
            return ""
        try:
            return self._libraries[address]
        except KeyError:
            info = self._symbol_info()
            name = ""
            if self._dladdr(address, self._byref(info)) and info.file_name:
                name = sys.intern(
                    info.file_name.decode(sys.getfilesystemencoding(), "surrogateescape")
                )
            self._libraries[address] = name
            return name

    def libraries_between(self, outer: FrameType | None, *, careful: bool) -> tuple[str, ...]:
        """Return the shared objects between the caller of this method and an outer frame.

        Args:
            outer: a frame of this thread, below the caller's; None for the whole stack.
            careful: walk no further than that frame's run of the evaluation loop,
                which is slower.  Below the first C frame of a greenlet lies whatever
                another one left there; ``backtrace`` would walk into it, and crash.

        Returns:
            Paths as the loader knows them, the nearest to the caller first,
            neighbours collapsed; empty where Python called Python all the way.
        """
        runs = self._runs_to(outer)
        if not runs:
            return ()
        # The stack has to be read in this very frame: a helper function would
        # start a run of its own on Python 3.10.
        if careful:
            addresses: list[int | None] = []
            # Where there is no outer frame, the last run is the base of the stack, or
            # of the greenlet: no further.
            self._unwind(self._stepper(runs + (outer is not None), addresses), None)
            return self._libraries_in(addresses, runs)[0]
        for depth in _DEPTHS:
            buffer = self._buffers[depth]()
            count = self._backtrace(buffer, depth)
            key = (runs, bytes(buffer))
            try:
                found = self._answers[key]
            except KeyError:
                found, whole = self._libraries_in(buffer[:count], runs)
                if not whole and count == depth and depth != _DEPTHS[-1]:
                    found = None  # look further out
                if len(self._answers) >= _MOST_ANSWERS:
                    self._answers.clear()
                self._answers[key] = found
            if found is not None:
                return found
        return ()

    def _runs_to(self, outer: FrameType | None) -> int:
        """Count the runs that start between the caller and an outer frame."""
        frame = sys._getframe(1)
        runs = 0
        # As ``started_run`` says, with each pointer read once.
        words, word_size = self._words, self._word_size
        if _EVERY_FRAME_STARTS:
            while frame is not outer and (back := frame.f_back) is not None:
                runs += 1
                frame = back
        elif _HAS_ENTRY_FLAG:
            flags, entry = self._bytes, _ENTRY_FLAG * word_size + 4
            place = object.__basicsize__ // word_size + 1  # objects are aligned to words
            while frame is not outer and (back := frame.f_back) is not None:
                runs += flags[words[id(frame) // word_size + place] + entry]
                frame = back
        else:
            inner = self._interpreter_frame(frame)
            while frame is not outer and (back := frame.f_back) is not None:
                inner_of_back = words[(id(back) + object.__basicsize__) // word_size + 1]
                runs += words[inner // word_size + 1] != inner_of_back
                inner = inner_of_back
                frame = back
        return runs + (frame is not outer)

    def _stepper(self, left: int, addresses: list[int | None]) -> Any:
        """Return a callback that notes the address of each frame until so many runs are seen."""

        def step(context: int | None, _: int | None) -> int:
            nonlocal left
            address = self._instruction_pointer(context)
            addresses.append(address)
            left -= self._function_at(address) == self._evaluation_loop
            return 0 if left > 0 else _STOP

        return self._step_type(step)

    def _libraries_in(self, addresses: list[int | None], runs: int) -> tuple[tuple[str, ...], bool]:
        """Return the shared objects within so many runs, and whether the last one ended."""
        libraries: list[str] = []
        seen = 0
        for address in addresses:
            if self._function_at(address) == self._evaluation_loop:
                seen += 1
                if seen > runs:
                    return tuple(libraries), True
            elif seen:
                library = self.library_at(address)
                if library and (not libraries or libraries[-1] != library):
                    libraries.append(library)
        return tuple(libraries), False

    def _count(self) -> tuple[Counter[int], int]:
        buffer = self._buffers[_DEPTHS[-1]]()
        count = self._backtrace(buffer, _DEPTHS[-1])
        functions = Counter(map(self._function_at, buffer[:count]))
        runs = 0
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            runs += self.started_run(frame)
            frame = frame.f_back
        return functions, runs

    def prove(self) -> bool:
        """Find the evaluation loop by counting; False if that cannot be done here."""
        candidates: set[int] | None = None
        for call in (
            _through_iterator,
            _through_generator,
            _through_attribute,
            _through_comparison,
        ):
            (low, low_runs), (high, high_runs) = call(self._count, 1), call(self._count, 3)
            added = high_runs - low_runs
            if added < 2:
                return False
            found = {f for f in high if f and high[f] - low[f] == added and high[f] == high_runs}
            candidates = found if candidates is None else candidates & found
        if not candidates or len(candidates) != 1:
            return False
        (self._evaluation_loop,) = candidates
        return True


_Counts = tuple["Counter[int]", int]


def _through_iterator(count: Callable[[], _Counts], depth: int) -> _Counts:
    if not depth:
        return count()
    return next(map(_through_iterator, [count], [depth - 1]))


def _through_generator(count: Callable[[], _Counts], depth: int) -> _Counts:
    def generator() -> Any:
        yield _through_generator(count, depth - 1)

    return next(generator()) if depth else count()


def _through_attribute(count: Callable[[], _Counts], depth: int) -> _Counts:
    class Probe:
        def __getattr__(self, name: str) -> _Counts:
            return _through_attribute(count, depth - 1)

    return getattr(Probe(), "probe") if depth else count()  # noqa: B009


def _through_comparison(count: Callable[[], _Counts], depth: int) -> _Counts:
    result: list[_Counts] = []

    class Probe:
        def __lt__(self, other: object) -> bool:
            result.append(_through_comparison(count, depth - 1))
            return False

    if not depth:
        return count()
    sorted([Probe(), Probe()])
    return result[0]


#: The reader of this process, or None, once it is known.
_known: list[NativeStack | None] = []


def reader() -> NativeStack | None:
    """Return the reader of this process, or None where the C stack cannot be read.

    None on Windows, on musl (no ``backtrace``), and on an interpreter whose
    evaluation loop is not one C function; and for as long as ctypes is being loaded.
    """
    if not _known:
        try:
            stack = None if sys.platform == "win32" else NativeStack()
        except (AttributeError, OSError, ImportError):
            if _is_loading("ctypes"):
                # It is what it takes, and asks itself who imports: its own lazy imports
                # do, from Python 3.15 on.
                return None
            stack = None
        _known.append(stack if stack is not None and _is_proven(stack) else None)
    return _known[0]


def _is_loading(package: str) -> bool:
    """Tell whether a module of a package has begun to be loaded, and is not yet."""
    storage: dict[str, Any] = sys.modules
    return any(
        getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(dict.items(storage))
        if name.partition(".")[0] == package
    )


def _is_proven(stack: NativeStack) -> bool:
    # The proof compares whole stacks, so it has to fit into what is read, and
    # must not be on the stack of a greenlet: it runs on a thread of its own.
    start = _thread_starter()
    if start is None:
        return False
    proved: list[bool] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            proved.append(stack.prove())
        finally:
            done.release()

    try:
        start(run, ())
    except RuntimeError:
        return False  # no more threads can be had, or none at all in this subinterpreter
    done.acquire()
    return proved == [True]


def _thread_starter() -> Callable[[Callable[[], None], tuple[()]], int] | None:
    """Return what starts a thread of the operating system, also where gevent has replaced it."""
    start = _thread.start_new_thread
    if isinstance(start, BuiltinFunctionType):
        return start
    try:
        from gevent.monkey import get_original
    except ImportError:
        return None
    original: Callable[[Callable[[], None], tuple[()]], int] = get_original(
        "_thread", "start_new_thread"
    )
    return original
