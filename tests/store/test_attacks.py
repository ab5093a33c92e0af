"""What somebody who means harm would try, and that nothing comes of it; see docs/security.md."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from omnipkg_meta.errors import BuildError, ConfigError, OmnipkgMetaError, RequirementError
from omnipkg_meta.store import build, builders, verify
from omnipkg_meta.store.archives import leads_out
from omnipkg_meta.store.index import IndexOptions
from omnipkg_meta.store.store import Store
from omnipkg_meta.store.surroundings import variables
from tests.store.test_build import each_builder
from tests.wheels import make_wheel, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Install, Wheelhouse

SECRET = "s3cr3t-p4ss"  # noqa: S105  # of nobody


def tree(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


def hostile(directory: Path, name: str, files: dict[str, bytes], record: str = "") -> Path:
    """Make a wheel whose RECORD agrees with whatever is in it."""
    info = f"{name}-1.0.dist-info"
    contents = {
        f"{name}.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **{path.replace("INFO", info): data for path, data in files.items()},
    }
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},"
        for path, data in contents.items()
    ]
    contents[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", record, ""]).encode()
    wheel = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    return wheel


@each_builder
@pytest.mark.parametrize(
    "path",
    [
        "../../../pwned",
        "ABSOLUTE/pwned",
        "package/../../../../pwned",
        "package-1.0.data/data/../../../../pwned",
        "package-1.0.data/scripts/../../../../pwned",
        "..\\..\\pwned",
    ],
)
@pytest.mark.parametrize("given", ["path", "name"])
def test_an_archive_with_a_path_that_leads_out_is_refused_and_nothing_is_written(
    wheelhouse: Wheelhouse, tmp_path: Path, builder: str, path: str, given: str
) -> None:
    path = path.replace("ABSOLUTE", str(tmp_path))
    wheel = hostile(wheelhouse.path, "package", {path: b"pwned"})
    place = tmp_path / "a" / "b" / "c"
    asked = str(wheel) if given == "path" else "package"
    with pytest.raises(BuildError, match=r"leads out|outside|Unknown scheme"):
        build.install(
            [asked], store=Store(place), builder=builder, index_options=wheelhouse.options
        )
    assert not [one for one in tree(tmp_path) if "pwned" in one.name]
    assert names(Store(place).tag_path) == []


@pytest.mark.parametrize("name", ["/x", "\\x", "../x", "a/../../x", "a\\..\\x", "C:x", "", "a\0b"])
def test_paths_that_lead_out_are_known(name: str) -> None:
    assert leads_out(name)


@pytest.mark.parametrize("name", ["x", "a/b", "a..b/c", "...", "a/", "a b/ü.py"])
def test_paths_that_do_not_lead_out_are_known_too(name: str) -> None:
    assert not leads_out(name)


def test_a_damaged_archive_is_a_build_error(wheelhouse: Wheelhouse, store: Store) -> None:
    wheel = wheelhouse.make("leaf", "1.0")
    wheel.write_bytes(b"PK\x05\x06 no archive")
    with pytest.raises(BuildError):
        build.install([str(wheel)], store=store, index_options=wheelhouse.options)
    assert names(store.tag_path) == []


def test_a_record_that_names_a_file_outside_is_found_after_installing(tmp_path: Path) -> None:
    info = tmp_path / "leaf-1.0.dist-info"
    info.mkdir()
    for path in ("../../etc/passwd", "/etc/passwd", "a/../../b"):
        (info / "RECORD").write_text(f"{path},,\nleaf-1.0.dist-info/RECORD,,\n")
        (found,) = verify.compare(tmp_path, verify.expected(tmp_path, [info.name]))
        assert found.what == f"names a file outside: {path}"


@each_builder
def test_scripts_cannot_lead_out_nor_carry_code(
    wheelhouse: Wheelhouse, tmp_path: Path, builder: str
) -> None:
    text = "[console_scripts]\n../../../../pwned = package:main\n/pwned2 = package:main\n"
    hostile(wheelhouse.path, "package", {"INFO/entry_points.txt": text.encode()})
    place = Store(tmp_path / "a" / "b" / "c" / "d")
    try:
        bubble = build.install(
            ["package"], store=place, builder=builder, index_options=wheelhouse.options
        )
    except BuildError:
        pass  # uv refuses it
    else:
        assert bubble.scripts_provided == {}
        assert place.verify(bubble) == []
    outside = [one for one in tree(tmp_path) if "pwned" in one.name]
    assert [one for one in outside if place.path not in one.parents] == []


@each_builder
def test_nothing_that_a_shell_would_understand_is_understood(
    tmp_path: Path, builder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = "$(touch pwned); touch pwned & `touch pwned` 'x"
    wheel = make_wheel(tmp_path / odd, "leaf", "1.0")
    store = Store(tmp_path / f"{odd} store")
    options = ["--no-index", "--find-links", str(wheel.parent)]
    bubble = build.install(["leaf"], store=store, builder=builder, index_options=options)
    assert store.verify(bubble) == []
    assert names(tmp_path).count("pwned") == 0
    for text in ("leaf; touch pwned", "leaf && touch pwned", "$(touch pwned)", "-r /etc/passwd"):
        with pytest.raises(RequirementError):
            build.install([text], store=store, builder=builder, index_options=options)
    assert names(tmp_path).count("pwned") == 0


@pytest.mark.parametrize(
    "text", ["../../etc", "leaf/../x==1", "leaf==1/../../x", "leaf==../x", "leaf\0==1", "/leaf"]
)
def test_names_and_versions_with_paths_in_them_are_no_requirements(text: str, store: Store) -> None:
    with pytest.raises(RequirementError):
        build.install([text], store=store)
    assert not store.path.exists()


class Trap(BaseHTTPRequestHandler):
    """A package index that nobody should ask; it writes down who did."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 (the same)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Trap,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple", asked
        server.shutdown()
        thread.join()


