"""pandas on main's numpy, and main's pandas on another numpy: objects cross, or stay apart."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import BARE, Scene, once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Program

pytestmark = [
    pytest.mark.world,
    pytest.mark.skipif(
        sys.version_info >= (3, 14), reason="there are no wheels of these versions for this Python"
    ),
]

NEW = sys.version_info >= (3, 13)
#: Of main: a numpy, and a pandas that suits both numpys.
NUMPY, PANDAS = "2.2.6" if not NEW else "2.3.3", "2.3.3"
#: Of bubbles: the pandas on main's numpy, and the numpy under main's pandas.
OTHER_PANDAS, OTHER_NUMPY = "2.2.3", "1.26.4" if not NEW else "2.1.3"
#: A pandas that does not suit main's numpy.
OLD_PANDAS = "2.1.4"


@pytest.fixture(scope="session")
def terms(_builder_cache: Path) -> Iterator[Scene]:
    """A main environment with pandas and numpy, and bubbles of others."""
    scene = Scene(_builder_cache.parent / "terms", _builder_cache)
    bubbles = [(f"pandas=={OTHER_PANDAS}",), (f"numpy=={OTHER_NUMPY}",)]
    bubbles += [] if NEW else [(f"pandas=={OLD_PANDAS}",)]
    main = (*BARE, f"numpy=={NUMPY}", f"pandas=={PANDAS}")
    once(scene.path, lambda: scene.build(main, bubbles))
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(scene.path, ignore_errors=True)


def test_a_bubbles_pandas_on_mains_numpy_shares_memory_with_main(
    terms: Scene, program: Program
) -> None:
    script = program(
        f"""
        import importlib.metadata, io, json, sys
        import numpy as mains
        import omnipkg_meta as om

        with om.use("pandas=={OTHER_PANDAS}", share=["numpy"]):
            import pandas as pd
            import numpy as np
            versions = [importlib.metadata.version(name) for name in ("pandas", "numpy")]
        array = mains.arange(12.0).reshape(4, 3)
        frame = pd.DataFrame(array, columns=list("abc"), copy=False)
        back = frame.to_numpy()
        grouped = frame.assign(key=[1, 1, 2, 2]).groupby("key").sum()
        again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
        import pandas as mains_pandas
        print(json.dumps({{
            "versions": versions,
            "pandas": [pd.__version__, mains_pandas.__version__, np.__version__],
            "same module": np is mains,
            "type": type(back) is mains.ndarray,
            "memory": mains.shares_memory(array, back),
            "sum": mains.add.reduce(back, axis=None),
            "grouped": grouped["a"].tolist(),
            "again": bool((again == frame).all().all()),
            "main's": type(mains_pandas.DataFrame(back).to_numpy()) is mains.ndarray,
            "where": ".copies" in pd.__file__,
        }}))
        """
    )
    found = terms.answer(script, flags=("-W", "error"))
    assert found == {
        "versions": [OTHER_PANDAS, NUMPY],
        "pandas": [OTHER_PANDAS, PANDAS, NUMPY],
        "same module": True,
        "type": True,
        "memory": True,
        "sum": 66.0,
        "grouped": [3.0, 15.0],
        "again": True,
        "main's": True,
        "where": True,
    }


def test_with_and_without_mains_numpy_in_one_process(terms: Scene, program: Program) -> None:
    """pandas 2.2.3 brings a numpy of its own along, and loads a second time on main's."""
    script = program(
        f"""
        import json
        import numpy as mains
        import omnipkg_meta as om

        found = []
        for share in ([], ["numpy"], []):
            with om.use("pandas=={OTHER_PANDAS}", share=share):
                import pandas as pd
            array = pd.Series([1.0, 2.0, 4.0]).rolling(2).mean().to_numpy()
            found.append((id(pd), type(array) is mains.ndarray, float(array[-1])))
        one, two, three = found
        print(json.dumps([one == three, one[0] != two[0], [one[1:], two[1:]]]))
        """
    )
    assert terms.answer(script, flags=("-W", "error")) == [True, True, [[False, 3.0], [True, 3.0]]]


