"""The part of a map's page that tells of each realm for itself.

Owns what is told of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnipkg_meta.mapped.facts import MAINS_KEY
from omnipkg_meta.mapped.markup import Markup, element, joined
from omnipkg_meta.mapped.pieces import (
    called,
    codes,
    counted,
    folded,
    link,
    made_for,
    number_cell,
    rule_mark,
    section,
    table,
    time_cell,
    time_in_words,
)
from omnipkg_meta.store.disk import in_words

if TYPE_CHECKING:
    from omnipkg_meta.mapped.facts import Edge, Facts, Module, Side

__all__ = ["MODULES_SHOWN", "OF_ONE", "realms"]

#: How many modules stand on the page with their times, those of all realms together, and of
#: one realm at least and at most: with 300 realms it has to stay readable.  Of the rest stand
#: the names.
MODULES_SHOWN = 6000
OF_ONE = (20, 100)


def realms(facts: Facts, names: dict[str, Side]) -> Markup:
    """Tell of each realm, each to be opened for itself."""
    uses: dict[str, list[Edge]] = {}
    used: dict[str, list[Edge]] = {}
    for one in facts.edges:
        if one.home == one.realm:
            continue
        uses.setdefault(one.home, []).append(one)
        used.setdefault(one.realm, []).append(one)
    return section(
        "realms",
        "Each realm",
        [
            _realm(one, facts, names, used.get(one.key, []), uses.get(one.key, []))
            for one in facts.realms
        ],
    )


def _realm(
    side: Side, facts: Facts, names: dict[str, Side], used: list[Edge], uses: list[Edge]
) -> Markup:
    short = [counted(len(side.modules), "module", "s")]
    if side.seconds is not None:
        short.append(time_in_words(side.seconds))
    if side.size is not None:
        short.append(in_words(side.size))
    inside: list[Markup | None] = [
        _where(side, names),
        _diagram(side, names, used, uses) if facts.recorded is not None else None,
        _packages(side, facts),
        _module_table(side, facts, names),
        _held(side),
    ]
    return element(
        "details",
        element(
            "summary",
            element("h3", called(side)),
            " ",
            element("span", made_for(side), class_="for"),
            " ",
            element("span", " · ".join(short), class_="short"),
        ),
        inside,
        id=side.key,
        class_="realm",
        open=len(facts.realms) <= 3 and side.key != MAINS_KEY,
    )


def _where(side: Side, names: dict[str, Side]) -> Markup | None:
    told: list[tuple[str, Markup | str]] = []
    if side.path is not None:
        told.append(("Directory", element("code", side.path)))
    if side.around is not None and side.around in names:
        told.append(("On top of", link(names[side.around])))
    if side.provided:
        told.append(("Import names", joined(codes(side.provided))))
    if not told:
        return None
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", what)) for name, what in told],
        class_="told",
    )


def _diagram(
    side: Side, names: dict[str, Side], used: list[Edge], uses: list[Edge]
) -> Markup | None:
    """Return who imports from the realm, the realm, and what it imports from others, in a row."""
    if not used and not uses:
        return element("p", "No import crosses the border of this realm.", class_="hint")
    return element(
        "div",
        element(
            "div",
            element("h4", "Imported from here by"),
            _ends(used, names, home=True),
            class_="end",
        ),
        element("div", called(side), class_="middle", aria_hidden="true"),
        element(
            "div",
            element("h4", "Imports from elsewhere"),
            _ends(uses, names, home=False),
            class_="end",
        ),
        class_="diagram",
    )


def _ends(edges: list[Edge], names: dict[str, Side], *, home: bool) -> Markup:
    """Return one line for each realm at the other end and package, with the rule."""
    if not edges:
        return element("p", "nothing", class_="hint")
    lines: dict[tuple[str, str, str], set[str]] = {}
    for one in edges:
        other = one.home if home else one.realm
        lines.setdefault((other, one.top, one.rule), set()).add(one.by)
    shown = []
    for (other, top, rule), by in lines.items():
        who = element("code", min(by)) if len(by) == 1 else counted(len(by), "module", "s")
        shown.append(
            element(
                "li",
                [who, " of ", link(names[other]), " → ", element("code", top), " "]
                if home
                else [who, " → ", element("code", top), " of ", link(names[other]), " "],
                rule_mark(rule),
            )
        )
    if len(shown) <= 8:
        return element("ul", shown, class_="plain")
    return joined(
        element("ul", shown[:8], class_="plain"),
        element(
            "details",
            element("summary", f"{len(shown) - 8} more"),
            element("ul", shown[8:], class_="plain"),
        ),
    )


def _packages(side: Side, facts: Facts) -> Markup | None:
    """Return a table of the realm's packages: modules, and the time that they took."""
    tops: dict[str, list[Module]] = {}
    for one in side.modules:
        tops.setdefault(one.name.partition(".")[0], []).append(one)
    if facts.recorded is None or not any(one.own is not None for one in side.modules):
        return None
    taken = {
        top: sum(one.own for one in modules if one.own is not None)
        for top, modules in tops.items()
        if any(one.own is not None for one in modules)
    }
    order = sorted(taken, key=lambda top: -taken[top])
    slowest = max(taken.values(), default=0)
    rows = [
        element(
            "tr",
            element("th", element("code", top), scope="row"),
            number_cell(f"{len(tops[top]):,}", len(tops[top])),
            time_cell(taken[top], slowest),
        )
        for top in order[: _shown(facts)]
    ]
    return joined(
        element("h4", "Packages by load time"),
        table(
            f"Packages of {side.name} by load time",
            [("Package", False), ("Modules", True), ("Load time", True)],
            rows,
        ),
        _left_out(order[len(rows) :], "package"),
    )


