"""`nvidia-smi mig …`: profiles, GPU instances and compute instances.

Texts and exit codes are those of the real command (nvidia-smi exits with the NVML code of what
failed). A list given to `-cgi` is carried out left to right, and what was created before a failure
stays.
"""

from __future__ import annotations

from pathlib import Path

from . import kernel, tables
from .models import Profile
from .options import UsageError, numbers, parse, select
from .placement import choose, free_starts, instance_id
from .state import (
    Answer,
    ComputeInstance,
    Gpu,
    Instance,
    State,
    changing,
    may_change,
    model_of,
    placed,
    read,
)

VALUED = {
    "-i": "id",
    "--id": "id",
    "-gi": "gi",
    "--gpu-instance-id": "gi",
    "-ci": "ci",
    "--compute-instance-id": "ci",
    "-cgi": "cgi",
    "--create-gpu-instance": "cgi",
    "-cci": "cci",
    "--create-compute-instance": "cci",
}
FLAGS = {
    "-C": "default-compute",
    "--default-compute-instance": "default-compute",
    "-dgi": "dgi",
    "--destroy-gpu-instance": "dgi",
    "-dci": "dci",
    "--destroy-compute-instance": "dci",
    "-lgi": "lgi",
    "--list-gpu-instances": "lgi",
    "-lgip": "lgip",
    "--list-gpu-instance-profiles": "lgip",
    "-lgipp": "lgipp",
    "--list-gpu-instance-possible-placements": "lgipp",
    "-lci": "lci",
    "--list-compute-instances": "lci",
    "-lcip": "lcip",
    "--list-compute-instance-profiles": "lcip",
}

NOT_FOUND, IN_USE, INSUFFICIENT, INVALID = 6, 19, 23, 2
WORDS = {
    IN_USE: "In use by another client",
    INSUFFICIENT: "Insufficient Resources",
    INVALID: "Invalid Argument",
}
COMPUTE_PROFILES = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}
"""Compute slices -> id of the compute instance profile."""


class Failure(Exception):
    """A request that NVML refused: `rc` is its code; the lines are printed after what succeeded."""

    def __init__(self, rc: int, *lines: str) -> None:
        super().__init__(*lines)
        self.rc = rc
        self.lines = lines


def mig(arguments: list[str], root: Path) -> Answer:
    """`nvidia-smi mig ARGUMENT…`"""
    options = parse(arguments, VALUED, FLAGS, optional=("cci",))
    state = read(root)
    capable = bool(model_of(state).profiles)
    if not capable:
        return Answer(NOT_FOUND, "No MIG-supported devices found.\n")
    if not {"cgi", "cci", "dgi", "dci"} & set(options):
        return _look(state, _enabled(state, options), options)
    if not may_change(root):
        return Answer(4, "Insufficient Permissions\n")
    with changing(root) as state:
        return _change(state, _enabled(state, options), options)


def _enabled(state: State, options: dict[str, str]) -> list[Gpu]:
    gpus = [gpu for gpu in select(state, options.get("id")) if gpu["mig"]]
    if not gpus:
        raise UsageError(Answer(NOT_FOUND, "No MIG-enabled devices found.\n"))
    return gpus


def _look(state: State, gpus: list[Gpu], options: dict[str, str]) -> Answer:
    chosen = numbers(options["gi"]) if "gi" in options else None
    for name, draw in tables.LISTS.items():
        if name in options:
            out = draw(state, gpus, chosen)
            if out:
                return Answer(0, out)
            what = "compute" if name in ("lci", "lcip") else "GPU"
            return Answer(NOT_FOUND, f"No {what} instances found: Not Found\n")
    return Answer(INVALID, "No operation specified. Please run 'nvidia-smi mig -h' for help.\n")


def _change(state: State, gpus: list[Gpu], options: dict[str, str]) -> Answer:
    done: list[str] = []
    try:
        for gpu in gpus:
            if "dci" in options:
                _destroy_compute(state, gpu, options, done)
            if "dgi" in options:
                _destroy_gpu_instances(state, gpu, options, done)
            if "cgi" in options:
                for wanted in options["cgi"].split(","):
                    _create(state, gpu, wanted, "default-compute" in options, done)
            if "cci" in options:
                _create_compute(gpu, state, options, done)
    except Failure as failure:
        return Answer(failure.rc, "".join(f"{line}\n" for line in [*done, *failure.lines]))
    if not done:
        what = "compute" if "dci" in options else "GPU"
        return Answer(NOT_FOUND, f"No {what} instances found: Not Found\n")
    return Answer(0, "".join(f"{line}\n" for line in done))


def _create(state: State, gpu: Gpu, wanted: str, compute: bool, done: list[str]) -> None:
    """Create one GPU instance from "19", "1g.5gb", "MIG 1g.5gb", each with ":START" or without."""
    model = model_of(state)
    name, _, pinned = wanted.partition(":")
    profile = model.profile(name)

    def refuse(rc: int) -> Failure:
        return Failure(
            rc,
            f"Unable to create a GPU instance on GPU {gpu['index']:2} using profile "
            f"{name.strip()}: {WORDS[rc]}",
            f"Failed to create GPU instances: {WORDS[rc]}",
        )

    if profile is None or (pinned and not pinned.isdigit()):
        raise refuse(INVALID)
    if held_whole(state, gpu):
        raise refuse(IN_USE)
    existing = placed(state, gpu)
    if pinned:
        start = int(pinned) if int(pinned) in free_starts(profile, existing) else None
    else:
        start = choose(model, profile, existing)
    if start is None:
        raise refuse(INSUFFICIENT)
    instance: Instance = {
        "id": instance_id(model, profile, start),
        "profile": profile.name,
        "start": start,
        "compute": [],
    }
    gpu["instances"].append(instance)
    done.append(
        f"Successfully created GPU instance ID {instance['id']:2} on GPU {gpu['index']:2} using "
        f"profile MIG {profile.name} (ID {profile.id:2})"
    )
    if compute:
        _add_compute(gpu, instance, profile, profile.slices, done)


