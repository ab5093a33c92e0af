"""What packages are for: packages in pure Python.  See ``README.md``."""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING

from witness import same

if TYPE_CHECKING:
    from collections.abc import Iterator


def six() -> Iterator[None]:
    import urllib.parse

    import six
    from six.moves.urllib.parse import quote

    same(six.moves.urllib.parse.urlencode is urllib.parse.urlencode, True)
    same(quote("é"), "%C3%A9")
    yield
    same(six.moves.range is range, True)


def jinja2() -> Iterator[None]:
    import jinja2

    template = jinja2.Environment(autoescape=True).from_string(
        "{% for x in xs %}{{ x }}{% endfor %}"
    )
    same(template.render(xs=[1, "<"]), "1&lt;")
    yield
    same(jinja2.Template("{{ x|upper }}").render(x="a"), "A")


def rich() -> Iterator[None]:
    from rich.console import Console
    from rich.table import Table

    table = Table("a")
    table.add_row("[b]x[/b]")
    stream = io.StringIO()
    console = Console(file=stream, width=20)
    console.print(table)
    same("x" in stream.getvalue(), True)
    yield
    console.print("[red]y[/red]", {"a": 1})
    same("{'a': 1}" in stream.getvalue(), True)


def attrs() -> Iterator[None]:
    import attr

    made = attr.make_class("Made", {"x": attr.ib(validator=attr.validators.instance_of(int))})
    same(attr.asdict(made(1)), {"x": 1})
    yield
    same(made(1) == made(1), True)


def click() -> Iterator[None]:
    import click
    from click.testing import CliRunner

    @click.command()
    @click.option("--n", type=int)
    def command(n: int) -> None:
        click.echo(f"n={n}")

    same(CliRunner().invoke(command, ["--n", "3"]).output, "n=3\n")
    yield
    same(CliRunner().invoke(command, ["--n", "x"]).exit_code, 2)


def pygments() -> Iterator[None]:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name("python")
    same("<span" in highlight("x = 1", lexer, HtmlFormatter()), True)
    yield
    same("<span" in highlight("{}", get_lexer_by_name("json"), HtmlFormatter()), True)


def packaging() -> Iterator[None]:
    from packaging.requirements import Requirement
    from packaging.version import Version

    same(Version("1.10") > Version("1.9"), True)
    yield
    same(str(Requirement("x>=1; python_version > '3'").specifier), ">=1")


def beautifulsoup4() -> Iterator[None]:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup("<p class='a'>x<b>y</b></p>", "html.parser")
    same(soup.select_one("p.a > b").text, "y")
    yield
    same(soup.p.get_text(), "xy")


def pytz() -> Iterator[None]:
    import datetime

    import pytz

    zone = pytz.timezone("Europe/Paris")
    moment = zone.localize(datetime.datetime(2024, 7, 1))  # noqa: DTZ001  (localize adds the zone)
    same(str(moment.utcoffset()), "2:00:00")
    yield
    same(str(pytz.timezone("Asia/Tokyo")), "Asia/Tokyo")


def python_dateutil() -> Iterator[None]:
    from dateutil import parser, rrule

    same(parser.parse("2024-02-29T10:00:00Z").day, 29)
    yield
    days = rrule.rrule(rrule.DAILY, count=2, dtstart=parser.parse("2024-02-28"))
    same([day.day for day in days], [28, 29])


def pyparsing() -> Iterator[None]:
    import pyparsing as pp

    number = pp.Word(pp.nums)
    same(list((number + pp.Suppress(",") + number).parseString("1, 2")), ["1", "2"])
    yield
    same(list(pp.delimitedList(number).parseString("1,2,3")), ["1", "2", "3"])


def fsspec() -> Iterator[None]:
    import fsspec

    with tempfile.TemporaryDirectory() as folder:
        path = f"file://{folder}/x"
        with fsspec.open(path, "w") as file:
            file.write("y")
        same(fsspec.open(path, "r").open().read(), "y")
    yield
    same(fsspec.filesystem("memory").protocol is not None, True)


def anyio() -> Iterator[None]:
    import anyio

    async def main() -> int:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
        return await anyio.to_thread.run_sync(lambda: 3)

    same(anyio.run(main), 3)
    yield
    same(anyio.run(main), 3)


def opentelemetry_sdk() -> Iterator[None]:
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("s") as span:
        same(span.get_span_context().is_valid if hasattr(span, "get_span_context") else True, True)
    yield
    with tracer.start_as_current_span("s") as span:
        same(span.name, "s")


def textual() -> Iterator[None]:
    import asyncio

    from textual.app import App
    from textual.widgets import Button, DataTable

    class Small(App):
        def compose(self) -> Iterator[object]:
            yield Button("b")
            yield DataTable()

    async def press() -> int:
        app = Small()
        async with app.run_test() as pilot:
            await pilot.press("tab")
            return len(app.query(Button))

    same(asyncio.run(press()), 1)
    yield
    same(asyncio.run(press()), 1)
