"""The preconditions that `require` knows by name: each says what is wrong and what would help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.facts.clock import CLOCK, Clock
from runner.facts.gpu_health import GPU_HEALTH, HEALTH_KEY, GpuHealth, Health
from runner.facts.nvidia import DRIVER, DRIVER_KEY, GPUS, GPUS_KEY, Driver, Gpus
from runner.facts.readiness import (
    DISK,
    PACKAGE_MANAGER,
    REBOOT_REQUIRED,
    PackageManager,
    RebootRequired,
)
from runner.kube.state import NODE, NodesQuery, NodeState, ObjectQuery, ObjectState
from runner.modules.base import ClusterProbe, Probe, Unknown

if TYPE_CHECKING:
    from runner.modules.require import RequireArguments

NODES_KEY, PLUGIN_KEY = "kubernetes:nodes", "kubernetes:require plugin"
GPU_RESOURCE = "nvidia.com/"
PRODUCT = "nvidia.com/gpu.product"

Observed = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Precondition:
    """One of them.

    Args:
        judge: what is wrong, with what would help; "" where it is met. May raise `Unknown`.
        probes: what it has to see of the host.
        node: it has to see the host's own node.
        cluster: what else it has to see of the cluster.
    """

    judge: Callable[[RequireArguments, Observed], str]
    probes: tuple[Probe | None, ...] = ()
    node: bool = False
    cluster: Callable[[RequireArguments], Sequence[ClusterProbe]] = lambda args: ()


# -- the driver and its GPUs ------------------------------------------------------------------


def _driver(args: RequireArguments, observed: Observed) -> str:
    driver: Driver = observed[DRIVER_KEY]
    if not driver.loaded:
        return f"no NVIDIA driver is loaded ({driver.reason}): see playbooks/driver-reload.yaml"
    found = f"driver {driver.loaded} is loaded"
    if args.driver_at_least and _older(driver.loaded, args.driver_at_least):
        return f"{found}, {args.driver_at_least} or later is needed: playbooks/driver-upgrade.yaml"
    if args.driver_at_most and _older(args.driver_at_most, driver.loaded):
        return (
            f"{found}, {args.driver_at_most} or earlier is needed: playbooks/driver-upgrade.yaml "
            "with that driver_version"
        )
    return ""


def _mig_capable(args: RequireArguments, observed: Observed) -> str:
    gpus: Gpus = observed[GPUS_KEY]
    if not gpus:
        return f"no GPU is seen ({gpus.reason or 'nvidia-smi lists none'})"
    if any(gpu.mig_capable is None for gpu in gpus):
        raise Unknown("nvidia-smi does not say whether the GPUs have MIG: its driver is too old")
    without = [f"{gpu.index} ({gpu.product})" for gpu in gpus if not gpu.mig_capable]
    if without:
        return f"GPU {', '.join(without)} has no MIG: leave this host out of `hosts`"
    return ""


def _gpu_count(args: RequireArguments, observed: Observed) -> str:
    health: Health = observed[HEALTH_KEY]
    working = [gpu for gpu in health.gpus if gpu.on_bus and gpu.answers]
    if len(working) == args.gpu_count:
        return ""
    silent = [gpu for gpu in health.gpus if gpu not in working]
    more = f"; not working: {_names(silent)}" if silent else ""
    more += f" ({health.silence})" if health.silence else ""
    return (
        f"{len(working)} GPUs work, {args.gpu_count} are expected{more}: see `gpurun facts xids`, "
        "and playbooks/xid-remediate.yaml"
    )


def _on_bus(args: RequireArguments, observed: Observed) -> str:
    health: Health = observed[HEALTH_KEY]
    if not health.gpus:
        return "lspci shows no GPU of NVIDIA: look at the machine itself"
    lost = [gpu for gpu in health.gpus if not gpu.on_bus]
    if lost:
        return (
            f"{_names(lost)} has fallen off the bus, where no reset can help: "
            "playbooks/xid-remediate.yaml reboots the node"
        )
    silent = [gpu for gpu in health.gpus if not gpu.answers]
    if silent and not health.silence:  # else it is the driver that does not work, not a GPU
        return (
            f"{_names(silent)} is on the bus and nvidia-smi does not show it: "
            "playbooks/xid-remediate.yaml"
        )
    return ""


def _memory(args: RequireArguments, observed: Observed) -> str:
    health: Health = observed[HEALTH_KEY]
    if not health.gpus or health.silence:
        raise Unknown(f"the state of the GPUs' memory: {health.silence or 'there is no GPU'}")
    return "; ".join(problem for gpu in health.gpus if (problem := _memory_of(gpu)))


def _memory_of(gpu: GpuHealth) -> str:
    if gpu.remap_failure:
        return f"{gpu.name}: a row of its memory could not be replaced: have the GPU replaced"
    if gpu.remap_pending:
        return (
            f"{gpu.name}: a row of its memory waits for a reset to be replaced: "
            "playbooks/gpu-reset.yaml"
        )
    if gpu.remap_pending is None:
        return (
            f"{gpu.name}: whether its memory waits for repair is not known (MIG mode hides it): "
            "look while MIG is off, or leave this precondition out"
        )
    if gpu.ecc_uncorrected is None:
        return (
            f"{gpu.name}: its count of memory errors is not known: switch ECC on, or leave this "
            "precondition out"
        )
    if gpu.ecc_uncorrected:
        return (
            f"{gpu.name}: {gpu.ecc_uncorrected} uncorrectable memory errors since the driver was "
            "loaded: playbooks/gpu-reset.yaml, and if they come again have the GPU replaced"
        )
    return ""


def _names(gpus: Sequence[GpuHealth]) -> str:
    return ", ".join(gpu.name for gpu in gpus)


# -- the host ---------------------------------------------------------------------------------


def _disk(args: RequireArguments, observed: Observed) -> str:
    assert DISK.probe and args.disk_mib
    free: Mapping[str, int] = observed[DISK.probe.key]
    short = [
        f"at {path} {free[path]} MiB are free, {needed} are needed"
        for path, needed in args.disk_mib.items()
        if path in free and free[path] < needed
    ]
    unknown = [path for path in args.disk_mib if path not in free]
    if unknown:
        raise Unknown(f"the free space of {', '.join(unknown)}: known is that of {', '.join(free)}")
    return f"{'; '.join(short)}: `apt-get clean`, remove old kernels" if short else ""


def _package_manager(args: RequireArguments, observed: Observed) -> str:
    assert PACKAGE_MANAGER.probe
    state: PackageManager = observed[PACKAGE_MANAGER.probe.key]
    return f"{state.holder}: wait until it has ended" if state.busy else ""


def _reboot(args: RequireArguments, observed: Observed) -> str:
    assert REBOOT_REQUIRED.probe
    state: RebootRequired = observed[REBOOT_REQUIRED.probe.key]
    if not state.required:
        return ""
    allowed = args.reboot_wanted_for
    others = [name for name in state.packages if not name.startswith(allowed or ("\0",))]
    if state.packages and not others:
        return ""
    said = ", ".join(others) or "it does not say for what"
    return f"the host asks for a reboot ({said}), which may bring another kernel: reboot it first"


def _clock(args: RequireArguments, observed: Observed) -> str:
    assert CLOCK.probe
    clock: Clock = observed[CLOCK.probe.key]
    if clock.synchronized:
        return ""
    return "the clock follows no time server: `timedatectl set-ntp true`, or see chrony's sources"


# -- the cluster ------------------------------------------------------------------------------


def _plugin(args: RequireArguments, observed: Observed) -> str:
    state: ObjectState = observed[PLUGIN_KEY]
    name = f"{args.plugin_namespace}/{args.plugin}"
    if state.live is None:
        return f"there is no DaemonSet {name}: say where it is (plugin, plugin_namespace)"
    images = [c["image"] for c in state.live["spec"]["template"]["spec"]["containers"]]
    tags = [image.rpartition(":")[2] for image in images if "device-plugin" in image]
    if len(tags) != 1 or "/" in tags[0]:
        raise Unknown(f"the version of {name}: its images are {', '.join(images)}")
    if _older(tags[0], args.plugin_at_least):
        return f"{name} is {tags[0]}, {args.plugin_at_least} or later is needed: upgrade it"
    return ""


def _plugin_probe(args: RequireArguments) -> Sequence[ClusterProbe]:
    named = {"namespace": args.plugin_namespace, "name": args.plugin}
    manifest = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": named}
    return (ClusterProbe(PLUGIN_KEY, ObjectQuery(manifest, dry_run=False)),)


def _kubernetes(args: RequireArguments, observed: Observed) -> str:
    node: NodeState = observed[NODE]
    found = node.kubelet_version
    if not found:
        raise Unknown(f"the version of the kubelet of node {node.name}")
    if args.kubernetes_at_least and _older(found, args.kubernetes_at_least):
        return f"the kubelet is {found}, {args.kubernetes_at_least} or later is needed: upgrade it"
    if args.kubernetes_at_most and _older(args.kubernetes_at_most, found, len_of=True):
        return f"the kubelet is {found}, the playbook is known up to {args.kubernetes_at_most}"
    return ""


def _other_nodes(args: RequireArguments, observed: Observed) -> str:
    down = [node.name for node in _others(observed) if _offers_gpus(node) and not node.ready]
    if down:
        return f"other GPU nodes are not Ready: {', '.join(down)}; see to them first"
    return ""


def _not_last(args: RequireArguments, observed: Observed) -> str:
    here: NodeState = observed[NODE]
    kind = _kind(here)
    if not kind:
        raise Unknown(f"what kind of GPU node {here.name} has: it offers none and has no {PRODUCT}")
    for node in _others(observed):
        if _kind(node) == kind and node.ready and not node.unschedulable and _gpus_now(node):
            return ""
    return (
        f"no other node with {kind} is Ready, schedulable and offers GPUs: this is the last one; "
        "give another one back first"
    )


def _others(observed: Observed) -> list[NodeState]:
    here: NodeState = observed[NODE]
    nodes: Sequence[NodeState] = observed[NODES_KEY]
    return [node for node in nodes if node.name != here.name]


def _kind(node: NodeState) -> str:
    """Its GPU's product as GPU feature discovery labels it, else the resources it offers."""
    offered = sorted(name for name in node.capacity if name.startswith(GPU_RESOURCE))
    return node.labels.get(PRODUCT, "") or ", ".join(offered)


