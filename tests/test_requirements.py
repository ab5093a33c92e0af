"""Reading requirements, and whether main satisfies them."""

from __future__ import annotations

import pickle
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnipkg_meta.errors import RequirementError
from omnipkg_meta.requirements import (
    at_sight,
    normalize,
    parse,
    satisfied_by_main,
    version_key,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Wheelhouse


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("rich", "rich"),
        (" Rich == 13.5.3 ", "rich==13.5.3"),
        ("rich[Jupyter,a_b] >=13, <14", "rich[a-b,jupyter]<14,>=13"),
        ('zope.interface; python_version > "3"', "zope-interface"),
    ],
)
def test_every_spelling_of_a_requirement_has_one_canonical_form(text: str, canonical: str) -> None:
    (one,) = parse([text])
    assert one.canonical == canonical
    assert one.text == text
    assert parse([canonical])[0].canonical == canonical


@given(st.from_regex(r"[ A-Za-z0-9._=!<>@;*-]{1,12}( ?== ?)?[0-9.a*]{0,6}(\.whl)?", fullmatch=True))
def test_what_is_read_at_sight_is_what_a_parser_reads(text: str) -> None:
    read = at_sight(text)
    if read is not None:
        (one,) = parse([text])
        name, version = read
        assert (one.name, one.extras, one.wheel) == (name, frozenset(), None)
        assert str(one.specifier) == ("" if version is None else f"=={version}")


@pytest.mark.parametrize(
    "text",
    [
        *("rich[a]==1", "rich==1.*", "rich>=1", "rich==1; python_version < '3'", "./rich-1.whl"),
        *("rich-1-py3-none-any.whl", "rich-1-py3-none-any.WHL", "-rich", "rich-", "rich ==", ""),
        *("rich==1rc1", "rich\n==1", "rich==1\n", "rích", "rich==\uff11", " rich"),
    ],
)
def test_anything_else_is_left_to_the_parser(text: str) -> None:
    assert at_sight(text) is None


def test_what_was_parsed_passes_through_and_doubles_are_dropped() -> None:
    asked = parse(["rich>=13", "Rich >= 13", "other"])
    assert [one.name for one in asked] == ["rich", "other"]
    assert parse(asked) == asked
    assert parse("rich") == parse(["rich"])


def test_requirements_whose_marker_is_false_are_dropped() -> None:
    assert parse(['rich; python_version < "3"', 'rich; extra == "x"']) == ()


@pytest.mark.parametrize(
    ("text", "tip"),
    [
        ("", None),
        ("   ", None),
        ("rich=13.5.3", "did you mean 'rich==13.5.3'?"),
        ("rich[jupyter]=13", "did you mean 'rich[jupyter]==13'?"),
        ("../rich", "wheel"),
        ("a/b", "wheel"),
        ("a\\b==1", "wheel"),
        ("/etc/passwd", "wheel"),
        ("-r requirements.txt", None),
        ("--index-url=x", None),
        ("rich\n--index-url=x", None),
        ("rich==13\x00", None),
        ("rich_", None),
        ("rich[a-]", None),
        ("rich===a b", None),
        ("rich===$(id)", None),
        ("rich @ https://example.org/rich-1-py3-none-any.whl", "download"),
        ("rich @ git+https://example.org/rich", "download"),
        ("git+https://example.org/rich", "name"),
        ("rich @ file://host/rich-1-py3-none-any.whl", "download"),
        ("rich @ file:///nowhere/rich-1-py3-none-any.whl", None),
        ("rich @ file:///nowhere", "build a wheel"),
        ("./rich-1.0.tar.gz", "wheel"),
        ("./nowhere/rich-1-py3-none-any.whl", None),
        ("./rich.whl", None),
        ("rich @ file:///a%00b/rich-1-py3-none-any.whl", None),
        ("rich; platform == 'x'", None),
    ],
)
def test_what_a_bubble_cannot_hold_is_refused(text: str, tip: str | None) -> None:
    with pytest.raises(RequirementError) as caught:
        parse([text])
    assert caught.value.requirement == text
    assert isinstance(caught.value, ValueError)
    assert caught.value.cause
    if tip:
        assert tip in (caught.value.tip or "")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_what_is_no_string_is_refused() -> None:
    with pytest.raises(RequirementError, match="this is int"):
        parse([13])  # type: ignore[list-item]
    with pytest.raises(RequirementError, match="nothing was asked"):
        parse([])


