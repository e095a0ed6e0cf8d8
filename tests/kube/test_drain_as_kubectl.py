"""One table of pods on two nodes: kubectl drains the one, gpurun the other, with equal options."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.engine import run as engine
from tests.kube.names import NODE, NS, OTHER
from tests.kube.playing import Local, play
from tests.kube.world import CONTAINERS, LATE, RUNNING, World
from tests.lab_kube.kubectl import Kubectl, kubectl_for

pytestmark = pytest.mark.lab

Json = dict[str, Any]
BY_KUBECTL, BY_GPURUN = "n1", "n2"
"""What the names of the pods on the two nodes end with."""
NODES = {BY_KUBECTL: NODE, BY_GPURUN: OTHER}
ENDED = {"command": ["true"], **CONTAINERS["containers"][0]}


def workload(kind: str, name: str, on: str, replicas: int = 1, **more: Any) -> Json:
    """A Deployment, StatefulSet or Job whose pods can only be on this node."""
    full, labels = f"{name}-{on}", {"app": f"{name}-{on}"}
    selector = {"kubernetes.io/hostname": NODES[on]}
    pod = {**CONTAINERS, "nodeSelector": selector, **more}
    template = {"metadata": {"labels": labels}, "spec": pod}
    if kind == "Job":
        spec: Json = {"template": template}
    else:
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        spec["serviceName"] = full
    return {"kind": kind, "metadata": {"name": full}, "spec": spec}


def bare(name: str, on: str, **spec: Any) -> Json:
    return {
        "kind": "Pod",
        "metadata": {"name": f"{name}-{on}"},
        "spec": {**CONTAINERS, "nodeName": NODES[on], **spec},
    }


def guarded(name: str, on: str, **limit: Any) -> list[Json]:
    """A Deployment of one pod and a budget for it."""
    labels = {"matchLabels": {"app": f"{name}-{on}"}}
    meta, spec = {"name": f"{name}-{on}"}, {"selector": labels, **limit}
    budget = {"kind": "PodDisruptionBudget", "metadata": meta, "spec": spec}
    return [workload("Deployment", name, on), budget]


def table(on: str) -> list[Json]:
    """Every sort of pod that kubectl's filters tell apart."""
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    gpu = {"name": "first", "image": "registry.invalid/x:1", "resources": limits}
    scratch = [{"name": "scratch", "emptyDir": {}}]
    ended: Json = {"restartPolicy": "Never", "containers": [ENDED]}
    mirror, terminating = bare("mirror", on), bare("terminating", on)
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    terminating["metadata"]["labels"] = LATE
    return [
        workload("Deployment", "web", on),
        workload("Deployment", "initgpu", on, initContainers=[gpu]),
        workload("Deployment", "scratch", on, volumes=scratch),
        workload("StatefulSet", "stateful", on, replicas=2),
        workload("Job", "working", on, restartPolicy="Never"),
        *guarded("lenient", on, maxUnavailable=1),
        bare("unmanaged", on),
        mirror,
        bare("finished", on, **ended),
        bare("endedscratch", on, **ended, volumes=scratch),
        terminating,
    ]


def started(pod: Json) -> Json:
    """A kubelet's report of a pod: its command ends, or it runs."""
    commands = [container.get("command") for container in pod["spec"]["containers"]]
    return {"phase": "Succeeded"} if ["true"] in commands else RUNNING


