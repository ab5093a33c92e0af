"""What children of ``multiprocessing`` see that were started inside a scope."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World

#: A program whose children look at a package, and are given an object of it.
PROGRAM = """
    import multiprocessing, pickle, sys
    import omnipkg_meta as om

    def look(pipe, thing=None):
        import {name}
        seen = [{name}.__version__]
        if thing is not None:
            seen += [type(thing).version, isinstance(thing, {name}.Thing)]
        with om.use("{name}==1.0"):
            import {name} as again
            seen.append(again.__version__)
        pipe.send(seen)

    def run(context, *arguments):
        ours, theirs = context.Pipe()
        child = context.Process(target=look, args=(theirs, *arguments))
        child.start()
        theirs.close()
        try:
            seen = ours.recv()
        except EOFError:
            seen = ["died"]
        child.join()
        return seen

    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        with om.use("{name}==1.0"):
            from {name} import Thing
            thing = Thing()
            print(*run(context))
            print(*run(context, thing))
        print(*run(context))
        try:
            print(*run(context, thing))
        except pickle.PicklingError as error:
            print("PicklingError", "not the same object" in str(error))
    """

FILES = {"PKG.py": "__version__ = 'VERSION'\nclass Thing:\n    version = 'VERSION'\n"}

METHODS = [
    pytest.param(
        method,
        marks=pytest.mark.skipif(
            method not in multiprocessing.get_all_start_methods(), reason="not on this system"
        ),
    )
    for method in ("fork", "spawn", "forkserver")
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("main", ["0.5", None])
def test_a_forked_child_goes_on_with_the_scope_and_a_fresh_one_begins_in_main(
    world: World, method: str, main: str | None
) -> None:
    name = world.name()
    files = {path.replace("PKG", name): text for path, text in FILES.items()}
    world.versions(name, "1.0", main=main, files=files)
    done = world.run(PROGRAM.format(name=name), method)
    lines = [line.split() for line in done.stdout.splitlines()]
    if method == "fork":
        inside = [["1.0", "1.0"], ["1.0", "1.0", "True", "1.0"]]
        outside = [["0.5", "1.0"], ["0.5", "1.0", "False", "1.0"]]
        assert lines == inside + (outside if main else [["died"], ["died"]])
    elif main:
        # The object travels by name, and the child's name is main's.
        assert lines[:3] == [["0.5", "1.0"], ["0.5", "0.5", "True", "1.0"], ["0.5", "1.0"]]
        assert lines[3] == ["PicklingError", "True"]
    else:
        assert lines[:2] == [["died"], ["died"]]
        assert f"No module named '{name}'" in done.stderr
