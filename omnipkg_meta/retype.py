"""Changing the type of a live dict, or of a live list, in place.

This is the one hack that everything rests on: the interpreter, and whoever looked
before us, hold on to the object that was there first, so that object itself has to
learn something new.  A subclass with empty ``__slots__`` has the memory layout of
dict or list, so it is enough to write another type pointer into the object's header
(``Py_SET_TYPE``).

The proof at run time is :func:`prove` and :func:`prove_list`; the undo is
:func:`set_type` with ``dict`` or ``list``.
Beside it stands :func:`subscript_in_c`, which makes such a subclass as fast as dict.
This file knows nothing of modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnipkg_meta.errors import HookError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_live", "prove", "prove_list", "set_type", "subscript_in_c"]

#: ``Py_mp_subscript`` of ``Include/typeslots.h``, a part of the stable ABI.
_MP_SUBSCRIPT = 5


#: ``Py_TPFLAGS_HEAPTYPE`` of ``Include/object.h``, a part of the stable ABI.
_HEAP_TYPE = 1 << 9


def set_type(target: Any, new: type) -> None:
    """Change the type of a dict or a list in place (``Py_SET_TYPE``).

    The type pointer is the last word of the object header, also in
    free-threaded builds, whose header is larger.

    Raises:
        HookError: the header has another layout; nothing was changed.
    """
    import ctypes

    old: type = type(target)
    address = id(target) + object.__basicsize__ - ctypes.sizeof(ctypes.c_void_p)
    word = ctypes.c_void_p.from_address(address)
    if word.value != id(old):
        raise HookError(
            f"The type of a live {old.__name__} cannot be changed: "
            "the object header has an unknown layout."
        )
    # An instance owns a reference to a type that lives on the heap.
    if new.__flags__ & _HEAP_TYPE:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(new))
    word.value = id(new)
    if old.__flags__ & _HEAP_TYPE:
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(old))


def _layout(of: type) -> tuple[int, int, int]:
    """Return what says how the instances of a type lie in memory.

    From Python 3.12 on, a ``__dict__`` and weak references lie before the object header
    (``Py_TPFLAGS_MANAGED_DICT``), so that the size alone does not tell.
    """
    return of.__basicsize__, of.__dictoffset__, of.__weakrefoffset__


def prove(*types: type[dict[Any, Any]]) -> None:
    """Show, on a dict of no importance, that the change has the effect that is relied on.

    Args:
        types: the dict subclasses that are going to be used.

    Raises:
        HookError: it has not, or one of the types has a layout of its own.
    """
    if any(_layout(one) != _layout(dict) for one in types):
        raise HookError(
            "The type of sys.modules cannot be changed: a dict subclass has a layout of its own."
        )

    class Probe(dict[str, str]):
        __slots__ = ()

        def __missing__(self, key: str) -> str:
            return f"missing {key}"

    subscript_in_c(Probe)
    probe: dict[str, str] = {"there": "found"}
    set_type(probe, Probe)
    seen = (type(probe), probe["there"], probe["gone"])
    set_type(probe, dict)
    if seen != (Probe, "found", "missing gone") or type(probe) is not dict:
        raise HookError(
            "The type of sys.modules cannot be changed: the change had no effect on a dict."
        )


def prove_list(*types: type[list[Any]]) -> None:
    """Show, on a list of no importance, that the change has the effect that is relied on.

    Args:
        types: the list subclasses that are going to be used.

    Raises:
        HookError: it has not, or one of the types has a layout of its own.
    """
    if any(_layout(one) != _layout(list) for one in types):
        raise HookError(
            "The type of sys.meta_path cannot be changed: a list subclass has a layout of its own."
        )

    class Probe(list[str]):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            return iter(("changed",))

        def append(self, item: str) -> None:
            super().append(f"appended {item}")

    probe = ["there"]
    set_type(probe, Probe)
    probe.append("more")
    seen = (type(probe), [*probe], tuple(probe), probe[:])
    set_type(probe, list)
    changed = ["changed"]
    if seen != (Probe, changed, tuple(changed), ["there", "appended more"]) or [*probe] != seen[3]:
        raise HookError(
            "The type of sys.meta_path cannot be changed: the change had no effect on a list."
        )


def subscript_in_c(subclass: type[dict[Any, Any]]) -> bool:
    """Let a dict subclass that has no ``__getitem__`` of its own be subscripted as dict is.

    ``dict.__getitem__`` is a method and no slot wrapper (``METH_COEXIST`` in
    ``Objects/dictobject.c``), so ``update_one_slot`` gives each subclass the generic
    ``slot_mp_subscript``, which looks the method up by name and calls it.  What it
    calls in the end is the function that stands in dict's own slot; this puts that
    one into the subclass's.  ``__missing__`` is honoured there.

    Nothing but speed depends on it, and the class is ours, so there is nothing to undo.

    Returns:
        Whether it was done; False, and nothing changed, where a type is laid out
        in a way that is not known here.
    """
    import ctypes

    if any("__getitem__" in one.__dict__ for one in subclass.__mro__ if one is not dict):
        return False
    get_slot = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)(
        ("PyType_GetSlot", ctypes.pythonapi)
    )
    word = ctypes.sizeof(ctypes.c_void_p)
    # PyTypeObject: the object header, ob_size, tp_name, tp_basicsize, tp_itemsize,
    # tp_dealloc, tp_vectorcall_offset, tp_getattr, tp_setattr, tp_as_async, tp_repr,
    # tp_as_number, tp_as_sequence, tp_as_mapping.  PyMappingMethods: mp_length, mp_subscript.
    methods = ctypes.c_void_p.from_address(id(subclass) + object.__basicsize__ + 12 * word).value
    # Those of a class made in Python lie within the type itself (PyHeapTypeObject).
    metaclass: Any = type
    if methods is None or not 0 <= methods - id(subclass) < metaclass.__basicsize__ - word:
        return False
    slot = ctypes.c_void_p.from_address(methods + word)
    if slot.value != get_slot(subclass, _MP_SUBSCRIPT):
        return False
    slot.value = get_slot(dict, _MP_SUBSCRIPT)
    return True


def check_live(modules: dict[Any, Any]) -> None:
    """See that a dict is the plain one that the interpreter itself looks in.

    Raises:
        HookError: it is not.
    """
    if type(modules) is not dict:
        raise HookError(
            "sys.modules is not a plain dict.",
            cause=f"it is a {type(modules).__module__}.{type(modules).__qualname__}",
            tip="another library replaced it; enter the first scope before it is loaded",
        )
    if _interpreters_modules() is not modules:
        raise HookError(
            "sys.modules is not the dict that the interpreter itself looks in.",
            cause="something assigned another dict to sys.modules",
            tip="change sys.modules in place, or enter the first scope before that",
        )


def _interpreters_modules() -> object:
    """Return the interpreter's own dict of modules (``PyImport_GetModuleDict``)."""
    import ctypes

    # A prototype of our own: ``ctypes.pythonapi`` is everybody's.
    get = ctypes.PYFUNCTYPE(ctypes.py_object)(("PyImport_GetModuleDict", ctypes.pythonapi))
    # The C function gives a borrowed reference, and ctypes takes an owned one.
    found: object = get()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
    return found
