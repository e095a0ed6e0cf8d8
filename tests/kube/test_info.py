"""`kubernetes_info`: one object of the cluster as data."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from runner.errors import ClusterError
from runner.modules.base import Context
from runner.modules.kubernetes_info import KubernetesInfo, KubernetesInfoArguments
from tests.kube.names import NODE, NS
from tests.kube.world import World


def info(world: World, **arguments: Any) -> Any:
    args, context = KubernetesInfoArguments(**arguments), Context(NODE)
    probes = KubernetesInfo().cluster_probes(args, context)
    observed = {probe.key: world.cluster.look(probe.query) for probe in probes}
    return KubernetesInfo().plan(args, observed, context).result


DAEMONSET = {"api_version": "apps/v1", "kind": "DaemonSet", "namespace": NS}


def test_an_object_without_what_the_server_keeps(world: World) -> None:
    world.node()
    world.daemonset("plugin")
    world.daemon_pod("plugin")
    found = info(world, **DAEMONSET, name="plugin")
    assert found["exists"]
    assert found["object"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert not {"managedFields", "resourceVersion"} & set(found["object"]["metadata"])
    world.until(
        lambda: info(world, **DAEMONSET, name="plugin")["status"]["desiredNumberScheduled"] == 1,
        "its status tells of one pod",
    )


def test_one_that_is_not_there(world: World) -> None:
    assert info(world, **DAEMONSET, name="none") == {"exists": False, "object": {}, "status": {}}


def test_a_kind_the_cluster_lacks_is_not_taken_for_absent(world: World) -> None:
    with pytest.raises(ClusterError, match=r"no kind ClusterPolicy in nvidia\.com/v1"):
        info(world, api_version="nvidia.com/v1", kind="ClusterPolicy", name="cluster-policy")


def test_all_that_have_a_label(world: World) -> None:
    world.node()
    world.cluster.patch_node(NODE, {"metadata": {"labels": {"example.com/rack": NS}}}, "label")
    found = info(world, kind="Node", label_selector=f"example.com/rack={NS}")
    assert found["exists"]
    assert [item["metadata"]["name"] for item in found["objects"]] == [NODE]
    assert "resourceVersion" not in found["objects"][0]["metadata"]
    none = info(world, kind="Node", label_selector=f"example.com/rack={NS}-none")
    assert none == {"exists": False, "objects": []}


@pytest.mark.parametrize("given", [{}, {"name": "x", "label_selector": "a=b"}])
def test_one_object_or_those_with_a_label(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="either name or label_selector"):
        KubernetesInfoArguments.model_validate({"kind": "Node", **given})


def test_secrets_are_not_read() -> None:
    with pytest.raises(ValidationError, match="not read into variables"):
        KubernetesInfoArguments.model_validate({"kind": "Secret", "name": "x"})
