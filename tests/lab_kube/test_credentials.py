"""From outside and from inside a cluster: every way to say who one is, over TLS.

The server is the lab's, whatever cluster other tests are about: certificates of clients need the
key of its authority, and tokens have to expire when the test says so.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.engine.clusters import Clusters
from runner.errors import ClusterError, Origin
from runner.inventory.model import Host
from runner.kube import kubeconfig as settings
from runner.kube.cluster import Cluster
from runner.kube.state import NodeState
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.credentials import client_certificate
from tests.lab_kube.credentials import kubeconfig_with


@pytest.fixture(scope="module")
def shared() -> Iterator[LabCluster]:
    """A cluster with a service account that may read nodes and pods."""
    with LabCluster(["gpu1"]) as lab:
        rules = [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}]
        lab.create({"kind": "Namespace", "metadata": {"name": "gpurun"}})
        account = {"name": "gpurun", "namespace": "gpurun"}
        lab.create({"kind": "ServiceAccount", "metadata": account})
        lab.create({"kind": "ClusterRole", "metadata": {"name": "look"}, "rules": rules})
        lab.create(
            {
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "look"},
                "roleRef": {"kind": "ClusterRole", "name": "look"},
                "subjects": [{"kind": "ServiceAccount", **account}],
            }
        )
        yield lab


@pytest.fixture
def lab(shared: LabCluster, quick: None, monkeypatch: pytest.MonkeyPatch) -> LabCluster:
    for name in ("KUBECONFIG", "HTTPS_PROXY", "https_proxy", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return shared


def token(lab: LabCluster) -> str:
    return lab.account("gpurun", "gpurun")


def reads(cluster: Cluster) -> bool:
    try:
        return set(cluster.read_nodes(["gpu1"])) == {"gpu1"}
    finally:
        cluster.close()


def test_a_token(lab: LabCluster, tmp_path: Path) -> None:
    assert reads(Cluster(kubeconfig_with(lab, tmp_path, token=token(lab))))


def test_an_expired_token_is_told_with_how_to_look(lab: LabCluster, tmp_path: Path) -> None:
    path = kubeconfig_with(lab, tmp_path, token=lab.account("gpurun", "gpurun", seconds=-1))
    with pytest.raises(ClusterError, match="Unauthorized") as caught:
        reads(Cluster(path))
    assert "auth whoami" in str(caught.value)


def test_a_token_file_beside_the_kubeconfig_is_read_again_when_it_was_renewed(
    lab: LabCluster, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(token(lab) + "\n")
    cluster = Cluster(kubeconfig_with(lab, tmp_path, tokenFile="token"))
    assert set(cluster.read_nodes(["gpu1"])) == {"gpu1"}
    lab.expire_tokens()
    (tmp_path / "token").write_text(token(lab) + "\n")
    assert reads(cluster)


@pytest.mark.parametrize("as_data", [True, False])
def test_a_client_certificate(lab: LabCluster, tmp_path: Path, as_data: bool) -> None:
    pem = client_certificate(lab.folder, "lab-reader")
    if as_data:
        encoded = base64.b64encode(pem.encode()).decode()
        user = {"client-certificate-data": encoded, "client-key-data": encoded}
    else:
        (tmp_path / "me.pem").write_text(pem)
        user = {"client-certificate": "me.pem", "client-key": "me.pem"}
    assert reads(Cluster(kubeconfig_with(lab, tmp_path, **user)))


def test_a_certificate_that_names_somebody_without_rights(lab: LabCluster, tmp_path: Path) -> None:
    (tmp_path / "me.pem").write_text(client_certificate(lab.folder, "nobody"))
    user = {"client-certificate": "me.pem", "client-key": "me.pem"}
    with pytest.raises(ClusterError, match='User "nobody" cannot list resource "nodes"'):
        reads(Cluster(kubeconfig_with(lab, tmp_path, **user)))


V1 = "client.authentication.k8s.io/v1"


@dataclass
class Plugin:
    """A credential plugin that prints what a test wants, and counts how often it was asked."""

    folder: Path
    command: str = "./plugin"

    def __post_init__(self) -> None:
        script = 'echo "$KUBERNETES_EXEC_INFO" >> "$0.asked"; cat "$0.json"\n'
        (self.folder / "plugin").write_text(f"#!/bin/sh\n{script}")
        (self.folder / "plugin").chmod(0o700)

    def gives(self, **status: Any) -> None:
        answer = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
        (self.folder / "plugin.json").write_text(json.dumps(answer))

    @property
    def asked(self) -> list[str]:
        return (self.folder / "plugin.asked").read_text().splitlines()

    def kubeconfig(self, lab: LabCluster, version: str = V1, **more: Any) -> Path:
        spec = {"apiVersion": version, "command": self.command, **more}
        return kubeconfig_with(lab, self.folder, exec=spec)


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def certificate(lab: LabCluster, user: str) -> dict[str, str]:
    """A client certificate of the lab's authority, as plugins give one."""
    pem = client_certificate(lab.folder, user)
    return {"clientCertificateData": pem, "clientKeyData": pem}


