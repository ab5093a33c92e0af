"""Native code that is adopted, or loaded by several realms of one bubble."""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta.errors import MainModuleWarning, TermsError
from omnipkg_meta.store import native_files
from tests.elf_source import linked, needs_elf
from tests.native_source import KINDS, SUFFIX, compiled, needs_compiler
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    import ctypes
    from types import ModuleType

    from omnipkg_meta.store.bubble import Bubble

pytestmark = pytest.mark.skipif(bool(needs_compiler()), reason=needs_compiler())
has_patchelf = pytest.mark.skipif(native_files.find_patchelf() is None, reason="needs patchelf")
needs_libraries = pytest.mark.skipif(bool(needs_elf()), reason=needs_elf())


class Native:
    """main's package with an extension module that imports another one, of which there are bubbles.

    Attributes:
        name: the package with native code, 5.0, in main.
        dep: what it requires: 0.5 in main, 1.0 and 2.0 in bubbles.
        bubbles: the bubbles.
    """

    def __init__(self, world: World, kind: str = "MULTI_PHASE", requires: str = "") -> None:
        self.name, self.dep = world.name("nat"), world.name("dep")
        self.bubbles = world.versions(self.dep, "1.0", "2.0", main="0.5")
        extension = compiled(self.name, "5.0", kind, imports=self.dep)
        source = f"""
            __version__ = "5.0"
            from {self.name} import _native
            import {self.dep}

            def late():
                import {self.dep}
                return {self.dep}
        """
        files: dict[str, str | bytes] = {
            f"{self.name}/__init__.py": source,
            f"{self.name}/_native{SUFFIX}": extension,
        }
        world.install(
            world.wheel(
                self.name,
                "5.0",
                files,
                requires=[f"{self.dep}{requires}"],
                entry_points={"omt.native": {"late": f"{self.name}:late"}},
            )
        )

    def adopted(self, bubble: Bubble) -> Any:
        with om.use(bubble, adopt=[self.name]):
            return importlib.import_module(self.name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["main first", "main last"])
def test_mains_extension_module_is_one_for_each_bubble_and_one_for_main(
    world: World, kind: str, first: str
) -> None:
    native = Native(world, kind)
    mains = importlib.import_module(native.name) if first == "main first" else None
    one, two = map(native.adopted, native.bubbles)
    mains = mains or importlib.import_module(native.name)
    assert [module._native.imported.__version__ for module in (mains, one, two)] == [
        *("0.5", "1.0", "2.0")
    ]
    assert [module.late().__version__ for module in (mains, one, two)] == ["0.5", "1.0", "2.0"]
    assert [module._native.version for module in (mains, one, two)] == ["5.0"] * 3
    assert len({id(module._native) for module in (mains, one, two)}) == 3
    assert [module._native.__bubble__ for module in (one, two)] == native.bubbles
    assert not hasattr(mains._native, "__bubble__")
    inodes = {Path(module._native.__file__).stat().st_ino for module in (mains, one, two)}
    assert len(inodes) == 3
    assert importlib.import_module(native.name) is mains
    assert native.adopted(native.bubbles[0]) is one


def test_native_code_that_is_adopted_imports_from_its_bubble_after_the_scope(world: World) -> None:
    native = Native(world)
    one = native.adopted(native.bubbles[0])
    assert one._native.import_(native.dep).__version__ == "1.0"
    assert importlib.import_module(native.name)._native.import_(native.dep).__version__ == "0.5"


def test_metadata_shows_mains_version_of_what_is_adopted_once(world: World) -> None:
    native = Native(world)
    other = world.make(native.name, "7.0")
    with om.use(other), om.use(native.bubbles[0], adopt=[native.name]):
        assert seen(native.name) == "5.0"
        assert metadata.version(native.dep) == "1.0"
        found = [one.version for one in metadata.distributions() if one.name == native.name]
        (point,) = metadata.entry_points(group="omt.native")
    assert found == ["5.0"]
    assert point.load()().__version__ == "1.0"


