"""Whether somebody else could put code where bubbles are read from.

Owns the look at owners and permissions, along the whole path.  Must not know what
a bubble or a store is, nor change anything.

A bubble is code that runs in the user's name.  So everything on the way to it has
to belong to the user or to root, and nobody else may be able to write there; as
OpenSSH asks it of ``authorized_keys`` (``safe_path`` in its ``misc.c``).  Symbolic links
are followed one by one, since whoever can write where one of them stands decides
where the path leads.  What nobody else can reach, below a directory that is closed to
others, nobody else can write.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import sys
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from omnipkg_meta.errors import StoreError

__all__ = ["check", "check_inside"]

# What Linux follows at most (``MAXSYMLINKS`` in ``include/linux/namei.h``).
_LINKS = 40

#: The directories that were found good in this process, by user, and whether what is below
#: each is out of the reach of others.
_good: dict[tuple[int, str], bool] = {}


def check(path: Path, *, again: bool = False) -> bool:
    """See that nobody else could change what is found in the directory *path*.

    What is not there is not looked at.  A directory that was found good stays so in this
    process.  Where there are no owners (Windows) all is well.

    Args:
        path: the directory.
        again: whether to forget what was found good before.

    Returns:
        Whether what is below is out of the reach of everybody else.

    Raises:
        StoreError: somebody else could.
    """
    if sys.platform == "win32":
        return True
    if again:
        _good.clear()
    me = os.geteuid()
    key = (me, str(path))
    if key not in _good:
        above = _good.get((me, str(path.parent)))
        found = _walk(path) if above is None else _step(path, closed=above)
        if found is None:  # not there (yet)
            return False
        _good[key] = found
    return _good[key]


def check_inside(
    directory: Path, names: tuple[str, ...], file: str, status: os.stat_result
) -> None:
    """See that nobody else could change a directory that is read, nor some entries of it.

    Entries that are not there are not looked at.

    Args:
        directory: the directory.
        names: names in it.
        file: one more name in it, that of a file that is open.
        status: the status of that file.

    Raises:
        StoreError: somebody else could.
    """
    if sys.platform == "win32":
        return
    base = str(directory)
    closed = _inside_good(base)
    if closed is None:
        closed = check(directory)
        _check_entry(base, closed=closed)
    for name in names:
        _check_entry(f"{base}{os.sep}{name}", closed=closed)
    _check_one(f"{base}{os.sep}{file}", status, closed=closed, sticky_will_do=False)


def _check_entry(path: str, *, closed: bool) -> None:
    try:
        status = os.stat(path)  # noqa: PTH116 (a hot path)
    except OSError:
        return
    _check_one(path, status, closed=closed, sticky_will_do=False)


def _inside_good(path: str) -> bool | None:
    """Look at a directory in one that was found good, and do not remember it.

    There may be thousands, and each is looked at once.

    Returns:
        Whether what is below is out of the reach of others; None where it takes more to say.
    """
    closed = _good.get((os.geteuid(), os.path.dirname(path)))  # noqa: PTH120 (a hot path)
    if closed is None:
        return None
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return None
    return _check_one(path, status, closed=closed, sticky_will_do=False)


def _step(path: Path, *, closed: bool) -> bool | None:
    """Look at a directory whose parent was found good; None if it is not there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return _walk(path)
    return _check_one(str(path), status, closed=closed, sticky_will_do=True)


def _walk(path: Path) -> bool | None:
    """Look at every directory and link on the way; None if it leads to nothing."""
    root, *pending = Path(os.path.abspath(path)).parts  # noqa: PTH100 (no link may be skipped)
    pending.reverse()
    at, links = root, 0
    closed = _check_one(at, os.stat(at), closed=False, sticky_will_do=True)  # noqa: PTH116
    while pending:
        name = pending.pop()
        if name == "..":  # of a link's target
            at = os.path.dirname(at)  # noqa: PTH120
            closed = _walk(Path(at)) or False
            continue
        following = os.path.join(at, name)  # noqa: PTH118
        try:
            status = os.lstat(following)
        except FileNotFoundError:
            return None
        except OSError:
            return closed  # whoever reads it will say what is wrong
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _LINKS:
                return closed  # as the system will say
            _check_owner(following, status)
            target = os.readlink(following)  # noqa: PTH115
            if os.path.isabs(target):  # noqa: PTH117
                at, closed = root, False
            pending += reversed([part for part in target.split("/") if part not in ("", ".")])
            continue
        at = following
        closed = _check_one(at, status, closed=closed, sticky_will_do=True)
    return closed


def _check_one(path: str, status: os.stat_result, *, closed: bool, sticky_will_do: bool) -> bool:
    """Check a file or directory; return whether what is below is out of the reach of others."""
    _check_owner(path, status)
    if closed:
        return True
    mode = stat.S_IMODE(status.st_mode)
    sticky = sticky_will_do and mode & stat.S_ISVTX  # others can change only what is theirs
    if not sticky and (
        mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _is_own_group(status.st_gid))
    ):
        _refuse(path, status, "others can write there", f"chmod go-w {shlex.quote(path)}")
    return stat.S_ISDIR(status.st_mode) and not mode & (stat.S_IXGRP | stat.S_IXOTH)


def _check_owner(path: str, status: os.stat_result) -> None:
    if status.st_uid not in _owners(os.geteuid()):
        me = _name_of(os.geteuid())
        _refuse(
            path,
            status,
            f"it is not {me}'s",
            f"sudo chown -R {shlex.quote(me)} {shlex.quote(path)}",
        )


@lru_cache
def _owners(me: int) -> frozenset[int]:
    """Return who may own what leads to a bubble: this user, and who can do anything anyway."""
    owners = {0, me}
    try:
        mapped = Path("/proc/self/uid_map").read_text("ascii").split()
        if mapped != ["0", "0", "4294967295"]:
            # In a user namespace that does not map them all, others (the real root among
            # them) look like this one.
            owners.add(int(Path("/proc/sys/kernel/overflowuid").read_text("ascii")))
    except (OSError, ValueError):
        pass
    return frozenset(owners)


@lru_cache
def _is_own_group(number: int) -> bool:
    """Say whether a group has no member but this user, as many systems give one to each user."""
    import grp
    import pwd

    try:
        group, me = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return (
        me.pw_gid == number and group.gr_name == me.pw_name and not {*group.gr_mem} - {me.pw_name}
    )


def _name_of(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _refuse(path: str, status: os.stat_result, why: str, command: str) -> NoReturn:
    from omnipkg_meta import config

    mode = stat.S_IMODE(status.st_mode)
    raise StoreError(
        f"bubbles that are reached through {path} cannot be trusted",
        cause=f"{why}: it belongs to {_name_of(status.st_uid)} (user {status.st_uid}, "
        f"group {status.st_gid}) and has mode {mode:04o}",
        tip=f"{command}  (or set {config.STORE} to a directory of your own)",
        path=Path(path),
        errno=errno.EPERM,
    )
