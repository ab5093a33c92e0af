"""The page in a real browser: nothing fetched, nothing complained of, searched and read by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from omnipkg_meta.mapped.page import render
from tests import browser as driven
from tests.browser import ENTER, ESCAPE, TAB, Browser
from tests.mapped.made_up import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(driven.missing()), reason=driven.missing())


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with driven.browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "map.html"
    file.write_text(render(facts_of(300)), "utf-8")
    return file


@pytest.fixture
def shown(window: Browser, page: Path) -> Browser:
    window.requests()
    window.complaints()
    window.open(page)
    return window


def settled(window: Browser) -> None:
    """Wait until the page has drawn itself, as the search does its work just before that."""
    window.wait("requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](true)))")


def visible(window: Browser, selector: str) -> int:
    script = "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())"
    return int(window.run(f"{script}.length", selector))


def focused(window: Browser) -> Any:
    return window.run(
        "const e = document.activeElement;"
        "return [e.tagName, e.id || e.textContent.trim().slice(0, 40),"
        " getComputedStyle(e).outlineStyle]"
    )


def test_it_loads_without_a_complaint_and_asks_for_nothing_else(shown: Browser, page: Path) -> None:
    assert shown.requests() == [page.as_uri()]
    assert shown.complaints() == []


def test_its_policy_stops_what_is_not_its_own(shown: Browser) -> None:
    told = shown.run(
        "const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        "document.body.append(script);"
        "const image = document.createElement('img'); image.src = 'http://127.0.0.1:9/x.png';"
        "document.body.append(image);"
        "return window.ran ?? null"
    )
    settled(shown)
    assert told is None
    stopped = [one for one in shown.complaints() if "Content Security Policy" in one]
    assert len(stopped) == 2, "the script and the picture"


def test_the_search_shows_what_has_all_words_and_says_how_many(shown: Browser) -> None:
    assert visible(shown, "details.realm") == 301
    shown.keys("/pkg123 part3")
    settled(shown)
    assert visible(shown, "details.realm") == 1
    assert visible(shown, "#overview tbody tr") == 1
    assert visible(shown, "#imports, #missing") == 0, "headings without anything under them"
    found = shown.run("return document.getElementById('found').textContent")
    assert found.startswith("1 of 301 realms, ")
    live = "return document.getElementById('found').getAttribute('aria-live')"
    assert shown.run(live) == "polite"
    shown.keys(ESCAPE)
    settled(shown)
    assert visible(shown, "details.realm") == 301
    assert shown.run("return document.getElementById('found').textContent") == ""
    shown.keys("no such thing")
    settled(shown)
    assert "Nothing" in shown.run("return document.getElementById('found').textContent")


def test_keys_reach_all_that_can_be_used_in_order_and_the_focus_is_seen(
    window: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "small.html"
    file.write_text(render(facts_of(3)), "utf-8")
    window.open(file)
    useful = window.run(
        "return [...document.querySelectorAll('a[href], button, input, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).length"
    )
    window.keys(TAB)
    assert focused(window)[:2] == ["A", "Skip to the map"]
    seen = 0
    while window.run("return document.activeElement !== document.body") and seen <= useful:
        _, name, outline = focused(window)
        assert outline not in ("none", ""), name
        seen += 1
        window.keys(TAB)
    assert seen == useful > 40


def test_a_realm_is_opened_with_a_key_and_by_a_link_to_it(shown: Browser) -> None:
    shown.run("document.querySelector('#r200 summary').focus()")
    shown.keys(ENTER)
    assert shown.run("return document.getElementById('r200').open") is True
    shown.run("document.querySelector('#overview a[href=\"#r17\"]').focus()")
    shown.keys(ENTER)
    settled(shown)
    assert shown.run("return document.getElementById('r17').open") is True
    assert focused(shown)[0] == "SUMMARY"


def test_columns_are_sorted_by_real_buttons(shown: Browser) -> None:
    script = (
        "const head = [...document.querySelectorAll('#overview thead th')]"
        ".find(e => e.textContent.startsWith('On the disk'));"
        "head.querySelector('button').click();"
        "return [head.ariaSort, document.querySelector('#overview tbody th').textContent]"
    )
    first = facts_of(300).realms
    assert shown.run(script) == ["descending", first[300].name]
    assert shown.run(script) == ["ascending", "main"]


def test_nothing_is_wider_than_a_narrow_screen(shown: Browser) -> None:
    shown.resize(320, 800)
    try:
        shown.run("document.querySelectorAll('details').forEach(e => { e.open = e.id < 'r12' })")
        assert shown.run("return document.documentElement.scrollWidth") <= 320
    finally:
        shown.resize(1280, 900)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground_in_both_schemes(shown: Browser, scheme: str) -> None:
    shown.prefer(scheme)
    pairs = shown.run(
        """
        const light = (colour) => {
          const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
            .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
          return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const ground = (one) => {
          for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
          }
          return "rgb(255, 255, 255)";
        };
        return ["body", "a", "dt", ".hint", ".notice, .told dd", "thead th", ".rule", "button"]
          .map((selector) => {
            const one = document.querySelector(selector);
            const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
            return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
          });
        """
    )
    # WCAG 2, 1.4.3 "Contrast (Minimum)".
    assert [one for one in pairs if one[1] < 4.5] == []
    dark = shown.run("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    assert dark is (scheme == "dark")


def test_it_can_be_read_without_its_script(page: Path, tmp_path: Path) -> None:
    with driven.browser(tmp_path / "browser") as window:
        window.without_scripts()
        window.open(page)
        assert visible(window, "#search") == 0, "what does nothing is not shown"
        assert visible(window, "#overview tbody tr") == 301
        window.run("document.querySelector('#r5 summary').focus()")
        window.keys(ENTER)
        assert visible(window, "#r5 table") == 2


def test_it_is_printed_with_what_is_closed(window: Browser, tmp_path: Path) -> None:
    file = tmp_path / "small.html"
    file.write_text(render(facts_of(12)), "utf-8")
    window.open(file)
    assert visible(window, "details.realm[open]") == 0
    pages = window.printed().count(b"/Type /Page\n")
    file.write_text(render(facts_of(12)).replace('class="realm"', 'class="realm" open'), "utf-8")
    window.open(file)
    assert pages == window.printed().count(b"/Type /Page\n") > 4
