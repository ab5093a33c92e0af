"""pandas 2.1.4 with its own numpy 1.26.4, in a bubble beside main's numpy 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import needs_pandas

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = [pytest.mark.world, needs_pandas]

#: pandas 2.1.4 itself uses what newer versions of Python deprecate.
LENIENT = ("-W", "error", "-W", "ignore::DeprecationWarning")

START = """
    import io, json, pickle, sys, threading
    import numpy as new  # main's
    import omnipkg_meta as om

    PANDAS = om.use("pandas==2.1.4")

    def work(pd, np):
        \"\"\"Use what imports lazily, goes through Cython, or both; return what came out.\"\"\"
        frame = pd.DataFrame({
            "key": list("abca") * 25,
            "value": np.arange(100.0)[::-1],
            "day": pd.date_range("2020-01-01", periods=100, freq="D"),
        })
        text = frame.to_csv(index=False)
        again = pd.read_csv(io.StringIO(text), parse_dates=["day"])
        monthly = frame.resample("M", on="day")["value"].mean()
        with PANDAS:  # pickle finds by name what its caller sees
            copied = pickle.loads(pickle.dumps(frame))
        merged = frame.merge(again, on=["key", "day"])
        pivot = frame.pivot_table(index="key", values="value", aggfunc=["mean", "std"])
        return {
            "groups": frame.groupby("key")["value"].sum().to_dict(),
            "agg": frame.groupby("key").agg(low=("value", "min")).low.to_dict(),
            "sorted": frame.sort_values(["key", "value"]).index[:3].tolist(),
            "months": [round(one, 1) for one in monthly],
            "csv": bool((again == frame).all().all()),
            "copied": bool(copied.equals(frame)),
            "merged": len(merged),
            "pivot": pivot.shape,
            "json": frame.head(1).to_json(date_format="iso"),
            "html": "<table" in frame.head().to_html() and "100 rows" in repr(frame),
            "rolling": frame.value.rolling(3).mean().iloc[-1],
            "category": frame.key.astype("category").cat.codes.iloc[:4].tolist(),
            "query": len(frame.query("value > 50 and key == 'a'")),
            "kinds": [
                type(frame.to_numpy()) is np.ndarray,
                type(monthly.iloc[0]) is np.float64,
                type(copied) is pd.DataFrame,
            ],
        }
"""


def test_pandas_is_used_inside_its_scope_and_after_it_with_the_same_results(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        with PANDAS:
            import pandas as pd
            import numpy as np
            assert (pd.__version__, np.__version__) == ("2.1.4", "1.26.4")
        after = work(pd, np)  # everything that it imports late, it imports now
        with PANDAS:
            inside = work(pd, np)
        mains = sys.modules["numpy"] is new
        print(json.dumps([after, inside == after, "pandas" in sys.modules, mains]))
        """,
    )
    after, same, in_main, numpy_is_mains = scene.answer(script, flags=LENIENT)
    assert (same, in_main, numpy_is_mains) == (True, False, True)
    assert after["kinds"] == [True] * 3
    assert after["groups"] == {"a": 2475.0, "b": 1250.0, "c": 1225.0}
    assert after["agg"] == {"a": 0.0, "b": 2.0, "c": 1.0}
    assert after["sorted"] == [99, 96, 95]
    assert after["months"] == [84.0, 54.0, 24.0, 4.0]
    assert (after["csv"], after["copied"], after["merged"]) == (True, True, 100)
    assert after["category"] == [0, 1, 2, 0]
    assert after["json"] == (
        '{"key":{"0":"a"},"value":{"0":99.0},"day":{"0":"2020-01-01T00:00:00.000"}}'
    )
    assert (after["html"], after["rolling"], after["query"]) == (True, 1.0, 25)


def test_pandas_works_in_threads_while_others_compute_with_mains_numpy(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        barrier = threading.Barrier(5, timeout=60)
        results, wrong = [], []

        def inside():
            with PANDAS:
                barrier.wait()  # so that all of them load it at once
                import pandas as pd
                import numpy as np
                return work(pd, np), pd

        def escaped():
            with PANDAS:
                import pandas as pd
                import numpy as np
            barrier.wait()
            return work(pd, np), pd

        def outside():
            barrier.wait()
            for _ in range(200):
                import numpy
                assert numpy is new and type(numpy.arange(3.0).mean()) is new.float64
                try:
                    import pandas
                except ModuleNotFoundError:
                    continue
                raise AssertionError(pandas.__file__)

        def run(function):
            try:
                result = function()
                if result is not None:
                    results.append(result)
            except BaseException as error:
                wrong.append(repr(error))
                barrier.abort()

        functions = [inside, inside, escaped, escaped, outside]
        threads = [threading.Thread(target=run, args=(function,)) for function in functions]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        first = results[0][0] if results else None
        print(json.dumps([
            wrong,
            [result == first for result, _ in results],
            len({id(pd) for _, pd in results}),
        ]))
        """,
    )
    assert scene.answer(script, flags=LENIENT) == [[], [True] * 4, 1]


def test_a_frame_of_pandas_holds_arrays_of_its_own_numpy_and_not_of_the_other_bubbles(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        with PANDAS:
            import pandas as pd
            import numpy as its_own
        with om.use("numpy==1.26.4") as alone:
            import numpy as another
            frame = pd.DataFrame({"a": [1.0, 2.0]})
            kinds = [
                type(frame.to_numpy()) is its_own.ndarray,
                type(frame.a.mean()) is its_own.float64,
            ]
        (bubble,), (other,) = PANDAS.bubbles, alone.bubbles
        print(json.dumps([
            kinds,
            another is not its_own,
            its_own.__file__.startswith(str(bubble.path)),
            another.__file__.startswith(str(other.path)),
        ]))
        """,
    )
    assert scene.answer(script, flags=LENIENT) == [[True, True], True, True, True]
