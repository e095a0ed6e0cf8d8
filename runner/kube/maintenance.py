"""Taking a node out of service and giving it back exactly as it was.

What was done is written on the node itself, in the same patch that does it, so that any later
process with the same run id can undo it: annotations `gpurun.dev/run` (a run works here),
`gpurun.dev/cordoned-by` and `gpurun.dev/cordoned-at` (that run cordoned it), `gpurun.dev/paused`
(operator labels that were changed, and their values before), `gpurun.dev/tainted` (its taint).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runner.errors import ClusterError
from runner.kube import taints
from runner.kube.actions import tainted
from runner.kube.api import Json, RefusalError
from runner.kube.cluster import DAEMONSETS, Cluster
from runner.kube.parse import parse_node
from runner.kube.placement import parse_daemonset
from runner.kube.state import NodeState
from runner.kube.waiting import Progress, wait_until

RUN = "gpurun.dev/run"
CORDONED_BY = "gpurun.dev/cordoned-by"
CORDONED_AT = "gpurun.dev/cordoned-at"
PAUSED = "gpurun.dev/paused"
CORDON_REASON = "gpurun.dev/cordon-reason"
"""Why a node stays cordoned after a run; until somebody gives it back."""
CORDONED_BEFORE = "gpurun.dev/cordoned-before"
"""On such a node: somebody else had cordoned it already."""

DEPLOY = "nvidia.com/gpu.deploy."
PAUSED_VALUE = "paused-for-gpurun"
CLIENTS = tuple(
    DEPLOY + name
    for name in (
        "device-plugin",
        "gpu-feature-discovery",
        "dcgm-exporter",
        "dcgm",
        "nvsm",
        "mig-manager",
        "operator-validator",
        "client",
    )
)
"""Labels by which NVIDIA's operator places what holds a GPU open or would meddle: those that its
own mig-manager and driver-manager pause. The driver and the container toolkit are not among them:
pausing them would unload the driver and rewrite the runtime's configuration."""

OTHERS_MARKS = ("k8saas.nvidia.com/cordon-by", "skyhook.nvidia.com/cordon_")
"""Labels and annotations (or their beginnings) by which other programs say that they cordoned."""

GONE_TIMEOUT = 300.0
READY_TIMEOUT = 300.0
TAINT = "taint"
"""Where a patch for `change` names a taint: the API takes only the whole list of them."""
CONFLICTS = 8
"""How often a patch is made anew because the node changed meanwhile (kubelets write often)."""


@dataclass(frozen=True, slots=True)
class Cordon:
    """A node taken out of scheduling. `ours`: this run did it, and will undo it."""

    ours: bool
    note: str


def begin(cluster: Cluster, node: str, run: str, taint: str = "") -> Cordon:
    """Cordon a node and mark it as ours; one that is cordoned already stays whose it is.

    Args:
        taint: key=value:effect that it gets in the same patch; "": none.

    Raises:
        ClusterError: refused, unreachable, the node does not exist, or another run that has not
            finished holds it (it may have died since the plan was made).
    """
    cordon = Cordon(False, "")

    def patch(state: NodeState) -> Mapping[str, Any]:
        nonlocal cordon
        holder = state.annotations.get(RUN, run)
        if holder != run:
            raise ClusterError(
                f"run {holder} has not finished with node {node}", f"gpurun resume {holder}"
            )
        by = state.annotations.get(CORDONED_BY, "")
        tainting = taints.to_set(state, taint)
        marks = {RUN: run} | (taints.mark(run, tainting) if tainting else {})
        if state.unschedulable and by != run:
            who = f"gpurun run {by}" if by else "somebody else"
            cordon = Cordon(False, f"node {node} was cordoned by {who} before and will stay so")
            return {"metadata": {"annotations": marks}, TAINT: tainting}
        if state.unschedulable:
            cordon = Cordon(True, f"node {node} is cordoned by this run already")
            return {"metadata": {"annotations": marks}, TAINT: tainting}
        cordon = Cordon(True, f"node {node} cordoned")
        marks |= {CORDONED_BY: run, CORDONED_AT: datetime.now(UTC).isoformat()}
        spec = {"unschedulable": True}
        return {"metadata": {"annotations": marks}, "spec": spec, TAINT: tainting}

    after = change(cluster, node, patch, f"cordon node {node}")
    if not after.unschedulable:
        raise ClusterError(
            f"node {node}: the cordon was accepted but the node is schedulable",
            "something on the cluster removes cordons; find it before going on",
        )
    return cordon


