"""`lspci`: the GPUs as 3D controllers."""

from __future__ import annotations

from pathlib import Path

from .state import Answer, Gpu, model_of, read


def lspci(arguments: list[str], root: Path) -> Answer:
    """`lspci [-D] [-n|-nn] [-d 10de:[DEVICE]]`; other options change nothing."""
    state = read(root)
    model = model_of(state)
    letters = {letter for one in arguments if one.startswith("-") for letter in one[1:]}
    numeric = sum(one.count("n") for one in arguments if one.startswith("-"))
    wanted = _device_filter(arguments)
    if wanted is not None:
        vendor, _, device = wanted.lower().partition(":")
        if vendor not in ("", "10de") or device.split(":")[0] not in ("", model.device.lower()):
            return Answer()

    def line(gpu: Gpu) -> str:
        slot = gpu["pci"].lower()[4 if "D" in letters else 9 :]
        number = f"10de:{model.device.lower()}"
        revision = "ff" if gpu["lost"] else "a1"
        if numeric == 1:
            return f"{slot} 0302: {number} (rev {revision})\n"
        code, suffix = ("[0302]", f" [{number}]") if numeric else ("", "")
        kind = f"3D controller {code}".strip()
        return f"{slot} {kind}: NVIDIA Corporation {model.board}{suffix} (rev {revision})\n"

    switches = "" if numeric != 1 else "".join(map(_switch, range(state["switches"])))
    return Answer(0, "".join(line(gpu) for gpu in state["gpus"]) + switches)


def _switch(number: int) -> str:
    """An NVSwitch of the A100's systems, as `lspci -D -n` shows it."""
    return f"0000:{0xC0 + number:02x}:00.0 0680: 10de:1af1 (rev a1)\n"


def _device_filter(arguments: list[str]) -> str | None:
    """The value of -d, also at the end of joined options (`-Dnnd 10de:`)."""
    for position, one in enumerate(arguments):
        if one.startswith("-") and one.endswith("d") and position + 1 < len(arguments):
            return arguments[position + 1]
    return None