def test_an_installed_distribution_of_python_code_is_adopted_with_its_metadata(
    world: World,
) -> None:
    name, dep = world.name("pure"), world.name("dep")
    (bubble,) = world.versions(dep, "1.0", main="0.5")
    world.install(world.wheel(name, "5.0", {f"{name}.py": f"__version__ = '5.0'\nimport {dep}\n"}))
    with om.use(world.make(name, "7.0")), om.use(bubble, adopt=[name]):
        assert seen(name) == "5.0"
        module: Any = importlib.import_module(name)
    assert module.__file__ == str(world.main / f"{name}.py")
    assert getattr(module, dep).__version__ == "1.0"
    assert not (world.store.tag_path / ".copies").exists()


def test_a_distribution_is_adopted_by_its_name_and_whole(world: World) -> None:
    dist, names = world.name("py-Dist"), (world.name("one"), world.name("two"))
    dep = world.name("dep")
    (bubble,) = world.versions(dep, "1.0", main="0.5")
    world.install(world.wheel(dist, "5.0", {f"{name}.py": f"import {dep}\n" for name in names}))
    found = set()
    for given in (dist, *names):
        with om.use(bubble, adopt=[given]) as scope:
            modules = [importlib.import_module(name) for name in names]
        assert [getattr(one, dep).__version__ for one in modules] == ["1.0", "1.0"]
        found.add(tuple(modules))
        assert repr(scope) == f"use({bubble!r}, adopt=[{given!r}])"
    assert len(found) == 1


def test_a_requirement_that_the_bubble_does_not_meet_is_refused(world: World) -> None:
    native = Native(world, requires=">=2")
    scope = om.use(native.bubbles[0], adopt=[native.name])
    with pytest.raises(TermsError) as caught, scope:
        pass
    assert list(caught.value.conflicts) == [
        f"main's {native.name} 5.0 requires {native.dep}>=2, and the bubble has {native.dep} 1.0"
    ]
    assert native.adopted(native.bubbles[1]).late().__version__ == "2.0"


def test_what_stays_in_main_of_the_requirements_of_the_adopted_is_said(world: World) -> None:
    dep, middle, top, other = (world.name(stem) for stem in ("dep", "middle", "top", "other"))
    (bubble,) = world.versions(dep, "1.0", main="0.5")
    for name, requires in ((middle, [dep]), (other, []), (top, [middle, other])):
        world.install(
            world.wheel(name, "5.0", {f"{name}.py": f"import {dep}\n"}, requires=requires)
        )
    with (
        pytest.warns(MainModuleWarning, match=rf"adopt=\['{top}', '{middle}'\]") as caught,
        om.use(bubble, adopt=[top]),
    ):
        assert getattr(importlib.import_module(top), dep).__version__ == "1.0"
    assert len(caught) == 1
    with om.use(bubble, adopt=[top, middle]):
        for name in (top, middle):
            assert getattr(importlib.import_module(name), dep).__version__ == "1.0"


def test_native_code_of_the_users_own_that_a_finder_maps_to_another_name(world: World) -> None:
    dep, name = world.name("dep"), world.name("mine")
    (bubble,) = world.versions(dep, "1.0", main="0.5")
    folder = world.path / "checkout" / "otherwise"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"from {name}._native import imported\n")
    (folder / f"_native{SUFFIX}").write_bytes(compiled(name, "3", "MULTI_PHASE", imports=dep))
    world.run(
        f"""
        import importlib.util, sys
        import omnipkg_meta as om
        class Editable:
            def find_spec(self, name, path=None, target=None):
                if name == "{name}":
                    return importlib.util.spec_from_file_location(
                        name, r"{folder}/__init__.py", submodule_search_locations=[r"{folder}"]
                    )
        sys.meta_path.append(Editable())
        import {name} as mains
        with om.use("{dep}==1.0", adopt=["{name}"]):
            import {name} as mine
        assert (mains.imported.__version__, mine.imported.__version__) == ("0.5", "1.0")
        """
    )
    assert len(world.store.copies(bubble)) == 1