@each_builder
def test_no_index_is_asked_because_of_the_directory_that_a_program_is_started_in(
    wheelhouse: Wheelhouse,
    trap: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    builder: str,
) -> None:
    address, asked = trap
    wheelhouse.make("leaf", "1.0")
    project = tmp_path / "project"
    project.mkdir()
    (project / "uv.toml").write_text(f'extra-index-url = ["{address}"]\n')
    (project / "pip.conf").write_text(f"[global]\nextra-index-url = {address}\n")
    (project / "requirements.txt").write_text(f"--extra-index-url {address}\n")
    (project / ".env").write_text(f"UV_INDEX={address}\nPIP_EXTRA_INDEX_URL={address}\n")
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "x"\nversion = "1"\n[tool.uv]\nextra-index-url = ["{address}"]\n'
    )
    monkeypatch.delenv("UV_NO_CONFIG")
    monkeypatch.chdir(project)
    options = ["--find-links", str(wheelhouse.path), "--index-url", wheelhouse.path.as_uri()]
    (wheelhouse.path / "leaf").mkdir()
    build.install(["leaf"], builder=builder, index_options=options)
    assert asked == []


@each_builder
def test_a_dependency_by_address_is_not_installed(
    wheelhouse: Wheelhouse, store: Store, trap: tuple[str, list[str]], builder: str
) -> None:
    address, _ = trap
    wheelhouse.make("top", "1.0", requires=[f"leaf @ {address}/leaf-1.0-py3-none-any.whl"])
    with pytest.raises(BuildError):
        build.install(["top"], store=store, builder=builder, index_options=wheelhouse.options)
    assert store.bubbles() == []


def test_of_the_variables_of_uv_and_pip_only_those_that_are_known_are_passed_on() -> None:
    kept = {
        "PIP_INDEX_URL": "https://index",
        "PIP_CERT": "/cert",
        "UV_INDEX": "https://index",
        "UV_INDEX_MINE_PASSWORD": "x",
        "UV_HTTP_TIMEOUT": "9",
        "HTTPS_PROXY": "http://proxy",
        "PATH": "/bin",
    }
    dropped = {
        *("PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_NO_BINARY"),
        *("PIP_PYTHON", "PIP_LOG", "PIP_CONFIG_SETTINGS", "PIP_GLOBAL_OPTION", "PIP_PRE"),
        *("PIP_BUILD_CONSTRAINT", "PIP_NOT_INVENTED_YET", "UV_NOT_INVENTED_YET", "UV_OVERRIDE"),
        *("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_NO_BINARY", "UV_PYTHON", "UV_PROJECT"),
        *("UV_WORKING_DIR", "UV_ENV_FILE", "UV_TARGET", "PYTHONPATH", "PYTHONHOME"),
        *("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONPYCACHEPREFIX", "__PYVENV_LAUNCHER__"),
    }
    passed = variables({**kept, **dict.fromkeys(dropped, "evil")}, IndexOptions())
    assert passed.items() >= kept.items()
    assert "evil" not in passed.values()
    assert "UV_LINK_MODE" not in variables({"UV_LINK_MODE": "symlink"}, IndexOptions())
    assert variables({"UV_LINK_MODE": "copy"}, IndexOptions())["UV_LINK_MODE"] == "copy"


