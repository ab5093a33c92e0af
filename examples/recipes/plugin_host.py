"""A host whose plugins need versions that exclude each other.

A plugin is a package below ``plugins``, with its ``requirements.txt``.  Each is loaded on
top of a bubble of these requirements, and works with them for good.
``python plugin_host.py`` calls each, from several threads, and prints what they said.
"""

from __future__ import annotations

import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import omnipkg_meta as om

PLUGINS = Path(__file__).parent / "plugins"


def load(folder: Path) -> ModuleType:
    """Load one plugin; what it asks for is said by its own file."""
    requirements = (folder / "requirements.txt").read_text("utf-8").split()
    with om.use(*requirements, adopt=[folder.name]):
        return importlib.import_module(folder.name)


def main() -> None:
    """Load all plugins, and call them outside of any scope."""
    sys.path.append(str(PLUGINS))
    plugins = [load(file.parent) for file in sorted(PLUGINS.glob("*/requirements.txt"))]
    with ThreadPoolExecutor() as pool:
        calls = [(plugin, pool.submit(plugin.render, "[b]hello[/]")) for plugin in plugins * 3]
    told = [[plugin.__name__, *call.result()] for plugin, call in calls]
    print(json.dumps({"answers": told, "host": version("rich")}))


if __name__ == "__main__":
    main()