def _offers_gpus(node: NodeState) -> bool:
    return bool(_kind(node))


def _gpus_now(node: NodeState) -> bool:
    return any(
        name.startswith(GPU_RESOURCE) and count != "0" for name, count in node.allocatable.items()
    )


def _nodes_probe(args: RequireArguments) -> Sequence[ClusterProbe]:
    return (ClusterProbe(NODES_KEY, NodesQuery()),)


# -- versions ---------------------------------------------------------------------------------


def numbers(version: str) -> tuple[int, ...]:
    """The numbers a version begins with: `v1.31.2+k3s1` is 1, 31, 2.

    Raises:
        Unknown: it begins with none.
    """
    first = version.removeprefix("v").partition("+")[0].partition("-")[0]
    try:
        return tuple(int(part) for part in first.split("."))
    except ValueError:
        raise Unknown(f"{version!r} is no version") from None


def _older(one: str, other: str, len_of: bool = False) -> bool:
    """Whether one version is before the other. `len_of`: 1.31 stands for every 1.31.x."""
    left, right = numbers(one), numbers(other)
    if len_of:
        right = right[: len(left)]
    width = max(len(left), len(right))
    return _filled(left, width) < _filled(right, width)


def _filled(version: tuple[int, ...], width: int) -> tuple[int, ...]:
    return version + (0,) * (width - len(version))


