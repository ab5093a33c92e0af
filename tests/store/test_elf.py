"""Names in ELF files: read as the loader reads them, and changed where they stand."""

from __future__ import annotations

import ctypes
import io
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnipkg_meta.store import elf
from tests.elf_source import by_hand, linked, needs_elf

if TYPE_CHECKING:
    from pathlib import Path

compiles = pytest.mark.skipif(bool(needs_elf()), reason=needs_elf())


def written(directory: Path, data: bytes, name: str = "lib.so") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [32, 64])
def test_names_are_read_and_changed_for_every_kind_of_machine(
    tmp_path: Path, bits: int, order: str
) -> None:
    path = written(tmp_path, by_hand(bits=bits, order=order, machine=40))
    found = elf.read(path)
    assert found.kind == elf.Kind(bits, order, 40)
    assert (found.soname, found.needed) == ("libone.so.1", ("libtwo.so.1",))
    assert len(found.unique) == 1
    assert found.shared == frozenset()
    elf.rewrite(path, found, {"libone.so.1": "li-abcdefgh", "libtwo.so.1": "li-ijklmnop"})
    after = elf.read(path)
    assert (after.soname, after.needed) == ("li-abcdefgh", ("li-ijklmnop",))
    assert after.unique == ()
    expected = by_hand(
        bits=bits,
        order=order,
        machine=40,
        soname="li-abcdefgh",
        needed=["li-ijklmnop"],
        unique=False,
    )
    assert path.read_bytes() == expected


