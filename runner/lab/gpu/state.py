"""A node's GPU state: one JSON file, every access under a lock, every write atomic."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypedDict

from .models import MODELS, Model
from .placement import Placed

FOLDER = "var/lib/gpu-simulator"
VERSION_FILE = "usr/lib/gpu-simulator/version"
"""Version of the driver's libraries, as their package installs it; absent: no driver installed."""
MODULE_FILE = "usr/lib/gpu-simulator/module"
"""Version and flavour of the kernel module on disk; absent: none was built."""


class Answer(NamedTuple):
    """What a command prints and exits with."""

    rc: int = 0
    out: str = ""
    err: str = ""


class NodeMissing(Exception):
    """There is no simulated GPU state below this root."""


class ComputeInstance(TypedDict):
    id: int
    slices: int
    start: int


class Instance(TypedDict):
    """A GPU instance: profile name, start of its placement, its compute instances."""

    id: int
    profile: str
    start: int
    compute: list[ComputeInstance]


class Gpu(TypedDict):
    index: int
    uuid: str
    pci: str
    serial: str
    mig: bool
    mig_pending: bool
    persistence: bool
    lost: bool
    """Fell off the bus."""
    resettable: bool
    """False: the reset is not exposed, as in many pass-through machines."""
    recovery: str
    """What the driver asks for, as `gpu_recovery_action` shows it: "None", "Reset", "Reboot"."""
    remap_pending: bool
    """A row of memory waits for a reset to be replaced."""
    instances: list[Instance]


class Client(TypedDict):
    """A process that holds GPUs. `gpus`: indexes, or UUIDs of GPUs or MIG devices.

    `monitor`: it holds them through NVML only (device plugin, exporter).
    """

    pid: int
    name: str
    gpus: list[int | str]
    monitor: bool


class State(TypedDict):
    model: str
    modules: dict[str, str]
    """Loaded kernel module -> its version."""
    flavour: str
    """Of the loaded driver: "open" or "proprietary"; "" without one."""
    gpus: list[Gpu]
    switches: int
    """NVSwitches that join the GPUs; 0: there are none."""
    clients: dict[str, Client]
    log: list[str]
    """Lines of the kernel log since boot."""
    booting: bool
    """Start-up has not yet come as far as the kubelet."""


def model_of(state: State) -> Model:
    return MODELS[state["model"]]


def placed(state: State, gpu: Gpu) -> list[Placed]:
    """The GPU's instances as placements."""
    model = model_of(state)
    found = ((model.profile(i["profile"]), i["start"]) for i in gpu["instances"])
    return [(profile, start) for profile, start in found if profile is not None]


def version_on_disk(root: Path) -> str:
    """Version of the driver's libraries and tools; "" if none are installed."""
    try:
        return (root / VERSION_FILE).read_text().strip()
    except FileNotFoundError:
        return ""


def module_on_disk(root: Path) -> tuple[str, str]:
    """Version and flavour of the kernel module that modprobe would load; "" if there is none."""
    try:
        version, flavour = (root / MODULE_FILE).read_text().split()
    except FileNotFoundError:
        return "", ""
    return version, flavour


def _path(root: Path) -> Path:
    return root / FOLDER / "state.json"


@contextmanager
def _locked(root: Path, kind: int) -> Iterator[None]:
    """Hold the lock. The file is opened for reading only, so that any user may look."""
    try:
        descriptor = os.open(root / FOLDER / "lock", os.O_RDONLY)
    except FileNotFoundError:
        where = root / FOLDER
        raise NodeMissing(f"no simulated GPUs here ({where} does not exist)") from None
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _write(root: Path, state: State) -> None:
    fresh = _path(root).with_suffix(".new")
    with fresh.open("w") as file:
        # Any user of the node may look, whatever the umask of who writes.
        os.fchmod(file.fileno(), 0o644)
        json.dump(state, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(_path(root))


def _load(root: Path) -> State:
    state: State = json.loads(_path(root).read_text())
    return state


def read(root: Path) -> State:
    """The state as it is now. Raises NodeMissing."""
    with _locked(root, fcntl.LOCK_SH):
        return _load(root)


@contextmanager
def changing(root: Path) -> Iterator[State]:
    """The state for changing; written when the block ends without an exception."""
    with _locked(root, fcntl.LOCK_EX):
        state = _load(root)
        yield state
        _write(root, state)


def initialise(root: Path, state: State) -> None:
    """Write a new node's state."""
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    (root / FOLDER).chmod(0o755)
    (root / FOLDER / "lock").touch()
    (root / FOLDER / "lock").chmod(0o644)
    with _locked(root, fcntl.LOCK_EX):
        _write(root, state)


def may_change(root: Path) -> bool:
    """Whether the caller has the rights of root on the node: may write its state."""
    return os.access(root / FOLDER, os.W_OK)
