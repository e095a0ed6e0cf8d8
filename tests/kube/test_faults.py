"""What goes wrong with an API server while a node is drained, and what becomes of the drain."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import api, waiting
from runner.kube.api import RefusalError
from runner.kube.cluster import Cluster
from runner.kube.drain import drain
from runner.kube.maintenance import begin, check_cordoned, end
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainOptions
from tests.kube.names import NODE, NS
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World

OPTIONS = DrainOptions(timeout=DEADLINE)
EVICTING = f"evicting {NS}/a"


def run(world: World, progress: Callable[[str], None] | None = None, **options: Any) -> None:
    given = DrainOptions(**{"timeout": DEADLINE, **options})
    snapshot = Snapshot(world.cluster)
    drain(snapshot, NODE, given, "full", progress or world.progress, world.stop)


@pytest.fixture
def node(world: World) -> World:
    """A node with one pod that goes at once."""
    world.node()
    world.pod(pod("a", grace=0))
    return world


def gone(world: World) -> bool:
    return not world.has("Pod", "a")


class TestAnswers:
    """Each fault meets several requests in a row, of reads or of evictions."""

    @pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
    def test_reads_that_fail_for_a_while(self, node: World, code: int) -> None:
        fault = {"code": code, "method": "GET", "count": 9, "headers": {"Retry-After": "0"}}
        run(node, node.when(EVICTING, lambda: node.fault(**fault)))
        assert gone(node)
        assert any("the API server does not answer, waiting" in text for text in node.said)

    @pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
    def test_evictions_that_fail_for_a_while(self, node: World, code: int) -> None:
        message = "too many requests, please try again later"
        node.fault(code=code, path="eviction", count=6, message=message)
        run(node)
        assert gone(node)
        assert any(f"{NS}/a must wait" in text and message in text for text in node.said)

    @pytest.mark.parametrize("kind", ["drop", "lose"])
    def test_connections_that_break(self, node: World, kind: str) -> None:
        node.fault(kind=kind, path="eviction", count=2)
        node.fault(kind=kind, path="/pods$", method="GET", count=2)
        run(node)
        assert gone(node)

    @pytest.mark.parametrize("path", ["/pods$", "eviction"])
    def test_a_server_that_stands_still(
        self, node: World, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.setattr(api, "TIMEOUT", 0.2)
        node.fault(kind="hang", path=path, count=2)
        run(node)
        assert gone(node)

    def test_one_that_stands_still_for_good_is_named(
        self, node: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api, "TIMEOUT", 0.1)
        monkeypatch.setattr(waiting, "PATIENCE", 0.3)
        node.fault(kind="hang", path="/pods$", count=None)
        with pytest.raises(ClusterError, match=f"list pods of node {NODE}: no answer in time"):
            run(node)

    def test_an_eviction_that_never_works_ends_with_the_reason(self, node: World) -> None:
        message = 'failed calling webhook "policy.example.com"'
        node.fault(code=500, path="eviction", count=None, message=message)
        with pytest.raises(ClusterError) as caught:
            run(node, timeout=0.3)
        assert "not drained after 0 s" in caught.value.message
        assert f"still there: {NS}/a (" in caught.value.message
        assert message in caught.value.message


def test_an_api_server_that_restarts_in_the_middle(world: World) -> None:
    world.node()
    for name in "abc":
        world.pod(pod(name, grace=0))
    waited = threading.Event()

    def progress(text: str) -> None:
        world.progress(text)
        if text.startswith("evicting") and not waited.is_set():
            waited.set()
            world.proxy.stop()
        elif "does not answer" in text:
            world.proxy.start()

    begin(world.cluster, NODE, "run-1")
    drain(Snapshot(world.cluster), NODE, OPTIONS, "full", progress, world.stop)
    assert waited.is_set()
    assert not any(world.has("Pod", name) for name in "abc")
    assert end(world.cluster, NODE, "run-1") == f"node {NODE} uncordoned"


class TestTokens:
    def renew(self, world: World, kubeconfig: Path) -> None:
        """The token is no longer accepted; somebody logs in anew."""
        world.proxy.token = "new"
        content = json.loads(kubeconfig.read_text())
        content["users"][0]["user"]["token"] = "new"
        kubeconfig.write_text(json.dumps(content))

    @pytest.fixture
    def kubeconfig(self, node: World, tmp_path: Path) -> Path:
        own = tmp_path / "kubeconfig"
        own.write_bytes(node.kubeconfig.read_bytes())
        node.cluster = Cluster(own)
        return own

    def test_one_that_expires_is_read_anew(self, node: World, kubeconfig: Path) -> None:
        run(node, node.when(EVICTING, lambda: self.renew(node, kubeconfig)))
        assert gone(node)

    def test_without_a_new_one_it_is_told_what_to_do(
        self, node: World, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "PATIENCE", 0.3)

        def expire() -> None:
            node.proxy.token = "new"

        with pytest.raises(ClusterError, match=r"Unauthorized") as caught:
            run(node, node.when(EVICTING, expire))
        assert "auth whoami" in caught.value.hint
        assert any("for a new login" in text and "auth whoami" in text for text in node.said)

    def test_a_new_login_while_it_waits_for_one_is_taken_up(
        self, node: World, kubeconfig: Path
    ) -> None:
        def progress(said: str) -> None:
            node.progress(said)
            if said.startswith(EVICTING):
                node.proxy.token = "new"
            elif "for a new login" in said:
                self.renew(node, kubeconfig)

        run(node, progress)
        assert gone(node)


class TestOthers:
    """Others change the node and its pods in the meantime."""

    def test_a_node_that_is_deleted(self, world: World) -> None:
        world.node()
        world.pod(pod("a", grace=600))
        begin(world.cluster, NODE, "run-1")

        def delete() -> None:
            world.delete("Node", NODE)
            world.delete("Pod", "a")

        run(world, world.when(EVICTING, delete))
        with pytest.raises(RefusalError, match="not found"):
            check_cordoned(world.cluster, NODE)
        assert end(world.cluster, NODE, "run-1") == f"node {NODE} is no longer in the cluster"

    def test_a_node_that_is_uncordoned_is_not_worked_on(self, node: World) -> None:
        begin(node.cluster, NODE, "run-1")
        check_cordoned(node.cluster, NODE)
        uncordon = node.when(
            EVICTING, lambda: node.change("Node", NODE, spec={"unschedulable": False})
        )
        run(node, uncordon)
        with pytest.raises(ClusterError, match="uncordoned by somebody else while it was drained"):
            check_cordoned(node.cluster, NODE)
        assert "was uncordoned by somebody else" in end(node.cluster, NODE, "run-1")

    def test_a_pod_that_comes_again_under_its_name_goes_again(self, world: World) -> None:
        """A StatefulSet's, on a node that tolerates no cordon of ours: another UID, another pod."""
        world.node()
        old = world.pod(pod("a"))
        came: list[str] = []

        def again() -> None:
            world.end(old)
            came.append(world.pod(pod("a", grace=0))["metadata"]["uid"])

        run(world, world.when(EVICTING, again))
        assert gone(world) and len(came) == 1
        assert world.said.count(f"{NS}/a is gone") == 2
