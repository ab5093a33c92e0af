"""A main environment and a store of bubbles, made by hand within milliseconds.

Owns the laying out of what an installer would have left: wheels unpacked into a
directory of main that is on ``sys.path``, and bubbles with their manifests.  The
store's own tests make bubbles the real way; tests of what happens in a process
need many of them, and no installer.

Claimed names only grow and realms are kept, so each test asks for names of its
own (:meth:`World.name`), and whatever concerns the whole process is run in
another one (:meth:`World.run`).
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta
from omnipkg_meta import config
from omnipkg_meta.store import record
from omnipkg_meta.store.bubble import MANIFEST, SCHEMA, SITE_PACKAGES, Bubble
from omnipkg_meta.store.store import Store
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["World", "seen", "world_fixture"]

_numbers = itertools.count(1)
_library = str(Path(omnipkg_meta.__file__).parent.parent)


class World:
    """One test's main environment and store.

    Attributes:
        path: where all of it is.
        main: a directory of main, first on ``sys.path``.
        store: the store, which is also the configured one.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.main = path / "main"
        self.main.mkdir()
        self.store = Store(path / "store")
        self._wheels = path / "wheels"
        monkeypatch.setenv("OMNIPKG_META_STORE", str(path / "store"))
        monkeypatch.syspath_prepend(str(self.main))

    @staticmethod
    def name(stem: str = "pkg") -> str:
        """Return an import name, and the name of a distribution, that no other test uses."""
        return f"{stem}{next(_numbers)}x"

    def wheel(
        self,
        name: str,
        version: str,
        files: Mapping[str, str | bytes] | None = None,
        *,
        requires: Sequence[str] = (),
        extras: Mapping[str, Sequence[str]] | None = None,
        entry_points: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Path:
        """Make a wheel; sources are dedented.  Without files, one module with ``__version__``."""
        texts = files and {
            path: textwrap.dedent(text) if isinstance(text, str) else text
            for path, text in files.items()
        }
        return make_wheel(
            self._wheels / f"{next(_numbers)}",
            name,
            version,
            texts,
            requires=requires,
            extras=extras,
            entry_points=entry_points,
        )

    def bubble(self, *wheels: Path) -> Bubble:
        """Put a bubble of these wheels into the store."""
        path = self.store.tag_path / f"{wheels[0].name.partition('-')[0]}-{next(_numbers)}"
        site_packages = path / SITE_PACKAGES
        infos = sorted(_unpack(wheel, site_packages) for wheel in wheels)
        distributions = {}
        for info in infos:
            name, _, version = info.removesuffix(".dist-info").partition("-")
            distributions[name.replace("_", "-")] = {
                "version": version,
                "dist_info": info,
                "sha256": "0" * 64,
                "archive": info,
                "requires": list(_requires(site_packages / info)),
            }
        names = record.import_names(
            {
                name: [line.path for line in record.read(site_packages / str(facts["dist_info"]))]
                for name, facts in distributions.items()
            }
        )
        entry: dict[str, Any] = {
            "schema": SCHEMA,
            "library": "tests",
            "id": path.name,
            "tag": config.interpreter_tag(),
            "requested": [f"{name}=={facts['version']}" for name, facts in distributions.items()],
            "builder": "tests",
            "created": "2020-01-01T00:00:00.000000+00:00",
            "distributions": distributions,
            "import_names": {name: list(owners) for name, owners in names.items()},
            "native_files": [
                one for one, file in record.files(site_packages) if record.is_native(file)
            ],
            "scripts": {},
            "rewritten": {},
            "files": {},
        }
        (path / MANIFEST).write_text(json.dumps(entry))
        return Bubble.open(path)

    def make(
        self, name: str, version: str, files: Mapping[str, str | bytes] | None = None
    ) -> Bubble:
        """Put a bubble of one wheel into the store."""
        return self.bubble(self.wheel(name, version, files))

    def install(self, *wheels: Path) -> None:
        """Install wheels into main."""
        for wheel in wheels:
            _unpack(wheel, self.main)
        importlib.invalidate_caches()

    def versions(
        self,
        name: str,
        *versions: str,
        main: str | None = None,
        files: Mapping[str, str] | None = None,
    ) -> list[Bubble]:
        """Put one bubble a version into the store, and a version into main.

        Args:
            name: the package and the distribution.
            versions: of the bubbles.
            main: the version in main, if any.
            files: sources in which ``VERSION`` stands for the version; by default
                one module with ``__version__``.
        """

        def wheel(version: str) -> Path:
            sources = files or {f"{name}.py": "__version__ = 'VERSION'\n"}
            return self.wheel(
                name,
                version,
                {path: text.replace("VERSION", version) for path, text in sources.items()},
            )

        if main is not None:
            self.install(wheel(main))
        return [self.bubble(wheel(version)) for version in versions]

    def module(self, name: str, text: str) -> Path:
        """Write a module of the user's own, which no distribution installed, into main."""
        path = self.main / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return path

    def command(self, code: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command that runs a program of these lines."""
        program = self.path / f"program{next(_numbers)}.py"
        program.write_text(textwrap.dedent(code))
        return [sys.executable, *options, str(program), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which other processes see this main and this store."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join((str(self.main), _library))}

    def run(
        self, code: str, *arguments: str, options: Sequence[str] = (), status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a process of its own, and see that it ends as expected."""
        done = subprocess.run(
            self.command(code, *arguments, options=options),
            env=self.environment,
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done


def seen(name: str) -> str:
    """Return the version of a package that code of the user's sees here, whatever way it looks."""
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(f"import {name} as module", namespace)  # noqa: S102  # a statement with a name of one's own
    module = namespace["module"]
    assert importlib.import_module(name) is module
    assert __import__(name) is module
    assert sys.modules[name] is module
    assert sys.modules.get(name) is module
    assert metadata.version(name) == module.__version__
    return str(module.__version__)


def _unpack(wheel: Path, directory: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
        (info,) = {one.partition("/")[0] for one in archive.namelist() if ".dist-info/" in one}
    return info


def _requires(info: Path) -> Iterator[str]:
    for line in (info / "METADATA").read_text().splitlines():
        key, _, value = line.partition(": ")
        if key == "Requires-Dist":
            yield value


@pytest.fixture(name="world")
def world_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A main environment and a store of this test's own."""
    return World(tmp_path, monkeypatch)
