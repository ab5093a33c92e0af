"""Bubbles that are verified before they are used, and those of a newer library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om
from omnipkg_meta import config
from omnipkg_meta.errors import BubbleFormatError, BubbleInvalidError, ConfigError
from omnipkg_meta.store import build, verify

if TYPE_CHECKING:
    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store
    from tests.conftest import MakeBubble, Wheelhouse


def edit(bubble: Bubble, name: str) -> None:
    file = bubble.site_packages / f"{name}.py"
    file.unlink()
    file.write_text("__version__ = 'edited'\n")


def test_a_full_check_refuses_what_was_edited_and_the_quick_one_does_not_see_it(
    make_bubble: MakeBubble,
) -> None:
    bubble = make_bubble({"edited==1.0": None})
    edit(bubble, "edited")
    with pytest.raises(BubbleInvalidError) as caught, om.use("edited", verify="full"):
        pass
    assert caught.value.problems == ("edited.py was changed",)
    assert caught.value.tip == "omnipkg-meta install --reinstall edited==1.0"
    with om.use("edited"):
        import edited  # type: ignore[import-not-found]
    assert edited.__version__ == "edited"
    with pytest.raises(BubbleInvalidError), om.use("edited", verify="full"):
        pass  # loaded already, and asked for all the same


def test_the_variable_asks_it_of_every_bubble(
    make_bubble: MakeBubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = make_bubble({"whole==1.0": None}), make_bubble({"damaged==1.0": None})
    edit(bad, "damaged")
    monkeypatch.setenv(config.VERIFY, "full")
    with om.use(good):
        import whole  # type: ignore[import-not-found]
    assert whole.__version__ == "1.0"
    with pytest.raises(BubbleInvalidError, match="not as it was installed"), om.use("damaged"):
        pass
    monkeypatch.setenv(config.VERIFY, "thorough")
    with pytest.raises(ConfigError, match="no such check"):
        config.verify()


def test_it_is_done_once_in_a_process(
    make_bubble: MakeBubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    bubble = make_bubble({"once==1.0": None})
    bubble.require_whole()

    def never(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(verify, "problems", never)
    bubble.require_whole()
    with om.use("once", verify="full"), om.use(bubble, verify="full"):
        pass


def test_there_is_no_other_way_to_verify() -> None:
    with pytest.raises(ValueError, match="'quick' or 'full'"):
        om.use("anything", verify="some")


def newer(bubble: Bubble) -> None:
    manifest = bubble.path / "manifest.json"
    entry = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**entry, "schema": 2, "library": "omnipkg-meta 9.0"}))


def test_a_bubble_of_a_newer_library_is_refused_and_never_replaced(
    make_bubble: MakeBubble, wheelhouse: Wheelhouse, store: Store
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    newer(bubble)
    before = (bubble.path / "manifest.json").read_bytes()
    with pytest.raises(BubbleFormatError) as caught:
        store.get(bubble.id)
    assert caught.value.format == 2
    assert "omnipkg-meta 9.0" in str(caught.value.cause)
    assert "pip install -U omnipkg-meta" in str(caught.value.tip)
    with pytest.raises(BubbleFormatError):
        build.install(["leaf"], store=store, index_options=wheelhouse.options)
    with pytest.raises(BubbleFormatError):
        build.install(["leaf"], store=store, index_options=wheelhouse.options, reinstall=True)
    assert (bubble.path / "manifest.json").read_bytes() == before
    store.remove(bubble.id)
    assert store.broken() == []


@pytest.mark.parametrize("schema", [0, -1, None, "1", 1.5, True, [1]])
def test_a_format_that_is_none_is_damage(
    make_bubble: MakeBubble, store: Store, schema: object
) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    manifest = bubble.path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": schema}))
    with pytest.raises(BubbleInvalidError) as caught:
        store.get(bubble.id)
    assert not isinstance(caught.value, BubbleFormatError)
