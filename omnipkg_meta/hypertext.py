"""How objects show themselves in a notebook: HTML made of plain facts.

Owns the escaping, and a look that takes colours and fonts from the page it stands on,
light or dark.  Must not know what the facts mean.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["card", "table"]

# Notebooks give tables a style of their own, and right-aligned cells.
_TABLE = "border-collapse:collapse;margin:.3em 0;font-size:inherit"
_CELL = "text-align:left;vertical-align:top;padding:.15em 1.2em .15em 0;white-space:pre-wrap"
_LABEL = f"{_CELL};opacity:.65;font-weight:normal;white-space:nowrap"


def card(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """Return a title with facts below it, each with its name; those that are empty are left out.

    Args:
        title: a plain text, and so are the facts; whatever they hold is shown as it stands.
        facts: name and value.
    """
    rows = "".join(
        f'<tr style="background:none"><th style="{_LABEL}">{escape(name)}</th>'
        f'<td style="{_CELL}">{escape(value)}</td></tr>'
        for name, value in facts
        if value
    )
    return (
        f'<div><b style="font-family:monospace">{escape(title)}</b>'
        f'<table style="{_TABLE}"><tbody>{rows}</tbody></table></div>'
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, note: str = "") -> str:
    """Return rows under a header, all of plain texts.

    Args:
        header: the names of the columns.
        rows: the cells of each row.
        note: what is said below.
    """
    head = "".join(f'<th style="{_LABEL}">{escape(one)}</th>' for one in header)
    body = "".join(
        '<tr style="background:none">'
        + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    below = f'<div style="opacity:.65">{escape(note)}</div>' if note else ""
    return (
        f'<div><table style="{_TABLE}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>{below}</div>"
    )