@each_builder
def test_hostile_variables_change_nothing(
    wheelhouse: Wheelhouse,
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    builder: str,
) -> None:
    wheelhouse.make("leaf", "1.0")
    wheelhouse.make("leaf", "2.0")
    constraint = tmp_path / "constraints.txt"
    constraint.write_text("leaf<2\n")
    elsewhere = tmp_path / "elsewhere"
    module = tmp_path / "path"
    module.mkdir()
    (module / "pip.py").write_text("raise SystemExit('not pip')\n")
    (module / "sitecustomize.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    for variable in ("PIP_CONSTRAINT", "UV_CONSTRAINT", "UV_OVERRIDE"):
        monkeypatch.setenv(variable, str(constraint))
    for variable in ("PIP_TARGET", "PIP_PREFIX", "UV_TARGET", "UV_PREFIX"):
        monkeypatch.setenv(variable, str(elsewhere))
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    monkeypatch.setenv("PYTHONPATH", str(module))
    bubble = install("leaf", builder=builder)
    assert bubble.distributions == {"leaf": "2.0"}
    assert Store().verify(bubble) == []
    assert not elsewhere.exists()
    assert not (tmp_path / "pwned").exists()


def every_text(error: OmnipkgMetaError) -> str:
    return f"{error!s} {error!r} {error.__dict__!r} {error.args!r}"


def test_an_error_never_tells_a_password_whatever_it_is_given(store: Store) -> None:
    address = f"https://user:{SECRET}@host/simple"
    error = BuildError(
        f"at {address}", cause=address, tip=address, requirements=[address], output=address
    )
    assert SECRET not in every_text(error)
    assert "https://***@host/simple" in str(error)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: build.install([f"leaf @ {address}/leaf-1.0-py3-none-any.whl"], store=store),
        lambda: build.install([f"leaf=={address}"], store=store),
        lambda: build.install(["leaf"], store=store, index_options=[address]),
        lambda: build.install(["leaf"], store=store, index_options=[f"--pre={address}"]),
        lambda: store.find([address]),
    )
    for attempt in attempts:
        with pytest.raises((RequirementError, ConfigError)) as caught:
            attempt()
        assert SECRET not in every_text(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="the tool is a script")
@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_passwords_are_not_on_a_command_line_nor_in_what_a_tool_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    address = f"https://user:{SECRET}@host.invalid/simple"
    seen: dict[str, list[str]] = {}
    fake = tmp_path / "uv"
    fake.write_text(
        '#!/bin/sh\necho "error: could not fetch $UV_DEFAULT_INDEX$PIP_INDEX_URL"\nexit 1\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(builders, "find_uv", lambda: str(fake))
    monkeypatch.setattr(builders, "_uv_version", lambda *_: "uv 99")
    started = subprocess.Popen

    def spy(command: list[str], **options: Any) -> Any:
        seen["command"] = list(command)
        return started([str(fake)], **options)

    monkeypatch.setattr(subprocess, "Popen", spy)
    said: list[str] = []
    options = ["--index-url", address, "--extra-index-url", address]
    with pytest.raises(BuildError) as caught:
        build.install(
            ["leaf"], store=store, builder=tool, index_options=options, progress=said.append
        )
    assert "***@host.invalid" in caught.value.output, "the tool got it, and told it"
    assert SECRET not in every_text(caught.value) + " ".join([*seen["command"], *said])
    assert SECRET not in json.dumps([str(one) for one in tree(store.path)])
