"""A web server of this machine for tests: remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Site:
    """What is served. `pages`: path -> body, status, or "-> path" for a redirect."""

    pages: dict[str, bytes | int | str]
    requests: list[Request] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(pages: dict[str, bytes | int | str]) -> Iterator[Site]:
    """A server of these pages while the block runs."""
    site = Site(pages)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            site.requests.append(Request(self.command, self.path, dict(self.headers), body))
            page = site.pages.get(self.path, 404)
            status = 200 if isinstance(page, bytes) else 302 if isinstance(page, str) else page
            content = page if isinstance(page, bytes) else b""
            self.send_response(status)
            if isinstance(page, str):
                self.send_header("Location", site.url + page.removeprefix("-> "))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
