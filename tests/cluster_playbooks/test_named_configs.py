"""Configurations of the device plugin that each node picks by its label."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from runner.lab.kube.seed import DEVICE_PLUGIN
from tests.cluster_playbooks.world import World

KUBE_SYSTEM = "kube-system"
CONFIGS = "nvidia-device-plugin-configs"
LABEL = "nvidia.com/device-plugin.config"
ROLE = "nvidia-device-plugin"
SIDECAR = {
    "name": "nvidia-device-plugin-sidecar",
    "command": ["config-manager"],
    "env": [
        {"name": "CONFIG_FILE_SRCDIR", "value": "/available-configs"},
        {"name": "FALLBACK_STRATEGIES", "value": "named"},
    ],
    "volumeMounts": [{"name": "available-configs", "mountPath": "/available-configs"}],
}
VOLUMES = [
    {"name": "available-configs", "configMap": {"name": CONFIGS}},
    {"name": "config", "emptyDir": {}},
]


@pytest.fixture
def world(world: World) -> World:
    """Its device plugin has NVIDIA's config-manager, as the playbook deploys that."""
    give_config_manager(world)
    return world


def give_config_manager(world: World) -> None:
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": KUBE_SYSTEM}
    reads = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE}
    name = {"metadata": {"name": ROLE}}
    world.lab.create({"kind": "ClusterRole", **name, "rules": [reads]})
    world.lab.create({"kind": "ClusterRoleBinding", **name, "roleRef": role, "subjects": [subject]})
    meta = {"name": CONFIGS, "namespace": KUBE_SYSTEM}
    world.lab.create({"kind": "ConfigMap", "metadata": meta, "data": {"default": "version: v1\n"}})

    def changed(item: dict[str, Any]) -> dict[str, Any]:
        spec = item["spec"]["template"]["spec"]
        (own,) = spec["containers"]
        mps = {"name": "MPS_ROOT", "value": "/run/nvidia/mps"}
        own = {**own, "env": [*own["env"], mps]}
        spec = {**spec, "containers": [SIDECAR | {"image": own["image"]}, own], "volumes": VOLUMES}
        template = {**item["spec"]["template"], "spec": spec}
        return {**item, "spec": {**item["spec"], "template": template}}

    world.lab.edit("DaemonSet", DEVICE_PLUGIN, changed, KUBE_SYSTEM)
    world.lab.settle()


def plugin(world: World) -> dict[str, Any]:
    item = world.lab.get("DaemonSet", DEVICE_PLUGIN, KUBE_SYSTEM)
    assert item
    return item


def plugin_pods(world: World) -> dict[str, str]:
    """Node to the UID of the plugin's pod there."""
    return {
        pod["spec"]["nodeName"]: pod["metadata"]["uid"]
        for pod in world.lab.list("Pod", KUBE_SYSTEM)
        if DEVICE_PLUGIN in pod["metadata"]["name"]
    }


def offered(world: World) -> list[str]:
    return [world.offers(node) for node in world.hosts]


def configs(world: World) -> dict[str, Any]:
    item = world.lab.get("ConfigMap", CONFIGS, KUBE_SYSTEM)
    assert item
    return {key: yaml.safe_load(text) for key, text in item["data"].items()}


def picked(world: World) -> list[str | None]:
    return [world.node(name)["metadata"]["labels"].get(LABEL) for name in world.hosts]


def label(world: World, node: str, value: str) -> None:
    def labelled(item: dict[str, Any]) -> dict[str, Any]:
        labels = {**item["metadata"]["labels"], LABEL: value}
        return {**item, "metadata": {**item["metadata"], "labels": labels}}

    world.lab.edit("Node", node, labelled)
    world.lab.settle()


def sliced(replicas: int) -> dict[str, Any]:
    resources = [{"name": "nvidia.com/gpu", "replicas": replicas}]
    slicing = {"renameByDefault": False, "failRequestsGreaterThanOne": False}
    return {"version": "v1", "sharing": {"timeSlicing": {**slicing, "resources": resources}}}


def managed_by(world: World, kind: str) -> None:
    owner = {"apiVersion": "nvidia.com/v1", "kind": kind, "name": "x", "uid": "1"}

    def owned(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "metadata": {**item["metadata"], "ownerReferences": [owner]}}

    world.lab.edit("DaemonSet", DEVICE_PLUGIN, owned, KUBE_SYSTEM)


