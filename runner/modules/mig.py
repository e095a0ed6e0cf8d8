"""`mig`: cut GPUs into MIG instances, or switch MIG off."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from runner.facts.gpu_models import keeps_mig_mode
from runner.facts.mig_resources import Strategy, resources
from runner.facts.nvidia import GPUS, GPUS_KEY, Gpu, Gpus, Instance
from runner.modules import mig_at_boot, mig_commands
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
    Geometry,
    Step,
    describe,
    geometry_of,
    in_use,
    label,
    parse_geometry,
    step_for,
)
from runner.modules.mig_layouts import layout_for, read_layouts

Selector = StrictInt | StrictStr


def _not_a_boolean(value: Any) -> Any:
    if isinstance(value, bool):  # YAML 1.1 reads a bare off as false.
        raise ValueError('write geometry: "off" with quotes')
    return value


def _checked(value: str | dict[str, int]) -> str | dict[str, int]:
    parse_geometry(value)
    return value


Written = Annotated[
    StrictStr | dict[StrictStr, StrictInt],
    BeforeValidator(_not_a_boolean),
    AfterValidator(_checked),
]


class MigArguments(Arguments):
    geometry: Written | None = Field(
        default=None,
        description='What each GPU shall be cut into: "7x1g", "1g.10gb: 7", "1x3g, 4x1g" or a '
        "mapping of profile to count; a name without memory means the GPU's own. "
        '"off": no MIG; "empty": MIG without instances',
    )
    gpus: Annotated[
        Selector | list[Selector],
        Field(
            description="Which GPUs: all, an index, a UUID, a product name or a part of it, a "
            "pattern of product names (`*H100*`), or a list of them"
        ),
    ] = "all"
    geometries: dict[Selector, Written] | None = Field(
        default=None,
        description="Instead of `geometry` and `gpus`: several selectors, each with its geometry; "
        "no two may match the same GPU",
    )
    layout: StrictStr | None = Field(
        default=None,
        description="Instead of them: the name of a layout in `config`, `all-balanced`",
    )
    config: StrictStr | None = Field(
        default=None,
        description="File with layouts, as mig-parted and the MIG manager of NVIDIA's GPU operator "
        "take it",
    )
    persist: StrictBool | None = Field(
        default=None,
        description="Whether the geometry comes back by itself after a reboot, by a systemd unit "
        "on the host. Left out: what is kept already follows, nothing else is kept",
    )
    pending: StrictBool = Field(
        default=False,
        description="Only set the mode, and make nothing: where the driver cannot reset an Ampere "
        "GPU its mode stays pending for the `reboot` that is to follow, and for a `mig` after that",
    )
    strategy: Strategy | None = Field(
        default=None,
        description="The device plugin's MIG strategy: what it could not offer is refused",
    )

    @model_validator(mode="after")
    def _one_way(self) -> MigArguments:
        given = [self.geometry, self.geometries, self.layout]
        if sum(one is not None for one in given) != 1:
            raise ValueError("give one of geometry, geometries and layout")
        if self.geometries == {}:
            raise ValueError("geometries names no GPU")
        if (self.layout is None) != (self.config is None):
            raise ValueError("give layout together with config, the file that has it")
        if self.geometry is None and self.gpus != "all":
            raise ValueError("gpus goes with geometry; geometries and layout select themselves")
        if self.pending and (self.persist is not None or self.strategy is not None):
            raise ValueError("pending sets the mode only; give persist and strategy without it")
        return self


class Mig(Module[MigArguments]):
    """Cut GPUs into MIG instances, or switch MIG off.

    Geometries are compared as multisets of profiles: where an instance lies does not matter. A
    GPU that is as wanted is not touched. Of one that differs as many instances stay as leave room
    for the missing ones, those in use before the others; what is made gets its place in the plan.
    Each GPU instance gets one compute instance of its full size. A change that only adds instances
    disturbs nobody and drains nothing; one that destroys instances or switches the mode wants all
    GPU pods off the node, as it cannot be seen which pod holds which instance.

    Ampere GPUs change their mode in a reset, which no process may block, not even a device plugin
    or an exporter; only GPUs whose mode is pending are reset. They keep the mode over reboots.
    Hopper and later change it at once and lose it with the driver: at a reboot, or when the driver
    is reloaded. Instances survive neither reset nor reboot on any GPU: apply the playbook again
    after one, or let `persist` see to it: a file for each GPU in /etc/gpurun/mig and the unit
    gpurun-mig.service, which cuts them before the kubelet starts. The unit makes no new geometry:
    where it finds other instances than it keeps, it fails and leaves them.

    Sources: NVIDIA MIG User Guide, "Getting Started with MIG" and "Supported MIG Profiles";
    NVIDIA/mig-parted, api/spec/v1; NVIDIA k8s-device-plugin, "MIG strategies".
    """

    name: ClassVar[str] = "mig"
    arguments: ClassVar[type[Arguments]] = MigArguments
    risk: ClassVar[Risk] = Risk.HIGH
    disruption: ClassVar[Disruption] = Disruption.GPU
    examples: ClassVar[tuple[str, ...]] = (
        "- name: Seven small GPUs out of each, also after a reboot\n  mig:\n"
        "    geometry: 7x1g\n    persist: true\n",
        '- name: Two halves of the first GPU\n  mig:\n    geometry: {"3g.40gb": 2}\n    gpus: 0\n',
        "- name: The first GPU whole, the others in parts\n  mig:\n    geometries:\n"
        '      0: "off"\n      "1,2,3": "3g.40gb: 1, 2g.20gb: 1, 1g.10gb: 2"\n',
        "- name: A layout of a file of mig-parted\n  mig:\n    layout: all-balanced\n"
        "    config: mig-layouts.yaml\n",
        '- name: Whole GPUs again\n  mig:\n    geometry: "off"\n',
    )

    def probes(self, args: MigArguments, context: Context) -> Sequence[Probe]:
        assert GPUS.probe is not None
        return (GPUS.probe, mig_at_boot.PROBE)

    def plan(self, args: MigArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        gpus: Gpus = observed[GPUS_KEY]
        if not gpus:
            raise Refused(f"there is no GPU to cut: {gpus.reason or 'nvidia-smi shows none'}")
        wanted = wanted_of(args, gpus, context)
        steps = [step_for(gpu, geometry) for gpu, geometry in wanted]
        if args.pending:
            return Outcome(changes=_pending_changes(gpus, steps))
        needed = [step for step in steps if step.needed]
        after = overlaid(gpus, needed)
        if args.strategy is not None and not resources(after, args.strategy):
            shown = "; ".join(f"GPU {gpu.index}: {geometry_of(gpu)}" for gpu in after)
            raise Refused(
                'the device plugin\'s MIG strategy "single" offers nothing where GPUs are cut in '
                f'different ways ({shown}); it takes "mixed" for that'
            )
        result = {"geometry": {str(step.gpu.index): _after(step) for step in steps}}
        keep = mig_at_boot.change_of_kept(
            observed[mig_at_boot.KEPT_KEY],
            {gpu.uuid: (gpu, mig_at_boot.kept_text(gpu, geometry)) for gpu, geometry in wanted},
            args.persist,
        )
        changes = [change_of(gpus, needed)] if needed else []
        return Outcome(changes=(*changes, *([keep] if keep else [])), result=result)


def wanted_of(
    args: MigArguments, gpus: Sequence[Gpu], context: Context
) -> list[tuple[Gpu, Geometry]]:
    """The GPUs a task is for and what each shall be cut into. Raises Refused."""
    if args.layout is not None and args.config is not None:
        if context.read is None:
            raise Refused(f"{args.config} cannot be read here")
        layouts = read_layouts(context.read(args.config), args.config)
        return layout_for(layouts, args.layout, gpus, args.config)
    if args.geometries is None:
        assert args.geometry is not None
        wanted = parse_geometry(args.geometry)
        return [(gpu, wanted) for gpu in select(gpus, args.gpus)]
    chosen: dict[int, tuple[Selector, Geometry]] = {}
    for selector, text in args.geometries.items():
        for gpu in select(gpus, selector):
            if gpu.index in chosen:
                raise Refused(
                    f"{label(gpu)} is selected by both {chosen[gpu.index][0]!r} and {selector!r}: "
                    "each GPU can be cut one way"
                )
            chosen[gpu.index] = selector, parse_geometry(text)
    return [(gpu, chosen[gpu.index][1]) for gpu in gpus if gpu.index in chosen]


def select(gpus: Sequence[Gpu], wanted: Selector | list[Selector]) -> list[Gpu]:
    """The GPUs a selector names. Raises Refused for a name that matches none."""
    chosen: set[int] = set()
    for name in _names(wanted):
        found = {gpu.index for gpu in gpus if _matches(gpu, str(name).lower())}
        if not found:
            there = "; ".join(f"{gpu.index}: {gpu.product}, {gpu.uuid}" for gpu in gpus)
            raise Refused(f"no GPU matches {name!r}; there are {there}")
        chosen |= found
    return [gpu for gpu in gpus if gpu.index in chosen]


def _names(wanted: Selector | list[Selector]) -> Iterator[Selector]:
    for one in wanted if isinstance(wanted, list) else [wanted]:
        if isinstance(one, int):
            yield one
        else:
            yield from (part.strip() for part in one.split(","))


def _matches(gpu: Gpu, name: str) -> bool:
    if name.isdigit():
        return gpu.index == int(name)
    if name.startswith("gpu-"):
        return gpu.uuid.lower() == name
    product = gpu.product.lower()
    return name == "all" or bool(name and name in product) or fnmatchcase(product, name)


def change_of(gpus: Gpus, steps: Sequence[Step]) -> Change:
    """The change that carries out steps of GPUs of this host, each needed."""
    disturbs = any(step.switch or step.destroy for step in steps)
    return Change(
        summary="; ".join(_summaries(steps)),
        do=mig_commands.commands(steps),
        guard=mig_commands.guard([step.gpu for step in steps]),
        risk=Risk.HIGH,
        disruption=Disruption.GPU if disturbs else Disruption.NONE,
        before={_key(step.gpu): geometry_of(step.gpu) for step in steps},
        after={_key(step.gpu): _after(step) for step in steps},
        overlay={GPUS_KEY: overlaid(gpus, steps)},
        undo=mig_commands.undo(steps),
    )


def _pending_changes(gpus: Gpus, steps: Sequence[Step]) -> tuple[Change, ...]:
    """One change for each mode that GPUs which keep theirs over a boot have to take."""
    changes = []
    for on in (False, True):
        found = [
            step.gpu
            for step in steps
            if step.on is on
            and step.switch
            and step.gpu.mig_mode_pending is not on
            and keeps_mig_mode(step.gpu.device)
        ]
        if found:
            change = _pending_change(gpus, found, on)
            gpus = change.overlay[GPUS_KEY]
            changes.append(change)
    return tuple(changes)


def _pending_change(gpus: Gpus, found: Sequence[Gpu], on: bool) -> Change:

    def _set(gpu: Gpu) -> Gpu:
        """Its instances go with the boot or reset."""
        return dataclasses.replace(gpu, mig_mode_pending=on, instances=gpu.instances if on else ())

    word, was = ("on", "off") if on else ("off", "on")
    return Change(
        summary=f"GPU {', '.join(str(gpu.index) for gpu in found)}: MIG {word}, now or at a boot",
        do=mig_commands.pending(found, on, "pending"),
        guard=mig_commands.guard(found),
        risk=Risk.HIGH,
        disruption=Disruption.GPU,
        before={_key(gpu): was for gpu in found},
        after={_key(gpu): f"{was}, MIG {word} pending" for gpu in found},
        overlay={GPUS_KEY: Gpus([_set(gpu) if gpu in found else gpu for gpu in gpus])},
        undo=mig_commands.pending(found, not on, "undo-pending"),
    )


def overlaid(gpus: Gpus, steps: Sequence[Step]) -> Gpus:
    """The GPUs as they will be."""
    after = {step.gpu.index: _overlay(step) for step in steps}
    return Gpus([after.get(gpu.index, gpu) for gpu in gpus], gpus.reason)


def _overlay(step: Step) -> Gpu:
    """The ids of new instances are the driver's: not known before."""
    made = tuple(Instance(p.name, f"{at}:{p.size}", -1, (p.name,)) for p, at in step.create)
    return dataclasses.replace(
        step.gpu,
        mig_mode_current=step.on,
        mig_mode_pending=step.on,
        instances=step.keep + made,
    )


