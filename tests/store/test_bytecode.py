"""Byte code: when it is made, and which of it is what the sources compile to."""

from __future__ import annotations

import importlib.util
import marshal
import os
import py_compile
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import omnipkg_meta as om
from omnipkg_meta.errors import BubbleInvalidError
from omnipkg_meta.store import bytecode, copies, worker
from omnipkg_meta.store.doctor import examine
from omnipkg_meta.store.store import Store

if TYPE_CHECKING:
    from types import CodeType

    from omnipkg_meta.store.bubble import Bubble
    from tests.conftest import Install, MakeBubble, Wheelhouse

TAG = sys.implementation.cache_tag
SOURCE = '''\
"""Doc."""
import sys
NUMBERS = (1, 1.0, True, -0.0, 1e400 - 1e400, 3j, b"x", "x", ..., None)
def f(a, b=2, *c, d, **e):
    """Doc."""
    assert a, "a"
    if a in {"p", "q", "r", 1, (2, "s")}:
        return [x for x in c if x]
    try:
        return lambda: (a, b, d, e)
    except ValueError:
        raise
class C:
    x: int = 1
    def m(self): return super().m() + f"{self.x!r}"
'''


@pytest.fixture
def bubble(make_bubble: MakeBubble) -> Bubble:
    """Make a bubble of one package of two modules."""
    return make_bubble({"leaf==1.0": {"leaf/__init__.py": "x = 1\n", "leaf/more.py": SOURCE}})


def cached(bubble: Bubble, name: str = "more", optimization: str = "") -> Path:
    source = str(bubble.site_packages / "leaf" / f"{name}.py")
    return Path(importlib.util.cache_from_source(source, optimization=optimization))


def compiled(source: str, filename: str, optimize: int = 0) -> CodeType:
    # Without the ``from __future__`` of this file.
    code: CodeType = compile(source, filename, "exec", dont_inherit=True, optimize=optimize)
    return code


def poison(path: Path, source: Path, code: CodeType, flags: int = 0) -> None:
    """Write byte code with a header that importlib takes."""
    status = source.stat()
    facts = (flags, int(status.st_mtime), status.st_size)
    header = importlib.util.MAGIC_NUMBER + b"".join(n.to_bytes(4, "little") for n in facts)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(header + marshal.dumps(code))


