"""Two versions of packages whose native code keeps something for the whole interpreter."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.scene import once

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

OLD = sys.version_info < (3, 13)


class Case(NamedTuple):
    """Two bubbles, each by its requirements, and what works in both.

    Attributes:
        bubbles: the requirements.
        work: the body of a function that returns the version it worked with.
    """

    bubbles: tuple[tuple[str, ...], tuple[str, ...]]
    work: str


CASES = {
    # pybind11, internals version 4: kept in builtins before CPython 3.12.
    "contourpy": Case(
        (("contourpy==1.2.0", "numpy<2"), ("contourpy==1.2.1", "numpy<2"))
        if OLD
        else (("contourpy==1.3.1",), ("contourpy==1.3.2",)),
        """
        import contourpy, numpy as np
        x, y = np.meshgrid(np.linspace(0, 1, 50), np.linspace(0, 1, 50))
        kind = contourpy.FillType.OuterOffset
        for _ in range(20):
            made = contourpy.contour_generator(x, y, np.sin(7 * x) * y, fill_type=kind)
            assert type(made.fill_type) is contourpy.FillType and made.fill_type == kind
            points, offsets = made.filled(0.1, 0.5)
            assert len(points) == len(offsets) > 0 and made.lines(0.3)
        return contourpy.__version__
        """,
    ),
    # pybind11 3 with its cache of modules by name, inside scipy; the same scipy twice.
    "scikit-learn": Case(
        (("scikit-learn==1.6.1",), ("scikit-learn==1.7.2",)),
        """
        import numpy as np, scipy.fft, scipy.optimize, scipy.spatial, sklearn
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
        data = np.random.default_rng(0).random((100, 5))
        classes = (data.sum(1) > 2.5).astype(int)
        for model in (LogisticRegression(), RandomForestClassifier(5)):
            assert model.fit(data, classes).score(data, classes) > 0.8
        assert np.allclose(scipy.fft.ifft(scipy.fft.fft(data)).real, data)
        assert scipy.optimize.linprog([1, 2], A_ub=[[-1, -1]], b_ub=[-1]).fun == 1
        assert scipy.spatial.distance.cdist(data, data).shape == (100, 100)
        here = sklearn.__file__.partition("sklearn")[0]
        from scipy.fft._pocketfft import pypocketfft
        assert pypocketfft.__file__.startswith(here), pypocketfft.__file__
        return sklearn.__version__
        """,
    ),
    # nanobind, two versions of its internals.
    "gemmi": Case(
        (("gemmi==0.7.0",), ("gemmi==0.7.3",)),
        """
        import gemmi
        cell = gemmi.UnitCell(10, 20, 30, 90, 90, 90)
        assert type(cell) is gemmi.UnitCell and cell.volume == 6000
        assert gemmi.Position(1, 2, 3).dist(gemmi.Position(1, 2, 5)) == 2
        return gemmi.__version__
        """,
    ),
    # Cython, and threads of its own.
    "grpcio": Case(
        (("grpcio==1.67.1",), ("grpcio==1.70.0",)),
        """
        import grpc
        from concurrent.futures import ThreadPoolExecutor
        class Backwards(grpc.GenericRpcHandler):
            def service(self, details):
                return grpc.unary_unary_rpc_method_handler(lambda text, context: text[::-1])
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((Backwards(),))
        port = server.add_insecure_port("localhost:0")
        server.start()
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            for _ in range(5):
                assert channel.unary_unary("/any/thing")(b"abc") == b"cba"
        server.stop(0).wait()
        return grpc.__version__
        """,
    ),
    # pybind11 of two ages in one bubble, and single-phase modules.
    # Not as PDF, where ``catch_warnings`` hides what it warns of: that is not for threads.
    "matplotlib": Case(
        (("matplotlib==3.9.2",), ("matplotlib==3.10.0",)),
        """
        import io, matplotlib
        matplotlib.use("agg")
        import matplotlib.figure, numpy as np
        figure = matplotlib.figure.Figure()
        axes = figure.subplots()
        axes.contourf(np.arange(100.0).reshape(10, 10) % 7)
        axes.tricontour([0, 1, 0, 1], [0, 0, 1, 1], [1, 2, 3, 4])
        axes.text(0, 0, "$x^2$")
        for kind in ("png", "svg"):
            written = io.BytesIO()
            figure.savefig(written, format=kind)
            assert len(written.getvalue()) > 1000
        return matplotlib.__version__
        """,
    ),
    # mypyc since 1.20: reads its own modules from the storage of the table, at call time too.
    "black": Case(
        (("black==26.5.1",), ("black==26.10.1",)),
        """
        import black
        text = "x = {  'a':1 }\\nmatch x:\\n  case {'a': 1}: pass\\n"
        assert black.format_str(text, mode=black.Mode()).startswith('x = {"a": 1}')
        return black.__version__
        """,
    ),
    # Keeps its log of errors in the dict of the thread.
    "lxml": Case(
        (("lxml==5.4.0",), ("lxml==6.0.0",)),
        """
        from lxml import etree
        try:
            etree.fromstring("<a><b></a>")
        except etree.XMLSyntaxError as error:
            assert error.error_log[0].type_name == "ERR_TAG_NAME_MISMATCH"
        schema = etree.RelaxNG(etree.XML(
            '<element name="a" xmlns="http://relaxng.org/ns/structure/1.0"><empty/></element>'
        ))
        assert not schema.validate(etree.XML("<b/>")) and len(schema.error_log)
        return etree.__version__
        """,
    ),
    # cffi writes the library that it makes up into the storage of the table.
    "cryptography": Case(
        (("cryptography==44.0.0",), ("cryptography==45.0.0",)),
        """
        import cryptography
        from cryptography.fernet import Fernet
        from cryptography.hazmat.bindings._rust import _openssl
        import sys
        assert sys.modules["_openssl"] is _openssl
        assert sys.modules["_openssl.lib"] is _openssl.lib
        box = Fernet(Fernet.generate_key())
        assert box.decrypt(box.encrypt(b"text")) == b"text"
        return cryptography.__version__
        """,
    ),
    # No native code: its distutils stands in the place of the standard library's.
    "setuptools": Case(
        (("setuptools==75.8.0",), ("setuptools==79.0.0",)),
        """
        import setuptools
        import distutils.core
        from distutils.cmd import Command
        assert issubclass(setuptools.Command, Command)
        assert distutils.core.__file__.startswith(setuptools.__file__.partition("__init__")[0])
        return setuptools.__version__
        """,
    ),
}

PROGRAM = """
    import json, sys, threading
    import omnipkg_meta as om

    scopes = [om.use(*requirements) for requirements in json.loads(sys.argv[1])]
    barrier = threading.Barrier(len(scopes), timeout=120)
    found, wrong = {}, []

    def run(number):
        try:
            with scopes[number]:
                barrier.wait()
                found[number] = [work()]
        except BaseException as error:
            import traceback
            wrong.append("".join(traceback.format_exception(error)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(scopes))]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    for number, scope in enumerate(scopes):
        with scope:
            found.setdefault(number, []).append(work())
    leftovers = [name for name in sys.modules if str(name).partition(".")[0] == sys.argv[2]]
    print(json.dumps([wrong, [found[number] for number in range(len(scopes))], leftovers]))
"""


@pytest.mark.parametrize("name", CASES)
def test_two_versions_work_in_two_threads_and_one_after_the_other(
    natives: Scene, program: Program, name: str
) -> None:
    case = CASES[name]

    def install() -> None:
        for requirements in case.bubbles:
            done = natives.run("-m", "omnipkg_meta", "install", *requirements, builds=True)
            assert done.returncode == 0, done.stderr

    once(natives.path / f"bubbles-of-{name}", install)
    work = "def work():\n" + textwrap.indent(textwrap.dedent(case.work), "    ")
    done = natives.run(
        program(work, PROGRAM),
        json.dumps(case.bubbles),
        name.partition("-")[0],
        environment=natives.bare,
    )
    assert (done.returncode, done.stderr) == (0, "")
    wrong, versions, leftovers = json.loads(done.stdout.splitlines()[-1])
    assert wrong == []
    expected = [requirements[0].partition("==")[2] for requirements in case.bubbles]
    assert versions == [[version] * 2 for version in expected]
    assert leftovers == []