KNOWN: Mapping[str, Precondition] = {
    "driver_at_least": Precondition(_driver, (DRIVER.probe,)),
    "driver_at_most": Precondition(_driver, (DRIVER.probe,)),
    "mig_capable": Precondition(_mig_capable, (GPUS.probe,)),
    "gpu_count": Precondition(_gpu_count, (GPU_HEALTH.probe,)),
    "gpus_on_bus": Precondition(_on_bus, (GPU_HEALTH.probe,)),
    "memory_healthy": Precondition(_memory, (GPU_HEALTH.probe,)),
    "disk_mib": Precondition(_disk, (DISK.probe,)),
    "no_package_manager": Precondition(_package_manager, (PACKAGE_MANAGER.probe,)),
    "no_pending_reboot": Precondition(_reboot, (REBOOT_REQUIRED.probe,)),
    "clock_synchronized": Precondition(_clock, (CLOCK.probe,)),
    "plugin_at_least": Precondition(_plugin, cluster=_plugin_probe),
    "kubernetes_at_least": Precondition(_kubernetes, node=True),
    "kubernetes_at_most": Precondition(_kubernetes, node=True),
    "other_nodes_ready": Precondition(_other_nodes, node=True, cluster=_nodes_probe),
    "not_last_of_its_kind": Precondition(_not_last, node=True, cluster=_nodes_probe),
}
"""Argument of `require` -> its precondition."""
