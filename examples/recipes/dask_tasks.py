"""Dask: tasks of two versions at once, in the threads of each worker.

``python dask_tasks.py`` starts a cluster of two processes on this machine, sends it tasks,
and prints what came back.  The tasks are the same on any cluster.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import cloudpickle
from distributed import Client, LocalCluster

import omnipkg_meta as om
from omnipkg_meta.integrations.dask import Bubbles


def shown(markup: str) -> list[str]:
    """Say what is seen, and with which rich; this is all that a task has to be."""
    from rich.text import Text

    return [Text.from_markup(markup).plain, version("rich")]


def main() -> None:
    """Send tasks of three kinds, and wait for what comes back."""
    with LocalCluster(n_workers=2, dashboard_address=None) as cluster, Client(cluster) as client:
        client.register_plugin(Bubbles("rich==13.5.3", "rich==13.4.2"))
        # cloudpickle, since workers elsewhere do not have this program.
        old = om.bind(shown, "rich==13.5.3", dumps=cloudpickle.dumps)
        older = om.bind(shown, "rich==13.4.2", dumps=cloudpickle.dumps)
        words = [f"[bold]{number}[/]" for number in range(10)]
        futures = [client.map(task, words) for task in (old, older, shown)]
        told = client.gather(futures)
    print(json.dumps({"answers": told, "after": version("rich")}))


if __name__ == "__main__":
    main()
