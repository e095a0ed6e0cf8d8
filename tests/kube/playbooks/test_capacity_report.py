"""The playbook `capacity-report`: what it says, and that it changes nothing."""

from __future__ import annotations

from tests.kube.names import OTHER
from tests.kube.playbooks.stage import Stage


def test_offered_used_and_free_of_each_node(stage: Stage) -> None:
    stage.deployment("trainer", 2, gpus=1)
    stage.cordon(OTHER)
    ended, told = stage.run("capacity-report.yaml")
    assert ended == {"ok"}, told
    for node in stage.hosts:
        used = sum("trainer" in pod["metadata"]["name"] for pod in stage.on(node))
        product = stage.node(node)["metadata"]["labels"]["nvidia.com/gpu.product"]
        assert f"{product}: 2 nvidia.com/gpu allocatable, {used} used, {2 - used} free" in told
    assert "(takes no pods: cordoned)" in told
    assert stage.world.written == []
