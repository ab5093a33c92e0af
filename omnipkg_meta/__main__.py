"""``python -m omnipkg_meta``: the command line, and nothing else."""

from __future__ import annotations

from omnipkg_meta.cli import command

if __name__ == "__main__":
    command()
