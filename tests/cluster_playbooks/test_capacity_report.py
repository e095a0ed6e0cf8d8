"""The playbook `capacity-report`: what it says, and that it changes nothing."""

from __future__ import annotations

from tests.cluster_playbooks.world import World


def test_offered_used_and_free_of_each_node(world: World) -> None:
    world.cordon("gpu2")
    version = world.lab.store.version
    ended, told = world.run("capacity-report.yaml")
    assert ended == {"ok"}, told
    used = {
        node: sum("trainer" in p["metadata"]["name"] for p in world.lab.pods_on(node))
        + sum("inference" in p["metadata"]["name"] for p in world.lab.pods_on(node))
        for node in world.hosts
    }
    assert sum(used.values()), "the lab has pods that use GPUs"
    for node, count in used.items():
        product = world.node(node)["metadata"]["labels"]["nvidia.com/gpu.product"]
        assert f"{product}: 2 nvidia.com/gpu allocatable, {count} used, {2 - count} free" in told
    assert "(takes no pods: cordoned)" in told
    assert world.lab.store.version == version
