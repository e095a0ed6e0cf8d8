"""`kubernetes_object` with files of several objects: planned whole, applied in order, pruned."""

from __future__ import annotations

import itertools
import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube.objects import not_rolled_out
from runner.modules.base import Context, Outcome, Refused
from runner.modules.kubernetes_object import KubernetesObject, KubernetesObjectArguments
from tests.kube.names import NODE, NS, node_name
from tests.kube.world import DEADLINE, MINE, World

MODULE = KubernetesObject()
MONITORING = """\
apiVersion: v1
kind: Namespace
metadata: {name: MONITORING, labels: {part: gpu}}
---
# what is empty is no document
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: MONITORING, labels: {part: gpu}}
data: {since: 2026-01-01, threshold: "{{ limit }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two, namespace: MONITORING, labels: {part: gpu}}
"""
_numbers = itertools.count(1)


@pytest.fixture
def place(world: World) -> str:
    """A namespace of the test's own, which it makes: that of a test before is still ending."""
    name = node_name(f"monitoring-{next(_numbers)}")
    world.removes("Namespace", name)
    return name


@pytest.fixture
def two(place: str) -> str:
    """The file."""
    return MONITORING.replace("MONITORING", place)


def context(text: str) -> Context:
    return Context(
        NODE,
        read=lambda name: text.encode(),
        template=lambda body, name: body.replace("{{ limit }}", "85"),
    )


def plan(world: World, text: str, **arguments: Any) -> Outcome:
    args = KubernetesObjectArguments(**{"src": "all.yaml", "timeout": DEADLINE, **arguments})
    probes = MODULE.cluster_probes(args, context(text))
    return MODULE.plan(args, {p.key: world.cluster.look(p.query) for p in probes}, context(text))


def apply(world: World, outcome: Outcome) -> list[str]:
    for change in outcome.changes:
        for action in change.do:
            world.cluster.perform(
                NODE,
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
    world: World, two: str, place: str
) -> None:
    assert apply(world, plan(world, two)) == [
        f"create Namespace {place}",
        f"create ConfigMap {place}/one",
        f"create ConfigMap {place}/two",
    ]
    one = world.get("ConfigMap", "one", place)
    assert one["data"] == {"since": "2026-01-01", "threshold": "{{ limit }}"}
    assert plan(world, two) == Outcome()


def test_a_template_is_rendered_and_a_plain_file_is_not(world: World, two: str, place: str) -> None:
    apply(world, plan(world, two, src="", template="all.yaml.j2"))
    one = world.get("ConfigMap", "one", place)
    assert one["data"]["threshold"] == "85"


def test_what_is_given_no_more_is_deleted_where_gpurun_owns_it(
    world: World, two: str, place: str
) -> None:
    apply(world, plan(world, two, prune="part=gpu"))
    theirs = {"name": "theirs", "labels": {"part": "gpu"}}
    world.create("ConfigMap", {"metadata": theirs}, place)
    assert plan(world, two, prune="part=gpu") == Outcome()
    outcome = plan(world, without(two, 3), prune="part=gpu")
    (change,) = outcome.changes
    assert change.risk.name == "HIGH" and change.diff and change.diff.after is None
    assert apply(world, outcome) == [f"delete ConfigMap {place}/two"]
    assert not world.has("ConfigMap", "two", place)
    assert world.has("ConfigMap", "theirs", place), "what others made stays"


def test_prune_without_the_label_in_the_file_is_refused(world: World, two: str) -> None:
    with pytest.raises(Refused, match="has not the labels part=other"):
        plan(world, two, prune="part=other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "all.yaml: while parsing"),
        ("", "holds no manifest"),
        ("- x", "document 1 is no mapping"),
        (MONITORING + "---\nkind: Pod\n", "document 4: apiVersion is needed"),
        (MONITORING + "---\n" + MONITORING, "Namespace MONITORING is there twice"),
    ],
)
def test_every_mistake_of_a_file_is_told(world: World, text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        plan(world, text)


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


def test_a_secrets_data_is_in_no_plan(world: World) -> None:
    secret = """\
apiVersion: v1
kind: Secret
metadata: {name: registry, namespace: NS}
stringData: {password: hunter2-hunter2}
""".replace("NS", NS)
    world.removes("Secret", "registry")
    outcome = plan(world, secret)
    (change,) = outcome.changes
    assert change.diff and change.diff.sensitive
    assert "hunter2" not in repr(change.do) + change.summary
    apply(world, outcome)
    assert plan(world, secret) == Outcome()


def test_a_stateful_set_is_waited_for(world: World) -> None:
    world.node()
    world.removes("StatefulSet", "db")
    world.kubelet()
    for image in ("registry.invalid/db:1", "registry.invalid/db:2"):
        apply(world, plan(world, json.dumps(database(image))))
    images = {
        pod["spec"]["containers"][0]["image"]
        for pod in world.found("Pod", labels="app=db")
        if "deletionTimestamp" not in pod["metadata"]
    }
    assert images == {"registry.invalid/db:2"}


def database(image: str) -> dict[str, Any]:
    labels = {"app": "db"}
    container = {"name": "db", "image": image}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "nodeSelector": MINE},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": NS},
        "spec": {
            "replicas": 2,
            "serviceName": "db",
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }


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
