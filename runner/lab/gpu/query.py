"""`--query-gpu`, `--query-compute-apps` and their help: CSV as nvidia-smi prints it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import kernel
from .models import Model
from .state import Answer, Client, Gpu, State, model_of

UNAVAILABLE = "[N/A]"
MEMORY_OF_A_PROCESS = 1024
"""MiB that every simulated compute process uses."""


class Row(NamedTuple):
    state: State
    gpu: Gpu
    model: Model

    def used(self) -> int:
        return 4 + MEMORY_OF_A_PROCESS * len(compute_clients(self.state, self.gpu))

    def load(self) -> str:
        return "97%" if compute_clients(self.state, self.gpu) else "0%"

    def mode(self, on: bool) -> str:
        if not self.model.profiles:
            return UNAVAILABLE
        return "Enabled" if on else "Disabled"

    def hidden_by_mig(self, value: str) -> str:
        """MIG mode hides what belongs to the whole GPU."""
        return UNAVAILABLE if self.gpu["mig"] else value


def compute_clients(state: State, gpu: Gpu) -> list[Client]:
    """Processes with a compute context on the GPU."""
    return [
        client
        for client in state["clients"].values()
        if not client["monitor"] and kernel.holds(state, client["gpus"], gpu["index"])
    ]


class Field(NamedTuple):
    read: Callable[[Row], str]
    unit: str = ""
    help: str = ""


_ZERO = "0"
FIELDS: dict[str, Field] = {
    "driver_version": Field(lambda r: r.state["modules"]["nvidia"]),
    "count": Field(lambda r: str(len(r.state["gpus"]))),
    "name": Field(lambda r: r.model.product),
    "serial": Field(lambda r: r.gpu["serial"]),
    "uuid": Field(lambda r: r.gpu["uuid"]),
    "pci.bus_id": Field(lambda r: r.gpu["pci"]),
    "pci.device_id": Field(lambda r: f"0x{r.model.device}10DE"),
    "index": Field(lambda r: str(r.gpu["index"])),
    "persistence_mode": Field(lambda r: "Enabled" if r.gpu["persistence"] else "Disabled"),
    "vbios_version": Field(lambda r: "96.00.A5.00.01"),
    "compute_cap": Field(lambda r: r.model.compute_capability),
    "mig.mode.current": Field(lambda r: r.mode(r.gpu["mig"])),
    "mig.mode.pending": Field(lambda r: r.mode(r.gpu["mig_pending"])),
    "memory.total": Field(lambda r: str(r.model.memory), "MiB"),
    "memory.reserved": Field(lambda r: str(r.model.reserved), "MiB"),
    "memory.used": Field(lambda r: str(r.used()), "MiB"),
    "memory.free": Field(lambda r: str(r.model.memory - r.model.reserved - r.used()), "MiB"),
    "utilization.gpu": Field(
        lambda r: r.hidden_by_mig("97" if compute_clients(r.state, r.gpu) else _ZERO), "%"
    ),
    "utilization.memory": Field(lambda r: r.hidden_by_mig(_ZERO), "%"),
    "temperature.gpu": Field(lambda r: "31"),
    "power.draw": Field(lambda r: "69.85", "W"),
    "power.limit": Field(lambda r: f"{r.model.power_limit}.00", "W"),
    "pstate": Field(lambda r: "P0"),
    "compute_mode": Field(lambda r: "Default"),
    "ecc.mode.current": Field(lambda r: "Enabled"),
    "ecc.mode.pending": Field(lambda r: "Enabled"),
    "ecc.errors.corrected.volatile.total": Field(lambda r: _ZERO),
    "ecc.errors.uncorrected.volatile.total": Field(lambda r: _ZERO),
    "ecc.errors.corrected.aggregate.total": Field(lambda r: _ZERO),
    "ecc.errors.uncorrected.aggregate.total": Field(lambda r: _ZERO),
    "retired_pages.single_bit_ecc.count": Field(lambda r: UNAVAILABLE),
    "retired_pages.double_bit.count": Field(lambda r: UNAVAILABLE),
    "retired_pages.pending": Field(lambda r: UNAVAILABLE),
    "remapped_rows.correctable": Field(lambda r: r.hidden_by_mig(_ZERO)),
    "remapped_rows.uncorrectable": Field(lambda r: r.hidden_by_mig(_ZERO)),
    "remapped_rows.pending": Field(
        lambda r: r.hidden_by_mig("Yes" if r.gpu["remap_pending"] else "No")
    ),
    "remapped_rows.failure": Field(lambda r: r.hidden_by_mig("No")),
    "reset_status.reset_required": Field(lambda r: "Yes" if r.gpu["recovery"] == "Reset" else "No"),
    "reset_status.drain_and_reset_recommended": Field(
        lambda r: "Yes" if r.gpu["recovery"] == "Drain and Reset" else "No"
    ),
    "gpu_recovery_action": Field(lambda r: r.gpu["recovery"]),
}
ALIASES = {
    "gpu_name": "name",
    "gpu_uuid": "uuid",
    "gpu_bus_id": "pci.bus_id",
    "gpu_serial": "serial",
}

APPS: dict[str, tuple[str, Callable[[Row, Client], str], str]] = {
    "gpu_name": ("gpu_name", lambda r, c: r.model.product, ""),
    "gpu_bus_id": ("gpu_bus_id", lambda r, c: r.gpu["pci"], ""),
    "gpu_serial": ("gpu_serial", lambda r, c: r.gpu["serial"], ""),
    "gpu_uuid": ("gpu_uuid", lambda r, c: r.gpu["uuid"], ""),
    "pid": ("pid", lambda r, c: str(c["pid"]), ""),
    "process_name": ("process_name", lambda r, c: c["name"], ""),
    "name": ("process_name", lambda r, c: c["name"], ""),
    "used_memory": ("used_gpu_memory", lambda r, c: str(MEMORY_OF_A_PROCESS), "MiB"),
    "used_gpu_memory": ("used_gpu_memory", lambda r, c: str(MEMORY_OF_A_PROCESS), "MiB"),
}
"""Field -> the name its header shows, its value, its unit."""


def query_gpu(state: State, gpus: list[Gpu], options: dict[str, str]) -> Answer:
    asked = [name.strip() for name in options["query-gpu"].split(",")]
    fields = [FIELDS.get(ALIASES.get(name, name)) for name in asked]
    header: list[tuple[str, str]] = []
    for name, field in zip(asked, fields, strict=True):
        if field is None:
            return Answer(2, f'Field "{name}" is not a valid field to query.\n')
        header.append((name, field.unit))
    rows = [
        None if gpu["lost"] else [f.read(Row(state, gpu, model_of(state))) for f in fields if f]
        for gpu in gpus
    ]
    lost = "".join(lost_line(gpu) for gpu in gpus if gpu["lost"])
    return _csv(header, [row for row in rows if row], options, lost)


def query_compute_apps(state: State, gpus: list[Gpu], options: dict[str, str]) -> Answer:
    asked = [name.strip() for name in options["query-compute-apps"].split(",")]
    for name in asked:
        if name not in APPS:
            return Answer(2, f'Field "{name}" is not a valid field to query.\n')
    model = model_of(state)
    rows = [
        [APPS[name][1](Row(state, gpu, model), client) for name in asked]
        for gpu in gpus
        for client in compute_clients(state, gpu)
    ]
    return _csv([(APPS[name][0], APPS[name][2]) for name in asked], rows, options)


def _csv(
    header: list[tuple[str, str]], rows: list[list[str]], options: dict[str, str], before: str = ""
) -> Answer:
    form = {part.strip() for part in options.get("format", "").split(",")}
    if "csv" not in form:
        return Answer(2, "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.\n")
    units = "nounits" not in form
    lines = []
    if "noheader" not in form:
        lines.append(", ".join(f"{n} [{u}]" if u and units else n for n, u in header))
    for row in rows:
        cells = zip(row, header, strict=True)
        lines.append(
            ", ".join(f"{v} {u}" if u and units and v != UNAVAILABLE else v for v, (_, u) in cells)
        )
    return Answer(0, before + "".join(f"{line}\n" for line in lines))


def lost_line(gpu: Gpu) -> str:
    """What stands where a GPU that fell off the bus would."""
    bus = gpu["pci"].lower()[4:]
    return f"Unable to determine the device handle for GPU{gpu['index']}: {bus}: Unknown Error\n"


def help_query_gpu(_: State, __: list[Gpu], ___: dict[str, str]) -> Answer:
    names: dict[str, list[str]] = {name: [name] for name in FIELDS}
    for alias, name in ALIASES.items():
        names[name].append(alias)
    text = 'List of valid properties to query for the switch "--query-gpu":\n'
    for spellings in names.values():
        text += "\n" + " or ".join(f'"{one}"' for one in spellings) + "\n"
    return Answer(0, text)
