"""The playbook `node-return`: a node that somebody left cordoned, proven and given back."""

from __future__ import annotations

from runner.kube.maintenance import RUN
from tests.cluster_playbooks.world import World


def cordoned(world: World, node: str) -> bool:
    return bool(world.node(node)["spec"].get("unschedulable"))


def test_given_back_and_who_had_it_is_said(world: World) -> None:
    world.cordon("gpu1")
    ended, told = world.run("node-return.yaml")
    assert ended == {"changed", "ok"}, told
    assert "cordoned by kubectl-cordon since 20" in told, told
    assert not cordoned(world, "gpu1")
    assert world.run("node-return.yaml")[0] == {"ok"}


def test_a_node_that_offers_less_than_it_has_stays_cordoned(world: World) -> None:
    world.cordon("gpu1")
    world.lab.edit(
        "Node",
        "gpu1",
        lambda item: {
            **item,
            "status": {
                **item["status"],
                "allocatable": {**item["status"]["allocatable"], "nvidia.com/gpu": "1"},
            },
        },
    )
    ended, told = world.run("node-return.yaml", only="gpu1")
    assert ended == {"denied"} and "device-plugin-restart.yaml" in told, told
    assert cordoned(world, "gpu1")


def test_what_a_run_or_another_program_holds_is_refused(world: World) -> None:
    world.cordon("gpu1", annotations={RUN: "run-0"})
    world.cordon("gpu2", labels={"k8saas.nvidia.com/cordon-by": "nvsentinel"})
    ended, told = world.run("node-return.yaml")
    assert ended == {"denied"}, told
    assert "gpurun resume run-0" in told
    assert "held by another program (k8saas.nvidia.com/cordon-by)" in told
    assert cordoned(world, "gpu1") and cordoned(world, "gpu2")


def test_only_after_a_pod_has_seen_a_gpu(world: World) -> None:
    world.cordon("gpu1")
    image = "nvcr.io/nvidia/cuda:12.4.1-base-ubuntu22.04"
    ended, told = world.run("node-return.yaml", only="gpu1", check_image=image)
    assert ended == {"changed"}, told
    assert told.index("starting pod") < told.index("removing pod") < told.index("uncordoned gpu1")
    assert not [pod for pod in world.lab.pods_on("gpu1") if "gpurun-check" in str(pod["metadata"])]


def test_a_node_whose_gpus_are_all_in_use_needs_no_such_pod(world: World) -> None:
    for number in range(2):
        spec = {
            "containers": [
                {"name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
            ]
        }
        world.lab.create(
            {
                "kind": "Pod",
                "metadata": {"name": f"busy-{number}"},
                "spec": {**spec, "nodeName": "gpu1"},
            }
        )
    world.cordon("gpu1")
    ended, told = world.run("node-return.yaml", only="gpu1", check_image="cuda:12")
    assert ended == {"denied"} and "pods use every nvidia.com/gpu" in told, told
    assert world.run("node-return.yaml", only="gpu1")[0] == {"changed"}


def test_an_image_that_cannot_be_pulled_leaves_it_cordoned(world: World) -> None:
    world.cordon("gpu1")
    ended, told = world.run("node-return.yaml", only="gpu1", check_image="registry.invalid/cuda:1")
    assert ended == {"failed"} and "ImagePullBackOff" in told, told
    assert cordoned(world, "gpu1")
    assert not [pod for pod in world.lab.pods_on("gpu1") if "gpurun-check" in str(pod["metadata"])]
