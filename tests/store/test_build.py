"""Building a bubble: what comes out, for both builders, and what bad input does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

import pytest

from omnipkg_meta.errors import BuildError, ConfigError, RequirementError, StoreError
from omnipkg_meta.store import build, builders
from omnipkg_meta.store.bubble import Bubble
from omnipkg_meta.store.lock import read_toml, redact
from omnipkg_meta.store.store import Store
from tests.wheels import names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Install, MakeBubble, Wheelhouse

has_uv = pytest.mark.skipif(builders.find_uv() is None, reason="needs uv")
has_pip = pytest.mark.skipif(not builders._has_pip(), reason="needs pip")
each_builder = pytest.mark.parametrize(
    "builder", [pytest.param("uv", marks=has_uv), pytest.param("pip", marks=has_pip)]
)


@each_builder
def test_a_bubble_holds_what_was_asked_and_all_it_depends_on(
    wheelhouse: Wheelhouse, install: Install, store: Store, builder: str
) -> None:
    wheelhouse.make("leaf", "2.0")
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make(
        "Top.Level",
        "1.0",
        {"top/__init__.py": "", "top/data.txt": "x", "top_script.py": "def main(): return 0\n"},
        requires=["leaf<2"],
        entry_points={"console_scripts": {"top": "top_script:main [extra]"}},
    )
    bubble = install("top-level==1.0", builder=builder)
    assert bubble.distributions == {"leaf": "1.0", "top-level": "1.0"}
    assert bubble.import_names == {
        "leaf": ("leaf",),
        "top": ("top-level",),
        "top_script": ("top-level",),
    }
    assert bubble.requested == ("top-level==1.0",)
    assert bubble.requires["top-level"] == ("leaf<2",)
    assert bubble.builder.startswith(f"{builder} ")
    assert bubble.scripts_provided == {"top": "top_script:main"}
    assert bubble.id.startswith("top-level-1.0-")
    assert bubble.path == store.path / store.tag / bubble.id
    assert store.verify(bubble) == []
    assert names(bubble.path) == [
        "bin",
        "manifest.json",
        "pylock.toml",
        "site-packages",
    ]
    assert names(store.tag_path) == [bubble.id]


@has_uv
@has_pip
def test_uv_and_pip_make_the_same_bubble(wheelhouse: Wheelhouse, tmp_path: Path) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("top", "1.0", requires=["leaf"])
    made = [
        build.install(
            ["top"], store=Store(tmp_path / tool), builder=tool, index_options=wheelhouse.options
        )
        for tool in ("uv", "pip")
    ]
    assert made[0].id == made[1].id
    assert made[0].lock.read_text() == made[1].lock.read_text()
    assert made[0].import_names == made[1].import_names


@each_builder
def test_the_lock_is_a_valid_pylock_with_the_digest_of_each_wheel(
    wheelhouse: Wheelhouse, install: Install, builder: str
) -> None:
    wheelhouse.make("leaf", "1.0")
    bubble = install("leaf", builder=builder)
    data = read_toml(bubble.lock.read_text("utf-8"))
    assert data["packages"][0]["wheels"][0]["hashes"]["sha256"] == bubble.digests["leaf"]
    assert data["tool"]["omnipkg-meta"]["requested"] == ["leaf"]
    pylock = pytest.importorskip("packaging.pylock")
    pylock.Pylock.from_dict(data)


@each_builder
def test_extras_bring_their_dependencies(
    wheelhouse: Wheelhouse, install: Install, builder: str
) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("top", "1.0", extras={"more": ["leaf"]})
    plain, more = install("top", builder=builder), install("top[more]", builder=builder)
    assert "leaf" not in plain.distributions
    assert more.distributions["leaf"] == "1.0"


def test_a_requirement_whose_marker_is_false_is_left_out(
    wheelhouse: Wheelhouse, install: Install
) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("old", "1.0")
    bubble = install("leaf", 'old; python_version < "3"')
    assert list(bubble.distributions) == ["leaf"]
    with pytest.raises(RequirementError, match="none of the requirements applies"):
        install('old; python_version < "3"')


def test_several_requirements_are_resolved_together(
    wheelhouse: Wheelhouse, install: Install
) -> None:
    for version in ("1.0", "2.0"):
        wheelhouse.make("leaf", version)
    wheelhouse.make("a", "1.0", requires=["leaf"])
    bubble = install("a", "leaf<2")
    assert bubble.distributions == {"a": "1.0", "leaf": "1.0"}
    assert bubble.id.startswith("a-1.0+leaf-1.0-")


@each_builder
def test_a_local_wheel_is_installed_by_its_path(
    wheelhouse: Wheelhouse, store: Store, tmp_path: Path, builder: str
) -> None:
    from tests.wheels import make_wheel

    wheelhouse.make("leaf", "1.0")
    wheel = make_wheel(tmp_path / "my wheels", "mine", "1.0+local", requires=["leaf"])
    options = wheelhouse.options
    bubble = build.install([str(wheel)], store=store, builder=builder, index_options=options)
    assert bubble.distributions == {"leaf": "1.0", "mine": "1.0+local"}
    assert store.verify(bubble) == []
    assert store.find([str(wheel)]) == bubble
    assert build.install([f"mine @ {wheel.as_uri()}"], store=store, index_options=options) == bubble
    # Another wheel of the same name is another bubble.
    make_wheel(tmp_path / "my wheels", "mine", "1.0+local", {"mine.py": "changed = 1\n"})
    assert store.find([str(wheel)]) is None
    other = build.install([str(wheel)], store=store, builder=builder, index_options=options)
    assert other != bubble


def test_the_same_requirements_are_not_resolved_again(
    wheelhouse: Wheelhouse, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("leaf", "1.0")
    bubble = install("Leaf >= 1")

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(builders, "choose", never)
    assert install("leaf>=1") == bubble


def test_the_same_lock_gives_the_same_bubble(wheelhouse: Wheelhouse, install: Install) -> None:
    wheelhouse.make("leaf", "1.0")
    assert install("leaf>=1") == install("leaf==1.0")


def test_reinstalling_makes_the_bubble_afresh(
    wheelhouse: Wheelhouse, install: Install, store: Store
) -> None:
    wheelhouse.make("leaf", "1.0")
    before = install("leaf")
    (before.site_packages / "leaf.py").write_text("broken\n")
    after = install("leaf", reinstall=True)
    assert after == before
    assert after.created > before.created
    assert store.verify(after) == []


def test_a_half_deleted_bubble_is_made_anew(
    wheelhouse: Wheelhouse, install: Install, store: Store
) -> None:
    import shutil

    wheelhouse.make("leaf", "1.0")
    shutil.rmtree(install("leaf").site_packages / "leaf-1.0.dist-info")
    assert store.bubbles() == []
    assert len(store.broken()) == 1
    assert store.verify(install("leaf")) == []
    assert store.broken() == []


def test_native_files_own_their_inode_and_sources_need_not(
    wheelhouse: Wheelhouse, install: Install
) -> None:
    wheelhouse.make(
        "ext",
        "1.0",
        {
            "ext/__init__.py": "",
            "ext/fast.cpython-311-x86_64-linux-gnu.so": b"\x7fELF not really",
            "ext.libs/libz.so.1.2": b"\x7fELF nor this",
            "ext/tool": b"\x7fELF a program",
        },
    )
    bubble = install("ext")
    native = {"ext/fast.cpython-311-x86_64-linux-gnu.so", "ext.libs/libz.so.1.2", "ext/tool"}
    assert set(bubble.native_files) == native
    for path in bubble.native_files:
        assert (bubble.site_packages / path).stat().st_nlink == 1
    assert bubble.import_names == {"ext": ("ext",)}


def test_many_sources_are_all_compiled_and_those_that_cannot_be_are_left_alone(
    make_bubble: MakeBubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIPKG_META_COMPILE_BYTECODE", "1")
    body = "x = 1\n" * 2000  # so that there is more than one process, and more than one turn
    files: dict[str, str | bytes] = {f"leaf/{'m' * (n % 90)}{n}.py": body for n in range(120)}
    awkward: dict[str, str | bytes] = {
        "leaf/broken.py": "def (:\n",
        "leaf/null.py": b"x = '\0'\n",
        "leaf/deep.py": "(" * 5000,
        "leaf/escape.py": "x = '\\d'\n",
    }
    bubble = make_bubble({"leaf==1.0": {"leaf/__init__.py": "", **files, **awkward}})
    compiled = {path.name.partition(".")[0] for path in bubble.site_packages.rglob("*.pyc")}
    wanted = {path.rpartition("/")[2].removesuffix(".py") for path in files}
    assert wanted | {"__init__", "escape"} <= compiled
    assert compiled.isdisjoint({"broken", "null", "deep"})


def test_processes_that_compile_end_with_the_build_that_fails_meanwhile(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheelhouse.make("leaf", "1.0", {f"leaf/m{n}.py": "x = 1\n" * 20_000 for n in range(40)})
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: Any, **options: Any) -> None:
            super().__init__(command, **options)
            if "worker.py" in str(command):
                started.append(self)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("subprocess.Popen", Noted)
    monkeypatch.setattr("omnipkg_meta.store.launchers.write", full)
    options = wheelhouse.options
    with pytest.raises(StoreError, match="no room"):
        build.install(["leaf"], store=store, index_options=options, compile_bytecode=True)
    assert started
    assert all(process.returncode is not None for process in started)
    assert names(store.tag_path) == []


def test_byte_code_names_the_final_place_also_when_writing_it_is_turned_off(
    make_bubble: MakeBubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("OMNIPKG_META_COMPILE_BYTECODE", "1")
    few = make_bubble({"few==1.0": {"few.py": "def f(): pass\n", "bad.py": "def\n"}})
    many = make_bubble({"many==1.0": {f"many/m{n}.py": "def f(): pass\n" for n in range(60)}})
    for bubble, source in ((few, "few.py"), (many, "many/m7.py")):
        path = bubble.site_packages / source
        loader = SourceFileLoader("x", str(path))
        cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        before = cached.stat().st_mtime_ns
        code = loader.get_code("x")
        assert code is not None
        assert code.co_filename == str(path)
        assert cached.stat().st_mtime_ns == before, "the byte code was taken for stale"


def test_launchers_activate_the_bubble_that_they_stand_in(
    wheelhouse: Wheelhouse, install: Install
) -> None:
    wheelhouse.make("tool", "1.0", entry_points={"console_scripts": {"tool": "tool:main"}})
    bubble = install("tool")
    script = bubble.scripts / "tool"
    assert script.read_text().startswith(f"#!{sys.executable}\n")
    assert "'tool:main'" in script.read_text()
    assert script.stat().st_mode & stat.S_IXUSR


def test_a_bubble_without_scripts_has_no_bin(make_bubble: MakeBubble) -> None:
    assert not make_bubble({"leaf==1.0": None}).scripts.exists()


def test_the_store_is_private_to_the_user(make_bubble: MakeBubble, store: Store) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    for path in (store.path, store.tag_path, bubble.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_progress_is_told_in_order(wheelhouse: Wheelhouse, store: Store) -> None:
    wheelhouse.make("leaf", "1.0")
    told: list[str] = []
    options = wheelhouse.options
    build.install(["leaf"], store=store, index_options=options, progress=told.append)
    assert [text.split()[0] for text in told] == ["resolving", "installing"]
    del told[:]
    build.install(
        ["leaf"],
        store=store,
        index_options=options,
        reinstall=True,
        compile_bytecode=True,
        progress=told.append,
    )
    assert [text.split()[0] for text in told] == ["resolving", "installing", "compiling"]


@each_builder
def test_a_version_that_is_not_there_says_so(
    wheelhouse: Wheelhouse, install: Install, store: Store, builder: str
) -> None:
    wheelhouse.make("leaf", "1.0")
    with pytest.raises(BuildError) as caught:
        install("leaf==9", builder=builder)
    assert "leaf==9" in caught.value.message
    assert "leaf" in (caught.value.cause or "")
    assert caught.value.tip
    assert "Traceback" not in str(caught.value)
    assert names(store.tag_path) == []


@each_builder
def test_requirements_that_contradict_each_other_say_so(
    wheelhouse: Wheelhouse, install: Install, builder: str
) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("leaf", "2.0")
    wheelhouse.make("top", "1.0", requires=["leaf>=2"])
    with pytest.raises(BuildError, match=r"top.* depends? on leaf>=2"):
        install("top==1.0", "leaf<2", builder=builder)


@each_builder
def test_no_index_in_reach_is_the_cause_that_is_given(
    store: Store, monkeypatch: pytest.MonkeyPatch, builder: str
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "1")
    options = ["--index-url", "http://user:secret@127.0.0.1:9/simple"]
    with pytest.raises(BuildError, match="the package index is not in reach") as caught:
        build.install(["leaf"], store=store, builder=builder, index_options=options)
    assert "secret" not in str(caught.value) + caught.value.output
    assert store.bubbles() == []


@each_builder
def test_source_distributions_are_not_built_unless_allowed(
    wheelhouse: Wheelhouse, store: Store, tmp_path: Path, builder: str
) -> None:
    ran = tmp_path / "ran"
    project = tmp_path / "evil-1.0"
    project.mkdir()
    (project / "setup.py").write_text(
        f"open({str(ran)!r}, 'w')\nimport setuptools\nsetuptools.setup()\n"
    )
    (project / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    subprocess.run(
        ["tar", "-czf", str(wheelhouse.path / "evil-1.0.tar.gz"), "-C", str(tmp_path), "evil-1.0"],
        check=True,
    )
    with pytest.raises(BuildError) as caught:
        build.install(["evil"], store=store, builder=builder, index_options=wheelhouse.options)
    assert not ran.exists()
    if builder == "uv":  # pip does not say that there is one
        assert "--allow-build" in (caught.value.tip or "")


def test_a_file_in_place_of_the_store_is_an_unwritable_store(
    wheelhouse: Wheelhouse, tmp_path: Path
) -> None:
    wheelhouse.make("leaf", "1.0")
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(StoreError) as caught:
        build.install(["leaf"], store=Store(place), index_options=wheelhouse.options)
    assert caught.value.errno
    assert "OMNIPKG_META_STORE" in (caught.value.tip or "")
    assert place.read_text() == ""


FULL = """
import resource, sys, json
from omnipkg_meta.errors import StoreError
from omnipkg_meta.store.build import install
from omnipkg_meta.store.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    store, options = Store(sys.argv[1]), json.loads(sys.argv[3])
    install(["big"], store=store, builder=sys.argv[2], index_options=options)
