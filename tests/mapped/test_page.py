"""The page: whatever stands in the facts is text on it, and what is missing is said."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnipkg_meta.mapped.facts import (
    Distribution,
    Edge,
    Facts,
    Failure,
    Module,
    Place,
    Run,
    Side,
)
from omnipkg_meta.mapped.markup import element, readable
from omnipkg_meta.mapped.one_by_one import OF_ONE
from omnipkg_meta.mapped.page import render
from tests.mapped.made_up import RUN, facts_of

_VOID = {"meta", "input", "rect"}


class Reader(HTMLParser):
    """Reads a page, and sees that each element ends where it should."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def text_of(page: str) -> str:
    return " ".join("".join(read(page).texts).split())


AWKWARD = st.text(
    st.one_of(
        st.sampled_from("<>&\"'`=/\\ -!;:(){}[]\x00\x1b\n\t\u202e\u2028\ud800\ufeff"),
        st.characters(),
    ),
    max_size=30,
) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        '" onmouseover="alert(1)',
        "</style><!--",
        "javascript:alert(1)",
        "<![CDATA[",
    ]
)


@st.composite
def awkward_facts(draw: Any) -> Facts:
    def name() -> str:
        # What is empty is left out; and main and r1 are keys here.
        return str(draw(AWKWARD.filter(lambda one: one not in ("", "main", "r1"))))

    side = Side(
        "r1",
        name(),
        requested=(name(),),
        terms=(name(),),
        path=name(),
        distributions={name(): name()},
        provided=(name(),),
        modules=(Module(name(), name(), (name(), "main"), 0.5, 0.25), Module(name(), None)),
        around="main",
        size=5,
        alone=3,
    )
    main = Side("main", "main", modules=(Module(name(), name(), (name(), "r1"), 0.1, 0.1),))
    return Facts(
        Run(name(), name(), 1, name(), name()),
        (main, side),
        claimed=(name(),),
        recorded=1.0,
        edges=(Edge("main", name(), name(), (name(),), "r1", name(), name()),),
        failures=(Failure("r1", name(), name(), name()),),
        distributions=(Distribution(name(), (Place("r1", name(), loaded=True),)),),
        size=5,
    )


def shape(page: str) -> list[tuple[str, list[str]]]:
    """Return the elements of a page with the names of their attributes."""
    return [(tag, sorted(attributes)) for tag, attributes in read(page).elements]


@given(awkward_facts())
@settings(max_examples=40)
def test_no_name_becomes_anything_but_text(facts: Facts) -> None:
    page = render(facts)
    page.encode("utf-8")

    def plain(value: Any) -> Any:
        """Return the same with a harmless word in the place of each awkward one."""
        if isinstance(value, str):
            return value if value in ("main", "r1") else "x"
        if isinstance(value, tuple):
            return tuple(map(plain, value))
        if isinstance(value, dict):
            return {plain(key): plain(one) for key, one in value.items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)
            }
            return type(value)(**fields)
        return value

    assert shape(page) == shape(render(plain(facts)))
    for tag, attributes in read(page).elements:
        assert tag not in ("img", "iframe", "object", "link", "base", "form")
        assert not [one for one in attributes if one.startswith("on") or one == "style"]
        assert str(attributes.get("href", "#")).startswith("#")
    assert [tag for tag, _ in read(page).elements].count("script") == 1


@given(AWKWARD)
def test_a_text_reads_on_the_page_as_it_is_with_what_cannot_be_seen_written_out(text: str) -> None:
    made = element("p", text, title=text)
    (tag, attributes), shown = read(made).elements[0], "".join(read(made).texts).removesuffix("\n")
    assert tag == "p"
    assert attributes == {"title": readable(text)}
    assert shown == readable(text)
    assert readable(text).isprintable()
    if text.isprintable():
        assert shown == text


