"""What code of a bubble puts into the table under names that nobody claimed is its own."""

from __future__ import annotations

import importlib
import sys
import types
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta import native_stack
from omnipkg_meta.belonging import Entry, belongs
from omnipkg_meta.realm import CLAIMED
from tests.native_source import SUFFIX, compiled, needs_compiler
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from types import ModuleType

    from omnipkg_meta.store.bubble import Bubble
    from tests.worlds import World

compiles = pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler())
reads_the_stack = pytest.mark.skipif(
    not needs_compiler() and native_stack.reader() is None, reason="the C stack cannot be read here"
)

INSIDE, OUTSIDE = "/store/bubble/site-packages/pkg/a.py", "/usr/lib/python3/json/__init__.py"
PREFIX = ("/store/bubble/site-packages/",)


@pytest.mark.parametrize(
    ("name", "entry", "answer"),
    [
        ("made.up", Entry(None, found=False), True),
        ("distutils", Entry(INSIDE, found=True), True),
        ("vendored", Entry(INSIDE, found=False), True),
        ("json", Entry(OUTSIDE, found=True), False),
        ("alias_of_json", Entry(OUTSIDE, found=False), False),
        ("namespace", Entry(None, found=True), False),
        ("_cython_3_0_11", Entry(None, found=False), False),
        ("cython_runtime", Entry(None, found=False), False),
        ("cythonized", Entry(None, found=False), True),
        ("__main__", Entry(None, found=False), False),
        ("__main__", Entry(INSIDE, found=True), False),
        ("sys", Entry(None, found=False), False),
        ("importlib.made_up", Entry(None, found=False), False),
    ],
)
def test_an_entry_belongs_to_the_realm_whose_code_wrote_it_if_it_is_its_file_or_from_nowhere(
    name: str, entry: Entry, answer: bool
) -> None:
    assert belongs(name, entry, PREFIX) is answer