def check_cordoned(cluster: Cluster, node: str) -> None:
    """Make sure that nobody has uncordoned the node while it was emptied.

    Raises:
        ClusterError: it is schedulable, so pods may come at any moment; or it is gone.
    """
    if not parse_node(cluster.node(node)).unschedulable:
        raise ClusterError(
            f"node {node} was uncordoned by somebody else while it was drained",
            "nothing was changed on it; agree with whoever did that, then try again",
        )


def keep_cordoned(cluster: Cluster, node: str, reason: str) -> None:
    """Cordon a node for good: no run will uncordon it, also not the one that does this.

    Raises:
        ClusterError: refused, unreachable, or something makes it schedulable again.
    """

    def patch(state: NodeState) -> Mapping[str, Any]:
        notes = state.annotations
        ours = CORDONED_BY in notes or CORDON_REASON in notes
        marks = {CORDON_REASON: reason, CORDONED_BY: None, CORDONED_AT: None}
        if state.unschedulable and not ours:
            marks[CORDONED_BEFORE] = "true"
        return {"metadata": {"annotations": marks}, "spec": {"unschedulable": True}}

    after = change(cluster, node, patch, f"cordon node {node}")
    if not after.unschedulable:
        raise ClusterError(
            f"node {node}: the cordon was accepted but the node is schedulable",
            "something on the cluster removes cordons; find it before going on",
        )


def give_back(cluster: Cluster, node: str) -> None:
    """Undo `keep_cordoned`: what somebody else had cordoned before stays cordoned.

    Raises:
        ClusterError: refused, unreachable, or something cordons it again.
    """

    def patch(state: NodeState) -> Mapping[str, Any]:
        notes = state.annotations
        marks = dict.fromkeys(key for key in (CORDON_REASON, CORDONED_BEFORE) if key in notes)
        if CORDON_REASON not in notes or CORDONED_BEFORE in notes:
            return {"metadata": {"annotations": marks}} if marks else {}
        return {"metadata": {"annotations": marks}, "spec": {"unschedulable": None}}

    change(cluster, node, patch, f"uncordon node {node}")


def end(cluster: Cluster, node: str, run: str) -> str:
    """Give the node back: uncordon it if this run cordoned it, and remove our marks and our taint.

    Labels still paused by this run are restored in the same patch. Nothing is left to do the
    second time.

    Returns:
        A sentence for the user.
    """
    told = ""

    def patch(state: NodeState) -> Mapping[str, Any]:
        nonlocal told
        told, wanted = _ending(state, run)
        return wanted

    try:
        change(cluster, node, patch, f"uncordon node {node}")
    except RefusalError as error:
        if error.code == 404:
            return f"node {node} is no longer in the cluster"
        raise
    return told


def _ending(state: NodeState, run: str) -> tuple[str, Mapping[str, Any]]:
    """What to tell and what to patch to undo all that `run` did to the node."""
    notes = state.annotations
    paused_by, labels = paused(state)
    mine = paused_by == run
    remove: dict[str, None] = {RUN: None} if notes.get(RUN) == run else {}
    remove |= {PAUSED: None} if mine else {}
    remove |= {taints.TAINTED: None} if taints.tainted(state)[0] == run else {}
    spec: dict[str, Any] = {}
    others = sorted(k for k in (*state.labels, *notes) if k.startswith(OTHERS_MARKS))
    if notes.get(CORDONED_BY) != run:
        told = _still_cordoned(notes) if state.unschedulable else "is schedulable"
    else:
        remove |= {CORDONED_BY: None, CORDONED_AT: None}
        if not state.unschedulable:
            told = "was uncordoned by somebody else meanwhile"
        elif others:
            told = f"stays cordoned: {others[0]} says that another program wants it so as well"
        else:
            told, spec = "uncordoned", {"unschedulable": None}
    restored = _restored(state, labels) if mine else {}
    patch: dict[str, Any] = {}
    if remove or restored:
        patch["metadata"] = {"annotations": remove, "labels": restored}
    if spec:
        patch["spec"] = spec
    if taint := taints.to_remove(state, run):
        patch[TAINT] = taint
    return f"node {state.name} {told}", patch


