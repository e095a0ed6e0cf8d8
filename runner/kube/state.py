"""What the cluster says of one node, as plain data for planning; and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NODE = "kubernetes:node"
"""Key of a `NodeState` in an observation."""


@dataclass(frozen=True, slots=True)
class PodState:
    """One pod bound to the node."""

    namespace: str
    name: str
    uid: str
    phase: str
    owner_kind: str = ""
    owner_name: str = ""
    created: str = ""
    """RFC 3339, as the API gives it."""
    ready: bool = False
    deleting: bool = False
    gpu_requests: Mapping[str, int] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node as a single read of the cluster showed it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    """key=value:effect"""
    unschedulable: bool = False
    cordoned_by: str = ""
    """The field manager that set `unschedulable` (`kubectl-cordon`); "" where it is not told."""
    cordoned_at: str = ""
    """When it did, RFC 3339."""
    ready: bool = True
    capacity: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    pods: tuple[PodState, ...] = ()
    kubelet_version: str = ""


@dataclass(frozen=True, slots=True)
class SetLabels:
    """Set labels of the node; None removes one."""

    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class SetTaint:
    """Set the node's taint of this key and effect, or remove it ("": of every effect)."""

    key: str
    effect: str
    value: str = ""
    present: bool = True

    @property
    def text(self) -> str:
        """As kubectl and `NodeState.taints` write it: key=value:effect."""
        value = f"={self.value}" if self.value else ""
        return f"{self.key}{value}:{self.effect}"


@dataclass(frozen=True, slots=True)
class KeepCordoned:
    """Leave the node cordoned when the run is over, with the reason written on it; "": give it
    back."""

    reason: str


@dataclass(frozen=True, slots=True)
class EvictPods:
    """Evict these pods of the node, by UID, and wait until they are gone.

    The options are those of a drain, which is what it is, of some pods.
    """

    uids: tuple[str, ...]
    delete_emptydir_data: bool = False
    force: bool = False
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class RestartDaemonSetPod:
    """Delete the DaemonSet's pod on this node and wait for a new Ready one.

    A pod created after the node's change began counts as restarted.
    """

    namespace: str
    name: str
    timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class WaitAllocatable:
    """Wait until two readings, at least a second apart, show the wanted number of a resource."""

    resource: str
    value: int
    timeout: float = 120.0

    def __str__(self) -> str:
        what = f"the node offers {self.value} {self.resource}"
        return f"waits until {what} (at most {self.timeout:g} s)"


@dataclass(frozen=True, slots=True)
class RestartDaemonSet:
    """Start all pods of the DaemonSet anew, as `kubectl rollout restart`, and wait for them.

    Asked for by several hosts of one run, it is done once.
    """

    namespace: str
    name: str
    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class Uncordon:
    """Make a node schedulable that somebody left cordoned, unless a run holds it by now."""


@dataclass(frozen=True, slots=True)
class CheckPod:
    """Run one pod on the node to its end, keep what it printed, and remove it.

    Args:
        namespace: where it runs.
        spec: of the pod, without the node's name.
        timeout: seconds until it must have ended.
    """

    namespace: str
    spec: Mapping[str, Any] = field(repr=False)
    timeout: float = 120.0

    def __str__(self) -> str:
        container = self.spec["containers"][0]
        command = " ".join([*container.get("command", ()), *container.get("args", ())])
        what = f"'{command}' of {container['image']}" if command else container["image"]
        return f"runs {what} in a pod on the node and removes it (at most {self.timeout:g} s)"


@dataclass(frozen=True, slots=True)
class ObjectQuery:
    """A look at one object: what is live and, with `dry_run`, what applying `manifest` would make
    of it. `force`: take over fields of other managers. `replace`: the manifest becomes all of it.
    `manager`: the field manager that owns what the manifest sets."""

    manifest: Mapping[str, Any] = field(repr=False)
    force: bool = False
    dry_run: bool = True
    replace: bool = False
    manager: str = "gpurun"
    selector: str = ""
    """A look at all objects of the manifest's kind and namespace that have these labels: what is
    live is then a list."""


@dataclass(frozen=True, slots=True)
class NodesQuery:
    """A look at all nodes of the cluster, without their pods."""


@dataclass(frozen=True, slots=True)
class ObjectState:
    """The live object (None: there is none) and the server's answer to a dry run.

    `refused` says why the server would not accept the manifest; `rolled_out` that an earlier task
    of the play will have seen its pods all new and available.
    """

    live: Mapping[str, Any] | None
    applied: Mapping[str, Any] | None = None
    refused: str = ""
    rolled_out: bool = False

    @property
    def wanted(self) -> bool:
        """Applying would change nothing that is for others than the server itself."""
        from runner.kube.objects import visible

        return self.live is not None and visible(self.live) == visible(self.applied)


@dataclass(frozen=True, slots=True)
class WaitRollout:
    """Wait until a DaemonSet's or Deployment's pods are all of its present template and ready."""

    manifest: Mapping[str, Any] = field(repr=False)
    timeout: float = 300.0

    def __str__(self) -> str:
        name = self.manifest["metadata"]["name"]
        what = f"{self.manifest['kind']} {name} is rolled out"
        return f"waits until {what} (at most {self.timeout:g} s)"


@dataclass(frozen=True, slots=True)
class ApplyObject:
    """Apply an object that is still as it was `seen` (without what is the server's own)."""

    query: ObjectQuery
    seen: Mapping[str, Any] | None = field(repr=False)
    rollout: WaitRollout | None = None


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """Delete an object that is still as it was `seen`, and wait until it is gone."""

    query: ObjectQuery
    seen: Mapping[str, Any] | None = field(repr=False)
    timeout: float = 300.0


ClusterAction = (
    SetLabels
    | SetTaint
    | KeepCordoned
    | EvictPods
    | RestartDaemonSetPod
    | RestartDaemonSet
    | Uncordon
    | CheckPod
    | WaitAllocatable
    | ApplyObject
    | DeleteObject
    | WaitRollout
)

ClusterQuery = ObjectQuery | NodesQuery
ClusterAnswer = ObjectState | tuple[NodeState, ...]

DrainMode = Literal["gpu", "full", "none"]


@dataclass(frozen=True, slots=True)
class JobWait:
    """Pods that may finish their work before anything is evicted. `timeout` in seconds."""

    selector: str
    timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class DrainOptions:
    """What a drain may do; kubectl's defaults. Seconds for times; None: each pod's own grace."""

    mode: DrainMode | None = None
    """None: derived from the disruption of the node's changes."""
    ignore_daemonsets: bool = True
    delete_emptydir_data: bool = False
    force: bool = False
    pod_selector: str = ""
    namespace_exclude: tuple[str, ...] = ()
    grace_period: int | None = None
    timeout: float = 600.0
    wait_for_jobs: JobWait | None = None
    disable_eviction: bool = False
    """Delete pods, past their disruption budgets, instead of evicting them."""
    skip_wait_for_delete_timeout: int = 0
    """Seconds after which a pod that is being deleted is no longer waited for; 0: never."""
    taint: str = ""
    """key=value:effect that the node has while it is out of service; "": none."""
