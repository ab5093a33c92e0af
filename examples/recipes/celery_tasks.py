"""Celery: each task in the versions that it asks for, in one worker.

``python celery_tasks.py`` runs a worker in a thread, on the transport in memory, sends it
tasks, and prints what came back.  The tasks are the same with any broker and any pool.
"""

from __future__ import annotations

import json
from importlib.metadata import version

from celery import Celery
from celery.contrib.testing.worker import start_worker

import omnipkg_meta as om

app = Celery("recipes", broker="memory://", backend="cache+memory://")


@app.task
@om.use("rich==13.5.3")
def old(markup: str) -> list[str]:
    """Render with 13.5.3; the scope is entered in the worker, around the task."""
    from rich.text import Text

    return [Text.from_markup(markup).plain, version("rich")]


@app.task
def new(markup: str) -> list[str]:
    """Render with what is installed."""
    from rich.text import Text

    return [Text.from_markup(markup).plain, version("rich")]


def main() -> None:
    """Send tasks of both kinds, and wait for what comes back."""
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
        sent = [task.delay("[bold]hello[/]") for _ in range(5) for task in (old, new)]
        told = [result.get(timeout=60) for result in sent]
    print(json.dumps({"answers": told, "after": version("rich")}))


if __name__ == "__main__":
    main()
