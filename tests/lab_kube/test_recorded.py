"""The lab's API answers what a real Kubernetes 1.36 answered to the same requests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from runner.lab.kube import api, kinds, scheduling
from runner.lab.kube.credentials import ADMIN, READER
from runner.lab.kube.deletion import DeleteOptions, delete
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.lists import Watch
from runner.lab.kube.requests import Request
from runner.lab.kube.seed import create
from runner.lab.kube.store import Store

FOLDER = Path(__file__).parent / "recorded"
POD = KIND["Pod"]
RECORDS: Mapping[str, Json] = {
    path.stem[3:]: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
ELSEWHERE = {
    "discovery-core": "compared resource by resource",
    "discovery-policy": "compared resource by resource",
    "discovery-coordination": "compared resource by resource",
    "version": "health and version need no token: test_server.py",
    "readyz": "health and version need no token: test_server.py",
    "unauthenticated": "tokens belong to the server: test_server.py",
    "watch-too-old": "after a restart: test_watch.py",
    "list-exact-compacted": "after a restart: test_watch.py",
}
ONLY_REASON = {
    "pod-list-continue-invalid": "names the first wrong character of the token",
    "lease-bad-time": "quotes the whole object",
}
"""Answers of which only code and reason are the same, and what the rest would be."""
COMPARED = [name for name in RECORDS if name not in ELSEWHERE]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VOLATILE = {
    "continue",
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "resourceVersion",
    "time",
    "timeAdded",
    "uid",
}


def comparable(value: Any, managers: bool = False) -> Any:
    """A body without what differs between any two runs, and without repeated causes."""
    if isinstance(value, dict):
        return {
            key: "…" if key in _VOLATILE and below else comparable(below, managers)
            for key, below in value.items()
            if key != "managedFields" or managers
        }
    if isinstance(value, list):
        entries = [comparable(entry, managers) for entry in value]
        return [entry for index, entry in enumerate(entries) if entry not in entries[:index]]
    if isinstance(value, str):
        value = _UUID.sub("UID", value)
        value = re.sub(r'User "[^"]*"', 'User "U"', value)
        return re.sub(r"^gpurun-[a-z0-9]{5}$", "gpurun-SUFFIX", value)
    return value


def running(store: Store, name: str, phase: str = "Running") -> None:
    """Set a pod's status as a kubelet would."""
    pod = store.get(POD, "gpu-tests", name)
    assert pod
    ready: Json = {
        "type": "Ready",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": None,
    }
    container: Json = {"name": "c", "state": {"running": {"startedAt": None}}, "lastState": {}}
    container |= {"ready": True, "restartCount": 0, "image": "x", "imageID": "x"}
    status = {"phase": phase, "conditions": [ready], "containerStatuses": [container]}
    store.put(POD, {**pod, "status": {**pod["status"], **status}})