def runs(bubble: Bubble, expression: str, *flags: str, **variables: str) -> str:
    """Return what an expression is in a program that has the bubble on its path."""
    code = f"import sys; sys.path.insert(0, {str(bubble.site_packages)!r}); import leaf.more as m"
    done = subprocess.run(
        [sys.executable, *flags, "-c", f"{code}; print({expression})"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def byte_code(bubble: Bubble) -> list[Path]:
    return sorted(bubble.site_packages.rglob("*.pyc"))


# -- when it is made --------------------------------------------------------------


def test_an_install_makes_no_byte_code_and_the_first_import_does(
    bubble: Bubble, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert byte_code(bubble) == []
    with om.use("leaf==1.0"):
        import leaf.more  # type: ignore[import-not-found]
    assert leaf.more.__spec__.cached == str(cached(bubble))
    assert byte_code(bubble) == sorted([cached(bubble), cached(bubble, "__init__")])
    code = marshal.loads(cached(bubble).read_bytes()[16:])  # noqa: S302
    assert code.co_filename == str(bubble.site_packages / "leaf" / "more.py")
    assert store.verify(bubble) == []


@pytest.mark.parametrize("way", ["argument", "setting", "command"])
def test_byte_code_is_made_beforehand_where_that_is_wanted(
    wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    wheelhouse.make("leaf", "1.0")
    options = wheelhouse.options
    if way == "argument":
        bubble = om.install("leaf", index_options=options, compile_bytecode=True)
    elif way == "setting":
        monkeypatch.setenv("OMNIPKG_META_COMPILE_BYTECODE", "yes")
        bubble = om.install("leaf", index_options=options)
        assert om.install("leaf", index_options=options, compile_bytecode=False) == bubble
    else:
        from omnipkg_meta.cli import main

        assert main(["install", "leaf", "--compile-bytecode", *options]) == 0
        (bubble,) = store.bubbles()
    assert [path.name for path in byte_code(bubble)] == [f"leaf.{TAG}.pyc"]
    assert store.verify(bubble) == []


def test_a_bubble_that_is_there_gets_the_byte_code_that_it_lacks(
    install: Install, bubble: Bubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    py_compile.compile(str(bubble.site_packages / "leaf" / "more.py"))
    before = cached(bubble).stat()
    monkeypatch.setenv("OMNIPKG_META_COMPILE_BYTECODE", "1")
    assert install("leaf==1.0") == bubble
    assert byte_code(bubble) == sorted([cached(bubble), cached(bubble, "__init__")])
    assert cached(bubble).stat() == before  # what is there and fits is not made again


def test_a_bubble_of_a_store_behind_stays_as_it_is(bubble: Bubble, tmp_path: Path) -> None:
    store = Store(tmp_path / "front", behind=[bubble.path.parent.parent])
    assert om.install("leaf==1.0", store=store, compile_bytecode=True) == bubble
    assert byte_code(bubble) == []


def test_a_bubble_that_is_made_afresh_has_no_byte_code_of_the_old_one(
    install: Install, bubble: Bubble
) -> None:
    poison(cached(bubble), bubble.site_packages / "leaf" / "more.py", compiled("y = 1", "y"))
    again = install("leaf==1.0", reinstall=True)
    assert again.path == bubble.path
    assert byte_code(again) == []
    assert runs(again, "m.__doc__") == "Doc."


def test_where_python_writes_no_byte_code_none_comes_into_the_bubble(
    bubble: Bubble, tmp_path: Path
) -> None:
    assert runs(bubble, "m.__doc__", PYTHONDONTWRITEBYTECODE="1") == "Doc."
    assert runs(bubble, "m.__doc__", PYTHONPYCACHEPREFIX=str(tmp_path / "cache")) == "Doc."
    assert byte_code(bubble) == []
    assert list((tmp_path / "cache").rglob("*.pyc"))


# -- which of it may stay ---------------------------------------------------------


@pytest.mark.parametrize(
    "flags", [[], ["-O"], ["-OO"], ["-OOO"], ["-X", "no_debug_ranges"], ["-W", "ignore"]]
)
def test_what_python_writes_at_an_import_is_no_damage(
    bubble: Bubble, store: Store, flags: list[str]
) -> None:
    runs(bubble, "m", *flags)
    assert len(byte_code(bubble)) == 2
    assert store.verify(bubble) == []


@pytest.mark.parametrize("mode", list(py_compile.PycInvalidationMode))
def test_byte_code_that_goes_by_hashes_is_compared_too(
    bubble: Bubble, store: Store, mode: py_compile.PycInvalidationMode
) -> None:
    source = bubble.site_packages / "leaf" / "more.py"
    py_compile.compile(str(source), invalidation_mode=mode)
    assert store.verify(bubble) == []
    data = cached(bubble).read_bytes()
    cached(bubble).write_bytes(data[:16] + marshal.dumps(compiled("y = 1", "y")))
    assert store.verify(bubble) == [
        f"leaf/__pycache__/more.{TAG}.pyc is not what its source compiles to"
    ]


POISONED = {
    "other code": "y = 1\n",
    "one constant": SOURCE.replace("b=2", "b=3"),
    "a constant that is equal": SOURCE.replace("(1, 1.0, True", "(1, 1, True"),
    "the sign of a zero": SOURCE.replace("-0.0", "0.0"),
    "the inside of a function of a class": SOURCE.replace("self.x!r", "self.x!s"),
    "a name": SOURCE.replace("import sys", "import os"),
    "an assertion": SOURCE.replace("assert a", "assert b"),
}


@pytest.mark.parametrize("what", list(POISONED))
@pytest.mark.parametrize("optimize", [0, 2])
def test_byte_code_that_says_something_else_than_its_source_is_found(
    bubble: Bubble, store: Store, what: str, optimize: int
) -> None:
    if optimize and what == "an assertion":
        pytest.skip("there is none in it")
    source = bubble.site_packages / "leaf" / "more.py"
    code = compiled(POISONED[what], str(source), optimize=optimize)
    path = cached(bubble, optimization=str(optimize or ""))
    poison(path, source, code)
    name = path.relative_to(bubble.site_packages).as_posix()
    assert store.verify(bubble) == [f"{name} is not what its source compiles to"]
    with pytest.raises(BubbleInvalidError, match="is not what its source compiles to"):
        om.use("leaf==1.0", verify="full").__enter__()
    path.unlink()
    assert store.verify(bubble) == []


def test_the_poison_that_verify_finds_is_such_that_python_takes(bubble: Bubble) -> None:
    source = bubble.site_packages / "leaf" / "more.py"
    poison(cached(bubble), source, compiled("y = 1\n", str(source)))
    assert runs(bubble, "m.y") == "1"


def test_an_inner_function_that_claims_another_file_is_found(bubble: Bubble, store: Store) -> None:
    source = bubble.site_packages / "leaf" / "more.py"
    code = compiled(SOURCE, "elsewhere")
    poison(cached(bubble), source, code)
    assert store.verify(bubble) == []  # importlib gives all of it the name of its source
    poison(cached(bubble), source, code.replace(co_filename=str(source)))
    assert len(store.verify(bubble)) == 1  # and here only the outermost code


def test_what_cannot_be_read_as_byte_code_is_found_and_keeps_nothing_else_from_being_compared(
    bubble: Bubble, store: Store
) -> None:
    runs(bubble, "m")
    data = cached(bubble).read_bytes()
    for body in (b"", b"\xff" * 100, marshal.dumps(7), b"c" + b"\0" * 60, data[16:-20]):
        cached(bubble).write_bytes(data[:16] + body)
        (problem,) = store.verify(bubble)
        assert problem.startswith(f"leaf/__pycache__/more.{TAG}.pyc ")


@pytest.mark.parametrize(
    "header", ["magic", "flags", "time", "size", "short"], ids=lambda one: f"other {one}"
)
def test_stale_byte_code_is_passed_over_for_python_writes_it_anew(
    bubble: Bubble, store: Store, header: str
) -> None:
    source = bubble.site_packages / "leaf" / "more.py"
    poison(cached(bubble), source, compiled("y = 1\n", str(source)))
    data = bytearray(cached(bubble).read_bytes())
    if header == "short":
        del data[10:]
    else:
        data[{"magic": 0, "flags": 6, "time": 8, "size": 12}[header]] ^= 0xFF
    cached(bubble).write_bytes(data)
    assert store.verify(bubble) == []
    assert runs(bubble, "m.__doc__") == "Doc."
    assert store.verify(bubble) == []


def test_byte_code_that_no_import_of_this_interpreter_reads_is_passed_over(
    bubble: Bubble, store: Store
) -> None:
    folder = cached(bubble).parent
    folder.mkdir()
    for name in ("more.cpython-38.pyc", f"more.{TAG}.opt-x.pyc", f"more.{TAG}.pyc.140234"):
        (folder / name).write_bytes(b"whatever")
    assert store.verify(bubble) == []


def test_byte_code_without_a_source_and_that_of_pytest_are_told_of(
    bubble: Bubble, store: Store
) -> None:
    folder = cached(bubble).parent
    folder.mkdir()
    for name in (f"ghost.{TAG}.pyc", f"ghost.{TAG}.pyc.77", f"more.{TAG}-pytest-8.3.4.pyc"):
        (folder / name).write_bytes(b"whatever")
    of_pytest = f"leaf/__pycache__/more.{TAG}-pytest-8.3.4.pyc"
    assert sorted(store.verify(bubble)) == [
        f"leaf/__pycache__/ghost.{TAG}.pyc was added",
        f"leaf/__pycache__/ghost.{TAG}.pyc.77 was added",
        f"{of_pytest} is byte code of pytest, which nothing can be compared with",
    ]


def test_a_source_that_was_changed_is_told_of_and_not_its_byte_code(
    bubble: Bubble, store: Store
) -> None:
    runs(bubble, "m")
    source = bubble.site_packages / "leaf" / "more.py"
    source.unlink()
    source.write_text("z = 1\n")
    assert store.verify(bubble) == ["leaf/more.py was changed"]


def test_byte_code_that_a_wheel_brings_along_is_a_file_like_others_until_python_replaces_it(
    make_bubble: MakeBubble, store: Store
) -> None:
    name = f"__pycache__/leaf.{TAG}.pyc"
    bubble = make_bubble({"leaf==1.0": {"leaf.py": "x = 1\n", name: b"stale"}})
    path, source = bubble.site_packages / name, bubble.site_packages / "leaf.py"
    assert path.read_bytes() == b"stale"
    assert store.verify(bubble) == []
    path.unlink()
    assert store.verify(bubble) == []
    py_compile.compile(str(source))
    assert store.verify(bubble) == []
    poison(path, source, compiled("y = 1\n", str(source)))
    assert store.verify(bubble) == [f"{name} is not what its source compiles to"]


def test_a_module_whose_name_has_dots_is_compared_too(
    make_bubble: MakeBubble, store: Store
) -> None:
    bubble = make_bubble({"leaf==1.0": {"leaf/a.b.py": "x = 1\n"}})
    source = bubble.site_packages / "leaf" / "a.b.py"
    path = Path(py_compile.compile(str(source)) or "")
    assert store.verify(bubble) == []
    poison(path, source, compiled("y = 1\n", str(source)))
    assert len(store.verify(bubble)) == 1


CONSTANTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)


@given(CONSTANTS, CONSTANTS)
def test_code_is_alike_if_and_only_if_its_constants_are_written_alike(
    one: object, other: object
) -> None:
    def code(value: object) -> CodeType:
        made = compiled("x = 'constant'", "f")
        constants = tuple(value if each == "constant" else each for each in made.co_consts)
        return made.replace(co_consts=constants)

    def written(value: object) -> object:
        if isinstance(value, (tuple, frozenset)):
            return type(value)(map(written, value))
        return f"{type(value)} {value!r}"

    codes = [marshal.loads(marshal.dumps(code(each))) for each in (one, other)]  # noqa: S302
    essences = [worker._essence(each, "f") for each in codes]
    assert (essences[0] == essences[1]) is (written(one) == written(other))


# -- what of it is nobody's -------------------------------------------------------


def test_gc_takes_what_killed_programs_have_left_of_byte_code(bubble: Bubble, store: Store) -> None:
    runs(bubble, "m")
    copy = copies.of_bubble(bubble, (), ["hermetic"])
    folder = cached(bubble).parent
    stale, fresh = folder / f"more.{TAG}.pyc.140234", folder / f"more.{TAG}.pyc.140235"
    of_pytest = copy.site_packages / "leaf" / "__pycache__" / f"more.{TAG}-pytest-8.3.4.pyc"
    kept = byte_code(bubble)
    for path in (stale, fresh, of_pytest):
        path.write_bytes(b"x" * 5000)
    long_ago = time.time() - 1000
    for path in (stale, of_pytest):
        os.utime(path, (long_ago, long_ago))
    told = store.gc(dry_run=True)
    assert (told.litter, told.freed >= 10_000) == (2, True)
    assert stale.exists()
    assert store.gc().litter == 2
    assert not stale.exists()
    assert not of_pytest.exists()
    assert fresh.exists()  # somebody may be writing it
    assert byte_code(bubble) == kept
    assert store.verify(bubble) == []


def test_byte_code_that_came_later_counts_for_the_size_of_a_bubble(
    bubble: Bubble, store: Store
) -> None:
    before = store.gc(dry_run=True).size
    runs(bubble, "m")
    after = store.gc(dry_run=True).size
    assert after >= before + 2 * 4096
    assert store.gc(max_size=before).removed == (bubble.id,)


def test_a_copy_takes_the_byte_code_along_and_its_code_is_the_copys(
    bubble: Bubble, store: Store
) -> None:
    runs(bubble, "m")
    (cached(bubble).parent / f"more.{TAG}.pyc.140234").write_bytes(b"")
    copy = copies.of_bubble(bubble, (), ["hermetic"])
    there = cached(copy)
    assert there.read_bytes() == cached(bubble).read_bytes()
    assert [one.name for one in byte_code(copy)] == [one.name for one in byte_code(bubble)]
    before = there.stat().st_mtime_ns
    where = runs(copy, "m.f.__code__.co_filename, m.C.m.__code__.co_filename")
    assert where.count(str(copy.site_packages / "leaf" / "more.py")) == 2
    assert there.stat().st_mtime_ns == before, "it was taken for stale"
    assert not list(copy.site_packages.rglob("*.140234"))
    assert store.verify(bubble) == []


def test_doctor_tells_of_bubbles_without_byte_code_where_none_can_be_written(
    bubble: Bubble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = os.access

    def access(path: str, mode: int) -> bool:
        return "site-packages" not in str(path) and inner(path, mode)

    front = Store(tmp_path / "front", behind=[bubble.path.parent.parent])
    assert told(front) == []
    monkeypatch.setattr(os, "access", access)
    (tip,) = told(front)
    assert "--compile-bytecode leaf==1.0" in tip
    assert str(bubble.path.parent.parent) in tip
    runs(bubble, "m")
    assert told(front) == []


def told(store: Store) -> list[str]:
    found = examine(store, lambda _: None)
    return [one.tip for one in found if "no byte code" in one.what and not one.wrong]


def test_a_process_that_ends_is_told_of_and_the_others_compare_the_rest(
    bubble: Bubble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs(bubble, "m")
    program = tmp_path / "worker.py"
    shutil.copy(worker.__file__, program)
    dies = 'if "more" in path: os.abort()\n                if examine('
    program.write_text(program.read_text().replace("if examine(", dies))
    monkeypatch.setattr(worker, "__file__", str(program))
    paths = [path.relative_to(bubble.site_packages).as_posix() for path in byte_code(bubble)]
    found = bytecode.wrong(bubble.site_packages, paths)
    assert f"leaf/__pycache__/more.{TAG}.pyc" in found
    assert set(found.values()) == {"cannot be compared with what its source compiles to"}
