"""Node readiness follows whether port 22 of its address answers."""

from __future__ import annotations

import socket

import pytest

from runner.lab.kube import LabCluster, SimulatedNode, controllers


def test_a_node_that_stops_answering_is_lost_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ready(cluster: LabCluster) -> str:
        cluster.probe()
        node = cluster.get("Node", "gpu1")
        assert node
        conditions = {entry["type"]: entry["status"] for entry in node["status"]["conditions"]}
        return str(conditions["Ready"])

    def listen(port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), reuse_port=True)

    listening = listen(0)
    port = listening.getsockname()[1]
    monkeypatch.setattr(controllers, "_SSH", port)
    with LabCluster([SimulatedNode("gpu1", address="127.0.0.1")]) as cluster:
        assert ready(cluster) == "True"
        listening.close()
        assert ready(cluster) == "Unknown"
        cluster.settle()
        node = cluster.get("Node", "gpu1")
        assert node
        assert node["spec"]["taints"][0]["key"] == "node.kubernetes.io/unreachable"
        with listen(port):
            assert ready(cluster) == "True"
            cluster.settle()
        node = cluster.get("Node", "gpu1")
        assert node
        assert "taints" not in node["spec"]
