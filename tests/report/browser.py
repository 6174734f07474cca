"""A headless Chromium, driven through its DevTools protocol: one page at a time, its errors kept."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import websocket

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 60
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
]


class Browser:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=SECONDS, suppress_origin=True)
        self._number = 0
        self._events: list[dict[str, Any]] = []
        for room in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{room}.enable")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """One DevTools command; what happens meanwhile is kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": given}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
            self._events.append(message)

    def open(self, page: Path | str, width: int = 1200, dark: bool = False, query: str = "") -> None:
        """Load a file or an address at this width and wait until it has loaded."""
        self._events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Page.navigate", url=(page if isinstance(page, str) else page.resolve().as_uri()) + query)
        end = time.monotonic() + SECONDS
        while not any(e["method"] == "Page.loadEventFired" for e in self._events):
            assert time.monotonic() < end, f"{page} does not load"
            self._events.append(json.loads(self._socket.recv()))

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression (a promise is awaited)."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def complaints(self) -> list[str]:
        """Everything that the console, the page's scripts and the network complained of since ``open``."""
        self.call("Runtime.evaluate", expression="1")  # whatever was on its way has come
        bad = ("Runtime.exceptionThrown", "Network.loadingFailed")
        # the page cancels the loading of an image that it no longer shows
        found = [
            json.dumps(e["params"]) for e in self._events if e["method"] in bad and not e["params"].get("canceled")
        ]
        entries = [e["params"]["entry"] for e in self._events if e["method"] == "Log.entryAdded"]
        found += [json.dumps(entry) for entry in entries if entry["level"] in {"error", "warning"}]
        calls = [e["params"] for e in self._events if e["method"] == "Runtime.consoleAPICalled"]
        return found + [json.dumps(call) for call in calls if call["type"] in {"error", "warning", "assert"}]

    def requests(self) -> list[str]:
        """Addresses asked for since ``open``."""
        return [e["params"]["request"]["url"] for e in self._events if e["method"] == "Network.requestWillBeSent"]


@contextmanager
def browser() -> Iterator[Browser]:
    """A fresh Chromium with an empty profile; it ends with the block."""
    assert PROGRAM
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(profile) / "DevToolsActivePort", process)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS) as answer:
                tabs = json.load(answer)
            tab = Browser(next(t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page"))
            try:
                yield tab
            finally:
                tab.close()
        finally:
            process.terminate()
            process.wait(SECONDS)


def _port(file: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + SECONDS
    while not (file.is_file() and file.read_text().count("\n")):
        assert process.poll() is None, f"{PROGRAM} ended with {process.returncode}"
        assert time.monotonic() < end, f"{PROGRAM} does not answer"
        time.sleep(0.1)
    return file.read_text().splitlines()[0]
