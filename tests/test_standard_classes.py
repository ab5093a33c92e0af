"""What one copy of a package leaves on classes of the standard library is not for another one."""

from __future__ import annotations

import collections
import pickle
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from omnipkg_meta import standard_classes
from omnipkg_meta.errors import StandardLibraryConflictError, StandardLibraryPatchWarning
from omnipkg_meta.realm import realm_of
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnipkg_meta.store.bubble import Bubble
    from tests.worlds import World


class Package:
    """A package whose module ``standard`` declares a class of the standard library.

    Attributes:
        name: the package and the distribution.
        attribute: where it leaves its declaration, on ``collections.UserDict``.
        files: its sources, for :meth:`World.versions`.
    """

    def __init__(self, world: World) -> None:
        self.name = world.name("declares")
        self.attribute = f"__{world.name('declared')}__"
        self.files = {
            f"{self.name}/__init__.py": f"""
class Declaration:
    version = "VERSION"

def declare(cls):
    found = vars(cls).get({self.attribute!r})
    if found is not None and type(found) is not Declaration:
        raise RecursionError("this is no declaration, nor a list of some")
    setattr(cls, {self.attribute!r}, Declaration())
""",
            f"{self.name}/standard.py": f"""
import collections
from {self.name} import declare
declare(collections.UserDict)
""",
            f"{self.name}/late.py": "",
            f"{self.name}/patch.py": f"""
import collections
collections.UserDict.{self.attribute} = lambda self: None
""",
            f"{self.name}/descriptor.py": f"""
import collections
class Descriptor:
    def __get__(self, instance, owner): return None
collections.UserDict.{self.attribute} = Descriptor()
""",
            f"{self.name}/empty.py": f"""
import collections
class Declarations:
    def __iter__(self): return iter(())
collections.UserDict.{self.attribute} = Declarations()
""",
            f"{self.name}/list.py": f"""
import collections
class Declarations:
    def __iter__(self): return iter("one")
collections.UserDict.{self.attribute} = Declarations()
""",
            f"{self.name}/iterator.py": f"""
import collections
class Iterator:
    def __iter__(self): return self
    def __next__(self): raise AssertionError("it is not to be used up")
collections.UserDict.{self.attribute} = Iterator()
""",
            f"{self.name}/wraps.py": f"""
import collections
class Wrapper:
    def __init__(self, wrapped): self.__wrapped__ = wrapped
    def __call__(self): return self.__wrapped__()
collections.UserDict.{self.attribute} = Wrapper(int)
""",
        }

    def left(self) -> Any:
        """Return what lies on the class."""
        return vars(collections.UserDict).get(self.attribute)


@pytest.fixture(name="package")
def package_fixture(world: World) -> Iterator[Package]:
    package = Package(world)
    yield package
    for cls in (collections.UserDict, collections.UserList):
        if package.attribute in vars(cls):
            delattr(cls, package.attribute)
    standard_classes._look(anew=True)


def load(bubble: Bubble, package: Package, module: str) -> Any:
    return om.load(bubble, name=f"{package.name}.{module}")


def loaded(bubble: Bubble, package: Package) -> list[str]:
    return [one for one in realm_of(bubble).modules if one.partition(".")[0] == package.name]


def test_one_copy_alone_is_not_even_looked_at(
    world: World, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bubble,) = world.versions(package.name, "1.0", files=package.files)

    def look(*_: Any, **__: Any) -> list[Any]:
        raise AssertionError("nobody is to look")

    monkeypatch.setattr(standard_classes, "_look", look)
    load(bubble, package, "standard")
    load(bubble, package, "late")
    assert package.left().version == "1.0"
    monkeypatch.undo()


