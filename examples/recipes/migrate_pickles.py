"""Pickles of an old pandas, read by that pandas and written by the one that is installed.

``python migrate_pickles.py FROM TO`` reads each ``*.pkl`` of a directory in one scope and
writes it anew outside of it.  What crosses is text.
"""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path

import pandas

import omnipkg_meta as om

OLD = ("pandas==2.1.4", "numpy==1.26.4")


@om.use(*OLD)
def read(path: Path) -> tuple[str, str]:
    """Return what a pickle holds, with its types (the JSON form "table"), and who read it."""
    import pandas

    frame = pandas.read_pickle(path)  # noqa: S301  # your own files
    return frame.to_json(orient="table", date_format="iso"), pandas.__version__


def main(source: Path, target: Path) -> None:
    """Migrate a directory, and print what was read and written by which version."""
    target.mkdir(exist_ok=True)
    told = {}
    for path in sorted(source.glob("*.pkl")):
        text, reader = read(path)
        frame = pandas.read_json(StringIO(text), orient="table")
        frame.to_pickle(target / path.name)
        told[path.name] = [reader, pandas.__version__]
    print(json.dumps(told))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
