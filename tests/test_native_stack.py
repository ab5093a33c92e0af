"""The reader of the C stack: proves itself, and names the libraries between two frames."""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnipkg_meta import native_stack
from omnipkg_meta.native_stack import NativeStack
from tests.native_source import SUFFIX, compiled, needs_compiler
from tests.worlds import World, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_reader = native_stack.reader()
pytestmark = pytest.mark.skipif(_reader is None, reason="the C stack cannot be read here")


@pytest.fixture
def reader() -> NativeStack:
    assert _reader is not None
    return _reader


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An extension module whose ``call`` calls back."""
    if needs_compiler():
        pytest.skip(needs_compiler())
    directory = tmp_path_factory.mktemp("native")
    package = World.name("stack")
    (directory / package).mkdir()
    (directory / package / f"_native{SUFFIX}").write_bytes(compiled(package, "1.0", "MULTI_PHASE"))
    sys.path.insert(0, str(directory))
    try:
        return importlib.import_module(f"{package}._native")
    finally:
        sys.path.remove(str(directory))


def between(reader: NativeStack, through: Callable[[Callable[[], Any]], Any]) -> Sequence[str]:
    """Return the libraries between here and a function that is called in some way."""
    outer = sys._getframe()
    found: list[Sequence[str]] = []
    # Both ways of walking the stack have to say the same.
    for careful in (False, True):

        def look(careful: bool = careful) -> None:
            found.append(reader.libraries_between(outer, careful=careful))

        through(look)
    # But for the interpreter's own frames, which come and go as it specializes a call.
    fast, careful_too = ([one for one in each if not _is_interpreter(one)] for each in found)
    assert fast == careful_too
    return found[0]


def test_there_is_one_reader_and_it_proved_itself(reader: NativeStack) -> None:
    assert native_stack.reader() is reader
    assert reader.prove()


def test_it_is_asked_again_if_ctypes_was_only_being_loaded(world: World) -> None:
    world.run(
        """
        import sys
        from importlib.machinery import ModuleSpec
        from omnipkg_meta import native_stack
        half = sys.modules["ctypes"] = type(sys)("ctypes")
        half.__spec__ = ModuleSpec("ctypes", None)
        half.__spec__._initializing = True
        assert native_stack.reader() is None
        del sys.modules["ctypes"]
        assert native_stack.reader() is not None
        """
    )


@pytest.mark.parametrize("terms", ["", "hermetic=True"])
def test_a_program_whose_first_scope_loads_ctypes_has_it(world: World, terms: str) -> None:
    world.versions("claimed", "1.0", main="0.5")
    world.run(
        f"""
        import sys
        import omnipkg_meta as om
        assert "ctypes" not in sys.modules
        with om.use("claimed==1.0", {terms}):
            import claimed
        from omnipkg_meta import native_stack
        assert native_stack.reader() is not None
        """
    )


def test_a_fresh_reader_proves_itself_in_any_thread() -> None:
    proved: list[bool] = []
    threads = [
        threading.Thread(target=lambda: proved.append(NativeStack().prove())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proved == [True] * 4


def test_nothing_stands_between_where_python_calls_python(reader: NativeStack) -> None:
    def through(function: Callable[[], Any]) -> None:
        def inner() -> None:
            function()

        def outer() -> None:
            inner()

        outer()

    found = between(reader, through)
    # Before 3.11 each call of a Python function passes through the interpreter's own C code.
    assert all(map(_is_interpreter, found))
    assert not found or sys.version_info < (3, 11)


def test_the_library_that_calls_back_stands_between(reader: NativeStack, native: Any) -> None:
    found = between(reader, native.call)
    assert native.__file__ in found
    assert found.count(native.__file__) == 1


def test_a_library_further_out_does_not(reader: NativeStack, native: Any) -> None:
    found: list[Sequence[str]] = []

    def inner() -> None:
        outer = sys._getframe()

        def look() -> None:
            found.append(reader.libraries_between(outer, careful=False))

        look()

    native.call(inner)
    assert native.__file__ not in found[0]


WAYS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "a direct call": lambda function: function(),
    "map": lambda function: next(map(lambda _: function(), [0])),  # noqa: C417
    "a generator": lambda function: next(function() for _ in [0]),
    "a comprehension": lambda function: [function() for _ in [0]],
    "sorted": lambda function: sorted([0], key=lambda _: function()),
    "partial": lambda function: functools.partial(function)(),
    "a property": lambda function: type("P", (), {"p": property(lambda _: function())})().p,
    "exec": lambda function: exec("function()", {"function": function}),  # noqa: S102
    "a metaclass": lambda function: type("M", (type,), {"__call__": lambda _: function()})(
        "C", (), {}
    )(),
    "a decorator class": lambda function: type("D", (), {"__call__": lambda _: function()})()(),
}


@given(
    outside=st.lists(st.sampled_from(sorted(WAYS)), max_size=3),
    inside=st.lists(st.sampled_from(sorted(WAYS)), max_size=3),
    depth=st.integers(0, 3),
)
@settings(deadline=None, max_examples=60)
def test_a_library_is_found_through_any_way_to_call(
    native: Any, outside: list[str], inside: list[str], depth: int
) -> None:
    assert _reader is not None

    def call(ways: list[str], function: Callable[[], Any]) -> Callable[[], Any]:
        for way in ways:
            function = functools.partial(_through, way, function)
        return function

    found: list[Sequence[str]] = []
    outer = sys._getframe()
    look = call(inside, lambda: found.append(_reader.libraries_between(outer, careful=False)))
    for _ in range(depth):
        look = functools.partial(native.call, look)
    call(outside, look)()
    assert found[0].count(native.__file__) <= depth
    assert (native.__file__ in found[0]) is (depth > 0)


def _through(way: str, function: Callable[[], Any]) -> Any:
    return WAYS[way](function)


def test_a_deep_python_stack_does_not_matter(reader: NativeStack, native: Any) -> None:
    def deep(levels: int) -> Sequence[str]:
        return deep(levels - 1) if levels else between(reader, native.call)

    assert native.__file__ in deep(300)


def _is_interpreter(library: str) -> bool:
    return "python" in library.rpartition("/")[2] or library == sys.executable