def _still_cordoned(notes: Mapping[str, str]) -> str:
    if CORDON_REASON in notes:
        return f"stays cordoned for good: {notes[CORDON_REASON]}"
    return "stays cordoned as it was before"


def inherit(cluster: Cluster, node: str, old: str, new: str) -> None:
    """Make all that run `old` did to a node the matter of run `new`, which will undo it.

    Raises:
        ClusterError: refused or unreachable.
    """

    def patch(state: NodeState) -> Mapping[str, Any]:
        marks = {k: new for k in (RUN, CORDONED_BY) if state.annotations.get(k) == old}
        paused_by, labels = paused(state)
        if paused_by == old:
            marks[PAUSED] = json.dumps({"run": new, "labels": labels}, sort_keys=True)
        tainted_by, taint = taints.tainted(state)
        if taint is not None and tainted_by == old:
            marks |= taints.mark(new, taint)
        return {"metadata": {"annotations": marks}} if marks else {}

    change(cluster, node, patch, f"take node {node} over from run {old}")


def pause_daemonsets(
    cluster: Cluster,
    node: str,
    run: str,
    progress: Progress,
    stop: threading.Event,
    skip_wait: int = 0,
) -> tuple[str, ...]:
    """Make NVIDIA's operator take its GPU clients off the node, and wait until they are gone.

    Labels paused by a run that died are taken over, so that they are restored in the end.

    Args:
        skip_wait: seconds past its grace period from which a pod is not waited for; 0: never.

    Returns:
        namespace/name of the DaemonSets that were there.

    Raises:
        ClusterError: the pods are not gone after five minutes.
    """

    def patch(state: NodeState) -> Mapping[str, Any]:
        _, before = paused(state)
        now = {key: "true" for key in CLIENTS if state.labels.get(key) == "true"}
        if not now and not before:
            return {}
        note = json.dumps({"run": run, "labels": {**before, **now}}, sort_keys=True)
        labels = dict.fromkeys(now, PAUSED_VALUE)
        return {"metadata": {"annotations": {PAUSED: note}, "labels": labels}}

    state = change(cluster, node, patch, f"pause GPU clients on node {node}")
    _, labels = paused(state)
    if not labels:
        return ()
    placed = daemonsets_by(cluster, labels)
    progress(f"node {node}: paused {', '.join(sorted(placed.values())) or 'no DaemonSet'}")

    def missing() -> str:
        left = [p for p in cluster.pods_on(node) if p.owner_uid in placed]
        now = cluster.api.now()
        left = [p for p in left if not 0 < skip_wait < p.overdue(now)]
        return f"{', '.join(p.state.full_name for p in left)} still there" if left else ""

    wait_until(
        missing,
        doing=f"node {node}: waiting for GPU clients of the operator to go",
        timeout=GONE_TIMEOUT,
        progress=progress,
        stop=stop,
    )
    return tuple(sorted(placed.values()))


