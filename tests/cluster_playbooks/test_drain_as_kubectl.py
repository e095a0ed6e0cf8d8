"""One table of pods on two nodes: kubectl drains the one, gpurun the other, with equal options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runner.lab.kube import seed
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.deletion import DeleteOptions, delete
from runner.lab.kube.kinds import KIND
from runner.lab.kube.kubelet import TERMINATION
from tests.cluster_playbooks.world import World
from tests.lab_kube.kubectl import Kubectl, kubectl_for

pytestmark = pytest.mark.lab

BY_KUBECTL, BY_GPURUN = "gpu1", "gpu2"
Json = dict[str, Any]


def pinned(item: Json, node: str, **spec: Any) -> Json:
    """A workload whose pods can only be on this node."""
    template = item["spec"]["template"]
    selected = {"nodeSelector": {"kubernetes.io/hostname": node}}
    template = {**template, "spec": {**template["spec"], **selected, **spec}}
    return {**item, "spec": {**item["spec"], "template": template}}


def bare(name: str, node: str, **more: Any) -> Json:
    container = {"name": "c", "image": "x", **more.pop("container", {})}
    meta = {"name": f"{name}-{node}", "namespace": "default", **more.pop("metadata", {})}
    spec = {"nodeName": node, "containers": [container], **more}
    return {"kind": "Pod", "metadata": meta, "spec": spec}


def guarded(name: str, node: str, **limit: Any) -> list[Json]:
    """A Deployment of one pod and a budget for it."""
    labels = {"matchLabels": {"app": f"{name}-{node}"}}
    meta = {"name": f"{name}-{node}", "namespace": "default"}
    budget = {
        "kind": "PodDisruptionBudget",
        "metadata": meta,
        "spec": {"selector": labels, **limit},
    }
    return [pinned(seed.deployment(f"{name}-{node}", 1), node), budget]


def table(node: str) -> list[Json]:
    """Every sort of pod that kubectl's filters tell apart."""
    gpu = {"name": "first", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    scratch = [{"name": "scratch", "emptyDir": {}}]
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    ended = {"command": ["true"]}
    return [
        pinned(seed.deployment(f"web-{node}", 1), node),
        pinned(seed.deployment(f"initgpu-{node}", 1), node, initContainers=[gpu]),
        pinned(seed.deployment(f"scratch-{node}", 1), node, volumes=scratch),
        pinned(seed.stateful_set(f"stateful-{node}", 2), node),
        pinned(seed.job(f"working-{node}", 3600), node),
        *guarded("lenient", node, maxUnavailable=1),
        bare("unmanaged", node),
        bare("mirror", node, metadata={"name": f"mirror-{node}", **mirror}),
        bare("finished", node, restartPolicy="Never", container=ended),
        bare("endedscratch", node, restartPolicy="Never", container=ended, volumes=scratch),
        bare("terminating", node, metadata={"name": f"terminating-{node}", **slow()}),
    ]


def slow() -> Json:
    return {"annotations": {TERMINATION: "2"}}


@pytest.fixture
def kubectl(world: World, tmp_path: Path) -> Kubectl:
    """Both nodes hold nothing but the DaemonSets and the pods of the table."""
    lab = world.lab
    for name in ("trainer", "inference", "web"):
        lab.remove("Deployment", name)
    lab.remove("PodDisruptionBudget", "trainer")
    lab.remove("Job", "nightly-report")
    lab.settle()
    return kubectl_for(lab.kubeconfig, tmp_path)


def fill(lab: LabCluster, items: Any) -> None:
    for node in (BY_KUBECTL, BY_GPURUN):
        for item in items(node):
            lab.create(item)
    lab.settle()
    for node in (BY_KUBECTL, BY_GPURUN):
        pod = lab.get("Pod", f"terminating-{node}")
        if pod:
            delete(lab.store, KIND["Pod"], pod, DeleteOptions())


def sorts(lab: LabCluster, node: str) -> dict[str, str]:
    """UID of each pod of the table on a node -> its sort."""
    return {
        pod["metadata"]["uid"]: sort_of(pod["metadata"]["name"], node)
        for pod in lab.pods_on(node)
        if f"-{node}" in pod["metadata"]["name"]
    }


def sort_of(name: str, node: str) -> str:
    sort, _, rest = name.partition(f"-{node}")
    return f"{sort}{rest}" if sort == "stateful" else sort


def refused(text: str, node: str) -> set[str]:
    """The sorts of the pods that a drain says it cannot delete."""
    lines = re.findall(r"cannot delete[^\n]*", text)
    names = re.findall(rf"default/(\w+-{node}[-\w]*)", " ".join(lines))
    system = {"daemonset"} if any("DaemonSet-managed" in line for line in lines) else set()
    return {sort_of(name, node) for name in names} | system


def drained_by_kubectl(world: World, kubectl: Kubectl, *flags: str) -> tuple[set[str], str]:
    before = sorts(world.lab, BY_KUBECTL)
    done = kubectl.run("drain", BY_KUBECTL, "--timeout=6s", *flags)
    left = sorts(world.lab, BY_KUBECTL)
    return {sort for uid, sort in before.items() if uid not in left}, done.stdout + done.stderr


def drained_by_gpurun(world: World, tmp_path: Path, **options: Any) -> tuple[set[str], str]:
    given = ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in {"mode": "full", "timeout": 60, **options}.items()
    )
    playbook = tmp_path / "drain.yaml"
    playbook.write_text(
        "- name: a change that needs an empty node\n  hosts: gpu\n"
        f"  drain: {{{given}}}\n"
        "  tasks:\n    - node_label: {labels: {drained: 'yes'}}\n      disruption: node\n"
    )
    before = sorts(world.lab, BY_GPURUN)
    _, told = world.run(str(playbook), only=BY_GPURUN)
    left = sorts(world.lab, BY_GPURUN)
    return {sort for uid, sort in before.items() if uid not in left}, told