def test_a_second_copy_is_refused_before_any_of_its_code_ran(
    world: World, package: Package
) -> None:
    first, second = world.versions(package.name, "1.0", "2.0", files=package.files)
    load(first, package, "standard")
    for _ in range(2):
        with pytest.raises(StandardLibraryConflictError) as caught, om.use(second):
            raise AssertionError("it was entered")
        error: Any = pickle.loads(pickle.dumps(caught.value))  # it is our own
        assert issubclass(type(error), ImportError)
        assert error.package == package.name
        assert error.attribute == f"collections.UserDict.{package.attribute}"
        assert error.kind == f"{package.name}.Declaration"
        assert error.holder == repr(first)
        for fact in (repr(first), repr(second), error.attribute, error.kind):
            assert fact in str(error)
        assert "process of its own" in str(error)
    assert loaded(second, package) == []
    # What was there goes on.
    load(first, package, "late")


def test_it_is_refused_no_longer_than_the_objects_lie_there(world: World, package: Package) -> None:
    first, second = world.versions(package.name, "1.0", "2.0", files=package.files)
    load(first, package, "standard")
    with pytest.raises(StandardLibraryConflictError):
        load(second, package, "late")
    delattr(collections.UserDict, package.attribute)
    load(second, package, "late")


@pytest.mark.parametrize("first", ["main", "bubble"])
def test_the_copy_of_main_counts(world: World, package: Package, first: str) -> None:
    (bubble,) = world.versions(package.name, "2.0", main="1.0", files=package.files)
    in_main = f"import {package.name}.standard"
    if first == "main":
        exec(in_main, {"__name__": __name__})  # noqa: S102
        with pytest.raises(StandardLibraryConflictError) as caught:
            load(bubble, package, "late")
        assert caught.value.holder == "main"
        assert f"share=[{package.name!r}]" in str(caught.value)
        assert loaded(bubble, package) == []
        wheel = world.wheel(package.name, "3.0", package.files)
        with om.use(world.bubble(wheel, world.wheel(world.name(), "1.0")), share=[package.name]):
            exec(in_main, {"__name__": __name__})  # noqa: S102
    else:
        load(bubble, package, "standard")
        with pytest.raises(StandardLibraryConflictError, match=f"{package.name} of main"):
            exec(in_main, {"__name__": __name__})  # noqa: S102
        with om.use(om.main):
            assert package.name not in sys.modules
    assert package.left().version == ("1.0" if first == "main" else "2.0")


def test_the_same_version_in_two_realms_is_two_copies(world: World, package: Package) -> None:
    wheel = world.wheel(
        package.name, "1.0", {k: t.replace("VERSION", "1.0") for k, t in package.files.items()}
    )
    other = world.wheel(world.name("other"), "1.0")
    first, second = world.bubble(wheel), world.bubble(wheel, other)
    load(first, package, "standard")
    with pytest.raises(StandardLibraryConflictError):
        load(second, package, "late")
    with pytest.raises(StandardLibraryConflictError), om.use(first, hermetic=True):
        pass