@pytest.mark.skipif(NEW, reason="pandas 2.1.4 has no wheels for CPython 3.13")
def test_a_pandas_that_does_not_suit_mains_numpy_is_refused(terms: Scene, program: Program) -> None:
    script = program(
        f"""
        import json
        import omnipkg_meta as om
        from omnipkg_meta.errors import TermsError

        try:
            om.use("pandas=={OLD_PANDAS}", share=["numpy"]).__enter__()
        except TermsError as error:
            print(json.dumps(list(error.conflicts)))
        """
    )
    (conflict,) = terms.answer(script)
    assert conflict.startswith(f"the bubble's pandas {OLD_PANDAS} requires numpy<2,")
    assert conflict.endswith(f"main has numpy {NUMPY}")


def test_mains_pandas_is_adopted_on_another_numpy(terms: Scene, program: Program) -> None:
    script = program(
        f"""
        import importlib.metadata, io, json, pickle, threading
        import numpy as mains
        import pandas as mains_pandas
        import omnipkg_meta as om

        scope = om.use("numpy=={OTHER_NUMPY}", adopt=["pandas"])
        with scope:
            import numpy as np
            import pandas as pd
            versions = [importlib.metadata.version(name) for name in ("pandas", "numpy")]

        def work(pd, np):
            frame = pd.DataFrame({{
                "key": list("abca") * 25,
                "value": np.arange(100.0)[::-1],
                "day": pd.date_range("2020-01-01", periods=100, freq="D"),
            }})
            again = pd.read_csv(io.StringIO(frame.to_csv(index=False)), parse_dates=["day"])
            assert (again == frame).all().all()
            assert type(frame["value"].to_numpy()) is np.ndarray
            return [
                frame.groupby("key")["value"].sum().to_dict(),
                frame.resample("MS", on="day")["value"].mean().round(1).tolist(),
                frame.merge(again, on=["key", "day"]).shape,
                frame.rolling(3, on="day")["value"].mean().iloc[-1],
                frame.query("value > 50 and key == 'a'").shape,
            ]

        results = {{}}
        def run(name, *modules):
            results[name] = work(*modules)
        threads = [
            threading.Thread(target=run, args=("main", mains_pandas, mains)),
            threading.Thread(target=run, args=("adopted", pd, np)),
        ]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        with scope:
            copied = pickle.loads(pickle.dumps(pd.DataFrame({{"a": np.arange(3)}})))
        print(json.dumps({{
            "versions": versions,
            "pandas": [pd.__version__, mains_pandas.__version__],
            "numpy": [np.__version__, mains.__version__],
            "two": pd is not mains_pandas and np is not mains,
            "classes": issubclass(pd.DataFrame, mains_pandas.DataFrame),
            "equal": results["main"] == results["adopted"],
            "groups": results["adopted"][0],
            "copied": [type(copied) is pd.DataFrame, type(copied.a.to_numpy()) is np.ndarray],
        }}))
        """
    )
    assert terms.answer(script, flags=("-W", "error")) == {
        "versions": [PANDAS, OTHER_NUMPY],
        "pandas": [PANDAS, PANDAS],
        "numpy": [OTHER_NUMPY, NUMPY],
        "two": True,
        "classes": False,
        "equal": True,
        "groups": {"a": 2475.0, "b": 1250.0, "c": 1225.0},
        "copied": [True, True],
    }


def test_a_hermetic_pandas_works_on_what_its_bubble_holds(terms: Scene, program: Program) -> None:
    script = program(
        f"""
        import json
        import numpy as mains, pandas as mains_pandas
        import omnipkg_meta as om

        with om.use("pandas=={OTHER_PANDAS}", hermetic=True):
            import pandas as pd
            import packaging  # code of the user's own sees main
        frame = pd.DataFrame({{"key": list("abca"), "value": [1.0, 2.0, 3.0, 4.0]}})
        assert frame.groupby("key")["value"].sum().to_dict() == {{"a": 5.0, "b": 2.0, "c": 3.0}}
        assert type(frame["value"].to_numpy()) is not mains.ndarray
        try:
            frame.to_parquet("nowhere")
        except ImportError as error:
            print(json.dumps([str(error).split(".")[0], pd.__version__, mains_pandas.__version__]))
        """
    )
    message, *versions = terms.answer(script, flags=("-W", "error"))
    assert "Unable to find a usable engine" in message
    assert versions == [OTHER_PANDAS, PANDAS]
