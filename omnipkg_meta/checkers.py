"""An environment that shows type checkers and editors a bubble's versions.

They do not run a program: they ask an interpreter for its ``sys.path`` and look there.
So what is made for them is a virtual environment with nothing in it but one ``.pth``
file, which names the directories of the bubble first, and then those of main.

Owns what such an environment holds, and which directories may be taken for it.  Must
not know how a bubble is found, nor what any checker is called.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.errors import CheckerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import SimpleNamespace

    from omnipkg_meta.realm import Realm

__all__ = ["mains_path", "make", "search_path"]

_MARK = "made-by = omnipkg-meta types"
_PTH = "omnipkg_meta_bubble.pth"


def search_path(realms: Iterable[Realm], mains: Sequence[str]) -> list[str]:
    """Return where modules are found that are imported in a scope, in order.

    Args:
        realms: the realms of the scope.
        mains: the directories of main.
    """
    chain = [one for realm in realms for one in realm.chain()]
    own = [directory for one in chain for directory in one.directories]
    kept = [] if any(one.hermetic for one in chain) else mains
    return list(dict.fromkeys((*own, *kept)))


def mains_path() -> list[str]:
    """Return the directories of main that installers fill, and those that ``.pth`` files add.

    Not the directory of the running program, nor the standard library, which checkers
    bring along.
    """
    library = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    library |= {one / "lib-dynload" for one in library}
    directories = (Path(entry).absolute() for entry in sys.path[1:])
    return [str(one) for one in directories if one.is_dir() and one.resolve() not in library]


def make(directory: Path, entries: Sequence[str]) -> Path:
    """Make the environment, or make it anew, and return its interpreter.

    Args:
        directory: where it goes.
        entries: what its interpreter finds modules in, before anything else.

    Raises:
        CheckerError: something else lies there, or it cannot be written.
    """
    directory = directory.absolute()
    config = directory / "pyvenv.cfg"
    try:
        if directory.exists() and not (directory.is_dir() and _is_ours(directory, config)):
            raise CheckerError(
                f"{directory} is not taken for types: something else lies there",
                tip="give another directory",
                path=directory,
            )
        builder = _Builder(symlinks=os.name != "nt")
        builder.create(directory)
        with config.open("a", encoding="utf-8") as file:
            file.write(f"{_MARK}\n")
        scheme = "nt" if os.name == "nt" else "posix_prefix"
        base = {"base": str(directory), "platbase": str(directory)}
        text = "".join(f"{entry}\n" for entry in entries)
        Path(sysconfig.get_path("purelib", scheme, base), _PTH).write_text(text, "utf-8")
    except OSError as error:
        raise CheckerError(
            f"{directory} cannot be made", cause=error.strerror, path=directory
        ) from None
    return builder.interpreter


class _Builder(venv.EnvBuilder):
    """Makes the environment, and notes what its interpreter is called."""

    interpreter: Path

    def post_setup(self, context: SimpleNamespace) -> None:
        """Note it; called at the end."""
        self.interpreter = Path(context.env_exe)


def _is_ours(directory: Path, config: Path) -> bool:
    if not any(directory.iterdir()):
        return True
    return config.is_file() and _MARK in config.read_text("utf-8").splitlines()
