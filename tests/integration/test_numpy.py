"""An older numpy in a bubble, beside the numpy of main and where main has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import NUMPY, STRICT

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

START = f"""
    import json, pickle, sys, threading
    import omnipkg_meta as om

    OLD = om.use({NUMPY!r})
"""

AFTERWARDS = """
    with OLD:
        import numpy as old
        array = old.arange(10.0)
    if sys.argv[1] == "loaded":
        import numpy as new
        assert new is not old and new.arange(2.0).mean() == 0.5

    # Each of these goes by an import that native code makes when it is first called.
    results = {
        "mean": array.mean(),
        "sum": array.sum(keepdims=True),
        "any": array.any(),
        "ptp": old.ptp(array),
        "std": array.std(),
        "round": array.round(1),
        "dot": array @ array,
        "pad": old.pad(array, 2),
        "repr": old.array([1.5, 2.5]).astype(complex),
    }
    repr(results), str(array), array.dtype.descr, array.ctypes.data, bytes(array), array.tolist()
    old.array2string(array), old.isclose(array, array), old.datetime64("2020-01-01") + 1
    strange = {
        name: type(value).__module__
        for name, value in results.items()
        if type(value) not in (getattr(old, type(value).__name__), old.ndarray)
    }
    print(json.dumps([
        float(results["mean"]),
        type(results["mean"]) is old.float64,
        strange,
        "numpy" in sys.modules,
    ]))
"""


@pytest.mark.parametrize("main", ["loaded", "there", "none"])
def test_native_code_that_imports_when_first_called_does_so_in_its_bubble_after_the_scope(
    scene: Scene, program: Program, main: str
) -> None:
    environment = scene.bare if main == "none" else scene.main
    answer = scene.answer(program(START, AFTERWARDS), main, environment=environment)
    assert answer == [4.5, True, {}, main == "loaded"]


def test_the_first_mean_in_a_thread_and_in_mains_scope_is_the_bubbles_too(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        import numpy as new
        with OLD:
            import numpy as old
            arrays = [old.arange(10.0) for _ in range(3)]
        kinds = []
        thread = threading.Thread(target=lambda: kinds.append(type(arrays[0].mean())))
        thread.start()
        thread.join()
        with om.use(om.main):
            kinds.append(type(arrays[1].mean()))
        kinds.append(type(max(arrays[2:], key=lambda one: one.mean()).mean()))
        with OLD:
            kinds.append(type(old.arange(3.0).mean()))
            wrong = type(new.arange(3.0).mean()) is not new.float64
        print(json.dumps([[kind is old.float64 for kind in kinds], wrong]))
        """,
    )
    assert scene.answer(script) == [[True] * 4, False]


def test_pickles_go_round_inside_the_scope_and_load_in_mains_numpy_outside(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        import copy
        with OLD:
            import numpy as old
            things = {
                "array": old.arange(6.0).reshape(2, 3),
                "scalar": old.float64(1.5),
                "record": old.array([(1, "a")], dtype=[("n", "i4"), ("s", "U4")]),
                "date": old.datetime64("2020-02-29"),
                "dtype": old.dtype("f4"),
                "generator": old.random.default_rng(7),
                "masked": old.ma.array([1, 2], mask=[False, True]),
            }
            blobs = {
                name: [pickle.dumps(thing, protocol) for protocol in range(2, 6)]
                for name, thing in things.items()
            }
            inside = [
                name
                for name, several in blobs.items()
                for blob in several
                if type(pickle.loads(blob)) is not type(things[name])
            ]
            copied = type(copy.deepcopy(things["array"])) is old.ndarray

        import numpy as new
        outside, wrong = {}, []
        for name, several in blobs.items():
            for blob in several:
                outside[name] = thing = pickle.loads(blob)
                kind = type(thing)
                if kind is type(things[name]) or not kind.__module__.startswith("numpy"):
                    wrong.append([name, repr(type(thing))])
        same = [
            type(outside["array"]) is new.ndarray,
            outside["array"].tolist() == things["array"].tolist(),
            type(outside["scalar"]) is new.float64 and float(outside["scalar"]) == 1.5,
            outside["record"].dtype.names == ("n", "s"),
            str(outside["date"]) == "2020-02-29",
            outside["generator"].random() == things["generator"].random(),
        ]
        print(json.dumps([inside, copied, wrong, same]))
        """,
    )
    # numpy 2 knows the old names of its modules, and says so.
    flags = (*STRICT, "-W", "ignore::DeprecationWarning")
    assert scene.answer(script, flags=flags) == [[], True, [], [True] * 6]


def test_two_numpys_compute_in_two_threads_at_once(scene: Scene, program: Program) -> None:
    script = program(
        START,
        """
        barrier = threading.Barrier(4, timeout=60)
        results, wrong = {}, []

        def compute(name, scope):
            try:
                with scope:
                    barrier.wait()  # so that both are also first loaded at the same time
                    import numpy as np
                    rng = np.random.default_rng(3)
                    for turn in range(40):
                        matrix = rng.random((30, 30)) + 30 * np.eye(30)
                        right = rng.random(30)
                        solved = np.linalg.solve(matrix, right)
                        spectrum = np.fft.ifft(np.fft.fft(right)).real
                        kinds = {type(solved), type(spectrum), type(solved.mean().reshape(1))}
                        assert kinds == {np.ndarray}, kinds
                        assert np.allclose(matrix @ solved, right) and np.allclose(spectrum, right)
                    results.setdefault(name, set()).add(np.__version__)
                    results.setdefault("kinds", set()).add(id(np.ndarray))
            except BaseException as error:
                wrong.append(repr(error))

        threads = [
            threading.Thread(target=compute, args=pair)
            for pair in [("old", OLD), ("new", om.use(om.main))] * 2
        ]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(json.dumps([
            wrong,
            len(results["kinds"]),
            sorted(results["old"]),
            sorted(results["new"]),
        ]))
        """,
    )
    wrong, kinds, old, new = scene.answer(script, flags=("-W", "error"))
    assert (wrong, kinds) == ([], 2)
    (bubble,) = scene.store.glob("*/numpy-*")
    assert old == [bubble.name.split("-")[1]]
    assert [int(version.partition(".")[0]) for version in new] == [2]
    assert old != new
