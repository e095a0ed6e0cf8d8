"""kubectl drain's filters: who goes, who stays, and in whose words."""

from __future__ import annotations

from typing import Any

import pytest

from runner.kube.filters import Selection, select
from runner.kube.parse import parse_pod
from runner.kube.state import DrainMode, DrainOptions
from tests.kube.names import NS
from tests.kube.objects import pod, stored

DAEMONSETS = {f"{NS}/plugin"}


def chosen(
    *items: dict[str, Any], options: DrainOptions | None = None, mode: DrainMode = "full"
) -> Selection:
    pods = [parse_pod(stored(item)) for item in items]
    return select(pods, options or DrainOptions(), mode, DAEMONSETS)


def names(selection: Selection) -> list[str]:
    return [each.state.name for each in selection.evict]


def test_a_managed_pod_goes() -> None:
    selection = chosen(pod("a"))
    assert names(selection) == ["a"]
    assert not selection.errors and not selection.warnings


def test_daemonset_pods_stay_and_are_named() -> None:
    selection = chosen(pod("p", owner="DaemonSet", owner_name="plugin"), pod("a"))
    assert names(selection) == ["a"]
    assert selection.ignored == (f"ignoring DaemonSet-managed Pods: {NS}/p",)


def test_daemonset_pods_are_an_error_when_they_may_not_be_ignored() -> None:
    options = DrainOptions(ignore_daemonsets=False)
    selection = chosen(pod("p", owner="DaemonSet", owner_name="plugin"), options=options)
    assert selection.errors == (
        f"cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): {NS}/p",
    )


def test_a_pod_of_a_daemonset_that_is_gone_needs_force() -> None:
    orphan = pod("p", owner="DaemonSet", owner_name="old")
    assert chosen(orphan).errors == (f'cannot delete daemonsets.apps "old" not found: {NS}/p',)
    assert names(chosen(orphan, options=DrainOptions(force=True))) == ["p"]


def test_mirror_pods_stay_silently() -> None:
    assert chosen(pod("etcd", owner="Node", mirror=True)) == Selection()


def test_local_storage_needs_permission() -> None:
    selection = chosen(pod("a", empty_dir=True))
    assert selection.errors == (
        f"cannot delete Pods with local storage (use --delete-emptydir-data to override): {NS}/a",
    )
    allowed = chosen(pod("a", empty_dir=True), options=DrainOptions(delete_emptydir_data=True))
    assert names(allowed) == ["a"]
    assert allowed.warnings == (f"deleting Pods with local storage: {NS}/a",)


def test_a_pod_without_controller_needs_force() -> None:
    selection = chosen(pod("a", owner=""), pod("b", owner=""))
    assert selection.errors == (
        f"cannot delete Pods that declare no controller (use --force to override): {NS}/a, {NS}/b",
    )
    assert names(chosen(pod("a", owner=""), options=DrainOptions(force=True))) == ["a"]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_go_freely(phase: str) -> None:
    done = pod("a", owner="", phase=phase, empty_dir=True)
    left = pod("p", owner="DaemonSet", owner_name="plugin", phase=phase)
    assert names(chosen(done, left)) == ["a", "p"]


def test_the_first_reason_to_stay_is_the_one_told() -> None:
    selection = chosen(pod("a", owner="", empty_dir=True))
    assert len(selection.errors) == 1 and "local storage" in selection.errors[0]


def test_gpu_mode_looks_only_at_pods_that_ask_for_a_gpu() -> None:
    selection = chosen(
        pod("train", gpus=2),
        pod("web"),
        pod("bare", owner=""),
        pod("p", owner="DaemonSet", owner_name="plugin"),
        mode="gpu",
    )
    assert names(selection) == ["train"]
    assert not selection.errors and not selection.ignored


def test_gpu_mode_knows_gpus_of_init_containers() -> None:
    init = [{"name": "i", "resources": {"requests": {"nvidia.com/mig-1g.5gb": "1"}}}]
    assert names(chosen(pod("a", initContainers=init), mode="gpu")) == ["a"]


def test_a_gpu_daemonset_is_told_since_it_keeps_the_gpu_open() -> None:
    selection = chosen(pod("p", owner="DaemonSet", owner_name="plugin", gpus=1), mode="gpu")
    assert selection.ignored == (f"ignoring DaemonSet-managed Pods: {NS}/p",)


def test_excluded_namespaces_stay_and_are_named() -> None:
    options = DrainOptions(namespace_exclude=("kube-system",))
    selection = chosen(pod("a"), pod("dns", namespace="kube-system"), options=options)
    assert names(selection) == ["a"]
    assert selection.ignored == ("ignoring Pods of excluded namespaces: kube-system/dns",)


def test_mode_none_takes_nobody() -> None:
    assert chosen(pod("a", owner=""), mode="none") == Selection()
