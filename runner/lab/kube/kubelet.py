"""The kubelet stand-in: pods on living nodes start, hold GPUs, end; nodes report what they have."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from runner.lab.kube import config_manager, gpus, plugins, pods, programs
from runner.lab.kube.budgets import is_ready
from runner.lab.kube.deletion import is_finished
from runner.lab.kube.kinds import KIND, Json
from runner.lab.kube.nodes import NVIDIA, SimulatedNode, ready_condition
from runner.lab.kube.pods import held
from runner.lab.kube.scheduling import free, gpu_requests, with_condition
from runner.lab.kube.store import Store

_POD, _NODE = KIND["Pod"], KIND["Node"]
TERMINATION = "lab.gpurun.dev/termination-seconds"
"""Pod annotation: how long the pod takes to end, instead of the lab's short time."""
RUN = "lab.gpurun.dev/run-seconds"
"""Pod annotation: the pod's containers end successfully after so long."""
_EXPORTER = "dcgm-exporter"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, in seconds.

    Args:
        start: from bound to Running.
        termination: at most, from deletion to gone (a shorter grace ends earlier).
        probe: between two looks at whether the nodes answer.
        failures: unanswered looks until a node is lost.
    """

    start: float = 0.3
    termination: float = 1.0
    probe: float = 2.0
    failures: int = 2


FAST = Timing(start=0.0, termination=0.0, probe=3600.0, failures=1)
"""For tests: nothing takes time, and nodes are looked at when asked to."""


class Kubelet:
    """What the kubelets of all nodes do. `step` does what is due now."""

    def __init__(self, store: Store, nodes: Sequence[SimulatedNode], timing: Timing) -> None:
        self._store = store
        self._nodes = {node.name: node for node in nodes}
        self._timing = timing
        self._since: dict[tuple[str, str], float] = {}
        self._holding = {
            pod["metadata"]["uid"]: self._node(pod) for pod in store.list(_POD) if held(pod)
        }
        self.silent: set[str] = set()
        """Names of nodes that do not answer; nothing happens on them."""

    def step(self) -> float | None:
        """Do what is due; returns the seconds until something else is, if anything waits."""
        due: list[float] = []
        seen: set[tuple[str, str]] = set()
        pods = self._store.list(_POD)
        self._release_forgotten({pod["metadata"]["uid"] for pod in pods})
        for pod in pods:
            node = pod["spec"].get("nodeName")
            if not node or node in self.silent:
                continue
            wait = self._next(pod)
            if wait is None:
                continue
            stage, seconds = wait
            key = (pod["metadata"]["uid"], stage)
            seen.add(key)
            left = self._since.setdefault(key, time.monotonic()) + seconds - time.monotonic()
            if left > 0:
                due.append(left)
            else:
                self._advance(pod, stage)
        self._since = {key: since for key, since in self._since.items() if key in seen}
        return min(due, default=None)

    def _release_forgotten(self, present: set[str]) -> None:
        """End the processes of pods that were deleted without waiting for their kubelet."""
        for uid in set(self._holding) - present:
            self._release(self._holding[uid], uid)

    def _hold(self, node: SimulatedNode, pod: Json, indices: Sequence[int]) -> None:
        self._holding[pod["metadata"]["uid"]] = node
        gpus.hold(node, pod["metadata"]["uid"], _process(pod), indices)

    def _release(self, node: SimulatedNode, uid: str) -> None:
        gpus.release(node, uid)
        self._holding.pop(uid, None)

    def _next(self, pod: Json) -> tuple[str, float] | None:
        """The pod's next stage and how many seconds it takes to get there."""
        metadata, phase = pod["metadata"], pod["status"].get("phase")
        annotations = metadata.get("annotations") or {}
        if "deletionTimestamp" in metadata:
            shortened = min(self._timing.termination, metadata["deletionGracePeriodSeconds"])
            return "gone", float(annotations.get(TERMINATION, shortened))
        if phase == "Pending":
            return "running", self._timing.start
        if phase != "Running":
            return None
        if pods.WAITS in annotations and plugins.offered(self._store, self._node(pod), pod):
            return "served", 0.0
        if pods.CONFIG in annotations and self._is_to_be_configured(pod):
            return "configured", 0.0
        ends = float(annotations[RUN]) if RUN in annotations else self._program(pod)
        limit = pod["spec"].get("activeDeadlineSeconds")
        if limit is not None and (ends is None or limit < ends):
            return "late", float(limit)
        return None if ends is None else ("ended", ends)

    def _is_to_be_configured(self, pod: Json) -> bool:
        """Whether the device plugin's config-manager has something to do: the node's label, or what
        it names, is another than before."""
        picked = plugins.picked(self._store, self._node(pod), pod)
        if picked is None:
            return is_ready(pod)
        return picked != pod["metadata"]["annotations"][pods.CONFIG] or not is_ready(pod)

    def _configure(self, node: SimulatedNode, pod: Json) -> None:
        """What config-manager does: the plugin reads a configuration when it is another one."""
        picked = plugins.picked(self._store, node, pod)
        if picked is None:
            self._put(pod, pods.unconfigured)
            return
        self._put(pod, partial(pods.configured, picked))
        if picked != pod["metadata"]["annotations"][pods.CONFIG]:
            self._offer(node, pod)

    def _offer(self, node: SimulatedNode, pod: Json) -> None:
        """The plugin reads its configuration, and offers what that says or waits for MPS."""
        offered = plugins.offered(self._store, node, pod) or {}
        if not offered:
            self._put(pod, pods.waiting)
        self.advertise(node.name, offered, prefix=plugins.prefix(pod))

    def _program(self, pod: Json) -> float | None:
        """How long the pod's command takes; None: until the pod is deleted."""
        result = programs.ending(pod, self._node(pod), held(pod))
        return None if result is None else result.seconds

    def _advance(self, pod: Json, stage: str) -> None:
        node = self._node(pod)
        if stage == "running":
            self._start(node, pod)
            return
        if stage == "configured":
            self._configure(node, pod)
            return
        if stage == "served":
            offered = plugins.offered(self._store, node, pod) or {}
            self._put(pod, pods.served)
            self.advertise(node.name, offered, prefix=plugins.prefix(pod))
            return
        if held(pod):
            self._release(node, pod["metadata"]["uid"])
        if stage == "ended":
            result = programs.ending(pod, node, held(pod)) or programs.Ending(0)
            self._put(pod, lambda current: pods.finished(current, result))
        elif stage == "late":
            self._put(pod, pods.too_late)
        else:
            self._remove(pod)
        if plugins.prefix(pod):
            self._plugin_ended(pod)

    def _remove(self, pod: Json) -> None:
        with self._store.lock:
            current = self._current(pod)
            if current is not None and not current["metadata"].get("finalizers"):
                self._store.remove(_POD, current)

    def _node(self, pod: Json) -> SimulatedNode:
        name = pod["spec"]["nodeName"]
        return self._nodes.get(name) or SimulatedNode(name, count=0)

    def _current(self, pod: Json) -> Json | None:
        metadata = pod["metadata"]
        current = self._store.get(_POD, metadata["namespace"], metadata["name"])
        return current if current and current["metadata"]["uid"] == metadata["uid"] else None

    def _start(self, node: SimulatedNode, pod: Json) -> None:
        pending = pod["status"].get("phase") == "Pending"
        if pending and not self._admitted(node, pod):
            return
        if programs.unpullable(pod):
            self._put(pod, pods.not_pulled)
            return
        plugin = plugins.prefix(pod)
        offered = plugins.offered(self._store, node, pod) if plugin else {}
        if offered is None:
            return
        indices = self._assign(node, pod)
        if indices:
            self._hold(node, pod, indices)
        self._put(pod, lambda current: pods.running(current, node, indices))
        if plugin:
            if config_manager.sidecar(pod) is not None:
                picked = plugins.picked(self._store, node, pod)
                self._put(pod, partial(pods.configured, picked or ""))
            self._offer(node, pod)

    def _admitted(self, node: SimulatedNode, pod: Json) -> bool:
        """Whether the node has the devices the pod asks for; else it has failed, as the device
        manager of a kubelet says it."""
        wanted = gpu_requests(pod["spec"])
        item = self._store.get(_NODE, "", node.name)
        if not wanted or item is None:
            return True
        started = [other for other in self._store.list(_POD) if _holds_devices(other, node.name)]
        left = free(item, started)
        for name, count in wanted.items():
            available = max(0, left.get(name, 0))
            if available < count:
                self._put(pod, partial(pods.rejected, name, count, available))
                return False
        return True

    def _put(self, pod: Json, change: Callable[[Json], Json]) -> None:
        """Change the pod, unless it is gone or going."""
        with self._store.lock:
            current = self._current(pod)
            if current is None or "deletionTimestamp" in current["metadata"]:
                return
            changed = change(current)
            if changed != current:
                self._store.put(_POD, changed)

    def _assign(self, node: SimulatedNode, pod: Json) -> Sequence[int]:
        """Which of the node's GPUs the pod opens: all for plugin and exporter."""
        if plugins.prefix(pod) == NVIDIA or plugins.has_image(pod, _EXPORTER):
            return range(node.count)
        wanted = sum(gpu_requests(pod["spec"]).values())
        if not wanted or not node.count:
            return ()
        uses = dict.fromkeys(range(node.count), 0)
        for other in self._store.list(_POD):
            if other["spec"].get("nodeName") == node.name:
                for index in held(other):
                    uses[index] = uses.get(index, 0) + 1
        order = sorted(uses, key=lambda index: (uses[index], index))
        return sorted(order[index % node.count] for index in range(min(wanted, node.count)))

    def _plugin_ended(self, pod: Json) -> None:
        """Without its plugin a node's devices count as unhealthy: none is allocatable."""
        name, prefix = pod["spec"]["nodeName"], plugins.prefix(pod)
        others = [
            other
            for other in self._store.list(_POD)
            if other["spec"].get("nodeName") == name
            and plugins.prefix(other) == prefix
            and other["status"].get("phase") == "Running"
        ]
        node = self._store.get(_NODE, "", name)
        if node and not others:
            known = node["status"].get("allocatable") or {}
            gone = dict.fromkeys((key for key in known if key.startswith(prefix)), 0)
            self.advertise(name, gone, capacity=False, prefix=prefix)

    def advertise(
        self, name: str, counts: Mapping[str, int], capacity: bool = True, prefix: str = NVIDIA
    ) -> None:
        """Set a node's resources of one plugin; those no longer advertised become 0."""
        with self._store.lock:
            node = self._store.get(_NODE, "", name)
            if node is None:
                return
            status = dict(node["status"])
            for field in ("capacity", "allocatable") if capacity else ("allocatable",):
                known = status.get(field) or {}
                gone = dict.fromkeys((key for key in known if key.startswith(prefix)), "0")
                status[field] = {**known, **gone, **{key: str(n) for key, n in counts.items()}}
            if status != node["status"]:
                self._store.put(_NODE, {**node, "status": status})

    def after_boot(self) -> None:
        """Restart the pods of nodes that have forgotten their processes: they have booted."""
        for name, node in self._nodes.items():
            known = gpus.holders(node)
            if name in self.silent or known is None:
                continue
            for pod in self._store.list(_POD):
                if pod["spec"].get("nodeName") != name or is_finished(pod):
                    continue
                if held(pod) and pod["metadata"]["uid"] not in known:
                    self._start(node, pod)

    def report(self, name: str, answers: bool) -> None:
        """Set a node's Ready condition."""
        (self.silent.discard if answers else self.silent.add)(name)
        with self._store.lock:
            node = self._store.get(_NODE, "", name)
            if node is None:
                return
            condition = ready_condition(answers)
            conditions = node["status"].get("conditions", [])
            present = [entry for entry in conditions if entry["type"] == "Ready"]
            if present and present[0]["status"] == condition["status"]:
                return
            others = [entry for entry in conditions if entry["type"] != "Ready"]
            status = {**node["status"], "conditions": [condition, *others]}
            self._store.put(_NODE, {**node, "status": status})
            self._report_pods(name, answers)

    def _report_pods(self, name: str, answers: bool) -> None:
        """Pods of a lost node are not ready."""
        for pod in self._store.list(_POD):
            if pod["spec"].get("nodeName") == name and pod["status"].get("phase") == "Running":
                reason = "" if answers else "NodeNotReady"
                self._store.put(_POD, with_condition(pod, "Ready", answers, reason))


def _process(pod: Json) -> str:
    """The name the GPU tools show for the pod's process."""
    if plugins.prefix(pod) == NVIDIA:
        return "/usr/bin/nvidia-device-plugin"
    if plugins.has_image(pod, _EXPORTER):
        return "/usr/bin/dcgm-exporter"
    return f"/usr/bin/{pod['spec']['containers'][0]['name']}"


def _holds_devices(pod: Json, node: str) -> bool:
    return (pod["spec"].get("nodeName"), pod["status"].get("phase")) == (node, "Running")
