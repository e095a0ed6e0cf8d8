"""`kubernetes_info`: one object of the cluster as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from runner.errors import ClusterError
from runner.kube.cluster import Cluster
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.seed import DEVICE_PLUGIN
from runner.modules.base import Context
from runner.modules.kubernetes_info import KubernetesInfo, KubernetesInfoArguments


@pytest.fixture
def cluster(quick: None) -> Iterator[Cluster]:
    with LabCluster(["gpu1"], workloads=True) as lab:
        lab.settle()
        cluster = Cluster(lab.kubeconfig)
        yield cluster
        cluster.close()


def info(cluster: Cluster, **arguments: Any) -> Any:
    args, context = KubernetesInfoArguments(**arguments), Context("gpu1")
    probes = KubernetesInfo().cluster_probes(args, context)
    observed = {probe.key: cluster.look(probe.query) for probe in probes}
    return KubernetesInfo().plan(args, observed, context).result


DAEMONSET = {"api_version": "apps/v1", "kind": "DaemonSet", "namespace": "kube-system"}


def test_an_object_without_what_the_server_keeps(cluster: Cluster) -> None:
    found = info(cluster, **DAEMONSET, name=DEVICE_PLUGIN)
    assert found["exists"]
    assert found["object"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert not {"managedFields", "resourceVersion"} & set(found["object"]["metadata"])
    assert found["status"]["desiredNumberScheduled"] == 1


def test_one_that_is_not_there(cluster: Cluster) -> None:
    assert info(cluster, **DAEMONSET, name="none") == {"exists": False, "object": {}, "status": {}}


def test_a_kind_the_cluster_lacks_is_not_taken_for_absent(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"no kind ClusterPolicy in nvidia\.com/v1"):
        info(cluster, api_version="nvidia.com/v1", kind="ClusterPolicy", name="cluster-policy")


def test_all_that_have_a_label(cluster: Cluster) -> None:
    found = info(cluster, **DAEMONSET, label_selector=f"app={DEVICE_PLUGIN}")
    assert found["exists"] and len(found["objects"]) == 1
    assert found["objects"][0]["metadata"]["name"] == DEVICE_PLUGIN
    assert "resourceVersion" not in found["objects"][0]["metadata"]
    none = info(cluster, kind="Node", label_selector="example.com/rack=7")
    assert none == {"exists": False, "objects": []}


@pytest.mark.parametrize("given", [{}, {"name": "x", "label_selector": "a=b"}])
def test_one_object_or_those_with_a_label(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="either name or label_selector"):
        KubernetesInfoArguments.model_validate({"kind": "Node", **given})


def test_secrets_are_not_read() -> None:
    with pytest.raises(ValidationError, match="not read into variables"):
        KubernetesInfoArguments.model_validate({"kind": "Secret", "name": "x"})
