"""The facts `gpus` and `driver`, read from real reports and from the simulator's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runner.facts.base import load_fact, plain
from runner.facts.gpu_models import FAMILIES, family_of
from runner.facts.nvidia import (
    Driver,
    Instance,
    Process,
    parse_driver,
    parse_gpus,
    parse_instances,
    value_of,
)
from runner.hosts.script import Result
from runner.lab.gpu import add_client, lose_gpu
from runner.lab.gpu.models import MODELS
from runner.modules.base import Unknown
from tests.gpu.transcripts import Node, session, transcript


def report(name: str) -> Result:
    return Result(0, transcript(name).encode())


def look(node: Node) -> Result:
    """What the probe's shell prints on a node."""
    answer = node.smi("-q -x")
    if answer.rc:
        return Result(answer.rc, answer.out.encode())
    text = answer.out
    if "<current_mig>Enabled" in text:
        text += f"== mig -lgi\n{node.smi('mig -lgi').out}== mig -lci\n{node.smi('mig -lci').out}"
    return Result(0, text.encode())


class TestGpus:
    def test_a_gpu_without_mig(self) -> None:
        (gpu,) = parse_gpus(report("smi-q-x.tesla-t4.xml.txt"))
        assert (gpu.index, gpu.product, gpu.device) == (0, "Tesla T4", "1EB8")
        assert gpu.uuid == "GPU-d37e67a5-91dd-3774-a5cb-99096249601a"
        assert (gpu.pci, gpu.memory) == ("00000000:00:1E.0", 15360)
        assert gpu.mig_capable is False
        assert gpu.mig_mode_current is None and gpu.mig_mode_pending is None
        assert gpu.processes == (Process(675, "/usr/lib/xorg/Xorg"), Process(5762, "python"))

    def test_a_gpu_of_another_driver(self) -> None:
        (gpu,) = parse_gpus(report("smi-q-x.a10g.xml.txt"))
        assert (gpu.product, gpu.mig_capable) == ("NVIDIA A10G", False)

    def test_one_gpu_of_four_in_the_report_is_unknown(self) -> None:
        with pytest.raises(Unknown, match="says 4 attached GPUs but shows 1"):
            parse_gpus(report("smi-q-x.a100-sxm4-v12.xml.txt"))

    def test_instances_are_joined(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80", count=2)
        node.smi("-i 1 -mig 1")
        node.smi("mig -cgi 3g.40gb,1g.10gb -C")
        node.smi("mig -cgi 1g.10gb")
        whole, cut = parse_gpus(look(node))
        assert (whole.mig_capable, whole.mig_mode_current, whole.instances) == (True, False, ())
        assert cut.instances == (
            Instance("1g.10gb", "0:1", 7, ("1g.10gb",)),
            Instance("1g.10gb", "1:1", 8, ()),
            Instance("3g.40gb", "4:4", 2, ("3g.40gb",)),
        )
        assert [one.whole for one in cut.instances] == [True, False, True]

    def test_mig_on_without_instances(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        (gpu,) = parse_gpus(look(node))
        assert (gpu.mig_mode_current, gpu.instances) == (True, ())

    def test_pending_mode(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-80")
        add_client(tmp_path, "pod", 31, "python", [0])
        node.smi("-mig 1")
        (gpu,) = parse_gpus(look(node))
        assert (gpu.mig_mode_current, gpu.mig_mode_pending) == (False, True)
        assert gpu.processes == (Process(31, "python"),)

    def test_no_driver_is_no_error(self, tmp_path: Path) -> None:
        gpus = parse_gpus(Result(127))
        assert (tuple(gpus), gpus.reason) == ((), "nvidia-smi is not installed")
        node = Node(tmp_path, "H100-80")
        node.run("rmmod nvidia_uvm nvidia_modeset nvidia")
        gpus = parse_gpus(look(node))
        assert (tuple(gpus), gpus.reason) == ((), "the NVIDIA driver is not loaded")

    def test_library_mismatch_is_unknown(self) -> None:
        with pytest.raises(Unknown, match="Driver/library version mismatch"):
            parse_gpus(Result(18, b"Failed to initialize NVML: Driver/library version mismatch\n"))

    def test_gpu_off_the_bus_is_unknown(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80", count=2)
        lose_gpu(tmp_path, 1)
        with pytest.raises(Unknown, match="Unable to determine the device handle for GPU1"):
            parse_gpus(look(node))

    @pytest.mark.parametrize(
        "table",
        ["", "No MIG-enabled devices found.\n", "|   0  MIG 1g.10gb      what is this     |\n"],
    )
    def test_a_list_that_cannot_be_read_is_unknown(self, table: str, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        text = node.smi("-q -x").out + f"== mig -lgi\n{table}== mig -lci\n"
        with pytest.raises(Unknown, match="mig -lgi could not be understood"):
            parse_gpus(Result(0, text.encode()))

    def test_truncated_output_is_unknown(self, tmp_path: Path) -> None:
        whole = look(Node(tmp_path, "H100-80"))
        with pytest.raises(Unknown):
            parse_gpus(Result(0, whole.stdout, truncated=True))
        with pytest.raises(Unknown):
            parse_gpus(Result(0, whole.stdout[:500]))

    @pytest.mark.parametrize(
        "text", ["[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "", None, " [n/a] "]
    )
    def test_every_way_to_say_nothing(self, text: str | None) -> None:
        assert value_of(text) is None

    def test_real_tables_of_old_and_new_drivers(self) -> None:
        for name in ("mig-session.h100-80-7x1g.txt", "mig-session.a100-40-3g3g.txt"):
            tables = [out for command, out in session(name) if command.endswith("-lgi")]
            assert [len(parse_instances(table, "")[0]) for table in tables] in ([7], [2])
        (compute,) = (
            out
            for command, out in session("mig-session.h100-80-7x1g.txt")
            if command.endswith("-lci")
        )
        (listed,) = (
            out
            for command, out in session("mig-session.h100-80-7x1g.txt")
            if command.endswith("-lgi")
        )
        assert all(one.whole for one in parse_instances(listed, compute)[0])

    def test_export_is_plain_data(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        (gpu,) = load_fact("gpus").export(parse_gpus(look(node)))
        assert gpu["mig_capable"] is True and gpu["instances"] == []


class TestDriver:
    @staticmethod
    def read(installed: str, loaded: str, rc: int, answer: str = "") -> Driver:
        terms = "Dual MIT/GPL" if "Open" in loaded else "NVIDIA" if installed else ""
        text = f"installed={installed}\nlicense={terms}\nloaded={loaded}\nrc={rc}\n{answer}\n"
        return parse_driver(Result(0, text.encode()))

    LOADED = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024"
    )
    OPEN = (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  "
        "(dvs-builder@U16)  Thu Jan 23 22:50:36 UTC 2025"
    )

    def test_working(self) -> None:
        assert self.read("550.90.07", self.LOADED, 0, "550.90.07") == Driver(
            "550.90.07", "550.90.07", False, "", "proprietary", "proprietary"
        )
        assert self.read("570.86.15", self.OPEN, 0, "570.86.15") == Driver(
            "570.86.15", "570.86.15", False, "", "open", "open"
        )

    def test_loaded_version_from_nvidia_smi_where_proc_is_hidden(self) -> None:
        assert self.read("550.90.07", "", 0, "550.90.07").loaded == "550.90.07"

    def test_upgraded_and_not_yet_reloaded(self) -> None:
        said = "Failed to initialize NVML: Driver/library version mismatch\nNVML library: 570.86"
        driver = self.read("570.86.15", self.LOADED, 18, said)
        assert (driver.installed, driver.loaded, driver.mismatch) == (
            "570.86.15", "550.90.07", True,
        )  # fmt: skip
        assert "version mismatch" in driver.reason

    def test_none(self) -> None:
        assert self.read("", "", 127) == Driver(reason="no NVIDIA driver is installed")

    def test_not_loaded(self) -> None:
        assert self.read("550.90.07", "", 9).reason == "the NVIDIA driver is not loaded"

    def test_other_failures_are_told(self) -> None:
        assert "exit 255" in self.read("550.90.07", self.LOADED, 255, "Unknown Error").reason

    def test_garbage_is_unknown(self) -> None:
        with pytest.raises(Unknown):
            parse_driver(Result(0, b"hello\n"))

    def test_export(self) -> None:
        assert plain(Driver("550.90.07", "550.90.07", False))["installed"] == "550.90.07"


class TestModels:
    @pytest.mark.parametrize("key", [key for key, model in MODELS.items() if model.profiles])
    def test_tables_agree_with_the_cards(self, key: str) -> None:
        model = MODELS[key]
        family = family_of(model.device, model.product)
        assert {(p.name, p.size, p.starts, p.limit) for p in family.profiles} == {
            (p.name, p.size, p.starts, p.limit) for p in model.profiles
        }

    def test_tables_agree_with_the_transcripts(self) -> None:
        for listing, device in (
            ("mig-lgip.a100-40.txt", "20B0"),
            ("mig-lgip.h100-80.txt", "2330"),
            ("mig-lgip.h200.partial.txt", "2335"),
        ):
            rows = re.findall(r"MIG (\S+) +\d+ +\d+/(\d+)", transcript(listing))
            ours = {(p.name, str(p.limit)) for p in family_of(device, "").profiles}
            assert set(rows) <= ours

    def test_a_device_belongs_to_one_family(self) -> None:
        devices = [device for family in FAMILIES for device in family.devices]
        assert len(devices) == len(set(devices))

    def test_an_unknown_device_is_unknown(self) -> None:
        with pytest.raises(Unknown, match="10de:abcd"):
            family_of("ABCD", "NVIDIA X1")
