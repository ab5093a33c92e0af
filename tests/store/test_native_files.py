"""Libraries that bubbles bring along: each bubble's are its own, whatever they are called.

What the loader does is asked of the loader: the libraries are compiled, installed
into bubbles, and loaded into this process.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import threading
from errno import EPERM
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.cli import main
from omnipkg_meta.store import elf, native_files
from tests.elf_source import by_hand, linked, needs_elf
from tests.native_source import SUFFIX, compiled, needs_compiler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.store import Store
    from tests.conftest import Install, Wheelhouse

pytestmark = pytest.mark.skipif(bool(needs_elf()), reason=needs_elf())
has_patchelf = pytest.mark.skipif(native_files.find_patchelf() is None, reason="needs patchelf")

_numbers = itertools.count(1)
VERSIONS = (1, 2)


def stem() -> str:
    """Return a part of a library's name that no other test uses: what is loaded stays."""
    return f"omt{os.getpid()}x{next(_numbers)}x"


def inner(version: int, soname: str | None, versions: str = "") -> bytes:
    source = f"""
        static int calls;
        int version(void) {{ return {version}; }}
        int count(void) {{ return ++calls; }}
    """
    return linked(source, soname=soname, versions=versions)


def outer(needs: tuple[str, bytes], rpath: str | None = "$ORIGIN") -> bytes:
    source = """
        int version(void); int count(void);
        int ask(void) { return version(); }
        int count_there(void) { return count(); }
    """
    return linked(source, needs=[needs], rpath=rpath)


@pytest.fixture
def bubbles(wheelhouse: Wheelhouse, install: Install) -> Callable[..., list[Bubble]]:
    """Build a bubble of a package for each of several sets of files."""

    def build(*contents: Mapping[str, bytes | str]) -> list[Bubble]:
        name = stem()
        made = []
        for number, files in enumerate(contents, 1):
            wheelhouse.make(
                name,
                f"{number}",
                {
                    f"{name}/__init__.py": _PACKAGE,
                    **{f"{name}/{path}": data for path, data in files.items()},
                },
            )
            made.append(install(f"{name}=={number}"))
        return made

    return build


_PACKAGE = """
import ctypes
from pathlib import Path


def load(file, mode=ctypes.DEFAULT_MODE):
    return ctypes.CDLL(str(Path(__file__).parent / file), mode)
"""


def package(bubble: Bubble) -> Path:
    (name,) = bubble.import_names
    return bubble.site_packages / name


def loaded(bubble: Bubble, file: str) -> ctypes.CDLL:
    """Load a library as the bubble's own code does."""
    (name,) = bubble.import_names
    module = om.load(bubble, name=name)
    library: ctypes.CDLL = module.load(file)
    return library


def two_versions(soname: str) -> list[dict[str, bytes]]:
    return [
        {"inner.so": data, soname: data, "outer.so": outer((soname, data))}
        for data in (inner(version, soname) for version in VERSIONS)
    ]


def without_inner(contents: list[dict[str, bytes]]) -> list[dict[str, bytes]]:
    return [{key: one[key] for key in one if key != "inner.so"} for one in contents]


