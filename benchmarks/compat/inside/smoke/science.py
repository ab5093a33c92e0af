"""What packages are for: numbers, pictures and models.  See ``README.md``."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from witness import near, same

if TYPE_CHECKING:
    from collections.abc import Iterator


def numpy() -> Iterator[None]:
    import pickle

    import numpy as np

    a = np.arange(12.0).reshape(3, 4)
    near(float((a @ a.T).trace()), 506.0)
    near(float(np.linalg.det(np.array([[2.0, 1.0], [1.0, 3.0]]))), 5.0)
    near(float(np.abs(np.fft.fft(np.ones(8))).sum()), 8.0)
    same(np.random.default_rng(0).integers(0, 10, 5).shape, (5,))
    same(pickle.loads(pickle.dumps(a)).tolist(), a.tolist())
    stream = io.BytesIO()
    np.savez(stream, a=a)
    stream.seek(0)
    same(np.load(stream)["a"].tolist(), a.tolist())
    yield
    near(float(a.mean()), 5.5)
    near(float(a.std(axis=0).sum()), 13.063945294843618)
    same(str(a[0]), "[0. 1. 2. 3.]")


def pandas() -> Iterator[None]:
    import pandas as pd

    frame = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    same(frame.groupby("k")["v"].sum().to_dict(), {"a": 4, "b": 2})
    same(pd.read_csv(io.StringIO(frame.to_csv(index=False))).to_dict(), frame.to_dict())
    same(len(frame.merge(frame, on="k")), 5)
    same(str(pd.date_range("2024-01-31", periods=2, freq="D")[1].date()), "2024-02-01")
    yield
    same(frame["v"].rolling(2).mean().tolist()[1:], [1.5, 2.5])
    same(frame.sort_values("v", ascending=False)["k"].tolist(), ["a", "b", "a"])


def scipy() -> Iterator[None]:
    import numpy as np
    from scipy import fft, integrate, linalg, optimize, sparse, special, stats
    from scipy.sparse.linalg import spsolve

    near(integrate.quad(lambda x: x**2, 0, 3)[0], 9.0)
    near(optimize.brentq(lambda x: x**2 - 2, 0, 2), 2**0.5)
    near(float(special.gamma(5)), 24.0)
    near(float(stats.norm.cdf(0)), 0.5)
    near(float(linalg.det(np.array([[2.0, 1.0], [1.0, 3.0]]))), 5.0)
    matrix = sparse.csc_matrix(np.array([[2.0, 0.0], [0.0, 4.0]]))
    same(spsolve(matrix, np.array([2.0, 4.0])).tolist(), [1.0, 1.0])
    near(float(np.abs(fft.fft(np.ones(4))).sum()), 4.0)
    found = optimize.minimize(lambda x: (x[0] - 1) ** 2, [0.0])
    near(float(found.x[0]), 1.0, 1e-4)
    yield
    near(float(optimize.brentq(lambda x: x**3 - 8, 0, 3)), 2.0)


def scikit_learn() -> Iterator[None]:
    import pickle

    from sklearn.datasets import load_iris
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import pairwise_distances
    from sklearn.svm import SVC

    features, target = load_iris(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=10, random_state=0).fit(features, target)
    for model in (LogisticRegression(max_iter=1000), SVC(), HistGradientBoostingClassifier()):
        if model.fit(features, target).score(features, target) < 0.9:
            raise AssertionError(model)
    near(float(pairwise_distances([[0.0, 0.0]], [[3.0, 4.0]])[0, 0]), 5.0)
    same(
        pickle.loads(pickle.dumps(forest)).predict(features).tolist(),
        forest.predict(features).tolist(),
    )
    yield
    if forest.score(features, target) < 0.9:
        raise AssertionError("after the scope")


def pyarrow() -> Iterator[None]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.dataset
    import pyarrow.parquet as pq

    same(pa.cpp_version.partition(".")[0], pa.__version__.partition(".")[0])
    table = pa.table({"x": [1, 2, 3], "s": ["a", "b", None]})
    same(pc.sum(table["x"]).as_py(), 6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        pq.write_table(table, path, compression="zstd")
        same(pq.read_table(path).to_pydict(), table.to_pydict())
        same(pyarrow.dataset.dataset(folder).count_rows(), 3)
    same(pyarrow.csv.read_csv(io.BytesIO(b"a\n1\n2\n"))["a"].to_pylist(), [1, 2])
    yield
    same(table.filter(pc.greater(table["x"], 1)).num_rows, 2)


def matplotlib() -> Iterator[None]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([1, 2, 3], [1, 4, 9], label="$x^2$")
    axes.contourf([[1, 2], [3, 4]])
    axes.legend()
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        stream = io.BytesIO()
        figure.savefig(stream, format=kind)
        same(stream.getvalue()[: len(start)], start)
    yield
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    same(stream.getvalue()[:4], b"\x89PNG")


def pillow() -> Iterator[None]:
    from PIL import Image, ImageDraw, ImageFilter, features

    image = Image.new("RGB", (16, 16), (255, 0, 0))
    ImageDraw.Draw(image).line((0, 0, 15, 15), fill=(0, 0, 255))
    same(image.resize((8, 8)).size, (8, 8))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        stream = io.BytesIO()
        image.save(stream, kind)
        stream.seek(0)
        same(Image.open(stream).convert("RGB").size, (16, 16))
    same(features.check("jpg"), True)
    yield
    same(image.filter(ImageFilter.BLUR).size, (16, 16))
    same(image.getpixel((0, 0)), (0, 0, 255))


def opencv_python_headless() -> Iterator[None]:
    import cv2
    import numpy as np

    same(cv2.__version__.split(".")[0] in ("4", "5"), True)
    image = np.zeros((32, 32, 3), np.uint8)
    cv2.circle(image, (16, 16), 8, (255, 255, 255), -1)
    done, data = cv2.imencode(".png", image)
    same(done, True)
    same(cv2.imdecode(data, cv2.IMREAD_COLOR).tolist(), image.tolist())
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    found, _ = cv2.findContours(grey, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    same(len(found), 1)
    yield
    same(cv2.GaussianBlur(grey, (3, 3), 0).shape, (32, 32))


def h5py() -> Iterator[None]:
    import h5py
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("g/x", data=np.arange(100), compression="gzip")
            file["g"].attrs["a"] = "text"
        with h5py.File(path, "r") as file:
            same(int(file["g/x"][:].sum()), 4950)
            same(file["g"].attrs["a"], "text")
        yield
        with h5py.File(path, "r") as file:
            same(file["g/x"].shape, (100,))


def contourpy() -> Iterator[None]:
    from contourpy import FillType, LineType, contour_generator

    generator = contour_generator(z=[[0.0, 1.0], [1.0, 0.0]], name="serial")
    same(len(generator.lines(0.5)) > 0, True)
    same(generator.fill_type in list(FillType.__members__.values()), True)
    same(generator.line_type in list(LineType.__members__.values()), True)
    yield
    same(len(generator.filled(0.2, 0.8)), 2)


def numba() -> Iterator[None]:
    import numba
    import numpy as np

    @numba.njit
    def total(values):
        result = 0.0
        for value in values:
            result += value
        return result

    near(total(np.arange(100.0)), 4950.0)

    @numba.vectorize(["float64(float64, float64)"])
    def plus(x, y):
        return x + y

    same(plus(np.ones(3), np.ones(3)).tolist(), [2.0, 2.0, 2.0])
    yield
    same(total(np.arange(10)), 45.0)  # compiled anew, for integers


def llvmlite() -> Iterator[None]:
    import ctypes

    from llvmlite import binding, ir

    for begin in ("initialize", "initialize_native_target", "initialize_native_asmprinter"):
        with contextlib.suppress(RuntimeError):  # newer ones begin by themselves, and say so
            getattr(binding, begin)()
    module = ir.Module(name="m")
    integer = ir.IntType(32)
    function = ir.Function(module, ir.FunctionType(integer, [integer, integer]), name="add")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.add(*function.args))
    machine = binding.Target.from_default_triple().create_target_machine()
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    address = engine.get_function_address("add")
    add = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(address)
    same(add(2, 3), 5)
    yield
    same(add(20, 30), 50)


def tensorflow_cpu() -> Iterator[None]:
    import tensorflow as tf

    same(float(tf.reduce_sum(tf.linalg.matmul(tf.ones((3, 3)), tf.ones((3, 3))))), 27.0)
    weight = tf.Variable(0.0)
    for _ in range(100):
        with tf.GradientTape() as tape:
            loss = (weight * 2.0 - 6.0) ** 2
        weight.assign_sub(0.1 * tape.gradient(loss, weight))
    near(float(weight), 3.0, 1e-3)

    @tf.function
    def square(x):
        return x * x

    same(float(square(tf.constant(3.0))), 9.0)
    yield
    same(float(square(tf.constant(2.0))), 4.0)
    same(tf.reduce_sum(tf.ones(3)).numpy().item(), 3.0)


def polars() -> Iterator[None]:
    import polars as pl

    frame = pl.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    same(sorted(frame.group_by("k").agg(pl.col("v").sum()).rows()), [("a", 4), ("b", 2)])
    stream = io.BytesIO()
    frame.write_parquet(stream)
    stream.seek(0)
    same(pl.read_parquet(stream).rows(), frame.rows())
    yield
    same(frame.lazy().filter(pl.col("v") > 1).collect().height, 2)


def safetensors() -> Iterator[None]:
    from safetensors import deserialize

    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = len(header).to_bytes(8, "little") + header + b"\x00\x00\x80?"
    ((name, tensor),) = deserialize(data)
    same((name, tensor["shape"], bytes(tensor["data"])), ("x", [1], b"\x00\x00\x80?"))
    yield
    same(len(deserialize(data)), 1)


def tokenizers() -> Iterator[None]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(["hello world", "hello there"] * 10, trainer)
    same(tokenizer.encode("hello").tokens, ["hello"])
    yield
    same(tokenizer.decode(tokenizer.encode("hello").ids), "hello")


def torch() -> Iterator[None]:
    import torch

    torch.manual_seed(0)
    features = torch.randn(64, 3)
    target = features @ torch.tensor([[1.0], [-2.0], [0.5]])
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(features), target)
        loss.backward()
        optimizer.step()
    same(float(loss) < 0.1, True)
    stream = io.BytesIO()
    torch.save(model.state_dict(), stream)
    stream.seek(0)
    model.load_state_dict(torch.load(stream, weights_only=True))
    near(float(torch.linalg.det(torch.tensor([[2.0, 1.0], [1.0, 3.0]]))), 5.0, 1e-5)
    yield
    near(float(torch.fft.fft(torch.ones(4)).abs().sum()), 4.0)
    same(torch.ops.aten.add(torch.ones(2), 1).tolist(), [2.0, 2.0])


def jax() -> Iterator[None]:
    import jax
    import jax.numpy as jnp

    near(float(jax.grad(lambda x: x**3)(2.0)), 12.0)
    near(float(jax.jit(lambda x: (x @ x).sum())(jnp.ones((3, 3)))), 27.0)
    yield
    near(float(jax.vmap(lambda x: x * 2)(jnp.arange(3.0)).sum()), 6.0)
