"""The code blocks of a page of the documentation.

Owns how a page is read: which blocks there are, and what stands in comments beside them.
Must not know how a block is run, nor what is installed.

A fenced block is Python or a console, and is run; one whose first line is the comment of a
path (``# pyproject.toml``) is that file; ``ipython`` is a cell of a notebook, which is run too;
``text`` right below Python, or a cell, is what that prints.
Three comments of HTML, which a reader does not see, say more:

    <!-- not run: why -->       the next block is not run
    <!-- python (lines) -->     is run where it stands, like a block; so is <!-- console ... -->
    <!-- programs -->           each Python block of this page is a program of its own
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

__all__ = ["PAGES", "ROOT", "Block", "Page", "is_cell", "is_run", "read"]

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Languages of blocks that are looked at; the others say nothing that could be run.
RUN = ("python", "console", "sh")
CELLS = ("ipython",)
SHOWN = ("text", "dockerfile")
FILES = ("ini", "toml")

#: Languages of blocks whose output may stand below them.
_PRINTING = ("python", *CELLS)

_NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->")
_UNSEEN = re.compile(r"<!-- (python|console)\n(.*?)-->", re.DOTALL)
_PATH = re.compile(r"# ([\w./-]+\.(?:ini|py|toml))")


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        language: what stands behind the fence.
        text: what stands in it.
        line: the line of the page that its first line is, from 1.
        why_not: why it is not run, or None.
        prints: what stands right below it, if that is ``text``.
    """

    language: str
    text: str
    line: int
    why_not: str | None = None
    prints: str | None = None

    @property
    def file(self) -> str | None:
        """The path of the file that the block is, or None."""
        found = _PATH.fullmatch(self.text.partition("\n")[0])
        return found and found[1]


@dataclass(frozen=True)
class Page:
    """A page: where it is, its blocks, and whether each Python block is a program."""

    path: Path
    blocks: tuple[Block, ...]
    programs: bool


def read(path: Path) -> Page:
    """Read the blocks of a page, in order."""
    text = path.read_text("utf-8")
    blocks: list[Block] = []
    why_not: str | None = None
    before = ""  # the type of what stands above
    for token in MarkdownIt("commonmark").parse(text):
        line = (token.map or [0])[0] + 1
        if token.type == "fence":
            language = token.info.partition(" ")[0]
            if language == "text" and before == "fence" and blocks[-1].language in _PRINTING:
                last = blocks.pop()
                blocks.append(
                    Block(last.language, last.text, last.line, last.why_not, token.content)
                )
            else:
                blocks.append(Block(language, token.content, line + 1, why_not))
            why_not = None
        elif token.type == "html_block":
            if found := _NOT_RUN.search(token.content):
                why_not = found[1]
            blocks += [Block(one[1], one[2], line + 1) for one in _UNSEEN.finditer(token.content)]
        before = token.type
    return Page(path, tuple(blocks), "<!-- programs -->" in text)


def is_run(block: Block) -> bool:
    """Tell whether a block is run, or written to the file that it is."""
    return block.why_not is None and (block.language in RUN or block.file is not None)


def is_cell(block: Block) -> bool:
    """Tell whether a block is a cell that is run, in a notebook of the page's cells."""
    return block.why_not is None and block.language in CELLS
