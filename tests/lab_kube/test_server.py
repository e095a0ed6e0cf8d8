"""The program around the API: tokens, TLS, kubeconfigs, injected faults, and restarts."""

from __future__ import annotations

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest
from lightkube import ApiError, Client, KubeConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.policy_v1 import Eviction
from lightkube.resources.core_v1 import Node, Pod

from runner.lab.kube import LabCluster, seed
from runner.lab.kube.kinds import Json

PATIENCE = 120.0
RECORDED = Path(__file__).parent / "recorded"
POD = {
    "kind": "Pod",
    "metadata": {"name": "p1"},
    "spec": {"containers": [{"name": "c", "image": "x"}]},
}


def call(
    kubeconfig: Path,
    path: str,
    token: str | None = None,
    method: str = "GET",
    body: Any = None,
    impersonate: str = "",
) -> Any:
    """One request as a kubeconfig tells; returns the body."""
    config = json.loads(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    import base64

    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(cluster["server"] + path, content, method=method)
    request.add_header("Content-Type", "application/json")
    if impersonate:
        request.add_header("Impersonate-User", impersonate)
    token = config["users"][0]["user"]["token"] if token is None else token
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, context=context, timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith("{") else text


def client(kubeconfig: Path) -> Client:
    return Client(config=KubeConfig.from_file(str(kubeconfig)))


def test_health_and_version_need_no_token(cluster: LabCluster) -> None:
    assert call(cluster.kubeconfig, "/readyz", token="") == "ok"
    assert call(cluster.kubeconfig, "/livez", token="") == "ok"
    assert call(cluster.kubeconfig, "/version", token="")["gitVersion"] == "v1.36.2"


def test_a_token_is_issued_in_the_form_of_a_real_server(cluster: LabCluster) -> None:
    record = json.loads((RECORDED / "75-token-request.json").read_text())
    cluster.create({"kind": "Namespace", "metadata": {"name": "gpu-tests"}})
    account = {"name": "limited", "namespace": "gpu-tests"}
    cluster.create({"kind": "ServiceAccount", "metadata": account})
    request, wanted = record["request"], record["response"]["body"]
    found = call(cluster.kubeconfig, request["path"], method="POST", body=request["body"])
    for part in ("metadata", "status"):
        assert set(found[part]) == set(wanted[part]) - {"managedFields"}
    assert {**found, "metadata": 0, "status": 0} == {**wanted, "metadata": 0, "status": 0}
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(cluster.kubeconfig, "/api/v1/nodes", token=found["status"]["token"])
    assert "system:serviceaccount:gpu-tests:limited" in json.load(refused.value)["message"]


@pytest.mark.parametrize("token", ["", "wrong"])
def test_everything_else_needs_a_known_token(cluster: LabCluster, token: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(cluster.kubeconfig, "/api/v1/nodes", token)
    assert refused.value.code == 401
    assert json.load(refused.value)["reason"] == "Unauthorized"


def test_only_the_owner_may_read_kubeconfigs_and_keys(cluster: LabCluster) -> None:
    for path in cluster.folder.iterdir():
        if path.suffix != ".sqlite" and "sqlite" not in path.name:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(cluster.folder.stat().st_mode) == 0o700


def test_lightkube_lists_patches_and_evicts(cluster: LabCluster) -> None:
    cluster.create(POD)
    cluster.settle()
    lightkube = client(cluster.kubeconfig)
    assert [node.metadata.name for node in lightkube.list(Node) if node.metadata] == [
        "gpu1",
        "gpu2",
        "gpu3",
    ]
    lightkube.patch(Node, "gpu1", {"spec": {"unschedulable": True}})
    node = lightkube.get(Node, "gpu1")
    assert node.spec
    assert node.spec.unschedulable
    eviction = Pod.Eviction(metadata=ObjectMeta(name="p1", namespace="default"))
    assert isinstance(eviction, Eviction)
    lightkube.create(eviction, "p1", namespace="default")
    assert cluster.wait("Pod", "p1", lambda pod: pod is None) is None


def test_the_reader_may_look_but_not_touch(cluster: LabCluster) -> None:
    reader = client(cluster.kubeconfig_reader)
    assert len(list(reader.list(Node))) == 3
    with pytest.raises(ApiError, match='cannot patch resource "nodes"') as refused:
        reader.patch(Node, "gpu1", {"spec": {"unschedulable": True}})
    assert refused.value.status.code == 403


def test_a_fault_meets_only_the_requests_it_was_meant_for(cluster: LabCluster) -> None:
    cluster.fail_next(code=429, headers={"Retry-After": "7"}, path="/nodes/gpu2$")
    assert call(cluster.kubeconfig, "/api/v1/nodes/gpu1")["metadata"]["name"] == "gpu1"
    with pytest.raises(urllib.error.HTTPError) as failed:
        call(cluster.kubeconfig, "/api/v1/nodes/gpu2")
    assert (failed.value.code, failed.value.headers["Retry-After"]) == (429, "7")
    assert call(cluster.kubeconfig, "/api/v1/nodes/gpu2")["metadata"]["name"] == "gpu2"


def test_a_dropped_request_is_not_carried_out_a_lost_answer_is(cluster: LabCluster) -> None:
    broken = (RemoteDisconnected, ssl.SSLError, ConnectionError, urllib.error.URLError)
    for kind, left in (("drop", True), ("lose", False)):
        cluster.create({"kind": "ConfigMap", "metadata": {"name": kind}})
        cluster.fail_next(kind="drop" if kind == "drop" else "lose", method="DELETE")
        with pytest.raises(broken):
            path = f"/api/v1/namespaces/default/configmaps/{kind}"
            call(cluster.kubeconfig, path, method="DELETE")
        assert (cluster.get("ConfigMap", kind) is not None) == left


def test_a_hanging_request_ends_when_the_faults_are_cleared(cluster: LabCluster) -> None:
    cluster.fail_next(kind="hang", count=None)
    ended = threading.Event()

    def ask() -> None:
        # A request that comes between two faults is answered; the next one hangs.
        with pytest.raises((OSError, RemoteDisconnected)):
            while True:
                call(cluster.kubeconfig, "/api/v1/nodes")
        ended.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert not ended.is_set()
    deadline = time.monotonic() + PATIENCE
    while not ended.wait(0.02) and time.monotonic() < deadline:
        cluster.clear_faults()
        cluster.fail_next(kind="hang", count=None)
    cluster.clear_faults()
    asking.join(PATIENCE)
    assert ended.is_set()


def test_objects_and_credentials_survive_a_restart(tmp_path: Path) -> None:
    with LabCluster(["gpu1"], folder=tmp_path) as cluster:
        made = cluster.create(POD)
        first = cluster.kubeconfig.read_text()
    with LabCluster(["gpu1"], folder=tmp_path) as cluster:
        kept = cluster.get("Pod", "p1")
        assert kept
        assert kept["metadata"]["uid"] == made["metadata"]["uid"]
        assert int(kept["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
        known = json.loads(first)["users"][0]["user"]["token"]
        assert call(cluster.kubeconfig, "/api/v1/nodes", known)["kind"] == "NodeList"


def test_a_node_added_later_registers_at_the_next_start(tmp_path: Path) -> None:
    with LabCluster(["gpu1"], folder=tmp_path):
        pass
    with LabCluster(["gpu1", "gpu2"], folder=tmp_path) as cluster:
        names = [node["metadata"]["name"] for node in cluster.list("Node")]
        assert names == ["gpu1", "gpu2"]


@contextmanager
def program(folder: Path, nodes: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m runner.lab.kube`, serving."""
    command = [sys.executable, "-m", "runner.lab.kube", "--folder", str(folder)]
    command += ["--nodes", str(nodes), "--bind", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith("serving https://127.0.0.1:")
            yield process
        finally:
            process.kill()


def test_killed_at_any_moment_it_loses_nothing_it_answered(tmp_path: Path) -> None:
    nodes, folder = tmp_path / "nodes.json", tmp_path / "kube"
    listed: list[Json] = [
        {"name": "gpu1", "address": "", "root": "", "model": "H100-80", "count": 2},
        {"name": "gpu2", "address": "", "root": "", "model": "T4", "count": 1},
    ]
    nodes.write_text(json.dumps(listed))
    with program(folder, nodes) as process:
        lightkube = client(folder / "kubeconfig")
        lightkube.patch(Node, "gpu1", {"spec": {"unschedulable": True}})
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    with program(folder, nodes) as process:
        node = client(folder / "kubeconfig").get(Node, "gpu1")
        assert node.spec
        assert node.spec.unschedulable
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_reset_brings_back_the_first_state(cluster: LabCluster) -> None:
    cluster.create(seed.deployment("web", 1))
    cluster.settle()
    cluster.reset()
    cluster.settle()
    assert not cluster.list("Pod")
    assert [node["metadata"]["name"] for node in cluster.list("Node")] == ["gpu1", "gpu2", "gpu3"]


def test_an_administrator_may_ask_as_somebody_else(cluster: LabCluster) -> None:
    path = "/api/v1/nodes"
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(cluster.kubeconfig, path, impersonate="bob")
    assert 'User "bob" cannot list resource "nodes"' in json.load(refused.value)["message"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(cluster.kubeconfig_reader, path, impersonate="lab-admin")
    told = json.load(refused.value)
    assert told["code"] == 403 and "cannot impersonate resource" in told["message"]


def test_who_am_i_and_what_may_i_do(cluster: LabCluster) -> None:
    base = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    found = call(cluster.kubeconfig_reader, base, method="POST", body={})
    assert found["status"]["userInfo"]["username"] == "lab-reader"
    base = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    found = call(
        cluster.kubeconfig_reader, base, method="POST", body={"spec": {"namespace": "default"}}
    )
    assert found["status"]["resourceRules"][0]["verbs"] == ["get", "list", "watch"]
