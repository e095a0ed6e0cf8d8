"""`wait_allocatable`: the node offers as many of a resource as it should."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from runner.hosts.script import Result
from runner.kube.state import NodeState, WaitAllocatable
from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Unknown
from runner.modules.node_label import read_node

_GPU_COUNT = "gpu count"


class WaitAllocatableArguments(Arguments):
    resource: str = Field(
        min_length=1, description="As in `status.allocatable`, e.g. `nvidia.com/mig-1g.10gb`."
    )
    value: int | None = Field(None, ge=0, description="How many the node must offer.")
    per_gpu: int | None = Field(
        None, ge=0, description="Instead of `value`: how many for each GPU that nvidia-smi lists."
    )
    timeout: float = Field(120.0, gt=0, description="Seconds to wait.")

    @model_validator(mode="after")
    def _exactly_one(self) -> WaitAllocatableArguments:
        if (self.value is None) == (self.per_gpu is None):
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
    GPUs x replicas, with MIG it is GPUs x instances of that profile: `per_gpu` says just that.
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
- wait_allocatable:
    resource: nvidia.com/gpu
    value: 4
    timeout: 300
""",
    )

    def probes(self, args: WaitAllocatableArguments, context: Context) -> Sequence[Probe]:
        if args.per_gpu is None:
            return ()
        return (Probe(_GPU_COUNT, "nvidia-smi -L", parse_gpu_count, become=context.become),)

    def plan(
        self, args: WaitAllocatableArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        node = read_node(observed)
        wanted = _wanted(args, observed)
        there = allocatable(node, args.resource)
        result = {"resource": args.resource, "allocatable": there, "wanted": wanted}
        if there == wanted:
            return Outcome(result=result)
        timeout = args.timeout if context.timeout is None else context.timeout
        return Outcome(waits=(WaitAllocatable(args.resource, wanted, timeout),), result=result)


def _wanted(args: WaitAllocatableArguments, observed: Mapping[str, Any]) -> int:
    if args.per_gpu is None:
        return args.value or 0
    count: int = observed[_GPU_COUNT]
    return args.per_gpu * count


def allocatable(node: NodeState, resource: str) -> int:
    """How many of a counted resource the node offers; an absent resource is 0."""
    shown = node.allocatable.get(resource, "0")
    if not shown.isdecimal():
        raise Unknown(f"node {node.name}: allocatable {resource} is {shown!r}, not a count")
    return int(shown)
