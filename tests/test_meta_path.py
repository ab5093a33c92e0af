"""``sys.meta_path``: code of a bubble sees and changes a list of its own, and main's stays so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnipkg_meta.errors import HookError
from omnipkg_meta.meta_path import _View
from omnipkg_meta.retype import prove_list, set_type
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: Code of two bubbles and of main that looks at the list and changes it.
CHANGES = """
    import copy, pickle, sys

    class Finder:
        def __init__(self, label):
            self.label = label

        def __repr__(self):
            return self.label

        def find_spec(self, name, path=None, target=None):
            return None

    def labels(finders=None):
        return [repr(one) for one in (sys.meta_path if finders is None else finders)
                if type(one).__name__ == "Finder"]

    def look():
        seen = labels()
        assert len(sys.meta_path) == len(list(sys.meta_path)) == len([*sys.meta_path])
        assert labels(sys.meta_path.copy()) == labels(sys.meta_path[:]) == seen
        assert labels(copy.copy(sys.meta_path)) == labels(tuple(sys.meta_path)) == seen
        assert labels(sys.meta_path + []) == labels([] + sys.meta_path) == seen
        assert labels(reversed(sys.meta_path)) == seen[::-1]
        assert sys.meta_path == list(sys.meta_path) and list(sys.meta_path) == sys.meta_path
        assert not sys.meta_path != sys.meta_path
        assert repr(sys.meta_path) == repr(list(sys.meta_path))
        for place, one in enumerate(sys.meta_path):
            assert sys.meta_path[place] is one and one in sys.meta_path
            assert sys.meta_path.index(one) == place and sys.meta_path.count(one) == 1
        return seen

    def change(operation, *arguments):
        return getattr(sys.meta_path, operation)(*arguments)

    def add(label):
        sys.meta_path += [Finder(label)]

    def take_away(label):
        # As six does with the finder of another copy of itself.
        for place, one in enumerate(sys.meta_path):
            if repr(one) == label:
                del sys.meta_path[place]
                break
        else:
            raise LookupError(label)
    """

START = """
    import sys, omnipkg_meta as om
    import pkg as main
    path, before = sys.meta_path, list(sys.meta_path)
    main.add("main's")
    one, two = om.load("pkg==1.0"), om.load("pkg==2.0")
    """


def test_each_side_changes_its_own_list(world: World) -> None:
    world.versions("pkg", "1.0", "2.0", main="0.5", files={"pkg.py": CHANGES})
    world.run(
        START
        + """
    assert one.look() == two.look() == main.look() == ["main's"]
    one.change("append", one.Finder("a"))
    one.take_away("main's")
    two.change("insert", 0, two.Finder("b"))
    two.change("extend", (two.Finder(label) for label in "cd"))
    two.change("__setitem__", slice(-1, None), [two.Finder("e")])
    assert one.look() == ["a"]
    assert two.look() == ["b", "main's", "c", "e"]
    assert main.look() == ["main's"]

    main.change("insert", 1, main.Finder("early"))
    main.add("late")
    assert one.look() == ["early", "late", "a"]
    assert two.look() == ["b", "early", "main's", "late", "c", "e"]
    main.take_away("late")
    main.take_away("main's")
    assert (one.look(), two.look()) == (["early", "a"], ["b", "early", "c", "e"])
    assert main.look() == ["early"]

    two.change("remove", sys.modules["pkg"] and two.change("__getitem__", -1))
    assert repr(two.change("pop")) == "c"
    two.change("clear")
    assert two.look() == [] and main.look() == ["early"]
    assert list(sys.meta_path)[1:] == [main.change("__getitem__", 1), *before]

    om.uninstall_hooks()
    assert sys.meta_path is path and type(path) is list
    assert main.labels() == ["early"] and path[1:] == before
    one = om.load("pkg==1.0")
    assert one.look() == ["early", "a"] and main.look() == ["early"]
    """
    )


def test_what_code_of_main_puts_first_stays_where_it_put_it(world: World) -> None:
    world.versions("pkg", "1.0", main="0.5", files={"pkg.py": "version = 'VERSION'\n"})
    world.module("late", "")
    world.run(
        """
        import sys, omnipkg_meta as om
        before = list(sys.meta_path)
        with om.use("pkg==1.0"):
            pass
        asked = []

        class Greedy:
            def find_spec(self, name, path=None, target=None):
                asked.append(name)

        first = Greedy()
        sys.meta_path.insert(0, first)
        with om.use("pkg==1.0"):
            import pkg
        assert pkg.version == "1.0" and "pkg" in asked
        import late
        assert sys.meta_path[0] is first
        assert sys.meta_path.pop(0) is first
        with om.use("pkg==1.0"):
            import importlib.metadata
            assert importlib.metadata.version("pkg") == "1.0"
        sys.meta_path[:] = before  # our finder too
        with om.use("pkg==1.0"):
            del sys.modules["pkg"]
            import pkg
        assert pkg.version == "1.0"
        om.uninstall_hooks()
        assert sys.meta_path == before
        """
    )


@pytest.mark.parametrize("kind", ["list", "a list of another type"])
def test_a_list_that_takes_the_place_of_the_other_is_looked_after_too(
    world: World, kind: str
) -> None:
    world.versions("pkg", "1.0", "2.0", main="0.5", files={"pkg.py": CHANGES})
    world.run(
        """
        import sys, omnipkg_meta as om
        import pkg as main
        with om.use("pkg==1.0"):
            import pkg as one
            one.add("a")

        class Other(list):
            pass

        old = sys.meta_path
        new = sys.meta_path = KIND([*old, main.Finder("new"), one.Finder("b")])
        with om.use("pkg==2.0"):
            import pkg as two
        assert two.__realm__ is not one.__realm__
        assert main.labels() == ["new"]
        if KIND is list:
            two.add("c")
            assert (one.look(), two.look()) == (["new", "a", "b"], ["new", "c"])
            assert main.look() == ["new"]
        om.uninstall_hooks()
        assert type(old) is list and type(new) is KIND
        assert [x for x in new if "omnipkg" in repr(x)] == []
        assert [x for x in old if "omnipkg" in repr(x)] == []
        """.replace("KIND", "list" if kind == "list" else "Other")
    )


def test_a_hook_that_a_bubbles_code_puts_first_loads_that_bubbles_modules_and_no_others(
    world: World,
) -> None:
    files = {
        "pkg/__init__.py": """
            import sys
            from importlib.machinery import PathFinder, SourceFileLoader

            class Loader(SourceFileLoader):
                def get_code(self, name):
                    return compile("hooked = True", self.path, "exec")

            class Hook:
                def find_spec(self, name, path=None, target=None):
                    spec = PathFinder.find_spec(name, path, target)
                    if spec is not None and type(spec.loader) is SourceFileLoader:
                        spec.loader = Loader(name, spec.origin)
                        return spec

            sys.meta_path.insert(0, Hook())
            """,
        "pkg/sub.py": "hooked = False\n",
    }
    world.versions("pkg", "1.0", "2.0", files=files)
    world.versions("other", "3.0", files={"other.py": "hooked = False\n"})
    world.module("mine", "hooked = False\n")
    world.run(
        """
        import omnipkg_meta as om
        for version in ("1.0", "2.0"):
            with om.use(f"pkg=={version}"):
                import pkg.sub, mine
                assert pkg.sub.hooked and not mine.hooked
        with om.use("other==3.0"):
            import other
            assert not other.hooked
        """
    )


#: Copies of a package like six, loaded at the same moment by threads.
COPIES = """
    import sys
    from importlib.machinery import ModuleSpec

    class Importer:
        def find_spec(self, name, path=None, target=None):
            return ModuleSpec(name, self) if name == __name__ + ".moves" else None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            module.version = "VERSION"

    __path__ = []
    __version__ = "VERSION"
    if sys.meta_path:
        for place, finder in enumerate(sys.meta_path):
            if type(finder).__name__ == "Importer" and finder.name == __name__:
                del sys.meta_path[place]
                break
    Importer.name = __name__
    sys.meta_path.append(Importer())
    """
RACE = """
    import faulthandler, sys, threading
    import omnipkg_meta as om

    faulthandler.dump_traceback_later(90, exit=True)
    sys.setswitchinterval(1e-5)
    sources = {"0.5": om.main, **{v: f"pkg=={v}" for v in ("1.0", "2.0", "3.0")}}
    barrier = threading.Barrier(len(sources), timeout=60)
    rounds, wrong = int(sys.argv[1]), []

    def load(version):
        with om.use(sources[version]):
            for round in range(rounds):
                try:
                    barrier.wait()
                    import pkg.moves
                    if not pkg.__version__ == pkg.moves.version == version:
                        raise ImportError(pkg.moves.version)
                    del sys.modules["pkg.moves"], sys.modules["pkg"]  # as if never loaded
                except threading.BrokenBarrierError:
                    return
                except BaseException as error:
                    wrong.append(f"{version} in round {round}: {error!r}")
                    barrier.abort()

    threads = [threading.Thread(target=load, args=(version,)) for version in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    """


@pytest.mark.parametrize(("processes", "rounds"), [(8, 1), (1, 400)])
def test_copies_that_take_away_each_others_finders_load_at_once(
    world: World, processes: int, rounds: int
) -> None:
    world.versions("pkg", "1.0", "2.0", "3.0", main="0.5", files={"pkg.py": COPIES})
    for _ in range(processes):
        world.run(RACE, str(rounds))


def test_a_list_learns_and_forgets() -> None:
    class Loud(list[str]):
        __slots__ = ()

        def append(self, item: str) -> None:
            super().append(item.upper())

    path = ["a"]
    set_type(path, Loud)
    path.append("b")
    set_type(path, list)
    path.append("c")
    assert (type(path), path) == (list, ["a", "B", "c"])


def test_a_list_of_a_layout_of_its_own_is_refused() -> None:
    class Wider(list[str]):  # it has a __dict__
        pass

    with pytest.raises(HookError, match="layout"):
        prove_list(Wider)


@pytest.mark.parametrize(
    ("now", "seen"),
    [
        ("xyz", "fxyzb"),
        ("nxyz", "nfxyzb"),
        ("xnyz", "fxnyzb"),
        ("xyzn", "fxyznb"),
        ("xz", "fxzb"),
        ("", "fb"),
        ("zyx", "fxyzb"),
    ],
)
def test_a_realms_list_follows_mains(now: str, seen: str) -> None:
    view = _View([*"xoyz"])
    view.finders[:] = [*"fxyzb"]  # put two, and took one away
    view.follow([*now])
    assert "".join(view.finders) == seen
    view.follow([*now, "o"])
    assert "o" in view.finders


#: Who does what: main or the realm's code puts a new finder somewhere, or takes one away.
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["main", "realm"]), st.sampled_from(["put", "take"]), st.integers(0, 9)
    ),
    max_size=12,
)


@given(EDITS)
def test_a_realms_list_is_mains_less_what_its_code_took_with_what_its_code_put(
    edits: list[tuple[str, str, int]],
) -> None:
    mains: list[object] = ["m0", "m1", "m2"]
    view = _View(mains)
    taken, put = set(), []
    for count, (who, what, number) in enumerate(edits):
        view.follow(mains)
        finders = mains if who == "main" else view.finders
        place = number % (len(finders) + 1)
        if what == "put":
            one = f"{who} {count}"
            finders.insert(place, one)
            put += [one] if who == "realm" else []
        elif place < len(finders):
            one = str(finders.pop(place))
            taken |= {one} if who == "realm" else set()
    view.follow(mains)
    assert [one for one in view.finders if one in mains] == [o for o in mains if o not in taken]
    assert {one for one in view.finders if one not in mains} == set(put) - taken
    assert view.own() == [one for one in view.finders if one in put]