def test_native_code_in_several_places_is_refused_by_name(world: World) -> None:
    dep, space = world.name("dep"), world.name("space")
    (bubble,) = world.versions(dep, "1.0", main="0.5")
    places = [world.main, world.path / "more"]
    for place in places:
        (place / space).mkdir(parents=True)
        (place / space / f"_native{SUFFIX}").write_bytes(compiled(space, "3", "MULTI_PHASE"))
    world.run(
        f"""
        import sys
        sys.path.append(r"{places[1]}")
        import omnipkg_meta as om
        from omnipkg_meta.errors import TermsError
        try:
            om.use("{dep}==1.0", adopt=["{space}"]).__enter__()
        except TermsError as error:
            assert "{space}" in str(error) and "several places" in str(error)
        else:
            raise AssertionError("it was adopted")
        """
    )
    assert world.store.copies(bubble) == []


@pytest.mark.parametrize("as_file", [True, False], ids=["a file", "a package"])
def test_native_code_of_the_users_own(world: World, *, as_file: bool) -> None:
    dep, name = world.name("dep"), "_native" if as_file else world.name("mine")
    bubbles = world.versions(dep, "1.0", "2.0", main="0.5")
    if as_file:
        (world.main / f"_native{SUFFIX}").write_bytes(compiled("", "3", "MULTI_PHASE", imports=dep))
    else:
        (world.main / name).mkdir()
        (world.main / name / "__init__.py").write_text(f"from {name}._native import imported\n")
        extension = compiled(name, "3", "MULTI_PHASE", imports=dep)
        (world.main / name / f"_native{SUFFIX}").write_bytes(extension)
    program = f"""
        import omnipkg_meta as om
        import {name} as mains
        found = [mains]
        for version in ("1.0", "2.0"):
            with om.use("{dep}==" + version, adopt=["{name}"]):
                import {name} as mine
            found.append(mine)
        assert [one.imported.__version__ for one in found] == ["0.5", "1.0", "2.0"]
        """
    world.run(program)
    world.run(program)
    assert [len(world.store.copies(bubble)) for bubble in bubbles] == [1, 1]
    if not as_file:
        (world.main / name / "__init__.py").write_text(f"from {name}._native import imported \n")
        os.utime(world.main / name / "__init__.py", (1, 1))
        world.run(program)
        assert len(world.store.copies(bubbles[0])) == 2


# -- realms of one bubble ------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_bubbles_extension_module_is_one_for_each_set_of_terms(world: World, kind: str) -> None:
    name, dep = world.name("nat"), world.name("dep")
    extension = compiled(name, "1.0", kind, imports=dep)
    wheel = world.wheel(
        name, "1.0", {f"{name}/__init__.py": "", f"{name}/_native{SUFFIX}": extension}
    )
    bubble = world.bubble(wheel, world.wheel(dep, "1.0"))
    world.install(world.wheel(dep, "0.5"))
    found: list[ModuleType] = []
    for terms in ({}, {"share": [dep]}):
        with om.use(bubble, **terms):  # type: ignore[arg-type]
            found.append(importlib.import_module(f"{name}._native"))
    assert [one.imported.__version__ for one in found] == ["1.0", "0.5"]
    assert found[1].imported is importlib.import_module(dep)
    assert [one.import_(dep).__version__ for one in found] == ["1.0", "0.5"]
    (copy,) = world.store.copies(bubble)
    assert str(found[1].__file__).startswith(str(copy.path))


_INNER = "static int calls; int version(void) { return @V@; } int count(void) { return ++calls; }"
_OUTER = """
int version(void); int count(void);
int ask(void) { return version(); }
int count_there(void) { return count(); }
"""
_PACKAGE = """
import ctypes
from pathlib import Path
def load(file):
    return ctypes.CDLL(str(Path(__file__).parent / file))
"""


