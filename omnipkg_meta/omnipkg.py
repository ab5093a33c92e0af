"""The drop-in for omnipkg: its two names, on top of this library.

A program written for omnipkg runs with only its import lines changed::

    from omnipkg_meta.omnipkg import ConfigManager, omnipkgLoader

What ``omnipkgLoader`` did by renaming directories, purging ``sys.modules`` and
editing ``sys.path`` is had without: the block is a scope.  What it restored at
the end of the block was never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnipkg_meta.scope import Scope, use

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from omnipkg_meta.store.store import Store

__all__ = ["ConfigManager", "omnipkgLoader"]


class ConfigManager:
    """Where the bubbles are, in the form that omnipkg gives it.

    Attributes:
        config: the settings; ``multiversion_base`` is the store's directory.
    """

    def __init__(self, *_: object, **__: object) -> None:
        # omnipkg takes options that steer its first-time set-up, of which there is none.
        import sys

        from omnipkg_meta.config import store_path

        self.config: dict[str, Any] = {
            "multiversion_base": str(store_path()),
            "python_executable": sys.executable,
        }

    def get(self, key: str, default: Any = None) -> Any:
        """Return one setting."""
        return self.config.get(key, default)


class omnipkgLoader:  # noqa: N801  # the name that programs import
    """A scope of one package, entered with ``with``.

    Args:
        package_spec: ``"name==version"``, or any other PEP 508 requirement.
        config: what :class:`ConfigManager` gives; only ``multiversion_base`` is read.
        **_: omnipkg's other options (``quiet``, ``isolation_mode``, ...) steer
            means that are not used here, and are accepted.

    Raises:
        RequirementError: the specification is malformed.
    """

    def __init__(
        self, package_spec: str, config: Mapping[str, Any] | None = None, **_: object
    ) -> None:
        self.package_spec = package_spec
        self.config = config
        self._scope: Scope = use(package_spec, store=_store(config))

    def __enter__(self) -> omnipkgLoader:
        """Enter the scope.

        Raises:
            BubbleNotFoundError: a ``RuntimeError``: there is no such bubble; the
                message ends with the command that makes it.
        """
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the scope."""
        self._scope.__exit__(kind, error, traceback)


def _store(config: Mapping[str, Any] | None) -> Store | None:
    base = (config or {}).get("multiversion_base")
    if base is None:
        return None
    from omnipkg_meta.config import store_path
    from omnipkg_meta.store.store import Store

    return None if str(base) == str(store_path()) else Store(base)
