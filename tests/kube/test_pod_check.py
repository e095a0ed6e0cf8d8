"""`pod_check`: run to its end, told, and always removed. The kubelet is the test's."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube.pod_check import LABELS, manifest
from runner.kube.state import NODE as PROBE
from runner.kube.state import CheckPod, NodeState
from runner.modules.base import Context
from runner.modules.pod_check import PodCheck, PodCheckArguments
from tests.kube.names import NODE, NS, OTHER
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World, path_of


@pytest.fixture(autouse=True)
def _node(world: World) -> None:
    world.node()


def action(**arguments: Any) -> CheckPod:
    given = {"image": "registry.invalid/x:1", "namespace": NS, "timeout": DEADLINE, **arguments}
    (wait,) = (
        PodCheck().plan(PodCheckArguments(**given), {PROBE: NodeState(NODE)}, Context(NODE)).waits
    )
    assert isinstance(wait, CheckPod)
    return wait


def run(world: World, **arguments: Any) -> Mapping[str, Any]:
    return world.cluster.perform(
        NODE,
        action(**arguments),
        since=datetime.now(UTC),
        progress=lambda text: None,
        stop=threading.Event(),
        run="run-1",
    )


def ends(world: World, phase: str, rc: int = 0, log: str = "", **more: Any) -> list[Any]:
    """Let the kubelet run check pods to this end; those that it ran."""
    ran: list[Any] = []

    def start(item: Mapping[str, Any]) -> Mapping[str, Any]:
        ran.append(item)
        world.proxy.logs[path_of("Pod", NS, item["metadata"]["name"]) + "/log"] = log
        ended = {"terminated": {"exitCode": rc, "containerID": "containerd://1"}}
        return {"phase": phase, "containerStatuses": [state(ended)], **more}

    world.starts = start
    world.kubelet()
    return ran


def state(now: Mapping[str, Any]) -> Mapping[str, Any]:
    image = "registry.invalid/x:1"
    return {
        "name": "check",
        "state": now,
        "ready": False,
        "restartCount": 0,
        "image": image,
        "imageID": image,
    }


def left(world: World) -> list[str]:
    labels = ",".join(f"{key}={text}" for key, text in LABELS.items())
    return [item["metadata"]["name"] for item in world.found("Pod", labels=labels)]


def test_what_it_printed_is_kept_and_the_pod_is_gone(world: World) -> None:
    ends(world, "Succeeded", log="{{ evil }} here\n")
    told = run(world, command=["echo", "{{ evil }}", "here"])
    assert (told["rc"], told["stdout"]) == (0, "{{ evil }} here")
    assert told["stdout_lines"] == ["{{ evil }} here"]
    assert left(world) == []


def test_it_runs_on_a_cordoned_and_tainted_node_with_the_gpus_asked_for(world: World) -> None:
    world.cordon()
    taints = [{"key": "example.com/repair", "effect": "NoExecute"}]
    world.change("Node", NODE, spec={"taints": taints})
    ran = ends(world, "Succeeded", log="GPU 0: simulated\n")
    assert run(world, command=["nvidia-smi", "-L"], gpus=1)["stdout"].startswith("GPU 0: ")
    spec = ran[0]["spec"]
    assert spec["nodeName"] == NODE
    assert spec["containers"][0]["resources"]["requests"] == {"nvidia.com/gpu": "1"}


def test_a_command_that_fails_is_told_with_its_exit_code_and_output(world: World) -> None:
    ends(world, "Failed", rc=1, log="no devices were found")
    with pytest.raises(ClusterError, match="exit code 1: no devices were found"):
        run(world, command=["false"])
    assert left(world) == []


def test_a_pod_that_the_kubelet_does_not_admit(world: World) -> None:
    ends(world, "Failed", reason="UnexpectedAdmissionError", message="Available: 1")
    with pytest.raises(ClusterError, match="UnexpectedAdmissionError: Available: 1"):
        run(world, command=["true"], gpus=3)
    assert left(world) == []


def test_an_image_that_cannot_be_pulled(world: World) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    world.starts = lambda item: {"phase": "Pending", "containerStatuses": [state(waiting)]}
    world.kubelet()
    with pytest.raises(ClusterError, match="cannot start: ImagePullBackOff: not found"):
        run(world, command=["true"])
    assert left(world) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"runtime_class": "gpurun-test-none"}, 'RuntimeClass "gpurun-test-none" not found'),
        ({"namespace": "gpurun-test-none"}, 'namespaces "gpurun-test-none" not found'),
    ],
)
def test_what_the_server_refuses(world: World, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        run(world, command=["true"], **arguments)
    assert left(world) == []


def test_one_that_does_not_end_in_time(world: World) -> None:
    ends(world, "Running")
    with pytest.raises(ClusterError, match="not after 1 s"):
        run(world, command=["sleep", "600"], timeout=1)
    assert left(world) == []


def test_a_pod_that_a_killed_run_left_is_removed_by_the_next(world: World) -> None:
    world.node(2)
    for node in (NODE, OTHER):
        earlier = manifest(node, action(command=["sleep", "600"]), "run-0")
        world.create("Pod", {"metadata": earlier["metadata"], "spec": earlier["spec"]})
    assert len(left(world)) == 2
    ends(world, "Succeeded")
    run(world, command=["true"])
    assert len(left(world)) == 1, "what runs on another node is another run's"


def test_other_pods_of_the_node_are_left_alone(world: World) -> None:
    before = world.pod(pod("train", gpus=1))["metadata"]["uid"]
    ends(world, "Failed", reason="UnexpectedAdmissionError", message="Available: 1")
    with pytest.raises(ClusterError, match="Available: 1"):
        run(world, command=["true"], gpus=8)
    assert world.get("Pod", "train")["metadata"]["uid"] == before


@pytest.mark.parametrize(
    ("phase", "rc", "words"),
    [
        ("Failed", 3, r"failed on .*: exit code 3: \(its log cannot be read: dial tcp: timeout\)"),
        ("Succeeded", 0, "succeeded, but what it printed cannot be read: dial tcp: timeout"),
    ],
)
def test_a_log_that_the_node_does_not_give_hides_no_verdict(
    world: World, phase: str, rc: int, words: str
) -> None:
    ends(world, phase, rc=rc)
    world.fault(code=500, path="/log$", message="dial tcp: timeout", count=None)
    with pytest.raises(ClusterError, match=words):
        run(world, command=["true"])
    assert left(world) == []
