"""What type checkers see of bound functions: mypy fails here if a signature is lost.

Each ``type: ignore`` has to be needed: mypy is told to complain of those that are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import omnipkg_meta as om

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from concurrent.futures import Executor, Future


def combine(number: int, *, text: str = "") -> list[str]:
    return [text] * number


async def wait(number: int) -> str:
    return str(number)


def count(number: int) -> Iterator[int]:
    yield number


class Maker:
    def __init__(self, number: int) -> None:
        self.number = number

    def make(self, text: str) -> bytes:
        return text.encode() * self.number


def check_bind() -> None:
    bound = om.bind(combine, "rich==13.5.3", install=True)
    good: list[str] = bound(3, text="a")
    bad: list[int] = bound(3)  # type: ignore[assignment]
    bound("3")  # type: ignore[arg-type]
    bound(3, tex="a")  # type: ignore[call-arg]
    awaitable: Awaitable[str] = om.bind(wait, om.main)(1)
    numbers: Iterator[int] = om.bind(count, om.current())(1)
    maker: Maker = om.bind(Maker, om.home(Maker))(2)
    data: bytes = om.bind(maker.make, "rich")("x")
    om.bind(maker.make, "rich")(2)  # type: ignore[arg-type]
    om.bind(3, "rich")  # type: ignore[arg-type]
    om.bind(combine, 3)  # type: ignore[arg-type]
    del good, bad, awaitable, numbers, data


def check_executor(executor: Executor) -> None:
    scoped: Executor = om.ScopedExecutor(executor, "rich==13.5.3")
    good: Future[list[str]] = scoped.submit(combine, 3, text="a")
    bad: Future[int] = scoped.submit(combine, 3)  # type: ignore[arg-type]
    scoped.submit(combine, "3")  # type: ignore[arg-type]
    results: Iterator[list[str]] = om.ScopedExecutor(executor, "rich").map(combine, [1, 2])
    om.ScopedExecutor("executor", "rich")  # type: ignore[arg-type]
    del good, bad, results


def test_the_same_functions_run() -> None:
    bound = om.bind(combine, om.main)
    assert bound(2, text="a") == ["a", "a"]
    assert om.bind(Maker(2).make, om.main)("x") == b"xx"
