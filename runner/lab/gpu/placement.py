"""Where the driver puts a GPU instance, and which id it gets.

Inferred from transcripts, and tested against them: of the free placements the driver takes the one
that spoils the fewest other placements still possible, the lowest start among equals. A lone 3g
goes to 4:4, a first 1g to slot 6, and seven 1g get the ids 13, 11, 12, 7, 8, 9, 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .models import Model, Profile

Placed = tuple[Profile, int]
"""A profile and its start."""


def overlap(start: int, size: int, other_start: int, other_size: int) -> bool:
    return start < other_start + other_size and other_start < start + size


def free_starts(profile: Profile, placed: Sequence[Placed]) -> list[int]:
    """Where one more instance of the profile could go."""
    if sum(1 for other, _ in placed if other.id == profile.id) >= profile.limit:
        return []
    return [
        start
        for start in profile.starts
        if not any(overlap(start, profile.size, at, other.size) for other, at in placed)
    ]


def choose(model: Model, profile: Profile, placed: Sequence[Placed]) -> int | None:
    """The start the driver picks; None: insufficient resources."""
    starts = free_starts(profile, placed)
    if not starts:
        return None
    options = [
        (start, other.size) for other in model.profiles for start in free_starts(other, placed)
    ]

    def spoiled(start: int) -> int:
        return sum(overlap(start, profile.size, at, size) for at, size in options)

    return min(starts, key=lambda start: (spoiled(start), start))


def remaining(profile: Profile, placed: Sequence[Placed]) -> int:
    """How many more instances of a profile fit: the Free column of `-lgip`."""
    count, taken = 0, list(placed)
    while starts := free_starts(profile, taken):
        taken.append((profile, starts[0]))
        count += 1
    return count


def instance_id(model: Model, profile: Profile, start: int) -> int:
    """The driver's id of a placement: a binary tree over the card's slices."""
    return model.units // profile.size - 1 + start // profile.size


def fits(model: Model, profiles: Iterable[Profile]) -> bool:
    """Whether the driver can create these, in this order, on an empty card."""
    placed: list[Placed] = []
    for profile in profiles:
        start = choose(model, profile, placed)
        if start is None:
            return False
        placed.append((profile, start))
    return True
