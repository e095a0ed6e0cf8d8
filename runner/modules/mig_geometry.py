"""MIG geometries: how a person writes one, what it means for a GPU, and the shortest way there."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runner.facts.gpu_models import (
    Family,
    Profile,
    certain,
    family_of,
    largest_first,
    possible,
)
from runner.facts.nvidia import Gpu, Instance
from runner.modules.base import Refused, Unknown

OFF = "off"
_NAME = r"\d+g(?:\.\d+gb)?(?:[+-][a-z.]+)?"
_ITEM = re.compile(rf"(?:(?P<before>\d+)\s*x\s*)?(?P<name>{_NAME})(?::(?P<after>\d+))?")
UNPLACED = "?"
"""Placement of an instance that is planned but not yet made: the driver will choose."""

Wanted = tuple[tuple[str, int], ...]
"""Profile names or short names, and how many of each; empty: MIG off."""


def parse_geometry(text: str | Mapping[str, int]) -> Wanted:
    """A geometry as written: "7x1g", "1g.10gb:7", "1x3g,4x1g", "off", or {"3g.40gb": 1}.

    Raises ValueError with what is expected.
    """
    if isinstance(text, str):
        if text.strip() == OFF:
            return ()
        pairs = [_item(part) for part in re.split(r"\s*[,+]\s+|\s*,\s*", text.strip())]
    else:
        pairs = [(_profile_name(name), count) for name, count in text.items()]
    counts: Counter[str] = Counter()
    for name, count in pairs:
        if count < 1:
            raise ValueError(f"geometry has {count} of {name}; leave out what is not wanted")
        counts[name] += count
    if not counts:
        raise ValueError('geometry is empty; write "off" to switch MIG off')
    return tuple(sorted(counts.items()))


def _profile_name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise ValueError(f"{text!r} is no MIG profile; write 1g, 3g.40gb or 1g.10gb+me")
    return text


def _item(part: str) -> tuple[str, int]:
    match = _ITEM.fullmatch(part)
    if match is None or (match["before"] and match["after"]):
        raise ValueError(
            f'{part!r} is no part of a geometry; write "7x1g", "1g.10gb:7", "1x3g,4x1g", '
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
        text = OFF
    else:
        text = describe(
            one.profile if one.whole else f"{one.profile} ({len(one.compute)} compute instances)"
            for one in gpu.instances
        )
    if gpu.mig_mode_pending != gpu.mig_mode_current:
        text += f", MIG {'on' if gpu.mig_mode_pending else OFF} pending"
    return text


def label(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.product})"


def resolve(wanted: Wanted, gpu: Gpu) -> list[Profile]:
    """The profiles for one GPU. Raises Refused where it cannot be cut so."""
    family = family_of(gpu.device, label(gpu))
    profiles: list[Profile] = []
    for name, count in wanted:
        profile = family.resolve(name)
        if profile is None:
            raise Refused(f"{label(gpu)} has no MIG profile {name}; it can have {_offer(family)}")
        profiles += [profile] * count
    if not possible(profiles):
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
        create: profiles, in order of creation.
    """

    gpu: Gpu
    on: bool
    switch: bool
    destroy: tuple[Instance, ...] = ()
    keep: tuple[Instance, ...] = ()
    create: tuple[Profile, ...] = ()

    @property
    def needed(self) -> bool:
        return self.switch or bool(self.destroy or self.create)

    @property
    def after(self) -> list[str]:
        """Profile names the GPU will have."""
        return sorted([one.profile for one in self.keep] + [p.name for p in self.create])


def step_for(gpu: Gpu, wanted: Wanted) -> Step:
    """What a GPU needs to have the geometry. Raises Refused, Unknown."""
    if gpu.mig_capable is False:
        if wanted:
            raise Refused(
                f"{label(gpu)} has no MIG: nvidia-smi shows its MIG mode as N/A. MIG needs an "
                "A100, A30, H100, H200 or later data-centre GPU"
            )
        return Step(gpu, on=False, switch=False)
    if gpu.mig_mode_current is None or gpu.mig_mode_pending is None:
        raise Unknown(f"{label(gpu)}: nvidia-smi does not say whether MIG is on")
    if not wanted:
        switch = gpu.mig_mode_current or gpu.mig_mode_pending
        return Step(gpu, on=False, switch=switch, destroy=gpu.instances)
    profiles = resolve(wanted, gpu)
    switch = not (gpu.mig_mode_current and gpu.mig_mode_pending)
    keep = _keep(gpu.instances, profiles, family_of(gpu.device, label(gpu)))
    missing = Counter(p.name for p in profiles) - Counter(one.profile for one in keep)
    create: list[Profile] = []
    for profile in profiles:
        if missing[profile.name] > 0:
            missing[profile.name] -= 1
            create.append(profile)
    destroy = tuple(one for one in gpu.instances if one not in keep)
    return Step(gpu, True, switch, destroy, keep, tuple(create))


def _keep(
    instances: Sequence[Instance], profiles: Sequence[Profile], family: Family
) -> tuple[Instance, ...]:
    """The most instances that can stay, so that the missing ones still fit beside them wherever
    the driver puts those."""
    wanted = Counter(p.name for p in profiles)
    usable = [one for one in instances if one.whole and wanted[one.profile]]
    if any(one.placement == UNPLACED for one in instances):
        # Planned earlier in this plan: same geometry or start from nothing.
        same = Counter(one.profile for one in usable) == wanted and len(usable) == len(instances)
        return tuple(usable) if same else ()
    for count in range(len(usable), 0, -1):
        for chosen in itertools.combinations(usable, count):
            if _stays(chosen, wanted, profiles, family):
                return chosen
    return ()


def _stays(
    chosen: Sequence[Instance],
    wanted: Counter[str],
    profiles: Sequence[Profile],
    family: Family,
) -> bool:
    have = Counter(one.profile for one in chosen)
    if have - wanted:
        return False
    left = wanted - have
    by_name = {p.name: p for p in profiles}
    missing = [by_name[name] for name in left.elements()]
    placed = [(by_name[one.profile], one.start) for one in chosen]
    return certain(missing, placed)
