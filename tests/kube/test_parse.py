"""JSON of the API becomes plain state, or a ClusterError."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import ClusterError
from runner.facts.kubernetes import KUBERNETES
from runner.kube.parse import gpu_requests, is_gpu_resource, parse_node, parse_pod, quantity
from tests.kube.names import NS
from tests.kube.objects import pod, recorded, stored


def test_a_node_of_a_real_server() -> None:
    node = parse_node(recorded("node-get")[1])
    assert node.name == "orc-1"
    assert node.ready and not node.unschedulable
    assert node.allocatable["nvidia.com/gpu"] == "8"
    assert node.annotations == {"node.alpha.kubernetes.io/ttl": "0"}


def test_taints_read_as_kubectl_writes_them() -> None:
    taints = [
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        {"key": "dedicated", "value": "gpu", "effect": "NoExecute"},
    ]
    node = parse_node({"metadata": {"name": "n"}, "spec": {"taints": taints}})
    assert node.taints == (
        "node.kubernetes.io/unschedulable:NoSchedule",
        "dedicated=gpu:NoExecute",
    )
    assert not node.ready, "a node that says nothing of its readiness is not ready"


def test_a_pod_of_a_real_server() -> None:
    found = parse_pod(recorded("pod-list-by-node")[1]["items"][0])
    assert found.state.full_name == "gpu-tests/p1"
    assert found.state.gpu_requests == {"nvidia.com/gpu": 1}
    assert found.state.ready and not found.state.deleting
    assert found.state.owner_kind == ""
    assert found.grace == 30


def test_a_terminating_pod_of_a_real_server() -> None:
    assert parse_pod(recorded("pod-terminating")[1]).state.deleting


def test_what_is_no_pod_is_told_and_not_guessed() -> None:
    with pytest.raises(ClusterError, match="pod cannot be understood"):
        parse_pod({"metadata": {"name": "x"}})


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/gpu.shared", True),
        ("nvidia.com/mig-1g.10gb", True),
        ("nvidia.com/small-gpu", True),
        ("amd.com/gpu", True),
        ("nvidia.com/hostdev", False),
        ("rdma/hca_shared_devices_a", False),
        ("cpu", False),
        ("gpu", False),
        ("gpu.kubernetes.io/x", False),
    ],
)
def test_gpu_resources_by_name(name: str, gpu: bool) -> None:
    assert is_gpu_resource(name) is gpu


def container(number: object, name: str = "nvidia.com/gpu", **more: object) -> dict[str, Any]:
    return {"resources": {"limits": {name: number}}, **more}


def test_containers_add_up_and_the_largest_init_step_counts() -> None:
    spec = {"containers": [container("1"), container("2")], "initContainers": [container("4")]}
    assert gpu_requests(spec) == {"nvidia.com/gpu": 4}


def test_a_sidecar_stays_beside_the_others() -> None:
    spec = {
        "containers": [container("1")],
        "initContainers": [container("2", restartPolicy="Always")],
    }
    assert gpu_requests(spec) == {"nvidia.com/gpu": 3}


def test_zero_gpus_are_none() -> None:
    assert gpu_requests({"containers": [container("0")]}) == {}


def test_a_resource_claim_makes_a_gpu_pod_since_nothing_else_can_be_said() -> None:
    assert parse_pod(stored(pod("a", resourceClaims=[{"name": "gpu"}]))).claims == (f"{NS}/",)


@pytest.mark.parametrize(("text", "number"), [("8", 8), ("2k", 2000), ("1e3", 1000), ("1Ki", 1024)])
def test_quantities(text: str, number: int) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "eight", "0.5", "NaN", "1e99999999", "100m"])
def test_what_is_no_whole_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        quantity(text)


def test_the_fact_has_numbers_where_numbers_are() -> None:
    data = KUBERNETES.export(parse_node(recorded("node-get")[1]))
    assert data["allocatable"]["nvidia.com/gpu"] == 8
    assert data["allocatable"]["memory"] == "512Gi"
    assert data["pods"] == []
