"""What the proxy counts, between plain sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from benchmarks.counting_proxy import CountingProxy, Counts

PATIENCE = 60.0


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        yield listening


@pytest.mark.parametrize("delay", [0.0, 0.005])
def test_a_turn_is_a_question_after_an_answer(server: socket.socket, delay: float) -> None:
    with CountingProxy("127.0.0.1", server.getsockname()[1], delay=delay) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
        answering, _ = server.accept()
        answering.settimeout(PATIENCE)
        with client, answering:
            for question, answer in ((b"one", b"1"), (b"three", b"333")):
                client.sendall(question)
                assert read(answering, len(question)) == question
                answering.sendall(answer)
                assert read(client, len(answer)) == answer
        assert proxy.counts == Counts(turns=2, sent=8, received=4, connections=1)
        proxy.reset()
        assert proxy.counts == Counts()


def test_the_servers_greeting_is_no_turn(server: socket.socket) -> None:
    with CountingProxy("127.0.0.1", server.getsockname()[1]) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
        answering, _ = server.accept()
        answering.settimeout(PATIENCE)
        with client, answering:
            client.sendall(b"SSH-2.0-client\r\n")
            read(answering, 16)
            answering.sendall(b"SSH-2.0-server\r\n")
            read(client, 16)
            client.sendall(b"keys")
            read(answering, 4)
        assert proxy.counts.turns == 1


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, "the other side hung up"
        data += piece
    return data