def test_marks_that_turn_the_direction_of_writing_are_shown_and_not_obeyed() -> None:
    assert readable("a\u202eb") == "a\\u202eb"
    assert readable("path\udcff") == "path\\udcff"
    assert readable("naïve 数") == "naïve 数"


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    page = render(facts_of(1))
    (policy,) = [
        str(attributes["content"])
        for tag, attributes in read(page).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(one.split(" ", 1) for one in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for what, tag in (("style-src", "style"), ("script-src", "script")):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert rules[what] == f"'sha256-{digest}'"


def test_each_link_on_the_page_leads_somewhere_on_it() -> None:
    elements = read(render(facts_of(9))).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(attributes["href"])[1:] for tag, attributes in elements if tag == "a"}
    assert links <= set(ids)
    for _, attributes in elements:
        for one in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(one) in {None, *ids}


def test_headings_go_down_one_step_at_a_time() -> None:
    levels = [
        int(tag[1]) for tag, _ in read(render(facts_of(3))).elements if re.fullmatch("h[1-6]", tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_tables_have_a_caption_and_headers_with_a_scope() -> None:
    elements = read(render(facts_of(2))).elements
    tags = [tag for tag, _ in elements]
    assert tags.count("caption") == tags.count("table") > 0
    assert all("scope" in attributes for tag, attributes in elements if tag == "th")


def test_a_process_without_bubbles_is_told_so_and_what_to_do() -> None:
    text = text_of(render(Facts(RUN, (Side("main", "main"),), recorded=1.0)))
    assert "No bubble was used" in text
    assert "omnipkg-meta map --with" in text
    assert "were not recorded" not in text


def test_a_process_that_did_not_record_is_told_so_and_how_to() -> None:
    facts = dataclasses.replace(facts_of(2), recorded=None, edges=(), failures=())
    text = text_of(render(facts))
    assert "Imports were not recorded" in text
    assert "omnipkg_meta.map(record=True)" in text
    assert "Imports between realms" not in text
    assert "No import crosses" not in text, "that would say what nobody knows"


def test_bubbles_of_which_nothing_is_loaded_are_told_as_such() -> None:
    side = Side("r1", "rich-1", requested=("rich",))
    facts = Facts(RUN, (Side("main", "main"), side), recorded=1.0)
    assert "No module of any bubble is loaded" in text_of(render(facts))


def test_modules_that_took_least_are_there_by_their_names() -> None:
    facts = facts_of(1, modules=OF_ONE[1] + 23)
    text = text_of(render(facts))
    assert "And 23 modules that took less" in text
    assert all(one.name in text for one in facts.realms[1].modules), "but by its name all is there"


def test_modules_of_a_package_that_imported_the_same_are_one_row() -> None:
    facts = facts_of(1)
    edges = [
        Edge("r1", f"pkg1.part{one}", "rich", ("rich",), "main", "home", "statement")
        for one in range(40)
    ]
    page = render(dataclasses.replace(facts, edges=(*edges, facts.edges[0])))
    (part,) = re.findall(r'<section id="imports".*?</section>', page, re.DOTALL) or [""]
    assert part.count("<tr>") == 3, "the header, the forty, and the other"
    assert "40 modules" in part
    assert "pkg1.part39" in part


def test_two_realms_of_one_bubble_have_names_that_differ() -> None:
    sides = [
        Side("r1", "rich-1", requested=("rich",), terms=("shares pygments with main",)),
        Side("r2", "rich-1", requested=("rich",)),
    ]
    text = text_of(render(Facts(RUN, (Side("main", "main"), *sides))))
    assert "rich-1 (shares pygments with main)" in text


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_page_grows_with_its_realms_and_no_faster(count: int) -> None:
    page = render(facts_of(count)) if count else render(Facts(RUN, (Side("main", "main"),)))
    assert page.startswith("<!DOCTYPE html>")
    assert len(page) < 40_000 + count * 13_000, "13 kB for 30 modules"
    assert html.escape(RUN.program) in page
