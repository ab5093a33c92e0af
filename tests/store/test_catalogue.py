"""The catalogue: it makes a search fast, and whatever becomes of it, the answers stay right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnipkg_meta.errors import BubbleNotFoundError
from omnipkg_meta.store import search
from omnipkg_meta.store import store as store_module
from omnipkg_meta.store.bubble import MANIFEST, Bubble
from omnipkg_meta.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Install, MakeBubble, Wheelhouse


def catalogue(store: Store) -> Path:
    (found,) = store.path.glob(".catalogue-*")
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the bubbles whose manifests are read from now on."""
    ids: list[str] = []
    opened = Bubble.read.__func__  # type: ignore[attr-defined]

    def note(cls: type[Bubble], /, path: str, **options: str) -> object:
        ids.append(os.path.basename(path))  # noqa: PTH119
        return opened(cls, path, **options)

    monkeypatch.setattr(Bubble, "read", classmethod(note))
    monkeypatch.setattr("omnipkg_meta.store.store._opened", {})
    return ids


@pytest.fixture
def bubbles(wheelhouse: Wheelhouse, install: Install) -> dict[str, Bubble]:
    for version in ("1.0", "2.0"):
        wheelhouse.make("leaf", version)
    wheelhouse.make("tree", "1.0", requires=["leaf<2"])
    wheelhouse.make("stone", "1.0")
    asked = ("leaf==1.0", "leaf==2.0", "tree", "stone")
    return {one: install(one) for one in asked}


@pytest.fixture
def whole(bubbles: dict[str, Bubble], store: Store) -> bytes:
    """What the catalogue of these bubbles holds."""
    assert len(bubbles) == 4
    return catalogue(store).read_bytes()


def test_a_search_reads_the_best_bubble_and_no_other(
    bubbles: dict[str, Bubble], store: Store, read: list[str]
) -> None:
    assert store.find(["leaf"]) == bubbles["leaf==2.0"]
    assert store.find(["leaf<2"]) == bubbles["leaf==1.0"]
    assert store.find(["tree", "leaf"]) == bubbles["tree"]
    assert store.find(["leaf>2"]) is None
    assert store.find(["river"]) is None
    assert read == [bubbles[one].id for one in ("leaf==2.0", "leaf==1.0", "tree")]


def test_bubbles_that_came_without_this_library_are_found_and_then_noted(
    bubbles: dict[str, Bubble], store: Store, tmp_path: Path, read: list[str]
) -> None:
    other = Store(tmp_path / "other")
    shutil.copytree(store.tag_path, other.tag_path)
    other.path.chmod(0o700)
    found = other.find(["leaf"])
    assert found is not None
    assert found.distributions["leaf"] == "2.0"
    assert sorted(set(read)) == sorted(one.id for one in bubbles.values())
    read.clear()
    store_module._opened.clear()
    assert other.find(["stone"]) is not None
    assert read == [bubbles["stone"].id]


