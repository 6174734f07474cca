"""A local web server that serves files well, or badly in a way that a test names."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Served:
    """What lies at one path."""

    content: bytes
    ranges: bool = True  # False: answers 200 with everything to a Range request
    drops: list[int] = field(default_factory=list)  # offsets in the file at which a connection is cut, one a request
    status: list[int] = field(
        default_factory=list
    )  # answers given first, one a request; the last one for ever if ``stuck``
    stuck: bool = False
    kind: str = "application/octet-stream"
    length: int | None = None  # a wrong Content-Length
    endless: bool = False
    pace: float = 0.0  # seconds before every 64 KB
    etag: str = ""
    requests: list[str] = field(default_factory=list)  # the Range headers seen


class Site(ThreadingHTTPServer):
    """``files`` maps a path to what is served there; anything else is 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news here."""


@contextmanager
def running() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        site.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        served = self.server.files.get(self.path.partition("?")[0])
        if served is None:
            self.send_error(404)
            return
        if body:
            served.requests.append(self.headers.get("Range", ""))
        if served.status and body:
            code = served.status[0] if served.stuck else served.status.pop(0)
            self.send_error(code)
            return
        content, start = served.content, 0
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and served.ranges:
            start = int(asked[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if not served.endless:
            self.send_header("Content-Length", str((served.length or len(content)) - start))
        self.send_header("Content-Type", served.kind)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{served.etag or hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not body:
            return
        end = len(content)
        if served.drops:
            end = max(start, min(end, served.drops.pop(0)))
        try:
            for at in range(start, end, 1 << 16):
                time.sleep(served.pace)
                self.wfile.write(content[at : min(end, at + (1 << 16))])
            while served.endless:
                self.wfile.write(content)
        except OSError:
            pass
        self.close_connection = True
