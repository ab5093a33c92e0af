"""The marks that packages leave on ``sys``, kept apart by realm.

Some packages note on ``sys`` that they are being loaded (OpenCV's ``sys.OpenCV_LOADER``),
or that they were (PyTorch's ``sys._torch_import_started``), and refuse to be loaded
where they find such a mark.  There is one ``sys`` in a process, so a second version of
the package, or another thread's, would find the first one's.

A *mark* is an attribute of ``sys`` that the interpreter does not keep there itself, and
that a bubble's code sets.  Each realm has its own.  A mark goes with the package whose
code set it: whoever asks for the mark sees that of the realm which answers him an import
of that package.  So the rules of :mod:`omnipkg_meta.resolution` hold, and no others; but
the code of a realm always sees its own.  What main's code sets stays an attribute
like any other, until code of a bubble is about to be loaded that sets the same one, or
whose package is main's, too.

The hack: a module's class can be changed to a subclass (``module_set___class__`` in
``Objects/moduleobject.c``), and that of ``sys`` is one whose ``__setattr__`` and
``__delattr__`` are ours, while a bubble's module, or main's of a claimed name, is being
loaded, and as long as there are marks.  While there are, a ``__getattr__`` in the module's
own namespace (PEP 562) answers for what is not in it.  What is in it is found by the
interpreter as ever, but not at its full speed: up to Python 3.13 ``LOAD_ATTR_MODULE``
takes exactly modules, and up to 3.14 none with a ``__getattr__``
(``specialize_module_load_attr`` in ``Python/specialize.c``).
This is why neither is in place when nothing needs it.

The proof at run time is :func:`_prove`; the undo is :func:`uninstall`, which leaves
main's marks where main put them.

This file must not know what a mark means, nor how a module is found.
"""

from __future__ import annotations

import sys
import threading
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from omnipkg_meta import path_binding
from omnipkg_meta.answering import decision
from omnipkg_meta.asking import Asker, who
from omnipkg_meta.errors import HookError
from omnipkg_meta.realm import CLAIMED, MAIN, Realm

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "INTERPRETERS",
    "after_fork",
    "install",
    "is_interpreters",
    "loading",
    "look_into",
    "uninstall",
]

_getframe = sys._getframe
_storage: dict[str, Any] = vars(sys)
_set = ModuleType.__setattr__

#: What the interpreter keeps on ``sys`` itself, in any version and on any system, and what
#: it reads if it is there.  Whoever sets one of these sets it for everybody.
INTERPRETERS = frozenset(
    """
    _base_executable _baserepl _clear_internal_caches _clear_type_cache _clear_type_descriptors
    _current_exceptions _current_frames _deactivate_opcache _debugmallocstats _dump_tracelets
    _emscripten_info _enablelegacywindowsfsencoding _framework _get_cpu_count_config _getframe
    _getframemodulename _getquickenedcount _git _home _is_gil_enabled _is_immortal _is_interned
    _jit _running_pyrepl _setprofileallthreads _settraceallthreads _stats_clear _stats_dump
    _stats_off _stats_on _stdlib_dir _vpath _xoptions abi_info abiflags
    activate_stack_trampoline addaudithook api_version argv audit base_exec_prefix base_prefix
    breakpointhook builtin_module_names byteorder call_tracing copyright
    deactivate_stack_trampoline displayhook dllhandle dont_write_bytecode exc_info excepthook
    exception exec_prefix executable exit flags float_info float_repr_style get_asyncgen_hooks
    get_coroutine_origin_tracking_depth get_int_max_str_digits get_lazy_imports
    get_lazy_imports_filter getallocatedblocks getandroidapilevel getdefaultencoding
    getdlopenflags getfilesystemencodeerrors getfilesystemencoding getobjects getprofile
    getrecursionlimit getrefcount getsizeof getswitchinterval gettotalrefcount gettrace
    getunicodeinternedsize getwindowsversion hash_info hexversion implementation int_info intern
    is_finalizing is_remote_debug_enabled is_stack_trampoline_active last_exc last_traceback
    last_type last_value lazy_modules maxsize maxunicode meta_path modules monitoring orig_argv
    path path_hooks path_importer_cache platform platlibdir prefix ps1 ps2 ps3 pycache_prefix
    remote_exec set_asyncgen_hooks set_coroutine_origin_tracking_depth set_int_max_str_digits
    set_lazy_imports set_lazy_imports_filter setdlopenflags setprofile setrecursionlimit
    setswitchinterval settrace stderr stdin stdlib_module_names stdout thread_info
    tracebacklimit unraisablehook version version_info warnoptions winver
    """.split()  # noqa: SIM905  # names, to be read as such
)


def is_interpreters(name: str) -> bool:
    """Tell whether an attribute of ``sys`` is the interpreter's, which is nobody's mark."""
    return name in INTERPRETERS or (name.startswith("__") and name.endswith("__"))


