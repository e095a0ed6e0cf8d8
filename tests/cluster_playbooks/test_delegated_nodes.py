"""A task that is delegated to a node of the cluster: that node's Lease is held meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.kube.cluster import Cluster
from runner.kube.lock import NodeLock
from tests.cluster_playbooks.world import World


@pytest.fixture
def playbook(tmp_path: Path) -> str:
    path = tmp_path / "delegates.yaml"
    path.write_text(
        "- name: delegates\n  hosts: gpu1\n  tasks:\n"
        f"    - shell: echo x >> {tmp_path}/there\n      delegate_to: gpu2\n"
    )
    return str(path)


def test_the_lease_is_taken_and_let_go(world: World, playbook: str) -> None:
    ended, told = world.run(playbook)
    assert ended == {"changed"}, told
    for node in world.hosts:
        lease = world.lab.get("Lease", f"gpurun-{node}", "kube-system")
        assert lease is not None, f"{node} was locked"
        assert lease["metadata"]["annotations"]["gpurun.dev/run"] == "run-1"
        assert "holderIdentity" not in lease["spec"], "and is free again"


def test_a_node_that_another_run_has_is_not_changed(
    world: World, playbook: str, tmp_path: Path
) -> None:
    cluster = Cluster(world.kubeconfig)
    with NodeLock(cluster, "gpu2", "other", "you@there pid 7"):
        ended, told = world.run(playbook)
    cluster.close()
    assert ended == {"denied"}, told
    assert "delegate_to gpu2: the node is locked by you@there pid 7 (run other)" in told, told
    assert not (tmp_path / "there").exists()
