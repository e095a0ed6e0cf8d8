"""The kernel's side of the driver: modules, the kernel log, /proc/driver/nvidia, open devices."""

from __future__ import annotations

import fnmatch
import os
import time
from pathlib import Path

from .state import (
    Answer,
    Client,
    Gpu,
    State,
    changing,
    model_of,
    module_on_disk,
    read,
    version_on_disk,
)

FAMILY = ("nvidia", "nvidia_modeset", "nvidia_uvm", "nvidia_drm")
STARTED = ("nvidia", "nvidia_modeset", "nvidia_uvm")
"""What a boot loads, the driver first."""

NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that "
    "the latest NVIDIA driver is installed and running.\n"
)


def problem(state: State, on_disk: str) -> Answer | None:
    """Why NVML cannot be used, as nvidia-smi says it; None: it can."""
    if not on_disk:
        return Answer(127, err="nvidia-smi: command not found\n")
    loaded = state["modules"].get("nvidia", "")
    if not loaded:
        return Answer(9, NO_DRIVER)
    if loaded != on_disk:
        library = ".".join(on_disk.split(".")[:2])
        return Answer(
            18,
            "Failed to initialize NVML: Driver/library version mismatch\n"
            f"NVML library version: {library}\n",
        )
    return None


def log(state: State, line: str) -> None:
    """Append to the kernel log, at the time that /proc/uptime shows."""
    state["log"].append(f"[{time.clock_gettime(time.CLOCK_BOOTTIME):12.6f}] {line}")


def load(state: State, module: str, version: str, flavour: str) -> None:
    """Load a module of the family and, before it, the driver it depends on."""
    for name in ("nvidia", module):
        if name not in state["modules"]:
            state["modules"][name] = state["modules"].get("nvidia", version)
            if name == "nvidia":
                state["flavour"] = flavour
                log(state, f"NVRM: loading {_title(flavour)}  {version}")


def _title(flavour: str) -> str:
    """What the driver calls itself."""
    if flavour == "open":
        return "NVIDIA UNIX Open Kernel Module for x86_64"
    return "NVIDIA UNIX x86_64 Kernel Module"


def forget_volatile(state: State, gpus: list[Gpu] | None = None, driver: bool = True) -> None:
    """What GPUs (None: all) lose in a reset, and with the driver's unload when `driver`.

    No instance survives either. Ampere's pending mode takes effect; Hopper's mode lives in the
    driver and goes with it.
    """
    volatile = model_of(state).mode_is_volatile
    for gpu in state["gpus"] if gpus is None else gpus:
        gpu["instances"] = []
        if volatile and driver:
            gpu["mig"] = gpu["mig_pending"] = False
        gpu["mig"] = gpu["mig_pending"]


def start(state: State, version: str, flavour: str) -> None:
    """A boot: everything volatile is gone; the driver of that version is loaded, if any."""
    state["modules"] = {}
    state["clients"] = {}
    state["log"] = []
    for gpu in state["gpus"]:
        gpu["lost"] = False
        gpu["recovery"] = "None"
        gpu["remap_pending"] = False
    forget_volatile(state)
    if version:
        for module in STARTED:
            load(state, module, version, flavour)


def boot(arguments: list[str], root: Path) -> Answer:
    """`boot`: what happens to GPUs and driver when the node boots. Persistence mode is off until
    its daemon sets it."""
    with changing(root) as state:
        start(state, *module_on_disk(root))
        state["booting"] = True
        for gpu in state["gpus"]:
            gpu["persistence"] = False
    write_proc(root, state)
    return Answer()


def kubelet(arguments: list[str], root: Path) -> Answer:
    """`kubelet`: start-up has come as far as the kubelet, which may start pods now."""
    with changing(root) as state:
        state["booting"] = False
    return Answer()


