"""A subinterpreter for each version, which Python 3.14 has pools of: run by ``others.py``.

    python interpreters.py COUNT VERSION=DIRECTORY VERSION=DIRECTORY

Prints one JSON object: the seconds of each task, and how many saw another version.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter


def prepare(directory: str) -> None:
    """Make a version the one that an interpreter finds."""
    sys.path.insert(0, directory)


def look() -> str:
    """Import the package and say where it is from: what each task does."""
    import rich.console

    return rich.console.__file__


def main() -> None:
    """Measure, and print the seconds."""
    from concurrent.futures import InterpreterPoolExecutor  # type: ignore[attr-defined,unused-ignore]

    count = int(sys.argv[1])
    places = [one.split("=", 1) for one in sys.argv[2:]]
    pools = {
        version: InterpreterPoolExecutor(1, initializer=prepare, initargs=(directory,))
        for version, directory in places
    }
    seconds, wrong = [], 0
    for turn in range(count + 1):
        for version, pool in pools.items():
            start = perf_counter()
            file = pool.submit(look).result()
            if turn:  # the first time the interpreter is made and imports
                seconds.append(perf_counter() - start)
                wrong += version not in file
    for pool in pools.values():
        pool.shutdown()
    print(json.dumps({"seconds": seconds, "wrong": wrong}))


if __name__ == "__main__":
    main()