@pytest.fixture
def kubectl(world: World, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """Both nodes hold a DaemonSet's pod and the pods of the table."""
    monkeypatch.setattr(engine, "Connection", Local)
    for number, name in enumerate(NODES.values(), start=1):
        world.node(number, labels={"kubernetes.io/hostname": name})
        world.removes("Lease", f"gpurun-{name}", "kube-system")
    world.removes("Lease", "gpurun.rollout", "kube-system")
    world.daemonset("agent")
    world.starts = started
    world.kubelet()
    return kubectl_for(target, tmp_path)


def fill(world: World, items: Callable[[str], Sequence[Json]]) -> None:
    """Create them on both nodes, and wait until all is as wanted."""
    count = 0
    for on in NODES:
        for item in items(on):
            world.create(item["kind"], item)
            count += item["spec"].get("replicas", item["kind"] != "PodDisruptionBudget")

    def ready() -> bool:
        pods = [pod for pod in world.found("Pod") if re.search("-n[12]", pod["metadata"]["name"])]
        return count == len(pods) and all(pod["status"]["phase"] != "Pending" for pod in pods)

    world.until(ready, f"{count} pods have started")
    for item in (*items(BY_KUBECTL), *items(BY_GPURUN)):
        name = item["metadata"]["name"]
        if item["kind"] == "PodDisruptionBudget":
            world.counted(name)
        if name.startswith("terminating"):
            world.delete("Pod", name, grace=3)


def sorts(world: World, on: str) -> dict[str, str]:
    """UID of each pod of the table on a node -> its sort."""
    return {
        pod["metadata"]["uid"]: sort_of(pod["metadata"]["name"], on)
        for pod in world.found("Pod")
        if pod["spec"].get("nodeName") == NODES[on] and f"-{on}" in pod["metadata"]["name"]
    }


def sort_of(name: str, on: str) -> str:
    sort, _, rest = name.partition(f"-{on}")
    return f"{sort}{rest}" if sort == "stateful" else sort


def refused(text: str, on: str) -> set[str]:
    """The sorts of the pods that a drain says it cannot delete."""
    lines = re.findall(r"cannot delete[^\n]*", text)
    names = re.findall(rf"{NS}/(\w+-{on}[-\w]*)", " ".join(lines))
    system = {"daemonset"} if any("DaemonSet-managed" in line for line in lines) else set()
    return {sort_of(name, on) for name in names} | system


def drained_by_kubectl(world: World, kubectl: Kubectl, *flags: str) -> tuple[set[str], str]:
    before = sorts(world, BY_KUBECTL)
    done = kubectl.run("drain", NODE, "--timeout=10s", *flags)
    left = sorts(world, BY_KUBECTL)
    return {sort for uid, sort in before.items() if uid not in left}, done.stdout + done.stderr


def drained_by_gpurun(world: World, folder: Path, **options: Any) -> tuple[set[str], str]:
    given = ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in {"mode": "full", "timeout": 60, **options}.items()
    )
    playbook = folder / "drain.yaml"
    playbook.write_text(
        "- name: a change that needs an empty node\n  hosts: gpu\n"
        f"  drain: {{{given}}}\n"
        "  tasks:\n    - node_label: {labels: {drained: 'yes'}}\n      disruption: node\n"
    )
    before = sorts(world, BY_GPURUN)
    _, told = play(world, playbook, [OTHER])
    left = sorts(world, BY_GPURUN)
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
    fill(world, table)
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
    # What was terminating already ends by itself, drain or not.
    assert ours - {"terminating"} == theirs - {"terminating"}, f"{their_text}\n{our_text}"
    assert refused(our_text, BY_GPURUN) == refused(their_text, BY_KUBECTL)
    if daemonsets and scratch and force:
        assert {"web", "initgpu", "scratch", "stateful-0", "stateful-1", "unmanaged"} <= ours
        assert {"finished", "endedscratch", "lenient", "working"} <= ours
        assert "mirror" not in ours
    else:
        assert refused(our_text, BY_GPURUN), "a row of the table is in the way"


def test_a_pod_selector_narrows_both(world: World, kubectl: Kubectl, tmp_path: Path) -> None:
    fill(world, lambda on: [item for item in table(on) if item["kind"] == "Deployment"])
    theirs, _ = drained_by_kubectl(world, kubectl, "--pod-selector=app in (web-n1,web-n2)")
    ours, told = drained_by_gpurun(
        world, tmp_path, pod_selector='"app in (web-n1,web-n2)"', ignore_daemonsets=False
    )
    assert theirs == ours == {"web"}, told


@pytest.mark.parametrize("budgets", [1, 2])
def test_what_no_budget_lets_go_stays_and_is_named_by_both(
    world: World, kubectl: Kubectl, tmp_path: Path, budgets: int
) -> None:
    """gpurun says so in its plan and begins nothing; kubectl finds out while it drains."""

    def items(on: str) -> list[Json]:
        deployment, budget = guarded("strict", on, maxUnavailable=budgets - 1)
        second = {**budget, "metadata": {"name": f"second-{on}"}}
        return [deployment, budget, *([second] if budgets == 2 else [])]

    fill(world, items)
    theirs, their_text = drained_by_kubectl(world, kubectl, "--ignore-daemonsets")
    ours, our_text = drained_by_gpurun(world, tmp_path)
    assert theirs == ours == set(), f"{their_text}\n{our_text}"
    assert re.search(r"strict-n1-\w+", their_text)
    assert re.search(rf"{NS}/strict-n2-[-\w]+.*PodDisruptionBudget", our_text), our_text
    assert not world.get("Node", OTHER)["spec"].get("unschedulable"), "nothing was begun"
