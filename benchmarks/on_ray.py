"""What the first tasks of another version take on a Ray cluster of this machine.

    python on_ray.py NAME VERSION OTHER ANOTHER

A copy of it, outside of the checkout, is run by ``benchmarks/distributed.py``; it prints one
JSON object, in seconds: of tasks of the package NAME in a scope, of whose bubbles the store has
that of VERSION and OTHER but not that of ANOTHER, and of the same in environments that Ray
makes with uv.  Every task has to have seen its own version.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from time import perf_counter
from typing import Any

import ray

import omnipkg_meta as om

#: Tasks that alternate between two versions.
_ALTERNATING = 20


def look(name: str) -> str:
    """Say which version of a package is seen: what each task does."""
    __import__(name)
    return version(name)


def main() -> None:
    """Measure, and print the seconds."""
    name, first, second, missing = sys.argv[1:]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.get(ray.remote(look).remote(name))  # a worker is there
    ours = {one: _in_scope(f"{name}=={one}") for one in (first, second, missing)}
    theirs = {one: _in_environment(f"{name}=={one}") for one in (first, second, missing)}
    took: dict[str, float] = {}
    for way, tasks in (("scope", ours), ("uv", theirs)):
        took[f"{way}, to be made"] = _timed(name, [(missing, tasks[missing])])
        ray.get([tasks[one].remote(name) for one in (first, second)])
        took[f"{way}, alternating"] = _timed(name, [*tasks.items()][:2] * (_ALTERNATING // 2))
    ray.shutdown()
    print(json.dumps(took))


def _in_scope(requirement: str) -> Any:
    return ray.remote(om.use(requirement, install=True)(look))


def _in_environment(requirement: str) -> Any:
    return ray.remote(look).options(runtime_env={"uv": [requirement]})


def _timed(name: str, asked: list[tuple[str, Any]]) -> float:
    """Return the seconds a task takes, one after another."""
    begun = perf_counter()
    for wanted, task in asked:
        found = ray.get(task.remote(name), timeout=120)
        if found != wanted:
            raise AssertionError(f"a task saw {found}, and not {wanted}")
    return (perf_counter() - begun) / len(asked)


if __name__ == "__main__":
    main()
