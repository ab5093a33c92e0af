"""Threads, tasks and copied contexts that do what they are told, one step at a time.

Whoever tells waits until the step is done, so that nothing depends on time.  This file
knows context managers and functions, and nothing of what they are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import queue
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from concurrent.futures import Executor

__all__ = ["Actor", "ContextActor", "TaskActor", "ThreadActor", "forked", "in_loop", "watched"]

_T = TypeVar("_T")

#: Seconds after which a step counts as hanging.
PATIENCE = 60


class Left(Exception):  # noqa: N818  # no error: the way in which a block is left
    """Raised to leave the innermost block, and caught around it."""


class Died(BaseException):
    """Raised to leave all blocks at once, and the thread."""


class Actor:
    """Something with a context of its own.

    Attributes:
        blocks: how many ``with`` blocks it is in.
    """

    def __init__(self) -> None:
        self.blocks = 0

    def do(self, function: Callable[[], _T]) -> _T:
        """Call a function in this context and return its result."""
        raise NotImplementedError

    def enter(self, manager: Any) -> None:
        """Enter a block."""
        raise NotImplementedError

    def leave(self, how: str) -> None:
        """Leave the innermost block: by ``return``, ``exception`` or ``cancellation``."""
        raise NotImplementedError

    def end(self) -> None:
        """Come to an end, with all blocks left at once; done when it returns."""


class _Told(Actor):
    """One that is told through an inbox and answers through an outbox."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def _put(self, command: tuple[str, Any]) -> None:
        raise NotImplementedError

    def _say(self, kind: str, payload: Any = None) -> Any:
        self._put((kind, payload))
        return self._answer()

    def _answer(self) -> Any:
        result, error = self._answers.get(timeout=PATIENCE)
        if error is not None:
            raise error
        return result

    def _reply(self, result: Any = None, error: BaseException | None = None) -> None:
        self._answers.put((result, error))

    def do(self, function: Callable[[], _T]) -> _T:
        result: _T = self._say("do", function)
        return result

    def _do(self, function: Callable[[], Any]) -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  # handed over to whoever told
            self._reply(error=error)
        else:
            self._reply(result)

    def enter(self, manager: Any) -> None:
        self._say("enter", manager)
        self.blocks += 1

    def leave(self, how: str) -> None:
        self._say("leave", how)
        self.blocks -= 1


class ThreadActor(_Told):
    """A thread."""

    def __init__(self) -> None:
        super().__init__()
        self._inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _put(self, command: tuple[str, Any]) -> None:
        self._inbox.put(command)

    def _run(self) -> None:
        with contextlib.suppress(Died):
            self._serve()
        self._reply()

    def _serve(self) -> None:
        while True:
            kind, payload = self._inbox.get()
            if kind == "do":
                self._do(payload)
            elif kind == "enter":
                try:
                    with payload:
                        self._reply()
                        self._serve()
                except Left:
                    pass
                self._reply()
            elif kind == "end":
                raise Died
            elif payload == "exception":
                raise Left
            else:
                return

    def end(self) -> None:
        self._say("end")
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class TaskActor(_Told):
    """A task of asyncio; made in the context of whoever makes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._caught = False
        asyncio.run_coroutine_threadsafe(self._run(), loop)
        self._answer()

    def _put(self, command: tuple[str, Any]) -> None:
        # The context of whoever tells must not matter.
        self._loop.call_soon_threadsafe(
            self._inbox.put_nowait, command, context=contextvars.Context()
        )

    async def _run(self) -> None:
        self._inbox: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._reply()
        try:
            await self._serve()
        except asyncio.CancelledError:
            self._reply()
            raise

    async def _serve(self) -> None:
        while True:
            kind, payload = await self._inbox.get()
            if kind == "do":
                self._do(payload)
            elif kind == "await":
                await self._await(payload)
            elif kind == "enter":
                try:
                    async with payload:
                        self._reply()
                        await self._serve()
                except Left:
                    pass
                except asyncio.CancelledError:
                    if not self._caught:
                        raise
                    self._caught = False
                    if sys.version_info >= (3, 11):
                        self._task.uncancel()
                self._reply()
            elif payload == "exception":
                raise Left
            else:
                return

    async def _await(self, function: Callable[[], Awaitable[Any]]) -> None:
        try:
            result = await function()
        except Exception as error:  # noqa: BLE001  # handed over to whoever told
            self._reply(error=error)
        else:
            self._reply(result)

    def wait_for(self, function: Callable[[], Awaitable[_T]]) -> _T:
        """Call a function in this task, await what it returns, and return the result."""
        result: _T = self._say("await", function)
        return result

    def leave(self, how: str) -> None:
        if how != "cancellation":
            super().leave(how)
            return
        self._caught = True
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._answer()
        self.blocks -= 1

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._answer()


class ContextActor(Actor):
    """A copy of a context, in which functions run in whatever thread of an executor is free."""

    def __init__(self, executor: Executor) -> None:
        super().__init__()
        self._executor = executor
        self._context = contextvars.copy_context()
        self._managers: list[Any] = []

    def do(self, function: Callable[[], _T]) -> _T:
        return self._executor.submit(self._context.run, function).result(PATIENCE)

    def enter(self, manager: Any) -> None:
        self.do(manager.__enter__)
        self._managers.append(manager)
        self.blocks += 1

    def leave(self, how: str) -> None:
        manager = self._managers.pop()
        error = Left() if how == "exception" else None
        self.do(lambda: manager.__exit__(type(error) if error else None, error, None))
        self.blocks -= 1


def watched(
    manager: Any, look: Callable[[], Any], *, decorated: bool
) -> tuple[Generator[Any, None, None], list[Any]]:
    """Return a generator that looks at each step within a manager, and what it saw as it ended."""
    last: list[Any] = []

    def body() -> Generator[Any, None, None]:
        try:
            while (yield look()) is None:
                pass
        finally:
            last.append(look())

    def bare() -> Generator[Any, None, None]:
        with manager:
            yield from body()

    return (manager(body) if decorated else bare)(), last


def async_watched(
    manager: Any, look: Callable[[], Any], *, decorated: bool
) -> tuple[AsyncGenerator[Any, None], list[Any]]:
    """Return the same as an async generator."""
    last: list[Any] = []

    async def body() -> AsyncGenerator[Any, None]:
        try:
            while (yield look()) is None:
                pass
        finally:
            last.append(look())

    async def bare() -> AsyncGenerator[Any, None]:
        async with manager:
            try:
                while (yield look()) is None:
                    pass
            finally:
                last.append(look())

    return (manager(body) if decorated else bare)(), last


def forked(function: Callable[[], Any]) -> Any:
    """Call a function in a forked child, which ends by ``os._exit``; return its result."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        text = "null"
        try:
            text = json.dumps(function())
        except BaseException as error:  # noqa: BLE001  # it must not go on as the test run
            text = json.dumps(repr(error))
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    try:
        pieces = []
        while True:
            if not select.select([reader], [], [], PATIENCE)[0]:
                os.kill(child, signal.SIGKILL)
                raise TimeoutError("the child hangs")
            pieces.append(os.read(reader, 65536))
            if not pieces[-1]:
                return json.loads(b"".join(pieces))
    finally:
        os.close(reader)
        os.waitpid(child, 0)


def in_loop() -> tuple[asyncio.AbstractEventLoop, Callable[[], None]]:
    """Return a loop of asyncio that runs in a thread of its own, and what ends it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def end() -> None:
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()

    return loop, end
