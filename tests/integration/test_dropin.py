"""A program that was written for omnipkg, with only its import lines changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

#: The steps of the example in omnipkg's documentation, in its order: the initial
#: version, a block for each bubble, and a reload after each.  (The documentation reads
#: ``rich.__version__``, which no rich has had.)
PROGRAM = """
    import sys
    import importlib
    from importlib.metadata import version as get_version, PackageNotFoundError
    from omnipkg_meta.omnipkg import omnipkgLoader
    from omnipkg_meta.omnipkg import ConfigManager

    config_manager = ConfigManager()
    omnipkg_config = config_manager.config

    try:
        initial_rich_version = get_version('rich')
        print(f"initial: {initial_rich_version}")
    except PackageNotFoundError:
        print("initial: none")

    try:
        with omnipkgLoader("rich==13.5.3", config=omnipkg_config):
            import rich
            from rich.console import Console
            version_in_bubble = get_version('rich')
            print(f"inside: {version_in_bubble} {rich.__file__}")
            Console().print(f"[red]This text is from Rich {version_in_bubble}[/red]")
        if 'rich' in sys.modules:
            importlib.reload(sys.modules['rich'])
        import rich
        print(f"after: {get_version('rich')} {rich.__file__}")
    except RuntimeError as e:
        print(f"error: {e}")

    try:
        with omnipkgLoader("rich==13.4.2", config=omnipkg_config):
            import rich
            from rich.console import Console
            version_in_second_bubble = get_version('rich')
            print(f"inside: {version_in_second_bubble} {rich.__file__}")
            Console().print(f"[blue]This text is from Rich {version_in_second_bubble}[/blue]")
        if 'rich' in sys.modules:
            importlib.reload(sys.modules['rich'])
        import rich
        print(f"after: {get_version('rich')} {rich.__file__}")
    except RuntimeError as e:
        print(f"error: {e}")
"""


@pytest.mark.parametrize("loaded", [True, False], ids=["main has loaded it", "main has not"])
@pytest.mark.parametrize("colour", [True, False], ids=["colour", "plain"])
def test_the_documented_program_runs_with_only_its_import_lines_changed(
    scene: Scene, program: Program, *, loaded: bool, colour: bool
) -> None:
    script = program("import rich.console" if loaded else "", PROGRAM)
    variables = {"FORCE_COLOR": "1", "TERM": "xterm"} if colour else {"TERM": "dumb"}
    done = scene.run("-X", "dev", "-W", "error", script, variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    (main,) = scene.main.glob("lib/*/site-packages/rich/__init__.py")
    (old,) = scene.store.glob("*/rich-13.5.3-*/site-packages/rich/__init__.py")
    (older,) = scene.store.glob("*/rich-13.4.2-*/site-packages/rich/__init__.py")
    assert re.sub(r"\x1b\[[\d;]*m", "", done.stdout).splitlines() == [
        "initial: 13.7.1",
        f"inside: 13.5.3 {old}",
        "This text is from Rich 13.5.3",
        f"after: 13.7.1 {main}",
        f"inside: 13.4.2 {older}",
        "This text is from Rich 13.4.2",
        f"after: 13.7.1 {main}",
    ]
    assert ("\x1b[31mThis text is from Rich" in done.stdout) is colour
    assert ("\x1b[34mThis text is from Rich" in done.stdout) is colour


def test_a_missing_bubble_is_a_runtime_error_that_ends_with_the_command_to_run(
    scene: Scene, program: Program
) -> None:
    script = program(
        """
        from omnipkg_meta.omnipkg import ConfigManager, omnipkgLoader
        from importlib.metadata import version

        try:
            with omnipkgLoader("rich==13.4.1", config=ConfigManager().config):
                raise SystemExit("entered")
        except RuntimeError as error:
            print(error)
        print(version("rich"))
        """
    )
    done = scene.run("-X", "dev", "-W", "error", script)
    assert (done.returncode, done.stderr) == (0, "")
    *message, version = done.stdout.splitlines()
    assert version == "13.7.1"
    assert "rich==13.4.1" in message[0]
    assert "rich 13.4.2, rich 13.5.3" in done.stdout
    assert message[-1].endswith("omnipkg-meta install 'rich==13.4.1'")


def test_the_command_in_the_error_makes_the_bubble(
    scene: Scene, program: Program, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = program(
        """
        from importlib.metadata import version
        from omnipkg_meta.omnipkg import ConfigManager, omnipkgLoader

        with omnipkgLoader("mdurl==0.1.1", config=ConfigManager().config):
            import mdurl
            print(version("mdurl"), "mdurl-0.1.1" in mdurl.__file__)
        """
    )
    store = {"OMNIPKG_META_STORE": str(tmp_path_factory.mktemp("store"))}
    first = scene.run(script, variables=store)
    assert first.returncode == 1
    command = first.stderr.splitlines()[-1].partition("omnipkg-meta ")[2]
    words = [word.strip("'") for word in command.split()]
    made = scene.run("-m", "omnipkg_meta", *words, builds=True, variables=store)
    assert made.returncode == 0, made.stderr
    assert scene.run(script, variables=store).stdout == "0.1.1 True\n"


def test_a_programs_scripts_are_on_the_path_inside_the_block_and_not_after(
    scene: Scene, program: Program
) -> None:
    script = program(
        """
        import json, os, shutil, sys
        from omnipkg_meta.omnipkg import ConfigManager, omnipkgLoader

        def state():
            return shutil.which("pygmentize"), os.environ["PATH"], list(sys.path)

        before = state()
        with omnipkgLoader("rich==13.5.3", config=ConfigManager().config):
            inside = shutil.which("pygmentize")
        print(json.dumps([inside, state() == before]))
        """
    )
    inside, same = scene.answer(script)
    (bubble,) = scene.store.glob("*/rich-13.5.3-*")
    assert (inside, same) == (str(bubble / "bin" / "pygmentize"), True)
