"""Bound functions and pickles of two numpys in other processes; workers that build their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import NUMPY, STRICT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

START = f"""
    import functools, json, multiprocessing, os, pickle, sys
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    import numpy as mains
    import omnipkg_meta as om

    OLD = {NUMPY!r}
    NEW = "numpy==" + mains.__version__

    def facts(array):
        import numpy
        solved = numpy.linalg.solve(array + 9 * numpy.eye(len(array)), numpy.ones(len(array)))
        return [
            numpy.__version__,
            type(array) is numpy.ndarray,
            type(array) is mains.ndarray,
            float(abs((array + 9 * numpy.eye(len(array))) @ solved - 1).max()) < 1e-9,
            os.getpid(),
        ]

    def make(size):
        import numpy
        return facts(numpy.random.default_rng(size).random((size, size)))

    def double(array):
        return array * 2
"""


def test_a_spawned_pool_of_four_runs_bound_functions_of_two_numpys_in_turn(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        if __name__ == "__main__":
            old, new = om.bind(make, OLD), om.bind(make, NEW)
            with om.use(OLD):
                import numpy
                array = numpy.arange(16.0).reshape(4, 4)
            held = om.bind(functools.partial(facts, array), OLD)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(4, mp_context=context) as pool:
                asked = [(bound, size) for size in range(2, 18) for bound in (old, new)]
                futures = [pool.submit(*one) for one in [*asked, (held,)]]
                found = [future.result() for future in futures]
                unsendable = pool.submit(om.bind(functools.partial(double, array), OLD)).exception()
            processes = {one.pop() for one in found}
            assert os.getpid() not in processes and len(processes) <= 4
            print(json.dumps([found, mains.__version__, str(unsendable).splitlines()[0]]))
        """,
    )
    found, new, unsendable = scene.answer(script)
    *alternating, held = found
    assert len(alternating) == 32
    (bubble,) = scene.store.glob("*/numpy-*")
    old = bubble.name.split("-")[1]
    assert alternating == [[old, True, False, True], [new, True, True, True]] * 16
    assert held == [old, True, False, True]
    assert unsendable == "double returned an object, which this pool cannot carry"


def test_a_scoped_executor_sends_arrays_of_its_numpy_there_and_back(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            found = []
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                for requirement in (OLD, NEW):
                    with om.use(requirement):
                        import numpy
                    arrays = [numpy.arange(9.0).reshape(3, 3) + number for number in range(6)]
                    with om.ScopedExecutor(pool, requirement) as scoped:
                        found.append(scoped.submit(facts, arrays[0]).result()[:4])
                        doubled = list(scoped.map(double, arrays, chunksize=2))
                        found.append({type(one) for one in doubled} == {numpy.ndarray})
                        found.append([float(one.sum()) for one in doubled])
                        error = scoped.submit(double, numpy.ma.masked).exception()
                        found.append(repr(error))
                        wrong = scoped.submit(numpy.linalg.inv, numpy.zeros((2, 2))).exception()
                        found.append(type(wrong) is numpy.linalg.LinAlgError)
            print(json.dumps([found, mains.__version__]))
        """,
    )
    found, new = scene.answer(script)
    (bubble,) = scene.store.glob("*/numpy-*")
    sums = [2 * (36.0 + 9 * number) for number in range(6)]
    assert found == [
        *([bubble.name.split("-")[1], True, False, True], True, sums, "None", True),
        *([new, True, True, True], True, sums, "None", True),
    ]


def test_workers_without_the_bubble_build_the_same_numpy_from_its_lock(
    scene: Scene, program: Program, tmp_path: Path
) -> None:
    script = program(
        f"""
        import json, multiprocessing, os, sys
        from concurrent.futures import ProcessPoolExecutor
        import omnipkg_meta as om

        def facts():
            import numpy
            (bubble,) = om.current().bubbles
            total = float(numpy.arange(10.0).sum())
            return [str(bubble.path), dict(bubble.digests), bubble.lock.read_text(), total]

        if __name__ == "__main__":
            bound = om.bind(facts, {NUMPY!r}, install=True)
            (bubble,) = bound.scope.bubbles
            there = [dict(bubble.digests), bubble.lock.read_text()]
            os.environ["OMNIPKG_META_STORE"] = sys.argv[1]
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                found = [one.result() for one in [pool.submit(bound) for _ in range(4)]]
            print(json.dumps([
                len({{one[0] for one in found}}),
                all(one[0].startswith(sys.argv[1]) for one in found),
                [one[1:] == [*there, 45.0] for one in found],
            ]))
        """
    )
    other = tmp_path / "store-of-workers"
    done = scene.run(*STRICT, script, other, builds=True)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    assert json.loads(done.stdout) == [1, True, [True] * 4]
    assert len(list(other.glob("*/numpy-*"))) == 1


def test_a_pickle_of_one_version_is_loaded_by_another_wherever_both_know_it(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        with om.use(OLD):
            import numpy as old
            array = old.arange(6.0).reshape(2, 3)
        # Main's code looks the class up by its name, and finds main's.
        try:
            pickle.dumps(array)
        except pickle.PicklingError:
            pass
        else:
            raise AssertionError
        with om.home(array):
            data = pickle.dumps(array)
        outside = pickle.loads(data)
        with om.use(OLD):
            inside = pickle.loads(data)
        back = pickle.dumps(outside)
        with om.use(OLD):
            again = pickle.loads(back)
        print(json.dumps([
            type(outside) is mains.ndarray,
            type(inside) is old.ndarray,
            type(again) is old.ndarray,
            inside.tolist() == outside.tolist() == again.tolist() == array.tolist(),
        ]))
        """,
    )
    # numpy 2 knows the old names of its modules, and says so.
    flags = (*STRICT, "-W", "ignore::DeprecationWarning")
    assert scene.answer(script, flags=flags) == [True] * 4
