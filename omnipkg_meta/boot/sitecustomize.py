"""What a child of ``omnipkg-meta run`` executes first: it activates the bubbles, then steps aside.

The directory of this file stands first on ``PYTHONPATH`` of such a program, so
that Python's own ``site`` imports it before anything else, and the program then
runs exactly as ``python`` runs it.  The real ``sitecustomize`` comes first.

It may be found by another interpreter too (a child of a child): there it must do
nothing, so its syntax is old on purpose.
"""

import os
import sys


def _step_aside():
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    ours = sys.modules.pop("sitecustomize")
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
    finally:
        # importlib expects to find what it has just executed.
        sys.modules.setdefault("sitecustomize", ours)


def _activate():
    try:
        from omnipkg_meta.launch import activate_from_environment
    except (ImportError, SyntaxError):
        return  # another environment, or another version of Python
    activate_from_environment()


_step_aside()
_activate()
