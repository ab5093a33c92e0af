"""A plugin that needs rich 13.5.3."""

from __future__ import annotations

from rich.text import Text


def render(markup: str) -> list[str]:
    """Return plain text, and the version that made it."""
    from importlib.metadata import version

    import rich.console  # not before it is needed

    return [Text.from_markup(markup).plain, version("rich"), rich.console.__file__]
