"""omnipkg's daemon, asked for two versions in turns: run in omnipkg's environment.

    python omnipkg_daemon.py COUNT VERSION VERSION

Prints one JSON object: the seconds of each request, and how many saw another version.

The daemon is started as a child and asked to end by its own request.  Its command ``stop`` is
not used: that one ends every process of the machine with certain words in its command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, perf_counter, sleep

import psutil
from omnipkg.isolation.worker_daemon import DaemonClient

#: Seconds that it may take to start, and to end.
_PATIENCE = 60
_CODE = "import rich.console; print(rich.console.__file__)"


def main() -> None:
    """Measure, and print the seconds."""
    count, versions = int(sys.argv[1]), sys.argv[2:]
    # In the foreground: as a service it would ask for a priority above that of all others.
    command = [sys.executable, "-m", "omnipkg.isolation.worker_daemon", "start", "--no-fork"]
    with Path(tempfile.gettempdir(), "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        client = DaemonClient(auto_start=False, timeout=_PATIENCE)
        try:
            _wait(client, daemon)
            told = _measure(client, count, versions)
        finally:
            _end(client, daemon)
    print(json.dumps(told))


def _measure(client: DaemonClient, count: int, versions: list[str]) -> dict[str, object]:
    seconds, wrong = [], 0
    for turn in range(count + 1):
        for version in versions:
            start = perf_counter()
            answer = client.execute(f"rich=={version}", _CODE)
            taken = perf_counter() - start
            if not answer.get("success"):
                raise SystemExit(f"the daemon answered {answer}")
            if turn:  # the first time a worker is made
                seconds.append(taken)
                wrong += version not in answer["stdout"]
    return {"seconds": seconds, "wrong": wrong}


def _wait(client: DaemonClient, daemon: subprocess.Popen[bytes]) -> None:
    until = monotonic() + _PATIENCE
    while not client.status().get("success"):
        if daemon.poll() is not None or monotonic() > until:
            raise SystemExit(f"the daemon did not start: exit code {daemon.poll()}")
        sleep(0.1)


def _end(client: DaemonClient, daemon: subprocess.Popen[bytes]) -> None:
    client.shutdown()
    try:
        daemon.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    # Its workers run scripts in the temporary folder, which is this bench's own.
    scripts = str(Path(tempfile.gettempdir(), "omnipkg")) + os.sep
    workers = [
        one
        for one in psutil.process_iter(["cmdline"])
        if any(word.startswith(scripts) for word in one.info["cmdline"] or ())
    ]
    _, left = psutil.wait_procs(workers, timeout=5)
    for one in left:
        one.kill()


if __name__ == "__main__":
    main()
