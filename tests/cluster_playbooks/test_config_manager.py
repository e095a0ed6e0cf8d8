"""What NVIDIA's config-manager does, as the lab's cluster does it; and plugins without one."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab.kube.budgets import is_ready
from tests.cluster_playbooks.test_named_configs import (
    CONFIGS,
    KUBE_SYSTEM,
    configs,
    give_config_manager,
    label,
    offered,
    plugin,
    plugin_pods,
    set_up,
)
from tests.cluster_playbooks.world import World

CONFIG_MANAGER = "device-plugin-config-manager.yaml"
SHARED = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}\n"


@pytest.fixture
def picking(world: World) -> World:
    """The plugin has the config-manager, and there is a second configuration."""
    give_config_manager(world)
    write(world, SHARED)
    return world


def write(world: World, text: str) -> None:
    def written(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "data": {**item["data"], "shared": text}}

    world.lab.edit("ConfigMap", CONFIGS, written, KUBE_SYSTEM)
    world.lab.settle()


def ready(world: World) -> list[bool]:
    pods = plugin_pods(world).values()
    found = {p["metadata"]["uid"]: p for p in world.lab.list("Pod", KUBE_SYSTEM)}
    return [is_ready(found[uid]) for uid in pods]


def test_a_label_is_seen_without_a_new_pod(picking: World) -> None:
    before = plugin_pods(picking)
    label(picking, "gpu1", "shared")
    assert offered(picking) == ["8", "2"]
    label(picking, "gpu1", "default")
    assert offered(picking) == ["2", "2"]
    assert plugin_pods(picking) == before


def test_new_data_are_not(picking: World) -> None:
    label(picking, "gpu1", "shared")
    write(picking, SHARED.replace("4", "8"))
    assert offered(picking) == ["8", "2"]


def test_a_name_that_does_not_exist_ends_the_sidecar_and_the_plugin_goes_on(picking: World) -> None:
    label(picking, "gpu1", "missing")
    assert offered(picking) == ["2", "2"] and sorted(ready(picking)) == [False, True]
    label(picking, "gpu1", "shared")
    assert offered(picking) == ["8", "2"] and ready(picking) == [True, True]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DEFAULT_CONFIG": "shared"}, ["8", "8"]),
        ({"FALLBACK_STRATEGIES": "empty"}, ["2", "2"]),
        ({"FALLBACK_STRATEGIES": "single,named"}, ["2", "2"]),
    ],
)
def test_nodes_without_a_label(
    picking: World, settings: dict[str, str], expected: list[str]
) -> None:
    set_up(picking, **settings)
    assert offered(picking) == expected


def test_a_plugin_whose_configurations_all_fail_does_not_start(picking: World) -> None:
    set_up(picking, FALLBACK_STRATEGIES="single")
    assert "0" in offered(picking), "two configurations, none named"


def test_without_the_right_to_watch_nodes_it_does_not_start(picking: World) -> None:
    picking.lab.remove("ClusterRoleBinding", "nvidia-device-plugin")
    set_up(picking, DEFAULT_CONFIG="shared")
    assert "0" in offered(picking)


@pytest.mark.parametrize(
    ("playbook", "variables"),
    [
        ("time-slicing.yaml", {"config_name": "shared"}),
        ("time-slicing-off.yaml", {"config_name": "shared"}),
        ("mps.yaml", {}),
    ],
)
def test_without_config_manager_there_are_no_configurations_to_pick(
    world: World, playbook: str, variables: dict[str, str]
) -> None:
    ended, told = world.run(playbook, **variables)
    assert "denied" in ended and "changed" not in ended, told
    assert "device-plugin-config-manager.yaml brings it" in told, told


def test_it_comes_beside_the_plugin_once_and_rolling_back_ends_it(world: World) -> None:
    ended, told = world.run(CONFIG_MANAGER)
    assert ended == {"changed"}, told
    assert offered(world) == ["2", "2"] and configs(world) == {"default": {"version": "v1"}}
    sidecar, own = sorted(
        plugin(world)["spec"]["template"]["spec"]["containers"], key=lambda c: str(c["command"])
    )
    assert sidecar["command"] == ["config-manager"] and sidecar["image"] == own["image"]
    assert world.run(CONFIG_MANAGER)[0] == {"ok"}
    label(world, "gpu1", "missing")
    ended, told = world.run("device-plugin-rollback.yaml")
    assert ended == {"changed"} and offered(world) == ["2", "2"], told


def test_one_configuration_for_all_ends_before_nodes_may_pick(world: World) -> None:
    world.run("time-slicing.yaml")
    ended, told = world.run(CONFIG_MANAGER)
    assert ended == {"denied"} and "device-plugin-rollback.yaml ends that" in told, told


def test_a_container_of_another_name_is_named(world: World) -> None:
    ended, told = world.run(CONFIG_MANAGER, plugin_container="plugin")
    assert ended == {"denied"} and "but nvidia-device-plugin-ctr: say -e" in told, told
