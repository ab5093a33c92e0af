"""What the tasks of ``benchmarks/on_dask.py`` do.

A module that workers import: functions of a program itself are pickled with all that they are
made of, which takes Dask longer than the rest of a task.
"""

from __future__ import annotations

import importlib

__all__ = ["look"]


def look(name: str, number: int) -> tuple[int, str]:
    """Say where a package was found."""
    return number, str(importlib.import_module(name).__file__)
