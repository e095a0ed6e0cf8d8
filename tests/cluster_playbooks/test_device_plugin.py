"""The playbooks that deploy, roll back and restart NVIDIA's device plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.lab.kube.seed import DEVICE_PLUGIN
from tests.cluster_playbooks.world import World

KUBE_SYSTEM = "kube-system"


def plugin(world: World) -> dict[str, Any]:
    item = world.lab.get("DaemonSet", DEVICE_PLUGIN, KUBE_SYSTEM)
    assert item
    return item


def container(world: World) -> dict[str, Any]:
    (only,) = plugin(world)["spec"]["template"]["spec"]["containers"]
    return dict(only)


def plugin_pods(world: World) -> dict[str, str]:
    """Node to the UID of the plugin's pod there."""
    return {
        pod["spec"]["nodeName"]: pod["metadata"]["uid"]
        for pod in world.lab.list("Pod", KUBE_SYSTEM)
        if DEVICE_PLUGIN in pod["metadata"]["name"]
    }


def without_plugin(world: World) -> None:
    world.lab.remove("DaemonSet", DEVICE_PLUGIN, KUBE_SYSTEM)
    world.lab.settle()
    assert [world.offers(node) for node in world.hosts] == ["0", "0"]


def test_deployed_where_there_is_none_and_then_nothing_to_do(world: World) -> None:
    without_plugin(world)
    ended, told = world.run("device-plugin-deploy.yaml")
    assert ended <= {"changed", "ok"} and "changed" in ended, told
    assert [world.offers(node) for node in world.hosts] == ["2", "2"]
    assert container(world)["image"] == "nvcr.io/nvidia/k8s-device-plugin:v0.17.1"
    assert world.run("device-plugin-deploy.yaml")[0] == {"ok"}


def test_another_version_reaches_every_node(world: World) -> None:
    without_plugin(world)
    world.run("device-plugin-deploy.yaml")
    before = plugin_pods(world)
    ended, told = world.run("device-plugin-deploy.yaml", plugin_version="v0.16.2")
    assert "changed" in ended and "failed" not in ended, told
    assert container(world)["image"].endswith(":v0.16.2")
    after = plugin_pods(world)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())


def test_a_plugin_of_an_operator_is_left_to_it(world: World) -> None:
    owner = {"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "name": "x", "uid": "1"}

    def owned(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "metadata": {**item["metadata"], "ownerReferences": [owner]}}

    world.lab.edit("DaemonSet", DEVICE_PLUGIN, owned, KUBE_SYSTEM)
    refusing = ("device-plugin-deploy", "device-plugin-rollback", "mps", "time-slicing")
    for playbook in (f"{name}.yaml" for name in refusing):
        ended, told = world.run(playbook)
        assert ended == {"denied"} and "is managed by ClusterPolicy" in told, told


def test_a_second_plugin_beside_another_is_refused(world: World) -> None:
    ended, told = world.run("device-plugin-deploy.yaml", plugin_namespace="default")
    assert ended == {"denied"} and "another device plugin has a pod on this node" in told, told


def test_a_broken_configuration_is_rolled_back_whole(world: World) -> None:
    def broken(item: dict[str, Any]) -> dict[str, Any]:
        spec = item["spec"]["template"]["spec"]
        (one,) = spec["containers"]
        one = {
            **one,
            "image": "nvcr.io/nvidia/k8s-device-plugin:v0.9.9",
            "args": ["--mig-strategy=wrong"],
            "env": [{"name": "CONFIG_FILE", "value": "/config/config.yaml"}],
            "volumeMounts": [{"name": "config", "mountPath": "/config"}],
        }
        volumes = [{"name": "config", "configMap": {"name": "missing"}}]
        template = {
            **item["spec"]["template"],
            "spec": {**spec, "containers": [one], "volumes": volumes},
        }
        return {**item, "spec": {**item["spec"], "template": template}}

    world.lab.edit("DaemonSet", DEVICE_PLUGIN, broken, KUBE_SYSTEM)
    for pod in list(plugin_pods(world)):
        world.lab.advertise(pod, {"nvidia.com/gpu": 0})
    ended, told = world.run("device-plugin-rollback.yaml")
    assert ended == {"changed"}, told
    assert [world.offers(node) for node in world.hosts] == ["2", "2"]
    only = container(world)
    assert only["image"].endswith(":v0.17.1") and "args" not in only
    assert [variable["name"] for variable in only["env"]] == ["FAIL_ON_INIT_ERROR", "MIG_STRATEGY"]
    assert world.run("device-plugin-rollback.yaml")[0] == {"ok"}


def test_nothing_to_roll_back(world: World) -> None:
    without_plugin(world)
    ended, told = world.run("device-plugin-rollback.yaml")
    assert ended == {"denied"} and "device-plugin-deploy.yaml deploys it" in told


def test_restarted_node_by_node_and_all_is_offered_again(world: World) -> None:
    world.lab.advertise("gpu1", {"nvidia.com/gpu": 2})
    before = plugin_pods(world)
    ended, told = world.run("device-plugin-restart.yaml")
    assert ended == {"changed"}, told
    after = plugin_pods(world)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert [world.offers(node) for node in world.hosts] == ["2", "2"]
    world.run("device-plugin-restart.yaml", only="gpu1")
    assert plugin_pods(world)["gpu2"] == after["gpu2"], "only where it was asked for"


def test_the_whole_daemonset_restarts_once_however_many_hosts_ask(
    world: World, tmp_path: Path
) -> None:
    playbook = tmp_path / "restart.yaml"
    playbook.write_text(
        "- name: restart it all\n  hosts: gpu\n  tasks:\n"
        f"    - daemonset_restart: {{name: {DEVICE_PLUGIN}, whole: true}}\n"
    )
    before, generation = plugin_pods(world), plugin(world)["metadata"]["generation"]
    ended, told = world.run(str(playbook))
    assert ended == {"changed"}, told
    after = plugin_pods(world)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert plugin(world)["metadata"]["generation"] == generation + 1
