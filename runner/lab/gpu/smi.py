"""The simulated nvidia-smi: which request is asked for, and the requests that change a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import kernel, mig, nvlink, overview, query, report
from .options import UsageError, parse, select
from .state import Answer, Gpu, State, changing, may_change, model_of, read, version_on_disk

VALUED = {
    "-i": "id",
    "--id": "id",
    "--query-gpu": "query-gpu",
    "--query-compute-apps": "query-compute-apps",
    "--format": "format",
    "-mig": "mig",
    "--multi-instance-gpu": "mig",
    "-pm": "pm",
    "--persistence-mode": "pm",
    "-d": "display",
    "--display": "display",
}
FLAGS = {
    "-L": "list",
    "--list-gpus": "list",
    "-q": "query",
    "--query": "query",
    "-x": "xml",
    "--xml-format": "xml",
    "-r": "reset",
    "--gpu-reset": "reset",
    "--help-query-gpu": "help-query-gpu",
    "--help-query-compute-apps": "help-query-compute-apps",
    "--version": "version",
    "-eow": "eow",
    "--error-on-warning": "eow",
}

IN_USE = (
    "is currently being used by one or more other processes (e.g. CUDA application or a "
    "monitoring application such as another instance of nvidia-smi). Please first kill all "
    "processes using the device and retry the command or reboot the system to make MIG mode "
    "effective.\n"
)
RESET_IN_USE = (
    "being used by one or more other processes (e.g., Fabric Manager, CUDA application, graphics "
    "application such as an X server, or a monitoring application such as another instance of "
    "nvidia-smi). Please first kill all processes using {these} and all compute applications "
    "running in the system.\n"
)


def nvidia_smi(arguments: list[str], root: Path) -> Answer:
    """`nvidia-smi ARGUMENT…`"""
    if broken := kernel.problem(read(root), version_on_disk(root)):
        return broken
    try:
        if arguments[:1] == ["mig"]:
            return mig.mig(arguments[1:], root)
        if arguments[:1] == ["nvlink"]:
            return nvlink.nvlink(arguments[1:], root)
        return _answer(parse(arguments, VALUED, FLAGS, optional=("reset",)), root)
    except UsageError as error:
        return error.answer


Request = Callable[[State, list[Gpu], dict[str, str]], Answer]


def _answer(options: dict[str, str], root: Path) -> Answer:
    for name, change in CHANGES.items():
        if name in options:
            if not may_change(root):
                return _no_permission(options, read(root))
            with changing(root) as state:
                gpus = select(state, options.get("id"))
                if lost := "".join(query.lost_line(gpu) for gpu in gpus if gpu["lost"]):
                    return Answer(15, lost)
                return change(state, gpus, options)
    state = read(root)
    request = next((LOOKS[name] for name in LOOKS if name in options), overview.overview)
    return request(state, select(state, options.get("id")), options)


def _no_permission(options: dict[str, str], state: State) -> Answer:
    gpu = select(state, options.get("id"))[0]
    what = "change MIG Mode" if "mig" in options else "set requested mode"
    return Answer(
        4,
        f"Unable to {what} for GPU {gpu['pci']}: Insufficient Permissions\n"
        "Terminating early due to previous errors.\n",
    )


def busy(state: State, gpu: Gpu, monitors: bool) -> bool:
    """Whether a process holds the GPU; `monitors`: those that hold it through NVML count too."""
    return any(
        kernel.holds(state, client["gpus"], gpu["index"])
        for client in state["clients"].values()
        if monitors or not client["monitor"]
    )


def _set_mig(state: State, gpus: list[Gpu], options: dict[str, str]) -> Answer:
    if options["mig"] not in ("0", "1"):
        return Answer(2, f"Invalid MIG mode: {options['mig']}\n")
    change = _switch_now if model_of(state).mode_is_volatile else _switch_pending
    answers = [change(state, gpu, options["mig"] == "1") for gpu in gpus]
    warned = any("Enabled MIG" not in text and "Disabled MIG" not in text for text in answers)
    rc = 255 if warned and "eow" in options else 0
    return Answer(rc, "".join(answers) + "All done.\n")


def _switch_now(state: State, gpu: Gpu, on: bool) -> str:
    """Hopper and later, and GPUs without MIG: at once or not at all."""
    word = "enable" if on else "disable"
    if not model_of(state).profiles:
        why = "Not Supported"
    elif gpu["mig"] != on and (busy(state, gpu, monitors=False) or gpu["instances"]):
        why = "In use by another client"
    else:
        gpu["mig"] = gpu["mig_pending"] = on
        return f"{word.capitalize()}d MIG Mode for GPU {gpu['pci']}\n"
    return (
        f"Unable to {word} MIG Mode for GPU {gpu['pci']}: {why}\n"
        "Treating as warning and moving on.\n"
    )


def _switch_pending(state: State, gpu: Gpu, on: bool) -> str:
    """Ampere: the driver tries a reset; where that is impossible the mode stays pending."""
    word = "enable" if on else "disable"
    gpu["mig_pending"] = on
    if gpu["mig"] == on:
        return f"{word.capitalize()}d MIG Mode for GPU {gpu['pci']}\n"
    if busy(state, gpu, monitors=True) or gpu["instances"]:
        why, advice = "In use by another client", f"{gpu['pci']} {IN_USE}"
    elif not gpu["resettable"]:
        why = "Not Supported"
        advice = (
            "Reboot the system or try nvidia-smi --gpu-reset to make MIG mode effective on GPU "
            f"{gpu['pci']}\n"
        )
    else:
        gpu["mig"] = on
        return f"{word.capitalize()}d MIG Mode for GPU {gpu['pci']}\n"
    return f"Warning: MIG mode is in pending {word} state for GPU {gpu['pci']}:{why}\n{advice}"


def _reset_together(state: State) -> bool:
    """Whether no GPU can be reset without the others: Ampere behind NVSwitches that no fabric
    manager manages (nvidia-smi(1), --gpu-reset)."""
    ampere = model_of(state).architecture == "Ampere"
    return ampere and state["switches"] > 0 and "nvidia-fabricmanager" not in state["clients"]


def _reset(state: State, gpus: list[Gpu], _: dict[str, str]) -> Answer:
    """Reset each GPU nobody holds; name the others."""
    if fixed := [gpu for gpu in gpus if not gpu["resettable"]]:
        return Answer(255, f"Resetting GPU {fixed[0]['pci']} is not supported.\n")
    if len(gpus) < len(state["gpus"]) and _reset_together(state):
        lines = "".join(f"  GPU {gpu['pci']}: Not Supported\n" for gpu in gpus)
        return Answer(255, f"The following GPUs could not be reset:\n{lines}")
    held = [gpu for gpu in gpus if busy(state, gpu, monitors=True)]
    free = [gpu for gpu in gpus if gpu not in held]
    kernel.forget_volatile(state, free, driver=False)
    for gpu in free:
        if gpu["recovery"] in ("Reset", "Drain and Reset"):
            gpu["recovery"] = "None"
        gpu["remap_pending"] = False
    out = "".join(f"GPU {gpu['pci']} was successfully reset.\n" for gpu in free)
    if not held:
        return Answer(0, out + "All done.\n")
    lines = "".join(f"  GPU {gpu['pci']}: In use by another client\n" for gpu in held)
    one = len(held) == 1
    reason = RESET_IN_USE.format(these="this device" if one else "these devices")
    count = "1 device is" if one else f"{len(held)} devices are"
    return Answer(
        255, f"{out}The following GPUs could not be reset:\n{lines}\n{count} currently {reason}"
    )


def _set_persistence(_: State, gpus: list[Gpu], options: dict[str, str]) -> Answer:
    if options["pm"] not in ("0", "1"):
        return Answer(2, f"Invalid persistence mode: {options['pm']}\n")
    on = options["pm"] == "1"
    out = ""
    for gpu in gpus:
        word = "Enabled" if on else "Disabled"
        if gpu["persistence"] == on:
            out += f"Persistence mode is already {word} for GPU {gpu['pci']}.\n"
        else:
            out += f"{word} persistence mode for GPU {gpu['pci']}.\n"
        gpu["persistence"] = on
    return Answer(0, out + "All done.\n")


CHANGES: dict[str, Request] = {"mig": _set_mig, "reset": _reset, "pm": _set_persistence}
LOOKS: dict[str, Request] = {
    "help-query-gpu": query.help_query_gpu,
    "query-gpu": query.query_gpu,
    "query-compute-apps": query.query_compute_apps,
    "list": report.devices,
    "version": report.version,
    "query": report.everything,
}
