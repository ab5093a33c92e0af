"""The page of a map: one HTML document that needs nothing but itself.

Owns what stands on the page and in which order.  A function of the facts: it must
not look at the process.  Style and script lie beside it, in ``page.css`` and
``page.js``, and come into the page with their digests in its policy
(Content-Security-Policy), so that nothing else is ever fetched or run by it.

Everything can be read without the script: it searches, sorts and opens, no more.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from omnipkg_meta.mapped.markup import Markup, element, joined
from omnipkg_meta.mapped.one_by_one import realms
from omnipkg_meta.mapped.pieces import RULES, counted, folded, time_in_words
from omnipkg_meta.mapped.together import crossings, distributions, failures, overview
from omnipkg_meta.store.disk import in_words

if TYPE_CHECKING:
    from omnipkg_meta.mapped.facts import Facts

__all__ = ["render"]


_HERE = Path(__file__).parent

_NOT_RECORDED = joined(
    "Imports were not recorded, so this page does not tell who imported what, by which rule, "
    "and how long it took. To record them, run the program with ",
    element("code", "omnipkg-meta map script.py"),
    ", or call ",
    element("code", "omnipkg_meta.map(record=True)"),
    " before the first import that you want to see.",
)
_NO_BUBBLE = joined(
    "No bubble was used: everything is main's, as in any Python program. Enter a bubble with ",
    element("code", 'with omnipkg_meta.use("rich==13.5.3"):'),
    ", or run the program with one: ",
    element("code", "omnipkg-meta map --with rich==13.5.3 script.py"),
    ".",
)
_NOTHING_LOADED = (
    "No module of any bubble is loaded: the bubbles were entered, and nothing of them imported."
)


def render(facts: Facts) -> str:
    """Return the page."""
    style = (_HERE / "page.css").read_text("utf-8")
    script = (_HERE / "page.js").read_text("utf-8")
    title = f"Map of {facts.run.program}"
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{_digest(style)}'",
            f"script-src 'sha256-{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        Markup(f"<style>{style}</style>"),
    )
    names = {side.key: side for side in facts.realms}
    body = element(
        "body",
        element("a", "Skip to the map", href="#map", class_="skip"),
        _header(facts),
        element(
            "main",
            _notices(facts),
            overview(facts),
            crossings(facts, names),
            distributions(facts, names),
            realms(facts, names),
            failures(facts, names),
            id="map",
            tabindex="-1",
        ),
        _footer(facts),
        Markup(f"<script>{script}</script>"),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")


def _header(facts: Facts) -> Markup:
    bubbles = len(facts.realms) - 1
    modules = sum(len(one.modules) for one in facts.realms)
    links = [("overview", "Realms at a glance")]
    if facts.recorded is not None:
        links.append(("imports", "Imports between realms"))
    links += [("distributions", "Distributions in several realms"), ("realms", "Each realm")]
    if facts.failures:
        links.append(("missing", "Not found"))
    links.append(("words", "Words"))
    told = [
        ("Program", element("code", facts.run.program)),
        ("Ended", facts.run.ended),
        ("Python", facts.run.python),
        ("Taken", f"{facts.run.taken}, process {facts.run.pid}"),
        ("Realms", counted(bubbles, "bubble", "s") + " beside main"),
        ("Modules", f"{modules:,} loaded"),
        ("On the disk", None if facts.size is None else f"{in_words(facts.size)} in bubbles"),
        (
            "Recorded",
            "no" if facts.recorded is None else f"imports, for {time_in_words(facts.recorded)}",
        ),
    ]
    return element(
        "header",
        element("h1", "Map of ", element("code", facts.run.program)),
        element(
            "dl",
            [
                element("div", element("dt", name), element("dd", what))
                for name, what in told
                if what is not None
            ],
            class_="told",
        ),
        element(
            "nav",
            element("ul", [element("li", element("a", what, href=f"#{at}")) for at, what in links]),
            aria_label="Parts of this page",
        ),
        element(
            "div",
            element("label", "Search realms, modules and distributions", for_="find"),
            element(
                "div",
                element(
                    "input",
                    type="search",
                    id="find",
                    autocomplete="off",
                    spellcheck="false",
                    aria_describedby="found",
                ),
                element("button", "Open all realms", type="button", id="open"),
                element("button", "Close all realms", type="button", id="close"),
            ),
            element("p", id="found", role="status", aria_live="polite"),
            id="search",
            role="search",
            hidden=True,
        ),
    )


def _notices(facts: Facts) -> list[Markup]:
    notices: list[str] = []
    if len(facts.realms) == 1:
        notices.append(_NO_BUBBLE)
    elif not any(one.modules for one in facts.realms[1:]):
        notices.append(_NOTHING_LOADED)
    if facts.recorded is None:
        notices.append(_NOT_RECORDED)
    return [element("p", one, class_="notice") for one in notices]


def _footer(facts: Facts) -> Markup:
    words = [
        ("Bubble", "A directory that holds a set of distributions resolved together."),
        ("Realm", "The loaded side of a bubble in this process; main is where Python started."),
        ("Claimed name", "A top-level import name that some bubble of this process provides."),
        *((f"Rule “{rule}”", what) for rule, what in RULES.items()),
        (
            "Load time",
            (
                "From the import until the module could be used, as -X importtime measures it: "
                "finding, waiting for another thread that loads it, and executing it. Its own time "
                "is without the modules that it imported meanwhile. The times of a realm are its "
                "modules' own times added up."
            ),
        ),
        (
            "Seen",
            (
                "Each first import of a claimed name by each module. Of other names (the standard "
                "library, and what only main has) the import that loaded the module."
            ),
        ),
    ]
    return element(
        "footer",
        element("h2", "Words", id="words"),
        element(
            "dl",
            [element("div", element("dt", word), element("dd", what)) for word, what in words],
            class_="told",
        ),
        element("p", f"{len(facts.claimed):,} claimed names: ", folded(list(facts.claimed)))
        if 0 < len(facts.claimed) <= 30
        else None,
    )
