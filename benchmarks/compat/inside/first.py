"""The first import of a package: how long it takes, and how much memory the process then has.

    python first.py JOB.json EVENTS.jsonl

A plain process first imports what the library has loaded of the standard library
in the other one (``preload``): what is compared is the realm, not who pays first.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path
from time import perf_counter

sys.path.pop(0)


def peak() -> int:
    """Return the most memory that this process has had so far, in kilobytes."""
    # Not getrusage: its figure begins with that of the process that started this one.
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main() -> None:
    """Enter the scope, if there is one; then import, and write what it took."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    if job["requirement"]:
        import omnipkg_meta as om

        om.use(job["requirement"]).__enter__()
    for name in job["preload"]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    standard = [name for name in sys.modules if name.partition(".")[0] in sys.stdlib_module_names]
    before = peak()
    program = compile("".join(f"import {root}\n" for root in job["roots"]), __file__, "exec")
    start = perf_counter()
    exec(program, globals())  # noqa: S102  (import statements, as a program has them)
    seconds = perf_counter() - start
    root = sys.modules[job["roots"][0]]
    file = getattr(root, "__file__", None) or next(iter(root.__path__))
    event = {
        "event": "done",
        "seconds": seconds,
        "kilobytes": peak(),
        "before": before,
        "file": file,
        "standard": sorted(set(standard) - {"__main__"}),
    }
    Path(sys.argv[2]).write_text(json.dumps(event) + "\n", "utf-8")


if __name__ == "__main__":
    main()