except StoreError as error:
    print(error.errno, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@each_builder
def test_a_full_store_is_a_store_error_and_leaves_nothing(
    wheelhouse: Wheelhouse, store: Store, builder: str
) -> None:
    import errno

    wheelhouse.make("big", "1.0", {"big.py": f"x = '{'x' * 500_000}'\n"})
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(store.path), builder, json.dumps(wheelhouse.options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"{errno.EFBIG} the store has no room")
    assert [name for name in names(store.tag_path) if not name.startswith(".")] == []


class PrivateIndex(BaseHTTPRequestHandler):
    """A package index that wants a name and a password for everything."""

    directory: Path

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic " + b64encode(b"user:s3cret").decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
            return
        name = self.path.rstrip("/").rpartition("/")[2]
        self.send_response(200)
        if name.endswith(".whl"):
            body, kind = (self.directory / name).read_bytes(), "application/octet-stream"
        else:
            links = ""
            for wheel in self.directory.glob(f"{name}-*.whl"):
                digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
                links += f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
            body, kind = f"<!DOCTYPE html><html><body>{links}".encode(), "text/html"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 (the same)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def private_index(wheelhouse: Wheelhouse) -> Iterator[str]:
    handler = type("Handler", (PrivateIndex,), {"directory": wheelhouse.path})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


@each_builder
def test_the_password_of_an_index_works_and_is_written_nowhere(
    wheelhouse: Wheelhouse, store: Store, private_index: str, builder: str
) -> None:
    wheelhouse.make("leaf", "1.0")
    options = ["--index-url", f"http://user:s3cret@{private_index}"]
    bubble = build.install(["leaf"], store=store, builder=builder, index_options=options)
    assert bubble.distributions == {"leaf": "1.0"}
    written = [path for path in store.path.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert b"s3cret" not in path.read_bytes(), path
    wrong = ["--index-url", f"http://user:wr0ng@{private_index}"]
    with pytest.raises(BuildError) as caught:
        build.install(["leaf<1"], store=store, builder=builder, index_options=wrong)
    assert "wr0ng" not in str(caught.value) + caught.value.output


def test_index_options_that_do_not_exist_are_refused(store: Store) -> None:
    for options in (
        ["--target", "/"],
        ["--index-url"],
        ["--index-url", "--pre"],
        ["-r", "x"],
        ["--pre=1"],
    ):
        with pytest.raises(ConfigError, match="index option"):
            build.install(["leaf"], store=store, index_options=options)
    with pytest.raises(ValueError, match="builder must be one of"):
        build.install(["leaf"], store=store, builder="conda")


def test_prereleases_need_the_option(wheelhouse: Wheelhouse, store: Store) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("leaf", "2.0rc1")
    plain = build.install(["leaf"], store=store, index_options=wheelhouse.options)
    assert plain.distributions["leaf"] == "1.0"
    pre = build.install(
        ["leaf"], store=store, index_options=[*wheelhouse.options, "--pre"], reinstall=True
    )
    assert pre.distributions["leaf"] == "2.0rc1"


def test_a_project_around_does_not_change_the_bubble(
    wheelhouse: Wheelhouse, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        wheelhouse.make("leaf", version)
    monkeypatch.delenv("UV_NO_CONFIG")
    project = tmp_path / "project"
    project.mkdir()
    (project / "uv.toml").write_text(
        'constraint-dependencies = ["leaf<2"]\nresolution = "lowest"\n'
    )
    (project / "pip.py").write_text("raise SystemExit('this is not pip')\n")
    monkeypatch.chdir(project)
    for builder in ("uv", "pip"):
        if builder == "uv" or builders._has_pip():
            bubble = install("leaf", builder=builder, reinstall=True)
            assert bubble.distributions["leaf"] == "2.0"


def test_neither_uv_nor_pip_is_said_with_a_tip(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builders, "find_uv", lambda: None)
    monkeypatch.setattr(builders, "_has_pip", lambda: False)
    for builder in ("auto", "uv", "pip"):
        with pytest.raises(BuildError) as caught:
            build.install(["leaf"], store=store, builder=builder)
        assert caught.value.tip


def test_user_names_and_passwords_are_taken_out_of_addresses() -> None:
    text = "at https://user:pa@ss@host/simple and https://token@host/x, not a@b"
    assert redact(text) == "at https://***@host/simple and https://***@host/x, not a@b"


def test_the_manifest_says_when_and_by_what_the_bubble_was_made(make_bubble: MakeBubble) -> None:
    entry = json.loads((make_bubble({"leaf==1.0": None}).path / "manifest.json").read_text())
    assert entry["schema"] == 1
    assert entry["library"].startswith("omnipkg-meta ")
    assert entry["created"].endswith("+00:00")
    assert entry["distributions"]["leaf"]["archive"] == "leaf-1.0-py3-none-any.whl"


def test_an_installed_bubble_is_the_one_that_opens(make_bubble: MakeBubble) -> None:
    bubble = make_bubble({"leaf==1.0": None})
    assert Bubble.open(bubble.path) == bubble


@has_uv
def test_a_cache_that_somebody_edited_does_not_reach_the_bubble(
    wheelhouse: Wheelhouse, install: Install, store: Store
) -> None:
    wheelhouse.make("leaf", "1.0")
    first = install("leaf", builder="uv")
    source = first.site_packages / "leaf.py"
    if source.stat().st_nlink == 1:
        pytest.skip("nothing is linked here")
    source.write_text("edited in place, and so in the cache\n")
    again = install("leaf", builder="uv", reinstall=True)
    assert store.verify(again) == []
    assert "edited" not in (again.site_packages / "leaf.py").read_text()


@each_builder
def test_a_wheel_with_a_faulty_record_is_installed_and_its_faults_written_down(
    wheelhouse: Wheelhouse, install: Install, store: Store, builder: str
) -> None:
    import zipfile

    wheel = wheelhouse.make("leaf", "1.0", {"leaf.py": "x = 1\n", "extra.py": ""})
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["leaf.py"] = b"x = 2\n"
    contents["unrecorded.py"] = b""
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    bubble = install("leaf", builder=builder)
    assert "leaf.py" in bubble.entry["rewritten"]
    assert store.verify(bubble) == []
    (bubble.site_packages / "leaf.py").unlink()
    (bubble.site_packages / "leaf.py").write_text("x = 3\n")
    assert store.verify(bubble) == ["leaf.py was changed"]
