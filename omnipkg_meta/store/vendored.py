"""A directory of installed packages that a library ships: no bubble of a store, used like one.

Owns how such a directory, made by ``pip install --target``, is read.  It has no
manifest; what it holds is what its metadata directories say.
"""

from __future__ import annotations

import os
import shlex
from importlib.metadata import PathDistribution
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from omnipkg_meta.config import interpreter_tag
from omnipkg_meta.errors import BubbleInvalidError
from omnipkg_meta.realm import normalize
from omnipkg_meta.store import record
from omnipkg_meta.store.bubble import Bubble

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Self

__all__ = ["Vendored"]


class Vendored(Bubble):
    """A directory of installed packages, as ``pip install --target`` leaves it."""

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, tag: str | None = None) -> Self:
        """Read what a directory holds.

        Args:
            path: the directory, as it would stand on ``sys.path``.
            tag: the interpreter tag that it is for; this interpreter's when not given.

        Raises:
            BubbleInvalidError: there is no such directory, or nothing importable in it.
        """
        path = Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")
        try:
            entries = sorted(one.name for one in path.iterdir())
        except OSError as error:
            raise _invalid(path, str(error.strerror)) from None
        infos = {}
        for name in entries:
            if name.endswith(".dist-info"):
                infos[normalize(name.removesuffix(".dist-info").partition("-")[0])] = name
        recorded = {name: _recorded(path / info) for name, info in infos.items()}
        names = {name: tuple(owners) for name, owners in record.import_names(recorded).items()}
        for name in record.import_names({"": _importable(path, entries)}):
            names.setdefault(name, ())
        if not names:
            raise _invalid(path, "there is nothing importable in it")
        installed = {name: PathDistribution(path / info) for name, info in infos.items()}
        return cls(
            path=path,
            id=path.name,
            tag=tag or interpreter_tag(),
            requested=(),
            distributions=MappingProxyType({n: one.version for n, one in installed.items()}),
            import_names=MappingProxyType(names),
            requires=MappingProxyType({n: tuple(d.requires or ()) for n, d in installed.items()}),
            digests=MappingProxyType({}),
            native_files=tuple(
                file
                for file, entry in record.files(path)
                if not entry.is_symlink() and record.is_native(entry)
            ),
            libraries=None,
            scripts_provided=MappingProxyType({}),
            builder="",
            created="",
            entry=MappingProxyType(
                {"distributions": {name: {"dist_info": info} for name, info in infos.items()}}
            ),
        )

    @property
    def site_packages(self) -> Path:
        """The directory itself."""
        return self.path

    def check_whole(self) -> None:
        """See that the directory is there.

        Raises:
            BubbleInvalidError: it is not.
        """
        if not self.path.is_dir():
            raise _invalid(self.path, "there is no such directory")

    def hold(self) -> None:
        """Do nothing: it belongs to the library that ships it, and no store removes it."""

    def require_whole(self) -> None:
        """Do nothing: it is as whole as the library that ships it."""

    def __repr__(self) -> str:
        return f"<Vendored {str(self.path)!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path),)


def _reopen(path: str) -> Vendored:
    return Vendored.open(path)


def _recorded(dist_info: Path) -> list[str]:
    try:
        return [line.path for line in record.read(dist_info)]
    except (OSError, ValueError):
        return []  # what is in the directory is seen without it, only not whose it is


def _importable(path: Path, entries: Iterable[str]) -> Iterator[str]:
    """Yield files that stand for what is importable at the top, as a RECORD would name them."""
    for name in entries:
        directory = path / name
        if not directory.is_dir():
            yield name
        elif name.isidentifier():
            regular = (directory / "__init__.py").exists()
            inside = "__init__.py" if regular else next(_modules(directory), None)
            if inside:
                yield f"{name}/{inside}"


def _modules(directory: Path) -> Iterator[str]:
    return (file for file, _ in record.files(directory) if file.endswith(".py"))


def _invalid(path: Path, problem: str) -> BubbleInvalidError:
    return BubbleInvalidError(
        f"{str(path)!r} is no directory of installed packages",
        cause=problem,
        path=path,
        problems=(problem,),
        tip=f"make it with: python -m pip install --target {shlex.quote(str(path))} ...",
    )