def library(version: int, soname: str) -> bytes:
    return linked(_INNER.replace("@V@", str(version)), soname=soname)


def outer(soname: str, rpath: str | None = "$ORIGIN") -> bytes:
    return linked(_OUTER, needs=[(soname, library(1, soname))], rpath=rpath)


@needs_libraries
def test_each_copy_has_libraries_of_its_own(world: World) -> None:
    """Also where the bubble's have private names already."""
    name, soname = world.name("libs"), f"libomt{os.getpid()}{world.name()}.so.1"
    wheel = world.wheel(
        name,
        "1.0",
        {
            f"{name}/__init__.py": _PACKAGE,
            f"{name}/{soname}": library(1, soname),
            f"{name}/outer.so": outer(soname),
        },
    )
    bubble = om.install(f"{wheel}", index_options=["--no-index"], store=world.store)
    world.module(world.name("x"), "")
    user = world.name("user")
    world.module(user, "")
    libraries: list[ctypes.CDLL] = []
    for terms in ({}, {"share": [user]}):
        with om.use(bubble, **terms):  # type: ignore[arg-type]
            libraries.append(importlib.import_module(name).load("outer.so"))
    assert [one.count_there() for one in libraries] == [1, 1]
    assert [one.count_there() for one in libraries] == [2, 2]
    (copy,) = world.store.copies(bubble)
    assert bubble.libraries is not None
    assert copy.libraries is not None
    assert copy.libraries.private.keys() == bubble.libraries.private.keys() == {soname}
    assert copy.libraries.private[soname] != bubble.libraries.private[soname]
    assert world.store.verify(bubble) == []


@needs_libraries
@has_patchelf
@pytest.mark.parametrize("how", ["short", "crowded"])
def test_copies_of_libraries_that_patchelf_made_room_in(world: World, how: str) -> None:
    name, user = world.name("libs"), world.name("user")
    soname = "r.so" if how == "short" else f"libomt{os.getpid()}{world.name()}.so.1"
    crowd = f'int symbol(void) asm("prefix_{soname}"); int symbol(void) {{ return 0; }}\n'
    data = linked((crowd if how == "crowded" else "") + _INNER.replace("@V@", "1"), soname=soname)
    wheel = world.wheel(
        name,
        "1.0",
        {
            f"{name}/__init__.py": _PACKAGE,
            f"{name}/{soname}": data,
            f"{name}/outer.so": linked(_OUTER, needs=[(soname, data)], rpath="$ORIGIN"),
        },
    )
    bubble = om.install(f"{wheel}", index_options=["--no-index"], store=world.store)
    world.module(user, "")
    libraries: list[ctypes.CDLL] = []
    for terms in ({}, {"share": [user]}):
        with om.use(bubble, **terms):  # type: ignore[arg-type]
            libraries.append(importlib.import_module(name).load("outer.so"))
    assert [one.count_there() for one in (*libraries, *libraries)] == [1, 1, 2, 2]
    (copy,) = world.store.copies(bubble)
    assert copy.libraries is not None
    assert copy.libraries.public == {}
    assert soname in copy.libraries.private
    assert world.store.verify(bubble) == []


@needs_libraries
@has_patchelf
def test_a_library_that_cannot_be_parted_from_what_is_shared_is_refused_by_name(
    world: World,
) -> None:
    base, user = world.name("base"), world.name("user")
    files: dict[str, str | bytes] = {f"{base}/__init__.py": "", f"{base}/s.so": library(1, "s.so")}
    lower = world.wheel(base, "1", files)
    upper = world.wheel(
        user, "1.0", {f"{user}/__init__.py": "", f"{user}/outer.so": outer("s.so", None)}
    )
    bubble = om.install(*(f"{upper}", f"{lower}"), index_options=["--no-index"], store=world.store)
    world.install(lower)
    scope = om.use(bubble, share=[base])
    with pytest.raises(TermsError, match=f"{user}/outer.so needs it"), scope:
        pass
    assert world.store.copies(bubble) == []


