"""Where things are, and how they are set.

Owns the names of the environment variables, their defaults and their checks, and
the interpreter tag under which bubbles are kept.  Must not know what a bubble is,
nor create anything on disk.  Everything is read when it is asked for, so that a
program may set a variable after importing the library.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from omnipkg_meta.errors import ConfigError

__all__ = [
    "BUILDERS",
    "CHECKS",
    "accelerator",
    "builder",
    "compile_bytecode",
    "default_store_path",
    "install_missing",
    "interpreter_tag",
    "store_path",
    "store_paths",
    "verify",
]

STORE = "OMNIPKG_META_STORE"
BUILDER = "OMNIPKG_META_BUILDER"
INSTALL = "OMNIPKG_META_INSTALL"
COMPILE = "OMNIPKG_META_COMPILE_BYTECODE"
VERIFY = "OMNIPKG_META_VERIFY"
ACCELERATOR = "OMNIPKG_META_ACCELERATOR"

BUILDERS = ("auto", "uv", "pip")
#: How a bubble is checked before a process uses it for the first time: that its parts are
#: there, or that every file is what was installed.
CHECKS = ("quick", "full")

_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"", "0", "false", "no", "off"})


def store_path() -> Path:
    """Return the root of the store that is written: the first of :func:`store_paths`.

    Raises:
        ConfigError: the variable holds a path that is not absolute.
    """
    return store_paths()[0]


def store_paths() -> tuple[Path, ...]:
    """Return the roots of the stores: ``OMNIPKG_META_STORE``, or the user's data directory.

    The variable may list several, as ``PATH`` does.  Bubbles are looked for in all of them,
    and made and removed in the first only.

    Raises:
        ConfigError: the variable holds a path that is not absolute.
    """
    value = os.environ.get(STORE, "")
    found = [_absolute(one) for one in value.split(os.pathsep) if one]
    return tuple(dict.fromkeys(found)) or (default_store_path(),)


def _absolute(value: str) -> Path:
    path = Path(value)
    if value.startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise _bad(STORE, value, str(error), "write the path in full") from None
    if not path.is_absolute():
        # A relative store would be another store in every directory.
        tip = f"export {STORE}={os.path.abspath(value)}"  # noqa: PTH100 (no symlink resolution)
        raise _bad(STORE, value, "the path is not absolute", tip)
    return path


def default_store_path() -> Path:
    """Return the place of the store where nothing else is set."""
    import platformdirs

    return platformdirs.user_data_path("omnipkg-meta", appauthor=False)


def builder() -> str:
    """Return which program builds bubbles: ``auto`` (uv where it is, else pip), ``uv`` or ``pip``.

    Raises:
        ConfigError: ``OMNIPKG_META_BUILDER`` names something else.
    """
    value = os.environ.get(BUILDER, "") or "auto"
    if value not in BUILDERS:
        raise _bad(BUILDER, value, "no such builder", f"use one of {', '.join(BUILDERS)}")
    return value


def install_missing() -> bool:
    """Return whether a missing bubble may be built without being asked (``OMNIPKG_META_INSTALL``).

    Raises:
        ConfigError: the variable is neither a yes nor a no.
    """
    return _said(INSTALL)


def compile_bytecode() -> bool:
    """Return whether byte code is made when a bubble is, and not when a module is first imported.

    It is ``OMNIPKG_META_COMPILE_BYTECODE``; no if that is not set.

    Raises:
        ConfigError: the variable is neither a yes nor a no.
    """
    return _said(COMPILE)


def _said(setting: str) -> bool:
    value = os.environ.get(setting, "")
    if value.strip().lower() in _YES:
        return True
    if value.strip().lower() in _NO:
        return False
    raise _bad(setting, value, "neither yes nor no", f"set {setting}=1 or {setting}=0")


def accelerator() -> bool | None:
    """Return whether the compiled accelerator is to be used (``OMNIPKG_META_ACCELERATOR``).

    None, where nothing is set: if it is installed and fits.  True: it has to be.

    Raises:
        ConfigError: the variable is neither a yes nor a no.
    """
    value = os.environ.get(ACCELERATOR, "").strip().lower()
    if not value:
        return None
    if value in _YES or value in _NO:
        return value in _YES
    tip = f"set {ACCELERATOR}=0, or {ACCELERATOR}=1 where it is a must"
    raise _bad(ACCELERATOR, os.environ[ACCELERATOR], "neither yes nor no", tip)


def verify() -> str:
    """Return how a bubble is checked before it is used: ``quick`` or ``full``.

    Raises:
        ConfigError: ``OMNIPKG_META_VERIFY`` says something else.
    """
    value = os.environ.get(VERIFY, "") or "quick"
    if value not in CHECKS:
        raise _bad(VERIFY, value, "no such check", f"use one of {', '.join(CHECKS)}")
    return value


@functools.cache
def interpreter_tag() -> str:
    """Return the tag of this interpreter, for example ``cp311-linux_x86_64``.

    Two interpreters with the same tag can load each other's extension modules:
    implementation, version, ABI flags (``t`` free-threaded, ``d`` debug),
    operating system, C library and machine.
    """
    import sysconfig

    flags: str | None = getattr(sys, "abiflags", None)
    if flags is None:  # Windows before CPython 3.14
        flags = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
        flags += "d" if hasattr(sys, "gettotalrefcount") else ""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    if platform == "linux_x86_64" and sys.maxsize < 2**32:
        platform = "linux_i686"  # a 32-bit interpreter on a 64-bit kernel (as PEP 425 tags do)
    elif platform == "linux_aarch64" and sys.maxsize < 2**32:
        platform = "linux_armv8l"
    # The build's multiarch triplet: reading SOABI would load sysconfig's large data module.
    if platform.startswith("linux") and "musl" in getattr(sys.implementation, "_multiarch", ""):
        platform = platform.replace("linux", "musllinux", 1)
    short = "cp" if sys.implementation.name == "cpython" else sys.implementation.name
    return f"{short}{sys.version_info[0]}{sys.version_info[1]}{flags}-{platform}"


def _bad(setting: str, value: str, cause: str, tip: str) -> ConfigError:
    return ConfigError(
        f"{setting} has a value that cannot be used: {value!r}",
        cause=cause,
        tip=tip,
        setting=setting,
        value=value,
    )
