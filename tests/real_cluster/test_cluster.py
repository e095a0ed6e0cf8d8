"""What gpurun does to a cluster, on any cluster: see `conftest.py` for which."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import maintenance
from runner.kube.lock import NodeLock
from runner.kube.state import (
    ClusterAction,
    SetLabels,
    SetTaint,
    Uncordon,
    WaitAllocatable,
)
from runner.modules.base import Context, Outcome, Refused
from runner.modules.kubernetes_object import KubernetesObject, KubernetesObjectArguments
from tests.real_cluster.conftest import PATIENCE, Real


def perform(real: Real, node: str, action: ClusterAction) -> None:
    real.cluster.perform(
        node,
        action,
        since=datetime.now(UTC),
        progress=lambda text: None,
        stop=threading.Event(),
        run="run-1",
    )


def planned(real: Real, definition: dict[str, Any], **more: Any) -> Outcome:
    args = KubernetesObjectArguments(definition=definition, timeout=PATIENCE, **more)
    context = Context("host")
    probes = KubernetesObject().cluster_probes(args, context)
    observed = {probe.key: real.cluster.look(probe.query) for probe in probes}
    return KubernetesObject().plan(args, observed, context)


def applied(real: Real, outcome: Outcome) -> None:
    for change in outcome.changes:
        for action in change.do:
            perform(real, "any", action)  # type: ignore[arg-type]


def config(namespace: str, name: str = "settings", **data: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "labels": {"part": "test"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def test_a_node_is_cordoned_with_our_mark_and_given_back_without(real: Real) -> None:
    node = real.node()
    assert maintenance.begin(real.cluster, node, "run-1").ours
    item = real.cluster.node(node)
    assert item["spec"]["unschedulable"]
    assert item["metadata"]["annotations"][maintenance.CORDONED_BY] == "run-1"
    with pytest.raises(ClusterError, match="run run-1 has not finished"):
        maintenance.begin(real.cluster, node, "run-2")
    maintenance.end(real.cluster, node, "run-1")
    item = real.cluster.node(node)
    assert not item["spec"].get("unschedulable")
    assert maintenance.CORDONED_BY not in (item["metadata"].get("annotations") or {})


def test_a_cordon_of_somebody_else_stays_and_is_told(real: Real) -> None:
    node = real.node()
    real.cluster.patch_node(node, {"spec": {"unschedulable": True}}, "cordon")
    assert not maintenance.begin(real.cluster, node, "run-1").ours
    maintenance.end(real.cluster, node, "run-1")
    state = real.cluster.read_nodes([node])[node]
    assert state.unschedulable and state.cordoned_by and state.cordoned_at
    perform(real, node, Uncordon())
    assert not real.cluster.read_nodes([node])[node].unschedulable


def test_labels_and_taints_leave_others_alone(real: Real) -> None:
    node = real.node()
    perform(real, node, SetTaint("example.com/theirs", "NoSchedule", "yes"))
    perform(real, node, SetTaint("example.com/ours", "NoSchedule"))
    perform(real, node, SetLabels({"example.com/slices": "4", "example.com/none": None}))
    state = real.cluster.read_nodes([node])[node]
    assert {"example.com/theirs=yes:NoSchedule", "example.com/ours:NoSchedule"} <= set(state.taints)
    assert state.labels["example.com/slices"] == "4"
    perform(real, node, SetTaint("example.com/ours", "", present=False))
    taints = real.cluster.read_nodes([node])[node].taints
    assert "example.com/theirs=yes:NoSchedule" in taints
    assert "example.com/ours:NoSchedule" not in taints


def test_what_a_node_offers_is_waited_for(real: Real) -> None:
    node = real.node(gpus=2)
    perform(real, node, WaitAllocatable("nvidia.com/gpu", 2, PATIENCE))
    with pytest.raises(ClusterError, match="not after 0 s: 2 so far"):
        perform(real, node, WaitAllocatable("nvidia.com/gpu", 8, 0.1))


def test_a_node_is_locked_by_one_run_at_a_time(real: Real) -> None:
    node = real.node()
    real.made.append(f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/gpurun-{node}")

    def lock(run: str) -> NodeLock:
        return NodeLock(real.cluster, node, run, f"{run}@test", 0.0, threading.Event())

    with (
        lock("run-1"),
        pytest.raises(ClusterError, match=r"run-1@test"),
        lock("run-2"),
    ):
        raise AssertionError("two runs hold one lock")
    with lock("run-2"):
        pass


def test_an_object_is_applied_once_and_owned(real: Real) -> None:
    namespace = real.namespace()
    outcome = planned(real, config(namespace, a="1"))
    assert [change.summary for change in outcome.changes] == [
        f"create ConfigMap {namespace}/settings"
    ]
    applied(real, outcome)
    assert planned(real, config(namespace, a="1")) == Outcome()
    path = f"/api/v1/namespaces/{namespace}/configmaps/settings"
    real.cluster.api.request(
        "PATCH",
        path,
        "change it",
        body={"data": {"a": "theirs"}},
        content_type="application/merge-patch+json",
        query={"fieldManager": "somebody"},
    )
    with pytest.raises(Refused, match="somebody") as caught:
        planned(real, config(namespace, a="2"))
    assert ".data.a" in str(caught.value)
    applied(real, planned(real, config(namespace, a="2"), force=True, because="ours"))
    assert real.get(path)["data"] == {"a": "2"}
    applied(real, planned(real, config(namespace), state="absent"))
    assert not real.exists(path)


def test_what_is_given_no_more_is_pruned_and_what_others_made_is_not(real: Real) -> None:
    namespace = real.namespace()
    place = f"/api/v1/namespaces/{namespace}/configmaps"
    applied(real, planned(real, config(namespace, "old"), prune="part=test"))
    real.create(place, config(namespace, "theirs"))
    applied(real, planned(real, config(namespace, "new"), prune="part=test"))
    assert real.exists(f"{place}/new") and real.exists(f"{place}/theirs")
    assert not real.exists(f"{place}/old")


def test_a_misspelt_field_and_a_missing_namespace_are_refused(real: Real) -> None:
    with pytest.raises(Refused, match="create it first"):
        planned(real, config(f"{real.prefix}-none"))
    with pytest.raises(ClusterError, match="no kind Nothing"):
        planned(real, {"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "x"}})


@pytest.mark.parametrize("budgets", [1, 2])
def test_an_eviction_is_asked_in_a_dry_run_and_says_which_budget_is_in_the_way(
    real: Real, budgets: int
) -> None:
    from runner.kube.eviction import Kind, evict

    node, namespace = real.node(), real.namespace()
    path = real.pod(namespace, "guarded", node, app="guarded")
    real.pod(namespace, "free", node, app="free")
    limits = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    for number in range(budgets):
        selector = {"matchLabels": {"app": "guarded"}}
        spec = {"minAvailable": 1, "selector": selector}
        budget = real.create(limits, {"metadata": {"name": f"keep-{number}"}, "spec": spec})
        real.until(partial(counted, real, budget), "the budget is counted")
    free, guarded = real.cluster.pods_on(node)
    assert evict(real.cluster.api, free, None, True).kind is Kind.ACCEPTED
    answer = evict(real.cluster.api, guarded, None, True)
    assert answer.kind is (Kind.WAIT if budgets == 1 else Kind.NEVER), answer
    assert real.exists(path), "a dry run evicts nothing"


def counted(real: Real, budget: str) -> bool:
    """Whether the disruption controller has seen the budget."""
    status = real.get(budget).get("status") or {}
    return bool(status.get("observedGeneration") == 1)