def test_without_private_names_the_second_gets_the_firsts_library(
    bubbles: Callable[..., list[Bubble]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_files, "make_private", lambda *_: native_files.Private())
    soname = f"lib{stem()}.so.1"
    made = bubbles(*without_inner(two_versions(soname)))
    directories = [package(bubble) for bubble in made]
    libraries = [ctypes.CDLL(str(directory / "outer.so")) for directory in directories]
    assert [library.ask() for library in libraries] == [1, 1]


def test_libraries_of_one_name_in_two_bubbles_are_two(
    bubbles: Callable[..., list[Bubble]], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    soname = f"lib{stem()}.so.1"
    made = bubbles(*without_inner(two_versions(soname)))
    assert [loaded(bubble, "outer.so").ask() for bubble in made] == [1, 2]
    for bubble in made:
        assert store.verify(bubble) == []
        (private,) = bubble.entry["native"]["private"].values()
        assert elf.read(package(bubble) / soname).soname == private
        assert (package(bubble) / private).resolve() == package(bubble) / soname
        assert bubble.entry["native"]["public"] == bubble.entry["native"]["untouched"] == {}
        assert main(["show", bubble.id]) == 0
        assert f"  {private} is {soname}\n" in capsys.readouterr().out


def test_libraries_of_one_name_are_two_when_two_threads_load_them_at_once(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    made = bubbles(*without_inner(two_versions(f"lib{stem()}.so.1")))
    barrier = threading.Barrier(2, timeout=60)
    answers: dict[int, list[int]] = {}

    def work(number: int) -> None:
        with om.use(made[number]):
            barrier.wait()
            library = loaded(made[number], "outer.so")
            answers[number] = [library.ask() for _ in range(100)]

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {0: [1] * 100, 1: [2] * 100}


def test_main_does_not_get_a_bubbles_library_nor_the_other_way_round(
    bubbles: Callable[..., list[Bubble]], tmp_path: Path
) -> None:
    soname = f"lib{stem()}.so.1"
    first, second = bubbles(*without_inner(two_versions(soname)))
    assert loaded(first, "outer.so").ask() == 1
    data = inner(7, soname)
    for name, content in ((soname, data), ("outer.so", outer((soname, data)))):
        (tmp_path / name).write_bytes(content)
    assert ctypes.CDLL(str(tmp_path / "outer.so")).ask() == 7
    assert loaded(second, "outer.so").ask() == 2


def test_a_library_is_one_whether_it_is_found_by_its_path_or_by_its_private_name(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    soname = f"lib{stem()}.so.1"
    (bubble,) = bubbles(without_inner(two_versions(soname))[0])
    by_path = loaded(bubble, soname)
    by_name = loaded(bubble, "outer.so")
    assert [by_path.count(), by_name.count_there(), by_path.count()] == [1, 2, 3]


def test_a_library_that_is_loaded_first_serves_who_could_not_find_it(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    soname = f"lib{stem()}.so.1"
    contents = []
    for version in VERSIONS:
        data = inner(version, soname)
        contents.append({f"deep/{soname}": data, "outer.so": outer((soname, data), rpath=None)})
    for version, bubble in zip(VERSIONS, bubbles(*contents), strict=True):
        with pytest.raises(OSError, match="cannot open shared object"):
            loaded(bubble, "outer.so")
        loaded(bubble, f"deep/{soname}")
        assert loaded(bubble, "outer.so").ask() == version


def test_a_library_without_a_name_of_its_own_is_known_by_its_files(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    file = f"lib{stem()}.so"
    contents = []
    for version in VERSIONS:
        data = inner(version, None)
        contents.append({file: data, "outer.so": outer((file, data))})
    made = bubbles(*contents)
    assert [loaded(bubble, "outer.so").ask() for bubble in made] == [1, 2]
    assert [elf.read(package(bubble) / file).soname for bubble in made] == [None, None]


def test_a_file_that_is_called_otherwise_than_its_library_is_found(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    soname = f"lib{stem()}.so.1"
    file = f"{soname}.2.3"
    contents = []
    for version in VERSIONS:
        data = inner(version, soname)
        contents.append({f"libs/{file}": data, "outer.so": outer((soname, data), "$ORIGIN/libs")})
    assert [loaded(bubble, "outer.so").ask() for bubble in bubbles(*contents)] == [1, 2]


def test_versions_of_symbols_are_asked_of_the_library_of_the_private_name(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    soname = f"lib{stem()}.so.1"
    contents = []
    for version in VERSIONS:
        data = inner(version, soname, versions=f"{soname.upper()}_1 {{ version; count; }};")
        contents.append({soname: data, "outer.so": outer((soname, data))})
    assert [loaded(bubble, "outer.so").ask() for bubble in bubbles(*contents)] == [1, 2]


def test_a_library_that_is_opened_by_its_name_is_the_bubbles(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    soname = f"lib{stem()}.so.1"
    source = f"""
        #include <dlfcn.h>
        int ask(void) {{
            void *found = dlopen("{soname}", RTLD_NOW);
            int (*version)(void) = found ? (int (*)(void))dlsym(found, "version") : 0;
            return version ? version() : -1;
        }}
    """
    plugin = linked(source, rpath="$ORIGIN")
    contents = [{soname: inner(one, soname), "opens.so": plugin} for one in VERSIONS]
    assert [loaded(bubble, "opens.so").ask() for bubble in bubbles(*contents)] == [1, 2]


def test_statics_of_cxx_inline_functions_are_each_bubbles_own(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    name = stem()
    contents = []
    for version in VERSIONS:
        head = f"inline int &{name}() {{ static int n = 10 * {version}; return n; }}\n"
        tail = f'extern "C" int next() {{ return ++{name}(); }}'
        soname = f"lib{name}.so.1"
        lower = linked(head + tail, soname=soname, language="c++")
        upper = linked(
            head + f'extern "C" int above() {{ return ++{name}(); }}',
            needs=[(soname, lower)],
            rpath="$ORIGIN",
            language="c++",
        )
        contents.append({soname: lower, "upper.so": upper})
    first, second = (loaded(bubble, "upper.so") for bubble in bubbles(*contents))
    # Within a bubble it is one, in both libraries; in the other bubble it is another.
    assert [first.above(), first.next(), second.above(), second.next()] == [11, 12, 21, 22]


def test_a_library_of_the_system_stays_the_systems_where_the_bubbles_is_out_of_reach(
    bubbles: Callable[..., list[Bubble]],
) -> None:
    if not native_files._on_system("libz.so.1"):
        pytest.skip("there is no libz here")
    ours = linked("int zlibVersion(void) { return 0; }", soname="libz.so.1")
    source = "const char *zlibVersion(void); int ask(void) { return zlibVersion()[0]; }"
    (bubble,) = bubbles(
        {
            "libs/libz.so.1": ours,
            "far.so": linked(source, needs=[("libz.so.1", ours)]),
            "near.so": linked(
                "int zlibVersion(void); int ask(void) { return zlibVersion(); }",
                needs=[("libz.so.1", ours)],
                rpath="${ORIGIN}/libs",
            ),
        }
    )
    assert loaded(bubble, "near.so").ask() == 0
    assert loaded(bubble, "far.so").ask() == ord("1")


@pytest.mark.parametrize(
    "name", ["libstdc++.so.6", "libgcc_s.so.1", "libiomp5.so", "libpython3.11.so.1.0", "libc.so.6"]
)
def test_what_is_one_in_a_process_keeps_its_name(
    bubbles: Callable[..., list[Bubble]], name: str
) -> None:
    data = by_hand(soname=name, needed=["libm.so.6"])
    needing = by_hand(soname=f"lib{stem()}.so", needed=[name])
    (bubble,) = bubbles({name: data, "needing.so": needing})
    assert (package(bubble) / name).read_bytes() == data
    assert elf.read(package(bubble) / "needing.so").needed == (name,)


def test_the_same_content_gets_the_same_names_in_every_store(
    wheelhouse: Wheelhouse, tmp_path: Path
) -> None:
    soname = f"lib{stem()}.so.1"
    wheelhouse.make("same", "1", {"same/__init__.py": "", f"same/{soname}": inner(1, soname)})
    wheelhouse.make("same", "2", {"same/__init__.py": "", f"same/{soname}": inner(1, soname)})
    entries = [
        om.install(
            f"same=={version}", store=tmp_path / store, index_options=wheelhouse.options
        ).entry
        for store, version in (("a", 1), ("b", 1), ("a", 2))
    ]
    assert entries[0]["native"] == entries[1]["native"] != entries[2]["native"]
    assert entries[0]["rewritten"] == entries[1]["rewritten"]


def test_a_link_that_was_bent_is_noticed(
    bubbles: Callable[..., list[Bubble]], store: Store
) -> None:
    soname = f"lib{stem()}.so.1"
    (bubble,) = bubbles(without_inner(two_versions(soname))[0])
    (private,) = bubble.entry["native"]["private"].values()
    link = package(bubble) / private
    link.unlink()
    link.symlink_to("outer.so")
    assert store.verify(bubble) == [f"{package(bubble).name}/{private} was changed"]
    link.unlink()
    assert store.verify(bubble) == [f"{package(bubble).name}/{private} is missing"]


# -- names that cannot be replaced where they stand --------------------------------


def crowded(version: int, soname: str, versions: str = "") -> bytes:
    """Return a library in which the name is also the end of a symbol's name."""
    source = f"""
        int symbol(void) asm("prefix_{soname}"); int symbol(void) {{ return 0; }}
        int version(void) {{ return {version}; }}
        int count(void) {{ return 0; }}
    """
    return linked(source, soname=soname, versions=versions)


def crowded_versions(soname: str, versions: str = "") -> list[dict[str, bytes]]:
    contents = []
    for version in VERSIONS:
        data = crowded(version, soname, versions)
        contents.append({soname: data, "outer.so": outer((soname, data))})
    return contents


@has_patchelf
@pytest.mark.parametrize("how", ["crowded", "crowded, with versions", "short"])
def test_patchelf_makes_room_where_there_is_none(
    bubbles: Callable[..., list[Bubble]], store: Store, how: str
) -> None:
    if how == "short":
        contents = without_inner(two_versions("q.so"))
    else:
        # patchelf leaves the library's name in its base version.
        versions = "V1 { version; count; prefix_*; };" if "versions" in how else ""
        contents = crowded_versions(f"lib{stem()}.so.1", versions)
    made = bubbles(*contents)
    assert [bubble.entry["native"]["public"] for bubble in made] == [{}, {}]
    assert [loaded(bubble, "outer.so").ask() for bubble in made] == [1, 2]
    assert [store.verify(bubble) for bubble in made] == [[], []]


@pytest.mark.parametrize(
    "how", ["there is none", "it fails", "it writes rubbish", "it does nothing"]
)
def test_what_patchelf_cannot_do_is_written_down_and_breaks_nothing(
    *,
    bubbles: Callable[..., list[Bubble]],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    how: str,
) -> None:
    tool = tmp_path / "patchelf"
    body = {
        "there is none": "",
        "it fails": "echo 'cannot find section' >&2\nexit 1",
        "it writes rubbish": 'echo rubbish > "$2"',
        "it does nothing": 'for last; do :; done\ncp "$last" "$2"',
    }[how]
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(native_files, "find_patchelf", lambda: str(tool) if body else None)
    soname, other = f"lib{stem()}.so.1", f"lib{stem()}.so.1"
    one, two = crowded(1, soname), inner(3, other)
    (bubble,) = bubbles(
        {soname: one, other: two, "outer.so": outer((soname, one)), "more.so": outer((other, two))}
    )
    native = bubble.entry["native"]
    assert list(native["public"]) == [soname]
    assert "patchelf" in native["public"][soname]
    assert main(["show", bubble.id]) == 0
    assert f"  {soname}: {native['public'][soname]}\n" in capsys.readouterr().out
    assert list(native["private"]) == [other]
    assert loaded(bubble, "outer.so").ask() == 1
    assert loaded(bubble, "more.so").ask() == 3
    assert store.verify(bubble) == []
    assert (package(bubble) / soname).read_bytes() == one
    links = [path.name for path in package(bubble).iterdir() if path.is_symlink()]
    assert links == [native["private"][other]]


def test_where_there_are_no_links_names_stay_and_it_is_written_down(
    bubbles: Callable[..., list[Bubble]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(EPERM, "Operation not permitted")

    soname = f"lib{stem()}.so.1"
    contents = without_inner(two_versions(soname))[0]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", refuse)
        (bubble,) = bubbles(contents)
    assert list(bubble.entry["native"]["public"]) == [soname]
    assert "no links" in bubble.entry["native"]["public"][soname]
    assert loaded(bubble, "outer.so").ask() == 1
    assert store.verify(bubble) == []


# -- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "data", "why"),
    [
        (f"bad{SUFFIX}", b"\x7fELF" + b"\xff" * 200, "damaged"),
        ("libbad.so.1", by_hand()[:300], "cut off"),
        ("libbad.so.1", b"", "too short"),
        ("libbad.so", b"#!/bin/sh\necho a script that is named like a library\n", "no ELF file"),
        ("libbad.so", b"!<arch>\n" + b" " * 60, "no ELF file"),
        ("libbad.so.1", by_hand(machine=0x1234), "another machine"),
        ("program", b"MZ" + bytes(100), None),
        ("object.o", by_hand()[:16] + b"\x01\x00" + by_hand()[18:54] + bytes(200), None),
        ("static.a", b"!<arch>\n" + b" " * 60, None),
    ],
)
def test_a_bad_file_is_left_as_it_is_and_the_rest_is_done(
    bubbles: Callable[..., list[Bubble]], store: Store, file: str, data: bytes, why: str | None
) -> None:
    soname = f"lib{stem()}.so.1"
    (bubble,) = bubbles({**without_inner(two_versions(soname))[0], file: data})
    untouched = bubble.entry["native"]["untouched"]
    path = f"{package(bubble).name}/{file}"
    assert (path in untouched) is (why is not None)
    assert why is None or why in untouched[path]
    assert (package(bubble) / file).read_bytes() == data
    assert list(bubble.entry["native"]["private"]) == [soname]
    assert store.verify(bubble) == []
    assert loaded(bubble, "outer.so").ask() == 1


def test_an_extension_module_that_was_cut_off_is_refused_with_the_reason(
    wheelhouse: Wheelhouse, install: Install
) -> None:
    if needs_compiler():
        pytest.skip(needs_compiler())
    name = stem()
    data = compiled(name, "1", "MULTI_PHASE")
    for directory, content in ((name, data), (f"{name}.x", data[: len(data) // 2])):
        wheelhouse.make(
            directory.replace(".", "-"),
            "1",
            {
                f"{directory.replace('.', '_')}/__init__.py": "",
                f"{directory.replace('.', '_')}/_native{SUFFIX}": content,
            },
        )
    whole, cut = install(name), install(f"{name}-x")
    assert om.load(whole, name=f"{name}._native").version == "1"
    with pytest.raises(ImportError, match="cut off"):
        om.load(cut, name=f"{name}_x._native")


# -- inodes -------------------------------------------------------------------------


def test_a_file_that_may_not_be_written_is_changed_and_stays_so(
    bubbles: Callable[..., list[Bubble]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = native_files.own

    def own_read_only(native: dict[str, os.DirEntry[str]], *wanted: Any) -> dict[str, Any]:
        found = own(native, *wanted)
        for entry in native.values():
            Path(entry.path).chmod(0o444)
        return found

    monkeypatch.setattr(native_files, "own", own_read_only)
    soname = f"lib{stem()}.so.1"
    (bubble,) = bubbles(without_inner(two_versions(soname))[0])
    assert elf.read(package(bubble) / soname).soname != soname
    assert (package(bubble) / soname).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("mode", ["symlink", "symlink in a file", "hardlink", "copy", "clone"])
def test_native_files_are_the_bubbles_own_however_uv_links(
    wheelhouse: Wheelhouse,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: str,
) -> None:
    if shutil.which("uv") is None:
        pytest.skip("needs uv")
    if mode == "symlink in a file":
        settings = tmp_path / "uv.toml"
        settings.write_text('link-mode = "symlink"\n')
        monkeypatch.delenv("UV_NO_CONFIG")
        monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    else:
        monkeypatch.setenv("UV_LINK_MODE", mode)
    name = stem()
    soname = f"lib{name}.so.1"
    data = inner(1, soname)
    wheelhouse.make(name, "1", {f"{name}/{soname}": data})
    first = install(name, builder="uv").site_packages / name / soname
    assert not first.is_symlink()
    assert first.stat().st_nlink == 1
    # The cache was not changed with it: what is installed next is as it was published.
    changed = first.read_bytes()
    assert changed != data
    again = install(name, builder="uv", reinstall=True)
    assert (again.site_packages / name / soname).read_bytes() == changed


def test_a_bubble_in_a_store_that_may_only_be_read_is_used_as_it_is(
    bubbles: Callable[..., list[Bubble]], store: Store
) -> None:
    soname = f"lib{stem()}.so.1"
    (bubble,) = bubbles(without_inner(two_versions(soname))[0])
    (name,) = bubble.import_names
    for path in sorted(store.path.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    code = (
        "import omnipkg_meta as om\n"
        f"with om.use({bubble.requested[0]!r}):\n"
        f"    import {name}\n"
        f"assert {name}.load('outer.so').ask() == 1\n"
    )
    command = [sys.executable, "-c", code]
    if os.getuid() == 0 and (setpriv := shutil.which("setpriv")):
        # To the administrator everything may be written.
        command = [setpriv, "--bounding-set", "-all", "--inh-caps", "-all", *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        for path in store.path.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
    assert done.returncode == 0, done.stderr
