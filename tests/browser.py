"""A headless Chromium that is told what to do as WebDriver has it, with nothing but its driver.

Owns the talking to ``chromedriver`` (W3C WebDriver, plain JSON over HTTP).  Must not know
which page is looked at.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ENTER", "ESCAPE", "TAB", "Browser", "browser", "missing"]

#: Keys as WebDriver has them (W3C WebDriver, 17.4.2 "Keyboard actions").
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"
_STARTUP = 60


def missing() -> str:
    """Say what is missing for a browser; nothing where all of it is there."""
    gone = [one for one in ("chromium", "chromedriver") if shutil.which(one) is None]
    return f"{' and '.join(gone)} not there (Debian: chromium, chromium-driver)" if gone else ""


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> Any:
        return _send(f"{self._session}/{what}", body)

    def open(self, path: Path, *, at: str = "") -> None:
        """Open a file, and wait until it is loaded."""
        self._ask("url", {"url": f"{path.as_uri()}{at}"})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run lines of JavaScript outside of the page's policy, and return what they return."""
        return self._ask("execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str) -> Any:
        """Run lines that call their last argument when they are done, and wait for that."""
        return self._ask("execute/async", {"script": script, "args": []})

    def keys(self, text: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        presses = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._ask("actions", {"actions": [{"type": "key", "id": "keys", "actions": presses}]})

    def resize(self, width: int, height: int) -> None:
        """Give the page that much room, in CSS pixels."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def prefer(self, scheme: str) -> None:
        """Say that the user prefers ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._devtools("Emulation.setEmulatedMedia", {"features": features})

    def without_scripts(self) -> None:
        """Let no page run scripts of its own from now on."""
        self._devtools("Emulation.setScriptExecutionDisabled", {"value": True})

    def shot(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen as a picture; with ``whole``, all of the page."""
        taken = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(taken["data"]))

    def printed(self) -> bytes:
        """Return the page as it is printed, a PDF."""
        return base64.b64decode(self._ask("print", {}))

    def complaints(self) -> list[str]:
        """Return what the console got since this was asked last."""
        return [one["message"] for one in self._log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since this was asked last."""
        told = [json.loads(one["message"])["message"] for one in self._log("performance")]
        return [
            one["params"]["request"]["url"]
            for one in told
            if one["method"] == "Network.requestWillBeSent"
        ]

    def _log(self, kind: str) -> Any:
        return self._ask("se/log", {"type": kind})

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._ask("goog/cdp/execute", {"cmd": command, "params": parameters})


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """Start a browser that keeps all of its own in a directory, and end it."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    session = None
    try:
        address = f"http://127.0.0.1:{_port(driver)}"
        started = _send(f"{address}/session", {"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {
                "binary": shutil.which("chromium"),
                "args": [
                    "--headless",
                    "--no-sandbox",  # there is none for root, as whom containers run
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--hide-scrollbars",
                    f"--user-data-dir={directory}",
                ],
            },
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}})  # fmt: skip
        session = f"{address}/session/{started['sessionId']}"
        yield Browser(session)
    finally:
        if session is not None:
            _send(session, method="DELETE")
        driver.terminate()
        driver.communicate()


def _port(driver: subprocess.Popen[str]) -> int:
    assert driver.stdout is not None
    until = time.monotonic() + _STARTUP
    for line in driver.stdout:
        if "on port " in line and "started" in line:
            return int(line.rpartition("on port ")[2].strip(" .\n"))
        assert time.monotonic() < until, line
    raise AssertionError("chromedriver ended at once")


def _send(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  # the driver's own address
        url, data, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=_STARTUP) as answer:  # noqa: S310
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None
