"""Directories of versions put on ``sys.path`` in turns, and modules purged: run by ``others.py``.

    python purging.py COUNT VERSION=DIRECTORY VERSION=DIRECTORY

Prints one JSON object: the seconds of each, and how many saw another version.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter


def main() -> None:
    """Measure, and print the seconds."""
    count = int(sys.argv[1])
    places = [one.split("=", 1) for one in sys.argv[2:]]
    seconds, wrong = [], 0
    for turn in range(count + 1):
        for version, directory in places:
            start = perf_counter()
            file = _import(directory)
            if turn:  # the first time byte code and directories are read
                seconds.append(perf_counter() - start)
                wrong += version not in file
    print(json.dumps({"seconds": seconds, "wrong": wrong}))


def _import(directory: str) -> str:
    sys.path.insert(0, directory)
    try:
        import rich.console

        return rich.console.__file__
    finally:
        sys.path.remove(directory)
        for name in [one for one in sys.modules if one.partition(".")[0] == "rich"]:
            del sys.modules[name]


if __name__ == "__main__":
    main()
