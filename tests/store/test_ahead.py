"""A bubble that is built while the index is still asked: when it counts, and when it does not."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.errors import BuildError
from omnipkg_meta.store import build, builders
from omnipkg_meta.store.index import IndexOptions
from omnipkg_meta.store.staging import alone
from omnipkg_meta.store.tasks import Task
from tests.wheels import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store
    from tests.conftest import Wheelhouse

pytestmark = pytest.mark.skipif(builders.find_uv() is None, reason="needs uv")


class Index:
    """A package index on this machine that answers when it is allowed to.

    Attributes:
        address: where it is.
        open: set while it answers.
        broken: whether it answers with an error.
        asked: what it was asked for since somebody looked.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = ""
        self.open = threading.Event()
        self.open.set()
        self.broken = False
        self.asked: list[str] = []

    def body(self, path: str) -> bytes | None:
        """Return what is found under an address."""
        name = path.rstrip("/").rpartition("/")[2]
        self.asked.append(name)
        if not self.open.wait(60):
            raise AssertionError("nobody opened the index")
        if self.broken:
            return None
        if name.endswith(".whl"):
            return (self.directory / name).read_bytes()
        links = ""
        for wheel in sorted(self.directory.glob(f"{name}-*.whl")):
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            links += f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
        return f"<!DOCTYPE html><html><body>{links}".encode()


@pytest.fixture
def index(wheelhouse: Wheelhouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    index = Index(wheelhouse.path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = index.body(self.path)
            self.send_response(500 if body is None else 200)
            kind = "application/octet-stream" if self.path.endswith(".whl") else "text/html"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815 (the same)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        index.address = f"http://127.0.0.1:{server.server_port}/simple"
        yield index
        index.open.set()
        server.shutdown()
        thread.join()


def options(index: Index) -> list[str]:
    return ["--index-url", index.address]


def install(store: Store, index: Index, text: str = "leaf") -> tuple[Bubble, list[str], bool]:
    """Install while the index waits until an installation begins.

    Returns:
        The bubble, what was told, and whether it was begun before the index answered.
    """
    told: list[str] = []
    ahead: list[bool] = []
    del index.asked[:]
    index.open.clear()

    def tell(what: str) -> None:
        told.append(what.split(maxsplit=1)[0])
        if told[-1] == "installing":
            ahead.append(not index.open.is_set())
            index.open.set()

    # Where nothing is built ahead the index would wait for ever.
    opener = threading.Timer(5, index.open.set)
    opener.start()
    try:
        bubble = build.install(
            [text],
            store=store,
            builder="uv",
            index_options=options(index),
            reinstall=True,
            progress=tell,
        )
    finally:
        opener.cancel()
        index.open.set()
    return bubble, told, ahead[0]


def test_a_bubble_is_built_while_the_index_is_asked_and_counts_if_that_says_the_same(
    wheelhouse: Wheelhouse, store: Store, index: Index
) -> None:
    wheelhouse.make("leaf", "1.0")
    first = build.install(["leaf"], store=store, builder="uv", index_options=options(index))
    bubble, told, ahead = install(store, index)
    assert ahead
    assert told == ["resolving", "installing"]
    assert "leaf" in index.asked  # it was
    assert (bubble, bubble.digests) == (first, first.digests)
    assert bubble.created > first.created
    assert store.verify(bubble) == []
    assert names(store.tag_path) == [bubble.id]


def test_what_was_built_ahead_is_thrown_away_if_the_index_says_something_else(
    wheelhouse: Wheelhouse, store: Store, index: Index
) -> None:
    wheelhouse.make("leaf", "1.0")
    first = build.install(["leaf"], store=store, builder="uv", index_options=options(index))
    wheelhouse.make("leaf", "2.0")
    bubble, told, ahead = install(store, index)
    assert ahead
    assert told == ["resolving", "installing", "installing"]
    assert bubble.distributions == {"leaf": "2.0"}
    assert store.verify(bubble) == []
    assert names(store.tag_path) == sorted([first.id, bubble.id])


def test_an_archive_that_was_replaced_under_its_name_is_not_taken_from_the_cache(
    wheelhouse: Wheelhouse, store: Store, index: Index
) -> None:
    wheelhouse.make("leaf", "1.0", {"leaf.py": "x = 1\n"})
    first = build.install(["leaf"], store=store, builder="uv", index_options=options(index))
    wheelhouse.make("leaf", "1.0", {"leaf.py": "x = 2\n"})
    bubble, _, _ = install(store, index)
    assert bubble.digests != first.digests
    assert (bubble.site_packages / "leaf.py").read_text() == "x = 2\n"
    assert store.verify(bubble) == []


def test_an_index_that_fails_makes_the_installation_fail_whatever_was_built_ahead(
    wheelhouse: Wheelhouse, store: Store, index: Index
) -> None:
    wheelhouse.make("leaf", "1.0")
    first = build.install(["leaf"], store=store, builder="uv", index_options=options(index))
    index.broken = True
    with pytest.raises(BuildError):
        install(store, index)
    assert names(store.tag_path) == [first.id]
    assert store.verify(first) == []


def test_where_the_cache_knows_the_answer_and_has_no_archive_it_is_fetched_as_ever(
    wheelhouse: Wheelhouse, store: Store, index: Index, tmp_path: Path
) -> None:
    from omnipkg_meta import requirements

    wheelhouse.make("leaf", "1.0")
    read = IndexOptions.read(options(index))
    task = Task(requirements.parse(["leaf"]), read, allow_build=False, directory=tmp_path)
    with builders.resolving("uv", task) as (_, resolution, _):
        lock = resolution.result()
        assert resolution.result() == lock
        assert not resolution.is_going_on()
    bubble, _, _ = install(store, index)
    assert bubble.id == lock.bubble_id
    assert store.verify(bubble) == []


def test_nothing_is_built_ahead_while_somebody_else_builds_the_same(
    wheelhouse: Wheelhouse, store: Store, index: Index
) -> None:
    wheelhouse.make("leaf", "1.0")
    first = build.install(["leaf"], store=store, builder="uv", index_options=options(index))
    with alone(store.tag_path, first.id) as mine:
        assert mine
        with alone(store.tag_path, first.id, patient=False) as ours:
            assert not ours
        with alone(store.tag_path, first.id, patient=False) as ours:
            assert not ours  # the other has taken nothing away
    with alone(store.tag_path, first.id, patient=False) as ours:
        assert ours
    assert names(store.tag_path) == [first.id]
