"""`wait_allocatable`: the node offers as many of a resource as it should."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, model_validator

from runner.facts.mig_resources import PREFIX, Strategy, resources
from runner.facts.nvidia import GPUS, GPUS_KEY, Gpus
from runner.hosts.script import Result
from runner.kube.state import NodeState, WaitAllocatable
from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Refused, Unknown
from runner.modules.node_label import read_node

_GPU_COUNT = "gpu count"


class WaitAllocatableArguments(Arguments):
    resource: str = Field(
        default="", description="As in `status.allocatable`, e.g. `nvidia.com/mig-1g.10gb`."
    )
    value: int | None = Field(default=None, ge=0, description="How many the node must offer.")
    per_gpu: int | None = Field(
        default=None,
        ge=0,
        description="Instead of `value`: how many for each GPU that nvidia-smi lists.",
    )
    mig_strategy: Strategy | None = Field(
        default=None,
        description="Instead of them and `resource`: the device plugin's MIG strategy. Waited for "
        "is all that it makes of the GPUs as they are cut now.",
    )
    timeout: float = Field(default=120.0, gt=0, description="Seconds to wait.")

    @model_validator(mode="after")
    def _exactly_one(self) -> WaitAllocatableArguments:
        if self.mig_strategy is not None:
            if self.resource or self.value is not None or self.per_gpu is not None:
                raise ValueError("mig_strategy says the resources and how many; leave out the rest")
        elif not self.resource:
            raise ValueError("give resource, or mig_strategy")
        elif (self.value is None) == (self.per_gpu is None):
            raise ValueError("give either value or per_gpu")
        return self


def parse_gpu_count(result: Result) -> int:
    """Physical GPUs from `nvidia-smi -L`. Raises Unknown where it could not answer."""
    if result.rc != 0 or result.truncated or result.timed_out:
        raise Unknown(f"nvidia-smi -L: exit {result.rc}: {result.error_text[:200]}")
    return len(re.findall(r"^GPU \d+: ", result.text, re.MULTILINE))


class WaitAllocatableModule(Module[WaitAllocatableArguments]):
    """Waits until the node's `status.allocatable` shows the wanted number of a resource.

    The device plugin registers shortly after it starts, and a reading in between may be old: two
    readings at least a second apart must agree. Changes nothing. With time-slicing the number is
    GPUs x replicas, with MIG it is GPUs x instances of that profile: `per_gpu` says just that. With
    `mig_strategy` the number is read off the GPUs: under `single` all instances count as
    nvidia.com/gpu, under `mixed` each profile has its own name, and those that no GPU has are gone.
    """

    name = "wait_allocatable"
    arguments = WaitAllocatableArguments
    needs_cluster = True
    changes_nothing = True
    examples = (
        """\
- name: seven slices of every GPU can be requested
  wait_allocatable:
    resource: nvidia.com/mig-1g.10gb
    per_gpu: 7
""",
        """\
- name: The node offers what its GPUs are cut into
  wait_allocatable:
    mig_strategy: mixed
""",
        """\
- wait_allocatable:
    resource: nvidia.com/gpu
    value: 4
    timeout: 300
""",
    )

    def probes(self, args: WaitAllocatableArguments, context: Context) -> Sequence[Probe]:
        if args.mig_strategy is not None:
            assert GPUS.probe is not None
            return (replace(GPUS.probe, become=context.become),)
        if args.per_gpu is None:
            return ()
        return (Probe(_GPU_COUNT, "nvidia-smi -L", parse_gpu_count, become=context.become),)

    def plan(
        self, args: WaitAllocatableArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        wanted = _wanted(args, observed, node)
        there = {name: allocatable(node, name) for name in wanted}
        timeout = context.seconds(args.timeout)
        waits = tuple(
            WaitAllocatable(name, count, timeout)
            for name, count in wanted.items()
            if there[name] != count
        )
        if args.mig_strategy is not None:
            return Outcome(waits=waits, result={"allocatable": there, "wanted": wanted})
        ((name, count),) = wanted.items()
        result = {"resource": name, "allocatable": there[name], "wanted": count}
        return Outcome(waits=waits, result=result)


def _wanted(
    args: WaitAllocatableArguments, observed: Mapping[str, Any], node: NodeState
) -> dict[str, int]:
    """Resource -> how many the node must offer. Raises Unknown, Refused."""
    if args.mig_strategy is not None:
        return _as_cut(observed[GPUS_KEY], args.mig_strategy, node)
    if args.per_gpu is None:
        return {args.resource: args.value or 0}
    count: int = observed[_GPU_COUNT]
    return {args.resource: args.per_gpu * count}


def _as_cut(gpus: Gpus, strategy: Strategy, node: NodeState) -> dict[str, int]:
    if not gpus:
        raise Unknown(f"nvidia-smi shows no GPU: {gpus.reason or 'it does not say why'}")
    wanted = resources(gpus, strategy)
    if not wanted:
        raise Refused(
            'the device plugin\'s MIG strategy "single" offers nothing where GPUs are cut in '
            'different ways; it takes "mixed" for that'
        )
    gone = [name for name in node.allocatable if name.startswith(PREFIX) and name not in wanted]
    return {**wanted, **dict.fromkeys(sorted(gone), 0)}


def allocatable(node: NodeState, resource: str) -> int:
    """How many of a counted resource the node offers; an absent resource is 0."""
    shown = node.allocatable.get(resource, "0")
    if not shown.isdecimal():
        raise Unknown(f"node {node.name}: allocatable {resource} is {shown!r}, not a count")
    return int(shown)