def _key(gpu: Gpu) -> str:
    return f"{gpu.index} {gpu.uuid}"


def _after(step: Step) -> str:
    return describe(step.after) if step.on else "off"


def _summaries(steps: Sequence[Step]) -> list[str]:
    """One text per run of GPUs that change alike: "GPU 0-3: MIG off -> 7x 1g.10gb"."""

    def alike(step: Step) -> tuple[str, str]:
        return step.gpu.product, _difference(step)

    texts = []
    for (_, difference), group in groupby(steps, key=alike):
        indexes = [step.gpu.index for step in group]
        span = f"{indexes[0]}-{indexes[-1]}"
        if len(indexes) == 1:
            span = str(indexes[0])
        elif indexes[-1] - indexes[0] != len(indexes) - 1:
            span = ",".join(map(str, indexes))
        texts.append(f"GPU {span}: MIG {difference}")
    return texts


def _difference(step: Step) -> str:
    text = f"{geometry_of(step.gpu)} -> {_after(step)}"
    notes = []
    if step.keep:
        used = sum(in_use(step.gpu, one) for one in step.keep)
        stays = describe(one.profile for one in step.keep)
        notes.append(f"keeps {stays}" + (f", {used} in use" if used else ""))
    if step.in_the_way:
        blocking = describe(one.profile for one in step.in_the_way)
        notes.append(f"rebuilds {blocking}, in use and in the way")
    return f"{text} ({'; '.join(notes)})" if notes else text
