"""A real browser for tests: Debian's chromium, headless, driven over the WebDriver protocol with plain HTTP."""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --hide-scrollbars --disable-dev-shm-usage"


def needs_chromium():
    """Mark tests that need the browser. CI installs it, so there they fail without it instead of being skipped."""
    missing = not (CHROMIUM and DRIVER) and not os.environ.get("CI")
    return pytest.mark.skipif(missing, reason="no chromium and chromedriver here; apt-get install chromium-driver")


class Browser:
    """One window: open a file, run JavaScript in it, look at it."""

    def __init__(self, session: str):
        self.session = session

    def call(self, method: str, path: str, body: dict | None = None):
        return _call(method, f"{self.session}{path}", body)

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Open a file in a window of that size (CSS pixels), with the system set to light or dark."""
        # A headless window has no frame below 500 pixels, so the device is emulated.
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.call("POST", "/url", {"url": "about:blank"})
        self.call("POST", "/url", {"url": path.resolve().as_uri()})

    def devtools(self, command: str, parameters: dict):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str, *arguments):
        """Return what the body of a JavaScript function returns; a promise is waited for."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str, limit_s: float = 20) -> float:
        """Wait until a JavaScript expression is true; return the seconds that took."""
        started = time.monotonic()
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() - started < limit_s, f"not within {limit_s} s: {condition}"
            time.sleep(0.05)
        return time.monotonic() - started

    def errors(self) -> list[str]:
        """Return what went wrong since the last call: console errors, exceptions, files that were not found."""
        lines = self.call("POST", "/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """Save what the window shows, or the whole page, as PNG."""
        picture = self.devtools("Page.captureScreenshot", {"captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(picture["data"]))
        return path

    def print(self, path: Path) -> Path:
        """Print to PDF, A4."""
        path.write_bytes(base64.b64decode(self.call("POST", "/print", {"page": {"width": 21.0, "height": 29.7}})))
        return path


@contextlib.contextmanager
def browser(profile: Path):
    """Yield a Browser with an empty profile; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(100):
            with contextlib.suppress(OSError):
                if _call("GET", f"{address}/status")["ready"]:
                    break
            time.sleep(0.1)
        options = {"binary": CHROMIUM, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        started = _call("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
        session = f"{address}/session/{started['sessionId']}"
        try:
            yield Browser(session)
        finally:
            _call("DELETE", session)
    finally:
        driver.terminate()
        driver.wait()


def _call(method: str, address: str, body: dict | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {address}: {error.read().decode()[:500]}") from None
