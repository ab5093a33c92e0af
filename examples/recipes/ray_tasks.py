"""Ray: tasks of two versions in one process.

``python ray_tasks.py`` starts Ray on this machine, sends it tasks, and prints what came back.
The tasks are the same on any cluster.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version

import ray

import omnipkg_meta as om


def shown(markup: str) -> tuple[list[str], int]:
    """Say what is seen, with which rich, and in which process."""
    from rich.text import Text

    return [Text.from_markup(markup).plain, version("rich")], os.getpid()


@ray.remote
@om.use("rich==13.5.3", install=True)
def old(markup: str) -> tuple[list[str], int]:
    """See it with 13.5.3; a machine that has no such bubble makes one."""
    return shown(markup)


#: The very bubble that was found here: its lock goes along.
locked = om.bind(shown, "rich==13.4.2", install=True, dumps=ray.cloudpickle.dumps)


@ray.remote
def older(markup: str) -> tuple[list[str], int]:
    """See it with the bubble that the driver has found."""
    return locked(markup)


@ray.remote
@om.use("no-such-package==1", install=True)
def missing() -> None:
    """Ask for what nobody has."""


def main() -> None:
    """Send tasks of each kind, and wait for what comes back."""
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    tasks = (old, older, ray.remote(shown))
    told = ray.get([task.remote("[bold]hello[/]") for _ in range(5) for task in tasks])
    try:
        ray.get(missing.remote())
    except ray.exceptions.RayTaskError as error:
        reason = str(error.cause)
    ray.shutdown()
    answers, processes = zip(*told, strict=True)
    print(json.dumps({"answers": answers, "processes": len(set(processes)), "reason": reason}))


if __name__ == "__main__":
    main()
