"""Building from a lock: the same bubble again, archive by archive, and all that is refused."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import omnipkg_meta as om
from omnipkg_meta import config
from omnipkg_meta.errors import BubbleInvalidError, BuildError, LockError, RequirementError
from omnipkg_meta.store import build, builders, filling, pylock
from omnipkg_meta.store.lock import export
from omnipkg_meta.store.store import Store
from tests.wheels import make_wheel, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnipkg_meta.store.bubble import Bubble
    from tests.conftest import Install, Wheelhouse

has_uv = pytest.mark.skipif(builders.find_uv() is None, reason="needs uv")
has_pip = pytest.mark.skipif(not builders._has_pip(), reason="needs pip")
each_builder = pytest.mark.parametrize(
    "builder", [pytest.param("uv", marks=has_uv), pytest.param("pip", marks=has_pip)]
)
OFFLINE = ["--no-index"]


@pytest.fixture
def bubble(wheelhouse: Wheelhouse, install: Install) -> Bubble:
    """A bubble of two wheels, of which one was a dependency."""
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("top", "1.0", requires=["leaf"])
    return install("top>=1")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Store:
    """Another store, which is empty."""
    return Store(tmp_path / "elsewhere")


def files(bubble: Bubble) -> set[str]:
    found = {str(path.relative_to(bubble.path)) for path in bubble.path.rglob("*")}
    return {one for one in found if not one.endswith("uv_cache.json")}


@each_builder
def test_the_same_bubble_is_built_from_its_lock_whatever_the_index_has_by_then(
    wheelhouse: Wheelhouse, bubble: Bubble, elsewhere: Store, builder: str
) -> None:
    wheelhouse.make("leaf", "2.0")
    wheelhouse.make("top", "1.1")
    again = om.install(
        lock=bubble.lock, store=elsewhere, builder=builder, index_options=wheelhouse.options
    )
    assert again.path == elsewhere.tag_path / bubble.id
    assert again.distributions == {"leaf": "1.0", "top": "1.0"}
    assert again.digests == bubble.digests
    assert again.requested == ("top>=1",)
    assert again.lock.read_text() == bubble.lock.read_text()
    assert files(again) == files(bubble)
    assert again.builder.split()[0] == builder
    assert again.builder.split()[1][0].isdigit()
    assert elsewhere.verify(again) == []
    assert names(elsewhere.tag_path) == [bubble.id]


def test_a_lock_is_a_path_or_a_text_and_what_is_there_is_not_built_again(
    bubble: Bubble, elsewhere: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = export(bubble)
    made = om.install(lock=text, store=elsewhere, index_options=OFFLINE)

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(builders, "choose", never)
    for lock in (text, bubble.lock, str(bubble.lock), os.path.relpath(bubble.lock)):
        assert om.install(lock=lock, store=elsewhere) == made


@each_builder
def test_a_wheel_of_this_machine_is_locked_by_its_path_and_built_again(
    store: Store, elsewhere: Store, tmp_path: Path, builder: str
) -> None:
    wheel = make_wheel(tmp_path / "my wheels", "mine", "1.0+local")
    bubble = build.install([str(wheel)], store=store, builder=builder, index_options=OFFLINE)
    again = build.install(lock=bubble.lock, store=elsewhere, builder=builder, index_options=OFFLINE)
    assert (again.id, again.digests) == (bubble.id, bubble.digests)
    assert elsewhere.find([str(wheel)]) == again
    elsewhere.remove(again)
    lock = export(bubble)
    make_wheel(tmp_path / "my wheels", "mine", "1.0+local", {"mine.py": "changed = 1\n"})
    with pytest.raises(LockError, match="has the SHA-256 digest"):
        build.install(lock=lock, store=elsewhere, builder=builder)
    wheel.unlink()
    with pytest.raises(LockError, match=r"mine: .*cannot be read: No such file"):
        build.install(lock=lock, store=elsewhere, builder=builder)
    if hasattr(os, "mkfifo"):
        os.mkfifo(wheel)  # which nobody will ever write to
        with pytest.raises(LockError, match="is not a file"):
            build.install(lock=lock, store=elsewhere, builder=builder)
    assert elsewhere.bubbles() == []


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(wheelhouse: Wheelhouse) -> Iterator[str]:
    """The address of the wheelhouse on a server of this machine."""

    def handler(*arguments: Any) -> _Handler:
        return _Handler(*arguments, directory=str(wheelhouse.path))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def of_the_web(bubble: Bubble, web: str, wheelhouse: Wheelhouse) -> str:
    """Return the lock of a bubble with addresses of a server, a name and a password in them."""
    return export(bubble).replace(wheelhouse.path.as_uri(), f"http://user:s3cret@{web}")


@each_builder
def test_archives_are_fetched_from_the_addresses_of_the_lock_and_no_password_is_written(
    wheelhouse: Wheelhouse, bubble: Bubble, elsewhere: Store, web: str, builder: str
) -> None:
    lock = of_the_web(bubble, web, wheelhouse)
    again = build.install(lock=lock, store=elsewhere, builder=builder, index_options=OFFLINE)
    assert (again.id, again.digests) == (bubble.id, bubble.digests)
    assert f"http://{web}/leaf-1.0-py3-none-any.whl" in again.lock.read_text()
    for path in elsewhere.path.rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path


@each_builder
def test_an_archive_that_changed_since_is_not_installed(
    wheelhouse: Wheelhouse, bubble: Bubble, elsewhere: Store, web: str, builder: str
) -> None:
    lock = of_the_web(bubble, web, wheelhouse)
    wheelhouse.make("leaf", "1.0", {"leaf.py": "changed = 1\n"})
    with pytest.raises(
        BuildError, match=r"of leaf.* has another hash than the one that was locked"
    ):
        build.install(lock=lock, store=elsewhere, builder=builder, index_options=OFFLINE)
    assert names(elsewhere.tag_path) == []


@each_builder
def test_a_wheel_with_another_distribution_inside_is_refused(
    wheelhouse: Wheelhouse, elsewhere: Store, builder: str
) -> None:
    wheel = wheelhouse.make("other", "1.0")
    posing = wheel.rename(wheel.with_name("leaf-1.0-py3-none-any.whl"))
    with pytest.raises(BuildError):
        build.install(
            lock=lock_of(posing, "leaf", "1.0"),
            store=elsewhere,
            builder=builder,
            index_options=OFFLINE,
        )
    assert names(elsewhere.tag_path) == []


def lock_of(archive: Path, name: str, version: str, kind: str = "[[packages.wheels]]") -> str:
    """Return the lock that another tool would have made of one archive."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return (
        f'lock-version = "1.0"\ncreated-by = "another"\n[[packages]]\nname = "{name}"\n'
        f'version = "{version}"\n{kind}\nurl = "{archive.as_uri()}"\n'
        f'hashes = {{ sha256 = "{digest}" }}\n'
    )