def resume_daemonsets(
    cluster: Cluster, node: str, run: str, progress: Progress, stop: threading.Event
) -> None:
    """Restore the labels that `pause_daemonsets` changed and wait until the pods are Ready again.

    The annotation goes last: whoever continues after a crash waits for the same pods. On a node
    that is no longer in the cluster there is nothing to restore.

    Raises:
        ClusterError: the pods are not Ready after five minutes.
    """

    def restore(state: NodeState) -> Mapping[str, Any]:
        by, before = paused(state)
        restored = _restored(state, before) if by == run else {}
        return {"metadata": {"labels": restored}} if restored else {}

    try:
        state = change(cluster, node, restore, f"resume GPU clients on node {node}")
    except RefusalError as error:
        if error.code == 404:
            return
        raise
    by, labels = paused(state)
    if by != run:
        return
    wanted = [key for key in labels if state.labels.get(key) == labels[key]]
    placed = daemonsets_by(cluster, wanted, state.labels)
    progress(f"node {node}: resumed {', '.join(sorted(placed.values())) or 'no DaemonSet'}")

    def missing() -> str:
        pods = cluster.pods_on(node)
        ready = {p.owner_uid for p in pods if p.state.ready and not p.state.deleting}
        lacking = sorted(name for uid, name in placed.items() if uid not in ready)
        return f"{', '.join(lacking)} not Ready" if lacking else ""

    wait_until(
        missing,
        doing=f"node {node}: waiting for GPU clients of the operator",
        timeout=READY_TIMEOUT,
        progress=progress,
        stop=stop,
    )

    def forget(state: NodeState) -> Mapping[str, Any]:
        return {"metadata": {"annotations": {PAUSED: None}}} if paused(state)[0] == run else {}

    change(cluster, node, forget, f"unmark node {node}")


def paused(state: NodeState) -> tuple[str, dict[str, str]]:
    """(run, label -> value before) of the paused annotation; ("", {}) without one."""
    text = state.annotations.get(PAUSED)
    if text is None:
        return "", {}
    try:
        note = json.loads(text)
        return str(note["run"]), {str(key): str(value) for key, value in note["labels"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClusterError(
            f"node {state.name}: annotation {PAUSED} cannot be read: {text[:80]!r}",
            f"set the labels {DEPLOY}* as they should be and remove the annotation",
        ) from error


def _restored(state: NodeState, before: Mapping[str, str]) -> dict[str, str]:
    """Labels to set; one that somebody changed meanwhile is theirs."""
    return {k: value for k, value in before.items() if state.labels.get(k) == PAUSED_VALUE}


def pauses(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `pause_daemonsets` takes a DaemonSet of this selector off a node of these labels."""
    return any(labels.get(key) in ("true", PAUSED_VALUE) for key in CLIENTS if key in selector)


def daemonsets_by(
    cluster: Cluster, keys: Mapping[str, str] | list[str], labels: Mapping[str, str] | None = None
) -> dict[str, str]:
    """UID -> namespace/name of DaemonSets that are placed by any of these node labels.

    `labels`: only those whose whole node selector these labels satisfy.
    """
    found: dict[str, str] = {}
    for item in cluster.api.collection(DAEMONSETS, "list DaemonSets"):
        placed = parse_daemonset(item)
        selector = placed.selector
        fits = labels is None or all(labels.get(k) == value for k, value in selector.items())
        if fits and any(key in selector for key in keys):
            found[placed.uid] = placed.full_name
    return found


def change(
    cluster: Cluster, node: str, patch: Callable[[NodeState], Mapping[str, Any]], asked: str
) -> NodeState:
    """Patch a node on condition that it is still as it was read; again when it is not.

    Args:
        patch: what to change of the state just read; {} for nothing. Under `TAINT` a taint to set
            or to remove, or None.

    Returns:
        The node afterwards.
    """
    for _ in range(CONFLICTS):
        item = cluster.node(node)
        state = parse_node(item)
        wanted = patch(state)
        if not wanted:
            return state
        try:
            return parse_node(cluster.patch_node(node, _body(item, wanted), asked))
        except RefusalError as error:
            if error.code != 409:
                raise
    raise ClusterError(
        f"node {node}: {asked}: it was changed by others {CONFLICTS} times in a row",
        "something on the cluster writes this node all the time",
    )


def _body(item: Json, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch of a node that must still be as it was read."""
    version = {"resourceVersion": item["metadata"]["resourceVersion"]}
    body: dict[str, Any] = {**wanted, "metadata": {**wanted.get("metadata", {}), **version}}
    taint = body.pop(TAINT, None)
    if taint is not None:
        known = item["spec"].get("taints") or ()
        body["spec"] = {**wanted.get("spec", {}), "taints": tainted(known, taint)}
    return body
