"""Builds the extension module; what the distribution is called stands in ``pyproject.toml``."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import Extension, setup

_PROJECT = Path(__file__).with_name("pyproject.toml").read_text("utf-8")
_found = re.search(r'^version = "([^"]+)"', _PROJECT, re.MULTILINE)
if _found is None:
    raise SystemExit("pyproject.toml names no version")

setup(
    ext_modules=[
        Extension(
            "omnipkg_meta_accelerator",
            ["src/lookups.c", "src/native_state.c", "src/symbols.c"],
            depends=["src/execution.h", "src/native_state.h", "src/symbols.h"],
            define_macros=[("VERSION", f'"{_found[1]}"')],
        )
    ]
)
