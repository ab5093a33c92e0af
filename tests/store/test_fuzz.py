"""Whatever is read, only the documented errors come of it, and nothing outside is touched."""

from __future__ import annotations

import argparse
import copy
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from omnipkg_meta import requirements
from omnipkg_meta.cli.upkeep import _age, _size
from omnipkg_meta.config import interpreter_tag
from omnipkg_meta.errors import (
    BubbleInvalidError,
    BubbleNotFoundError,
    LockError,
    RequirementError,
    redact,
)
from omnipkg_meta.store import archives, pylock, record, verify
from omnipkg_meta.store.bubble import Bubble
from omnipkg_meta.store.lock import Lock, Locked
from omnipkg_meta.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MakeBubble

quickly = settings(
    max_examples=150,
    deadline=None,
    # What a test is given is only read by its examples, or written anew by each.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: Any text at all, with what cannot be encoded, and with what means something to somebody.
texts = st.one_of(
    st.text(),
    st.text(st.characters()),
    st.text("../\\:@ \0\n'\"$;[]()<>=!~,#%-_abc019\ud800\udcff"),
    st.from_regex(r"[a-zA-Z0-9._-]+(\[[a-z,]*\])?\s*([<>=!~]=?[0-9a-z.*+!-]*,?)*\s*(;.*)?"),
    st.sampled_from(["x.whl", "../x-1-py3-none-any.whl", "x @ file:///etc/passwd", "a" * 5000]),
)

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda children: st.one_of(
        st.lists(children, max_size=3), st.dictionaries(texts, children, max_size=3)
    ),
    max_leaves=5,
)


@quickly
@given(texts)
@example("leaf @ https://user:password@host/leaf.whl")
@example("leaf; python_version")
@example("leaf @ file://leaf[m/oxr")
@example("~nobody-of-that-name/x-1.0-py3-none-any.whl")
@example("~\0/x-1.0-py3-none-any.whl")
@example("leaf==1.0.*.*")
@example("-r /etc/passwd")
def test_a_requirement_is_read_or_is_a_requirement_error(text: str) -> None:
    try:
        found = requirements.parse([text])
    except RequirementError:
        return
    for one in found:
        assert "/" not in one.name
        assert requirements.parse([one.canonical])[0].canonical == one.canonical