class _Mark:
    """One name under which there are marks.

    Attributes:
        values: each realm that has one, main among them, with what it is.
        packages: the top-level names of the packages whose code set it.
    """

    __slots__ = ("packages", "values")

    def __init__(self) -> None:
        self.values: dict[Realm, Any] = {}
        self.packages: list[str] = []

    def seen_by(self, asker: Asker) -> Realm | None:
        """Return the realm whose mark an asker sees; None if there is none for him."""
        if asker.home in self.values:
            return asker.home
        for package in tuple(self.packages):
            realm = decision(package, asker).realm
            if realm in self.values:
                return realm
        return None

    def put(self, realm: Realm, package: str, value: Any) -> None:
        """Set a realm's mark."""
        self.values[realm] = value
        if package not in self.packages:
            self.packages.append(package)


_marks: dict[str, _Mark] = {}
#: What is being loaded now: by which thread, and into which realm.
_loads: list[tuple[int, Realm]] = []
#: How many attributes ``sys`` had when it was looked at, and those that code of main set.
_looked: tuple[int, frozenset[str]] = (0, frozenset())
#: The class that ``sys`` had when the hooks were put in, and ours on top of it.
_classes: tuple[type[ModuleType], type[ModuleType]] | None = None
# Re-entrant: a signal handler may import while its thread is in here.
_lock = threading.RLock()


def _read(name: str) -> Any:
    """Stand as ``__getattr__`` in the namespace of ``sys``: answer for what is not there."""
    mark = _marks.get(name)
    if mark is not None and (realm := mark.seen_by(who(_getframe().f_back))) is not None:
        try:
            return mark.values[realm]
        except KeyError:
            pass  # another thread has deleted it
    raise AttributeError(f"module 'sys' has no attribute {name!r}", name=name, obj=sys)


def _write(name: str, value: Any, asker: Asker) -> bool:
    """Set a mark; False if it is none, but an attribute as any other."""
    package = asker.module.partition(".")[0]
    # Main's code in a scope replaces what it sees there.
    realm = asker.home or _seen(name, asker) or MAIN
    with _lock:
        if name not in _marks:
            if name in _storage or (asker.home is None and package not in CLAIMED):
                return False
            _marks[name] = _Mark()
        _marks[name].put(realm, package, value)
        _choose_class()
    return True


def _remove(name: str, asker: Asker) -> bool:
    """Delete a mark; False if the asker sees none of that name."""
    realm = _seen(name, asker)
    with _lock:
        mark = _marks.get(name)
        if mark is None or realm not in mark.values:
            return False
        del mark.values[realm]
        if not mark.values:
            del _marks[name]
        _choose_class()
    return True


def _seen(name: str, asker: Asker) -> Realm | None:
    # Without the lock: metadata may be read, and modules be imported, to find out.
    mark = _marks.get(name)
    return None if mark is None else mark.seen_by(asker)


def _plain(ours: type) -> type:
    return ours.__mro__[1]


class _StandsFor(type):
    """The class of a class that stands for the one that it was derived from.

    ``type(sys)`` is a way to say "the class of modules": importlib makes them with it
    (``_new_module`` in ``Lib/importlib/_bootstrap.py``), and so do packages, which also
    derive from it, ask ``isinstance``, and keep tables by it (cloudpickle).
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _plain(cls)(*args, **kwargs)

    def __new__(cls, name: str, bases: tuple[type, ...], *args: Any, **kwargs: Any) -> Any:
        if not any(type(one) is cls for one in bases):
            return super().__new__(cls, name, bases, *args, **kwargs)
        plain = tuple(_plain(one) if type(one) is cls else one for one in bases)
        return type(plain[0])(name, plain, *args, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _plain(cls))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _plain(cls))

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is _plain(cls)

    def __hash__(cls) -> int:
        return hash(_plain(cls))


def _class_over(base: type[ModuleType]) -> type[ModuleType]:
    """Make the class of ``sys`` that knows marks, on top of the one that it has."""

    class RealmSys(base, metaclass=_StandsFor):  # type: ignore[misc, valid-type]
        """The class of ``sys`` while packages load, and while there are marks."""

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "path":
                home = who(_getframe().f_back).home
                me = threading.get_ident()
                with _lock:
                    others = [realm for thread, realm in _loads if thread != me]
                    path_binding.bind(value, home or MAIN, others)
            elif is_interpreters(name) or not _write(name, value, who(_getframe().f_back)):
                super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if name in _storage or not _remove(name, who(_getframe().f_back)):
                super().__delattr__(name)

        def __dir__(self) -> list[str]:
            asker = who(_getframe().f_back)
            marks = [name for name, mark in [*_marks.items()] if mark.seen_by(asker)]
            ours = _storage.get("__getattr__") is _read
            names = [name for name in super().__dir__() if not (ours and name == "__getattr__")]
            return names + marks

    # What the interpreter says of it is what it would say of the plain module.
    RealmSys.__name__, RealmSys.__qualname__ = base.__name__, base.__qualname__
    RealmSys.__module__ = base.__module__
    return RealmSys


def _choose_class() -> None:
    """Give ``sys`` the class, and the ``__getattr__``, that are needed now."""
    if _classes is None:
        return
    plain, ours = _classes
    wanted = ours if _marks or _loads else plain
    # One that somebody else has given it since stays.
    if type(sys) is (plain if wanted is ours else ours):
        _set(sys, "__class__", wanted)
    if not _marks:
        if _storage.get("__getattr__") is _read:
            del _storage["__getattr__"]
    else:
        _storage.setdefault("__getattr__", _read)


class loading:  # noqa: N801  # reads as a phrase: with loading(realm)
    """See to the marks that are set while a module of a realm is loaded, until the block ends."""

    __slots__ = ("_load",)

    def __init__(self, realm: Realm) -> None:
        self._load = (threading.get_ident(), realm)

    def __enter__(self) -> None:
        with _lock:
            _loads.append(self._load)
            _choose_class()

    def __exit__(self, *error: object) -> None:
        with _lock:
            if self._load in _loads:  # a forked child has forgotten those of other threads
                _loads.remove(self._load)
            if not _loads:
                path_binding.forget()
            _choose_class()


def look_into(loader: Any, name: str) -> None:
    """Take what main has set on ``sys`` out of a bubble's sight, if its code sets it, too.

    Before that code runs: it may look first, and refuse.

    Args:
        loader: the ordinary loader of a module of a bubble.
        name: the module's full name.
    """
    mains = _set_by_main()
    code = loader.get_code(name) if mains and hasattr(loader, "get_code") else None
    if code is None:
        return
    for mark in _set_by(code, mains):
        with _lock:
            if mark in _storage:
                package = name.partition(".")[0]
                _marks.setdefault(mark, _Mark()).put(MAIN, package, _storage.pop(mark))
                _choose_class()


def _set_by_main() -> frozenset[str]:
    """Return the attributes of ``sys`` that are not the interpreter's."""
    global _looked  # noqa: PLW0603
    if len(_storage) != _looked[0]:
        names = list(_storage)
        _looked = (len(names), frozenset(one for one in names if not is_interpreters(one)))
    return _looked[1]


