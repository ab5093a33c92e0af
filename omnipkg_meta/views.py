"""``keys()``, ``values()`` and ``items()`` of a table whose content depends on who looks.

Live, as those of a dict are: made once, each look shows what whoever looks can
see then.  This file knows nothing of modules.
"""

from __future__ import annotations

import sys
from collections.abc import ItemsView, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    Look = Callable[[FrameType | None], dict[Any, Any]]

__all__ = ["Items", "Keys", "Values"]


class Keys(KeysView[Any]):
    """The keys.

    Args:
        table: the table, which answers ``in`` and ``len``.
        look: gives what a frame can see, as a dict.
    """

    def __init__(self, table: Mapping[Any, Any], look: Look) -> None:
        super().__init__(table)
        self._look = look

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._look(sys._getframe().f_back)))

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self._look(sys._getframe().f_back))[::-1])


class Values(ValuesView[Any]):
    """The values; arguments as for :class:`Keys`."""

    def __init__(self, table: Mapping[Any, Any], look: Look) -> None:
        super().__init__(table)
        self._look = look

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._look(sys._getframe().f_back).values()))

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self._look(sys._getframe().f_back).values())[::-1])


class Items(ItemsView[Any, Any]):
    """The pairs; arguments as for :class:`Keys`."""

    def __init__(self, table: Mapping[Any, Any], look: Look) -> None:
        super().__init__(table)
        self._look = look

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(list(self._look(sys._getframe().f_back).items()))

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return iter(list(self._look(sys._getframe().f_back).items())[::-1])
