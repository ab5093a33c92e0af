"""Ctrl-C while modules are loaded."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from omnipkg_meta.cli.loading import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")


@pytest.fixture(autouse=True)
def _as_in_a_program() -> Iterator[None]:
    """Have Ctrl-C do what it does by default; pytest in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_when_all_is_loaded() -> None:
    class Name:
        def __set_name__(self, owner: type, name: str) -> None:
            signal.raise_signal(signal.SIGINT)

    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        done.append(type("Loaded", (), {"name": Name()}))
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_while_loading_is_that_error() -> None:
    with pytest.raises(ImportError, match="broken"), uninterrupted():
        raise ImportError("broken")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_handles_interrupts_goes_on_doing_so() -> None:
    came = []

    def handle(number: int, _: object) -> None:
        came.append(number)

    signal.signal(signal.SIGINT, handle)
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)
        assert came == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handle


def test_another_thread_changes_no_handler() -> None:
    seen = []

    def run() -> None:
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
