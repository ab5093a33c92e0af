"""Settings: defaults, environment variables, and values that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta import config
from omnipkg_meta.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_store_is_in_the_users_data_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OMNIPKG_META_STORE")
    assert config.store_path() == config.default_store_path()
    assert config.store_path().is_relative_to(tmp_path)
    assert config.store_path().name == "omnipkg-meta"


def test_the_store_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMNIPKG_META_STORE", str(tmp_path))
    assert config.store_path() == tmp_path
    monkeypatch.setenv("OMNIPKG_META_STORE", "~/bubbles")
    assert config.store_path() == Path.home() / "bubbles"


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("OMNIPKG_META_STORE", "bubbles", config.store_path),
        ("OMNIPKG_META_STORE", "~nobody-of-that-name/x", config.store_path),
        ("OMNIPKG_META_BUILDER", "conda", config.builder),
        ("OMNIPKG_META_INSTALL", "perhaps", config.install_missing),
        ("OMNIPKG_META_COMPILE_BYTECODE", "perhaps", config.compile_bytecode),
    ],
)
def test_bad_values_are_refused_by_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, read: object
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable) as caught:
        read()  # type: ignore[operator]
    assert (caught.value.setting, caught.value.value) == (variable, value)
    assert caught.value.tip


@pytest.mark.parametrize(
    ("variable", "read"),
    [
        ("OMNIPKG_META_INSTALL", config.install_missing),
        ("OMNIPKG_META_COMPILE_BYTECODE", config.compile_bytecode),
    ],
)
def test_nothing_is_installed_nor_compiled_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, variable: str, read: Callable[[], bool]
) -> None:
    assert read() is False
    for value, meant in (("1", True), ("YES", True), ("0", False), ("", False), ("off", False)):
        monkeypatch.setenv(variable, value)
        assert read() is meant


def test_the_builder_is_chosen_by_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.builder() == "auto"
    for value in ("uv", "pip", "auto"):
        monkeypatch.setenv("OMNIPKG_META_BUILDER", value)
        assert config.builder() == value


def test_the_tag_names_interpreter_and_platform() -> None:
    tag = config.interpreter_tag()
    assert tag.startswith(f"cp{sys.version_info[0]}{sys.version_info[1]}")
    assert "/" not in tag


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names Linux platforms")
def test_the_tag_tells_c_library_abi_and_word_size_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def tag() -> str:
        config.interpreter_tag.cache_clear()
        return config.interpreter_tag()

    try:
        plain = tag()
        monkeypatch.setattr(sys, "abiflags", "t")
        free_threaded = tag()
        monkeypatch.setattr(sys.implementation, "_multiarch", "x86_64-linux-musl")
        musl = tag()
        monkeypatch.undo()
        monkeypatch.setattr("sysconfig.get_platform", lambda: "linux-x86_64")
        monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
        narrow = tag()
        assert len({plain, free_threaded, musl, narrow}) == 4
        assert "t-linux" in free_threaded
        assert "t-musllinux" in musl
        assert narrow.endswith("linux_i686")
    finally:
        monkeypatch.undo()
        config.interpreter_tag.cache_clear()


def test_reading_the_settings_imports_nothing_slow() -> None:
    code = (
        "import sys; from omnipkg_meta import config, requirements; config.interpreter_tag();"
        "slow = ('packaging', 'platformdirs', 'importlib.metadata', 'ctypes');"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