def in_minutes(minutes: int) -> str:
    return f"{datetime.now(UTC) + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("version", [V1, "client.authentication.k8s.io/v1beta1"])
def test_an_exec_plugin_is_asked_again_when_its_token_is_refused(
    lab: LabCluster, plugin: Plugin, version: str
) -> None:
    plugin.gives(token=token(lab))
    answer = plugin.folder / "plugin.json"
    answer.write_text(answer.read_text().replace(V1, version))
    cluster = Cluster(plugin.kubeconfig(lab, version))
    assert set(cluster.read_nodes(["gpu1"])) == {"gpu1"}
    assert set(cluster.read_nodes(["gpu1"])) == {"gpu1"}
    assert len(plugin.asked) == 1
    told = json.loads(plugin.asked[0])
    assert (told["apiVersion"], told["spec"]) == (version, {"interactive": False})
    lab.expire_tokens()
    plugin.gives(token=token(lab))
    answer.write_text(answer.read_text().replace(V1, version))
    assert reads(cluster)
    assert len(plugin.asked) == 2


def test_an_exec_plugin_may_give_a_client_certificate(lab: LabCluster, plugin: Plugin) -> None:
    plugin.gives(**certificate(lab, "lab-reader"), expirationTimestamp=in_minutes(5))
    cluster = Cluster(plugin.kubeconfig(lab))
    assert set(cluster.read_nodes(["gpu1"])) == {"gpu1"}
    assert reads(cluster)
    assert len(plugin.asked) == 1


def test_the_users_of_certificates_are_told_apart(lab: LabCluster, plugin: Plugin) -> None:
    plugin.gives(**certificate(lab, "nobody"))
    with pytest.raises(ClusterError, match='User "nobody" cannot list resource "nodes"'):
        reads(Cluster(plugin.kubeconfig(lab)))


def test_an_expired_certificate_is_replaced_before_it_is_used(
    lab: LabCluster, plugin: Plugin
) -> None:
    plugin.gives(**certificate(lab, "lab-reader"), expirationTimestamp=in_minutes(-1))
    cluster = Cluster(plugin.kubeconfig(lab))
    assert set(cluster.read_nodes(["gpu1"])) == {"gpu1"}
    plugin.gives(**certificate(lab, "nobody"), expirationTimestamp=in_minutes(5))
    with pytest.raises(ClusterError, match='User "nobody"'):
        reads(cluster)


def test_a_refused_token_is_replaced_by_a_certificate(lab: LabCluster, plugin: Plugin) -> None:
    plugin.gives(token="wrong")
    cluster = Cluster(plugin.kubeconfig(lab))
    with pytest.raises(ClusterError, match="Unauthorized"):
        cluster.read_nodes(["gpu1"])
    plugin.gives(**certificate(lab, "lab-reader"))
    assert reads(cluster)


def test_what_a_plugin_gave_lies_in_no_file_afterwards(
    lab: LabCluster, plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = tmp_path / "temporary"
    keep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(keep))
    plugin.gives(**certificate(lab, "lab-reader"))
    assert reads(Cluster(plugin.kubeconfig(lab)))
    assert list(keep.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, "neither a token nor a certificate"),
        ({"token": 1}, "no ExecCredential of"),
        ({"clientCertificateData": "x"}, "clientCertificateData and clientKeyData belong together"),
        ({"token": "x", "expirationTimestamp": "soon"}, "expirationTimestamp 'soon' is no time"),
        ({"clientCertificateData": "x", "clientKeyData": "y"}, "cannot be used"),
    ],
)
def test_what_is_no_credential_is_told(
    lab: LabCluster, plugin: Plugin, status: dict[str, Any], why: str
) -> None:
    plugin.gives(**status)
    with pytest.raises(ClusterError, match=why):
        reads(Cluster(plugin.kubeconfig(lab)))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("./missing", "no credentials: plugin ./missing: No such file"),
        ("false", "exit status 1"),
        ("true", "no ExecCredential"),
    ],
)
def test_a_plugin_that_fails_is_named_with_how_to_install_it(
    lab: LabCluster, plugin: Plugin, command: str, why: str
) -> None:
    plugin.command = command
    with pytest.raises(ClusterError, match=why) as caught:
        reads(Cluster(plugin.kubeconfig(lab, installHint="install it from example.com")))
    assert "example.com" in str(caught.value)


