"""On which terms a bubble is entered: ``share=``, ``adopt=``, ``hermetic=``, as they are written.

Owns what can be written there, whatever the bubble.  What it means for one bubble
is in :mod:`omnipkg_meta.agreement`.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from omnipkg_meta.errors import RequirementError
from omnipkg_meta.realm import ONE_PER_PROCESS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Terms", "read"]

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\w+")


class Terms(NamedTuple):
    """What was asked for beside the requirements, as it was given."""

    share: tuple[str, ...] = ()
    adopt: tuple[str, ...] = ()
    hermetic: bool = False

    def __bool__(self) -> bool:
        return bool(self.share or self.adopt or self.hermetic)

    def arguments(self) -> list[str]:
        """Return what was given as it stands in a call."""
        words = [f"share={list(self.share)!r}"] if self.share else []
        words += [f"adopt={list(self.adopt)!r}"] if self.adopt else []
        return [*words, "hermetic=True"] if self.hermetic else words


def read(share: Sequence[str], adopt: Sequence[str], *, hermetic: bool) -> Terms:
    """Refuse what cannot be, whatever the bubble.

    Raises:
        TypeError: names are not in a list, or are no names; ``hermetic`` is no bool.
        RequirementError: a name is that of the standard library, the program, or this library.
    """
    share, adopt = _names("share", share), _names("adopt", adopt)
    if not isinstance(hermetic, bool):
        raise TypeError(f"hermetic is True or False, not {hermetic!r}")
    both = sorted(set(share) & set(adopt))
    if both:
        raise RequirementError(
            f"{both[0]!r} cannot be both shared, which is main's own, and adopted, "
            "which is main's loaded anew.",
            requirement=both[0],
        )
    return Terms(share, adopt, hermetic)


_DONE = {"share": "shared", "adopt": "adopted"}


def _names(key: str, given: Any) -> tuple[str, ...]:
    try:
        names = (given,) if isinstance(given, bytes) else tuple(given)
    except TypeError:
        names = (given,)
    if isinstance(given, str) or not all(
        isinstance(name, str) and _NAME.fullmatch(name) for name in names
    ):
        raise TypeError(
            f"{key} takes a list of top-level module names, or of names of distributions, "
            f"not {given!r}"
        )
    for name in names:
        one = key == "adopt" and name in ONE_PER_PROCESS
        if one or name in sys.stdlib_module_names or name in ("__main__", "omnipkg_meta"):
            raise RequirementError(
                f"{name!r} cannot be {_DONE[key]}: there is one of it in a process.",
                requirement=name,
                tip=f"leave it out of {key}=",
            )
    return names
