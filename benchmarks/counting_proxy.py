"""A TCP proxy that counts bytes and turns of direction, may delay both ways, and can cut.

Stands alone: `python -m benchmarks.counting_proxy LISTEN_PORT HOST PORT [DELAY_MS]` serves until
interrupted and prints the counts of every connection when it ends.

A *turn* is counted whenever the client sends after the server has sent: on a line with delay every
turn costs one round trip. The TCP handshake ends at the proxy and is not counted, nor is the
server's identification line, which no server waits to send (RFC 4253, 4.2) and which so crosses
the client's: counting it would make the number depend on who is quicker.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass
class Counts:
    """Of all connections since the last reset."""

    turns: int = 0
    sent: int = 0
    """Bytes from client to server."""
    received: int = 0
    connections: int = 0


class CountingProxy:
    """Listens on 127.0.0.1 and forwards every connection.

    Args:
        host, port: where to.
        delay: seconds that every piece waits, each way.
        listen: port to listen on; 0: any free one.
    """

    def __init__(self, host: str, port: int, *, delay: float = 0.0, listen: int = 0) -> None:
        self._target = (host, port)
        self._delay = delay
        self._lock = threading.Lock()
        self._last: dict[int, str] = {}
        self._sockets: list[socket.socket] = []
        self.counts = Counts()
        self.cut_when: Callable[[bytes], bool] | None = None
        """Asked with each piece from the server; true cuts all connections before it is passed."""
        self._server = socket.create_server(("127.0.0.1", listen))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def reset(self) -> None:
        """Counts from nothing again."""
        with self._lock:
            self.counts = Counts()

    def cut(self) -> None:
        """Breaks all connections; new ones are still taken."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def close(self) -> None:
        """Stops listening and breaks all connections."""
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [client, server]
                self.counts.connections += 1
            number = id(client)
            self._pump(client, server, number, "up")
            self._pump(server, client, number, "down")

    def _pump(self, source: socket.socket, target: socket.socket, number: int, way: str) -> None:
        pieces: queue.Queue[tuple[float, bytes]] = queue.Queue()

        def read() -> None:
            while True:
                try:
                    data = source.recv(65536)
                except OSError:
                    data = b""
                pieces.put((time.monotonic() + self._delay, data))
                if not data:
                    return

        def write() -> None:
            while True:
                due, data = pieces.get()
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    if way == "down" and self.cut_when and self.cut_when(data):
                        self.cut()
                        return
                    self._count(number, way, data)
                    target.sendall(data)
                except OSError:
                    return

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=write, daemon=True).start()

    def _count(self, number: int, way: str, data: bytes) -> None:
        identification = data.startswith(b"SSH-2.0-") and data.find(b"\n") == len(data) - 1
        with self._lock:
            if way == "up":
                self.counts.sent += len(data)
                self.counts.turns += self._last.get(number) != "up"
            else:
                self.counts.received += len(data)
            if not (identification and way == "down"):
                self._last[number] = way


def _main(arguments: list[str]) -> None:
    listen, host, port, *delay = arguments
    proxy = CountingProxy(
        host, int(port), listen=int(listen), delay=float(delay[0]) / 1000 if delay else 0.0
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(proxy.counts)


if __name__ == "__main__":
    _main(sys.argv[1:])
