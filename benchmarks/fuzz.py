"""Whatever is read comes to an end, and ends well or with a documented error.

Run from the root of the project, with the extra ``fuzz``::

    python -m benchmarks.fuzz --seconds 120            # all targets, one after the other
    python -m benchmarks.fuzz --seconds 120 lock elf   # these

Atheris drives each target in a process of its own, by what its inputs reach of this
library and of what it reads with.  An input that ends in another way is kept in
``--keep``; put it into ``tests/store/test_fuzz.py``.  Prints one JSON object; exits with 1
if there was one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import atheris

with atheris.instrument_imports(
    include=["omnipkg_meta", "packaging", "tomllib", "zipfile", "configparser", "csv"],
    enable_loader_override=False,
):
    from omnipkg_meta import requirements
    from omnipkg_meta.errors import (
        BubbleInvalidError,
        BubbleNotFoundError,
        BuildError,
        LockError,
        RequirementError,
    )
    from omnipkg_meta.store import archives, elf, pylock, record, verify
    from omnipkg_meta.store.bubble import MANIFEST, Bubble
    from omnipkg_meta.store.build import install
    from omnipkg_meta.store.lock import Locked
    from omnipkg_meta.store.store import Store

from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Target = Callable[[bytes], None]

#: The longest input, in bytes; of an ELF file the smallest are as long.
_LONGEST = 8192


class Targets:
    """What reads something, and what it may come across at first.

    Each method of a public name is a target.

    Args:
        place: an empty directory.
    """

    def __init__(self, place: Path) -> None:
        wheels = place / "wheels"
        make_wheel(
            wheels,
            "leaf",
            "1.0",
            {"leaf.py": "x = 1\n", "leaf_data/x.so": b"\x7fELF"},
            extras={"more": ["leaf>0.5"]},
            entry_points={"console_scripts": {"tool": "leaf:x [more]"}},
        )
        self._store = Store(place / "store")
        options = ["--no-index", "--find-links", str(wheels)]
        self._bubble = install(["leaf[more]"], store=self._store, index_options=options)
        self._manifest = (self._bubble.path / MANIFEST).read_bytes()
        self._wheel = next(wheels.iterdir()).read_bytes()
        self._site = place / "site"
        self._info = self._site / "leaf-1.0.dist-info"
        self._info.mkdir(parents=True)
        (self._site / "leaf.py").write_text("")
        self._file = place / "leaf-1.0-py3-none-any.whl"

    def requirement(self, data: bytes) -> None:
        """Read a requirement; its canonical form is one, and its own."""
        with suppress(RequirementError):
            for one in requirements.parse([_text(data)]):
                (again,) = requirements.parse([one.canonical])
                _see(again.canonical == one.canonical, one.canonical)
                _see("/" not in one.name, one.name)
                one.allows("1.0")

    def manifest(self, data: bytes) -> None:
        """Open a bubble; what its manifest names lies in it."""
        (self._bubble.path / MANIFEST).write_bytes(data)
        with suppress(BubbleInvalidError):
            found = Bubble.open(self._bubble.path)
            for name in found.distributions:
                _see(found.dist_info(name).parent == found.site_packages, name)
            for path in found.native_files:
                inside = (found.site_packages / path).resolve()
                _see(inside.is_relative_to(found.site_packages.resolve()), path)
            for script in found.scripts_provided:
                _see((found.scripts / script).parent == found.scripts, script)
            verify.problems(found)

    def lock(self, data: bytes) -> None:
        """Read a lock; no name in it leads anywhere."""
        with suppress(LockError, RequirementError):
            found = pylock.read(_text(data) + "\n")
            for one in found.packages:
                _see("/" not in one.name + one.version + one.filename, one)
            _see("/" not in found.bubble_id, found.bubble_id)

    def record(self, data: bytes) -> None:
        """Compare a directory with a RECORD."""
        (self._info / "RECORD").write_bytes(data)
        lines: list[record.Recorded] = []
        with suppress(ValueError):
            lines = record.read(self._info)
        record.import_names({"leaf": [one.path for one in lines]})
        for found in verify.compare(self._site, verify.expected(self._site, [self._info.name])):
            str(found).encode("utf-8", "surrogateescape")

    def scripts(self, data: bytes) -> None:
        """Read entry points; no script's name is a path."""
        (self._info / "entry_points.txt").write_bytes(data)
        for name in record.script_targets([self._info]):
            _see(Path(name).name == name, name)

    def name(self, data: bytes) -> None:
        """Ask for a bubble by any id, and remove it: nothing outside the store is touched."""
        text = _text(data)
        if text == self._bubble.id:
            return
        with suppress(BubbleInvalidError):
            _see(self._store.get(text) is None, text)
        with suppress(BubbleNotFoundError):
            self._store.remove(text)
            raise AssertionError(text)
        _see(self._bubble.path.is_dir(), text)

    def archive(self, data: bytes) -> None:
        """Look into a wheel; what is let through stays inside."""
        self._file.write_bytes(data)
        locked = Locked("leaf", "1.0", self._file.name, str(self._file), "0" * 64)
        with suppress(BuildError):
            archives.check([locked], ["leaf"])
            with zipfile.ZipFile(BytesIO(data)) as opened:
                for path in opened.namelist():
                    inside = (self._site / path).resolve()
                    _see(inside.is_relative_to(self._site.resolve()), path)

    def elf(self, data: bytes) -> None:
        """Read a library, and rename what it names."""
        self._file.write_bytes(data)
        with suppress(elf.ElfError):
            elf.names(self._file)
            elf.uses_python(self._file)
            found = elf.read(self._file)
            names = {name: "x" * len(name) for name in found.names if name not in found.shared}
            elf.rewrite(self._file, found, names)
            _see(self._file.stat().st_size == len(data), "its size")

    def catalogue(self, data: bytes) -> None:
        """Search a store by a catalogue of any bytes: the bubble is found all the same."""
        (file,) = self._store.path.glob(".catalogue-*")
        file.write_bytes(data)
        _see(self._store.find(["leaf==1.0"]) == self._bubble, "it is hidden")
        _see(self._store.find(["leaf==2.0"]) is None, "another one was found")

    def seeds(self, target: str) -> Iterable[bytes]:
        """Yield inputs to begin with."""
        if target == "requirement":
            yield from (b"leaf[more]>=1.0,!=1.5,~=1.2; python_version > '3.8'", b"./x-1.0.whl[a]")
            yield from (b"leaf @ file:///x/leaf-1.0-py3-none-any.whl#sha256=0", b"leaf===1.0.post1")
        elif target == "manifest":
            yield self._manifest
        elif target == "lock":
            yield self._bubble.lock.read_bytes()
        elif target == "record":
            yield (self._bubble.dist_info("leaf") / "RECORD").read_bytes()
        elif target == "scripts":
            yield (self._bubble.dist_info("leaf") / "entry_points.txt").read_bytes()
        elif target == "name":
            yield self._bubble.id.encode()
        elif target == "archive":
            yield self._wheel
        elif target == "elf":
            yield _smallest_library()
        elif target == "catalogue":
            (file,) = self._store.path.glob(".catalogue-*")
            yield file.read_bytes()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _see(truth: bool, what: object) -> None:
    if not truth:
        raise AssertionError(what)


