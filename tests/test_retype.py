"""The type of a live dict, changed in place; and subclasses as fast as dict."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest

from omnipkg_meta.errors import HookError
from omnipkg_meta.retype import prove, set_type, subscript_in_c


def subscript_function(of: type) -> int | None:
    """Return the C function that a type's ``mp_subscript`` slot holds."""
    get_slot = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)(
        ("PyType_GetSlot", ctypes.pythonapi)
    )
    found: int | None = get_slot(of, 5)
    return found


def a_subclass() -> type[dict[Any, Any]]:
    class Missing(dict[Any, Any]):
        __slots__ = ()

        def __missing__(self, key: object) -> object:
            return ("missing", key)

    return Missing


def test_a_dict_learns_and_forgets() -> None:
    table: dict[Any, Any] = {"there": 1}
    subclass = a_subclass()
    set_type(table, subclass)
    assert type(table) is subclass
    assert (table["there"], table["gone"]) == (1, ("missing", "gone"))
    set_type(table, dict)
    assert type(table) is dict
    with pytest.raises(KeyError):
        table["gone"]


def test_a_class_with_a_layout_of_its_own_is_refused() -> None:
    class Wider(dict[Any, Any]):  # it has a __dict__
        pass

    with pytest.raises(HookError, match="layout"):
        prove(Wider)


def test_a_subclass_subscripts_with_the_function_of_dict() -> None:
    subclass = a_subclass()
    # Some releases of 3.14 and 3.15 do it themselves.
    if sys.version_info < (3, 14):
        assert subscript_function(subclass) != subscript_function(dict)
    assert subscript_in_c(subclass)
    assert subscript_function(subclass) == subscript_function(dict)
    table: dict[Any, Any] = subclass(there=1)
    assert (table["there"], table["gone"]) == (1, ("missing", "gone"))
    with pytest.raises(TypeError):
        table[[]]
    assert subscript_in_c(subclass), "once more is no harm"


def test_a_subclass_with_its_own_getitem_keeps_it() -> None:
    class Own(dict[Any, Any]):
        __slots__ = ()

        def __getitem__(self, key: object) -> object:
            return ("mine", key)

    class Derived(Own):
        __slots__ = ()

    for subclass in (Own, Derived):
        assert not subscript_in_c(subclass)
        assert subclass(there=1)["there"] == ("mine", "there")
