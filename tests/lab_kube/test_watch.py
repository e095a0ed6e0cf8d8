"""Watches: where they start, what a selection sees, and when they are too late."""

from __future__ import annotations

import json
from pathlib import Path

from runner.lab.kube import LabCluster, api, seed
from runner.lab.kube.answers import Answer
from runner.lab.kube.credentials import ADMIN
from runner.lab.kube.kinds import Json
from runner.lab.kube.lists import Watch
from runner.lab.kube.requests import Request
from runner.lab.kube.store import Store

NODES = "/api/v1/nodes"


def events(store: Store, path: str, **query: str) -> list[Json]:
    """What a watch with these parameters sees before it ends."""
    query = {"watch": "true", "timeoutSeconds": "0.01", **query}
    watch = api.answer(store, Request("GET", path, ADMIN, query))
    assert isinstance(watch, Watch)
    return list(watch.events(store, lambda: False))


def label(store: Store, name: str, **labels: str | None) -> Json:
    request = Request(
        "PATCH",
        f"{NODES}/{name}",
        ADMIN,
        content_type="application/merge-patch+json",
        content=json.dumps({"metadata": {"labels": labels}}).encode(),
    )
    answer = api.answer(store, request)
    assert isinstance(answer, Answer)
    assert isinstance(answer.body, dict)
    return answer.body


def nodes(*names: str) -> Store:
    store = Store()
    for name in names:
        seed.create(store, {"kind": "Node", "metadata": {"name": name}})
    return store


def seen(events_: list[Json]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events_]


def test_without_a_version_it_begins_with_what_is_there() -> None:
    assert seen(events(nodes("a", "b"), NODES)) == [("ADDED", "a"), ("ADDED", "b")]


def test_an_initial_list_ends_with_a_marked_bookmark() -> None:
    *first, last = events(nodes("a"), NODES, sendInitialEvents="true")
    assert seen(first) == [("ADDED", "a")]
    assert last["type"] == "BOOKMARK"
    assert last["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_from_a_version_it_sees_only_what_came_after() -> None:
    store = nodes("a")
    version = store.version
    label(store, "a", x="y")
    assert seen(events(store, NODES, resourceVersion=str(version))) == [("MODIFIED", "a")]


def test_an_object_comes_into_and_leaves_a_selection() -> None:
    store = nodes("a")
    version = str(store.version)
    label(store, "a", gpu="yes")
    label(store, "a", gpu="yes", more="too")
    label(store, "a", gpu=None)
    label(store, "a", more=None)
    found = seen(events(store, NODES, resourceVersion=version, labelSelector="gpu"))
    assert found == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_a_field_selection_follows_one_object() -> None:
    store = nodes("a", "b")
    version = str(store.version)
    label(store, "a", x="1")
    label(store, "b", x="1")
    found = events(store, NODES, resourceVersion=version, fieldSelector="metadata.name=b")
    assert seen(found) == [("MODIFIED", "b")]


def test_after_a_restart_old_versions_are_gone(tmp_path: Path) -> None:
    folder = tmp_path
    with LabCluster(["gpu1"], folder=folder):
        pass
    with LabCluster(["gpu1"], folder=folder) as cluster:
        [event] = events(cluster.store, NODES, resourceVersion="2")
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
        query = {"resourceVersion": "2", "resourceVersionMatch": "Exact"}
        answer = api.answer(cluster.store, Request("GET", NODES, ADMIN, query))
        assert isinstance(answer, Answer)
        assert answer.code == 410


def test_history_that_was_forgotten_is_told_as_too_old() -> None:
    store = Store(history=2)
    seed.create(store, {"kind": "Node", "metadata": {"name": "a"}})
    for value in ("1", "2", "3"):
        label(store, "a", x=value)
    assert events(store, NODES, resourceVersion="1")[0]["object"]["code"] == 410
    recent = events(store, NODES, resourceVersion=str(store.version - 2))
    assert seen(recent) == [("MODIFIED", "a")] * 2
