"""Explicit lazy imports (PEP 810, CPython 3.15): loaded when a name is first touched.

Whoever touches the name would be taken for the one who asks, wherever the import
statement stands.  So an import is not lazy in code of a bubble, of a claimed name,
or inside a scope; and one of main's that was lazy before is answered, when its
turn comes, as if there were no scope (:func:`omnipkg_meta.asking.who`): it is an
import of a module of main that comes late, and main stays main.

The means is the filter that the language provides, ``sys.set_lazy_imports_filter``;
one that is there already is asked first.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from omnipkg_meta.activation import CURRENT
from omnipkg_meta.asking import who
from omnipkg_meta.realm import CLAIMED

if TYPE_CHECKING:
    from collections.abc import Callable

    Filter = Callable[[str, str, tuple[str, ...] | None], bool]

__all__ = ["install", "uninstall"]

_before: list[Filter | None] = []


def _filter(importer: str, name: str, fromlist: tuple[str, ...] | None) -> bool:
    """Tell whether an import may be lazy (``sys.set_lazy_imports_filter``)."""
    if _before and _before[-1] is not None and not _before[-1](importer, name, fromlist):
        return False
    if name.partition(".")[0] in CLAIMED or CURRENT.get() is not None:
        return False
    return who(sys._getframe().f_back).home is None


def install() -> None:
    """Keep imports from being lazy where that would change who asks."""
    lazy: Any = sys
    if not hasattr(lazy, "set_lazy_imports_filter") or _before:
        return
    _resolve_our_own()
    _before.append(lazy.get_lazy_imports_filter())
    lazy.set_lazy_imports_filter(_filter)


def uninstall() -> None:
    """Put back the filter that was there; one that came later stays."""
    lazy: Any = sys
    if _before:
        before = _before.pop()
        if lazy.get_lazy_imports_filter() is _filter:
            lazy.set_lazy_imports_filter(before)


def _resolve_our_own() -> None:
    """Resolve what is lazy in this package, as all imports are under ``-X lazy_imports=all``.

    Its functions run within imports, where nothing of theirs may wait for one.
    """
    for name, module in list(dict.items(sys.modules)):
        if name.partition(".")[0] == "omnipkg_meta":
            for attribute in list(vars(module)):
                getattr(module, attribute, None)
