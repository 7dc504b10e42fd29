"""A real browser: headless Chromium, told what to do by WebDriver (https://www.w3.org/TR/webdriver2).

On Debian: apt-get install chromium chromium-driver.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
PATIENCE = 30.0  # seconds for the driver to start


class Browser:
    """One window."""

    def __init__(self, address: str, session: str) -> None:
        self._address = f"{address}/session/{session}"

    def open(self, path: Path) -> None:
        """Load a page from a file."""
        call("POST", f"{self._address}/url", {"url": path.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """The value that a script returns."""
        return call("POST", f"{self._address}/execute/sync", {"script": script, "args": []})

    def resize(self, width: int, height: int) -> None:
        call("POST", f"{self._address}/window/rect", {"width": width, "height": height})

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(call("GET", f"{self._address}/screenshot"))

    def log(self) -> list[dict[str, Any]]:
        """What has been written to the console, such as errors and what could not be loaded."""
        found: list[dict[str, Any]] = call("POST", f"{self._address}/se/log", {"type": "browser"})
        return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own; skips the test where there is none."""
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("there is no browser: apt-get install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _await(address)
            options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = call("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
            session = made["sessionId"]
            try:
                yield Browser(address, session)
            finally:
                call("DELETE", f"{address}/session/{session}")
        finally:
            process.terminate()
            process.wait()


def _await(address: str) -> None:
    """Wait until the driver answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if call("GET", f"{address}/status")["ready"]:
                return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


def call(method: str, address: str, body: Any = None) -> Any:
    """A command of the protocol."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data, headers, method=method)
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with straight.open(request, timeout=60) as answer:
        return json.load(answer)["value"]
