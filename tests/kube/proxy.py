"""What stands between gpurun and the API server in these tests: it counts requests, and lets them
fail as asked. Thus faults are the same whichever cluster is behind it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner.kube.kubeconfig import load, proxy
from runner.lab.kube.faults import Fault, Faults

REASONS = {401: "Unauthorized", 403: "Forbidden", 409: "Conflict", 429: "TooManyRequests"}


class FaultProxy:
    """A server on this machine that passes requests on with the credentials of a kubeconfig.

    Args:
        upstream: the kubeconfig.
        folder: where the kubeconfig that names the proxy is written.

    Attributes:
        kubeconfig: names the proxy, with a token of its own.
        token: what it takes for a valid token; all others are answered 401.
        ahead: seconds by which the server's clock (`Date`) seems to be ahead: by this the objects
            look older.
        asked: the requests that came since `reset`: method and path.
        written: those that may have changed something, and were not refused.
        logs: path of a pod -> what its container has printed. The API server would ask a kubelet.
    """

    def __init__(self, upstream: Path, folder: Path) -> None:
        from lightkube.config.client_adapter import Client, ConnectionParams

        config = load(upstream, None)
        self.client = Client(config, ConnectionParams(trust_env=False, proxy=proxy(config)))
        self.faults = Faults()
        self.kubeconfig = folder / "kubeconfig-proxy"
        self.reset()
        self._port = 0
        self.start()
        write_kubeconfig(self.kubeconfig, f"http://127.0.0.1:{self._port}", self.token)

    def reset(self) -> None:
        self.faults.clear()
        self.asked: list[str] = []
        self.written: list[str] = []
        self.logs: dict[str, str] = {}
        self.ahead = 0.0
        self.token = "the-only-one"

    def start(self) -> None:
        self._server = _Server(self, self._port)
        self._port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Take no more connections and break those that are open, as a server that restarts."""
        self.faults.clear()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.stop()
        self.client.close()


def write_kubeconfig(path: Path, server: str, token: str) -> None:
    """A kubeconfig of one context."""
    # Without TLS there is no authority either; to read the system's takes longer than most tests.
    cluster = {"server": server, "insecure-skip-tls-verify": True}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "current-context": "lab",
    }
    path.write_text(json.dumps(content))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, proxy: FaultProxy, port: int) -> None:
        self.proxy = proxy
        self.open: set[Any] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, client = super().get_request()
        self.open.add(connection)
        return connection, client

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        proxy, at = self.server.proxy, urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.asked.append(f"{self.command} {at.path}")
        fault = proxy.faults.take(self.command, at.path)
        if fault and fault.kind != "lose":
            self._fail(fault)
        elif self.headers.get("Authorization") != f"Bearer {proxy.token}":
            self._refuse(401, "Unauthorized")
        elif at.path in proxy.logs:
            self._send(200, proxy.logs[at.path].encode(), {"Content-Type": "text/plain"})
        else:
            self._forward(content, fault)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _forward(self, content: bytes, fault: Fault | None) -> None:
        """Ask the API server, and lose its answer if that is the fault."""
        sent = {k: v for k in ("Accept", "Content-Type") if (v := self.headers.get(k))}
        answer = self.server.proxy.client.request(
            self.command, self.path, content=content or None, headers=sent
        )
        reads = self.command == "GET" or "dryRun" in self.path or b"dryRun" in content
        if answer.is_success and not reads:
            self.server.proxy.written.append(f"{self.command} {urlsplit(self.path).path}")
        if fault:
            self._break()
            return
        kept = ("content-type", "retry-after", "date", "audit-id")
        headers = {k: v for k in kept if (v := answer.headers.get(k))}
        self._send(answer.status_code, answer.content, headers)

    def _fail(self, fault: Fault) -> None:
        if fault.kind == "status":
            self._refuse(fault.code, fault.message, fault.headers)
            return
        if fault.kind == "hang":
            self.server.proxy.faults.hang()
        self._break()

    def _break(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer a Status; a message that is one already is sent as it is."""
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": REASONS.get(code, "InternalError"),
            "code": code,
        }
        content = message if message.startswith("{") else json.dumps(status)
        sent = {"Content-Type": "application/json", **(headers or {})}
        self._send(code, content.encode(), sent)

    def _send(self, code: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(code)
        known = {name.lower(): value for name, value in headers.items()}
        told = known.get("date")
        moment = parsedate_to_datetime(told).timestamp() if told else time.time()
        known["date"] = formatdate(moment + self.server.proxy.ahead, usegmt=True)
        known["content-length"] = str(len(content))
        for name, value in known.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
