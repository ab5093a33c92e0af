"""Where the bench measures: environments, a store of bubbles, and main.

Owns what is installed where.  Must not know what is measured.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.environments import ROOT, environment, run

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAIN", "VERSIONS", "Places", "bubbles_of"]

#: What main has.
MAIN = "rich==13.7.1"
#: The bubbles of the same package.
VERSIONS = ("13.5.3", "13.4.2", "13.6.0")

_INSIDE = Path(__file__).with_name("inside")

#: Installed in main: a package that is pinned, and one that declares what it imports.
_ASK = "def ask():\n    import rich\n    return rich\n"
_LIBRARIES = {
    "pinning": ("import omnipkg_meta\nomnipkg_meta.pin(__name__, 'rich==13.4.2')\n" + _ASK, ()),
    "declaring": (_ASK, ("rich",)),
}


def bubbles_of(name: str) -> str:
    """Return the requirement of a bubble, of a version that this Python has wheels for."""
    old = sys.version_info < (3, 13)
    return {
        "rich": f"rich=={VERSIONS[0]}",
        "numpy": "numpy==1.26.4" if old else "numpy<3",
        "pandas": "pandas==2.1.4" if old else "pandas<3",
        "django": "django==4.2.*",
    }[name]


class Places:
    """A scratch environment for main, one plain environment per case, and a store.

    Attributes:
        directory: where all of it is.
        variables: the environment variables of every program.
        main: the interpreter of main.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.variables = {
            **os.environ,
            "OMNIPKG_META_STORE": str(directory / "store"),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self.variables.pop("PYTHONPATH", None)
        builds = "tomli; python_version < '3.11'"  # what builds bubbles needs it there
        self.main = self.environment("main", MAIN, "jinja2", "pyperf", builds, str(ROOT))
        for name, (source, requires) in _LIBRARIES.items():
            self._library(name, source, requires)
        for version in VERSIONS:
            self.bubble(f"rich=={version}")

    @functools.cached_property
    def accelerated(self) -> Path:
        """The interpreter of an environment like main's that has the accelerator, too."""
        ours = str(ROOT), str(ROOT / "accelerator")
        return self.environment("accelerated", MAIN, "pyperf", *ours)

    def environment(self, name: str, *requirements: str) -> Path:
        """Make a virtual environment, if this one is not there yet; return its interpreter."""
        path = self.directory / name
        if path.exists():
            return path / ("Scripts" if os.name == "nt" else "bin") / "python"
        return environment(path, *requirements)

    def plain(self, module: str, requirement: str) -> Path:
        """Return the interpreter of an environment that has one thing only."""
        return self.environment(f"plain-{module}", requirement)

    @functools.cache  # noqa: B019  # one of these in a process, to its end
    def bubble(self, requirement: str) -> Path:
        """Return the site-packages of a bubble, made now if it is not there yet."""
        # With byte code, as the plain environments have it.
        words = ("install", "--compile-bytecode", requirement)
        self.run(self.main, "-m", "omnipkg_meta", *words)
        code = "import sys, omnipkg_meta as om; scope = om.use(sys.argv[1]); scope.__enter__()"
        code += "; print(scope.bubbles[0].site_packages)"
        return Path(self.run(self.main, "-c", code, requirement).strip())

    def program(self, name: str) -> str:
        """Return the path of a program of ``inside/``, in a copy.

        In the checkout it would be code of a project, where that is installed in place.
        """
        copy = self.directory / name
        if not copy.exists():
            shutil.copy(_INSIDE / name, copy)
        return str(copy)

    def run(self, python: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
        """Run a program with the bench's store; return what it prints."""
        told = self.variables if variables is None else variables
        return run(str(python), *arguments, cwd=self.directory, variables=told)

    def _library(self, name: str, source: str, requires: tuple[str, ...]) -> None:
        """Put into main what an installer leaves of a package of one module."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(self.run(self.main, "-c", code).strip())
        (site / f"{name}.py").write_text(source, "utf-8")
        information = site / f"{name}-1.dist-info"
        information.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1"]
        lines += [f"Requires-Dist: {one}" for one in requires]
        (information / "METADATA").write_text("\n".join([*lines, ""]), "utf-8")
        (information / "RECORD").write_text(f"{name}.py,,\n", "utf-8")