def held_whole(state: State, gpu: Gpu) -> bool:
    """Whether a process has the whole GPU open, not only a MIG device of it, nor only NVML."""
    return any(
        {gpu["index"], gpu["uuid"]} & set(client["gpus"])
        for client in state["clients"].values()
        if not client["monitor"]
    )


def _add_compute(
    gpu: Gpu, instance: Instance, profile: Profile, slices: int, done: list[str]
) -> None:
    used = sum(one["slices"] for one in instance["compute"])
    number = next(n for n in range(8) if n not in {one["id"] for one in instance["compute"]})
    place = f"GPU {gpu['index']:2} GPU instance ID {instance['id']:2}"
    if used + slices > profile.slices:
        raise Failure(
            INSUFFICIENT,
            f"Unable to create a compute instance on {place} using profile "
            f"{COMPUTE_PROFILES[slices]}: {WORDS[INSUFFICIENT]}",
            f"Failed to create compute instances: {WORDS[INSUFFICIENT]}",
        )
    compute: ComputeInstance = {"id": number, "slices": slices, "start": used}
    instance["compute"].append(compute)
    done.append(
        f"Successfully created compute instance ID {number:2} on {place} using profile MIG "
        f"{compute_name(profile, slices)} (ID {COMPUTE_PROFILES[slices]:2})"
    )


def compute_name(profile: Profile, slices: int) -> str:
    return profile.name if slices == profile.slices else f"{slices}c.{profile.name}"


def _instances(gpu: Gpu, options: dict[str, str]) -> list[Instance]:
    """The GPU instances an `-gi` value names, else all; by id."""
    chosen = numbers(options["gi"]) if "gi" in options else None
    found = [one for one in gpu["instances"] if chosen is None or one["id"] in chosen]
    return sorted(found, key=lambda one: one["id"])


def _create_compute(gpu: Gpu, state: State, options: dict[str, str], done: list[str]) -> None:
    model = model_of(state)
    for instance in _instances(gpu, options):
        profile = model.profile(instance["profile"])
        assert profile is not None
        for wanted in options["cci"].split(","):
            slices = _compute_slices(profile, wanted)
            if slices is None:
                raise Failure(
                    INVALID,
                    f"Unable to create a compute instance on GPU {gpu['index']:2} GPU instance ID "
                    f"{instance['id']:2} using profile {wanted}: {WORDS[INVALID]}",
                    f"Failed to create compute instances: {WORDS[INVALID]}",
                )
            _add_compute(gpu, instance, profile, slices, done)


def _compute_slices(profile: Profile, wanted: str) -> int | None:
    """Compute slices of "0", "1c.3g.20gb" or "3g.20gb"; "" is the whole instance."""
    if not wanted:
        return profile.slices
    for slices, number in COMPUTE_PROFILES.items():
        names = (str(number), compute_name(profile, slices))
        if slices <= profile.slices and wanted.removeprefix("MIG ") in names:
            return slices
    return None


def _destroy_compute(state: State, gpu: Gpu, options: dict[str, str], done: list[str]) -> None:
    chosen = numbers(options["ci"]) if "ci" in options else None
    for instance in _instances(gpu, options):
        for compute in sorted(instance["compute"], key=lambda one: one["id"]):
            if chosen is not None and compute["id"] not in chosen:
                continue
            place = f"GPU {gpu['index']:2} GPU instance ID {instance['id']:2}"
            uuid = kernel.mig_uuid(gpu, instance["id"], compute["id"])
            if any(
                {gpu["index"], gpu["uuid"], uuid} & set(client["gpus"])
                for client in state["clients"].values()
                if not client["monitor"]
            ):
                raise Failure(
                    IN_USE,
                    f"Unable to destroy compute instance ID {compute['id']:2} from {place}: "
                    f"{WORDS[IN_USE]}",
                    f"Failed to destroy compute instances: {WORDS[IN_USE]}",
                )
            instance["compute"].remove(compute)
            done.append(
                f"Successfully destroyed compute instance ID {compute['id']:2} from {place}"
            )


def _destroy_gpu_instances(
    state: State, gpu: Gpu, options: dict[str, str], done: list[str]
) -> None:
    for instance in _instances(gpu, options):
        if instance["compute"]:
            raise Failure(
                IN_USE,
                f"Unable to destroy GPU instance ID {instance['id']:2} from GPU "
                f"{gpu['index']:2}: {WORDS[IN_USE]}",
                f"Failed to destroy GPU instances: {WORDS[IN_USE]}",
            )
        gpu["instances"].remove(instance)
        done.append(
            f"Successfully destroyed GPU instance ID {instance['id']:2} from GPU {gpu['index']:2}"
        )
