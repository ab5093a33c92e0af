"""This library, alternating between two versions: run in main by ``others.py``.

    python ours.py COUNT VERSION VERSION

Prints one JSON object: the seconds of ``use(...)`` with an import of rich.console, and of
entering and leaving a scope that was made before.  The versions are checked.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import omnipkg_meta as om


def main() -> None:
    """Measure, and print the seconds."""
    count, versions = int(sys.argv[1]), sys.argv[2:]
    files = [_activate(one) for one in versions]
    start = perf_counter()
    for _ in range(count):
        for version, file in zip(versions, files, strict=True):
            if _activate(version) != file:
                raise SystemExit("the wrong version was seen")
    activation = (perf_counter() - start) / count / len(versions)
    scope, turns = om.use(f"rich=={versions[0]}"), range(count)
    start = perf_counter()
    for _ in turns:
        with scope:
            pass
    print(json.dumps({"activation": activation, "scope": (perf_counter() - start) / count}))


def _activate(version: str) -> str:
    with om.use(f"rich=={version}"):
        import rich.console

        if version not in rich.console.__file__:
            raise SystemExit(f"the wrong version was seen: {rich.console.__file__}")
        return rich.console.__file__


if __name__ == "__main__":
    main()