def test_a_catalogue_that_is_lost_is_made_again(
    bubbles: dict[str, Bubble], store: Store, read: list[str]
) -> None:
    before = catalogue(store).read_text()
    catalogue(store).unlink()
    assert store.find(["leaf"]) == bubbles["leaf==2.0"]
    assert len(set(read)) == len(bubbles)
    told = {line for line in catalogue(store).read_text().splitlines() if line[:1] not in "*?"}
    assert told <= set(before.splitlines())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_cut_off_of_it_or_lost_from_it_the_answers_are_the_same(
    bubbles: dict[str, Bubble], store: Store, whole: bytes, data: st.DataObject
) -> None:
    file = catalogue(store)
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    # What a crash or a full disk leaves: the end of a write is missing, and others went on.
    file.write_bytes(whole[:begin] + data.draw(st.sampled_from([b"\n" + whole[end:], b""])))
    search.look(store)
    assert store.find(["leaf"]) == bubbles["leaf==2.0"]
    assert store.find(["leaf<2"]) == bubbles["leaf==1.0"]
    assert store.find(["stone"]) == bubbles["stone"]
    assert store.matching(["leaf"]) == sorted(
        (bubbles[one] for one in ("leaf==1.0", "leaf==2.0", "tree")), key=lambda one: one.id
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_a_catalogue_of_any_bytes_at_all_hides_no_bubble(
    bubbles: dict[str, Bubble], store: Store, content: bytes
) -> None:
    catalogue(store).write_bytes(content)
    assert store.find(["leaf<2"]) == bubbles["leaf==1.0"]
    assert store.find(["leaf>2"]) is None


def test_a_line_about_what_a_manifest_says_otherwise_gives_no_wrong_bubble(
    bubbles: dict[str, Bubble], store: Store
) -> None:
    file = catalogue(store)
    lines = file.read_text().splitlines()
    (stone,) = (line.rpartition(" ")[0] for line in lines if " stone==1.0" in line)
    false = f"{stone} leaf==9.0"
    with file.open("a") as end:
        end.write(f"\n{false} {zlib.crc32(false.encode()):08x}")
    assert store.find(["leaf"]) == bubbles["leaf==2.0"]
    assert store.find(["leaf==9.0"]) is None
    assert store.find(["stone"]) == bubbles["stone"]


def test_a_line_that_was_damaged_hides_no_bubble(
    bubbles: dict[str, Bubble], store: Store, whole: bytes
) -> None:
    file = catalogue(store)
    for place in range(0, len(whole), 23):
        file.write_bytes(whole[:place] + b"x" + whole[place + 1 :])
        for asked, bubble in bubbles.items():
            assert store.find([asked]) == bubble


def test_a_bubble_that_is_broken_since_it_was_noted_gives_way_to_the_next_best(
    bubbles: dict[str, Bubble], store: Store
) -> None:
    (bubbles["leaf==2.0"].path / MANIFEST).write_text("{")
    found = store.find(["leaf"])
    assert found is not None
    assert found.distributions["leaf"] == "1.0"
    with pytest.raises(BubbleNotFoundError, match="1 more could not be read"):
        store.require(["leaf>1"])


def test_a_bubble_that_is_made_afresh_is_noted_anew(
    make_bubble: MakeBubble, install: Install, store: Store
) -> None:
    first = make_bubble({"leaf==1.0": None})
    second = install("leaf==1.0", reinstall=True)
    assert first.id == second.id
    found = store.find(["leaf"])
    assert found is not None
    assert found.created == second.created


def test_lines_about_bubbles_that_are_gone_do_not_pile_up(
    bubbles: dict[str, Bubble], store: Store
) -> None:
    file = catalogue(store)
    with file.open("a") as lines:
        lines.writelines(f"\ngone{n}-1.0-00 2026 gone gone==1.0 ." for n in range(200))
    store.remove(bubbles["tree"])
    assert store.find(["leaf"]) == bubbles["leaf==2.0"]
    assert len(file.read_text().splitlines()) < 20
    assert store.find(["leaf<2"]) == bubbles["leaf==1.0"]


def test_a_store_that_may_only_be_read_is_searched_without_a_catalogue(
    bubbles: dict[str, Bubble], store: Store, tmp_path: Path
) -> None:
    catalogue(store).unlink()
    if os.geteuid() == 0:
        place = tmp_path / "mounted"
        place.mkdir()
        words = ["mount", "--bind", "-o", "ro", str(store.path), str(place)]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("root may write everywhere, and nothing can be mounted here")
        try:
            found = Store(place).find(["leaf"])
        finally:
            subprocess.run(["umount", str(place)], check=True)
    else:
        store.path.chmod(0o500)
        found = store.find(["leaf"])
        store.path.chmod(0o700)
    assert found is not None
    assert found.id == bubbles["leaf==2.0"].id
    assert not list(store.path.glob(".catalogue-*"))


def test_a_disk_that_is_full_leaves_a_catalogue_that_claims_nothing_too_much(
    bubbles: dict[str, Bubble], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = catalogue(store)
    file.unlink()
    write = os.write
    with monkeypatch.context() as full:
        full.setattr("os.write", lambda number, data: write(number, data[: len(data) // 2]))
        assert store.find(["leaf"]) == bubbles["leaf==2.0"]
    assert "*" not in file.read_text()
    for one in ("leaf==2.0", "leaf==1.0", "tree", "stone"):
        assert store.find([one]) == bubbles[one]
    assert "\n*" in file.read_text()


def test_the_catalogue_of_another_store_is_not_mistaken_for_this_one(
    bubbles: dict[str, Bubble], store: Store, tmp_path: Path
) -> None:
    other = Store(tmp_path / "other")
    other.tag_path.mkdir(parents=True, mode=0o700)
    other.path.chmod(0o700)
    shutil.copy(catalogue(store), other.path)
    assert other.find(["leaf"]) is None
    shutil.copytree(bubbles["leaf==1.0"].path, other.tag_path / "made-by-hand")
    entry = json.loads((other.tag_path / "made-by-hand" / MANIFEST).read_text())
    assert entry["id"] != "made-by-hand"
    assert other.find(["leaf"]) == Bubble.open(other.tag_path / "made-by-hand")


FINDS = """\
import sys
from omnipkg_meta.store.store import Store
found = Store(sys.argv[1]).find(sys.argv[2:])
print(found.id, "packaging" in sys.modules)
"""


def found_anew(store: Store, *asked: str) -> list[str]:
    """What another process finds, and whether it had to compare versions for it."""
    words = [sys.executable, "-c", FINDS, str(store.path), *asked]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("asked", ["leaf==1.0", "leaf", "LEAF == 1.0", "tree"])
def test_what_was_found_once_is_found_again_without_a_comparison(
    bubbles: dict[str, Bubble], store: Store, asked: str
) -> None:
    key = {"leaf": "leaf==2.0", "LEAF == 1.0": "leaf==1.0"}.get(asked, asked)
    assert found_anew(store, asked) == [bubbles[key].id, "True"]
    assert found_anew(store, asked) == [bubbles[key].id, "False"]


def test_what_was_found_once_gives_way_to_a_bubble_that_comes_later(
    bubbles: dict[str, Bubble], store: Store, wheelhouse: Wheelhouse, install: Install
) -> None:
    assert [store.find(["leaf"]) for _ in range(2)] == [bubbles["leaf==2.0"]] * 2
    wheelhouse.make("leaf", "3.0")
    third = install("leaf==3.0")
    assert [store.find(["leaf"]) for _ in range(2)] == [third] * 2
    store.remove(third)
    assert [store.find(["leaf"]) for _ in range(2)] == [bubbles["leaf==2.0"]] * 2


def test_what_was_found_once_is_compared_with_what_the_manifest_says(
    bubbles: dict[str, Bubble], store: Store
) -> None:
    file = catalogue(store)
    assert store.find(["leaf==1.0"]) == bubbles["leaf==1.0"]
    (line,) = (one for one in file.read_text().splitlines() if one[:1] == "?")
    false = f"{line.split()[0]} {bubbles['leaf==2.0'].id}"
    with file.open("a") as end:
        end.write(f"\n{false} {zlib.crc32(false.encode()):08x}")
    assert store.find(["leaf==1.0"]) == bubbles["leaf==1.0"]


def test_a_broken_bubble_that_is_mended_is_found_again(
    bubbles: dict[str, Bubble], store: Store
) -> None:
    manifest = bubbles["leaf==2.0"].path / MANIFEST
    text = manifest.read_text()
    catalogue(store).unlink()
    manifest.write_text("{")
    store_module._opened.clear()
    assert [store.find(["leaf"]) for _ in range(2)] != [bubbles["leaf==2.0"]] * 2
    manifest.write_text(text)
    assert store.find(["leaf"]) == bubbles["leaf==2.0"]


def test_lines_about_what_was_found_do_not_pile_up(
    bubbles: dict[str, Bubble], store: Store
) -> None:
    for n in range(250):  # each spelling is a request of its own
        spelt = "".join(one.upper() if n >> at & 1 else one for at, one in enumerate("leaf"))
        assert store.find([f"{spelt}{' ' * (n // 16)}==1.0"]) == bubbles["leaf==1.0"]
    assert len(catalogue(store).read_text().splitlines()) < 150
    assert store.find(["leaf"]) == bubbles["leaf==2.0"]
