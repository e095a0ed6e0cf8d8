"""The shipped RBAC manifest: enough for everything, and nothing in it too much."""

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
from runner.lab.kube import authorization
from runner.lab.kube.authorization import Access, allowed
from runner.lab.kube.requests import User
from tests.cluster_playbooks.test_named_configs import give_config_manager
from tests.cluster_playbooks.world import World
from tests.kube.playbooks.test_rdma import DEVICES, MODULES
from tests.lab_kube.credentials import kubeconfig_with

ACCOUNT = "system:serviceaccount:gpurun:gpurun"

RUNTIME_CLASS = """\
- name: the RuntimeClass
  hosts: gpu
  tasks:
    - kubernetes_object:
        definition:
          apiVersion: node.k8s.io/v1
          kind: RuntimeClass
          metadata: {name: nvidia}
          handler: nvidia
"""


def documents() -> list[dict[str, Any]]:
    printed = CliRunner().invoke(rbac, standalone_mode=False).stdout
    return list(yaml.safe_load_all(printed))


class Asked:
    """What the API was asked for by the service account, and what it denied."""

    def __init__(self) -> None:
        self.allowed: set[tuple[str, str, str]] = set()
        self.denied: list[Access] = []


@pytest.fixture
def asked(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The manifest is applied, and gpurun is that service account."""
    seen = Asked()

    def judge(store: Any, user: User, access: Access) -> bool:
        may = allowed(store, user, access)
        if user.name == ACCOUNT:
            if may:
                seen.allowed.add((access.verb, access.group, access.resource))
            else:
                seen.denied.append(access)
        return may

    for item in documents():
        world.lab.create(item)
    monkeypatch.setattr(authorization, "allowed", judge)
    token = world.lab.account("gpurun", "gpurun")
    world.kubeconfig = kubeconfig_with(world.lab, tmp_path / "account", token=token)
    yield seen


def granted() -> set[tuple[str, str, str]]:
    return {
        (verb, group, resource)
        for item in documents()
        for rule in item.get("rules", ())
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_enough_for_every_playbook_and_verb_and_nothing_too_much(
    world: World, asked: Asked, tmp_path: Path
) -> None:
    for tool, output in (("lsmod", MODULES), ("find", DEVICES), ("rdma", "netns shared")):
        world.tool(tool, output)
    world.cordon("gpu1")
    other = tmp_path / "runtime-class.yaml"
    other.write_text(RUNTIME_CLASS)
    for playbook, variables in (
        ("node-return.yaml", {"check_image": "cuda:12"}),
        ("time-slicing.yaml", {}),
        ("time-slicing-off.yaml", {}),
        ("device-plugin-rollback.yaml", {}),
        ("device-plugin-restart.yaml", {}),
        ("time-slicing.yaml", {"config_name": "shared"}),
        ("time-slicing-off.yaml", {"config_name": "shared"}),
        ("mps.yaml", {}),
        ("rdma-shared-plugin.yaml", {}),
        (str(other), {}),
    ):
        if playbook == "device-plugin-restart.yaml":
            give_config_manager(world)  # whose account and role an administrator makes
        ended, told = world.run(playbook, **variables)
        assert ended <= {"changed", "ok"} and "changed" in ended, f"{playbook}: {told}"
    world.run("capacity-report.yaml")
    arguments = ["-i", "gpu1,gpu2,", "--kubeconfig", str(world.kubeconfig)]
    for verb in (nodes, capacity):
        answer = CliRunner().invoke(verb, arguments, standalone_mode=False)
        assert answer.return_value == 0, answer.output
    CliRunner().invoke(unlock, ["gpu1", *arguments, "--reason", "proof"], standalone_mode=False)
    assert asked.denied == []
    assert granted() - asked.allowed == set(), "what nothing needs is not asked for"


@pytest.mark.parametrize(
    ("role", "resource", "verb", "playbook", "words"),
    [
        ("gpurun", "nodes", "patch", "node-return.yaml", 'cannot patch resource "nodes"'),
        ("gpurun", "pods", "list", "time-slicing.yaml", 'cannot list resource "pods"'),
        (
            "gpurun-objects",
            "configmaps",
            "create",
            "time-slicing.yaml",
            'cannot create resource "configmaps"',
        ),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_done(
    world: World, asked: Asked, role: str, resource: str, verb: str, playbook: str, words: str
) -> None:
    def without(item: dict[str, Any]) -> dict[str, Any]:
        rules = [
            {**rule, "verbs": [v for v in rule["verbs"] if v != verb]}
            if rule["resources"] == [resource]
            else rule
            for rule in item["rules"]
        ]
        return {**item, "rules": rules}

    world.lab.edit("ClusterRole", role, without)
    world.cordon("gpu1")
    ended, told = world.run(playbook, only="gpu1")
    assert ended <= {"failed", "unknown", "denied"}, told
    assert words in told and "kubectl" in told, told
    assert world.lab.get("ConfigMap", "nvidia-device-plugin-config", "kube-system") is None


def test_outside_of_its_namespaces_it_may_do_nothing(world: World, asked: Asked) -> None:
    ended, told = world.run("time-slicing.yaml", plugin_namespace="default")
    assert ended == {"unknown"}, told
    assert 'in the namespace "default"' in told