def write_proc(root: Path, state: State) -> None:
    """Write /proc/driver/nvidia as the loaded driver shows it, where that can be written."""
    import shutil  # Late: only what loads or unloads the driver needs it.

    folder = root / "proc/driver/nvidia"
    version = state["modules"].get("nvidia", "")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        if not version:
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "version").write_text(
            f"NVRM version: {_title(state['flavour'])}  {version}  "
            "Fri May 31 09:35:42 UTC 2024\n"
            "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
        )
        for gpu in state["gpus"]:
            _write_information(folder, state, gpu)
    except OSError:
        return  # A real /proc: the folder can only be made where the lab mounted one of its own.


def _write_information(folder: Path, state: State, gpu: Gpu) -> None:
    bus = gpu["pci"].lower()[4:]
    place = folder / "gpus" / bus
    place.mkdir(parents=True, exist_ok=True)
    (place / "information").write_text(
        f"Model: \t\t {model_of(state).product}\n"
        f"GPU UUID: \t {gpu['uuid']}\n"
        f"Bus Type: \t PCIe\n"
        f"Bus Location: \t {bus}\n"
        f"Device Minor: \t {gpu['index']}\n"
        f"GPU Excluded:\t No\n"
    )


def modprobe(arguments: list[str], root: Path) -> Answer:
    """`modprobe [-r] MODULE…`. Modules other than the driver's load and unload without effect."""
    names = [name.replace("-", "_") for name in arguments if not name.startswith("-")]
    if "-r" in arguments or "--remove" in arguments:
        return _unload(names, root, "modprobe: FATAL: Module {name} is in use.\n", quiet=True)
    on_disk, flavour = module_on_disk(root)
    # Only the first name is a module, the others are its parameters; -a takes them all.
    wanted = names if "-a" in arguments or "--all" in arguments else names[:1]
    with changing(root) as state:
        for name in wanted:
            if name not in FAMILY:
                state["modules"].setdefault(name, "")
            elif on_disk:
                load(state, name, on_disk, flavour)
            else:
                where = f"/lib/modules/{os.uname().release}"
                missing = f"modprobe: FATAL: Module {name} not found in directory {where}\n"
                return Answer(1, err=missing)
    write_proc(root, state)
    return Answer()


def rmmod(arguments: list[str], root: Path) -> Answer:
    """`rmmod MODULE…`"""
    names = [name.replace("-", "_") for name in arguments if not name.startswith("-")]
    return _unload(names, root, "rmmod: ERROR: Module {name} is in use{by}\n", quiet=False)


def _users(state: State, name: str) -> list[str]:
    """Loaded modules that need this one."""
    needs = {"nvidia": FAMILY[1:], "nvidia_modeset": ("nvidia_drm",)}
    return [module for module in needs.get(name, ()) if module in state["modules"]]


def _unload(names: list[str], root: Path, refusal: str, quiet: bool) -> Answer:
    with changing(root) as state:
        answer = Answer()
        for name in names:
            if name not in state["modules"]:
                if not quiet:
                    answer = Answer(1, err=f"rmmod: ERROR: Module {name} is not currently loaded\n")
                    break
                continue
            users = _users(state, name)
            if users or (name == "nvidia" and state["clients"]):
                by = f" by: {' '.join(users)}" if users else ""
                answer = Answer(1, err=refusal.format(name=name, by=by))
                break
            del state["modules"][name]
            if name == "nvidia":
                forget_volatile(state)
                for gpu in state["gpus"]:
                    gpu["persistence"] = False
    write_proc(root, state)
    return answer


def lsmod(_: list[str], root: Path) -> Answer:
    state = read(root)
    lines = ["Module                  Size  Used by"]
    for name in reversed(state["modules"]):
        users = _users(state, name)
        held = len(users) + (len(state["clients"]) if name == "nvidia" else 0)
        size = 56823808 if name == "nvidia" else 65536
        lines.append(f"{name:<20}{size:>8}  {held} {','.join(users)}".rstrip())
    return Answer(0, "\n".join(lines) + "\n")


