"""HTTPS around the API: threads, TLS, bearer tokens, watch streams, injected faults."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from runner.lab.kube import api, credentials
from runner.lab.kube.accounts import TOKEN_REQUEST, Accounts
from runner.lab.kube.answers import Answer
from runner.lab.kube.authorization import authorize
from runner.lab.kube.failures import ApiFailure
from runner.lab.kube.faults import Fault, Faults
from runner.lab.kube.lists import Watch
from runner.lab.kube.requests import Request, target
from runner.lab.kube.store import Store


class ApiServer(ThreadingHTTPServer):
    """The API on one address; `start` to `stop`.

    Args:
        store: the objects it serves.
        folder: where certificate, tokens and kubeconfig lie.
        address: IP address to bind.
        port: 0 takes a free one.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, store: Store, folder: Path, address: str, port: int) -> None:
        self.store = store
        self.folder = folder
        self.faults = Faults()
        self.stopping = threading.Event()
        self.accounts = Accounts(folder)
        self._tls = credentials.server_context(folder, address)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        super().__init__((address, port), _Handler)

    @property
    def url(self) -> str:
        return f"https://{self.server_address[0]!s}:{self.server_address[1]}"

    def get_request(self) -> tuple[Any, Any]:
        connection, client = super().get_request()
        # The handshake happens at the first read, in the connection's own thread.
        secured = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.add(secured)
        return secured, client

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def start(self) -> Path:
        """Serve; returns the kubeconfig, written once connections are taken."""
        self._thread.start()
        return credentials.write_kubeconfigs(self.folder, self.url)

    def stop(self) -> None:
        """Take no more connections and break those that are open."""
        self.stopping.set()
        self.faults.clear()
        self.store.wake()
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: ApiServer

    def handle(self) -> None:
        with contextlib.suppress(ssl.SSLError, OSError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """No access log: the lab's log is for what went wrong."""

    def do_GET(self) -> None:
        """Every method is the API's to judge."""
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        fault = self.server.faults.take(self.command, path)
        if fault and not self._survive(fault):
            return
        try:
            answer = api.public(path) or self._answer(path, content)
        except ApiFailure as failure:
            answer = Answer(failure.code, failure.body(), failure.headers)
        if fault and fault.kind == "lose":
            self._break()
        elif isinstance(answer, Watch):
            self._follow(answer)
        else:
            self._send(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer(self, path: str, content: bytes) -> Answer | Watch:
        certificate = self.connection.getpeercert()
        authorization = self.headers.get("Authorization") or ""
        user = self.server.accounts.user(authorization, certificate)
        if other := self.headers.get("Impersonate-User"):
            user = self.server.accounts.impersonated(user, other)
        request = Request(
            self.command,
            path,
            user,
            dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)),
            (self.headers.get("Content-Type") or "").partition(";")[0].strip(),
            self.headers.get("Accept") or "",
            self.headers.get("User-Agent") or "",
            content,
        )
        if self.command == "POST" and TOKEN_REQUEST.fullmatch(path):
            authorize(self.server.store, target(path), request, "create")
            return Answer(201, self.server.accounts.issue(self.server.store, request))
        return api.answer(self.server.store, request)

    def _survive(self, fault: Fault) -> bool:
        """Carry out a fault; whether the request is still to be done."""
        if fault.kind == "status":
            reasons = {403: "Forbidden", 429: "TooManyRequests", 500: "InternalError"}
            reason = reasons.get(fault.code, "ServiceUnavailable")
            failure = ApiFailure(fault.code, reason, fault.message)
            self._send(Answer(fault.code, failure.body(), fault.headers))
        elif fault.kind == "hang":
            self.server.faults.hang()
            self._break()
        elif fault.kind == "drop":
            self._break()
        return fault.kind == "lose"

    def _break(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, answer: Answer) -> None:
        text = isinstance(answer.body, str)
        content = (str(answer.body) if text else json.dumps(answer.body)).encode()
        self.send_response(answer.code)
        type_ = "text/plain; charset=utf-8" if text else "application/json"
        headers = {"Content-Type": type_, "Content-Length": str(len(content)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _follow(self, watch: Watch) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for event in watch.events(self.server.store, self.server.stopping.is_set):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
