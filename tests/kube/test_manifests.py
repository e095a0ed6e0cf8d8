"""`kubernetes_object` with files of several objects: planned whole, applied in order, pruned."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube.cluster import Cluster
from runner.kube.objects import not_rolled_out
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.seed import stateful_set
from runner.modules.base import Context, Outcome, Refused
from runner.modules.kubernetes_object import KubernetesObject, KubernetesObjectArguments
from tests.kube.world import DEADLINE

MODULE = KubernetesObject()
TWO = """\
apiVersion: v1
kind: Namespace
metadata: {name: monitoring, labels: {part: gpu}}
---
# what is empty is no document
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: monitoring, labels: {part: gpu}}
data: {since: 2026-01-01, threshold: "{{ limit }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two, namespace: monitoring, labels: {part: gpu}}
"""


@pytest.fixture
def lab(quick: None) -> Iterator[LabCluster]:
    with LabCluster(nodes=["gpu1"]) as lab:
        yield lab


@pytest.fixture
def cluster(lab: LabCluster) -> Iterator[Cluster]:
    cluster = Cluster(lab.kubeconfig)
    yield cluster
    cluster.close()


def context(text: str) -> Context:
    return Context(
        "gpu1",
        read=lambda name: text.encode(),
        template=lambda body, name: body.replace("{{ limit }}", "85"),
    )


def plan(cluster: Cluster, text: str, **arguments: Any) -> Outcome:
    args = KubernetesObjectArguments(**{"src": "all.yaml", "timeout": DEADLINE, **arguments})
    probes = MODULE.cluster_probes(args, context(text))
    return MODULE.plan(args, {p.key: cluster.look(p.query) for p in probes}, context(text))


def apply(cluster: Cluster, outcome: Outcome) -> list[str]:
    for change in outcome.changes:
        for action in change.do:
            cluster.perform(
                "gpu1",
                action,  # type: ignore[arg-type]
                since=datetime.now(UTC),
                progress=lambda text: None,
                stop=threading.Event(),
            )
    return [change.summary for change in outcome.changes]


def without(text: str, number: int) -> str:
    parts = text.split("---\n")
    return "---\n".join(part for n, part in enumerate(parts) if n != number)


def test_all_of_a_file_in_its_order_also_into_a_namespace_that_it_makes(
    lab: LabCluster, cluster: Cluster
) -> None:
    assert apply(cluster, plan(cluster, TWO)) == [
        "create Namespace monitoring",
        "create ConfigMap monitoring/one",
        "create ConfigMap monitoring/two",
    ]
    one = lab.get("ConfigMap", "one", "monitoring")
    assert one and one["data"] == {"since": "2026-01-01", "threshold": "{{ limit }}"}
    assert plan(cluster, TWO) == Outcome()


def test_a_template_is_rendered_and_a_plain_file_is_not(lab: LabCluster, cluster: Cluster) -> None:
    apply(cluster, plan(cluster, TWO, src="", template="all.yaml.j2"))
    one = lab.get("ConfigMap", "one", "monitoring")
    assert one and one["data"]["threshold"] == "85"


def test_what_is_given_no_more_is_deleted_where_gpurun_owns_it(
    lab: LabCluster, cluster: Cluster
) -> None:
    apply(cluster, plan(cluster, TWO, prune="part=gpu"))
    theirs = {"name": "theirs", "namespace": "monitoring", "labels": {"part": "gpu"}}
    lab.create({"kind": "ConfigMap", "metadata": theirs})
    assert plan(cluster, TWO, prune="part=gpu") == Outcome()
    outcome = plan(cluster, without(TWO, 3), prune="part=gpu")
    (change,) = outcome.changes
    assert change.risk.name == "HIGH" and change.diff and change.diff.after is None
    assert apply(cluster, outcome) == ["delete ConfigMap monitoring/two"]
    assert lab.get("ConfigMap", "two", "monitoring") is None
    assert lab.get("ConfigMap", "theirs", "monitoring"), "what others made stays"


def test_prune_without_the_label_in_the_file_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="has not the labels part=other"):
        plan(cluster, TWO, prune="part=other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "all.yaml: while parsing"),
        ("", "holds no manifest"),
        ("- x", "document 1 is no mapping"),
        (TWO + "---\nkind: Pod\n", "document 4: apiVersion is needed"),
        (
            TWO + TWO.replace("apiVersion", "---\napiVersion", 1),
            "Namespace monitoring is there twi",
        ),
    ],
)
def test_every_mistake_of_a_file_is_told(cluster: Cluster, text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        plan(cluster, text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"src": ""}, "one of definition, src and template"),
        ({"template": "x"}, "one of definition, src and template"),
        ({"prune": "part"}, "not key=value"),
        ({"prune": "part=a", "state": "absent"}, "prune is about applying"),
        ({"force": True}, "say why with because"),
        ({"replace": True, "force": True, "because": "x"}, "leave force out"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KubernetesObjectArguments(**{"src": "all.yaml", **arguments})


def test_a_secrets_data_is_in_no_plan(lab: LabCluster, cluster: Cluster) -> None:
    secret = """\
apiVersion: v1
kind: Secret
metadata: {name: registry, namespace: default}
stringData: {password: hunter2-hunter2}
"""
    outcome = plan(cluster, secret)
    (change,) = outcome.changes
    assert change.diff and change.diff.sensitive
    assert "hunter2" not in repr(change.do) + change.summary
    apply(cluster, outcome)
    assert plan(cluster, secret) == Outcome()


def test_a_stateful_set_is_waited_for(lab: LabCluster, cluster: Cluster) -> None:
    import json

    item = {"apiVersion": "apps/v1", **stateful_set("db", 2)}
    apply(cluster, plan(cluster, json.dumps(item)))
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/db:2"
    apply(cluster, plan(cluster, json.dumps(item)))
    images = {pod["spec"]["containers"][0]["image"] for pod in lab.list("Pod", "default")}
    assert images == {"registry.example/db:2"}


def workload(kind: str, spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    seen = {"observedGeneration": 1, **status}
    return {"kind": kind, "metadata": {"generation": 1}, "spec": spec, "status": seen}


@pytest.mark.parametrize(
    ("spec", "status", "lacks"),
    [
        ({"replicas": 2}, {"updatedReplicas": 1}, "1 of 2 pods updated"),
        ({"replicas": 2}, {"updatedReplicas": 2, "readyReplicas": 1}, "1 of 2 updated pods"),
        ({"replicas": 2}, {"updatedReplicas": 2, "readyReplicas": 2}, ""),
        ({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}, {}, ""),
        (
            {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
            {"updatedReplicas": 1, "readyReplicas": 3},
            "",
        ),
    ],
)
def test_when_a_stateful_set_is_rolled_out(
    spec: dict[str, Any], status: dict[str, Any], lacks: str
) -> None:
    said = not_rolled_out(workload("StatefulSet", spec, **status))
    assert lacks in said and bool(lacks) == bool(said)


def test_a_deployment_that_has_given_up_is_not_waited_for() -> None:
    condition = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "stuck"}
    with pytest.raises(ClusterError, match="made no progress in time: stuck"):
        not_rolled_out(workload("Deployment", {"replicas": 1}, conditions=[condition]))
