"""Several versions of one package, alive at once in one process.

    import omnipkg_meta as om

    with om.use("rich==13.5.3"):
        import rich  # 13.5.3, here and in all code of that rich, for ever

Importing this package changes nothing in the interpreter.  The hooks go in at
the first ``use``, ``load`` or ``activate`` and come out with
:func:`uninstall_hooks`.
"""

from __future__ import annotations

# Type checkers take this for typing.TYPE_CHECKING; importing typing itself would
# be most of the time that importing this package takes.
TYPE_CHECKING = False

__version__ = "0.1.0"

if TYPE_CHECKING:
    from typing import Any

    from omnipkg_meta.bound import bind
    from omnipkg_meta.executor import ScopedExecutor
    from omnipkg_meta.explanation import explain
    from omnipkg_meta.hooks import uninstall as uninstall_hooks
    from omnipkg_meta.mapped import map  # noqa: A004  # a public name
    from omnipkg_meta.origin import home
    from omnipkg_meta.overlay import activate
    from omnipkg_meta.pins import pin
    from omnipkg_meta.projects import project
    from omnipkg_meta.scope import current, install, load, use
    from omnipkg_meta.sources import main
    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store

__all__ = [
    "Bubble",
    "ScopedExecutor",
    "Store",
    "activate",
    "bind",
    "current",
    "explain",
    "home",
    "install",
    "load",
    "main",
    "map",
    "pin",
    "project",
    "uninstall_hooks",
    "use",
]

#: Public name to where it lives.  Loaded when first asked for (PEP 562), so that
#: a program that imports this package and enters no scope pays nothing.
_HOMES = {
    "Bubble": ("omnipkg_meta.store.bubble", "Bubble"),
    "ScopedExecutor": ("omnipkg_meta.executor", "ScopedExecutor"),
    "Store": ("omnipkg_meta.store.store", "Store"),
    "activate": ("omnipkg_meta.overlay", "activate"),
    "bind": ("omnipkg_meta.bound", "bind"),
    "current": ("omnipkg_meta.scope", "current"),
    "explain": ("omnipkg_meta.explanation", "explain"),
    "home": ("omnipkg_meta.origin", "home"),
    "install": ("omnipkg_meta.scope", "install"),
    "load": ("omnipkg_meta.scope", "load"),
    # What IPython asks this package for at ``%load_ext omnipkg_meta``.
    "load_ipython_extension": ("omnipkg_meta.integrations.ipython", "load_ipython_extension"),
    "main": ("omnipkg_meta.sources", "main"),
    "map": ("omnipkg_meta.mapped", "map"),
    "pin": ("omnipkg_meta.pins", "pin"),
    "project": ("omnipkg_meta.projects", "project"),
    "unload_ipython_extension": ("omnipkg_meta.integrations.ipython", "unload_ipython_extension"),
    "uninstall_hooks": ("omnipkg_meta.hooks", "uninstall"),
    "use": ("omnipkg_meta.scope", "use"),
}


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module

    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