def _module_table(side: Side, facts: Facts, names: dict[str, Side]) -> Markup | None:
    title = element("h4", "Modules")
    if not side.modules:
        return joined(title, element("p", "No module of this realm is loaded.", class_="empty"))
    timed = [one for one in side.modules if one.total is not None]
    if facts.recorded is None or not timed:
        return joined(title, folded([one.name for one in side.modules]))
    order = sorted(timed, key=lambda one: -(one.own or 0))
    slowest = order[0].own or 0
    rows = [
        element(
            "tr",
            element("th", element("code", one.name), scope="row", title=one.file),
            time_cell(one.own, slowest),
            number_cell(None if one.total is None else time_in_words(one.total), one.total),
            element("td", _first(one, side, names)),
        )
        for one in order[: _shown(facts)]
    ]
    before = [one.name for one in side.modules if one.total is None]
    return joined(
        title,
        table(
            f"Modules of {side.name} by load time",
            [
                ("Module", False),
                ("Its own time", True),
                ("With what it imported", True),
                ("First imported by", False),
            ],
            rows,
        ),
        _left_out([one.name for one in order[len(rows) :]], "module"),
        [
            element("h4", "Loaded without being seen"),
            element(
                "p",
                "Before the recording began, or made by other code than the import system.",
                class_="hint",
            ),
            folded(before),
        ]
        if before
        else None,
    )


def _first(one: Module, side: Side, names: dict[str, Side]) -> Markup | str:
    if one.by is None or not one.by[0]:
        return "nobody found"
    by, home = one.by
    if home == side.key or home not in names:
        return element("code", by)
    return joined(element("code", by), " of ", link(names[home]))


def _shown(facts: Facts) -> int:
    """Return how many modules of one realm stand on the page."""
    least, most = OF_ONE
    return max(least, min(most, MODULES_SHOWN // len(facts.realms)))


def _left_out(names: list[str], what: str) -> Markup | None:
    """Return the names of what took less time than all that is in a table."""
    if not names:
        return None
    return element(
        "details",
        element("summary", f"And {counted(len(names), what, 's')} that took less"),
        element("p", ", ".join(names), class_="names"),
    )


def _held(side: Side) -> Markup | None:
    if not side.distributions:
        return None
    listed = element(
        "ul",
        [
            element("li", element("code", name), f" {version}")
            for name, version in side.distributions.items()
        ],
        class_="many",
    )
    return element(
        "details",
        element("summary", f"Distributions ({len(side.distributions):,})"),
        listed,
    )