def begin(store: Store) -> None:
    for name in ("default", "gpu-tests"):
        create(store, {"kind": "Namespace", "metadata": {"name": name}})
    resources = {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8", "pods": "110"}
    ready: Json = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    ready |= {"lastHeartbeatTime": None, "lastTransitionTime": None}
    metadata = {"name": "orc-1", "annotations": {"node.alpha.kubernetes.io/ttl": "0"}}
    status = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
    create(store, {"kind": "Node", "metadata": metadata, "status": status})


def four_pods(store: Store) -> None:
    body = RECORDS["pod-create"]["request"]["body"]
    for name in ("p2", "p3", "p4"):
        metadata = {**body["metadata"], "name": name, "namespace": "gpu-tests"}
        create(store, {**body, "metadata": metadata})
    for name in ("p1", "p2", "p3", "p4"):
        running(store, name)


def second_budget(store: Store) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "w"}}}
    metadata = {"name": "another", "namespace": "gpu-tests"}
    create(store, {"kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec})


def dying_namespace(store: Store) -> None:
    create(store, {"kind": "Namespace", "metadata": {"name": "gpu-tests-dying"}})
    pod = {**RECORDS["pod-create"]["request"]["body"]}
    create(store, {**pod, "metadata": {"name": "d1", "namespace": "gpu-tests-dying"}})
    namespace = store.get(KIND["Namespace"], "", "gpu-tests-dying")
    assert namespace
    delete(store, KIND["Namespace"], namespace, DeleteOptions())


def watched_pod(store: Store) -> None:
    """What happened during the recorded watch: a pod came, changed and was deleted."""
    body = {**RECORDS["pod-create"]["request"]["body"]}
    metadata = {"name": "w1", "namespace": "gpu-tests", "labels": {"app": "w"}}
    item = create(store, {**body, "metadata": metadata})
    labels = {"app": "w", "x": "y"}
    item = store.put(POD, {**item, "metadata": {**item["metadata"], "labels": labels}})
    delete(store, POD, item, DeleteOptions(grace=0))


BEFORE: Mapping[str, Callable[[Store], None]] = {
    "node-cordon-no-change": scheduling.mark_nodes,
    "pod-list-limit": four_pods,
    "evict-two-budgets": second_budget,
    "evict-finished-pod": lambda store: running(store, "p4", "Succeeded"),
    "watch-add-modify-delete": watched_pod,
    "create-in-terminating-namespace": dying_namespace,
}
"""What happened on the real cluster between two recorded requests."""


@cache
def replayed() -> Mapping[str, tuple[int, Json | str]]:
    """All requests, made once in their order, with the answers of the lab's API."""
    store, token = Store(), ""
    answers: dict[str, tuple[int, Json | str]] = {}
    begin(store)
    for name in COMPARED:
        version = store.version
        if name in BEFORE:
            BEFORE[name](store)
        request = RECORDS[name]["request"]
        query = {**request["query"]}
        if query.get("continue", "garbage") != "garbage":
            query["continue"] = token
        if query.get("watch"):
            query |= {"resourceVersion": str(version), "timeoutSeconds": "0.01"}
        if name.startswith("lease-"):
            request = with_our_identity(store, request, answers)
        code, body = ask(store, request, query, READER if name in READER_ASKS else ADMIN)
        if isinstance(body, dict):
            token = body.get("metadata", {}).get("continue") or token
        answers[name] = (code, body)
    return answers


def with_our_identity(store: Store, request: Json, answers: Mapping[str, Any]) -> Json:
    """The request with UID and resourceVersion of our Lease where it carries the real one's.

    Renewing and stealing both send the resourceVersion of the creation.
    """
    if request["method"] != "PUT":
        return request
    created = answers["lease-create"][1]["metadata"]
    ours = {key: created[key] for key in ("uid", "resourceVersion")}
    metadata = {**request["body"]["metadata"], **ours}
    return {**request, "body": {**request["body"], "metadata": metadata}}


READER_ASKS = ("forbidden-evict", "self-subject-access-review")


def ask(
    store: Store, request: Json, query: dict[str, str], user: Any = ADMIN
) -> tuple[int, Json | str]:
    body = request["body"]
    answer = api.answer(
        store,
        Request(
            request["method"],
            request["path"],
            user,
            query,
            request["content_type"] or "",
            request["accept"] or "",
            "python-httpx/1",
            b"" if body is None else json.dumps(body).encode(),
        ),
    )
    if isinstance(answer, Watch):
        return 200, {"events": list(answer.events(store, lambda: False))}
    return answer.code, answer.body


@pytest.mark.parametrize("name", COMPARED)
def test_the_answer_is_that_of_a_real_server(name: str) -> None:
    recorded = RECORDS[name]["response"]
    wanted = recorded.get("body", {"events": recorded.get("events")})
    code, body = replayed()[name]
    assert code == recorded["status"], body
    if name in ONLY_REASON:
        assert isinstance(body, dict)
        assert body["reason"] == wanted["reason"]
        return
    for event in wanted.get("events") or ():
        if event["type"] == "BOOKMARK":
            metadata = {"resourceVersion": event["object"]["metadata"]["resourceVersion"]}
            event["object"] = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}
    managers = name.startswith(("apply-", "patch-by-")) and code < 300
    assert comparable(body, managers) == comparable(wanted, managers)


@pytest.mark.parametrize(
    ("before", "after"),
    [("node-cordon-no-change", "node-cordon-no-change"), ("apply-create", "apply-same")],
)
def test_a_write_that_changes_nothing_leaves_the_resource_version(before: str, after: str) -> None:
    if before == after:
        store = Store()
        begin(store)
        request = RECORDS["node-cordon-strategic"]["request"]
        first, second = ask(store, request, {})[1], ask(store, request, {})[1]
    else:
        first, second = replayed()[before][1], replayed()[after][1]
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("group", "record"),
    [
        ("", "discovery-core"),
        ("policy", "discovery-policy"),
        ("coordination.k8s.io", "discovery-coordination"),
    ],
)
def test_what_is_discovered_is_a_part_of_what_a_real_server_has(group: str, record: str) -> None:
    recorded = RECORDS[record]["response"]["body"]
    ours = kinds.resource_list(group)
    real = {
        entry["name"]: {k: v for k, v in entry.items() if k != "storageVersionHash"}
        for entry in recorded["resources"]
    }
    assert {**ours, "resources": []} == {**recorded, "resources": []}
    for entry in ours["resources"]:
        assert entry == real[entry["name"]]