BACKEND = """
import zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "built-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as archive:
        info = "built-1.0.dist-info/"
        archive.writestr("built.py", "")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        record = "".join(f"{one},,\\n" for one in [*archive.namelist(), info + "RECORD"])
        archive.writestr(info + "RECORD", record)
    return name
"""


@each_builder
def test_a_source_distribution_is_built_from_a_lock_only_where_that_is_allowed(
    wheelhouse: Wheelhouse, elsewhere: Store, tmp_path: Path, builder: str
) -> None:
    project = tmp_path / "built-1.0"
    project.mkdir()
    (project / "backend.py").write_text(BACKEND)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "built"\nversion = "1.0"\n'
    )
    (project / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
    archive = wheelhouse.path / "built-1.0.tar.gz"
    subprocess.run(["tar", "-czf", str(archive), "-C", str(tmp_path), "built-1.0"], check=True)
    lock = lock_of(archive, "built", "1.0", "[packages.sdist]")
    with pytest.raises(LockError, match="its source distribution runs code") as caught:
        build.install(lock=lock, store=elsewhere, builder=builder, index_options=OFFLINE)
    assert "--allow-build" in (caught.value.tip or "")
    bubble = build.install(
        lock=lock, store=elsewhere, builder=builder, index_options=OFFLINE, allow_build=True
    )
    assert bubble.digests["built"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert "[packages.sdist]" in bubble.lock.read_text()
    # Its own lock is as careful.
    with pytest.raises(LockError, match="its source distribution runs code"):
        build.install(lock=bubble.lock, store=elsewhere)


def test_what_the_bubble_is_for_can_be_said_and_has_to_fit(
    bubble: Bubble, elsewhere: Store
) -> None:
    lock = export(bubble)
    leaf = om.install("leaf<2", lock=lock, store=elsewhere, index_options=OFFLINE)
    assert leaf.requested == ("leaf<2",)
    assert set(leaf.distributions) == {"leaf", "top"}
    for requirement in ("leaf>=2", "other"):
        with pytest.raises(LockError, match=f"{requirement} is asked for, and it holds"):
            om.install(requirement, lock=lock, store=elsewhere)
    with pytest.raises(RequirementError):
        om.install("leaf=1", lock=lock, store=elsewhere)


def test_a_lock_of_another_tool_is_read_for_this_interpreter(wheelhouse: Wheelhouse) -> None:
    pytest.importorskip("packaging", "25.0")
    best = f"py3{sys.version_info[1]}-none-any"
    for tag in ("py3-none-any", best, "py39-none-win32"):
        wheelhouse.make("leaf", "1.0", tag=tag)
    wheels = "".join(
        f'[[packages.wheels]]\nname = "{path.name}"\nurl = "{path.as_uri()}"\n'
        f'hashes = {{ sha512 = "0", sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}" }}\n'
        for path in sorted(wheelhouse.path.iterdir())
    )
    left_out = "".join(
        f'[[packages]]\nname = "left-out"\nversion = "1"\nmarker = "{marker}"\n'
        for marker in ("python_version < '3'", "'more' in extras", "'dev' in dependency_groups")
    )
    text = (
        'lock-version = "1.0"\nrequires-python = ">=3.8"\ncreated-by = "another"\n'
        "environments = [\"sys_platform == 'nowhere'\", \"python_version >= '3'\"]\n"
        'extras = ["more"]\ndependency-groups = ["dev", "default"]\ndefault-groups = ["default"]\n'
        '[[packages]]\nname = "Leaf"\nversion = "1.0"\n'
        f"marker = \"'default' in dependency_groups\"\n{wheels}{left_out}"
    )
    lock = pylock.read(text)
    assert [one.filename for one in lock.packages] == [f"leaf-1.0-{best}.whl"]
    assert lock.requested == ("leaf==1.0",)


@pytest.mark.parametrize(
    ("pattern", "replacement", "cause"),
    [
        (r'lock-version = "1.0"', 'lock-version = "2.0"', "lock-version is '2.0'"),
        (r'lock-version = "1.0"', "", "lock-version is None"),
        (r'requires-python = "[^"]*"', 'requires-python = "<3"', "it is for Python <3"),
        (r'requires-python = "[^"]*"', "requires-python = 3", "requires-python is 3"),
        (r'tag = "[^"]*"', 'tag = "cp27-atari"', "it was made for cp27-atari, and this is"),
        (r"\[\[packages]]", "environments = [\"python_version < '3'\"]\n\\g<0>", "environments"),
        (r'name = "leaf"', 'name = "../leaf"', "has the name '../leaf'"),
        (r'name = "leaf"', 'name = "leaf\\\\nevil"', "has the name"),
        (r'name = "leaf"', 'name = "evil"', "is not evil 1.0"),
        (r'name = "top"', 'name = "leaf"', "is not leaf 1.0"),
        (r'version = "1.0"\n\n', 'version = "2.0"\n\n', "is not leaf 2.0"),
        (r'version = "1.0"\n\n', 'version = "1.0 --pre"\n\n', "its version is"),
        (r'version = "1.0"\n\n', "\n", "its version is None"),
        (r'name = "leaf-1', 'name = "../leaf-1', "has the name '../leaf-1"),
        (r'name = "leaf-1', 'name = "leaf-2', "is to come from another file"),
        (
            r"(?s)leaf-1.0-py3(.*?leaf-1.0)-py3",
            "leaf-1.0-cp27\\1-cp27",
            "none of its wheels suits this interpreter",
        ),
        (r'url = "file://[^"]*"', 'path = "../leaf-1.0-py3-none-any.whl"', "a text is nowhere"),
        (r'url = "file://[^"]*"', 'path = "/nowhere/leaf-1.0-py3-none-any.whl"', "cannot be read"),
        (r'url = "file:///', 'url = "file://host/', "a file on another machine"),
        (r'url = "file://', 'url = "git+https://a', "its address is"),
        (r'url = "file://', 'url = "ftp://a', "its address is"),
        (r'url = "file://', 'url = "https:', "its address is"),
        (r'url = "file://', 'url = "https://user:s3cret@a b', "its address is"),
        (r'url = "file://', 'url = "https://[s3cret:s3cret@a', "its address"),
        (r'url = "file://', 'url = "https://a\\\\n', "its address is"),
        (r'url = "file://', 'path = "/x.whl"\n\\g<0>', "not exactly one address"),
        (r'url = "file://[^"]*"', "", "not exactly one address"),
        (r'sha256 = "', 'sha256 = "0', "no SHA-256 digest"),
        (r"sha256 = ", "md5 = ", "no SHA-256 digest"),
        (r"hashes = .*", "hashes = 1", "no SHA-256 digest"),
        (r'sha256 = "[0-9a-f]*"', f'sha256 = "{"0" * 64}"', "has the SHA-256 digest"),
        (r"\[\[packages.wheels]]", "[packages.directory]", "a directory, and a bubble is made"),
        (r"\[\[packages.wheels]]", "[packages.vcs]", "a vcs, and a bubble is made"),
        (r"\[\[packages.wheels]]", "[packages.other]", "neither a wheel nor a source"),
        (r"\[\[packages.wheels]]", "[packages.wheels]", "its wheels are not a list"),
        (r'name = "leaf"', '\\g<0>\nmarker = "nonsense"', "a marker cannot be read"),
        (r'name = "leaf"', "\\g<0>\nmarker = 1", "a marker cannot be read"),
        (r'name = "leaf"\n', "\\g<0>marker = \"python_version < '3'\"\n", None),
        (r'"top>=1"', '"top>=2"', "top>=2 is asked for, and it holds top 1.0"),
        (r'"top>=1"', '"x @ file:///nowhere/x-1-py3-none-any.whl"', "what cannot be"),
        (r'"top>=1"', "1", "what cannot be"),
        (r'"top>=1",', "", r"made for \[]"),
        (r"(?s)\[\[packages.*", "", "it names no packages"),
        (r"(?s)\[\[packages.*", "packages = [1]\n", "a package of it is not a table"),
        (r'name = "leaf"', 'name = "leaf', "it is not TOML"),
    ],
)
def test_what_a_lock_must_not_hold_is_refused_and_nothing_is_written(
    bubble: Bubble, elsewhere: Store, pattern: str, replacement: str, cause: str | None
) -> None:
    text, count = re.subn(pattern, replacement, export(bubble), count=1)
    assert count == 1
    if cause is None:
        assert [one.name for one in pylock.read(text).packages] == ["top"]
        return
    with pytest.raises(LockError, match=cause) as caught:
        om.install(lock=text, store=elsewhere, index_options=OFFLINE)
    assert "s3cret" not in str(caught.value)
    assert not elsewhere.path.exists()


def test_a_relative_path_stays_within_the_directory_of_the_lock(
    bubble: Bubble, wheelhouse: Wheelhouse, tmp_path: Path
) -> None:
    (tmp_path / "inside").mkdir()
    lock = tmp_path / "inside" / "pylock.toml"
    text = export(bubble)
    (tmp_path / "inside" / "wheels").symlink_to(wheelhouse.path)
    lock.write_text(re.sub(r'url = "[^"]*/', 'path = "wheels/', text))
    assert [one.name for one in pylock.read(lock).packages] == ["leaf", "top"]
    lock.write_text(re.sub(r'url = "[^"]*/', 'path = "wheels/../../wheelhouse/', text))
    with pytest.raises(LockError, match="leads out of the directory"):
        pylock.read(lock)


def test_a_lock_that_is_not_there_or_not_a_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary", "null\0byte"):
        with pytest.raises(LockError) as caught:
            om.install(lock=path)
        assert caught.value.cause
        assert caught.value.lock == str(Path(path).absolute())


def test_a_lock_that_was_changed_in_its_bubble_is_not_exported(bubble: Bubble) -> None:
    text = export(bubble)
    assert text == bubble.lock.read_text()
    bubble.lock.write_text(text.replace("leaf", "evil"))
    with pytest.raises(BubbleInvalidError, match="its lock was changed"):
        export(bubble)
    bubble.lock.unlink()
    with pytest.raises(BubbleInvalidError, match="its lock cannot be read"):
        export(bubble)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_damaged_lock_is_refused_or_names_the_same_archives(
    bubble: Bubble, data: st.DataObject
) -> None:
    text = export(bubble)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 40, len(text))))
    put = data.draw(st.text(max_size=8) | st.sampled_from(['"', "[", "]]", "= 1\n", "../", "{}"]))
    try:
        lock = pylock.read(text[:start] + put + text[end:] + "\n")
    except LockError as error:
        assert error.cause  # noqa: PT017  # either will do
    else:
        for one in lock.packages:
            assert bubble.digests[one.name] == one.sha256
            assert bubble.distributions[one.name] == one.version


def test_threads_that_build_one_lock_at_once_build_it_once(
    bubble: Bubble, elsewhere: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[object] = []
    inner = filling._install

    def counted(*arguments: Any) -> Any:
        builds.append(arguments)
        return inner(*arguments)

    monkeypatch.setattr(filling, "_install", counted)
    barrier = threading.Barrier(6, timeout=60)
    made: list[Bubble] = []
    lock = export(bubble)

    def make() -> None:
        barrier.wait()
        made.append(build.install(lock=lock, store=elsewhere, index_options=OFFLINE))

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert {one.id for one in made} == {bubble.id}
    assert len(builds) == 1
    assert names(elsewhere.tag_path) == [bubble.id], "litter was left"


def test_the_lock_says_for_which_interpreter_it_is(bubble: Bubble) -> None:
    assert f'tag = "{config.interpreter_tag()}"' in export(bubble)
