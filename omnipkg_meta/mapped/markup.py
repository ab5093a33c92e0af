"""HTML that is escaped by construction.

Owns the making of elements: what is not :class:`Markup` is text, whoever it came
from, and stands on the page as text.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Markup", "element", "joined", "readable", "text"]

#: Elements that have no end tag (HTML standard, 13.1.2 "Void elements").
_VOID = frozenset({"input", "meta", "rect"})


#: Elements that stand for themselves: texts of two of them are not one word, for the search.
_APART = frozenset(
    [
        "caption",
        "dd",
        "details",
        "div",
        "dt",
        "h1",
        "h2",
        "h3",
        "h4",
        "li",
        "main",
        "p",
        "section",
        "summary",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ]
)


class Markup(str):
    """A piece of HTML that this file has made."""

    __slots__ = ()


Child = str | int | None


def readable(value: object) -> str:
    """Return a text with what cannot be seen in it written out.

    Controls, lone surrogates (undecodable bytes of a path) and marks that turn the
    direction of writing would be invalid on a page, or show what is not there.
    """
    whole = str(value)
    if whole.isprintable():
        return whole
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in whole
    )


def text(value: object) -> Markup:
    """Return a text as HTML that shows it."""
    return value if isinstance(value, Markup) else Markup(html.escape(readable(value)))


def element(tag: str, *children: Child | Iterable[Child], **attributes: Child | bool) -> Markup:
    """Return an element.

    Args:
        tag: its name.
        children: texts and elements, or lists of them; None is left out.
        attributes: ``class_`` is ``class``, ``data_x`` is ``data-x``; None and False are
            left out, True is an attribute without a value.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")  # noqa: PLW2901
        words.append(name if value is True else f'{name}="{html.escape(readable(value))}"')
    if tag in _VOID:
        return Markup(f"<{' '.join(words)}>" if tag != "rect" else f"<{' '.join(words)}/>")
    end = "\n" if tag in _APART else ""
    return Markup(f"<{' '.join(words)}>{joined(*children)}</{tag}>{end}")


def joined(*children: Child | Iterable[Child]) -> Markup:
    """Return pieces one after the other."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, (str, int)):
            parts.append(text(child))
        else:
            parts.append(joined(*child))
    return Markup("".join(parts))
