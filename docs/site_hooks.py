"""What the site is made of besides ``docs/``: the change log, and the page of the examples.

Owns the two differences between the repository and the site: in the site these pages lie
below ``docs/``, and what docstrings say of other objects in reST's way is a link.  Called
by mkdocs (``hooks`` in ``mkdocs.yml``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import griffe
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parent.parent
_BESIDE = ("CHANGELOG.md", "examples/README.md")
_ROLE = re.compile(r":(?:class|data|func|meth|mod):`~?([\w.]+)(?: <[^>]*>)?`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie beside ``docs/``."""
    for path in _BESIDE:
        files.append(File.generated(config, path, abs_src_path=str(_ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links between ``docs/`` and what lies beside it lead to where the site has it."""
    if page.file.src_uri == "CHANGELOG.md":
        return markdown.replace("](docs/", "](")
    if page.file.src_uri.startswith("examples/"):
        return markdown.replace("](../docs/", "](../")
    for path in _BESIDE:
        markdown = markdown.replace(f"](../{path}", f"]({path}")
    return markdown


class Roles(griffe.Extension):
    """``:func:`use` `` of a docstring is `` `use` ``."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)