def _set_by(code: CodeType, names: frozenset[str]) -> Iterator[str]:
    """Yield those of some attributes that code sets on ``sys``."""
    used = names.intersection(code.co_names)
    if used:
        yield from used.intersection(_stored_on_sys(code))
    if "setattr" in code.co_names and "sys" in code.co_names:
        yield from (one for one in code.co_consts if isinstance(one, str) and one in names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _set_by(constant, names)


def _stored_on_sys(code: CodeType) -> Iterator[str]:
    import dis

    before: Any = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_ATTR" and before == "sys":
            yield instruction.argval
        # Since 3.13 one instruction may load two variables; the last one lies on top.
        loaded = instruction.argval
        before = loaded[-1] if isinstance(loaded, tuple) and loaded else loaded
        before = before.lstrip("_") if isinstance(before, str) else None


def _prove() -> None:
    """Show, on a module of no importance, that the change has the effect that is relied on.

    Raises:
        HookError: it has not.
    """
    probe: Any = ModuleType("probe")

    class Probe(ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(f"set_{name}", value)

        def __delattr__(self, name: str) -> None:
            super().__delattr__(f"set_{name}")

    try:
        probe.__class__ = Probe
        probe.one = probe.two = 1
        del probe.two
        vars(probe)["__getattr__"] = str.upper
        seen: Any = (sorted(name for name in vars(probe) if "__" not in name), probe.other)
        _set(probe, "__class__", ModuleType)
        seen = (*seen, type(probe) is ModuleType)
    except (AttributeError, TypeError) as error:
        seen = error
    if seen != (["set_one"], "OTHER", True):
        raise HookError(
            "The marks that packages leave on sys cannot be kept apart by realm.",
            cause=f"the class of a module was changed, and {seen!r} was seen",
        )


def install() -> None:
    """Keep the marks on ``sys`` apart from now on.

    Raises:
        HookError: this interpreter cannot do it; nothing was changed.
    """
    global _classes  # noqa: PLW0603
    with _lock:
        if _classes is None:
            _prove()
            _classes = (type(sys), _class_over(type(sys)))
            _choose_class()


def uninstall() -> None:
    """Put the class of ``sys`` back, and main's marks to where they were set."""
    global _classes  # noqa: PLW0603
    with _lock:
        if _classes is None:
            return
        plain, ours = _classes
        if type(sys) is ours:
            _set(sys, "__class__", plain)
        if _storage.get("__getattr__") is _read:
            del _storage["__getattr__"]
        _classes = None
        for name, mark in list(_marks.items()):
            if MAIN in mark.values:
                _storage.setdefault(name, mark.values.pop(MAIN))
            if not mark.values:
                del _marks[name]


def after_fork() -> None:
    """Forget, in a forked child, what other threads were doing."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    me = threading.get_ident()
    _loads[:] = [load for load in _loads if load[0] == me]
    _choose_class()
