"""Tracing: each decision about a claimed name, once per importing module.

On with ``OMNIPKG_META_TRACE=1`` (to stderr, unless the program sets logging up),
or with the level ``DEBUG`` for the logger ``omnipkg_meta``.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omnipkg_meta.asking import Asker
    from omnipkg_meta.resolution import Decision

__all__ = ["note", "wanted"]

_logger = logging.getLogger("omnipkg_meta")

if os.environ.get("OMNIPKG_META_TRACE", "") not in ("", "0"):
    _logger.setLevel(logging.DEBUG)
    if not _logger.hasHandlers():
        _handler = logging.StreamHandler()
        _handler.setFormatter(logging.Formatter("omnipkg_meta: %(message)s"))
        _logger.addHandler(_handler)

_noted: set[tuple[str, str, str, str]] = set()


def wanted() -> bool:
    """Tell whether anybody wants to know."""
    return _logger.isEnabledFor(logging.DEBUG)


def note(name: str, asker: Asker, answer: Decision) -> None:
    """Log who asked for a module, who answers, and by which rule; once for each package."""
    if not wanted():
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
