"""Packages that bring libraries of their own along: two versions, each on its own libraries."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import once

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = [
    pytest.mark.world,
    pytest.mark.skipif(
        sys.version_info >= (3, 13), reason="the older versions have no wheels for CPython 3.13"
    ),
]

ARROW = (("pyarrow==15.0.2", "numpy==1.26.4"), ("pyarrow==18.1.0", "numpy==2.1.3"))
OPENCV = (
    ("opencv-python-headless==4.9.0.80", "numpy==1.26.4"),
    ("opencv-python-headless==4.11.0.86", "numpy==2.1.3"),
)

START = """
    import json, sys, threading
    import omnipkg_meta as om

    SPECS = {specs!r}
    barrier = threading.Barrier(len(SPECS), timeout=120)
    results = {{}}
    failures = []

    def run(number):
        try:
            with om.use(*SPECS[number]) as scope:
                results[number] = work(number, *scope.bubbles)
        except BaseException as error:
            failures.append(repr(error))
            barrier.abort()

    def together():
        threads = [threading.Thread(target=run, args=(n,)) for n in range(len(SPECS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures

    def mapped(*parts):
        with open("/proc/self/maps") as lines:
            files = {{line.split(maxsplit=5)[-1].strip() for line in lines if "/" in line}}
        return sorted(file for file in files if any(part in file for part in parts))
"""


def bubbles_of(natives: Scene, *specs: tuple[str, ...]) -> None:
    """Build bubbles into the scene's store, once for all workers."""
    name = specs[0][0].partition("=")[0]

    def build() -> None:
        for spec in specs:
            done = natives.run("-m", "omnipkg_meta", "install", *spec, builds=True, timeout=600)
            assert done.returncode == 0, done.stderr

    once(natives.path / f"{name}-bubbles", build)


def test_two_versions_of_pyarrow_exchange_parquet_files_from_two_threads(
    natives: Scene, program: Program
) -> None:
    bubbles_of(natives, *ARROW)
    script = program(
        START.format(specs=ARROW),
        """
        def work(number, bubble):
            barrier.wait()
            import numpy as np
            import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
            numbers = np.arange(50_000)
            table = pa.table({"n": numbers, "x": numbers / 3, "t": ["a", "b"] * 25_000})
            mine = f"{sys.argv[1]}/{number}.parquet"
            pq.write_table(table, mine, compression="zstd")
            barrier.wait()  # the other one has been written
            theirs = f"{sys.argv[1]}/{1 - number}.parquet"
            read = pq.read_table(theirs)
            return [
                pa.__version__, pa.cpp_version, pq.read_metadata(theirs).created_by,
                pc.sum(read["n"]).as_py(), read.equals(table),
            ]

        together()
        print(json.dumps([results[0], results[1], mapped("libarrow.so", "libarrow_python.so")]))
        """,
    )
    done = natives.run(script, script.parent)
    assert done.returncode == 0, done.stderr
    first, second, files = json.loads(done.stdout)
    total = sum(range(50_000))
    assert first == ["15.0.2", "15.0.2", "parquet-cpp-arrow version 18.1.0", total, True]
    assert second == ["18.1.0", "18.1.0", "parquet-cpp-arrow version 15.0.2", total, True]
    assert len(files) == 4


def test_two_versions_of_opencv_load_at_the_same_moment_and_compute_side_by_side(
    natives: Scene, program: Program
) -> None:
    bubbles_of(natives, *OPENCV)
    script = program(
        START.format(specs=OPENCV),
        """
        import os

        def meet(event, arguments):
            # Its loader reads this file while its mark stands on sys.
            if event == "open" and str(arguments[0]).endswith(os.path.join("cv2", "config.py")):
                barrier.wait()

        sys.addaudithook(meet)
        path = sys.path.copy()

        def work(number, bubble):
            import numpy as np
            import cv2
            assert not hasattr(sys, "OpenCV_LOADER")
            image = np.zeros((200, 200, 3), np.uint8)
            cv2.circle(image, (100, 100), 50, (255, 128, 0), -1)
            barrier.wait()
            for _ in range(20):
                blurred = cv2.GaussianBlur(image, (7, 7), 2)
                _, data = cv2.imencode(".png", blurred)
                assert (cv2.imdecode(data, 1) == blurred).all()
            left = np.array([[2.0, 1.0], [1.0, 3.0]])
            _, solved = cv2.solve(left, np.array([[4.0], [7.0]]))
            return [cv2.__version__, [round(x, 6) for x in solved.ravel().tolist()]]

        together()
        assert sys.path == path and not hasattr(sys, "OpenCV_LOADER")
        print(json.dumps([results[0], results[1], mapped("libavcodec", "libgfortran-91cc3cb1")]))
        """,
    )
    done = natives.run(script)
    assert done.returncode == 0, done.stderr
    first, second, files = json.loads(done.stdout)
    assert first == ["4.9.0", [1.0, 2.0]]
    assert second == ["4.11.0", [1.0, 2.0]]
    assert sum("libavcodec" in file for file in files) == 2
