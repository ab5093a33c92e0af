"""``python -m omnipkg_meta``: the command line, and nothing else."""

from __future__ import annotations

import sys

from omnipkg_meta.cli import main

if __name__ == "__main__":
    sys.exit(main())
