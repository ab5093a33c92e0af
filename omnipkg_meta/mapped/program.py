"""A program that leaves a map of itself when it ends: what ``omnipkg-meta map`` runs.

Owns when recording begins and when the map is written.  It is called in the process of
the program, before anything of the program runs.
"""

from __future__ import annotations

import atexit
import os
import sys

from omnipkg_meta import recording

__all__ = ["leave_map"]


def leave_map(file: str) -> None:
    """Record from now on, and write the map when the program ends, however it does that.

    Not where nothing is run at the end any more: ``os._exit``, ``exec``, a signal that kills.

    Args:
        file: the full path of the page, or of the data where it ends in ``.json``.
    """
    # Registered before anything of the program is, and so called after all of that.
    atexit.register(_write, file, os.getpid())
    recording.start()


def _write(file: str, process: int) -> None:
    if os.getpid() != process:
        return  # a forked child that came to its end; the map is of its parent
    from omnipkg_meta.mapped import Map, taking

    recording.stop()
    try:
        saved = Map(taking.of_this_process(ended=True)).save(file)
    except OSError as error:
        sys.stderr.write(f"error: the map cannot be written to {file}: {error.strerror}\n")
        return
    sys.stderr.write(f"map: {saved}\n")