@compiles
def test_what_is_read_is_what_another_reader_finds(tmp_path: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    other = linked("int two(void) { return 2; }", soname="libtwo.so.2")
    data = linked(
        "template <int N> struct Counter { static int value; };"
        "template <int N> int Counter<N>::value = N;"
        "int one() { return Counter<1>::value + Counter<2>::value; }",
        soname="libone.so.1",
        needs=[("libtwo.so.2", other)],
        rpath="$ORIGIN:/elsewhere",
        language="c++",
    )
    found = elf.read(written(tmp_path, data))
    file = elffile.ELFFile(io.BytesIO(data))
    tags = list(file.get_section_by_name(".dynamic").iter_tags())
    assert list(found.needed) == [tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"]
    assert [found.soname] == [tag.soname for tag in tags if tag.entry.d_tag == "DT_SONAME"]
    assert found.search == ("$ORIGIN", "/elsewhere")
    symbols = file.get_section_by_name(".dynsym").iter_symbols()
    unique = sum(symbol["st_info"]["bind"] == "STB_LOOS" for symbol in symbols)
    assert len(found.unique) == unique == 2


@compiles
@pytest.mark.parametrize("style", ["sysv", "gnu", "both"])
def test_unique_symbols_are_found_by_either_kind_of_hash_table(tmp_path: Path, style: str) -> None:
    source = "inline int *counter() { static int n; return &n; } int *get() { return counter(); }"
    options = [f"-Wl,--hash-style={style}"]
    path = written(tmp_path, linked(source, language="c++", options=options))
    assert len(elf.read(path).unique) == 1


@compiles
def test_the_loader_takes_a_changed_file(tmp_path: Path) -> None:
    inner = linked(
        "int answer(void) { return 42; }", soname="libinner.so.1", versions="V1 { answer; };"
    )
    outer = linked(
        "int answer(void); int ask(void) { return answer(); }",
        needs=[("libinner.so.1", inner)],
        rpath="$ORIGIN",
    )
    names = {"libinner.so.1": "libi-abcdefgh"}
    for name, data in (("libi-abcdefgh", inner), ("outer.so", outer)):
        path = written(tmp_path, data, name)
        found = elf.read(path)
        assert found.shared == frozenset()
        elf.rewrite(path, found, names)
    assert elf.read(tmp_path / "outer.so").names.keys() >= {"libi-abcdefgh"}
    assert b"libinner" not in (tmp_path / "outer.so").read_bytes().split(b".symtab")[0]
    assert ctypes.CDLL(str(tmp_path / "outer.so")).ask() == 42


@compiles
def test_a_name_that_shares_its_bytes_is_told(tmp_path: Path) -> None:
    source = 'int f(void) asm("prefix_libend.so.1"); int f(void) { return 1; }'
    path = written(tmp_path, linked(source, soname="libend.so.1"))
    found = elf.read(path)
    assert found.soname == "libend.so.1"
    assert found.shared == {"libend.so.1"}
    with pytest.raises(ValueError, match="cannot become"):
        elf.rewrite(path, found, {"libend.so.1": "li-abcdefgh"})
    with pytest.raises(ValueError, match="cannot become"):
        elf.rewrite(path, found, {"libc.so.6": "longer-than-that"})


@compiles
def test_constants_count_only_where_something_is_opened(tmp_path: Path) -> None:
    constant = 'const char *volatile name = "libplugin.so.3"; void *p;'
    opens = "#include <dlfcn.h>\n" + constant + "void f(void) { p = dlopen(name, RTLD_NOW); }"
    assert list(elf.read(written(tmp_path, linked(opens))).opened) == ["libplugin.so.3"]
    keeps = constant + "const char *f(void) { return name; }"
    assert list(elf.read(written(tmp_path, linked(keeps))).opened) == []


@compiles
def test_who_calls_into_python_is_known(tmp_path: Path) -> None:
    calls = linked("int Py_IsInitialized(void); int f(void) { return Py_IsInitialized(); }")
    defines = linked("int Py_Mine(void) { return 1; } int f(void) { return Py_Mine(); }")
    assert elf.uses_python(written(tmp_path, calls))
    assert not elf.uses_python(written(tmp_path, defines))


@compiles
def test_a_huge_file_is_changed_where_it_stands(tmp_path: Path) -> None:
    path = written(tmp_path, linked("int f(void) { return 1; }", soname="libhuge.so.1"))
    os.truncate(path, 3 << 30)
    blocks = path.stat().st_blocks
    elf.rewrite(path, elf.read(path), {"libhuge.so.1": "libh-abcdefg"})
    assert elf.read(path).soname == "libh-abcdefg"
    # A sparse file stays one: nothing but a few bytes was written.
    assert path.stat().st_blocks == blocks


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too short"),
        (b"#!/bin/sh\n" + b"# a script\n" * 10, "no ELF file"),
        (b"/* GNU ld script */ INPUT(libreal.so.1) /* and what a linker reads */", "no ELF file"),
        (b"!<arch>\n" + b"object/         0           0     0     644     8         `\n", "no ELF"),
        (by_hand()[:60], "damaged"),
        (by_hand()[:300], "cut off"),
        (b"\x7fELF\x09\x09" + bytes(100), "damaged"),
        (by_hand().replace(b"libtwo.so.1\0", b"libtwo.so.1x"), "no end"),
    ],
)
def test_bad_files_are_told_by_their_fault(tmp_path: Path, data: bytes, why: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(elf.ElfError, match=why):
        elf.read(path)


def test_a_file_that_changed_since_it_was_read_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, by_hand())
    found = elf.read(path)
    path.write_bytes(by_hand(soname="libsix.so.9"))
    before = path.read_bytes()
    with pytest.raises(elf.ElfError, match="changed"):
        elf.rewrite(path, found, {"libone.so.1": "li-abcdefgh"})
    assert path.read_bytes() == before
    assert stat.S_ISREG(path.stat().st_mode)


_SAMPLE = (
    by_hand()
    if needs_elf()
    else linked("int f(void);int g(void) { return f(); }", soname="libx.so.1")
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, min(len(_SAMPLE), 4000) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=8,
    ),
    length=st.integers(0, len(_SAMPLE)),
)
def test_no_damage_does_more_than_raise(
    tmp_path: Path, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(_SAMPLE)
    for place, value in changes:
        data[place] = value
    for size in (len(data), length):
        path = written(tmp_path, bytes(data[:size]))
        try:
            found = elf.read(path)
            elf.uses_python(path)
        except elf.ElfError:
            continue
        elf.rewrite(path, found, {})
        assert path.stat().st_size == size