@pytest.mark.parametrize(
    ("daemonsets", "scratch", "force"),
    [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, False, True),
        (False, True, True),
        (True, True, True),
    ],
)
def test_the_same_pods_go_and_the_same_are_refused(
    world: World, kubectl: Kubectl, tmp_path: Path, daemonsets: bool, scratch: bool, force: bool
) -> None:
    fill(world.lab, table)
    flags = [
        f"--ignore-daemonsets={str(daemonsets).lower()}",
        f"--delete-emptydir-data={str(scratch).lower()}",
        f"--force={str(force).lower()}",
    ]
    theirs, their_text = drained_by_kubectl(world, kubectl, *flags)
    ours, our_text = drained_by_gpurun(
        world,
        tmp_path,
        ignore_daemonsets=daemonsets,
        delete_emptydir_data=scratch,
        force=force,
    )
    # What was terminating already ends by itself, drain or not, perhaps between the two.
    ending = {"terminating"}
    assert ours - ending == theirs - ending, f"{their_text}\n{our_text}"
    assert refused(our_text, BY_GPURUN) - ending == refused(their_text, BY_KUBECTL) - ending
    if daemonsets and scratch and force:
        assert {"web", "initgpu", "scratch", "stateful-0", "stateful-1", "unmanaged"} <= ours
        assert {"finished", "endedscratch", "lenient", "working"} <= ours
        assert "mirror" not in ours
    else:
        assert refused(our_text, BY_GPURUN), "a row of the table is in the way"


def test_a_pod_selector_narrows_both(world: World, kubectl: Kubectl, tmp_path: Path) -> None:
    fill(world.lab, lambda node: [item for item in table(node) if item["kind"] == "Deployment"])
    theirs, _ = drained_by_kubectl(world, kubectl, "--pod-selector=app in (web-gpu1,web-gpu2)")
    ours, told = drained_by_gpurun(
        world, tmp_path, pod_selector='"app in (web-gpu1,web-gpu2)"', ignore_daemonsets=False
    )
    assert theirs == ours == {"web"}, told


@pytest.mark.parametrize("budgets", [1, 2])
def test_what_no_budget_lets_go_stays_and_is_named_by_both(
    world: World, kubectl: Kubectl, tmp_path: Path, budgets: int
) -> None:
    """gpurun says so in its plan and begins nothing; kubectl finds out while it drains."""

    def items(node: str) -> list[Json]:
        deployment, budget = guarded("strict", node, maxUnavailable=budgets - 1)
        second = {**budget, "metadata": {**budget["metadata"], "name": f"second-{node}"}}
        return [deployment, budget, *([second] if budgets == 2 else [])]

    fill(world.lab, items)
    theirs, their_text = drained_by_kubectl(world, kubectl, "--ignore-daemonsets")
    ours, our_text = drained_by_gpurun(world, tmp_path)
    assert theirs == ours == set(), f"{their_text}\n{our_text}"
    assert re.search(r"strict-gpu1-\w+", their_text)
    assert re.search(r"default/strict-gpu2-[-\w]+.*PodDisruptionBudget", our_text), our_text
    assert not world.node(BY_GPURUN)["spec"].get("unschedulable"), "nothing was begun"
