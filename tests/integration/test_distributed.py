"""The programs of docs/distributed.md, run with Dask and with Ray.

tests/integrations/test_dask.py shows what the plugin does, and where it fails.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import BARE, Scene, once
from tests.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.world

BUBBLES = (("rich==13.5.3",), ("rich==13.4.2",))


@pytest.fixture(scope="module")
def clusters(_builder_cache: Path) -> Iterator[Scene]:
    """An environment with Dask, and a copy of the programs."""
    yield from _scene("clusters", _builder_cache, "distributed")


@pytest.fixture(scope="module")
def with_ray(_builder_cache: Path) -> Iterator[Scene]:
    """An environment with Ray, which is large, and a copy of the programs."""
    yield from _scene("with-ray", _builder_cache, "ray")


def _scene(name: str, cache: Path, engine: str) -> Iterator[Scene]:
    scene = Scene(cache.parent / name, cache)

    def build() -> None:
        scene.build((*BARE, engine, "rich==13.7.1"), BUBBLES)
        shutil.copytree(ROOT / "examples" / "recipes", scene.path / "programs")

    once(scene.path, build)
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(scene.path, ignore_errors=True)


def test_dask_runs_tasks_of_three_versions_in_each_worker(clusters: Scene) -> None:
    said = clusters.answer(clusters.path / "programs" / "dask_tasks.py", flags=())
    assert said["answers"] == [
        [[str(number), version] for number in range(10)]
        for version in ("13.5.3", "13.4.2", "13.7.1")
    ]
    assert said["after"] == "13.7.1"


@pytest.mark.slow
def test_ray_runs_tasks_of_three_versions_in_one_process(with_ray: Scene) -> None:
    done = with_ray.run(with_ray.path / "programs" / "ray_tasks.py", builds=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["answers"] == [["hello", one] for one in ("13.5.3", "13.4.2", "13.7.1")] * 5
    assert said["processes"] == 1
    assert "no-such-package" in said["reason"]
    assert "cause: " in said["reason"]
