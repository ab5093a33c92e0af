"""Calls of ``__import__``: expressions that import for their frame, as import statements do.

While such a call is executed, no other native code stands between the frame and the
interpreter's own import (``builtin___import__`` in ``Python/bltinmodule.c``); so the C
stack, which is slow to read, need not be asked who imports.

Which call a frame executes is read off the positions of its instructions (PEP 657): the
callee is the bare name, and nothing else, if no instruction begins where the call begins
and is longer than the name and shorter than the call.  Before Python 3.11, and where
positions were left out (``-X no_debug_ranges``), nothing is known to be such a call.

This file knows nothing of realms.
"""

from __future__ import annotations

import dis
import sys
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType, FrameType

__all__ = ["calls_import"]

_NAME = "__import__"
_HAS_POSITIONS = sys.version_info >= (3, 11)

_LOAD_GLOBAL = dis.opmap["LOAD_GLOBAL"]

#: Identity of a code object to the object, which is kept alive, and the offsets of the
#: instructions that call.
_known: dict[int, tuple[CodeType, frozenset[int]]] = {}


def calls_import(frame: FrameType) -> bool:
    """Tell whether a frame is executing a call of the interpreter's own ``__import__``."""
    code = frame.f_code
    if _NAME not in code.co_names or not _HAS_POSITIONS:
        return False
    known = _known.get(id(code))
    if known is None:
        known = _known[id(code)] = (code, _offsets(code))
    return (
        frame.f_lasti in known[1]
        and _NAME not in frame.f_globals
        and isinstance(frame.f_builtins.get(_NAME), BuiltinFunctionType)
    )


def _offsets(code: CodeType) -> frozenset[int]:
    """Return the offsets of the instructions that call ``__import__`` by its bare name."""
    # A module's own code is long, and has none: there a name may be a local variable, too.
    if _LOAD_GLOBAL not in code.co_code[::2]:
        return frozenset()
    starts: dict[tuple[int, int], set[tuple[int, int]]] = {}
    names: dict[tuple[int, int], tuple[int, int]] = {}
    found = []
    instructions: Any = dis.get_instructions(code)
    for one in instructions:
        line, last_line, column, last_column = one.positions or (None,) * 4
        if line is None or last_line is None or column is None or last_column is None:
            continue
        start, end = (line, column), (last_line, last_column)
        starts.setdefault(start, set()).add(end)
        # A local variable of that name would be loaded by other instructions.
        if one.opname == "LOAD_GLOBAL" and one.argval == _NAME:
            names[start] = end
        elif start in names and one.opname in _CALLS:
            found.append((one.offset, start, end))
    return frozenset(
        offset
        for offset, start, end in found
        if not any(names[start] < other < end for other in starts[start])
    )


#: What a call is made of; 3.11 counts the first of two as the one that is executed.
_CALLS = frozenset({"PRECALL", "CALL", "CALL_KW", "CALL_FUNCTION_EX"})
