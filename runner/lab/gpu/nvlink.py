"""`nvidia-smi nvlink -s`: the links of each GPU."""

from __future__ import annotations

from pathlib import Path

from .options import UsageError, parse, select
from .state import Answer, model_of, read

LINKS = {"A100": (12, "25"), "H100": (18, "26.562"), "H200": (18, "26.562")}
"""Model without its memory -> number of links and GB/s of each; others have none."""


def nvlink(arguments: list[str], root: Path) -> Answer:
    """`nvidia-smi nvlink -s [-i GPU]`"""
    flags = {"-s": "status", "--status": "status"}
    options = parse(arguments, {"-i": "id", "--id": "id"}, flags)
    if "status" not in options:
        raise UsageError(Answer(2, "Invalid combination of input arguments.\n"))
    state = read(root)
    model = model_of(state)
    count, speed = LINKS.get(model.key.partition("-")[0], (0, ""))
    out = ""
    for gpu in select(state, options.get("id")):
        out += f"GPU {gpu['index']}: {model.product} (UUID: {gpu['uuid']})\n"
        out += "".join(f"\t Link {number}: {speed} GB/s\n" for number in range(count))
    return Answer(0, out)
