"""`require`: preconditions by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, StrictBool, field_validator, model_validator

from runner.modules.base import (
    Arguments,
    ClusterProbe,
    Context,
    Module,
    Outcome,
    Probe,
    Refused,
    Unknown,
)
from runner.modules.preconditions import KNOWN, Precondition, numbers

Version = Annotated[str, Field(pattern=r"^v?\d+(\.\d+)*", examples=["570.86.15", "v0.17.1"])]


class RequireArguments(Arguments):
    driver_at_least: Version = Field("", description="The loaded driver is this or later.")
    driver_at_most: Version = Field("", description="The loaded driver is this or earlier.")
    mig_capable: StrictBool = Field(False, description="Every GPU has MIG.")
    gpu_count: int | None = Field(None, ge=0, description="So many GPUs work.")
    gpus_on_bus: StrictBool = Field(
        False,
        description="Every GPU on the PCI bus answers, and nvidia-smi shows it if it shows any.",
    )
    memory_healthy: StrictBool = Field(
        False,
        description="No GPU's memory waits for a repair, none had uncorrectable errors since the "
        "driver was loaded; what is not known is not healthy.",
    )
    disk_mib: dict[str, int] | None = Field(
        None, description="Path (`/`, `/boot`, `/tmp`, `/usr`, `/var`) to MiB that are free there."
    )
    no_package_manager: StrictBool = Field(
        False, description="Nothing holds the locks of apt and dpkg, or dnf and rpm."
    )
    no_pending_reboot: StrictBool = Field(False, description="The host does not ask for a reboot.")
    reboot_wanted_for: tuple[str, ...] = Field(
        (),
        description="Beginnings of package names for which a pending reboot is welcome, for "
        "`no_pending_reboot`.",
    )
    clock_synchronized: StrictBool = Field(False, description="The clock follows a time server.")
    plugin_at_least: Version = Field(
        "", description="NVIDIA's device plugin is this or later, by its image's tag."
    )
    plugin: str = Field("nvidia-device-plugin-daemonset", description="The plugin's DaemonSet.")
    plugin_namespace: str = Field("kube-system", description="Its namespace.")
    kubernetes_at_least: Version = Field("", description="The node's kubelet is this or later.")
    kubernetes_at_most: Version = Field(
        "", description="The node's kubelet is this or earlier; `1.33` is every 1.33.x."
    )
    other_nodes_ready: StrictBool = Field(
        False, description="All other GPU nodes of the cluster are Ready."
    )
    not_last_of_its_kind: StrictBool = Field(
        False,
        description="Another node with the same GPUs is Ready, schedulable, and offers them.",
    )

    @field_validator("*", mode="after")
    @classmethod
    def _versions_have_numbers(cls, value: Any, info: Any) -> Any:
        if value and str(info.field_name).endswith(("_at_least", "_at_most")):
            try:
                numbers(value)
            except Unknown as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _something(self) -> RequireArguments:
        if not list(_wanted(self)):
            raise ValueError(f"name at least one of {', '.join(KNOWN)}")
        return self


def _wanted(args: RequireArguments) -> Iterator[Precondition]:
    """The preconditions that are named; those that are judged together once."""
    found = [known for name, known in KNOWN.items() if _named(getattr(args, name))]
    yield from {known.judge: known for known in found}.values()


def _named(value: Any) -> bool:
    return value is not None and value is not False and value != ""


class Require(Module[RequireArguments]):
    """Stops a host that does not meet the preconditions named; each failure says what helps.

    All that are not met are named at once. What is not known is not met. Meant for `preconditions`:
    a host that does not meet one is left alone.
    """

    name = "require"
    arguments = RequireArguments
    changes_nothing = True
    examples = (
        """\
- name: a node that can take a driver
  require:
    driver_at_least: "535.54"
    gpus_on_bus: true
    no_package_manager: true
    no_pending_reboot: true
    reboot_wanted_for: [nvidia, libnvidia]
    disk_mib: {/: 2048, /var: 4096}
""",
        """\
- name: the cluster can do without this node
  require:
    kubernetes_at_least: "1.27"
    other_nodes_ready: true
    not_last_of_its_kind: true
""",
    )

    def wants_cluster(self, args: RequireArguments) -> bool:
        return any(one.node for one in _wanted(args))

    def probes(self, args: RequireArguments, context: Context) -> Sequence[Probe]:
        found = [probe for one in _wanted(args) for probe in one.probes if probe]
        unique = {probe.key: replace(probe, become=context.become) for probe in found}
        return tuple(unique.values())

    def cluster_probes(self, args: RequireArguments, context: Context) -> Sequence[ClusterProbe]:
        found = {probe.key: probe for one in _wanted(args) for probe in one.cluster(args)}
        return tuple(found.values())

    def plan(
        self, args: RequireArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        problems = []
        for one in _wanted(args):
            try:
                problems.append(one.judge(args, observed))
            except Unknown as error:
                problems.append(f"not known: {error}")
        unmet = [problem for problem in problems if problem]
        if unmet:
            raise Refused("; ".join(unmet))
        return Outcome()