def set_up(world: World, **settings: str) -> None:
    """Other settings of the config-manager than the playbook deploys."""

    def changed(item: dict[str, Any]) -> dict[str, Any]:
        text = yaml.safe_load(yaml.safe_dump(item["spec"]["template"]))
        for container in text["spec"]["containers"]:
            if container.get("command") == ["config-manager"]:
                kept = [e for e in container["env"] if e["name"] not in settings]
                container["env"] = kept + [{"name": n, "value": v} for n, v in settings.items()]
        return {**item, "spec": {**item["spec"], "template": text}}

    world.lab.edit("DaemonSet", DEVICE_PLUGIN, changed, KUBE_SYSTEM)
    world.lab.settle()


def test_one_node_shares_and_the_other_does_not(world: World) -> None:
    before = plugin_pods(world)
    ended, told = world.run("time-slicing.yaml", only="gpu1", config_name="shared")
    assert ended == {"changed"}, told
    assert offered(world) == ["8", "2"]
    assert picked(world) == ["shared", None]
    assert configs(world) == {"default": {"version": "v1"}, "shared": sliced(4)}
    assert plugin_pods(world)["gpu2"] == before["gpu2"], "no pod of another node is touched"
    assert world.run("time-slicing.yaml", only="gpu1", config_name="shared")[0] == {"ok"}


def test_a_node_that_comes_later_needs_its_label_alone(world: World) -> None:
    world.run("time-slicing.yaml", only="gpu1", config_name="shared")
    before = plugin_pods(world)
    ended, told = world.run("time-slicing.yaml", config_name="shared")
    assert ended == {"changed", "ok"}, told
    assert offered(world) == ["8", "8"]
    assert plugin_pods(world) == before, "config-manager tells the plugin by itself"


def test_other_replicas_under_the_name_make_the_pods_of_its_nodes_anew(world: World) -> None:
    world.run("time-slicing.yaml", config_name="shared")
    before = plugin_pods(world)
    ended, told = world.run("time-slicing.yaml", config_name="shared", replicas="3")
    assert ended == {"changed"}, told
    assert offered(world) == ["6", "6"]
    assert not set(plugin_pods(world).values()) & set(before.values())


def test_other_replicas_are_refused_while_other_nodes_have_that_name(world: World) -> None:
    world.run("time-slicing.yaml", config_name="shared")
    ended, told = world.run("time-slicing.yaml", only="gpu1", config_name="shared", replicas="3")
    assert ended == {"denied"}, told
    assert "nodes that are not in this run have it: gpu2" in told, told
    assert configs(world)["shared"] == sliced(4)
    ended, told = world.run(
        "time-slicing.yaml", only="gpu1", config_name="three", replaces="shared", replicas="3"
    )
    assert ended == {"changed"}, told
    assert offered(world) == ["6", "8"] and picked(world) == ["three", "shared"]


@pytest.mark.parametrize("playbook", ["time-slicing.yaml", "mps.yaml", "time-slicing-off.yaml"])
def test_what_somebody_else_has_picked_is_not_replaced_unless_told(
    world: World, playbook: str
) -> None:
    world.run("time-slicing.yaml", only="gpu1", config_name="theirs")
    ended, told = world.run(playbook, only="gpu1", config_name="ours")
    assert ended == {"denied"} and "-e replaces=theirs" in told, told
    assert picked(world) == ["theirs", None] and "ours" not in configs(world)


def test_off_takes_the_label_and_then_the_key(world: World) -> None:
    world.run("time-slicing.yaml", config_name="shared")
    ended, told = world.run("time-slicing-off.yaml", only="gpu1", config_name="shared")
    assert "changed" in ended and "failed" not in ended, told
    assert offered(world) == ["2", "8"] and picked(world) == [None, "shared"]
    assert "shared" in configs(world), "a node still has it"
    ended, told = world.run("time-slicing-off.yaml", config_name="shared")
    assert "changed" in ended and "failed" not in ended, told
    assert offered(world) == ["2", "2"] and picked(world) == [None, None]
    assert configs(world) == {"default": {"version": "v1"}}
    assert world.run("time-slicing-off.yaml", config_name="shared")[0] == {"ok"}


def test_off_is_refused_where_the_default_shares_too(world: World) -> None:
    world.run("time-slicing.yaml", config_name="shared")
    set_up(world, DEFAULT_CONFIG="shared")
    ended, told = world.run("time-slicing-off.yaml", config_name="shared")
    assert "denied" in ended and "gets shared, which shares GPUs" in told, told
    assert picked(world) == ["shared", "shared"]


