"""A task in another version: a bound function beside a subprocess with another interpreter.

    python -m benchmarks.task_start [--rounds N] [--markdown docs/recipes.md] [--json FILE]

The subprocess does what operators like Airflow's ``ExternalPythonOperator`` do: the
arguments are pickled into a file, the Python of an environment that has the other version
runs the function on them and pickles what it returns, and that is read back.  The bound
function of ``examples/recipes/airflow_task.py`` is called where it is.  Both take turns, and
each answer has to be right, and of the right version.

Needs ``uv`` (the ``all`` extra) and the package index.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.environments import ROOT, environment, run
from benchmarks.figures import measured_on, write_figures

NUMPY = "numpy==1.26.4"

#: What the other interpreter runs: the function of the example, between two files.
_OTHER = """\
import pickle
import sys

def summarise(values):
    import numpy

    array = numpy.array(values)
    return {"mean": float(array.mean()), "numpy": numpy.__version__}

with open(sys.argv[1], "rb") as file:
    values = pickle.load(file)
with open(sys.argv[2], "wb") as file:
    pickle.dump(summarise(values), file)
"""

#: Run in main, with the other interpreter and the number of rounds; prints seconds as JSON.
_TURNS = """\
import json, pickle, subprocess, sys, tempfile, time
from pathlib import Path

from airflow_task import task

other, rounds = sys.argv[1], int(sys.argv[2])
folder = Path(tempfile.mkdtemp(dir=Path(sys.argv[3]).parent))
VALUES = [1.0, 2.0, 3.0]

def subprocess_task(values):
    given, got = folder / "in.pickle", folder / "out.pickle"
    given.write_bytes(pickle.dumps(values))
    subprocess.run([other, sys.argv[3], str(given), str(got)], check=True)
    return pickle.loads(got.read_bytes())

def timed(function):
    began = time.perf_counter()
    answer = function(VALUES)
    took = time.perf_counter() - began
    assert answer == {"mean": 2.0, "numpy": "1.26.4"}, answer
    return took

first = timed(task)
taken = [(timed(task), timed(subprocess_task)) for _ in range(rounds)]
print(json.dumps({"first": first, "taken": taken}))
"""


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Return median seconds: of the first call in a process, of later ones, of a subprocess."""
    python = str(environment(path / "main", f"{ROOT}[all]"))
    other = environment(path / "other", NUMPY)
    variables = {
        **os.environ,
        "OMNIPKG_META_STORE": str(path / "store"),
        "PYTHONPATH": str(ROOT / "examples" / "recipes"),
    }
    words = ("install", "--compile-bytecode", NUMPY)  # as the other has it
    run(python, "-m", "omnipkg_meta", *words, variables=variables)
    turns, script = path / "turns.py", path / "other.py"
    turns.write_text(_TURNS)
    script.write_text(_OTHER)
    command = (python, str(turns), str(other), "1", str(script))
    run(*command, variables=variables)  # byte code, and the disk's cache
    first, later, started = [], [], []
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        told = json.loads(run(*command[:3], "5", command[4], variables=variables))
        first.append(told["first"])
        later += [ours for ours, _ in told["taken"]]
        started += [theirs for _, theirs in told["taken"]]
    medians = map(statistics.median, (first, later, started))
    return dict(zip(("first", "later", "subprocess"), medians, strict=True))


def as_markdown(taken: dict[str, float]) -> str:
    """Return the figures as a table."""
    lines = [
        "| | bound function | subprocess, another interpreter | ratio |",
        "|---|---|---|---|",
    ]
    theirs = taken["subprocess"]
    for name, what in (("first", "first call in a process"), ("later", "each later call")):
        ours = taken[name]
        shown = f"{ours * 1e3:.0f} ms" if ours > 1e-3 else f"{ours * 1e6:.0f} µs"
        lines.append(f"| {what} | {shown} | {theirs * 1e3:.0f} ms | {theirs / ours:.1f} x |")
    return "\n".join(lines)


def main() -> int:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--markdown", type=Path, help="write the table into this page")
    parser.add_argument("--json", type=Path, help="write the figures there, in seconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="task-start-") as path:
        taken = measure(Path(path), arguments.rounds)
    table = as_markdown(taken)
    how = f"medians of {arguments.rounds} processes, with five calls each way"
    print(f"{measured_on(how)}\n\n{table}")
    if arguments.markdown is not None:
        write_figures(arguments.markdown, table, how)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(taken, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
