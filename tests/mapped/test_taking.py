"""What a map tells of realms and of a recording, and that taking it changes neither."""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.mapped import facts, taking
from omnipkg_meta.realm import MAIN, Realm, Shared
from omnipkg_meta.recording import Import, Load, Recording
from omnipkg_meta.store.disk import Taken
from tests.mapped.made_up import RUN
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from tests.worlds import World


def realm(bubble: Bubble | None = None, **arguments: Any) -> Realm:
    whole: dict[str, Any] = {"directories": (), "import_names": {}, "distributions": {}}
    return Realm(bubble=bubble, files=bubble, **{**whole, **arguments})


def module(name: str, **attributes: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(attributes)
    return made


def test_modules_belong_to_the_realm_in_whose_table_they_are() -> None:
    one = realm()
    one.modules["lib"] = module("lib", __file__="/b/lib.py", __realm__=one)
    mains = {"app": module("app", __file__="/m/app.py"), "lib of it": one.modules["lib"]}
    found = taking.gather(RUN, [one], mains, {})
    assert [(side.key, [made.name for made in side.modules]) for side in found.realms] == [
        ("main", ["app"]),
        ("r1", ["lib"]),
    ]
    assert found.realms[1].modules[0].file == "/b/lib.py"
    assert found.recorded is None
    assert found.size is None


def test_a_module_that_loads_itself_when_it_is_touched_is_not_touched() -> None:
    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    class Slots:
        __slots__ = ()

    found = taking.gather(RUN, [], {"lazy": Lazy("lazy"), "odd": Slots(), "none": None}, {})
    assert [one.name for one in found.realms[0].modules] == ["lazy", "none", "odd"]


def test_edges_are_one_for_each_importing_module_and_package() -> None:
    one, other = realm(), realm()
    for name in ("lib", "lib.a", "lib.b"):
        one.modules[name] = module(name)
    seen = Recording()
    for name in ("lib", "lib.b", "lib.a", "lib.gone"):
        seen.imports[Import("app", MAIN, name, one, "scope", "statement")] = None
    seen.imports[Import("lib.a", one, "lib.b", one, "home", "statement")] = None
    seen.imports[Import("x", other, "lib", one, "pin", "native")] = None
    seen.imports[Import("omnipkg_meta.x", MAIN, "lib", one, "scope", "call")] = None
    found = taking.gather(RUN, [one, other], {}, {}, recording=seen, seconds=2.0)
    names = ("lib", "lib.a", "lib.b")
    assert found.edges == (
        facts.Edge("main", "app", "lib", names, "r1", "scope", "statement"),
        facts.Edge("r2", "x", "lib", ("lib",), "r1", "pin", "native"),
    )
    assert found.recorded == 2.0


def test_times_and_who_was_first_come_from_the_recording() -> None:
    one = realm()
    one.modules["lib"], one.modules["early"] = module("lib"), module("early")
    seen = Recording()
    seen.ended(Load("lib", "app", MAIN, 5.0, 0.5, 0.25, one))
    seen.ended(Load("lib", "late", MAIN, 6.0, 0.1, 0.1, one))
    seen.ended(Load("gone", "lib", one, 5.5, 0.1, 0.1, None, "ImportError"))
    found = taking.gather(RUN, [one], {}, {}, recording=seen, seconds=1.0)
    early, lib = found.realms[1].modules
    assert (lib.by, lib.total, lib.own) == (("app", "main"), 0.5, 0.25)
    assert (early.by, early.total) == (None, None)
    assert found.realms[1].seconds == 0.25
    assert found.realms[0].seconds is None
    assert found.failures == (facts.Failure("r1", "lib", "gone", "ImportError"),)


def test_distributions_of_several_realms_are_told_with_what_is_loaded() -> None:
    held: dict[str, Any] = {
        "import_names": {"lib": ("Lib",)},
        "distributions": {"lib": "1", "own": "3"},
    }
    one, two = realm(**held), realm(**{**held, "distributions": {"lib": "2"}})
    shares = realm(**held, shared=Shared(frozenset({"lib"}), frozenset({"lib"})))
    one.modules["lib"] = module("lib")
    found = taking.gather(RUN, [one, two, shares], {"lib": module("lib")}, {"lib": "9", "m": "1"})
    (lib, own) = found.distributions
    assert (lib.name, own.name) == ("lib", "own")
    assert lib.versions == ("9", "1", "2")
    assert lib.places == (
        facts.Place("main", "9", loaded=True),
        facts.Place("r1", "1", loaded=True),
        facts.Place("r2", "2", loaded=False),
        facts.Place("r3", "9", loaded=True, shared=True),
    )


def test_bytes_that_bubbles_share_are_counted_once(world: World) -> None:
    one, two = (realm(world.make(world.name(), "1")) for _ in range(2))
    taken = {
        one: Taken({(1, 1): (100, 2, 1), (1, 2): (10, 1, 1)}),
        two: Taken({(1, 1): (100, 2, 1), (1, 3): (1, 1, 1)}),
    }
    found = taking.gather(RUN, [one, two], {}, {}, measure=taken.__getitem__)
    assert found.size == 111
    assert [(side.size, side.alone) for side in found.realms] == [(None, None), (110, 10), (101, 1)]


def test_the_data_is_json_and_comes_back_the_same(world: World) -> None:
    name = world.name()
    (bubble,) = world.versions(name, "1", main="2")
    with om.map(record=True) as seen, om.use(bubble):
        __import__(name)
    told = json.loads(seen.json())
    assert told == json.loads(json.dumps(seen.data()))
    assert told["schema"] == 1
    (side,) = (one for one in told["realms"] if one["name"] == bubble.id)
    assert [one["name"] for one in side["modules"]] == [name]
    assert side["size"] > 0
    (edge,) = (one for one in told["edges"] if one["top"] == name and one["realm"] == side["key"])
    assert (edge["by"], edge["home"], edge["rule"]) == (__name__, "main", "scope")
    (dist,) = (one for one in told["distributions"] if one["name"] == name)
    assert [(one["realm"], one["version"]) for one in dist["places"]] == [
        ("main", "2"),
        (side["key"], "1"),
    ]


def test_a_map_changes_nothing_and_imports_nothing_of_what_it_tells(world: World) -> None:
    name = world.name()
    world.versions(name, "1", main="2")
    om.map().html()  # its own modules are loaded now
    before = list(sys.modules)
    om.map().html()
    assert list(sys.modules) == before


def test_it_is_saved_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    seen = om.map(sizes=False)
    assert seen.save(tmp_path / "a.html") == tmp_path / "a.html"
    assert (tmp_path / "a.html").read_text("utf-8") == seen.html()
    assert json.loads(seen.save(tmp_path / "a.json").read_text()) == json.loads(seen.json())
    monkeypatch.setattr(type(seen), "html", lambda _: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        seen.save(tmp_path / "a.html")
    assert sorted(one.name for one in tmp_path.glob("*a.*")) == ["a.html", "a.json"]
    assert (tmp_path / "a.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_a_notebook_gets_the_page_in_a_frame_of_its_own() -> None:
    shown = om.map(sizes=False)._repr_html_()
    assert shown.startswith("<iframe ")
    assert 'sandbox="allow-scripts"' in shown
    assert "<script" not in shown


def test_importing_the_library_loads_nothing_of_the_map(world: World) -> None:
    world.run(
        """
        import sys
        import omnipkg_meta
        assert callable(omnipkg_meta.use)
        heavy = ("omnipkg_meta.mapped", "omnipkg_meta.recording")
        loaded = [one for one in sys.modules if one.startswith(heavy)]
        assert not loaded, loaded
        """
    )


def test_mains_distributions_are_those_on_its_own_path(world: World) -> None:
    name = world.name()
    world.versions(name, "1", main="2.5")
    importlib.invalidate_caches()
    assert om.map(sizes=False).facts.realms[0].distributions[name] == "2.5"