def test_a_key_that_others_wrote_is_not_theirs_to_lose(world: World) -> None:
    def others(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "data": {**item["data"], "theirs": "version: v1\nflags: {}\n"}}

    world.lab.edit("ConfigMap", CONFIGS, others, KUBE_SYSTEM)
    world.run("time-slicing.yaml", config_name="shared")
    world.run("time-slicing-off.yaml", config_name="shared")
    assert set(configs(world)) == {"default", "theirs"}


def test_a_plugin_of_an_operator_is_left_as_it_is_and_its_nodes_may_share(world: World) -> None:
    managed_by(world, "ClusterPolicy")
    before = plugin(world)["spec"]
    ended, told = world.run("time-slicing.yaml", only="gpu1", config_name="shared")
    assert ended == {"changed"}, told
    assert offered(world) == ["8", "2"] and plugin(world)["spec"] == before


def test_nodes_that_get_the_only_configuration_are_not_left_without(world: World) -> None:
    def one(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "data": {"only": "version: v1\n"}}

    world.lab.edit("ConfigMap", CONFIGS, one, KUBE_SYSTEM)
    set_up(world, FALLBACK_STRATEGIES="named,single")
    ended, told = world.run("time-slicing.yaml", only="gpu1", config_name="shared")
    assert ended == {"denied"} and "nodes without the label get the only configuration" in told
    assert picked(world) == [None, None]


def test_a_name_is_needed_where_nodes_pick(world: World) -> None:
    for playbook in ("time-slicing.yaml", "time-slicing-off.yaml"):
        ended, told = world.run(playbook)
        assert "denied" in ended and "-e config_name=shared" in told, told


@pytest.mark.parametrize("name", ["a_b", "x" * 64])
def test_a_name_that_is_none_is_refused(world: World, name: str) -> None:
    ended, told = world.run("time-slicing.yaml", config_name=name)
    assert ended == {"denied"} and "at most 63 characters" in told, told


def test_mps_on_one_node_then_fewer_then_off(world: World) -> None:
    ended, told = world.run("mps.yaml", only="gpu1")
    assert ended == {"changed"}, told
    assert offered(world) == ["8", "2"] and picked(world) == ["mps", None]
    assert world.run("mps.yaml", only="gpu1")[0] == {"ok"}

    ended, told = world.run("mps.yaml", only="gpu1", replicas="2")
    assert ended == {"changed"}, told
    assert offered(world) == ["4", "2"]
    assert "nvidia-mps-control-daemon starts it anew" in told, "it reads its shares when it starts"

    ended, told = world.run("time-slicing.yaml", only="gpu1", config_name="shared", replaces="mps")
    assert ended == {"denied"} and "shared by MPS" in told, told

    ended, told = world.run("time-slicing-off.yaml", only="gpu1", config_name="mps")
    assert "changed" in ended and "failed" not in ended, told
    assert offered(world) == ["2", "2"] and picked(world) == [None, None]
    daemons = [p for p in world.lab.list("Pod", KUBE_SYSTEM) if "mps" in p["metadata"]["name"]]
    assert daemons == []


def test_time_slicing_and_mps_on_two_nodes_of_one_cluster(world: World) -> None:
    world.run("time-slicing.yaml", only="gpu1", config_name="shared", replicas="3")
    world.run("mps.yaml", only="gpu2", replicas="5")
    assert offered(world) == ["6", "10"]
    assert set(configs(world)) == {"default", "shared", "mps"}


def test_one_mps_client_is_none(world: World) -> None:
    ended, told = world.run("mps.yaml", replicas="1")
    assert ended == {"denied"} and "replicas is a whole number from 2 on" in told


def test_mps_needs_a_plugin_that_knows_it(world: World) -> None:
    def old(item: dict[str, Any]) -> dict[str, Any]:
        text = yaml.safe_dump(item["spec"]["template"]).replace(":v0.17.1", ":v0.14.0")
        return {**item, "spec": {**item["spec"], "template": yaml.safe_load(text)}}

    world.lab.edit("DaemonSet", DEVICE_PLUGIN, old, KUBE_SYSTEM)
    world.lab.settle()
    ended, told = world.run("mps.yaml")
    assert ended == {"denied"} and "MPS needs v0.15.0 or later" in told, told


def test_mps_needs_a_plugin_that_looks_for_the_daemon_there(world: World) -> None:
    ended, told = world.run("mps.yaml", mps_root="/var/mps")
    assert ended == {"denied"} and "-e mps_root=/var/mps" in told, told
