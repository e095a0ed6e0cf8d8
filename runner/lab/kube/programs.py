"""What a container's command does in the lab: a few programs, of which nothing is really run.

A pod that is never restarted and says a command is run to its end; all others just run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.lab.kube.kinds import Json
from runner.lab.kube.nodes import SimulatedNode

LOG = "lab.gpurun.dev/log"
"""Pod annotation: what its container has printed."""
_DEVICE = re.compile(r"^GPU (\d+): ")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container's command ends.

    Args:
        rc: exit code; 128 with reason StartError where it could not be started.
        out: what it prints.
        seconds: how long it takes.
    """

    rc: int
    out: str = ""
    reason: str = ""
    seconds: float = 0.0


def ending(pod: Json, node: SimulatedNode, gpus: Sequence[int]) -> Ending | None:
    """How the pod's first container ends; None: it runs until it is ended."""
    container = pod["spec"]["containers"][0]
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    if pod["spec"].get("restartPolicy") != "Never" or not container.get("command"):
        return None
    program, *arguments = map(str, words)
    name = program.rpartition("/")[2]
    if name == "nvidia-smi" and gpus:
        return _smi(node, arguments, gpus)
    if name in ("true", "false"):
        return Ending(int(name == "false"))
    if name == "echo":
        return Ending(0, " ".join(arguments) + "\n")
    if name == "sleep":
        return Ending(0, seconds=float(arguments[0]))
    message = f'exec: "{program}": executable file not found in $PATH'
    return Ending(128, message, "StartError")


def _smi(node: SimulatedNode, arguments: list[str], gpus: Sequence[int]) -> Ending:
    """nvidia-smi in a container, which has the pod's GPUs only."""
    if not node.root:
        return Ending(0, "".join(f"GPU {n}: simulated\n" for n in range(len(gpus))))
    from runner.lab.gpu.commands import run

    answer = run("nvidia-smi", arguments, Path(node.root))
    out = _visible(answer.out, gpus) if arguments == ["-L"] else answer.out
    return Ending(answer.rc, out + answer.err)


def _visible(listing: str, gpus: Sequence[int]) -> str:
    """The lines of `nvidia-smi -L` about these GPUs, counted anew."""
    kept: list[str] = []
    number, shown = -1, False
    for line in listing.splitlines(keepends=True):
        if found := _DEVICE.match(line):
            shown = int(found[1]) in gpus
            number += shown
            line = _DEVICE.sub(f"GPU {number}: ", line)
        if shown:
            kept.append(line)
    return "".join(kept)


def unpullable(pod: Json) -> bool:
    """Whether its image lies in a registry that does not exist: `.invalid` is reserved for that."""
    images = [str(container.get("image", "")) for container in pod["spec"]["containers"]]
    return any(image.partition("/")[0].endswith(".invalid") for image in images)
