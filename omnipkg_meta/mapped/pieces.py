"""The pieces of which a map's page is made: tables, links to realms, times, numbers.

Owns how each of them looks in HTML.  Must not know what the page tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnipkg_meta.mapped.facts import MAINS_KEY
from omnipkg_meta.mapped.markup import Markup, element, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from omnipkg_meta.mapped.facts import Side

__all__ = [
    "RULES",
    "called",
    "codes",
    "counted",
    "folded",
    "link",
    "made_for",
    "number_cell",
    "rule_mark",
    "section",
    "table",
    "time_cell",
    "time_in_words",
]

#: The rules, and what each says.
RULES = {
    "pin": "The importing package is pinned to that bubble.",
    "home": "The importing code was installed there, or declares what it imports.",
    "scope": "The innermost scope that was active and provides the name.",
    "main": "No pin, home or scope provides the name: main answers, or what is laid over it.",
    "hermetic": "The importing code's bubble sees nothing else.",
}


def section(at: str, title: str, *children: Markup | Iterable[Markup]) -> Markup:
    """Return a part of the page, with its heading and its address."""
    return element(
        "section", element("h2", title, id=f"{at}-title"), *children,
        id=at, aria_labelledby=f"{at}-title",
    )  # fmt: skip


def table(
    caption: str, header: Sequence[tuple[str, bool]], rows: Iterable[Markup], *, sort: bool = True
) -> Markup:
    """Return a table that scrolls on its own where the screen is narrow.

    Args:
        caption: what it shows.
        header: the columns' titles, and whether they hold numbers.
        rows: its rows.
        sort: whether it can be sorted.
    """
    columns = [
        element("th", title, scope="col", class_="number" if number else None)
        for title, number in header
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", columns)),
            element("tbody", rows),
            data_sort=sort,
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex="0",
    )


def number_cell(shown: str | None, value: float | None = None, *, missing: str = "-") -> Markup:
    """Return a cell with a number; *value* is what it is sorted by."""
    if shown is None:
        return element("td", missing, class_="number")
    exact = None if value is None else f"{value:.9g}"
    return element("td", shown, class_="number", data_value=exact)


def link(side: Side) -> Markup:
    """Return a link to where a realm is told of."""
    return element("a", called(side), href=f"#{side.key}")


def called(side: Side) -> str:
    """Return what tells a realm from the others: a bubble has one for each set of terms."""
    return f"{side.name} ({'; '.join(side.terms)})" if side.terms else side.name


def made_for(side: Side) -> Markup | str:
    """Say what a realm is there for."""
    if side.key == MAINS_KEY:
        return "the environment that Python started with"
    return element("code", ", ".join(side.requested))


def rule_mark(rule: str) -> Markup:
    """Return the name of a rule, with what it says."""
    return element("span", rule, class_=f"rule {rule}", title=RULES.get(rule))


def codes(names: Iterable[str]) -> list[Markup]:
    """Return names one after the other, as code."""
    return [joined(element("code", one), " ") for one in names]


def folded(names: list[str]) -> Markup:
    """Return names, folded away where there are many."""
    listed = element("p", ", ".join(names), class_="names")
    if len(names) <= 30:
        return listed
    return element("details", element("summary", f"All {len(names):,} names"), listed)


def time_cell(seconds: float | None, slowest: float) -> Markup:
    """Return a cell with a time, and a bar beside it that shows it among others."""
    if seconds is None:
        return number_cell(None)
    share = 100 * seconds / slowest if slowest else 0
    bar = element(
        "svg",
        element("rect", width=f"{share:.1f}", height="8"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return element(
        "td", bar, time_in_words(seconds), class_="number time", data_value=f"{seconds:.9f}"
    )


def time_in_words(seconds: float) -> str:
    """Return a time as people write it."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def counted(number: int, what: str, plural: str) -> str:
    """Return a number of things."""
    return f"{number:,} {what}{'' if number == 1 else plural}"
