"""Every error and warning of this library, and nothing else.

All errors descend from :class:`OmnipkgMetaError` and from the builtin that a
caller would naturally catch (``ValueError``, ``RuntimeError``, ``OSError``).
Each is picklable and keeps its facts as attributes, so that a program can act
on them without parsing a message.

A message has up to three parts, printed on lines of their own: what went
wrong, ``cause:`` why, and ``tip:`` what to do next.  The tip comes last,
because the last line is the one that people read.

This file must not know any other file of the package.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "ActivationError",
    "BindError",
    "BubbleFormatError",
    "BubbleInUseError",
    "BubbleInvalidError",
    "BubbleNotFoundError",
    "BubbleTagError",
    "BuildError",
    "CheckerError",
    "ConfigError",
    "HookError",
    "LeaseWarning",
    "LockError",
    "MainModuleWarning",
    "NativeConflictError",
    "OmnipkgMetaError",
    "ProjectError",
    "RequirementError",
    "ScriptError",
    "SharedModuleWarning",
    "StandardLibraryConflictError",
    "StoreError",
    "TermsError",
    "redact",
]


def redact(text: str, replacement: str = "***@") -> str:
    """Take user names and passwords out of the addresses in *text*."""
    return re.sub(r"(?<=://)[^/\s'\"<>]*@", replacement, text)


def _redacted(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return type(value)(map(redact, value))
    return value


def _rebuild(cls: type[OmnipkgMetaError], state: dict[str, Any]) -> OmnipkgMetaError:
    error = cls.__new__(cls)
    for name, value in state.items():
        setattr(error, name, value)
    error.args = (state["message"],)
    return error


class OmnipkgMetaError(Exception):
    """The root of all errors of this library.

    Attributes:
        message: what went wrong, one sentence.
        cause: why, or None.
        tip: what the user can do next (often a command), or None.
    """

    message: str
    cause: str | None
    tip: str | None

    def __init__(
        self,
        message: str,
        *,
        cause: str | None = None,
        tip: str | None = None,
        **facts: object,
    ) -> None:
        # Errors end up in logs, so whatever they are given they never tell a password.
        self.message = redact(message)
        super().__init__(self.message)
        self.cause = cause and redact(cause)
        self.tip = tip and redact(tip)
        self.__dict__.update({name: _redacted(fact) for name, fact in facts.items()})

    def __str__(self) -> str:
        lines = [self.message]
        if self.cause:
            lines.append(f"cause: {self.cause}")
        if self.tip:
            lines.append(f"tip: {self.tip}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


class RequirementError(OmnipkgMetaError, ValueError):
    """A requirement is not a valid PEP 508 string, or asks for what a bubble cannot hold.

    Attributes:
        requirement: the text as it was given.
    """

    requirement: str


class TermsError(RequirementError):
    """A bubble cannot be entered on these terms: what it is to share or to adopt does not fit.

    Nothing was loaded.

    Attributes:
        conflicts: each requirement that would not hold, one sentence each.
    """

    conflicts: Sequence[str] = ()


class ConfigError(OmnipkgMetaError, ValueError):
    """A setting has a value that cannot be used.

    Attributes:
        setting: the name of the setting or environment variable.
        value: the value that was found.
    """

    setting: str
    value: str


class BubbleNotFoundError(OmnipkgMetaError, RuntimeError):
    """No bubble satisfies what was asked, and the main environment does not either.

    Attributes:
        requirements: what was asked, as given.
        available: what the store holds of those packages, for example ``["rich 13.5.3"]``.
        command: the command that would create the bubble.
    """

    requirements: Sequence[str]
    available: Sequence[str]
    command: str


class BubbleInvalidError(OmnipkgMetaError, RuntimeError):
    """A bubble was tampered with, is half deleted, or has a manifest that cannot be read.

    Attributes:
        path: the bubble's directory.
        problems: each thing that is wrong, one sentence each.
    """

    path: Path
    problems: Sequence[str]


class BubbleTagError(BubbleInvalidError):
    """A bubble was made for another interpreter or platform.

    Attributes:
        tag: the interpreter tag of the bubble.
        expected: the interpreter tag of this process.
    """

    tag: str
    expected: str


class BubbleFormatError(BubbleInvalidError):
    """A bubble was made by a newer version of this library, in a format that is not known yet.

    It is neither read nor removed to make another one in its place.

    Attributes:
        format: the format of its manifest.
    """

    format: int


class BuildError(OmnipkgMetaError, RuntimeError):
    """A bubble could not be resolved, downloaded or installed.

    Attributes:
        requirements: what was asked, as given.
        output: what the builder (uv or pip) printed.
    """

    requirements: Sequence[str]
    output: str


class LockError(OmnipkgMetaError, ValueError):
    """A lock cannot be read, or no bubble may be made of it.

    Attributes:
        lock: the path of the file, or words for a lock that was given as a text.
        package: the distribution that is the trouble, or None.
    """

    lock: str
    package: str | None


class ProjectError(OmnipkgMetaError, ValueError):
    """What a project says of its bubbles cannot be used, or it does not say it.

    Attributes:
        file: its ``pyproject.toml``; None where there is none.
    """

    file: Path | None


class CheckerError(OmnipkgMetaError, RuntimeError):
    """The environment that shows a bubble to type checkers cannot be made.

    Attributes:
        path: where it was to be.
    """

    path: Path


class ScriptError(OmnipkgMetaError, ValueError):
    """What a script says of itself (PEP 723) cannot be used, or is not true here.

    Attributes:
        script: the script.
    """

    script: Path


class StoreError(OmnipkgMetaError, OSError):
    """The store cannot be read or written.

    Attributes:
        path: the file or directory that was the problem.
        errno: the operating system's error number, or None.
    """

    path: Path

    def __init__(
        self,
        message: str,
        *,
        path: Path,
        errno: int | None = None,
        cause: str | None = None,
        tip: str | None = None,
    ) -> None:
        super().__init__(message, cause=cause, tip=tip, path=path)
        # A member of OSError itself, so it cannot travel in ``__dict__``.
        self.errno = errno

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), {**self.__dict__, "errno": self.errno})


class BubbleInUseError(StoreError):
    """A bubble cannot be removed, since a program uses it.

    Attributes:
        users: process id and command of each program that was seen to use it; empty where
            they cannot be seen, in another container for example.
    """

    users: Sequence[tuple[int, str]]

    def __init__(
        self,
        message: str,
        *,
        path: Path,
        errno: int | None = None,
        cause: str | None = None,
        tip: str | None = None,
        users: Sequence[tuple[int, str]] = (),
    ) -> None:
        super().__init__(message, path=path, errno=errno, cause=cause, tip=tip)
        self.users = users


class HookError(OmnipkgMetaError, RuntimeError):
    """This interpreter cannot carry the import hooks; nothing was changed."""


class ActivationError(OmnipkgMetaError, RuntimeError):
    """A bubble cannot be activated for the whole process any more.

    Attributes:
        modules: the modules of main that are loaded already.
    """

    modules: Sequence[str]


class PinError(OmnipkgMetaError, RuntimeError):
    """A package cannot be pinned by whoever asked for it."""


class OriginError(OmnipkgMetaError, LookupError):
    """Nothing shows which environment an object comes from."""


class BindError(OmnipkgMetaError, TypeError):
    """A function, its arguments or its result cannot be sent to another process."""


class NativeConflictError(OmnipkgMetaError, ImportError):
    """A bubble cannot be entered: the loader would take one of its libraries for another one.

    Nothing was loaded.

    Attributes:
        soname: the name that the loader knows both libraries by.
        library: the bubble's library.
        other: the other one.
    """

    soname: str
    library: Path
    other: Path


class StandardLibraryConflictError(OmnipkgMetaError, ImportError):
    """A copy of a package would take objects for its own that another copy has left.

    They lie on a class of the standard library, of which there is one in a process.  Nothing
    of the bubble was loaded; or, if both copies were loaded before the first one left
    anything, nothing more of the package.

    Attributes:
        package: the package of which there are two copies.
        attribute: the attribute of a class of the standard library where such an object lies.
        kind: the class of the object, which the other copy defined.
        holder: the bubble of the other copy, or ``"main"``.
    """

    package: str
    attribute: str
    kind: str
    holder: str


class MainModuleWarning(UserWarning):
    """A module of main, first imported inside a scope, asked for a name and got main's.

    A module that belongs to main is bound to main for ever, or two scopes would
    see each other through it.  Import it before the scope, or load it inside the
    bubble with ``use(..., adopt=["its_name"])``.  Also: what an adopted distribution
    requires of main goes on with main's version of what the bubble is for.
    """


class SharedModuleWarning(UserWarning):
    """A module that can be loaded only once in a process is older than a bubble expects.

    ``typing_extensions`` replaces parts of ``typing`` before Python 3.13, so two
    copies of it would undo each other's work.
    """


class StandardLibraryPatchWarning(UserWarning):
    """Code of a bubble has replaced a part of the standard library while it was loaded.

    There is one standard library in a process: the replacement serves main and all
    other bubbles too, and two versions of such a package undo each other's work.
    Said once for each bubble and attribute.

    Also: a copy of a package has left objects of its own on a class of the standard library
    while another copy was loaded, of which no more is loaded then
    (:class:`StandardLibraryConflictError`).
    """


class PathFileWarning(UserWarning):
    """A line of a ``.pth`` file in a bubble was not followed.

    It leads out of the bubble, or is code for the start of an interpreter, which
    would change the main environment.
    """


class LeaseWarning(UserWarning):
    """A store lies on a file system that knows no locks.

    Nothing keeps a bubble there from being removed while a program uses it; so
    ``remove`` does it only with ``--force``, and ``gc`` leaves all bubbles.
    Said once in a process.
    """