def test_a_plugin_of_an_unknown_version_is_not_run(lab: LabCluster, plugin: Plugin) -> None:
    plugin.gives(token="x")
    with pytest.raises(ClusterError, match=r"version client.authentication.k8s.io/v2 is not"):
        reads(Cluster(plugin.kubeconfig(lab, "client.authentication.k8s.io/v2")))
    assert not (plugin.folder / "plugin.asked").exists()


def test_a_context_is_chosen_by_name(lab: LabCluster, tmp_path: Path) -> None:
    path = kubeconfig_with(lab, tmp_path, token=token(lab))
    content = json.loads(path.read_text())
    content["contexts"].append({"name": "other", "context": {"cluster": "lab", "user": "them"}})
    content["users"].append({"name": "them", "user": {"token": "wrong"}})
    path.write_text(json.dumps(content))
    assert reads(Cluster(path, "lab"))
    with pytest.raises(ClusterError, match="Unauthorized"):
        reads(Cluster(path, "other"))


def test_another_authority_is_not_trusted(lab: LabCluster, tmp_path: Path) -> None:
    path = kubeconfig_with(lab, tmp_path, token=token(lab))
    with LabCluster() as other:
        (tmp_path / "ca.crt").write_bytes((other.folder / "ca.pem").read_bytes())
    with pytest.raises(ClusterError, match=r"(?i)certificate"):
        reads(Cluster(path))


class Proxy:
    """A proxy that tunnels (HTTP CONNECT) and notes where to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            target = head.split()[1].decode()
            self.asked.append(target)
            host, _, port = target.rpartition(":")
            server = socket.create_connection((host, int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for pair in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=pair, daemon=True).start()

    def close(self) -> None:
        self._listening.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        target.close()


def test_the_proxy_that_the_kubeconfig_names(lab: LabCluster, tmp_path: Path) -> None:
    path = kubeconfig_with(lab, tmp_path, token=token(lab))
    proxy = Proxy()
    content = json.loads(path.read_text())
    content["clusters"][0]["cluster"]["proxy-url"] = proxy.url
    path.write_text(json.dumps(content))
    assert reads(Cluster(path))
    assert proxy.asked == [lab.url.removeprefix("https://")]
    proxy.close()


@pytest.fixture
def pod(lab: LabCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a pod of that service account finds: no kubeconfig, but its token and authority."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(token(lab))
    (folder / "namespace").write_text("gpurun")
    (folder / "ca.crt").write_bytes((lab.folder / "ca.pem").read_bytes())
    host, _, port = lab.url.removeprefix("https://").rpartition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(settings, "SERVICE_ACCOUNT", folder)
    return folder


def hosts(**variables: Any) -> list[Host]:
    return [Host("gpu1", "192.0.2.1", Origin("hosts", 1, 1), variables=variables)]


def test_inside_a_cluster_nothing_has_to_be_configured(pod: Path, lab: LabCluster) -> None:
    clusters = Clusters(hosts())
    assert isinstance(clusters.node(hosts()[0]), NodeState)


def test_inside_a_cluster_the_token_is_read_again(pod: Path, lab: LabCluster) -> None:
    cluster = Cluster()
    assert set(cluster.read_nodes(["gpu1"])) == {"gpu1"}
    lab.expire_tokens()
    (pod / "token").write_text(token(lab))
    assert reads(cluster)


def test_a_kubeconfig_wins_over_the_service_account(
    pod: Path, lab: LabCluster, tmp_path: Path
) -> None:
    path = kubeconfig_with(lab, tmp_path / "mine", token="wrong")
    node = Clusters(hosts(kubeconfig=str(path))).node(hosts(kubeconfig=str(path))[0])
    assert "Unauthorized" in str(node)


def test_outside_of_a_cluster_nothing_is_taken_for_one(
    pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert Clusters(hosts()).node(hosts()[0]) is None
