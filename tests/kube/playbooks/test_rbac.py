"""The shipped RBAC manifest is enough: as the cluster's own authorizer judges it.

That nothing in it is too much is seen in `tests/cluster_playbooks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from runner.cli.capacity import capacity
from runner.cli.nodes import nodes, unlock
from runner.cli.rbac import rbac
from runner.kube.api import RefusalError
from runner.kube.cluster import Cluster
from tests.kube.credentials import with_user
from tests.kube.names import NODE, NS, OTHER, PREFIX
from tests.kube.playbooks.stage import Stage
from tests.kube.world import World

ACCOUNT = f"system:serviceaccount:{NS}:gpurun"


def ours(item: dict[str, Any]) -> dict[str, Any]:
    """A document of the manifest under the tests' names, and for plugins in their namespace."""
    meta = dict(item["metadata"])
    if item["kind"] != "ServiceAccount":
        meta["name"] = f"{PREFIX}-{meta['name']}"
    if meta.get("namespace") == "gpurun" or meta["name"].endswith("gpurun-objects"):
        meta |= {"namespace": NS} if item["kind"] != "ClusterRole" else {}
    renamed = {**item, "metadata": meta}
    if "roleRef" in item:
        renamed["roleRef"] = {**item["roleRef"], "name": f"{PREFIX}-{item['roleRef']['name']}"}
        renamed["subjects"] = [{**subject, "namespace": NS} for subject in item["subjects"]]
    return renamed


@pytest.fixture
def as_account(stage: Stage, target: Path, tmp_path: Path) -> Iterator[Path]:
    """The manifest is applied, and gpurun is its service account."""
    world: World = stage.world
    printed = CliRunner().invoke(rbac, standalone_mode=False).stdout
    for item in map(ours, yaml.safe_load_all(printed)):
        if item["kind"] != "Namespace":
            world.create(item["kind"], item, item["metadata"].get("namespace", ""))
    path = f"/api/v1/namespaces/{NS}/serviceaccounts/gpurun/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = world.ask("POST", path, {**asked, "spec": {"expirationSeconds": 3600}})
    world.kubeconfig = with_user(target, tmp_path / "account", token=token["status"]["token"])
    account = Cluster(world.kubeconfig)
    world.until(lambda: may_look(account), "the roles have come to the authorizer")
    account.close()
    yield world.kubeconfig


def may_look(cluster: Cluster) -> bool:
    try:
        cluster.read_nodes([NODE])
    except RefusalError as error:
        if error.code != 403:
            raise
        return False
    return True


def test_enough_for_playbooks_and_verbs(stage: Stage, as_account: Path) -> None:
    stage.cordon(NODE)
    for playbook in (
        "node-return.yaml",
        "time-slicing.yaml",
        "time-slicing-off.yaml",
        "device-plugin-rollback.yaml",
        "device-plugin-restart.yaml",
    ):
        ended, told = stage.run(playbook)
        assert ended <= {"changed", "ok"} and "changed" in ended, f"{playbook}: {told}"
    arguments = ["-i", f"{NODE},{OTHER},", "--kubeconfig", str(as_account)]
    for verb in (nodes, capacity):
        answer = CliRunner().invoke(verb, arguments, standalone_mode=False)
        assert answer.return_value == 0, answer.output
    arguments = [NODE, *arguments, "--reason", "proof"]
    answer = CliRunner().invoke(unlock, arguments, standalone_mode=False)
    assert answer.exception is None, answer.output


def test_elsewhere_it_may_do_nothing(stage: Stage, as_account: Path) -> None:
    ended, told = stage.run("time-slicing.yaml", plugin_namespace="default")
    assert ended == {"unknown"}, told
    assert f'"{ACCOUNT}" cannot get resource' in told and 'in the namespace "default"' in told
