"""Stores of many small bubbles, made in seconds: one is built, the others are made like it.

Owns the making.  Every bubble is whole: ``verify`` finds nothing wrong with it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from omnipkg_meta.store.bubble import LOCK, MANIFEST, SITE_PACKAGES, Bubble
from omnipkg_meta.store.build import install
from omnipkg_meta.store.store import Store
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["COMMON", "WANTED", "fill", "part"]

#: What is in one bubble of each store, and asked for.
WANTED = "wanted"
#: What is in every other bubble.
COMMON = "common"
_VERSION = "1.0"


def part(number: int) -> str:
    """Return the name of the distribution that only bubble *number* holds."""
    return f"part{number:06}"


def fill(root: Path, count: int) -> Store:
    """Make a store of so many bubbles; one of them holds :data:`WANTED`, in the midst of them.

    Args:
        root: an empty directory.
        count: how many.
    """
    store, wheels = Store(root / "store"), root / "wheels"
    options = ["--no-index", "--find-links", str(wheels)]
    make_wheel(wheels, COMMON, _VERSION, {f"{COMMON}.py": "x = 1\n"})
    make_wheel(wheels, WANTED, _VERSION, {f"{WANTED}.py": f"version = {_VERSION!r}\n"})
    make_wheel(wheels, part(0), _VERSION, {f"{part(0)}.py": "x = 1\n"}, requires=[COMMON])
    install([f"{WANTED}=={_VERSION}"], store=store, index_options=options)
    model = install([f"{part(0)}=={_VERSION}"], store=store, index_options=options)
    files = _read(model)
    for number in range(1, count - 1):
        _write_like(model, files, number)
    return store


def _read(bubble: Bubble) -> dict[str, str]:
    """Return the files of a bubble but for its byte code, by their paths."""
    found = sorted(path for path in bubble.path.rglob("*") if path.is_file())
    return {
        path.relative_to(bubble.path).as_posix(): path.read_text("utf-8")
        for path in found
        if path.suffix != ".pyc"
    }


def _write_like(model: Bubble, files: dict[str, str], number: int) -> None:
    """Write a bubble that differs from the model in its names only."""

    def renamed(text: str) -> str:
        return text.replace(part(0), part(number))

    name = f"{part(number)}-{_VERSION}-{hashlib.sha256(part(number).encode()).hexdigest()[:12]}"
    place = model.path.with_name(name)
    written = {renamed(path): renamed(text) for path, text in files.items()}
    for path in [one for one in written if one.endswith("/RECORD")]:
        folder = path.split("/")[0]
        lines = [line.split(",") for line in written[path].splitlines()]
        written[path] = "".join(
            f"{file},{_digest(written[f'{folder}/{file}'])},{len(written[f'{folder}/{file}'])}\n"
            if digest
            else f"{file},,\n"
            for file, digest, _ in lines
        )
    entry = json.loads(written[MANIFEST])
    entry["id"], entry["files"] = name, {LOCK: _digest(written[LOCK])}
    written[MANIFEST] = json.dumps(entry, indent=1) + "\n"
    (place / SITE_PACKAGES).mkdir(mode=0o700, parents=True)
    for path, text in written.items():
        file = place / path
        if not file.parent.exists():
            file.parent.mkdir()
        file.write_text(text, "utf-8")
    for directory in (place, place / SITE_PACKAGES):
        directory.chmod(0o700)


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
