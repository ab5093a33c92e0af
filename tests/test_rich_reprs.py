"""How bubbles, scopes and explanations show themselves in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import omnipkg_meta as om
from omnipkg_meta.hypertext import card, table
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

_NASTY = "<script>alert('&')</script>\" onclick=\"x"


class _Reader(HTMLParser):
    """Sees which tags a page has, whether each is closed, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    assert reader.tags <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert reader.attributes <= {"style"}
    return reader


def test_whatever_a_fact_holds_is_shown_as_it_stands() -> None:
    assert _read(card(_NASTY, [(_NASTY, _NASTY), ("empty", "")])).texts == [_NASTY] * 3
    assert _read(table([_NASTY], [[_NASTY]], note=_NASTY)).texts == [_NASTY] * 3


def test_colours_are_those_of_the_page() -> None:
    html = card("title", [("name", "value")]) + table(["name"], [["value"]], note="note")
    assert "color" not in html
    assert "#" not in html


def test_a_bubble_shows_what_it_holds_and_where_it_is(world: World) -> None:
    bubble = world.make(world.name("card"), "1.5")
    texts = _read(bubble._repr_html_()).texts
    (name,) = bubble.distributions
    assert texts[0] == bubble.id
    assert {f"{name}==1.5", f"{name} 1.5", str(bubble.path)} <= set(texts)


def test_a_scope_shows_its_bubble_once_that_is_found_and_looks_for_none(world: World) -> None:
    name = world.name("card")
    scope = om.use(f"{name}>=1", install=True)
    assert "not entered yet" in _read(scope._repr_html_()).texts
    bubble = world.make(name, "1.5")
    with scope:
        texts = _read(scope._repr_html_()).texts
    assert {repr(scope), bubble.id, f"{name} 1.5"} <= set(texts)


def test_an_explanation_shows_what_its_text_says(world: World) -> None:
    name = world.name("card")
    world.versions(name, "1.5", main="0.5")
    with om.use(f"{name}==1.5"):
        explanation = om.explain(name)
    texts = "\n".join(_read(explanation._repr_html_()).texts)
    assert texts.startswith(f"{name} 1.5 from the bubble")
    assert explanation.why in texts
    assert all(str(one) in texts for one in explanation.candidates)
