"""The connection: every way it can fail ends in one sentence with the server and the question."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import api as api_module
from runner.kube.api import Api, RefusalError, SilenceError, UnservedError
from runner.kube.cluster import Cluster
from tests.kube.objects import recorded


class Canned(ThreadingHTTPServer):
    """Gives its answers one after the other, the last for ever; None closes the connection."""

    def __init__(self, *answers: tuple[int, bytes] | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Canned

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer[0])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer[1])))
        self.end_headers()
        self.wfile.write(answer[1])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "RETRY_DELAYS", (0.01, 0.01, 0.01))


@pytest.fixture
def canned() -> Iterator[Any]:
    servers: list[Canned] = []

    def start(*answers: tuple[int, bytes] | None) -> Canned:
        servers.append(Canned(*answers))
        Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def kubeconfig(folder: Path, server: str, **user: Any) -> Path:
    path = folder / "config"
    text = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "prod",
    }
    path.write_text(json.dumps(text))
    return path


def body(answer: object) -> bytes:
    return json.dumps(answer).encode()


def real(name: str) -> tuple[int, bytes]:
    status, answer = recorded(name)
    return status, body(answer)


def test_nothing_is_contacted_or_read_before_the_first_question(tmp_path: Path) -> None:
    Cluster(tmp_path / "missing")


def test_a_server_that_is_down_is_named_with_the_question(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        cluster = Cluster(kubeconfig(tmp_path, url))
        with pytest.raises(SilenceError) as caught:
            cluster.read_nodes(["gpu-1"])
    assert caught.value.message.startswith(f"{url}: list nodes: ")
    assert "prod" in caught.value.hint


def test_refused_credentials(tmp_path: Path, canned: Any) -> None:
    server = canned(real("unauthenticated"))
    with pytest.raises(RefusalError) as caught:
        Cluster(kubeconfig(tmp_path, server.url)).read_nodes(["gpu-1"])
    assert caught.value.code == 401
    assert caught.value.message == f"{server.url}: list nodes: Unauthorized"
    assert "auth whoami" in caught.value.hint


def test_a_missing_permission(tmp_path: Path, canned: Any) -> None:
    server = canned(real("forbidden-list-nodes"))
    with pytest.raises(RefusalError, match='cannot list resource "nodes"') as caught:
        Cluster(kubeconfig(tmp_path, server.url)).read_nodes(["gpu-1"])
    assert "auth can-i" in caught.value.hint
    assert len(server.asked) == 1, "asking again would not help"


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>It works!</html>"),
        (200, b""),
        (200, b"[1, 2]"),
        (200, b'{"kind": "NodeList"}'),
        (200, b'{"items": {"a": 1}}'),
        (200, b'{"items": [{"kind": "Node"}]}'),
        (404, b"not found"),
        (500, b"\x00\xff"),
    ],
)
def test_what_is_no_api_server_is_told(
    tmp_path: Path, canned: Any, answer: tuple[int, bytes]
) -> None:
    server = canned(answer)
    with pytest.raises(ClusterError, match=r"is this a Kubernetes API server"):
        Cluster(kubeconfig(tmp_path, server.url)).read_nodes(["gpu-1"])


def test_a_path_that_is_not_served_is_no_answer_about_an_object(
    tmp_path: Path, canned: Any
) -> None:
    """What stands before an API server may answer so too: no pod is gone because of it."""
    server = canned((404, b"404 page not found\n"))
    with pytest.raises(UnservedError, match=r"(?s)404 page not found.*is this a Kubernetes API"):
        Api(kubeconfig(tmp_path, server.url)).get("/apis/x.dev/v1", "discover x.dev/v1")
    assert len(server.asked) == 1, "asking again would not help"


def test_control_characters_of_an_answer_are_not_passed_on(tmp_path: Path, canned: Any) -> None:
    said = {"kind": "Status", "message": "no\x1b[31m entry\x07", "code": 403}
    server = canned((403, body(said)))
    with pytest.raises(RefusalError) as caught:
        Cluster(kubeconfig(tmp_path, server.url)).read_nodes(["gpu-1"])
    assert "\x1b" not in str(caught.value) and "\x07" not in str(caught.value)


def test_a_read_is_asked_again_when_the_connection_breaks(tmp_path: Path, canned: Any) -> None:
    server = canned(None, (503, b"busy"), real("node-get"))
    api = Api(kubeconfig(tmp_path, server.url))
    assert api.get("/api/v1/nodes/orc-1", "read node")["metadata"]["name"] == "orc-1"
    assert len(server.asked) == 3


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_stays_busy_is_as_good_as_silent(
    tmp_path: Path, canned: Any, code: int
) -> None:
    said = {"kind": "Status", "message": "etcdserver: leader changed", "code": code}
    server = canned((code, body(said)))
    with pytest.raises(SilenceError, match="leader changed"):
        Api(kubeconfig(tmp_path, server.url)).get("/api/v1/nodes/n", "read node n")
    assert len(server.asked) == 4


def test_a_long_list_is_read_page_by_page(tmp_path: Path, canned: Any) -> None:
    pages = [
        (200, body({"items": [{"n": 1}], "metadata": {"continue": "t"}})),
        (200, body({"items": [{"n": 2}], "metadata": {}})),
    ]
    server = canned(*pages)
    found = Api(kubeconfig(tmp_path, server.url)).collection("/api/v1/pods", "list pods")
    assert [item["n"] for item in found] == [1, 2]
    assert server.asked == ["/api/v1/pods?limit=500", "/api/v1/pods?limit=500&continue=t"]


def test_a_list_that_expires_between_pages_is_read_anew(tmp_path: Path, canned: Any) -> None:
    expired = {"kind": "Status", "reason": "Expired", "message": "too old", "code": 410}
    server = canned(
        (200, body({"items": [{"n": 1}], "metadata": {"continue": "t"}})),
        (410, body(expired)),
        (200, body({"items": [{"n": 2}], "metadata": {}})),
    )
    found = Api(kubeconfig(tmp_path, server.url)).collection("/api/v1/pods", "list pods")
    assert [item["n"] for item in found] == [2]


def test_read_nodes_asks_twice_whatever_the_number_of_nodes(tmp_path: Path, canned: Any) -> None:
    nodes = [{"metadata": {"name": f"n{i}"}} for i in range(300)]
    server = canned((200, body({"items": nodes})), (200, body({"items": []})))
    found = Cluster(kubeconfig(tmp_path, server.url)).read_nodes([f"n{i}" for i in range(200)])
    assert len(found) == 200
    assert len(server.asked) == 2


def test_one_node_is_asked_for_by_name(tmp_path: Path, canned: Any) -> None:
    server = canned((200, body({"items": []})))
    assert Cluster(kubeconfig(tmp_path, server.url)).read_nodes(["n1"]) == {}
    assert "fieldSelector=metadata.name%3Dn1" in server.asked[0]
    assert "fieldSelector=spec.nodeName%3Dn1" in server.asked[1]


def test_no_names_ask_nothing(tmp_path: Path) -> None:
    assert Cluster(tmp_path / "missing").read_nodes([]) == {}


def test_a_missing_kubeconfig_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="no such kubeconfig"):
        Cluster(tmp_path / "missing").read_nodes(["n"])
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "elsewhere"))
    with pytest.raises(ClusterError, match="elsewhere: no such kubeconfig"):
        Cluster().read_nodes(["n"])


def test_several_files_in_the_environment_are_not_guessed_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/a:/b")
    with pytest.raises(ClusterError, match="several files"):
        Cluster().read_nodes(["n"])


@pytest.mark.parametrize("text", ["", "[]", "{", "clusters: 3", "a: b"])
def test_a_broken_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(ClusterError, match=f"{path}: "):
        Cluster(path).read_nodes(["n"])


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(ClusterError, match="'staging' not found"):
        Cluster(path, "staging").read_nodes(["n"])


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_token_from_an_exec_plugin(tmp_path: Path, canned: Any, version: str) -> None:
    server = canned((200, body({"items": []})))
    plugin = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": "echo",
        "args": ['{"status": {"token": "t"}}'],
    }
    assert Cluster(kubeconfig(tmp_path, server.url, exec=plugin)).read_nodes(["n"]) == {}


@pytest.mark.parametrize("command", ["false", "/no/such/plugin", "echo"])
def test_an_exec_plugin_that_fails_is_told(tmp_path: Path, canned: Any, command: str) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": command}
    path = kubeconfig(tmp_path, canned((200, b"{}")).url, exec=plugin)
    with pytest.raises(ClusterError, match="no credentials"):
        Cluster(path).read_nodes(["n"])
