"""Where archives come from: the index options that a caller may pass through.

Owns the five options and their checks.  Must not know who builds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from omnipkg_meta.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["IndexOptions"]


class IndexOptions(NamedTuple):
    """The index options, checked, with paths made absolute.

    What is not given here is as the user has configured uv or pip.

    Attributes:
        index_url: the index instead of the configured one, or None.
        extra_index_urls: further indexes.
        find_links: directories or pages with archives.
        no_index: whether only ``find_links`` are consulted.
        pre: whether pre-releases will do where nothing says so.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    pre: bool = False

    @classmethod
    def read(cls, options: Sequence[str]) -> IndexOptions:
        """Read options as they stand on a command line.

        Args:
            options: for example ``["--no-index", "--find-links", "wheels", "--pre"]``.

        Raises:
            ConfigError: there is no such option, or it lacks its value.
        """
        index_url, extra, links, no_index, pre = None, [], [], False, False
        words = list(options)
        while words:
            option, given, value = words.pop(0).partition("=")
            if option in ("--no-index", "--pre") and not given:
                no_index, pre = no_index or option == "--no-index", pre or option == "--pre"
                continue
            if option not in ("--index-url", "--extra-index-url", "--find-links"):
                raise _bad(option, "no such option")
            if not given:
                if not words:
                    raise _bad(option, "it lacks its value")
                value = words.pop(0)
            if not value or value.startswith("-"):
                raise _bad(option, "it lacks its value")
            if option == "--find-links":
                links.append(value if "://" in value else os.path.abspath(value))  # noqa: PTH100
            elif option == "--index-url":
                index_url = value
            else:
                extra.append(value)
        return cls(index_url, tuple(extra), tuple(links), no_index, pre)

    def arguments(self) -> list[str]:
        """Return the options that uv and pip spell alike, but for addresses and ``pre``."""
        words = []
        for place in self.find_links:
            words += ["--find-links", place]
        return [*words, "--no-index"] if self.no_index else words

    def variables(self) -> dict[str, str]:
        """Return the addresses of indexes, as variables for uv and pip.

        They may hold a password, and a command line can be read by every user of the machine.
        """
        found: dict[str, str] = {}
        if self.index_url is not None:
            found.update(PIP_INDEX_URL=self.index_url, UV_DEFAULT_INDEX=self.index_url)
        if self.extra_index_urls:
            found.update(
                PIP_EXTRA_INDEX_URL=" ".join(self.extra_index_urls),
                UV_INDEX=" ".join(self.extra_index_urls),
            )
        return found


def _bad(option: str, cause: str) -> ConfigError:
    return ConfigError(
        f"the index option {option!r} cannot be used",
        cause=cause,
        tip="use --index-url, --extra-index-url, --find-links, --no-index or --pre",
        setting="index_options",
        value=option,
    )
