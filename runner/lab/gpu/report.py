"""Reports about GPUs: `-L`, `-q`, `-q -x`, `--version` and the table without arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import kernel
from .mig import compute_name
from .models import Profile
from .query import MEMORY_OF_A_PROCESS, Row, compute_clients, lost_line
from .state import Answer, ComputeInstance, Gpu, Instance, State, model_of

CUDA = {"5": "12.4", "57": "12.8", "58": "13.0", "59": "13.1"}
"""Beginning of a driver version -> CUDA version, the longest that matches."""


def cuda_version(driver: str) -> str:
    return max((item for item in CUDA.items() if driver.startswith(item[0])), default=("", "12.4"))[
        1
    ]


class Device(NamedTuple):
    """A MIG device: a compute instance with its GPU instance."""

    number: int
    instance: Instance
    compute: ComputeInstance
    profile: Profile
    uuid: str


def devices_of(state: State, gpu: Gpu) -> list[Device]:
    """MIG devices in the order of their index: by GPU instance id, then compute instance id."""
    model = model_of(state)
    found: list[Device] = []
    for instance in sorted(gpu["instances"], key=lambda one: one["id"]):
        profile = model.profile(instance["profile"])
        assert profile is not None
        for compute in sorted(instance["compute"], key=lambda one: one["id"]):
            uuid = kernel.mig_uuid(gpu, instance["id"], compute["id"])
            found.append(Device(len(found), instance, compute, profile, uuid))
    return found


def devices(state: State, gpus: list[Gpu], _: dict[str, str]) -> Answer:
    """`nvidia-smi -L`"""
    out = ""
    for gpu in gpus:
        if gpu["lost"]:
            out += lost_line(gpu)
            continue
        out += f"GPU {gpu['index']}: {model_of(state).product} (UUID: {gpu['uuid']})\n"
        for one in devices_of(state, gpu):
            name = compute_name(one.profile, one.compute["slices"])
            out += f"  MIG {name:<11} Device {one.number:2}: (UUID: {one.uuid})\n"
    return Answer(0, out)


def version(state: State, _: list[Gpu], __: dict[str, str]) -> Answer:
    driver = state["modules"]["nvidia"]
    return Answer(
        0,
        f"NVIDIA-SMI version  : {driver}\n"
        f"NVML version        : {'.'.join(driver.split('.')[:2])}\n"
        f"DRIVER version      : {driver}\n"
        f"CUDA Version        : {cuda_version(driver)}\n",
    )


class Entry(NamedTuple):
    """One line of `-q` and the element of `-q -x` that says the same. No value: a section."""

    label: str
    tag: str
    value: str = ""
    children: Sequence[Entry] = ()


def _gpu_entries(state: State, gpu: Gpu) -> list[Entry]:
    row = Row(state, gpu, model_of(state))
    model = row.model
    mode = [row.mode(gpu[key]).strip("[]") for key in ("mig", "mig_pending")]
    hidden = "N/A" if gpu["mig"] else None
    busy = "97 %" if compute_clients(state, gpu) else "0 %"
    bus = gpu["pci"].split(":")
    return [
        Entry("Product Name", "product_name", model.product),
        Entry("Product Brand", "product_brand", model.brand),
        Entry("Product Architecture", "product_architecture", model.architecture),
        Entry("Display Mode", "display_mode", "Enabled"),
        Entry("Display Active", "display_active", "Disabled"),
        Entry("Persistence Mode", "persistence_mode", _able(gpu["persistence"])),
        Entry("Addressing Mode", "addressing_mode", "None"),
        Entry("MIG Mode", "mig_mode", "", [
            Entry("Current", "current_mig", mode[0]),
            Entry("Pending", "pending_mig", mode[1]),
        ]),
        _mig_devices(state, gpu),
        Entry("Accounting Mode", "accounting_mode", "Disabled"),
        Entry("Accounting Mode Buffer Size", "accounting_mode_buffer_size", "4000"),
        Entry("Serial Number", "serial", gpu["serial"]),
        Entry("GPU UUID", "uuid", gpu["uuid"]),
        Entry("Minor Number", "minor_number", str(gpu["index"])),
        Entry("VBIOS Version", "vbios_version", "96.00.A5.00.01"),
        Entry("MultiGPU Board", "multigpu_board", "No"),
        Entry("GPU Part Number", "gpu_part_number", f"{model.device}-895-A1"),
        Entry("GSP Firmware Version", "gsp_firmware_version", state["modules"]["nvidia"]),
        Entry("GPU Virtualization Mode", "gpu_virtualization_mode", "", [
            Entry("Virtualization Mode", "virtualization_mode", "None"),
            Entry("Host VGPU Mode", "host_vgpu_mode", "N/A"),
        ]),
        _recovery(state, gpu),
        Entry("PCI", "pci", "", [
            Entry("Bus", "pci_bus", bus[1]),
            Entry("Device", "pci_device", bus[2].partition(".")[0]),
            Entry("Domain", "pci_domain", bus[0][4:]),
            Entry("Device Id", "pci_device_id", f"{model.device}10DE"),
            Entry("Bus Id", "pci_bus_id", gpu["pci"]),
        ]),
        Entry("Fan Speed", "fan_speed", "N/A"),
        Entry("Performance State", "performance_state", "P0"),
        Entry("FB Memory Usage", "fb_memory_usage", "", _memory(
            model.memory, model.reserved, row.used()
        )),
        Entry("Compute Mode", "compute_mode", "Default"),
        Entry("Utilization", "utilization", "", [
            Entry("Gpu", "gpu_util", hidden or busy),
            Entry("Memory", "memory_util", hidden or "0 %"),
        ]),
        Entry("Ecc Mode", "ecc_mode", "", [
            Entry("Current", "current_ecc", "Enabled"),
            Entry("Pending", "pending_ecc", "Enabled"),
        ]),
        Entry("ECC Errors", "ecc_errors", "", [
            Entry("Volatile", "volatile", "", _ecc()),
            Entry("Aggregate", "aggregate", "", _ecc()),
        ]),
        _remapped(gpu),
        Entry("Temperature", "temperature", "", [Entry("GPU Current Temp", "gpu_temp", "31 C")]),
        Entry("GPU Power Readings", "gpu_power_readings", "", [
            Entry("Power Draw", "power_draw", "69.85 W"),
            Entry("Current Power Limit", "current_power_limit", f"{model.power_limit}.00 W"),
        ]),
        *_fabric(state),
        _processes(state, gpu),
    ]  # fmt: skip


def _fabric(state: State) -> list[Entry]:
    """Hopper and later register with the fabric manager of their NVSwitches."""
    if not state["switches"] or model_of(state).architecture == "Ampere":
        return []
    joined = "nvidia-fabricmanager" in state["clients"]
    return [Entry("Fabric", "fabric", "", [
        Entry("State", "state", "Completed" if joined else "In Progress"),
        Entry("Status", "status", "Success" if joined else "N/A"),
    ])]  # fmt: skip


def _able(on: bool) -> str:
    return "Enabled" if on else "Disabled"


def _recovery(state: State, gpu: Gpu) -> Entry:
    """What the driver asks for; older drivers know of resets only."""
    if state["modules"]["nvidia"] >= "570":
        return Entry("GPU Recovery Action", "gpu_recovery_action", gpu["recovery"])
    drain = gpu["recovery"] == "Drain and Reset"
    required = gpu["recovery"] == "Reset"
    return Entry("GPU Reset Status", "gpu_reset_status", "", [
        Entry("Reset Required", "reset_required", "Yes" if required else "No"),
        Entry("Drain and Reset Recommended", "drain_and_reset_recommended",
              "Yes" if drain else "No"),
    ])  # fmt: skip


def _memory(total: int, reserved: int, used: int) -> list[Entry]:
    return [
        Entry("Total", "total", f"{total} MiB"),
        Entry("Reserved", "reserved", f"{reserved} MiB"),
        Entry("Used", "used", f"{used} MiB"),
        Entry("Free", "free", f"{total - reserved - used} MiB"),
    ]


def _ecc() -> list[Entry]:
    names = ("SRAM Correctable", "SRAM Uncorrectable", "DRAM Correctable", "DRAM Uncorrectable")
    return [Entry(name, name.lower().replace(" ", "_"), "0") for name in names]


def _remapped(gpu: Gpu) -> Entry:
    if gpu["mig"]:
        return Entry("Remapped Rows", "remapped_rows", "N/A")
    return Entry("Remapped Rows", "remapped_rows", "", [
        Entry("Correctable Error", "remapped_row_corr", "0"),
        Entry("Uncorrectable Error", "remapped_row_unc", "0"),
        Entry("Pending", "remapped_row_pending",
              "Yes" if gpu["remap_pending"] else "No"),
        Entry("Remapping Failure Occurred", "remapped_row_failure", "No"),
    ])  # fmt: skip


def _mig_devices(state: State, gpu: Gpu) -> Entry:
    found = devices_of(state, gpu)
    if not found:
        return Entry("MIG Devices", "mig_devices", "None")
    return Entry("MIG Devices", "mig_devices", "", [
        Entry("MIG Device", "mig_device", "", _mig_device(one)) for one in found
    ])  # fmt: skip


def _mig_device(one: Device) -> list[Entry]:
    p = one.profile
    share = p.sm * one.compute["slices"] // p.slices
    return [
        Entry("Index", "index", str(one.number)),
        Entry("GPU Instance ID", "gpu_instance_id", str(one.instance["id"])),
        Entry("Compute Instance ID", "compute_instance_id", str(one.compute["id"])),
        Entry("Device Attributes", "device_attributes", "", [
            Entry("Shared", "shared", "", [
                Entry("Multiprocessor count", "multiprocessor_count", str(share)),
                Entry("Copy Engine count", "copy_engine_count", str(p.copy_engines)),
                Entry("Encoder count", "encoder_count", str(p.encoders)),
                Entry("Decoder count", "decoder_count", str(p.decoders)),
                Entry("OFA count", "ofa_count", str(p.ofa)),
                Entry("JPG count", "jpg_count", str(p.jpeg)),
            ]),
        ]),
        Entry("ECC Errors", "ecc_error_count", "", [
            Entry("Volatile", "volatile_count", "", [
                Entry("SRAM Uncorrectable", "sram_uncorrectable", "0"),
            ]),
        ]),
        Entry("FB Memory Usage", "fb_memory_usage", "", _memory(p.memory, 0, 9)),
    ]  # fmt: skip


def _processes(state: State, gpu: Gpu) -> Entry:
    rows = [
        Entry("", "process_info", "", [
            Entry("GPU instance ID", "gpu_instance_id", gi),
            Entry("Compute instance ID", "compute_instance_id", ci),
            Entry("Process ID", "pid", str(pid)),
            Entry("Type", "type", "C"),
            Entry("Name", "process_name", name),
            Entry("Used GPU Memory", "used_memory", f"{MEMORY_OF_A_PROCESS} MiB"),
        ])
        for gi, ci, pid, name in process_rows(state, gpu)
    ]  # fmt: skip
    return Entry("Processes", "processes", "" if rows else "None", rows)


def process_rows(state: State, gpu: Gpu) -> list[tuple[str, str, int, str]]:
    """GPU instance, compute instance, pid and name of each compute process."""
    rows = []
    for client in compute_clients(state, gpu):
        ids = ("N/A", "N/A")
        for one in devices_of(state, gpu):
            if one.uuid in client["gpus"]:
                ids = (str(one.instance["id"]), str(one.compute["id"]))
        rows.append((*ids, client["pid"], client["name"]))
    return rows


def everything(state: State, gpus: list[Gpu], options: dict[str, str]) -> Answer:
    """`nvidia-smi -q` and `-q -x`"""
    driver = state["modules"]["nvidia"]
    head = [
        Entry("Timestamp", "timestamp", "Tue Jul 14 09:00:27 2026"),
        Entry("Driver Version", "driver_version", driver),
        Entry("CUDA Version", "cuda_version", cuda_version(driver)),
        Entry("Attached GPUs", "attached_gpus", str(len(state["gpus"]))),
    ]
    lost = "".join(lost_line(gpu) for gpu in gpus if gpu["lost"])
    present = [gpu for gpu in gpus if not gpu["lost"]]
    if "xml" in options:
        body = "".join(
            f'\t<gpu id="{gpu["pci"]}">\n{_xml(_gpu_entries(state, gpu), 2)}\t</gpu>\n\n'
            for gpu in present
        )
        return Answer(
            0,
            f'{lost}<?xml version="1.0" ?>\n'
            '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
            f"<nvidia_smi_log>\n{_xml(head, 1)}{body}</nvidia_smi_log>\n",
        )
    text = "\n==============NVSMI LOG==============\n\n" + _text(head[:3], 0) + "\n"
    text += _text(head[3:], 0)
    for gpu in present:
        text += f"GPU {gpu['pci']}\n{_text(_gpu_entries(state, gpu), 1)}\n"
    return Answer(0, lost + text)


def _xml(entries: Sequence[Entry], depth: int) -> str:
    pad = "\t" * depth
    return "".join(
        f"{pad}<{e.tag}>\n{_xml(e.children, depth + 1)}{pad}</{e.tag}>\n"
        if e.children
        else f"{pad}<{e.tag}>{escape(e.value)}</{e.tag}>\n"
        for e in entries
    )


def escape(text: str) -> str:
    """Text for XML. (xml.sax.saxutils does it too, at 40 ms of imports for every nvidia-smi.)"""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_FLAT = ("mig_devices", "process_info")
"""Elements `-q` shows only through what is in them."""


def _text(entries: Sequence[Entry], depth: int) -> str:
    out = ""
    pad = "    " * depth
    for entry in entries:
        if entry.tag in _FLAT:
            if entry.children or entry.value:
                out += _text(entry.children, depth)
        elif entry.children:
            out += f"{pad}{entry.label}\n{_text(entry.children, depth + 1)}"
        else:
            out += f"{pad + entry.label:<55}: {entry.value}\n"
    return out
