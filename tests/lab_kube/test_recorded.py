"""The lab's API answers what a real Kubernetes 1.36 answered to the same requests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runner.lab.kube import api, kinds, scheduling
from runner.lab.kube.credentials import ADMIN, READER
from runner.lab.kube.deletion import DeleteOptions, delete
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.lists import Watch
from runner.lab.kube.requests import Request, User
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
    "token-request": "tokens belong to the server: test_server.py",
    "unauthenticated": "tokens belong to the server: test_server.py",
    "watch-initial-list": "that server's etcd was too old for it: test_watch.py",
    "watch-too-old": "after a restart: test_watch.py",
    "list-exact-compacted": "after a restart: test_watch.py",
}
COMPARED = [name for name in RECORDS if name not in ELSEWHERE]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_QUOTED = re.compile(r'(.*Invalid value: )("\{.*\}")(: .*)')
"""A message that quotes a whole object."""
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
            key: "…" if key in _VOLATILE and below else _comparable_field(key, below, managers)
            for key, below in value.items()
            if key != "managedFields" or managers
        }
    if isinstance(value, list):
        return [comparable(entry, managers) for entry in value]
    if isinstance(value, str):
        if found := _QUOTED.fullmatch(value):
            return [found[1], comparable(json.loads(json.loads(found[2]))), found[3]]
        value = _UUID.sub("UID", value)
        value = re.sub(r'User "[^"]*"', 'User "U"', value)
        return re.sub(r"^gpurun-[a-z0-9]{5}$", "gpurun-SUFFIX", value)
    return value


def _comparable_field(key: str, value: Any, managers: bool) -> Any:
    found = comparable(value, managers)
    if key == "cells":
        return [re.sub(r"^\d+[smhd]$", "AGE", str(cell)) for cell in found]
    if key == "causes":
        return [entry for index, entry in enumerate(found) if entry not in found[:index]]
    return found


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


def the_controller_annotates(store: Store) -> None:
    node = store.get(KIND["Node"], "", "orc-1")
    assert node
    annotations = {"node.alpha.kubernetes.io/ttl": "0"}
    metadata = {**node["metadata"], "annotations": annotations}
    store.put(KIND["Node"], {**node, "metadata": metadata})


def the_daemons_run(store: Store) -> None:
    """Two of three pods are ready, as the DaemonSet's controller has counted them."""
    name = "nvidia-device-plugin-daemonset"
    item = store.get(KIND["DaemonSet"], "gpu-tests", name)
    assert item
    counted = RECORDS["daemonset-status"]["response"]["body"]["status"]
    store.put(KIND["DaemonSet"], {**item, "status": counted})


BEFORE: Mapping[str, Callable[[Store], None]] = {
    "node-cordon-no-change": scheduling.mark_nodes,
    "node-unknown-field-warn": the_controller_annotates,
    "daemonset-status": the_daemons_run,
    "pod-list-limit": four_pods,
    "evict-two-budgets": second_budget,
    "evict-finished-pod": lambda store: running(store, "p4", "Succeeded"),
    "watch-add-modify-delete": watched_pod,
    "create-in-terminating-namespace": dying_namespace,
}
"""What happened on the real cluster between two recorded requests."""


@cache
def replayed() -> Mapping[str, Reply]:
    """All requests, made once in their order, with the answers of the lab's API."""
    store, token = Store(), ""
    answers: dict[str, Reply] = {}
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
        answers[name] = ask(store, request, query, ASKS.get(name, ADMIN))
        body = answers[name].body
        if isinstance(body, dict):
            token = body.get("metadata", {}).get("continue") or token
    return answers


def with_our_identity(store: Store, request: Json, answers: Mapping[str, Any]) -> Json:
    """The request with UID and resourceVersion of our Lease where it carries the real one's.

    Renewing and stealing both send the resourceVersion of the creation.
    """
    if request["method"] != "PUT":
        return request
    created = answers["lease-create"].body["metadata"]
    ours = {key: created[key] for key in ("uid", "resourceVersion", "creationTimestamp")}
    metadata = {**request["body"]["metadata"], **ours}
    return {**request, "body": {**request["body"], "metadata": metadata}}


LIMITED = User("system:serviceaccount:gpu-tests:limited", bound=True)
ASKS: Mapping[str, User] = {
    "forbidden-evict": READER,
    "forbidden-list-nodes": LIMITED,
    "self-subject-access-review": READER,
}
"""Who asks, where it is not the administrator."""


class Reply(NamedTuple):
    """An answer, with the events of a watch as its body."""

    code: int
    body: Any
    warning: str | None = None


def ask(store: Store, request: Json, query: dict[str, str], user: User = ADMIN) -> Reply:
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
        return Reply(200, {"events": list(answer.events(store, lambda: False))})
    return Reply(answer.code, answer.body, answer.headers.get("Warning"))


@pytest.mark.parametrize("name", COMPARED)
def test_the_answer_is_that_of_a_real_server(name: str) -> None:
    recorded = RECORDS[name]["response"]
    wanted = recorded.get("body", {"events": recorded.get("events")})
    code, body, warning = replayed()[name]
    assert code == recorded["status"], body
    assert warning == recorded["headers"].get("warning")
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
        first, second = ask(store, request, {}).body, ask(store, request, {}).body
    else:
        first, second = replayed()[before].body, replayed()[after].body
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