def test_what_one_leaves_while_both_are_loaded_is_said_and_ends_the_loading_of_the_other(
    world: World, package: Package
) -> None:
    first, second = world.versions(package.name, "1.0", "2.0", files=package.files)
    load(first, package, "late")
    load(second, package, "late")
    with pytest.warns(StandardLibraryPatchWarning) as caught, om.use(first):
        exec(f"import {package.name}.standard", {"__name__": __name__})  # noqa: S102
    (warning,) = caught
    assert warning.filename == "<string>"
    for fact in (repr(first), repr(second), f"collections.UserDict.{package.attribute}"):
        assert fact in str(warning.message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = loaded(second, package)
        for module in ("standard", "patch"):
            with pytest.raises(StandardLibraryConflictError):
                load(second, package, module)
        assert loaded(second, package) == before
        load(second, package, "late")  # it is there
        load(first, package, "patch")


def test_an_error_that_comes_of_it_is_the_cause_of_the_refusal(
    world: World, package: Package
) -> None:
    (first,) = world.versions(package.name, "1.0", files=package.files)
    user = world.name("user")
    text = f"import collections, {package.name}\n{package.name}.declare(collections.UserDict)\n"
    wheel = world.wheel(user, "1.0", {f"{user}.py": text})
    with_user = world.bubble(
        world.wheel(
            package.name, "3", {k: t.replace("VERSION", "3") for k, t in package.files.items()}
        ),
        wheel,
    )
    load(with_user, package, "late")
    with pytest.warns(StandardLibraryPatchWarning):
        load(first, package, "standard")
    # The module is of another package, which may be loaded: it calls what is loaded.
    with pytest.raises(StandardLibraryConflictError) as caught:
        om.load(with_user, name=user)
    assert isinstance(caught.value.__cause__, RecursionError)
    assert user not in realm_of(with_user).modules


def test_an_error_that_has_nothing_to_do_with_it_stays_what_it_is(
    world: World, package: Package
) -> None:
    wrong = world.name("wrong")
    first, _ = world.versions(package.name, "1.0", "2.0", files=package.files)
    other = world.bubble(
        world.wheel(package.name, "3", package.files),
        world.wheel(wrong, "1.0", {f"{wrong}.py": "1 / 0\n"}),
    )
    load(other, package, "late")
    with pytest.warns(StandardLibraryPatchWarning):
        load(first, package, "standard")
    with pytest.raises(ZeroDivisionError):
        om.load(other, name=wrong)


def test_two_threads_that_load_it_at_once_end_in_one_copy_or_in_refusals(world: World) -> None:
    for number in range(8):
        own = Package(world)
        own.files[f"{own.name}/waits.py"] = f"""
import threading
from {own.name} import BARRIER
BARRIER.wait()
from {own.name} import standard
BARRIER.wait()
"""
        bubbles = world.versions(own.name, "1.0", "2.0", files=own.files)
        barrier = threading.Barrier(2, timeout=60)
        for bubble in bubbles:
            vars(om.load(bubble, name=own.name))["BARRIER"] = barrier
        ended: dict[str, Any] = {}

        def run(
            bubble: Bubble, own: Package, barrier: threading.Barrier, ended: dict[str, Any]
        ) -> None:
            version = bubble.distributions[own.name]
            try:
                ended[version] = load(bubble, own, "waits")
            except Exception as error:  # noqa: BLE001  # to be looked at below
                barrier.abort()
                ended[version] = error

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            threads = [
                threading.Thread(target=run, args=(one, own, barrier, ended)) for one in bubbles
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        try:
            refused = [v for v, e in ended.items() if isinstance(e, StandardLibraryConflictError)]
            assert refused, (number, ended)
            assert not any(isinstance(one, RecursionError) for one in ended.values())
            said = [one for one in caught if own.attribute in str(one.message)]
            assert 1 <= len(said) <= 2
            for bubble in bubbles:
                if bubble.distributions[own.name] in refused:
                    assert loaded(bubble, own) == [own.name]
        finally:
            delattr(collections.UserDict, own.attribute)


def test_both_that_have_left_something_are_refused_at_the_end_of_the_load(
    world: World, package: Package
) -> None:
    # Each declares another class, and so neither of them fails.
    package.files[f"{package.name}/standard.py"] = f"""
import collections
from {package.name} import Declaration, WAIT
WAIT()
cls = collections.UserDict if Declaration.version == "1.0" else collections.UserList
cls.{package.attribute} = Declaration()
"""
    package.files[f"{package.name}/outer.py"] = f"from {package.name} import late, standard\n"
    first, second = world.versions(package.name, "1.0", "2.0", files=package.files)

    def meanwhile() -> None:
        vars(om.load(first, name=package.name))["WAIT"] = lambda: None
        thread = threading.Thread(target=load, args=(first, package, "standard"))
        thread.start()
        thread.join()

    om.load(first, name=package.name)
    vars(om.load(second, name=package.name))["WAIT"] = meanwhile
    with (
        pytest.warns(StandardLibraryPatchWarning),
        pytest.raises(StandardLibraryConflictError),
    ):
        load(second, package, "outer")
    assert loaded(second, package) == [package.name]
    assert not hasattr(realm_of(second).modules[package.name], "late")


def test_what_was_empty_when_it_was_looked_at_may_say_something_later(
    world: World, package: Package
) -> None:
    package.files[f"{package.name}/filled.py"] = f"""
import collections
from {package.name} import empty as _empty
collections.UserDict.{package.attribute}.__class__.__iter__ = lambda self: iter("one")
"""
    first, second, third = world.versions(package.name, "1.0", "2", "3", files=package.files)
    load(first, package, "empty")
    load(second, package, "late")
    with pytest.warns(StandardLibraryPatchWarning):
        load(first, package, "filled")
    with pytest.raises(StandardLibraryConflictError):
        load(third, package, "late")


@pytest.mark.parametrize("module", ["list", "iterator"])
def test_what_can_be_iterated_over_is_refused_if_there_may_be_something_in_it(
    world: World, package: Package, module: str
) -> None:
    first, second = world.versions(package.name, "1.0", "2.0", files=package.files)
    load(first, package, module)
    with pytest.raises(StandardLibraryConflictError):
        load(second, package, "late")


@pytest.mark.parametrize("module", ["patch", "wraps", "descriptor", "empty"])
def test_neither_a_patch_nor_what_is_empty_is_a_refusal(
    world: World, package: Package, module: str
) -> None:
    first, second = world.versions(package.name, "1.0", "2.0", files=package.files)
    load(first, package, module)
    load(second, package, "late")
    load(second, package, module)


def test_an_object_of_another_package_of_main_is_no_refusal(world: World, package: Package) -> None:
    world.versions(package.name, main="1.0", files=package.files)
    name = world.name("bystander")
    (bubble,) = world.versions(name, "2.0", main="1.0")
    exec(f"import {name}, {package.name}.standard", {"__name__": __name__})  # noqa: S102
    assert om.load(bubble, name=name).__version__ == "2.0"


def test_a_portion_of_the_same_namespace_package_is_no_copy(world: World, package: Package) -> None:
    space = world.name("space")

    def inside(text: str) -> str:
        return text.replace(package.name, f"{space}.{package.name}").replace("VERSION", "1.0")

    files = {f"{space}/{path}": inside(text) for path, text in package.files.items()}
    world.install(world.wheel(package.name, "1.0", files))
    event = world.name("event")
    with_event = world.bubble(
        world.wheel(event, "1.0", {f"{space}/{event}.py": "__version__ = '1.0'\n"})
    )
    with_copy = world.bubble(world.wheel(package.name, "1.0", files))
    exec(f"import {space}.{package.name}.standard", {"__name__": __name__})  # noqa: S102
    assert om.load(with_event, name=f"{space}.{event}").__version__ == "1.0"
    with pytest.raises(StandardLibraryConflictError) as caught, om.use(with_copy):
        pass
    assert caught.value.package == f"{space}.{package.name}"


def test_what_main_left_while_the_hooks_were_out_is_found_when_they_come_in(
    world: World, package: Package
) -> None:
    (bubble,) = world.versions(package.name, "2.0", main="1.0", files=package.files)
    scope = om.use(bubble)
    with scope:
        pass
    om.uninstall_hooks()
    exec(f"import {package.name}.standard", {"__name__": __name__})  # noqa: S102
    with pytest.raises(StandardLibraryConflictError), scope:
        pass
    assert loaded(bubble, package) == []


def test_what_a_function_left_is_found_before_the_other_copy_is_loaded(
    world: World, package: Package
) -> None:
    first, second = world.versions(package.name, "1.0", "2.0", files=package.files)
    scope = om.use(second)
    with scope:
        pass
    om.load(first, name=package.name).declare(collections.UserDict)
    with pytest.raises(StandardLibraryConflictError), scope:
        exec(f"import {package.name}", {"__name__": __name__})  # noqa: S102
    assert loaded(second, package) == []


def test_to_look_loads_no_module_that_waits_to_be_touched(world: World) -> None:
    world.versions("claimed", "1.0", "2.0")
    world.run(
        """
        import importlib.util, sys
        import omnipkg_meta as om

        spec = importlib.util.find_spec("this")  # which prints when it is loaded
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules["this"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["this"])
        sys.modules["antigravity"] = None
        for version in ("1.0", "2.0"):
            with om.use(f"claimed=={version}"):
                import claimed
        from omnipkg_meta import standard_classes
        assert "this" in standard_classes._searched
        assert type(sys.modules["this"]) is importlib.util._LazyModule
        """
    )
