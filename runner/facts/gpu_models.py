"""What GPU models can be cut into: the MIG profiles of each, by PCI device id.

A GPU with MIG off does not list its profiles, so that a plan has to know them. Names and
placements are NVIDIA's (MIG User Guide, "Supported MIG Profiles"; `nvidia-smi mig -lgip`,
`-lgipp`; device ids from mig-parted's default configuration). Ids of profiles differ between
drivers and cards, names do not: only names are used.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runner.modules.base import Unknown


@dataclass(frozen=True, slots=True)
class Profile:
    """One GPU instance profile.

    Args:
        name: "1g.10gb", "1g.10gb+me".
        short: the name without memory: "1g", "1g+me"; "" where two profiles would share it.
        size: memory slices it takes.
        starts: where it may begin.
        limit: most of them on one GPU.
    """

    name: str
    short: str
    size: int
    starts: tuple[int, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Family:
    """GPUs that are cut alike. `devices` are PCI device ids, upper case."""

    name: str
    devices: tuple[str, ...]
    profiles: tuple[Profile, ...]

    def resolve(self, name: str) -> Profile | None:
        """The profile of a name ("1g.10gb") or a short name ("1g")."""
        return next((p for p in self.profiles if name in (p.name, p.short)), None)


def _eight(name: str, devices: str, profiles: str) -> Family:
    """A card of eight memory slices, its profiles as 1g, double-memory 1g, 2g, 3g, 4g, 7g."""
    small, double, *large = profiles.split()
    shapes = (
        (small, "1g", 1, tuple(range(7)), 7),
        (f"{small}+me", "1g+me", 1, tuple(range(7)), 1),
        (double, "", 2, (0, 2, 4, 6), 4),
        (large[0], "2g", 2, (0, 2, 4), 3),
        (large[1], "3g", 4, (0, 4), 2),
        (large[2], "4g", 4, (0,), 1),
        (large[3], "7g", 8, (0,), 1),
    )
    return Family(name, tuple(devices.split()), tuple(Profile(*shape) for shape in shapes))


FAMILIES: tuple[Family, ...] = (
    _eight("A100 40GB", "20B0 20B1 20F1 20F6", "1g.5gb 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb"),
    _eight("A100 80GB", "20B2 20B5 20F3 20F5", "1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"),
    _eight("H100 80GB", "2330 2331 2322 2324", "1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"),
    _eight("H100 94GB", "2321 233A", "1g.12gb 1g.24gb 2g.24gb 3g.47gb 4g.47gb 7g.94gb"),
    _eight("H100 96GB", "2342 233D 2329", "1g.12gb 1g.24gb 2g.24gb 3g.48gb 4g.48gb 7g.96gb"),
    _eight("H200 141GB", "2335 233B", "1g.18gb 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb"),
    _eight("GH200 144GB", "2348", "1g.18gb 1g.36gb 2g.36gb 3g.72gb 4g.72gb 7g.144gb"),
    _eight("B200 180GB", "2901", "1g.23gb 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb"),
    _eight("GB200 186GB", "2941", "1g.23gb 1g.47gb 2g.47gb 3g.93gb 4g.93gb 7g.186gb"),
    Family(
        "A30 24GB",
        ("20B7",),
        (
            Profile("1g.6gb", "1g", 1, (0, 1, 2, 3), 4),
            Profile("1g.6gb+me", "1g+me", 1, (0, 1, 2, 3), 1),
            Profile("2g.12gb", "2g", 2, (0, 2), 2),
            Profile("2g.12gb+me", "2g+me", 2, (0, 2), 1),
            Profile("4g.24gb", "4g", 4, (0,), 1),
        ),
    ),
    Family(
        "RTX PRO 6000 Blackwell 96GB",
        ("2BB5",),
        (
            Profile("1g.24gb", "1g", 3, (0, 3, 6, 9), 4),
            Profile("2g.48gb", "2g", 6, (0, 6), 2),
            Profile("4g.96gb", "4g", 12, (0,), 1),
        ),
    ),
)


def family_of(device: str, product: str) -> Family:
    """The family of a PCI device id ("2330"). Raises Unknown for one that is not in the table."""
    for family in FAMILIES:
        if device in family.devices:
            return family
    raise Unknown(
        f"the MIG profiles of {product} (PCI device 10de:{device.lower() or '?'}) are not known to "
        f"gpurun, which knows those of {', '.join(family.name for family in FAMILIES)}"
    )


def keeps_mig_mode(device: str) -> bool:
    """Whether a GPU keeps MIG mode without its driver: Ampere does (GA100, device ids 20xx), Hopper
    and later do not (MIG User Guide, "Getting Started with MIG")."""
    return device.startswith("20")


Placed = tuple[Profile, int]
"""A profile and its start."""


def free_starts(profile: Profile, placed: Sequence[Placed]) -> list[int]:
    """Where one more instance of a profile could go beside those placed."""
    if sum(1 for other, _ in placed if other.name == profile.name) >= profile.limit:
        return []
    return [
        start
        for start in profile.starts
        if all(start + profile.size <= at or at + other.size <= start for other, at in placed)
    ]


def largest_first(profiles: Iterable[Profile]) -> list[Profile]:
    """The order of creation: left to right the driver gives no slice back, so the ones with the
    fewest places come first."""
    return sorted(profiles, key=lambda p: (-p.size, len(p.starts), p.name))


def place(
    family: Family, profiles: Iterable[Profile], placed: Iterable[Placed] = ()
) -> tuple[Placed, ...] | None:
    """Where instances of these profiles go beside those placed, the largest first.

    As the driver does, each takes the start that spoils the fewest others, so that what is made
    later finds room. None: there is no room, wherever each is put.
    """
    return _fill(family, tuple(largest_first(profiles)), frozenset(placed))


@functools.lru_cache(maxsize=4096)
def _fill(
    family: Family, profiles: tuple[Profile, ...], placed: frozenset[Placed]
) -> tuple[Placed, ...] | None:
    if not profiles:
        return ()
    first, rest = profiles[0], profiles[1:]
    beside = tuple(placed)
    options = [(other, at) for other in family.profiles for at in free_starts(other, beside)]

    def spoiled(start: int) -> int:
        return sum(start < at + other.size and at < start + first.size for other, at in options)

    for start in sorted(free_starts(first, beside), key=lambda at: (spoiled(at), at)):
        others = _fill(family, rest, placed | {(first, start)})
        if others is not None:
            return ((first, start), *others)
    return None
