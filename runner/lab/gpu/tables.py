"""The tables of `nvidia-smi mig -l…`. Widths are those of drivers R470 to R550."""

from __future__ import annotations

from collections.abc import Callable

from .models import Model, Profile
from .placement import remaining
from .state import Gpu, Instance, State, model_of, placed

Chosen = set[int] | None
"""GPU instance ids of `-gi`; None: all."""


def _table(width: int, head: list[str], rows: list[list[str]]) -> str:
    """A framed table; each row may have several lines."""
    rule = f"+{'-' * width}+"
    lines = [rule, *(f"|{line:<{width}}|" for line in head), f"|{'=' * width}|"]
    for row in rows:
        lines += [*(f"|{line:<{width}}|" for line in row), rule]
    return "\n".join(lines) + "\n"


def gpu_instance_profiles(state: State, gpus: list[Gpu], _: Chosen) -> str:
    head = [
        " GPU instance profiles:",
        " GPU   Name             ID    Instances   Memory     P2P    SM    DEC   ENC  ",
        "                              Free/Total   GiB              CE    JPEG  OFA  ",
    ]
    rows = [
        _profile_row(gpu, profile, remaining(profile, placed(state, gpu)))
        for gpu in gpus
        for profile in model_of(state).profiles
    ]
    return _table(77, head, rows)


def _profile_row(gpu: Gpu, p: Profile, free: int) -> list[str]:
    name = f"MIG {p.name}"
    gib = f"{p.memory / 1024:.2f}"
    return [
        f" {gpu['index']:3}  {name:<18}{p.id:2}     {free}/{p.limit}        {gib:<11}No"
        f"     {p.sm:<7}{p.decoders:<6}{p.encoders}   ",
        f"{'':61}{p.copy_engines:<6}{p.jpeg:<6}{p.ofa}   ",
    ]


def possible_placements(state: State, gpus: list[Gpu], _: Chosen) -> str:
    lines = []
    for gpu in gpus:
        for p in model_of(state).profiles:
            word = "Placements:" if len(p.starts) > 1 else "Placement :"
            starts = ",".join(map(str, p.starts))
            lines.append(f"GPU {gpu['index']:2} Profile ID {p.id:2} {word} {{{starts}}}:{p.size}\n")
    return "".join(lines)


def _rows(state: State, gpus: list[Gpu], chosen: Chosen) -> list[tuple[Gpu, Instance, Profile]]:
    """Instances as the real tables sort them: by GPU, profile name, id."""
    model: Model = model_of(state)
    found = [
        (gpu, instance, profile)
        for gpu in gpus
        for instance in gpu["instances"]
        if (chosen is None or instance["id"] in chosen)
        and (profile := model.profile(instance["profile"])) is not None
    ]
    return sorted(found, key=lambda row: (row[0]["index"], row[2].name, row[1]["id"]))


def gpu_instances(state: State, gpus: list[Gpu], chosen: Chosen) -> str:
    rows = [
        [
            f" {gpu['index']:3}  MIG {p.name:<14}{p.id:4}{one['id']:9}"
            f"          {one['start']}:{p.size}     "
        ]
        for gpu, one, p in _rows(state, gpus, chosen)
    ]
    head = [
        " GPU instances:",
        " GPU   Name             Profile  Instance   Placement  ",
        "                          ID       ID       Start:Size ",
    ]
    return _table(55, head, rows) if rows else ""


def compute_instances(state: State, gpus: list[Gpu], chosen: Chosen) -> str:
    from .mig import COMPUTE_PROFILES, compute_name

    rows = [
        [
            f" {gpu['index']:3}{one['id']:7}       MIG {compute_name(p, c['slices']):<16}"
            f"{COMPUTE_PROFILES[c['slices']]:2}{c['id']:10}"
            f"          {c['start']}:{c['slices']}     "
        ]
        for gpu, one, p in sorted(
            _rows(state, gpus, chosen), key=lambda row: (row[0]["index"], row[1]["id"])
        )
        for c in sorted(one["compute"], key=lambda c: c["id"])
    ]
    head = [
        " Compute instances:",
        " GPU     GPU       Name             Profile   Instance   Placement  ",
        "       Instance                       ID        ID       Start:Size ",
        "         ID",
    ]
    return _table(68, head, rows) if rows else ""


def compute_instance_profiles(state: State, gpus: list[Gpu], chosen: Chosen) -> str:
    from .mig import COMPUTE_PROFILES, compute_name

    rows = []
    for gpu, one, p in _rows(state, gpus, chosen):
        used = sum(c["slices"] for c in one["compute"])
        for slices, number in COMPUTE_PROFILES.items():
            if slices > p.slices:
                continue
            star = "*" if slices == p.slices else " "
            name = f"MIG {compute_name(p, slices)}"
            free, total = (p.slices - used) // slices, p.slices // slices
            rows.append(
                [
                    f" {gpu['index']:3}    {one['id']:3}       {name:<18} {number:2}{star}     "
                    f"{free}/{total}          {p.sm * slices // p.slices:3}       "
                    f"{p.decoders:2}    {p.encoders:2}    {p.ofa:2}   ",
                    f"{'':68}{p.copy_engines:3}    {p.jpeg:2}",
                ]
            )
    head = [
        " Compute instance profiles:",
        " GPU     GPU       Name             Profile  Instances   Exclusive       Shared       ",
        "       Instance                       ID     Free/Total     SM       DEC   ENC   OFA  ",
        "         ID                                                          CE    JPEG       ",
    ]
    return _table(86, head, rows) if rows else ""


LISTS: dict[str, Callable[[State, list[Gpu], Chosen], str]] = {
    "lgip": gpu_instance_profiles,
    "lgipp": possible_placements,
    "lgi": gpu_instances,
    "lci": compute_instances,
    "lcip": compute_instance_profiles,
}
"""Option -> its table, "" when there is nothing to list."""
