"""omnipkg's loader, alternating between two versions: run in omnipkg's environment.

    python omnipkg_loader.py COUNT VERSION VERSION

Prints one JSON object: the seconds of entering, importing rich.console and leaving; of entering
and leaving alone, with a loader that was made before; and how many saw another version.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any

from omnipkg.core import ConfigManager
from omnipkg.loader import omnipkgLoader


def main() -> None:
    """Measure, and print the seconds."""
    count, versions = int(sys.argv[1]), sys.argv[2:]
    config = ConfigManager(suppress_init_messages=True).config
    seconds, alone, wrong = [], [], 0
    for turn in range(count + 1):
        for version in versions:
            start = perf_counter()
            file = _activate(config, version)
            whole = perf_counter() - start
            loader = omnipkgLoader(f"rich=={version}", config=config, quiet=True)
            start = perf_counter()
            with loader:
                pass
            if turn:  # the first time caches are filled
                seconds.append(whole)
                alone.append(perf_counter() - start)
                wrong += version not in file
    print(json.dumps({"seconds": seconds, "alone": alone, "wrong": wrong}))


def _activate(config: Any, version: str) -> str:
    with omnipkgLoader(f"rich=={version}", config=config, quiet=True):
        import rich.console

        return rich.console.__file__


if __name__ == "__main__":
    main()