def _smallest_library() -> bytes:
    """Return a small shared object that this Python came with; nothing where there is none."""
    import sysconfig

    directory = Path(sysconfig.get_path("platstdlib"), "lib-dynload")
    files = sorted(directory.glob("*.so"), key=lambda one: one.stat().st_size)
    return files[0].read_bytes() if files else b"\x7fELF"


NAMES = tuple(name for name in vars(Targets) if name[0] != "_" and name != "seeds")


def main() -> int:
    """Run the targets and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", type=Path, help="where inputs go that end otherwise")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not set(arguments.targets) <= set(NAMES):
        parser.error(f"the targets are {', '.join(NAMES)}")
    if arguments.inside:
        _drive(arguments.targets[0], arguments.seconds, arguments.keep)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        keep = arguments.keep or Path(place)
        keep.mkdir(parents=True, exist_ok=True)
        found = {one: _run(one, arguments.seconds, keep) for one in arguments.targets or NAMES}
        print(json.dumps(found, indent=1))
    return 1 if any(one["wrong"] for one in found.values()) else 0


def _run(target: str, seconds: int, keep: Path) -> dict[str, Any]:
    """Fuzz one target in a process of its own: it ends with the first input that is wrong."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--inside", "--seconds", str(seconds)]
    command += ["--keep", str(keep.resolve()), target]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    counted = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
    trace = done.stdout.partition("Uncaught Python exception")[2].splitlines()
    wrong = [line for line in trace if line.strip() and not line.startswith(("=", "INFO"))][-12:]
    if done.returncode and not wrong:
        wrong = done.stdout.splitlines()[-12:]
    kept = sorted(keep.glob(f"{target}-*"))
    return {
        "executions": int(counted[1]) if counted else 0,
        "wrong": "\n".join(wrong) if done.returncode else "",
        "input": kept[-1].read_bytes().hex() if done.returncode and kept else "",
    }


def _drive(name: str, seconds: int, keep: Path) -> None:
    """Have atheris call one target until the time is over; this process ends here."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        targets = Targets(Path(place))
        corpus = Path(place, "corpus")
        corpus.mkdir()
        seeds = list(targets.seeds(name))
        for number, seed in enumerate(seeds):
            (corpus / str(number)).write_bytes(seed)
        words = [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={max(_LONGEST, *map(len, seeds))}",
            f"-artifact_prefix={keep}/{name}-",
            "-timeout=25",
            "-print_final_stats=1",
            str(corpus),
        ]
        atheris.Setup(words, getattr(targets, name))
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
