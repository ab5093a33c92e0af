"""The parts of a map's page that tell of all realms together.

Owns what stands in them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from omnipkg_meta.mapped.markup import Markup, element, joined
from omnipkg_meta.mapped.pieces import (
    counted,
    link,
    made_for,
    number_cell,
    rule_mark,
    section,
    table,
    time_cell,
)
from omnipkg_meta.store.disk import in_words

if TYPE_CHECKING:
    from omnipkg_meta.mapped.facts import Distribution, Edge, Facts, Side

__all__ = ["crossings", "distributions", "failures", "overview"]

_HOW = {
    "statement": "import statement",
    "call": "import_module, or a look into sys.modules",
    "native": "native code",
}


def overview(facts: Facts) -> Markup:
    """Tell of each realm in one line."""
    into: dict[str, set[str]] = {}
    for edge in facts.edges:
        if edge.home != edge.realm:
            into.setdefault(edge.realm, set()).add(edge.home)
    slowest = max((one.seconds or 0 for one in facts.realms), default=0)
    columns = [("Realm", False), ("Made for", False), ("Distributions", True), ("Modules", True)]
    if facts.recorded is not None:
        columns += [("Load time", True), ("Imported by realms", True)]
    if facts.size is not None:
        columns += [("On the disk", True), ("Shared with others", True)]
    rows = []
    for one in facts.realms:
        cells = [
            element("th", link(one), scope="row"),
            element("td", made_for(one)),
            number_cell(f"{len(one.distributions):,}", len(one.distributions)),
            number_cell(f"{len(one.modules):,}", len(one.modules)),
        ]
        if facts.recorded is not None:
            cells.append(time_cell(one.seconds, slowest))
            cells.append(number_cell(str(len(into.get(one.key, ()))), len(into.get(one.key, ()))))
        if facts.size is not None:
            shared = None if one.size is None or one.alone is None else one.size - one.alone
            cells.append(number_cell(None if one.size is None else in_words(one.size), one.size))
            cells.append(number_cell(None if shared is None else in_words(shared), shared))
        rows.append(element("tr", cells, data_realm=one.key))
    hint = None
    if facts.size is not None:
        hint = element(
            "p",
            f"All bubbles of this map together take {in_words(facts.size)}: files that several of "
            "them share are counted once. What main takes is not measured.",
            class_="hint",
        )
    return section(
        "overview", "Realms at a glance", table("Realms of this process", columns, rows),
        hint or Markup(""),
    )  # fmt: skip


def crossings(facts: Facts, names: dict[str, Side]) -> Markup | None:
    """Tell who imported what from another realm; nothing where that was not recorded."""
    if facts.recorded is None:
        return None
    # One row for all modules of a package that imported the same: a realm may have hundreds.
    who: dict[Edge, list[str]] = {}
    for one in facts.edges:
        if one.home != one.realm or one.rule in ("pin", "scope"):
            package = replace(one, by=one.by.partition(".")[0], names=())
            who.setdefault(package, []).append(one.by)
    rows = [
        element(
            "tr",
            element("td", _importers(one.by, modules)),
            element("td", link(names[one.home])),
            element("td", element("code", one.top), _version(names[one.realm], one.top)),
            element("td", link(names[one.realm])),
            element("td", rule_mark(one.rule)),
            element("td", _HOW.get(one.how, one.how)),
        )
        for one, modules in who.items()
    ]
    if not rows:
        return section(
            "imports",
            "Imports between realms",
            element("p", "No module imported anything from another realm.", class_="empty"),
        )
    columns = [
        ("Module", False),
        ("of realm", False),
        ("imported", False),
        ("from realm", False),
        ("by the rule", False),
        ("with", False),
    ]
    return section(
        "imports",
        "Imports between realms",
        table("Who imported what from another realm, in the order of time", columns, rows),
    )


def _importers(package: str, modules: list[str]) -> Markup | str:
    """Name the modules of a package that imported the same."""
    if len(modules) == 1:
        return element("code", modules[0]) if modules[0] else "nobody found"
    return element(
        "details",
        element("summary", element("code", package), f", {counted(len(modules), 'module', 's')}"),
        element("p", ", ".join(modules), class_="names"),
    )


def _version(side: Side, top: str) -> str:
    """Return the version of what a name belongs to, where its distribution has the same name."""
    version = side.distributions.get(top.replace("_", "-").lower())
    return "" if version is None else f" {version}"


def distributions(facts: Facts, names: dict[str, Side]) -> Markup:
    """Tell which distributions are in several realms."""
    title = "Distributions in several realms"
    if not facts.distributions:
        return section(
            "distributions",
            title,
            element("p", "No distribution is in more than one realm.", class_="empty"),
        )
    columns = [("Distribution", False), ("Versions", True), ("Where", False)]
    rows = [
        element(
            "tr",
            element("th", element("code", one.name), scope="row"),
            number_cell(str(len(one.versions)), len(one.versions)),
            element("td", _places(one, names)),
        )
        for one in facts.distributions
    ]
    return section(
        "distributions",
        title,
        table("Distributions that more than one realm holds", columns, rows),
    )


def _places(one: Distribution, names: dict[str, Side]) -> Markup:
    """Return a list of the versions, each with the realms that hold it."""
    lines = []
    for version in one.versions:
        held = [place for place in one.places if place.version == version]
        loaded = sum(place.loaded and not place.shared for place in held)
        links: list[Markup | str] = []
        for place in held:
            links += [", "] if links else []
            links.append(link(names[place.realm]))
            if place.shared:
                links.append(" (main's, shared)")
        line = joined(
            element("b", version),
            f" in {counted(len(held), 'realm', 's')}, {_times(loaded)}",
        )
        if len(held) > 4:
            line = element("details", element("summary", line), element("p", links))
        else:
            line = joined(line, ": ", links)
        lines.append(element("li", line))
    return element("ul", lines, class_="plain")


def _times(count: int) -> str:
    return {0: "not loaded", 1: "loaded once"}.get(count, f"loaded {count} times")


def failures(facts: Facts, names: dict[str, Side]) -> Markup | None:
    """Tell what was asked for and not loaded."""
    if not facts.failures:
        return None
    rows = [
        element(
            "tr",
            element("td", element("code", one.name)),
            element("td", element("code", one.by) if one.by else "nobody found"),
            element("td", link(names[one.home])),
            element("td", one.error),
        )
        for one in facts.failures
    ]
    return section(
        "missing",
        "Not found",
        element(
            "p",
            "Modules that were asked for and not loaded. Many packages look for what is optional "
            "in this way.",
            class_="hint",
        ),
        table(
            "Modules that were asked for and not loaded",
            [("Module", False), ("Asked for by", False), ("of realm", False), ("Error", False)],
            rows,
        ),
    )