def test_an_entry_says_where_it_is_from_without_running_its_code() -> None:
    class Trap(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    assert Entry.of(Trap("trap")).made_up
    assert Entry.of(None).made_up
    assert Entry.of(object()).made_up
    assert Entry.of(sys) == Entry("built-in", found=True)
    assert not Entry.of(types).made_up
    namespace = types.ModuleType("namespace")
    namespace.__spec__ = ModuleSpec("namespace", None, is_package=True)
    assert Entry.of(namespace) == Entry(None, found=True)
    by_hand = types.ModuleType("by_hand")
    by_hand.__spec__ = ModuleSpec("by_hand", None)  # nothing could have loaded it
    assert Entry.of(by_hand).made_up


def writers(world: World, text: str) -> tuple[list[Bubble], str]:
    """Make two bubbles of a package with a text; WRITER stands for its name."""
    name = world.name("writer")
    files = {f"{name}/__init__.py": text.replace("WRITER", name), f"{name}/own.py": ""}
    return world.versions(name, "1.0", "2.0", files=files), name


def test_a_module_that_a_bubble_makes_up_is_its_own_and_seen_from_it_and_its_scope(
    world: World,
) -> None:
    made = world.name("made")
    bubbles, name = writers(
        world,
        f"""
        import sys, types
        {made} = sys.modules["{made}"] = types.ModuleType("{made}")
        assert not hasattr({made}, "version")
        {made}.version = "VERSION"
        sys.modules.setdefault("{made}.sub", types.ModuleType("{made}.sub"))
        sys.modules.update({{"{made}.other": types.ModuleType("{made}.other")}})

        def again():
            import {made}.sub, {made}.other
            return {made}
        """,
    )
    modules = [om.load(bubble, name=name) for bubble in bubbles]
    assert made not in sys.modules
    assert [one for one in dict.keys(sys.modules) if str(one).startswith(made)] == []
    for bubble, module, version in zip(bubbles, modules, ("1.0", "2.0"), strict=True):
        assert module.again().version == version
        with om.use(bubble):
            assert importlib.import_module(made).version == version
            assert importlib.import_module(f"{made}.sub") is sys.modules[f"{made}.sub"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(made)


def test_a_module_that_a_bubble_makes_and_loads_by_itself_is_its_own(world: World) -> None:
    text = """
        import importlib.util, sys
        class Loader:
            def create_module(self, spec): return None
            def exec_module(self, module):
                text = "import WRITER\\ndef late():\\n    import WRITER\\n    return WRITER"
                exec(text, vars(module))
        def make():
            if "made_by_WRITER" not in sys.modules:
                spec = importlib.util.spec_from_loader("made_by_WRITER", Loader(), origin="made")
                module = sys.modules["made_by_WRITER"] = importlib.util.module_from_spec(spec)
                module.__loader__.exec_module(module)
            return sys.modules["made_by_WRITER"]
        """
    bubbles, name = writers(world, text)
    made = {}
    for bubble in bubbles:
        with om.use(bubble):
            writer = importlib.import_module(name)
            made[writer] = writer.make()
            assert vars(made[writer])[name] is writer
    assert [one.late() for one in made.values()] == [*made]
    assert f"made_by_{name}" not in sys.modules


def test_a_module_of_the_standard_library_under_an_alias_stays_everybodys(world: World) -> None:
    # As six.moves hands them out: the module gets the spec of its alias.
    text = """
        import importlib.util, sys
        class Loader:
            def __init__(self, found): self.found = found
            def create_module(self, spec): return sys.modules[self.found]
            def exec_module(self, module): pass
        def alias(name, found):
            spec = importlib.util.spec_from_loader(f"{__name__}.{name}", Loader(found))
            sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        """
    (bubble, _), name = writers(world, text)
    for found in ("wave", "_heapq"):  # of a file, and perhaps of none
        module = importlib.import_module(found)
        before = vars(module).copy()
        try:
            with om.use(bubble):
                importlib.import_module(name).alias("alias", found)
                assert importlib.import_module(f"{name}.alias") is module
            assert not Entry.of(module).made_up
            assert "__realm__" not in vars(module)
        finally:
            vars(module).update(before)


def test_what_main_made_up_stays_mains(world: World) -> None:
    made = world.name("made")
    mains = types.ModuleType(made)
    sys.modules[made] = mains
    bubbles, name = writers(
        world,
        f"""
        import sys, types
        sys.modules["{made}"] = types.ModuleType("{made}")
        mine = lambda: sys.modules["{made}"]
        """,
    )
    found = [om.load(bubble, name=name).mine() for bubble in bubbles]
    assert sys.modules[made] is importlib.import_module(made) is mains
    assert mains not in found
    assert found[0] is not found[1]


@pytest.mark.parametrize("claims_first", ["bubble", "main"])
def test_a_module_of_the_standard_library_that_a_bubble_replaces_is_mains_still(
    world: World, claims_first: str
) -> None:
    # As setuptools puts its distutils in the place of the standard library's.
    bubbles, name = writers(
        world,
        """
        import sys
        for one in [one for one in sys.modules if one.partition(".")[0] == "mailcap_or_so"]:
            del sys.modules[one]

        class Finder:
            def find_spec(self, name, path, target=None):
                import importlib, importlib.util
                if path is None and name == "STANDARD":
                    class Loader:
                        def create_module(self, spec):
                            return importlib.import_module("WRITER.own")
                        def exec_module(self, module):
                            pass
                    return importlib.util.spec_from_loader(name, Loader())

        sys.meta_path.insert(0, Finder())
        for one in [one for one in sys.modules if one.partition(".")[0] == "STANDARD"]:
            del sys.modules[one]
        import STANDARD
        assert STANDARD.__file__.endswith("own.py"), STANDARD
        look = lambda: __import__("STANDARD")
        """.replace("STANDARD", "tabnanny").replace("mailcap_or_so", "tabnanny"),
    )
    mains = importlib.import_module("tabnanny") if claims_first == "main" else None
    finders = list(sys.meta_path)
    found = [om.load(bubble, name=name).look() for bubble in bubbles]
    for bubble, module in zip(bubbles, found, strict=True):
        assert module.__file__.startswith(str(bubble.site_packages))
        with om.use(bubble):
            assert importlib.import_module("tabnanny") is module
    after = importlib.import_module("tabnanny")
    assert mains is None or after is mains
    assert str(after.__file__).endswith("tabnanny.py")
    assert "own" not in str(after.__file__)
    assert [
        one for one in sys.meta_path if one not in finders and type(one).__name__ == "Finder"
    ] == []


def test_a_module_of_main_that_replaces_itself_is_mains_whoever_imports_it_first(
    world: World,
) -> None:
    name, user = world.name("wraps"), world.name("user")
    replaces = """
        import sys

        class Wrapper:
            VERSION = "main"

        sys.modules[__name__] = Wrapper()
        """
    world.install(world.wheel(name, "1", {f"{name}/__init__.py": "", f"{name}/part.py": replaces}))
    bubble = world.make(user, "1", {f"{user}.py": f"from {name} import part"})
    with om.use(bubble):
        seen = importlib.import_module(user).part
    assert seen.VERSION == "main"
    assert importlib.import_module(f"{name}.part") is seen
    assert name not in CLAIMED


def test_a_module_of_main_that_code_of_a_bubble_imports_first_is_everybodys(world: World) -> None:
    other = world.name("other")
    world.module(other, "")
    bubbles, name = writers(world, f"import {other}\nlook = lambda: {other}\n")
    found = [om.load(bubble, name=name).look() for bubble in bubbles]
    assert found[0] is found[1] is importlib.import_module(other)
    assert other in dict.keys(sys.modules)


@compiles
@reads_the_stack
@pytest.mark.parametrize("kind", ["SINGLE_PHASE_ADDS", "MULTI_PHASE_ADDS"])
@pytest.mark.parametrize("main", ["main first", "main last"])
def test_a_module_that_native_code_makes_up_while_it_initialises_is_its_realms(
    world: World, kind: str, main: str
) -> None:
    # As TensorFlow does with pybind11_abseil.status, and SWIG with its types.
    name, made = world.name("nat"), world.name("made")

    def files(version: str) -> dict[str, str | bytes]:
        extension = compiled(name, version, kind, imports=made)
        return {f"{name}/__init__.py": "", f"{name}/_native{SUFFIX}": extension}

    world.install(world.wheel(name, "0.5", files("0.5")))
    bubbles = [world.make(name, version, files(version)) for version in ("1.0", "2.0")]
    full = f"{name}._native"
    in_main = importlib.import_module(full) if main == "main first" else None
    extensions = [om.load(bubble, name=full) for bubble in bubbles]
    if in_main is None:
        assert made not in sys.modules
        in_main = importlib.import_module(full)
    everywhere: list[ModuleType] = [*extensions, in_main]
    for extension in everywhere:
        assert extension.imported.version == extension.version
    assert sys.modules[made] is in_main.imported
    for bubble, extension in zip(bubbles, extensions, strict=True):
        with om.use(bubble):
            assert sys.modules[made] is extension.imported


def test_what_cython_shares_is_shared(world: World) -> None:
    shared = f"_cython_{world.name()}"
    bubbles, name = writers(
        world,
        f"""
        import sys, types
        shared = sys.modules.setdefault("{shared}", types.ModuleType("{shared}"))
        """,
    )
    first, second = (om.load(bubble, name=name).shared for bubble in bubbles)
    assert first is second is sys.modules[shared]
