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
from runner.lab.kube.kinds import KIND
from runner.lab.kube.server import ApiServer
from runner.lab.kube.store import Store
from tests.kube.objects import pod
from tests.kube.world import DEADLINE, World

OPTIONS = DrainOptions(timeout=DEADLINE)
EVICTING = "evicting default/a"


def run(world: World, progress: Callable[[str], None] | None = None, **options: Any) -> None:
    given = DrainOptions(**{"timeout": DEADLINE, **options})
    snapshot = Snapshot(world.cluster)
    drain(snapshot, "gpu-1", given, "full", progress or world.progress, world.stop)


@pytest.fixture
def node(world: World) -> World:
    """A node with one pod that goes at once."""
    world.node()
    world.pod(pod("a", grace=0))
    return world


def gone(world: World) -> bool:
    return not world.has("Pod", "a", "default")


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
        assert any("default/a must wait" in text and message in text for text in node.said)

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
        with pytest.raises(ClusterError, match="list pods of node gpu-1: no answer in time"):
            run(node)

    def test_an_eviction_that_never_works_ends_with_the_reason(self, node: World) -> None:
        message = 'failed calling webhook "policy.example.com"'
        node.fault(code=500, path="eviction", count=None, message=message)
        with pytest.raises(ClusterError) as caught:
            run(node, timeout=0.3)
        assert "not drained after 0 s" in caught.value.message
        assert "still there: default/a (" in caught.value.message
        assert message in caught.value.message


class Restarted:
    """An API server that can be stopped and started on the same address."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder = Store(), folder
        self.server = ApiServer(self.store, folder, "127.0.0.1", 0)
        self.kubeconfig = self.server.start()
        self.port = int(self.server.server_address[1])

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server = ApiServer(self.store, self.folder, "127.0.0.1", self.port)
        self.server.start()


def test_an_api_server_that_restarts_in_the_middle(tmp_path: Path, quick: None) -> None:
    restarted = Restarted(tmp_path)
    world = World(restarted.server, restarted.kubeconfig)
    try:
        world.node()
        for name in "abc":
            world.pod(pod(name, grace=0))
        world.budget(selector={"matchLabels": {}}, minAvailable=0)
        waited = threading.Event()

        def progress(text: str) -> None:
            world.progress(text)
            if text.startswith("evicting") and not waited.is_set():
                waited.set()
                restarted.stop()
            elif "does not answer" in text:
                restarted.start()

        begin(world.cluster, "gpu-1", "run-1")
        drain(Snapshot(world.cluster), "gpu-1", OPTIONS, "full", progress, world.stop)
        assert waited.is_set()
        assert not any(world.has("Pod", name, "default") for name in "abc")
        assert end(world.cluster, "gpu-1", "run-1") == "node gpu-1 uncordoned"
    finally:
        world.close()
        restarted.stop()


class TestTokens:
    def renew(self, world: World, kubeconfig: Path) -> None:
        """The token is no longer accepted; somebody logs in anew."""
        content = json.loads(kubeconfig.read_text())
        user = content["users"][0]["user"]
        known = world.server.accounts._fixed
        known["new"] = known.pop(user["token"])
        user["token"] = "new"
        kubeconfig.write_text(json.dumps(content))

    @pytest.fixture
    def kubeconfig(self, node: World, tmp_path: Path) -> Path:
        own = tmp_path / "kubeconfig"
        own.write_bytes(node.kubeconfig.read_bytes())
        node.cluster = Cluster(own)
        return own

    @pytest.fixture(autouse=True)
    def tokens(self, node: World, monkeypatch: pytest.MonkeyPatch) -> None:
        accounts = node.server.accounts
        monkeypatch.setattr(accounts, "_fixed", dict(accounts._fixed))

    def test_one_that_expires_is_read_anew(self, node: World, kubeconfig: Path) -> None:
        run(node, node.when(EVICTING, lambda: self.renew(node, kubeconfig)))
        assert gone(node)

    def test_without_a_new_one_it_is_told_what_to_do(self, node: World, kubeconfig: Path) -> None:
        expire = node.when(EVICTING, node.server.accounts._fixed.clear)
        with pytest.raises(ClusterError, match=r"default/a: Unauthorized \(.*auth whoami"):
            run(node, expire)


class TestOthers:
    """Others change the node and its pods in the meantime."""

    def test_a_node_that_is_deleted(self, world: World) -> None:
        world.node()
        world.pod(pod("a", grace=600))
        begin(world.cluster, "gpu-1", "run-1")

        def delete() -> None:
            with world.store.lock:
                world.store.remove(KIND["Node"], world.get("Node", "gpu-1"))
                world.store.remove(KIND["Pod"], world.get("Pod", "a", "default"))

        run(world, world.when(EVICTING, delete))
        with pytest.raises(RefusalError, match="not found"):
            check_cordoned(world.cluster, "gpu-1")
        assert end(world.cluster, "gpu-1", "run-1") == "node gpu-1 is no longer in the cluster"

    def test_a_node_that_is_uncordoned_is_not_worked_on(self, node: World) -> None:
        begin(node.cluster, "gpu-1", "run-1")
        check_cordoned(node.cluster, "gpu-1")
        uncordon = node.when(
            EVICTING, lambda: node.change("Node", "gpu-1", spec={"unschedulable": False})
        )
        run(node, uncordon)
        with pytest.raises(ClusterError, match="uncordoned by somebody else while it was drained"):
            check_cordoned(node.cluster, "gpu-1")
        assert "was uncordoned by somebody else" in end(node.cluster, "gpu-1", "run-1")

    def test_a_pod_that_comes_again_under_its_name_goes_again(self, world: World) -> None:
        """A StatefulSet's, on a node that tolerates no cordon of ours: another UID, another pod."""
        world.node()
        world.pod(pod("a", owner="StatefulSet", owner_name="db"))
        came: list[str] = []

        def again() -> None:
            with world.store.lock:
                world.store.remove(KIND["Pod"], world.get("Pod", "a", "default"))
                item = pod("a", owner="StatefulSet", owner_name="db", grace=0)
                came.append(world.pod(item)["metadata"]["uid"])

        run(world, world.when(EVICTING, again))
        assert gone(world) and len(came) == 1
        assert world.said.count("default/a is gone") == 2
