"""`mig`: cut GPUs into MIG instances, or switch MIG off."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from runner.facts.nvidia import GPUS, GPUS_KEY, Gpu, Gpus, Instance
from runner.modules import mig_commands
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
)
from runner.modules.mig_geometry import (
    UNPLACED,
    Step,
    describe,
    geometry_of,
    label,
    parse_geometry,
    step_for,
)

Selector = StrictInt | StrictStr


def _not_a_boolean(value: Any) -> Any:
    if isinstance(value, bool):  # YAML 1.1 reads a bare off as false.
        raise ValueError('write geometry: "off" with quotes')
    return value


def _checked(value: str | dict[str, int]) -> str | dict[str, int]:
    parse_geometry(value)
    return value


class MigArguments(Arguments):
    geometry: Annotated[
        StrictStr | dict[StrictStr, StrictInt],
        BeforeValidator(_not_a_boolean),
        AfterValidator(_checked),
        Field(
            description='What each GPU shall be cut into: "7x1g", "1g.10gb:7", "1x3g,4x1g" or a '
            'mapping of profile to count; a name without memory means the GPU\'s own. "off": no MIG'
        ),
    ]
    gpus: Annotated[
        Selector | list[Selector],
        Field(description="Which GPUs: all, an index, a UUID, a product name, or a list of them"),
    ] = "all"


class Mig(Module[MigArguments]):
    """Cut GPUs into MIG instances, or switch MIG off.

    Geometries are compared as multisets of profiles: where an instance lies does not matter. A
    GPU that is as wanted is not touched, and instances that are wanted and leave room for the
    missing ones stay. Each GPU instance gets one compute instance of its full size.

    Ampere GPUs change their mode in a reset, which no process may block, not even a device plugin
    or an exporter; they keep the mode over reboots. Hopper and later change it at once and lose it
    with the driver: at a reboot, or when the driver is reloaded. Instances survive neither reset
    nor reboot on any GPU, so the playbook has to be applied again after one.

    Sources: NVIDIA MIG User Guide, "Getting Started with MIG" and "Supported MIG Profiles".
    """

    name: ClassVar[str] = "mig"
    arguments: ClassVar[type[Arguments]] = MigArguments
    risk: ClassVar[Risk] = Risk.HIGH
    disruption: ClassVar[Disruption] = Disruption.GPU
    examples: ClassVar[tuple[str, ...]] = (
        "- name: Seven small GPUs out of each\n  mig:\n    geometry: 7x1g\n",
        '- name: Two halves of the first GPU\n  mig:\n    geometry: {"3g.40gb": 2}\n    gpus: 0\n',
        '- name: Whole GPUs again\n  mig:\n    geometry: "off"\n',
    )

    def probes(self, args: MigArguments, context: Context) -> Sequence[Probe]:
        assert GPUS.probe is not None
        return (GPUS.probe,)

    def plan(self, args: MigArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        gpus: Gpus = observed[GPUS_KEY]
        if not gpus:
            raise Refused(f"there is no GPU to cut: {gpus.reason or 'nvidia-smi shows none'}")
        wanted = parse_geometry(args.geometry)
        steps = [step_for(gpu, wanted) for gpu in select(gpus, args.gpus)]
        result = {"geometry": {str(s.gpu.index): _after(s) for s in steps}}
        needed = [step for step in steps if step.needed]
        if not needed:
            return Outcome(result=result)
        return Outcome(changes=(change_of(gpus, needed),), result=result)


def select(gpus: Sequence[Gpu], wanted: Selector | list[Selector]) -> list[Gpu]:
    """The GPUs a selector names. Raises Refused for a name that matches none."""
    names = wanted if isinstance(wanted, list) else [wanted]
    chosen: set[int] = set()
    for name in names:
        found = {gpu.index for gpu in gpus if _matches(gpu, name)}
        if not found:
            there = "; ".join(f"{gpu.index}: {gpu.product}, {gpu.uuid}" for gpu in gpus)
            raise Refused(f"no GPU matches {name!r}; there are {there}")
        chosen |= found
    return [gpu for gpu in gpus if gpu.index in chosen]


def _matches(gpu: Gpu, name: Selector) -> bool:
    text = str(name).strip().lower()
    if text.isdigit():
        return gpu.index == int(text)
    if text.startswith("gpu-"):
        return gpu.uuid.lower() == text
    return text == "all" or text in gpu.product.lower()


def change_of(gpus: Gpus, steps: Sequence[Step]) -> Change:
    after = {step.gpu.index: _overlay(step) for step in steps}
    return Change(
        summary="; ".join(_summaries(steps)),
        do=mig_commands.commands(steps),
        guard=mig_commands.guard([step.gpu for step in steps]),
        risk=Risk.HIGH,
        disruption=Disruption.GPU,
        before={_key(step.gpu): geometry_of(step.gpu) for step in steps},
        after={_key(step.gpu): _after(step) for step in steps},
        overlay={GPUS_KEY: Gpus([after.get(gpu.index, gpu) for gpu in gpus])},
        undo=mig_commands.undo(steps),
    )


def _key(gpu: Gpu) -> str:
    return f"{gpu.index} {gpu.uuid}"


def _after(step: Step) -> str:
    return describe(step.after) if step.on else "off"


def _summaries(steps: Sequence[Step]) -> list[str]:
    """One text per run of GPUs that change alike: "GPU 0-3: MIG off -> 7x 1g.10gb"."""

    def alike(step: Step) -> tuple[str, str, str]:
        return step.gpu.product, geometry_of(step.gpu), _after(step)

    texts = []
    for (_, before, after), group in groupby(steps, key=alike):
        indexes = [step.gpu.index for step in group]
        span = f"{indexes[0]}-{indexes[-1]}"
        if len(indexes) == 1:
            span = str(indexes[0])
        elif indexes[-1] - indexes[0] != len(indexes) - 1:
            span = ",".join(map(str, indexes))
        texts.append(f"GPU {span}: MIG {before} -> {after}")
    return texts


def _overlay(step: Step) -> Gpu:
    """The GPU as it will be. Where the driver puts new instances is not known before."""
    made = tuple(Instance(p.name, UNPLACED, -1, (p.name,)) for p in step.create)
    return dataclasses.replace(
        step.gpu,
        mig_mode_current=step.on,
        mig_mode_pending=step.on,
        instances=step.keep + made,
    )


__all__ = ["Mig", "MigArguments", "change_of", "label", "select"]
