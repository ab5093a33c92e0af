"""A task of its own version, as a plain function.

Airflow's ``ExternalPythonOperator`` runs a function in the interpreter of another
environment: it writes the arguments down, starts that Python, and reads the result.  A
bound function is called where it is, by ``PythonOperator(python_callable=...)`` or by
``@task``.  ``python airflow_task.py`` calls it and prints what it said;
``python -m benchmarks.task_start`` measures both ways.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import omnipkg_meta as om


def summarise(values: list[float]) -> dict[str, object]:
    """Compute with an old numpy; this is all that a task has to be."""
    import numpy

    array = numpy.array(values)
    return {"mean": float(array.mean()), "numpy": numpy.__version__}


task = om.bind(summarise, "numpy==1.26.4")


def main() -> None:
    """Run the task as a scheduler would."""
    print(json.dumps({"answer": task([1.0, 2.0, 3.0]), "after": version("numpy")}))


if __name__ == "__main__":
    main()