def test_a_password_in_an_address_is_not_repeated() -> None:
    for text in (
        "x @ https://user:secret@host/x-1-py3-none-any.whl",
        "https://user:secret@host/x-1-py3-none-any.whl",
    ):
        with pytest.raises(RequirementError) as caught:
            parse([text])
        assert "secret" not in str(caught.value) + caught.value.requirement


@given(st.text(max_size=40))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    try:
        asked = parse([text])
    except RequirementError:
        return
    for one in asked:
        assert parse([one.canonical])[0].canonical == one.canonical


def test_a_local_wheel_has_the_name_the_version_and_the_digest_of_the_file(
    wheelhouse: Wheelhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheelhouse.make("My-Leaf", "1.0")
    monkeypatch.chdir(wheel.parent)
    (one,) = parse([f"./{wheel.name}[extra]"])
    assert (one.name, one.wheel) == ("my-leaf", wheel.resolve())
    assert one.extras == frozenset({"extra"})
    assert one.allows("1.0")
    assert not one.allows("1.1")
    assert one.sha256 is not None
    assert one.canonical.endswith(f"#sha256={one.sha256}")
    assert parse([f"my_leaf[extra] @ {wheel.as_uri()}"])[0].canonical == one.canonical
    with pytest.raises(RequirementError, match="the wheel holds my-leaf"):
        parse([f"other @ {wheel.as_uri()}"])


@pytest.fixture
def main(wheelhouse: Wheelhouse, tmp_path: Path) -> list[str]:
    """A directory such as main has on ``sys.path``."""
    site = tmp_path / "main"
    for wheel in (
        wheelhouse.make(
            "top",
            "2.0",
            extras={
                "more": ["leaf>=1"],
                "new": ["leaf>=9"],
                "all": ["top[more]"],
                "slip": ["leaf>dev"],
            },
        ),
        wheelhouse.make("leaf", "1.0"),
        wheelhouse.make("Odd.Name", "1.0rc1"),
    ):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    (site / "ghost-1.0.dist-info").mkdir()
    return [str(site)]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (["top"], True),
        (["top>=2", "leaf"], True),
        (["top<2"], False),
        (["top", "missing"], False),
        (["top[more]"], True),
        (["top[all]"], True),
        (["top[new]"], False),
        (["top[slip]"], True),
        (["odd-name"], True),
        (["odd_name>=1.0rc1"], True),
        (["ghost"], False),
        (['missing; python_version < "3"'], True),
    ],
)
def test_main_satisfies_what_it_has(main: list[str], asked: list[str], answer: bool) -> None:
    assert satisfied_by_main(asked, main) is answer
    assert satisfied_by_main(parse(asked), main) is answer


def test_main_is_not_asked_through_the_finders_of_the_import_system(
    main: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.meta_path", [])
    assert satisfied_by_main(["top"], main)
    monkeypatch.syspath_prepend(main[0])
    assert satisfied_by_main(["top"])


def test_a_local_wheel_is_never_taken_from_main(main: list[str], wheelhouse: Wheelhouse) -> None:
    assert not satisfied_by_main([str(wheelhouse.path / "leaf-1.0-py3-none-any.whl")], main)


def test_names_and_versions_are_compared_by_their_normal_form() -> None:
    assert normalize("Zope.Interface__x") == "zope-interface-x"
    assert version_key("1.10") > version_key("1.9")
    assert version_key("no version") < version_key("0.0.1")
