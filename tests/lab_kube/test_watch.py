"""Watches: where they start, what a selection sees, and when they are too late."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

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


def test_the_last_version_that_is_still_known_is_a_sharp_line() -> None:
    store = Store(history=2)
    seed.create(store, {"kind": "Node", "metadata": {"name": "a"}})
    for value in ("1", "2", "3"):
        label(store, "a", x=value)
    forgotten = events(store, NODES, resourceVersion=str(store.version - 3))
    assert [event["object"]["code"] for event in forgotten] == [410]


def test_bookmarks_come_only_where_they_are_asked_for() -> None:
    store = nodes("a")
    version = str(store.version)
    assert events(store, NODES, resourceVersion=version) == []
    [event] = events(store, NODES, resourceVersion=version, allowWatchBookmarks="true")
    assert event["type"] == "BOOKMARK"
    assert event["object"]["metadata"] == {"resourceVersion": version}


def test_a_watch_of_a_namespace_sees_nothing_of_others() -> None:
    store = nodes()
    for name in ("one", "other"):
        seed.create(store, {"kind": "Namespace", "metadata": {"name": name}})
    version = str(store.version)
    for name in ("one", "other"):
        seed.create(store, {"kind": "ConfigMap", "metadata": {"name": name, "namespace": name}})
    found = events(store, "/api/v1/namespaces/one/configmaps", resourceVersion=version)
    assert seen(found) == [("ADDED", "one")]


def test_a_watch_of_tables_gives_rows() -> None:
    request = Request("GET", NODES, ADMIN, {"watch": "true", "timeoutSeconds": "0.01"})
    watch = api.answer(nodes("a"), replace(request, accept="application/json;as=Table;v=v1"))
    assert isinstance(watch, Watch)
    [event] = watch.events(nodes("a"), lambda: False)
    assert event["object"]["kind"] == "Table"
    assert event["object"]["rows"][0]["cells"][0] == "a"


@pytest.mark.parametrize("more", [{}, {"watch": "true"}])
def test_what_is_no_version_is_told(more: dict[str, str]) -> None:
    answer = api.answer(nodes(), Request("GET", NODES, ADMIN, {"resourceVersion": "x", **more}))
    assert isinstance(answer, Answer) and isinstance(answer.body, dict)
    assert answer.body["message"].startswith('resourceVersion: Invalid value: "x": strconv.ParseU')


def test_a_version_of_the_future_is_not_waited_for() -> None:
    answer = api.answer(nodes(), Request("GET", NODES, ADMIN, {"resourceVersion": "999"}))
    assert isinstance(answer, Answer) and isinstance(answer.body, dict)
    assert (answer.code, answer.body["reason"]) == (504, "Timeout")
    assert answer.body["details"]["retryAfterSeconds"] == 1


def test_a_list_that_was_forgotten_meanwhile_goes_on_with_another_token() -> None:
    store = Store(history=2)
    for name in ("a", "b", "c"):
        seed.create(store, {"kind": "Node", "metadata": {"name": name}})

    def page(token: str) -> Answer:
        query = {"limit": "1", "continue": token}
        answer = api.answer(store, Request("GET", NODES, ADMIN, query))
        assert isinstance(answer, Answer)
        return answer

    first = page("").body
    assert isinstance(first, dict)
    for value in ("1", "2", "3"):
        label(store, "a", x=value)
    late = page(first["metadata"]["continue"])
    assert late.code == 410 and isinstance(late.body, dict)
    assert late.body["reason"] == "Expired"
    rest = page(late.body["metadata"]["continue"]).body
    assert isinstance(rest, dict)
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b"]
