"""Little packages that stand for those that the documentation speaks of.

Owns what is installed in main and what in bubbles where the pages are run, and as much of
each package as a page uses: enough for what a page promises to be true or false.  Like the
real ones, they import parts of themselves only when these are needed.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import Wheelhouse

__all__ = ["BUBBLES", "KNOWN", "MAIN", "make_wheels"]

#: The versions that the pages say are installed.
MAIN = {
    "rich": "13.7.1",
    "numpy": "2.2.6",
    "pandas": "2.3.3",
    "pydantic": "2.8.2",
    "protobuf": "6.30.0",
    "google-cloud-storage": "3.1.0",
    "pyarrow": "21.0.0",
}
#: What the pages say there are bubbles of; each is made before.
BUBBLES = (
    ("rich==13.5.3",),
    ("rich==13.4.2",),
    ("numpy==1.26.4",),
    ("pandas==2.2.3",),
    ("pandas==2.1.4", "numpy<2"),
    ("pydantic==1.10.26",),
    ("pydantic==2.11.10",),
    ("Django==4.2.23",),
    ("protobuf==4.25.8",),
)
#: Import names whose ``__version__`` a comment can promise.
KNOWN = ("django", "numpy", "pandas", "pydantic", "rich")

_RICH = {
    "rich/__init__.py": """
        __version__ = "<version>"


        def print(*values):
            from rich.console import Console

            Console().print(*values)
    """,
    "rich/console.py": """
        class Console:
            def print(self, *values):
                from rich.text import Text

                print(*(Text.from_markup(str(value)).plain for value in values))
    """,
    "rich/table.py": "class Table:\n    pass\n",
    "rich/text.py": """
        import re


        class Text:
            def __init__(self, plain="", style=""):
                self.plain, self.style = plain, style

            @classmethod
            def from_markup(cls, markup):
                from rich import markup as tags

                return cls(tags.without(markup))

            def stylize(self, style):
                self.style = style

            def __add__(self, other):
                return type(self)(self.plain + other, self.style)
    """,
    "rich/markup.py": """
        import re


        def without(text):
            return re.sub(r"\\[[^]]*\\]", "", text)
    """,
}
_NUMPY = {
    "numpy/__init__.py": """
        __version__ = "<version>"


        class float64(float):
            pass


        if __version__ < "2":
            float_ = float64


        class ndarray:
            def __init__(self, values):
                self.values = list(values)

            def mean(self):
                from numpy import _methods

                return _methods.mean(self.values)

            def reshape(self, *shape):
                return self

            def __len__(self):
                return len(self.values)


        def array(values):
            return ndarray(values)


        def arange(stop):
            return ndarray(range(int(stop)))
    """,
    "numpy/_methods.py": """
        def mean(values):
            import numpy

            return numpy.float64(sum(values) / len(values))
    """,
}
_PANDAS = {
    "pandas/__init__.py": """
        import numpy

        __version__ = "<version>"


        class DataFrame:
            def __init__(self, data=(), copy=None):
                self.data = data if isinstance(data, numpy.ndarray) else numpy.array(data)

            def to_numpy(self):
                return self.data

            def sort_values(self, by):
                import numpy as now

                assert now is numpy
                return self

            def numpy_version(self):
                import numpy as now

                assert now is numpy
                return now.__version__

            def to_parquet(self, path):
                import pyarrow
    """,
}
_PYDANTIC_1 = {
    "pydantic/__init__.py": """
        VERSION = __version__ = "<version>"


        class BaseModel:
            def dict(self):
                return dict(vars(self))
    """,
}
_PYDANTIC_2 = {
    "pydantic/__init__.py": """
        VERSION = __version__ = "<version>"


        class BaseModel:
            def model_dump(self):
                return dict(vars(self))
    """,
}
_DJANGO = {
    "django/__init__.py": """
        __version__ = "<version>"

        settings = None


        def setup():
            import importlib, os
            import django

            django.settings = importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    """,
}

_PROTOBUF = {"google/protobuf/__init__.py": "__version__ = '<version>'\n"}
_STORAGE = {
    "google/cloud/storage/__init__.py": "from google import protobuf\n\n__version__ = '<version>'\n"
}

_WHEELS: tuple[tuple[str, Mapping[str, str] | None, tuple[str, ...], tuple[str, ...]], ...] = (
    ("rich", _RICH, ("13.7.1", "13.5.3", "13.4.2"), ()),
    ("numpy", _NUMPY, ("2.2.6", "1.26.4"), ()),
    ("pandas", _PANDAS, ("2.3.3", "2.2.3"), ("numpy>=1.23.2",)),
    ("pandas", _PANDAS, ("2.1.4",), ("numpy<2,>=1.23.2",)),
    ("pydantic", _PYDANTIC_2, ("2.8.2", "2.11.10"), ()),
    ("pydantic", _PYDANTIC_1, ("1.10.26",), ()),
    ("Django", _DJANGO, ("4.2.23",), ()),
    ("protobuf", _PROTOBUF, ("6.30.0", "4.25.8"), ()),
    ("google-cloud-storage", _STORAGE, ("3.1.0",), ("protobuf>=3.20",)),
    ("pyarrow", None, ("21.0.0",), ()),
    ("httpx", None, ("0.28.1",), ()),
)


def make_wheels(wheelhouse: Wheelhouse) -> None:
    """Make a wheel of every version."""
    for name, files, versions, requires in _WHEELS:
        for version in versions:
            sources = {
                path: textwrap.dedent(text).lstrip("\n").replace("<version>", version)
                for path, text in (files or {}).items()
            }
            wheelhouse.make(name, version, sources or None, requires=requires)
