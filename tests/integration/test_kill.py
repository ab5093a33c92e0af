"""A program that is killed in the middle of a scope leaves nothing behind that was not there."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import STRICT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = [
    pytest.mark.world,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX"),
]

#: Says when it is in the middle of what its argument names, and stays there.
VICTIM = """
    import sys, threading, time
    from importlib import metadata
    import omnipkg_meta as om
    import rich

    OLD, OLDER = om.use("rich==13.5.3"), om.use("rich==13.4.2")

    def ready():
        print("ready", flush=True)

    def wait():
        with OLD:
            import rich.console
            with OLDER:
                import rich.console
                ready()
                time.sleep(60)

    def load():
        ready()
        for scope in (OLD, OLDER):
            with scope:
                import rich.markdown, rich.progress, rich.traceback, pygments.lexers.python
        with om.use("pydantic>=2"):
            import pydantic.networks
        load_again()

    def load_again():
        while True:
            for scope in (OLD, OLDER):
                with scope:
                    for name in [name for name in sys.modules if name.startswith("rich")]:
                        del sys.modules[name]
                    import rich.markdown, rich.progress

    def switch():
        def alternate():
            while True:
                for scope in (OLD, OLDER):
                    with scope:
                        import rich.console
                        metadata.version("rich")
        for _ in range(4):
            threading.Thread(target=alternate, daemon=True).start()
        ready()
        time.sleep(60)

    {"wait": wait, "load": load, "switch": switch}[sys.argv[1]]()
"""

NEXT = """
    import json
    from importlib import metadata
    import omnipkg_meta as om

    def seen():
        import rich.console
        return [metadata.version("rich"), rich.console.__file__]

    result = [seen()]
    for requirement in ("rich==13.5.3", "rich==13.4.2"):
        with om.use(requirement):
            result.append(seen())
    print(json.dumps([*result, seen()]))
"""


@pytest.mark.parametrize(
    ("what", "after"),
    [("wait", 0.0), ("load", 0.0), ("load", 0.05), ("load", 0.2), ("load", 1.0), ("switch", 0.3)],
)
def test_killed_inside_a_scope_the_environment_and_the_store_are_byte_for_byte_what_they_were(
    scene: Scene, program: Program, what: str, after: float
) -> None:
    script, following = program(VICTIM, name="victim.py"), program(NEXT, name="next.py")
    before = state(scene.main), state(scene.store)
    with scene.start(script, what) as victim:
        assert victim.stdout is not None
        try:
            assert victim.stdout.readline() == "ready\n"
            time.sleep(after)
        finally:
            victim.kill()
        assert victim.wait(60) == -9
    assert (state(scene.main), state(scene.store)) == before
    found = scene.answer(following, flags=STRICT)
    (main,) = scene.main.glob("lib/*/site-packages/rich/console.py")
    (old,) = scene.store.glob("*/rich-13.5.3-*/site-packages/rich/console.py")
    (older,) = scene.store.glob("*/rich-13.4.2-*/site-packages/rich/console.py")
    in_main = ["13.7.1", str(main)]
    assert found == [in_main, ["13.5.3", str(old)], ["13.4.2", str(older)], in_main]
    assert (state(scene.main), state(scene.store)) == before


def state(directory: Path) -> dict[str, str]:
    """Return, for each file below a directory, what it is: kind, permissions, contents."""
    found = {}
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(folder, name)  # noqa: PTH118  # there are some twenty thousand
            mode = os.lstat(path).st_mode
            if os.path.islink(path):  # noqa: PTH114
                content = os.readlink(path)  # noqa: PTH115
            elif name in folders:
                content = ""
            else:
                with open(path, "rb") as file:  # noqa: PTH123
                    content = hashlib.blake2b(file.read()).hexdigest()
            found[path] = f"{mode:o} {content}"
    return found
