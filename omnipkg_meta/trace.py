"""Tracing: each decision about a claimed name, once per importing module.

On with ``OMNIPKG_META_TRACE=1`` (to stderr, unless the program sets logging up),
or with the level ``DEBUG`` for the logger ``omnipkg_meta``.  Whoever records imports
(:mod:`omnipkg_meta.recording`) listens here, too.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnipkg_meta.asking import Asker
    from omnipkg_meta.resolution import Decision

__all__ = ["LISTENERS", "note", "wanted"]

_logger = logging.getLogger("omnipkg_meta")

if os.environ.get("OMNIPKG_META_TRACE", "") not in ("", "0"):
    _logger.setLevel(logging.DEBUG)
    if not _logger.hasHandlers():
        _handler = logging.StreamHandler()
        _handler.setFormatter(logging.Formatter("omnipkg_meta: %(message)s"))
        _logger.addHandler(_handler)

#: Called with each decision.  While there is one nothing is settled, so that none is missed.
LISTENERS: list[Callable[[str, Asker, Decision], None]] = []

_noted: set[tuple[str, str, str, str]] = set()


def wanted() -> bool:
    """Tell whether anybody wants to know."""
    return bool(LISTENERS) or _logger.isEnabledFor(logging.DEBUG)


def note(name: str, asker: Asker, answer: Decision) -> None:
    """Tell who asked for a module, who answers, and by which rule; the log once a package."""
    if not wanted():
        return
    for listener in LISTENERS:
        listener(name, asker, answer)
    if not _logger.isEnabledFor(logging.DEBUG):
        return
    top = name.partition(".")[0]
    bubble = answer.realm.bubble
    where = "main" if bubble is None else bubble.id
    key = (asker.module, top, where, answer.rule.value)
    if key in _noted:
        return
    # Before it is logged: handlers import, and so ask.
    _noted.add(key)
    _logger.debug(
        "%s: %s asked for it (%s), %s answers by the %s rule",
        top,
        asker.module or "nobody",
        asker.file or "native code",
        where,
        answer.rule.value,
    )
