"""What the lab does to a simulated node from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from . import kernel
from .models import MODELS
from .state import (
    MODULE_FILE,
    VERSION_FILE,
    Client,
    Gpu,
    State,
    changing,
    initialise,
    model_of,
    read,
    version_on_disk,
)

GPU_RESOURCE = "nvidia.com/gpu"

_MONITORS = ("device-plugin", "dcgm", "exporter", "nv-hostengine", "feature-discovery", "nvsm")


def create(root: Path, model: str, count: int, driver: str) -> None:
    """Give a node GPUs, its driver installed and loaded.

    Args:
        root: the node's root folder as the node itself sees it. (Through an overlay's upper
            folder the lock would not hold against the running node.)
        model: key of `models.MODELS`.
        count: number of GPUs.
        driver: version on disk, such as "550.90.07"; "": none installed.

    UUIDs and serial numbers follow from the last two folder names of `root` and the index, so
    that a recreated node has the same ones. Raises ValueError for an unknown model.
    """
    if model not in MODELS:
        raise ValueError(f"unknown GPU model {model!r}; known are {', '.join(MODELS)}")
    node = "/".join(root.resolve().parts[-2:])
    state: State = {
        "model": model,
        "modules": {},
        "flavour": "",
        "gpus": [_gpu(node, index) for index in range(count)],
        "switches": 0,
        "clients": {},
        "log": [],
        "booting": False,
    }
    for file, text in ((VERSION_FILE, driver), (MODULE_FILE, f"{driver} proprietary")):
        if driver:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text + "\n")
        else:
            (root / file).unlink(missing_ok=True)
    kernel.start(state, driver, "proprietary")
    initialise(root, state)
    kernel.write_proc(root, state)


def _gpu(node: str, index: int) -> Gpu:
    import uuid  # Late: nvidia-smi imports this module too, and needs no UUID made.

    identity = uuid.uuid5(uuid.NAMESPACE_DNS, f"{node}/{index}")
    return {
        "index": index,
        "uuid": f"GPU-{identity}",
        "pci": f"00000000:{index + 1:02X}:00.0",
        "serial": f"165{identity.int % 10**10:010d}",
        "mig": False,
        "mig_pending": False,
        "persistence": True,
        "lost": False,
        "resettable": True,
        "recovery": "None",
        "remap_pending": False,
        "instances": [],
    }


def add_client(
    root: Path,
    key: str,
    pid: int,
    name: str,
    gpus: Sequence[int | str],
    monitor: bool | None = None,
) -> None:
    """Register a process that holds GPUs, under a key of the caller's.

    Args:
        gpus: indexes, or UUIDs of GPUs or of MIG devices. A process with a MIG device holds that
            instance only.
        monitor: it holds GPUs through NVML only, as device plugin and exporters do: it blocks
            resets and Ampere's mode change, but no instance and no change of mode on Hopper.
            None: judged by the name.
    """
    if monitor is None:
        monitor = any(word in name for word in _MONITORS)
    client: Client = {"pid": pid, "name": name, "gpus": list(gpus), "monitor": monitor}
    with changing(root) as state:
        state["clients"][key] = client


def remove_client(root: Path, key: str) -> None:
    """Forget a process; one that is not there is fine."""
    with changing(root) as state:
        state["clients"].pop(key, None)


def add_xid(root: Path, index: int, xid: int, text: str) -> None:
    """Put an Xid of a GPU into the kernel log."""
    with changing(root) as state:
        pci = state["gpus"][index]["pci"].lower()[4:-2]
        kernel.log(state, f"NVRM: Xid (PCI:{pci}): {xid}, {text}")


_RECOVERY = {
    "None": "0x0 (None)",
    "Reset": "0x1 (GPU Reset Required)",
    "Reboot": "0x2 (Node Reboot Required)",
    "Drain and Reset": "0x4 (Drain and Reset)",
}


def ask_for(root: Path, index: int, action: str) -> None:
    """Let the driver ask for a recovery action of a GPU, and say so in the kernel log (Xid 154)."""
    before = _RECOVERY[read(root)["gpus"][index]["recovery"]]
    text = f"GPU recovery action changed from {before} to {_RECOVERY[action]}"
    add_xid(root, index, 154, text)
    with changing(root) as state:
        state["gpus"][index]["recovery"] = action


def remap_row(root: Path, index: int) -> None:
    """Let a row of the GPU's memory wait for a reset to be replaced."""
    with changing(root) as state:
        state["gpus"][index]["remap_pending"] = True


def expose_reset(root: Path, exposed: bool) -> None:
    """Whether the GPUs can be reset at all; in many virtual machines they cannot."""
    with changing(root) as state:
        for gpu in state["gpus"]:
            gpu["resettable"] = exposed


def join(root: Path, switches: int) -> None:
    """Join the GPUs by so many NVSwitches; 0: by none."""
    with changing(root) as state:
        state["switches"] = switches


def lose_gpu(root: Path, index: int) -> None:
    """Let a GPU fall off the bus (Xid 79). Only a boot brings it back."""
    add_xid(root, index, 79, "pid='<unknown>', name=<unknown>, GPU has fallen off the bus.")
    with changing(root) as state:
        state["gpus"][index]["lost"] = True


def allocatable(root: Path, strategy: str = "single") -> dict[str, int]:
    """What NVIDIA's device plugin would advertise after a restart.

    `strategy` as its `migStrategy`: "none" counts GPUs; "mixed" adds one resource per MIG profile;
    "single" counts MIG devices as GPUs, and nothing at all where GPUs differ in mode or profile
    (the plugin then refuses to start). Without a working driver it advertises no GPU.
    """
    state = read(root)
    if kernel.problem(state, version_on_disk(root)):
        return {GPU_RESOURCE: 0}
    gpus = [gpu for gpu in state["gpus"] if not gpu["lost"]]
    if strategy == "none":
        return {GPU_RESOURCE: len(gpus)}
    whole = sum(not gpu["mig"] for gpu in gpus)
    sliced = Counter(name for gpu in gpus if gpu["mig"] for name in _device_names(state, gpu))
    if strategy == "mixed":
        resources = {f"nvidia.com/mig-{name.replace('+', '.')}": n for name, n in sliced.items()}
        return {GPU_RESOURCE: whole, **resources}
    if strategy != "single":
        raise ValueError(f"unknown MIG strategy {strategy!r}; known are none, single, mixed")
    if whole == len(gpus):
        return {GPU_RESOURCE: whole}
    empty = any(gpu["mig"] and not _device_names(state, gpu) for gpu in gpus)
    if whole or empty or len(sliced) != 1:
        return {GPU_RESOURCE: 0}
    return {GPU_RESOURCE: sliced.total()}


def _device_names(state: State, gpu: Gpu) -> list[str]:
    """Profile of each MIG device of a GPU: each compute instance that has its whole instance."""
    model = model_of(state)
    names: list[str] = []
    for instance in gpu["instances"]:
        profile = model.profile(instance["profile"])
        for compute in instance["compute"]:
            part = profile is not None and compute["slices"] < profile.slices
            names.append(
                f"{compute['slices']}c.{instance['profile']}" if part else instance["profile"]
            )
    return names
