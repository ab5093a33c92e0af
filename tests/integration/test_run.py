"""``omnipkg-meta run``: a program as ``python`` runs it, with a bubble laid over main."""

from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import NUMPY, python_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping
    from pathlib import Path

    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = pytest.mark.world

RUN = ("-m", "omnipkg_meta", "run", "--with", "rich==13.5.3")

#: What a program can tell about how it was started, and which rich it sees.
REPORT = """
    import json, sys
    from importlib import metadata
    import rich
    import __main__

    print(json.dumps({
        "argv": sys.argv,
        "path": sys.path,
        "flags": str(sys.flags),
        "warnings": sys.warnoptions,
        "name": __name__,
        "main": [sys.modules["__main__"] is __main__, vars(__main__) is globals()],
        "file": globals().get("__file__"),
        "package": __package__,
        "cached": globals().get("__cached__"),
        "spec": __spec__ and __spec__.name,
        "loader": str(__loader__).partition(" object at")[0],
        "executable": sys.executable,
        "stdin": "" if "-" in sys.argv else sys.stdin.read(),
    }))
    print(json.dumps([metadata.version("rich"), rich.__file__]))
"""


def both(
    scene: Scene,
    *words: str | Path,
    input: str | None = None,  # noqa: A002  # as subprocess has it
    flags: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """Run a program with the bubble, and as plain ``python`` does."""
    ours = scene.run(*flags, *RUN, *words, input=input, variables=variables)
    theirs = scene.run(*flags, *words, input=input, variables=variables)
    return ours, theirs


@pytest.fixture
def forms(program: Program, tmp_path: Path) -> dict[str, list[str | Path]]:
    """The same program in each form in which Python runs one."""
    script = program(REPORT, name="reporting.py")
    package = tmp_path / "reports"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(script, package / "__main__.py")
    with zipfile.ZipFile(tmp_path / "reports.pyz", "w") as archive:
        archive.write(script, "__main__.py")
    return {
        "script": [script],
        "module": ["-m", "reporting"],
        "package": ["-m", "reports"],
        "directory": [package],
        "zip": [tmp_path / "reports.pyz"],
        "code": ["-c", script.read_text("utf-8")],
        "input": ["-"],
    }


@pytest.mark.parametrize(
    "form", ["script", "module", "package", "directory", "zip", "code", "input"]
)
def test_a_program_of_any_form_is_started_as_python_starts_it(
    scene: Scene, tmp_path: Path, forms: dict[str, list[str | Path]], form: str
) -> None:
    flags = ("-X", "dev", "-W", "error::ResourceWarning", "-u")
    ours, theirs = both(
        scene,
        *forms[form],
        *("--with", "-m", "one two", "", "*", "--", "-c"),
        input=(tmp_path / "reporting.py").read_text("utf-8") if form == "input" else "typed\n",
        flags=flags,
        variables={"PYTHONPATH": str(tmp_path)},
    )
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr) == (0, "")
    our_start, our_rich = map(json.loads, ours.stdout.splitlines())
    their_start, their_rich = map(json.loads, theirs.stdout.splitlines())
    assert our_start == their_start
    assert our_start["stdin"] == ("" if form == "input" else "typed\n")
    (bubble,) = scene.store.glob("*/rich-13.5.3-*")
    assert our_rich == ["13.5.3", str(bubble / "site-packages" / "rich" / "__init__.py")]
    assert their_rich[0] == "13.7.1"


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a message')",
        "import sys; sys.exit()",
        "raise SystemExit(None)",
        "import os; os._exit(5)",
        "def broken(:",
        "import rich_is_not_called_this",
        "import atexit; atexit.register(print, 'last'); 1 / 0",
        "import threading; threading.Thread(target=lambda: 1 / 0).start()",
        "def inner():\n    raise KeyError('k') from ValueError('v')\n\ninner()\n",
        "import json\njson.loads('{')\n",
    ],
)
@pytest.mark.parametrize("form", ["script", "code", "module"])
def test_a_program_ends_and_complains_as_under_python(
    scene: Scene, program: Program, tmp_path: Path, code: str, form: str
) -> None:
    script = program("import rich\n" + code, name="ending.py")
    forms: dict[str, list[str | Path]] = {
        "script": [script],
        "code": ["-c", script.read_text("utf-8")],
        "module": ["-m", "ending"],
    }
    ours, theirs = both(
        scene, *forms[form], variables={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert ours.stderr == theirs.stderr


def test_a_traceback_shows_the_programs_frames_and_the_bubbles_and_no_others(
    scene: Scene, program: Program
) -> None:
    script = program(
        """
        def fail():
            import rich.text
            rich.text.Text.from_markup("[/nothing]")

        fail()
        """
    )
    done = scene.run(*RUN, script)
    assert done.returncode == 1
    files = [line.split('"')[1] for line in done.stderr.splitlines() if line.startswith("  File")]
    (bubble,) = scene.store.glob("*/rich-13.5.3-*")
    assert files[:2] == [str(script)] * 2
    assert len(files) > 2
    assert all(file.startswith(str(bubble)) for file in files[2:])
    assert done.stderr.splitlines()[-1].startswith("rich.errors.MarkupError: ")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_signal_reaches_the_program_and_ends_it(
    scene: Scene, program: Program, number: signal.Signals
) -> None:
    script = program(
        """
        import os, rich, time
        print(os.getpid(), "13.5.3" in rich.__file__, flush=True)
        time.sleep(60)
        """
    )
    with scene.start(*RUN, script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == f"{process.pid} True\n"
            process.send_signal(number)
            assert process.wait(60) == -number
            error = process.stderr.read()
        finally:
            process.kill()
    if number == signal.SIGINT:
        assert error.splitlines()[-1] == "KeyboardInterrupt"
        assert error.count("  File ") == 1
    else:
        assert error == ""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_a_program_handles_its_signals_itself(scene: Scene, program: Program) -> None:
    script = program(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    with scene.start(*RUN, script) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.terminate()
            assert process.wait(60) == 7
        finally:
            process.kill()


def test_mains_installed_code_and_every_thread_get_the_bubble(
    scene: Scene, program: Program
) -> None:
    script = program(
        """
        import json, threading
        import rich
        import _pytest._io.terminalwriter as writer
        import pygments
        found = [rich.__file__, pygments.__file__]
        if hasattr(writer, "pygments"):
            found.append(writer.pygments.__file__)

        def look():
            import rich.console
            found.append(rich.console.__file__)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        print(json.dumps(found))
        """
    )
    done = scene.run("-X", "dev", "-W", "error", *RUN, script)
    assert (done.returncode, done.stderr) == (0, "")
    (bubble,) = scene.store.glob("*/rich-13.5.3-*")
    files = json.loads(done.stdout)
    assert [file for file in files if not file.startswith(str(bubble))] == []


CHILDREN = """
    import concurrent.futures, json, multiprocessing, shutil, subprocess, sys

    def look(_=None):
        from importlib import metadata
        import rich
        return [metadata.version("rich"), "rich-13.5.3" in rich.__file__]

    if __name__ == "__main__":
        seen = {}
        code = "import rich; from importlib import metadata; print(metadata.version('rich'))"
        grandchild = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
        for kind, source in {"subprocess": code, "grandchild": grandchild}.items():
            done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
            seen[kind] = [done.stdout.strip(), (done.returncode, done.stderr) == (0, "")]
        for method in multiprocessing.get_all_start_methods():
            if method == "fork" and sys.version_info >= (3, 12):
                continue  # it warns where there are threads
            context = multiprocessing.get_context(method)
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                seen[method] = pool.submit(look).result()
        found = shutil.which("pygmentize")
        done = subprocess.run(["pygmentize", "-V"], capture_output=True, text=True)
        seen["script"] = ["13.5.3" if "rich-13.5.3" in found else found, done.returncode == 0]
        print(json.dumps(seen))
"""


def test_children_of_the_program_inherit_the_bubble(scene: Scene, program: Program) -> None:
    done = scene.run(*RUN, program(CHILDREN))
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert {"subprocess", "grandchild", "spawn", "script"} <= set(seen)
    assert seen == {kind: ["13.5.3", True] for kind in seen}


def test_a_child_in_an_environment_without_the_library_runs_undisturbed(
    scene: Scene, plain: Path, program: Program
) -> None:
    script = program(
        """
        import subprocess, sys
        code = "import sys; print('omnipkg_meta' in sys.modules, type(sys.modules) is dict)"
        subprocess.run([*sys.argv[1:], "-c", code], check=True)
        """
    )
    for flag in ("-s", "-I", "-S"):
        done = scene.run(*RUN, script, python_of(plain), flag)
        assert (done.returncode, done.stdout, done.stderr) == (0, "False True\n", "")


def test_a_program_may_bring_a_packaging_that_is_too_old_for_this_library(
    scene: Scene, program: Program
) -> None:
    script = program(
        """
        import json
        from importlib import metadata
        import packaging, packaging.version
        import omnipkg_meta as om  # and the library goes on working in it

        with om.use("rich>=13.4,<13.5"):
            import rich
            inside = metadata.version("rich"), metadata.version("packaging")
        print(json.dumps([
            metadata.version("packaging"),
            "packaging-21.3" in packaging.version.__file__,
            hasattr(packaging.version, "LegacyVersion"),
            *inside,
        ]))
        """
    )
    done = scene.run("-m", "omnipkg_meta", "run", "--with", "packaging==21.3", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == ["21.3", True, True, "13.4.2", "21.3"]


def test_several_requirements_are_one_bubble_and_main_serves_what_it_has(
    scene: Scene, program: Program
) -> None:
    script = program("import rich; print(rich.__file__)")
    mains = scene.run("-m", "omnipkg_meta", "run", "--with", "rich==13.7.1", script)
    (main,) = scene.main.glob("lib/*/site-packages/rich/__init__.py")
    assert (mains.returncode, mains.stdout) == (0, f"{main}\n")
    words = ["--with", "rich<13.5", "--with", "pygments"]
    older = scene.run("-m", "omnipkg_meta", "run", *words, script)
    assert (older.returncode, "rich-13.4.2" in older.stdout) == (0, True), older.stderr


def test_a_native_package_is_laid_over_mains(scene: Scene, program: Program) -> None:
    script = program(
        """
        import numpy
        assert type(numpy.arange(3.0).mean()) is numpy.float64
        print(numpy.__file__)
        """
    )
    done = scene.run("-m", "omnipkg_meta", "run", "--with", NUMPY, script)
    (bubble,) = scene.store.glob("*/numpy-*")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(bubble))


def test_a_script_of_the_bubble_runs_by_its_name(scene: Scene) -> None:
    done = scene.run(*RUN, "pygmentize", "-V")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Pygments version ")


def test_the_environments_own_sitecustomize_still_runs(
    scene: Scene, program: Program, tmp_path: Path
) -> None:
    program(
        "import sys; sys.customized = [__name__, 'rich' in sys.modules]", name="sitecustomize.py"
    )
    code = "import sitecustomize, sys; print(sitecustomize.__file__, sys.customized)"
    ours, theirs = both(scene, "-c", code, variables={"PYTHONPATH": str(tmp_path)})
    assert (ours.returncode, ours.stderr) == (0, "")
    assert (
        ours.stdout
        == theirs.stdout
        == f"{tmp_path / 'sitecustomize.py'} ['sitecustomize', False]\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "last"),
    [
        (["--with", "rich==13.4.1", "-c", "1"], 1, "tip: omnipkg-meta install 'rich==13.4.1'"),
        (["--with", "rich=13", "-c", "1"], 2, None),
        (["--with", "../rich", "-c", "1"], 2, None),
        (["--with", "rich==13.5.3"], 2, None),
        (["-c", "1"], 2, None),
        (["--with", "rich==13.5.3", "-c"], 2, None),
        (["--with", "rich==13.5.3", "no_such_script.py"], 2, None),
    ],
)
def test_what_cannot_be_run_is_said_in_a_few_lines(
    scene: Scene, words: list[str], code: int, last: str | None
) -> None:
    done = scene.run("-m", "omnipkg_meta", "run", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    assert done.stderr != ""
    if last is not None:
        assert done.stderr.splitlines()[-1] == last
