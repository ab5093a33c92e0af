"""Bubbles that a project names in its ``pyproject.toml``, and the locks beside it."""

from __future__ import annotations

import pickle
import runpy
import textwrap
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

import omnipkg_meta as om
from omnipkg_meta.cli import main
from omnipkg_meta.config import interpreter_tag
from omnipkg_meta.errors import (
    BubbleNotFoundError,
    LockError,
    ProjectError,
    RequirementError,
    TermsError,
)
from omnipkg_meta.projects import bubbles_of, nearest, project, sync
from tests.worlds import seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from omnipkg_meta.store.store import Store
    from tests.conftest import Wheelhouse
    from tests.worlds import World

Output = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the working directory."""
    path = tmp_path / "project"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def write(root: Path, bubbles: str) -> Path:
    file = root / "pyproject.toml"
    file.write_text(f"[tool.omnipkg-meta.bubbles]\n{textwrap.dedent(bubbles)}\n")
    return file


def test_a_bubble_is_used_by_its_name_on_the_projects_terms(world: World, root: Path) -> None:
    name, helper, user = world.name(), world.name("helper"), world.name("user")
    other = world.name("other")
    world.versions(name, "1.0", main="0.5")
    for one in (helper, other):
        world.versions(one, main="3.0")
    bubble = world.bubble(*(world.wheel(one, "2.0") for one in (name, helper, other)))
    world.module(user, f"import {name} as used\n")
    write(
        root,
        f"""
        plain = ["{name}==1.0"]
        shared = {{ requirements = ["{name}==2.0"], share = ["{helper}"], adopt = ["{user}"] }}
        """,
    )
    with om.use(om.project("plain")):
        assert seen(name) == "1.0"
    with om.use(om.project("shared")) as scope:
        assert (seen(name), seen(helper)) == ("2.0", "3.0")
        assert __import__(user).used.__version__ == "2.0"
        assert scope.bubbles == (bubble,)
    with om.use(om.project("shared"), share=[other]):
        assert (seen(name), seen(helper), seen(other)) == ("2.0", "2.0", "3.0")
    assert om.use(om.project("plain")) is om.use(om.project("plain"))
    assert seen(name) == "0.5"


def which() -> str:
    return metadata.version("leaf")


def test_a_projects_bubble_goes_to_other_processes(root: Path, wheelhouse: Wheelhouse) -> None:
    wheelhouse.make("leaf", "1.0")
    write(root, 'old = ["leaf"]')
    assert synced(root, wheelhouse) == 0
    named = om.project("old")
    assert pickle.loads(pickle.dumps(named)) == named
    assert repr(om.use(named)) == "use(project('old'))"
    sent = pickle.dumps(om.bind(which, named))
    named.file.unlink()
    assert pickle.loads(sent)() == "1.0"


def test_the_file_is_that_of_the_asking_code_and_then_that_of_the_working_directory(
    world: World, root: Path
) -> None:
    name = world.name()
    world.versions(name, "1.0", "2.0", main="0.5")
    write(root, f'here = ["{name}==1.0"]')
    elsewhere = world.path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    write(elsewhere, f'here = ["{name}==2.0"]')
    (elsewhere / "deep" / "pyproject.toml").write_text("[project]\nname = 'names no bubbles'\n")
    program = elsewhere / "deep" / "program.py"
    program.write_text("import omnipkg_meta as om\nfound = om.project('here')\n")
    assert runpy.run_path(str(program))["found"].file == elsewhere / "pyproject.toml"
    assert om.project("here").file == root / "pyproject.toml"
    typed: dict[str, object] = {}
    exec("import omnipkg_meta as om\nfound = om.project('here')\n", typed)  # noqa: S102
    assert typed["found"] == om.project("here")


def test_what_is_written_into_the_file_counts_from_then_on(root: Path) -> None:
    write(root, 'old = ["x==1"]')
    assert om.project("old").requirements == ("x==1",)
    assert om.project("old") is om.project("old")  # it is not read each time
    write(root, 'old = ["x==10"]')
    assert om.project("old").requirements == ("x==10",)


def test_what_is_not_named_is_said_with_what_is(root: Path) -> None:
    with pytest.raises(ProjectError, match=r"no pyproject\.toml names bubbles") as nowhere:
        om.project("old")
    assert nowhere.value.file is None
    assert str(root) in str(nowhere.value)
    write(root, 'old = ["x==1"]\nolder = ["x==0"]')
    with pytest.raises(ProjectError, match="names no bubble 'oldest'") as caught:
        om.project("oldest")
    assert caught.value.file == root / "pyproject.toml"
    assert "old, older" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).file == caught.value.file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = []", "x: its requirements are no list"),
        ("x = 'numpy'", "x: its requirements are no list"),
        ("x = [1]", "x: its requirements are no list"),
        ("x = { share = ['y'] }", "x: its requirements are no list"),
        ("x = ['not a requirement']", "not a requirement that a bubble can hold"),
        ("x = { requirements = ['y'], shares = [] }", "no key 'shares' is known"),
        ("x = { requirements = ['y'], share = 'z' }", "share takes a list"),
        ("x = { requirements = ['y'], adopt = ['sys'] }", "'sys' cannot be adopted"),
        ("x = { requirements = ['y'], hermetic = 1 }", "hermetic is True or False"),
        ("'x.y' = ['z']", "no name of a bubble"),
        ("'../x' = ['z']", "no name of a bubble"),
        ("x = [", "cannot be used"),
        ("[tool]\nomnipkg-meta = 1", "cannot be used"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_path(root: Path, text: str, said: str) -> None:
    file = write(root, text)
    with pytest.raises(ProjectError) as caught:
        bubbles_of(file)
    assert said in str(caught.value)
    assert caught.value.file == file
    assert str(file) in str(caught.value)


def test_bubbles_that_are_no_table_are_refused(root: Path) -> None:
    file = root / "pyproject.toml"
    file.write_text("[tool.omnipkg-meta]\nbubbles = ['numpy']\n")
    assert nearest(root) == file
    with pytest.raises(ProjectError, match="cannot be used"):
        om.project("numpy")


def test_it_stands_alone(root: Path) -> None:
    write(root, 'old = ["x==1"]')
    with pytest.raises(TypeError, match="stands alone"):
        om.use(om.project("old"), "y==1")


def test_what_adopts_is_not_activated(world: World, root: Path) -> None:
    name = world.name()
    world.versions(name, "1.0")
    write(root, f'old = {{ requirements = ["{name}"], adopt = ["mine"] }}')
    with pytest.raises(RequirementError, match="cannot be activated"):
        om.activate(om.project("old"))


def test_one_that_is_not_made_is_an_error_with_the_command(world: World, root: Path) -> None:
    name = world.name()
    write(root, f'old = ["{name}==1.0"]')
    with pytest.raises(BubbleNotFoundError, match=r"'old' of .* has not been made") as caught:
        om.use(om.project("old")).__enter__()
    assert caught.value.command == f"omnipkg-meta sync --project {root}"
    assert str(caught.value).endswith(caught.value.command)


def test_main_serves_what_has_no_lock_and_is_not_hermetic(world: World, root: Path) -> None:
    name = world.name()
    world.versions(name, main="1.0")
    write(
        root,
        f"""
        old = ["{name}==1.0"]
        closed = {{ requirements = ["{name}==1.0"], hermetic = true }}
        """,
    )
    with om.use(om.project("old")) as scope:
        assert (seen(name), scope.bubbles) == ("1.0", ())
    with pytest.raises(BubbleNotFoundError):
        om.use(om.project("closed")).__enter__()
    om.project("old").own_lock.write_text("")
    assert not om.project("old").served_by_main()


def test_a_share_that_does_not_fit_is_refused(world: World, root: Path) -> None:
    name, helper = world.name(), world.name("helper")
    world.versions(helper, main="1.0")
    world.bubble(world.wheel(name, "1.0", requires=[f"{helper}>=2"]), world.wheel(helper, "2.0"))
    write(root, f'x = {{ requirements = ["{name}"], share = ["{helper}"] }}')
    with pytest.raises(TermsError):
        om.use(om.project("x")).__enter__()


# -- locks ------------------------------------------------------------------------


def synced(root: Path, wheelhouse: Wheelhouse, *words: str) -> int:
    return main(["sync", "--project", str(root), *wheelhouse.options, *words])


def test_sync_makes_the_bubbles_and_their_locks(
    root: Path, wheelhouse: Wheelhouse, store: Store, capsys: Output
) -> None:
    for version in ("1.0", "2.0"):
        wheelhouse.make("leaf", version)
    write(root, 'old = ["leaf<2"]\nnew = ["leaf"]')
    (root / "below").mkdir()
    assert synced(root / "below", wheelhouse) == 0
    captured = capsys.readouterr()
    locks = [root / f"pylock.{name}-{interpreter_tag()}.toml" for name in ("old", "new")]
    assert captured.out.split() == [
        str(one.path) for one in sorted(store.bubbles(), key=lambda one: one.id)
    ]
    assert captured.err.count("wrote pylock.") == 2
    assert all(lock.exists() for lock in locks)
    assert {one.name for one in root.iterdir()} == {
        *("pyproject.toml", "below"),
        *(lock.name for lock in locks),
    }
    with om.use(om.project("old")) as scope:
        assert scope.bubbles[0].distributions == {"leaf": "1.0"}


def test_a_lock_that_fits_is_kept_whatever_the_index_has_got(
    root: Path, wheelhouse: Wheelhouse, store: Store, capsys: Output
) -> None:
    wheelhouse.make("leaf", "1.0")
    write(root, 'x = ["leaf"]')
    assert synced(root, wheelhouse) == 0
    wheelhouse.make("leaf", "2.0")
    (bubble,) = store.bubbles()
    store.remove(bubble)
    assert synced(root, wheelhouse) == 0
    assert "as locked in" in capsys.readouterr().err
    assert [one.distributions["leaf"] for one in store.bubbles()] == ["1.0"]
    assert synced(root, wheelhouse, "--upgrade") == 0
    assert "wrote pylock.x" in capsys.readouterr().err
    assert sorted(one.distributions["leaf"] for one in store.bubbles()) == ["1.0", "2.0"]
    with om.use(om.project("x")) as scope:
        assert scope.bubbles[0].distributions == {"leaf": "2.0"}


def test_a_lock_that_no_longer_fits_is_made_anew_and_until_then_refused(
    root: Path, wheelhouse: Wheelhouse
) -> None:
    for version in ("1.0", "2.0"):
        wheelhouse.make("leaf", version)
    write(root, 'x = ["leaf<2"]')
    assert synced(root, wheelhouse) == 0
    write(root, 'x = ["leaf>=2"]')
    with pytest.raises(LockError, match="leaf>=2 is asked for") as caught:
        om.use(om.project("x")).__enter__()
    assert str(caught.value).endswith(f"omnipkg-meta sync --project {root}")
    assert synced(root, wheelhouse) == 0
    with om.use(om.project("x")) as scope:
        assert scope.bubbles[0].distributions == {"leaf": "2.0"}


def test_frozen_makes_what_the_locks_name_and_writes_none(
    root: Path, wheelhouse: Wheelhouse, store: Store, capsys: Output
) -> None:
    for version in ("1.0", "2.0"):
        wheelhouse.make("leaf", version)
    write(root, 'x = ["leaf<2"]')
    assert synced(root, wheelhouse, "--frozen") == 1
    assert "has no lock for this interpreter" in capsys.readouterr().err
    assert store.bubbles() == []
    assert synced(root, wheelhouse) == 0
    lock = om.project("x").own_lock
    before = lock.read_bytes()
    store.remove(store.bubbles()[0])
    assert synced(root, wheelhouse, "--frozen", "--json") == 0
    assert lock.read_bytes() == before
    assert [one.distributions["leaf"] for one in store.bubbles()] == ["1.0"]
    write(root, 'x = ["leaf>=2"]')
    capsys.readouterr()
    assert synced(root, wheelhouse, "--frozen") == 1
    assert "leaf>=2 is asked for, and it holds leaf 1.0" in capsys.readouterr().err
    assert lock.read_bytes() == before


def test_a_lock_for_all_interpreters_that_another_tool_made_serves(
    root: Path, wheelhouse: Wheelhouse
) -> None:
    wheelhouse.make("leaf", "1.0")
    write(root, 'x = ["leaf"]')
    assert synced(root, wheelhouse) == 0
    own = om.project("x").own_lock
    text, _, _ = own.read_text().partition("[tool.omnipkg-meta]")
    own.unlink()
    (root / "pylock.x.toml").write_text(text)
    wheelhouse.make("leaf", "2.0")
    assert synced(root, wheelhouse, "--frozen") == 0
    with om.use(om.project("x")) as scope:
        assert scope.bubbles[0].distributions == {"leaf": "1.0"}


def test_a_lock_that_is_damaged_is_not_written_over(root: Path, wheelhouse: Wheelhouse) -> None:
    wheelhouse.make("leaf", "1.0")
    write(root, 'x = ["leaf"]')
    project("x").own_lock.write_text("lock-version = ")
    assert synced(root, wheelhouse) == 1
    assert project("x").own_lock.read_text() == "lock-version = "


def test_sync_by_name(root: Path, wheelhouse: Wheelhouse, store: Store, capsys: Output) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("twig", "1.0")
    write(root, 'x = ["leaf"]\ny = ["twig"]')
    assert synced(root, wheelhouse, "y") == 0
    assert [one.requested for one in store.bubbles()] == [("twig",)]
    assert synced(root, wheelhouse, "z") == 1
    assert "it names x, y" in capsys.readouterr().err
    assert main(["sync", "--project", "/"]) == 1
    assert "no pyproject.toml names bubbles" in capsys.readouterr().err


def test_a_wheels_path_is_that_from_the_file(
    root: Path, wheelhouse: Wheelhouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheelhouse.make("leaf", "1.0")
    write(root, f'x = ["../{wheel.relative_to(tmp_path)}"]')
    named = project("x")
    monkeypatch.chdir(tmp_path)
    (done,) = sync([named], om.install)
    assert done.bubble.distributions == {"leaf": "1.0"}


def test_what_is_missing_is_built_from_its_lock_where_that_is_allowed(
    root: Path, wheelhouse: Wheelhouse, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIPKG_META_BUILDER", "pip")
    wheelhouse.make("leaf", "1.0")
    write(root, 'x = ["leaf"]')
    assert synced(root, wheelhouse) == 0
    wheelhouse.make("leaf", "2.0")
    store.remove(store.bubbles()[0])
    with pytest.raises(BubbleNotFoundError, match="has not been made"):
        om.use(om.project("x")).__enter__()
    with om.use(om.project("x"), install=True) as scope:
        assert scope.bubbles[0].distributions == {"leaf": "1.0"}