def modinfo(arguments: list[str], root: Path) -> Answer:
    """`modinfo [-F FIELD] MODULE`: the module on disk, whatever is loaded."""
    field = ""
    names: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-F", "--field"):
            field = next(rest, "")
        elif not argument.startswith("-"):
            names.append(argument)
    version, flavour = module_on_disk(root)
    name = names[0].replace("-", "_") if names else ""
    if name not in FAMILY or not version:
        return Answer(1, err=f"modinfo: ERROR: Module {name} not found.\n")
    fields = {
        "filename": f"/lib/modules/simulated/updates/dkms/{name.replace('_', '-')}.ko",
        "version": version,
        "license": "Dual MIT/GPL" if flavour == "open" else "NVIDIA",
        "supported": "external",
    }
    if field:
        return Answer(0, f"{fields.get(field, '')}\n" if field in fields else "")
    return Answer(0, "".join(f"{label + ':':<16}{value}\n" for label, value in fields.items()))


def daemon(arguments: list[str], root: Path) -> Answer:
    """`daemon start NAME PID` and `daemon stop NAME`: a daemon of the driver opens it or lets go.

    It holds the module, and no GPU. nvidia-persistenced keeps persistence mode on meanwhile.
    """
    verb, name = arguments[:2]
    broken = problem(read(root), version_on_disk(root))
    if verb == "start" and broken:
        return Answer(1, err=f"{name} failed to initialize: {broken.out}")
    with changing(root) as state:
        if verb == "start":
            state["clients"][name] = Client(
                pid=int(arguments[2]), name=f"/usr/bin/{name}", gpus=[], monitor=True
            )
        else:
            state["clients"].pop(name, None)
        if name == "nvidia-persistenced" and "nvidia" in state["modules"]:
            for gpu in state["gpus"]:
                gpu["persistence"] = verb == "start"
    return Answer()


def dmesg(_: list[str], root: Path) -> Answer:
    """The kernel log since boot; options change nothing."""
    lines = ["[    0.000000] Linux version (simulated node)", *read(root)["log"]]
    return Answer(0, "\n".join(lines) + "\n")


def fuser(arguments: list[str], root: Path) -> Answer:
    """`fuser [-v] FILE…`: who holds the device files; a file nobody holds is left out.

    A pattern counts as all GPUs it fits: a simulated node has no device files a shell could find.
    """
    state = read(root)
    patterns = [argument for argument in arguments if not argument.startswith("-")]
    out, table = "", ""
    for gpu in state["gpus"]:
        path = f"/dev/nvidia{gpu['index']}"
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            continue
        clients = [c for c in state["clients"].values() if holds(state, c["gpus"], gpu["index"])]
        for number, client in enumerate(clients):
            out += f" {client['pid']}"
            where = f"{path}:" if number == 0 else ""
            table += f"{where:<20} root {client['pid']:>10} F...m {client['name']}\n"
    if "-v" in arguments and table:
        return Answer(0, out, f"{'':<20} {'USER':<8} {'PID':>6} ACCESS COMMAND\n{table}")
    return Answer(0 if out else 1, out)


def holds(state: State, gpus: list[int | str], index: int) -> bool:
    """Whether a client's list names that GPU, or a MIG device on it."""
    gpu = state["gpus"][index] if index < len(state["gpus"]) else None
    if gpu is None:
        return False
    return bool({index, gpu["uuid"], *mig_uuids(gpu)} & set(gpus))


def mig_uuids(gpu: Gpu) -> list[str]:
    """UUIDs of the GPU's MIG devices, in the order of their index."""
    return [
        mig_uuid(gpu, instance["id"], compute["id"])
        for instance in sorted(gpu["instances"], key=lambda one: one["id"])
        for compute in sorted(instance["compute"], key=lambda one: one["id"])
    ]


def mig_uuid(gpu: Gpu, gi: int, ci: int) -> str:
    """UUID of one MIG device: the same whenever it is created in the same place."""
    import uuid  # Late: most calls of nvidia-smi need none.

    return f"MIG-{uuid.uuid5(uuid.UUID(gpu['uuid'][4:]), f'{gi}/{ci}')}"
