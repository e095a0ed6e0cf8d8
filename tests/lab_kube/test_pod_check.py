"""`pod_check` among the lab's kubelets, which run its command on simulated GPUs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.errors import ClusterError
from runner.kube.cluster import Cluster
from runner.kube.pod_check import LABELS, judged, manifest
from runner.kube.state import NODE, CheckPod, NodeState
from runner.lab import gpu
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.nodes import SimulatedNode
from runner.lab.kube.seed import deployment
from runner.modules.base import Context
from runner.modules.pod_check import PodCheck, PodCheckArguments
from tests.kube.world import DEADLINE


@pytest.fixture
def lab(quick: None, tmp_path: Path) -> Iterator[LabCluster]:
    gpu.create(tmp_path / "gpu1", "A100-40", 2, "550.90.07")
    nodes = [
        SimulatedNode("gpu1", root=str(tmp_path / "gpu1"), count=2),
        SimulatedNode("gpu2", count=0),
    ]
    with LabCluster(nodes) as lab:
        yield lab


@pytest.fixture
def cluster(lab: LabCluster) -> Iterator[Cluster]:
    cluster = Cluster(lab.kubeconfig)
    yield cluster
    cluster.close()


def action(**arguments: Any) -> CheckPod:
    args = PodCheckArguments(**{"image": "busybox:1", "timeout": DEADLINE, **arguments})
    (wait,) = PodCheck().plan(args, {NODE: NodeState("gpu1")}, Context("gpu1")).waits
    assert isinstance(wait, CheckPod)
    return wait


def run(cluster: Cluster, **arguments: Any) -> Mapping[str, Any]:
    return cluster.perform(
        "gpu1",
        action(**arguments),
        since=datetime.now(UTC),
        progress=lambda text: None,
        stop=threading.Event(),
        run="run-1",
    )


def left(lab: LabCluster) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in lab.list("Pod")
        if LABELS.items() <= (pod["metadata"].get("labels") or {}).items()
    ]


def test_what_it_printed_is_kept_and_the_pod_is_gone(lab: LabCluster, cluster: Cluster) -> None:
    told = run(cluster, command=["echo", "{{ evil }}", "here"])
    assert (told["rc"], told["stdout"]) == (0, "{{ evil }} here")
    assert told["stdout_lines"] == ["{{ evil }} here"]
    assert left(lab) == []


def test_it_sees_only_its_own_gpu_also_on_a_cordoned_and_tainted_node(
    lab: LabCluster, cluster: Cluster
) -> None:
    taint = {"key": "repair", "effect": "NoExecute"}
    spec = {"unschedulable": True, "taints": [taint]}
    lab.edit("Node", "gpu1", lambda item: {**item, "spec": {**item["spec"], **spec}})
    told = run(cluster, command=["nvidia-smi", "-L"], gpus=1)
    assert len(told["stdout_lines"]) == 1 and told["stdout"].startswith("GPU 0: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"command": ["false"]}, "exit code 1"),
        ({"command": ["nvidia-smi"]}, "exit code 128"),
        ({"image": "registry.invalid/x:1"}, "cannot start: ImagePullBackOff"),
        ({"command": ["true"], "gpus": 3}, "UnexpectedAdmissionError"),
        ({"command": ["true"], "runtime_class": "none"}, 'RuntimeClass "none" not found'),
        ({"command": ["true"], "namespace": "nowhere"}, 'namespaces "nowhere" not found'),
    ],
)
def test_failures_say_why_and_leave_nothing(
    lab: LabCluster, cluster: Cluster, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClusterError, match=words):
        run(cluster, **arguments)
    assert left(lab) == []


def test_one_that_does_not_end_in_time(lab: LabCluster, cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"not after 1 s|DeadlineExceeded"):
        run(cluster, command=["sleep", "600"], timeout=1)
    assert left(lab) == []


def test_a_pod_that_a_killed_run_left_is_removed_by_the_next(
    lab: LabCluster, cluster: Cluster
) -> None:
    earlier = manifest("gpu1", action(command=["sleep", "600"], gpus=2), "run-0")
    assert earlier["spec"]["activeDeadlineSeconds"] == DEADLINE
    lab.create(dict(earlier))
    lab.create(dict(manifest("gpu2", action(command=["sleep", "600"]), "run-0")))
    lab.settle()
    assert len(left(lab)) == 2
    run(cluster, command=["nvidia-smi", "-L"], gpus=2)
    assert len(left(lab)) == 1, "what runs on another node is another run's"


def test_other_pods_of_the_node_are_left_alone(lab: LabCluster, cluster: Cluster) -> None:
    lab.create(deployment("trainer", 1, gpus=1))
    lab.settle()
    before = [pod["metadata"]["uid"] for pod in lab.list("Pod")]
    with pytest.raises(ClusterError, match="Available: 1"):
        run(cluster, command=["true"], gpus=2)
    assert [pod["metadata"]["uid"] for pod in lab.list("Pod")] == before


def test_a_shell_line_is_refused_for_a_command() -> None:
    with pytest.raises(ValidationError, match=r"\[nvidia-smi, -L\]"):
        PodCheckArguments.model_validate({"image": "x", "command": "nvidia-smi -L"})


def test_a_failed_pod_without_any_word() -> None:
    with pytest.raises(ClusterError, match="its containers did not start"):
        judged("a/b", "gpu1", {"status": {"phase": "Failed"}}, "")
