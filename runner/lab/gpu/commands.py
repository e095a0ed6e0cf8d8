"""The simulated commands by name, and what each answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import kernel, lspci, smi
from .state import Answer, NodeMissing

COMMANDS: dict[str, Callable[[list[str], Path], Answer]] = {
    "boot": kernel.boot,
    "daemon": kernel.daemon,
    "dmesg": kernel.dmesg,
    "fuser": kernel.fuser,
    "kubelet": kernel.kubelet,
    "lsmod": kernel.lsmod,
    "lspci": lspci.lspci,
    "modinfo": kernel.modinfo,
    "modprobe": kernel.modprobe,
    "nvidia-smi": smi.nvidia_smi,
    "rmmod": kernel.rmmod,
}


def run(command: str, arguments: list[str], root: Path) -> Answer:
    """What `command` with `arguments` does and prints on the node whose root is `root`."""
    simulated = COMMANDS.get(command)
    if simulated is None:
        known = ", ".join(COMMANDS)
        return Answer(2, err=f"gpu: no simulated command {command!r}; there are {known}\n")
    try:
        return simulated(arguments, root)
    except NodeMissing as missing:
        return Answer(1, err=f"{command}: {missing}\n")
