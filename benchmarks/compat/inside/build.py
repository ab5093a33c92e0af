"""A bubble, made with ``om.install`` into the configured store.

python build.py JOB.json EVENTS.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.pop(0)  # this folder: none of its names may stand before a package's
sys.path.insert(0, str(Path(__file__).parent))
from witness import Events, guard

sys.path.pop(0)


def main() -> None:
    """Build what the job asks for."""
    import omnipkg_meta as om

    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    say = Events(sys.argv[2])
    found: list[str] = []

    def build() -> None:
        bubble = om.install(*job["requirements"])
        say(
            "bubble",
            path=str(bubble.path),
            site_packages=str(bubble.site_packages),
            distributions=dict(bubble.distributions),
        )

    guard(found, build)
    say("done", problems=found)


if __name__ == "__main__":
    main()
