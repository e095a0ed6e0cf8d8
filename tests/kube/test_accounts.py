"""Who one is, as the cluster itself judges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ClusterError
from runner.kube.cluster import Cluster
from tests.kube.credentials import with_user
from tests.kube.names import NODE, NS
from tests.kube.world import World


def test_a_service_account_reads_what_its_role_allows(world: World, reader: Path) -> None:
    world.node()
    cluster = Cluster(reader)
    assert set(cluster.read_nodes([NODE])) == {NODE}
    with pytest.raises(ClusterError, match=f'system:serviceaccount:{NS}:reader" cannot patch'):
        cluster.patch_node(NODE, {"spec": {"unschedulable": True}}, "cordon")
    cluster.close()


def test_a_token_that_nobody_gave(target: Path, tmp_path: Path) -> None:
    cluster = Cluster(with_user(target, tmp_path / "kubeconfig", token="made-up"))
    with pytest.raises(ClusterError, match="Unauthorized") as caught:
        cluster.read_nodes([NODE])
    assert "auth whoami" in caught.value.hint
    cluster.close()