@needs_libraries
def test_a_library_without_room_for_the_name_of_the_bubbles_is_not_adopted(world: World) -> None:
    base, user = world.name("base"), world.name("user")
    soname = f"libomt{os.getpid()}{world.name()}.so.1"
    files: dict[str, str | bytes] = {
        f"{base}/__init__.py": "",
        f"{base}/{soname}": library(1, soname),
    }
    lower = world.wheel(base, "1", files)
    crowd = f'int symbol(void) asm("prefix_{soname}"); int symbol(void) {{ return 0; }}\n'
    crowded = linked(crowd + _OUTER, needs=[(soname, library(1, soname))])
    upper = world.wheel(user, "1.0", {f"{user}/__init__.py": "", f"{user}/outer.so": crowded})
    bubble = om.install(f"{lower}", index_options=["--no-index"], store=world.store)
    world.install(lower, upper)
    scope = om.use(bubble, adopt=[user])
    with pytest.raises(TermsError, match=f"cannot adopt {user}/outer.so") as caught, scope:
        pass
    assert soname in str(caught.value)
    assert world.store.copies(bubble) == []


@needs_libraries
def test_a_library_finds_those_of_a_distribution_that_is_shared_in_main(world: World) -> None:
    """It needs them by a private name in the bubble, and by their own in the copy."""
    base, user = world.name("base"), world.name("user")
    soname = f"libomt{os.getpid()}{world.name()}.so.1"

    def wheel(version: int) -> Path:
        files: dict[str, str | bytes] = {
            f"{base}/__init__.py": _PACKAGE,
            f"{base}/{soname}": library(version, soname),
        }
        return world.wheel(base, f"{version}", files)

    source = f"import {base}\nlibrary = {base}.load('{soname}')\n" + _PACKAGE
    upper = world.wheel(
        user,
        "1.0",
        {f"{user}/__init__.py": source, f"{user}/outer.so": outer(soname, None)},
        requires=[base],
    )
    bubble = om.install(
        *(f"{upper}", f"{wheel(1)}"), index_options=["--no-index"], store=world.store
    )
    world.install(wheel(2))
    found = []
    for terms in ({}, {"share": [base]}):
        with om.use(bubble, **terms):  # type: ignore[arg-type]
            module = importlib.import_module(user)
            found.append((module.library.version(), module.load("outer.so").ask()))
    assert found == [(1, 1), (2, 2)]


@needs_libraries
def test_a_library_that_is_adopted_finds_the_bubbles(world: World) -> None:
    base, user = world.name("base"), world.name("user")
    soname = f"libomt{os.getpid()}{world.name()}.so.1"

    def wheel(version: int) -> Path:
        files: dict[str, str | bytes] = {
            f"{base}/__init__.py": _PACKAGE,
            f"{base}/{soname}": library(version, soname),
        }
        return world.wheel(base, f"{version}", files)

    source = f"import {base}\nlibrary = {base}.load('{soname}')\n" + _PACKAGE
    upper = world.wheel(
        user,
        "1.0",
        {f"{user}/__init__.py": source, f"{user}/outer.so": outer(soname, None)},
        requires=[base],
    )
    bubble = om.install(f"{wheel(1)}", index_options=["--no-index"], store=world.store)
    world.install(wheel(2), upper)
    found = []
    for scope in (om.use(om.main), om.use(bubble, adopt=[user])):
        with scope:
            module = importlib.import_module(user)
            found.append((module.library.version(), module.load("outer.so").ask()))
    assert found == [(2, 2), (1, 1)]
    assert world.store.verify(bubble) == []
    assert sys.modules[user].library.version() == 2
