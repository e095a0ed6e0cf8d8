"""Which pods of a node go, with all that is known of who uses its GPUs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from runner.kube.filters import Selection, select
from runner.kube.maintenance import pauses
from runner.kube.parse import Pod
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainMode, DrainOptions, NodeState

LATE = 2.0
"""Seconds past its grace period from which a pod is called late: clocks are not that equal."""


def grace_of(pod: Pod, options: DrainOptions) -> int:
    """Seconds that a pod gets to end."""
    return pod.grace if options.grace_period is None else options.grace_period


def held_up(pod: Pod, now: datetime) -> str:
    """Why a pod that was told to end is still there, as far as that is known: ", 9 s past ..."."""
    overdue = pod.overdue(now)
    late = f", {overdue:.0f} s past its grace period" if overdue >= LATE else ""
    return late + (f", held by {', '.join(pod.finalizers)}" if pod.finalizers else "")


def at_work(pods: Iterable[Pod]) -> list[str]:
    """Names of those that have neither finished nor been told to end."""
    return [p.state.full_name for p in pods if not (p.finished or p.state.deleting)]


class Selector:
    """Filters a node's pods; what is needed beside them is read once, and only if needed.

    Args:
        holders: UID of a pod -> what of the GPUs its processes hold, as seen on the node.
        only: UIDs; where there are any, no other pod is considered.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        node: str,
        options: DrainOptions,
        mode: DrainMode,
        holders: Mapping[str, str] | None,
        only: Collection[str] = (),
    ) -> None:
        self._snapshot = snapshot
        self._node = node
        self._options = options
        self._mode = mode
        self._holders = holders or {}
        self._only = frozenset(only)
        self._staying: tuple[Pod, ...] = ()

    def select(self, pods: Sequence[Pod]) -> Selection:
        """What the filters make of these pods of the node."""
        pods = [pod for pod in pods if not self._only or pod.state.uid in self._only]
        names: frozenset[str] = frozenset()
        if any(pod.state.owner_kind == "DaemonSet" for pod in pods):
            names = frozenset(each.full_name for each in self._snapshot.daemonsets())
        using = {pod.state.uid: why for pod in pods if (why := self._use(pod))}
        now = self._snapshot.cluster.api.now()
        selection = select(pods, self._options, self._mode, names, using, now)
        going = {pod.state.uid for pod in selection.evict}
        self._staying = tuple(
            p for p in pods if p.state.uid not in going and self._held_by(p) and not p.finished
        )
        found = tuple(
            f"{pod.state.full_name} asks for no GPU but uses one: {using[pod.state.uid]}"
            for pod in selection.evict
            if self._mode == "gpu" and pod.state.uid in using and not pod.asks_for_gpu
        )
        return replace(selection, warnings=(*selection.warnings, *found))

    def held(self, node: NodeState) -> tuple[str, ...]:
        """Of the pods that stay although they hold a GPU: what ends them."""
        return tuple(
            f"{pod.state.full_name} stays although its process {self._held_by(pod)}:"
            f" {self._stays(pod)}"
            for pod in self._staying
            if not self._paused(pod, node)
        )

    def _paused(self, pod: Pod, node: NodeState) -> bool:
        """Whether NVIDIA's operator takes it away for the time of the work."""
        return any(
            each.uid == pod.owner_uid and pauses(each.selector, node.labels)
            for each in self._snapshot.daemonsets()
        )

    @staticmethod
    def _stays(pod: Pod) -> str:
        if pod.mirror:
            return "a static pod goes with its manifest on the node"
        if pod.state.owner_kind == "DaemonSet":
            return f"keep its DaemonSet {pod.state.owner_name} off the node meanwhile"
        return "the options of this drain leave it where it is"

    def _held_by(self, pod: Pod) -> str:
        return self._holders.get(pod.static_uid or pod.state.uid, "")

    def _use(self, pod: Pod) -> str:
        """Why a pod counts as a user of a GPU beside what it asks for by resource; "": not."""
        if held := self._held_by(pod):
            return f"its process {held}"
        if self._mode != "gpu" or not pod.claims or pod.finished:
            return ""
        claims = self._snapshot.gpu_claims()
        if not claims.held_by(pod):
            return ""
        unknown = f"; what its resource claims are for is not known: {claims.unknown}"
        return "a resource claim" + (unknown if claims.unknown else "")
