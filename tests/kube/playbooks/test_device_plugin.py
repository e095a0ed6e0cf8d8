"""The playbooks that deploy, roll back and restart NVIDIA's device plugin."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.kube.names import NODE, NS, OTHER
from tests.kube.playbooks.stage import PLUGIN, Stage

Json = dict[str, Any]


def plugin(stage: Stage) -> Json:
    return stage.world.get("DaemonSet", PLUGIN)


def rewrite(stage: Stage, volumes: Sequence[Json] = (), **container: Any) -> None:
    """Somebody changes the plugin's container by hand."""
    spec = plugin(stage)["spec"]["template"]["spec"]
    changed = {"containers": [{**spec["containers"][0], **container}], "volumes": list(volumes)}
    stage.world.change("DaemonSet", PLUGIN, spec={"template": {"spec": changed}})


def container(stage: Stage) -> dict[str, Any]:
    (only,) = plugin(stage)["spec"]["template"]["spec"]["containers"]
    return dict(only)


def plugin_pods(stage: Stage) -> dict[str, str]:
    """Node to the UID of the plugin's pod there."""
    return {
        pod["spec"]["nodeName"]: pod["metadata"]["uid"]
        for pod in stage.world.found("Pod")
        if PLUGIN in pod["metadata"]["name"] and "deletionTimestamp" not in pod["metadata"]
    }


def without_plugin(stage: Stage) -> None:
    stage.world.delete("DaemonSet", PLUGIN)
    stage.world.until(lambda: stage.offers() == ["0", "0"], "no GPU is offered")


def test_deployed_where_there_is_none_and_then_nothing_to_do(stage: Stage) -> None:
    without_plugin(stage)
    ended, told = stage.run("device-plugin-deploy.yaml")
    assert ended <= {"changed", "ok"} and "changed" in ended, told
    assert stage.offers() == ["2", "2"]
    assert container(stage)["image"] == "nvcr.io/nvidia/k8s-device-plugin:v0.17.1"
    assert stage.run("device-plugin-deploy.yaml")[0] == {"ok"}


def test_another_version_reaches_every_node(stage: Stage) -> None:
    without_plugin(stage)
    stage.run("device-plugin-deploy.yaml")
    before = plugin_pods(stage)
    ended, told = stage.run("device-plugin-deploy.yaml", plugin_version="v0.16.2")
    assert "changed" in ended and "failed" not in ended, told
    assert container(stage)["image"].endswith(":v0.16.2")
    after = plugin_pods(stage)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())


def test_a_plugin_of_an_operator_is_left_to_it(stage: Stage) -> None:
    owner = {"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "name": "x"}
    owner["uid"] = str(uuid.uuid4())
    stage.world.change("DaemonSet", PLUGIN, metadata={"ownerReferences": [owner]})
    refusing = ("device-plugin-deploy", "device-plugin-rollback", "mps", "time-slicing")
    for playbook in (f"{name}.yaml" for name in refusing):
        ended, told = stage.run(playbook)
        assert ended == {"denied"} and "is managed by ClusterPolicy" in told, told


def test_a_second_plugin_beside_another_is_refused(stage: Stage) -> None:
    ended, told = stage.run("device-plugin-deploy.yaml", plugin_namespace="default")
    assert ended == {"denied"} and "another device plugin has a pod on this node" in told, told


def test_a_broken_configuration_is_rolled_back_whole(stage: Stage) -> None:
    rewrite(
        stage,
        image="nvcr.io/nvidia/k8s-device-plugin:v0.9.9",
        args=["--mig-strategy=wrong"],
        env=[{"name": "CONFIG_FILE", "value": "/config/config.yaml"}],
        volumeMounts=[{"name": "config", "mountPath": "/config"}],
        volumes=[{"name": "config", "configMap": {"name": "missing"}}],
    )
    for node in stage.hosts:
        stage.kubelet.advertise(node, {"nvidia.com/gpu": 0})
    ended, told = stage.run("device-plugin-rollback.yaml")
    assert ended == {"changed"}, told
    assert stage.offers() == ["2", "2"]
    only = container(stage)
    assert only["image"].endswith(":v0.17.1") and "args" not in only
    assert [variable["name"] for variable in only["env"]] == ["FAIL_ON_INIT_ERROR", "MIG_STRATEGY"]
    assert stage.run("device-plugin-rollback.yaml")[0] == {"ok"}


def test_nothing_to_roll_back(stage: Stage) -> None:
    without_plugin(stage)
    ended, told = stage.run("device-plugin-rollback.yaml")
    assert ended == {"denied"} and "device-plugin-deploy.yaml deploys it" in told


def test_restarted_node_by_node_and_all_is_offered_again(stage: Stage) -> None:
    stage.kubelet.advertise(NODE, {"nvidia.com/gpu": 2})
    before = plugin_pods(stage)
    ended, told = stage.run("device-plugin-restart.yaml")
    assert ended == {"changed"}, told
    after = plugin_pods(stage)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert stage.offers() == ["2", "2"]
    stage.run("device-plugin-restart.yaml", only=NODE)
    assert plugin_pods(stage)[OTHER] == after[OTHER], "only where it was asked for"


def test_the_whole_daemonset_restarts_once_however_many_hosts_ask(
    stage: Stage, tmp_path: Path
) -> None:
    playbook = tmp_path / "restart.yaml"
    playbook.write_text(
        "- name: restart it all\n  hosts: gpu\n  tasks:\n"
        f"    - daemonset_restart: {{namespace: {NS}, name: {PLUGIN}, whole: true}}\n"
    )
    before, generation = plugin_pods(stage), plugin(stage)["metadata"]["generation"]
    ended, told = stage.run(str(playbook))
    assert ended == {"changed"}, told
    after = plugin_pods(stage)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert plugin(stage)["metadata"]["generation"] == generation + 1
