"""MIG geometries: how a person writes one, what it means for a GPU, and the shortest way there."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.facts.gpu_models import (
    Family,
    Placed,
    Profile,
    family_of,
    largest_first,
    place,
)
from runner.facts.nvidia import Gpu, Instance
from runner.modules.base import Refused, Unknown

_NAME = r"\d+g(?:\.\d+gb)?(?:[+-][a-z.]+)?"
_ITEM = re.compile(rf"(?:(?P<before>\d+)\s*x\s*)?(?P<name>{_NAME})(?::\s*(?P<after>\d+))?")


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a GPU shall be cut into.

    Args:
        on: MIG mode.
        profiles: names ("1g.10gb") or short names ("1g"), and how many of each.
    """

    on: bool
    profiles: tuple[tuple[str, int], ...] = ()


OFF = Geometry(on=False)
EMPTY = Geometry(on=True)
"""MIG mode without instances: the words of `parse_geometry` are "off" and "empty"."""


def parse_geometry(text: str | Mapping[str, int]) -> Geometry:
    """A geometry as written: "7x1g", "1g.10gb: 7", "1x3g, 4x1g", "off", "empty" or
    {"3g.40gb": 1}.

    Raises ValueError with what is expected.
    """
    if isinstance(text, str):
        if text.strip() in ("off", "empty"):
            return OFF if text.strip() == "off" else EMPTY
        pairs = [_item(part) for part in re.split(r"\s*[,+]\s+|\s*,\s*", text.strip())]
    else:
        pairs = [(profile_name(name), count) for name, count in text.items()]
    counts: Counter[str] = Counter()
    for name, count in pairs:
        if count < 1:
            raise ValueError(f"geometry has {count} of {name}; leave out what is not wanted")
        counts[name] += count
    if not counts:
        raise ValueError(
            'geometry is empty; write "off" to switch MIG off, "empty" for MIG without instances'
        )
    return Geometry(True, tuple(sorted(counts.items())))


def profile_name(text: str) -> str:
    """A profile's name or short name as it is. Raises ValueError for what cannot be one."""
    if re.fullmatch(rf"\d+c\.{_NAME}", text):
        raise ValueError(
            f"{text!r} is a part of a GPU instance; each gets one compute instance of its full "
            f"size: write {text.partition('.')[2]}"
        )
    if not re.fullmatch(_NAME, text):
        raise ValueError(f"{text!r} is no MIG profile; write 1g, 3g.40gb or 1g.10gb+me")
    return text


def _item(part: str) -> tuple[str, int]:
    match = _ITEM.fullmatch(part)
    if match is None or (match["before"] and match["after"]):
        raise ValueError(
            f'{part!r} is no part of a geometry; write "7x1g", "1g.10gb: 7", "1x3g, 4x1g", '
            '"off" or a mapping such as {"3g.40gb": 1}'
        )
    return match["name"], int(match["before"] or match["after"] or 1)


def describe(names: Iterable[str]) -> str:
    """Profiles for a person: "1x 3g.40gb + 4x 1g.10gb"."""
    counts = Counter(names)
    order = sorted(counts, key=lambda name: (-int(name.partition("g")[0]), name))
    return " + ".join(f"{counts[name]}x {name}" for name in order) or "no instances"


def geometry_of(gpu: Gpu) -> str:
    """What a GPU has now, for a person."""
    if not gpu.mig_mode_current:
        text = "off"
    else:
        text = describe(
            one.profile if one.whole else f"{one.profile} ({len(one.compute)} compute instances)"
            for one in gpu.instances
        )
    if gpu.mig_mode_pending != gpu.mig_mode_current:
        text += f", MIG {'on' if gpu.mig_mode_pending else 'off'} pending"
    return text


def label(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.product})"


def resolve(wanted: Geometry, gpu: Gpu) -> list[Profile]:
    """The profiles for one GPU, the largest first. Raises Refused where it cannot be cut so."""
    family = family_of(gpu.device, label(gpu))
    profiles: list[Profile] = []
    for name, count in wanted.profiles:
        profile = family.resolve(name)
        if profile is None:
            raise Refused(f"{label(gpu)} has no MIG profile {name}; it can have {_offer(family)}")
        profiles += [profile] * count
    if place(family, profiles) is None:
        raise Refused(
            f"{label(gpu)} cannot hold {describe(p.name for p in profiles)} together; each alone: "
            f"{_offer(family)}"
        )
    return largest_first(profiles)


