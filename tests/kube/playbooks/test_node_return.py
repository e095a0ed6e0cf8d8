"""The playbook `node-return`: a node that somebody left cordoned, proven and given back."""

from __future__ import annotations

from runner.kube.maintenance import RUN
from tests.kube.names import NODE, OTHER
from tests.kube.playbooks.stage import GPU, Stage

RETURN = "node-return.yaml"


def cordoned(stage: Stage, node: str) -> bool:
    return bool(stage.node(node)["spec"].get("unschedulable"))


def checks(stage: Stage) -> list[str]:
    """Pods that were to see a GPU, and are still there."""
    pods = stage.world.found("Pod", "default", labels="app.kubernetes.io/name=gpurun-pod-check")
    return [pod["metadata"]["name"] for pod in pods if pod["spec"]["nodeName"] == NODE]


def test_given_back_and_who_had_it_is_said(stage: Stage) -> None:
    stage.cordon(NODE)
    ended, told = stage.run(RETURN)
    assert ended == {"changed", "ok"}, told
    assert "cordoned by kubectl-cordon since 20" in told, told
    assert not cordoned(stage, NODE)
    assert stage.run(RETURN)[0] == {"ok"}


def test_a_node_that_offers_less_than_it_has_stays_cordoned(stage: Stage) -> None:
    stage.cordon(NODE)
    stage.world.change("Node", NODE, status={"allocatable": {GPU: "1"}})
    ended, told = stage.run(RETURN, only=NODE)
    assert ended == {"denied"} and "device-plugin-restart.yaml" in told, told
    assert cordoned(stage, NODE)


def test_what_a_run_or_another_program_holds_is_refused(stage: Stage) -> None:
    stage.cordon(NODE, annotations={RUN: "run-0"})
    stage.cordon(OTHER, labels={"k8saas.nvidia.com/cordon-by": "nvsentinel"})
    ended, told = stage.run(RETURN)
    assert ended == {"denied"}, told
    assert "gpurun resume run-0" in told
    assert "held by another program (k8saas.nvidia.com/cordon-by)" in told
    assert cordoned(stage, NODE) and cordoned(stage, OTHER)


def test_only_after_a_pod_has_seen_a_gpu(stage: Stage) -> None:
    stage.cordon(NODE)
    image = "nvcr.io/nvidia/cuda:12.4.1-base-ubuntu22.04"
    ended, told = stage.run(RETURN, only=NODE, check_image=image)
    assert ended == {"changed"}, told
    uncordoned = told.index(f"uncordoned {NODE}")
    assert told.index("starting pod") < told.index("removing pod") < uncordoned
    assert checks(stage) == []


def test_a_node_whose_gpus_are_all_in_use_needs_no_such_pod(stage: Stage) -> None:
    for number in range(2):
        stage.pod(f"busy-{number}", gpus=1)
    stage.cordon(NODE)
    ended, told = stage.run(RETURN, only=NODE, check_image="cuda:12")
    assert ended == {"denied"} and "pods use every nvidia.com/gpu" in told, told
    assert stage.run(RETURN, only=NODE)[0] == {"changed"}


def test_an_image_that_cannot_be_pulled_leaves_it_cordoned(stage: Stage) -> None:
    stage.cordon(NODE)
    ended, told = stage.run(RETURN, only=NODE, check_image="registry.invalid/cuda:1")
    assert ended == {"failed"} and "ImagePullBackOff" in told, told
    assert cordoned(stage, NODE) and checks(stage) == []