@pytest.fixture
def bubble(make_bubble: MakeBubble) -> Bubble:
    return make_bubble({"leaf==1.0": {"leaf.py": "", "leaf_data/x.so": b"\x7fELF no"}})


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a nest of dicts and lists: what holds it, and under which key."""
    found: list[tuple[Any, Any]] = []
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            found += places(value[key])
    return found


@quickly
@given(data=st.data())
def test_a_manifest_is_read_or_is_a_bubble_invalid_error(
    bubble: Bubble, data: st.DataObject
) -> None:
    entry = copy.deepcopy(dict(bubble.entry))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(entry)))
        how = data.draw(st.sampled_from(["value", "key", "gone"]))
        if how == "gone":
            del holder[key]
        elif how == "key" and isinstance(holder, dict):
            holder[data.draw(texts)] = holder.pop(key)
        else:
            holder[key] = data.draw(values)
    (bubble.path / "manifest.json").write_text(json.dumps(entry))
    try:
        found = Bubble.open(bubble.path)
    except BubbleInvalidError:
        return
    for name in found.distributions:
        assert found.dist_info(name).parent == found.site_packages
    for path in found.native_files:
        assert (found.site_packages / path).resolve().is_relative_to(found.site_packages)
    for script in found.scripts_provided:
        assert (found.scripts / script).parent == found.scripts
    assert all(isinstance(one, str) for one in verify.problems(found))


@pytest.mark.parametrize("path", ["a" * 300, "\0", "../../etc/passwd", "/etc/passwd", "bin/../x"])
def test_a_file_that_a_manifest_names_is_looked_for_in_the_bubble_only(
    bubble: Bubble, path: str
) -> None:
    entry = {**bubble.entry, "files": {path: None}, "rewritten": {"leaf.py": 5}}
    (bubble.path / "manifest.json").write_text(json.dumps(entry))
    found = verify.problems(Bubble.open(bubble.path))
    assert f"{path} is missing" in found


@quickly
@given(st.one_of(st.binary(), texts.map(lambda text: text.encode("utf-8", "surrogatepass"))))
@example(b"[" * 100_000)
@example(b'{"schema": 1' + b"0" * 5000 + b"}")
@example(b"\xff\xfe{")
def test_bytes_that_are_no_manifest_are_a_bubble_invalid_error(
    bubble: Bubble, content: bytes
) -> None:
    (bubble.path / "manifest.json").write_bytes(content)
    with pytest.raises(BubbleInvalidError):
        Bubble.open(bubble.path)


def lock_text(bubble: Bubble) -> str:
    return bubble.lock.read_text()


@quickly
@given(data=st.data())
def test_a_lock_is_read_or_is_a_lock_error(bubble: Bubble, data: st.DataObject) -> None:
    text = lock_text(bubble)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(begin + 60, len(text))))
        text = text[:begin] + data.draw(texts) + text[end:]
    try:
        lock = pylock.read(text + "\n")
    except (LockError, RequirementError):
        return
    for one in lock.packages:
        assert "/" not in one.name + one.version + one.filename
    assert "/" not in lock.bubble_id


@quickly
@given(st.binary())
def test_bytes_that_are_no_lock_are_a_lock_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "pylock.toml"
    file.write_bytes(content)
    with pytest.raises(LockError):
        pylock.read(file)


@quickly
@given(
    st.one_of(
        st.binary(),
        st.lists(st.tuples(texts, texts), max_size=5).map(
            lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
        ),
    )
)
@example(b'"')
@example(b"leaf.py,sha256=,\n,,\n../../etc/passwd,,\n")
@example(b"leaf.py,shake_128=xxxx,\n")
@example(b"leaf.py,=,\n")
@example(b"a\0b,sha256=x,\n")
def test_a_record_is_compared_whatever_it_says(tmp_path: Path, content: bytes) -> None:
    info = tmp_path / "site" / "leaf-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (tmp_path / "site" / "leaf.py").write_text("")
    (info / "RECORD").write_bytes(content)
    try:
        lines = record.read(info)
    except ValueError:
        lines = []
    assert all(isinstance(one.path, str) for one in lines)
    record.import_names({"leaf": [one.path for one in lines]})
    found = verify.compare(tmp_path / "site", verify.expected(tmp_path / "site", [info.name]))
    assert all(str(one) for one in found)


@quickly
@given(texts)
@example("..")
@example("../../precious")
@example("\ud800")
@example("a" * 300)
def test_an_id_names_a_bubble_of_the_store_or_nothing(tmp_path: Path, text: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(exist_ok=True)
    store = Store(tmp_path / "x" / "store")
    store.tag_path.mkdir(parents=True, exist_ok=True)
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208
    assert store.get(text) is None
    with pytest.raises(BubbleNotFoundError):
        store.remove(text)
    with pytest.raises(BubbleNotFoundError):
        store.remove(text, force=True)
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208


@quickly
@given(texts, texts, st.lists(texts, min_size=1, max_size=4))
def test_the_id_of_a_bubble_is_a_plain_name_whatever_it_is_made_of(
    name: str, version: str, requested: list[str]
) -> None:
    clean = [one.encode("utf-8", "replace").decode() for one in (name, version, *requested)]
    locked = Locked(clean[0], clean[1], "x.whl", "/x.whl", "0" * 64)
    found = Lock((locked,), tuple(f"{clean[0]}=={one}" for one in clean[2:])).bubble_id
    assert Path(found).name == found
    assert not found.startswith(".")
    assert len(found) < 200
    assert (Path("/store") / interpreter_tag() / found).parent.name == interpreter_tag()


@quickly
@given(texts)
def test_a_path_in_an_archive_that_is_let_through_stays_inside(text: str) -> None:
    if archives.leads_out(text):
        return
    for separator in ("/", "\\"):
        assert os.path.normpath("/in/" + text.replace("\\", separator)).startswith("/in")


@quickly
@given(
    st.text(st.characters(exclude_characters="/'\"<>", exclude_categories=["Z", "C"]), min_size=1)
)
def test_a_password_in_an_address_never_survives(password: str) -> None:
    secret = f"S{password}S"
    for text in (f"https://user:{secret}@host/x", f"see 'ftp://{secret}@host' there"):
        assert secret not in redact(text)


@quickly
@given(texts)
@example("1e5d")
@example("9" * 400 + "GB")
def test_ages_and_sizes_are_read_or_are_wrong_usage(text: str) -> None:
    readers: tuple[Callable[[str], object], ...] = (_age, _size)
    for read in readers:
        with suppress(argparse.ArgumentTypeError):
            read(text)