def _offer(family: Family) -> str:
    return ", ".join(f"{p.limit}x {p.name}" for p in family.profiles)


@dataclass(frozen=True, slots=True)
class Step:
    """What one GPU needs.

    Args:
        on: the wanted mode.
        switch: the mode, current or pending, has to be set.
        destroy, keep: its instances.
        create: profiles and where each starts, in order of creation.
    """

    gpu: Gpu
    on: bool
    switch: bool
    destroy: tuple[Instance, ...] = ()
    keep: tuple[Instance, ...] = ()
    create: tuple[Placed, ...] = ()

    @property
    def needed(self) -> bool:
        return self.switch or bool(self.destroy or self.create)

    @property
    def after(self) -> list[str]:
        """Profile names the GPU will have."""
        return sorted([one.profile for one in self.keep] + [p.name for p, _ in self.create])

    @property
    def in_the_way(self) -> tuple[Instance, ...]:
        """Instances in use of profiles that are wanted, which cannot stay where they lie."""
        made = {profile.name for profile, _ in self.create}
        return tuple(o for o in self.destroy if o.profile in made and in_use(self.gpu, o))


def in_use(gpu: Gpu, instance: Instance) -> bool:
    """Whether nvidia-smi shows a process on the instance, or one of which it does not say where."""
    return any(process.instance in (None, instance.id) for process in gpu.processes)


def step_for(gpu: Gpu, wanted: Geometry) -> Step:
    """What a GPU needs to have the geometry. Raises Refused, Unknown."""
    if gpu.mig_capable is False:
        if wanted.on:
            raise Refused(
                f"{label(gpu)} has no MIG: nvidia-smi shows its MIG mode as N/A. MIG needs an "
                "A100, A30, H100, H200 or later data-centre GPU"
            )
        return Step(gpu, on=False, switch=False)
    if gpu.mig_mode_current is None or gpu.mig_mode_pending is None:
        raise Unknown(f"{label(gpu)}: nvidia-smi does not say whether MIG is on")
    if not wanted.on:
        switch = gpu.mig_mode_current or gpu.mig_mode_pending
        return Step(gpu, on=False, switch=switch, destroy=gpu.instances)
    switch = not (gpu.mig_mode_current and gpu.mig_mode_pending)
    if not wanted.profiles:
        return Step(gpu, on=True, switch=switch, destroy=gpu.instances)
    keep, create = _shortest(gpu, resolve(wanted, gpu), family_of(gpu.device, label(gpu)))
    destroy = tuple(one for one in gpu.instances if one not in keep)
    return Step(gpu, True, switch, destroy, keep, create)


def _shortest(
    gpu: Gpu, profiles: Sequence[Profile], family: Family
) -> tuple[tuple[Instance, ...], tuple[Placed, ...]]:
    """Which instances stay, and what is made beside them.

    As many as possible of those in use stay, then as many as possible of the others, as long as
    the missing ones find room.
    """
    wanted = Counter(p.name for p in profiles)
    by_name = {p.name: p for p in profiles}
    usable = [one for one in gpu.instances if one.whole and wanted[one.profile]]
    for chosen in _best_first(gpu, usable):
        have = Counter(one.profile for one in chosen)
        if have - wanted:
            continue
        missing = [by_name[name] for name in (wanted - have).elements()]
        create = place(family, missing, [(by_name[one.profile], one.start) for one in chosen])
        if create is not None:
            return chosen, create
    raise AssertionError("resolve has found room for all of them on an empty GPU")


def _best_first(gpu: Gpu, usable: Sequence[Instance]) -> Iterator[tuple[Instance, ...]]:
    """Every choice of instances: more in use first, then more of them; the empty one last."""
    choices = (
        chosen
        for count in range(len(usable), -1, -1)
        for chosen in itertools.combinations(usable, count)
    )
    yield from sorted(choices, key=lambda c: -sum(in_use(gpu, one) for one in c))
