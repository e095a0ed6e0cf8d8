"""The simulator keeps the rules of the hardware: modes, resets, reloads, reboots, clients."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import runner.lab.gpu as simulator
from runner.lab.gpu import add_client, add_xid, allocatable, create, lose_gpu, remove_client
from runner.lab.gpu.commands import run
from runner.lab.gpu.models import MODELS
from tests.gpu.transcripts import Node, refusal

DRIVERS = "errors.driver-and-query.txt"
MODES = "--query-gpu=mig.mode.current,mig.mode.pending --format=csv,noheader"


def modes(node: Node) -> list[str]:
    return node.smi(MODES).out.splitlines()


def with_instances(root: Path, model: str) -> Node:
    node = Node(root, model)
    node.smi("-mig 1")
    assert node.smi("mig -cgi 3g -C").rc == 2
    assert node.smi("mig -cgi 9 -C").rc == 0
    return node


class TestAmpere:
    def test_mode_changes_at_once_when_nobody_has_the_gpu_open(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40")
        node.smi("-mig 1")
        assert modes(node) == ["Enabled, Enabled"]

    @pytest.mark.parametrize("name", ["python", "nvidia-device-plugin", "dcgm-exporter"])
    def test_any_client_leaves_the_mode_pending(self, name: str, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40")
        add_client(tmp_path, "it", 7, name, [0])
        assert node.smi("-mig 1").rc == 0
        assert modes(node) == ["Disabled, Enabled"]
        assert node.smi("--gpu-reset").rc == 255
        assert modes(node) == ["Disabled, Enabled"]
        remove_client(tmp_path, "it")
        assert node.smi("--gpu-reset").rc == 0
        assert modes(node) == ["Enabled, Enabled"]

    def test_a_pending_mode_can_be_taken_back(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40")
        add_client(tmp_path, "it", 7, "python", [0])
        node.smi("-mig 1")
        node.smi("-mig 0")
        assert modes(node) == ["Disabled, Disabled"]

    def test_mode_outlives_boot_and_reload_but_no_instance_does(self, tmp_path: Path) -> None:
        for way in ("boot", "reload"):
            node = with_instances(tmp_path / way, "A100-80")
            restart(node, way)
            assert modes(node) == ["Enabled, Enabled"]
            assert node.smi("mig -lgi").rc == 6

    def test_a_boot_makes_a_pending_mode_effective(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40")
        add_client(tmp_path, "it", 7, "python", [0])
        node.smi("-mig 1")
        node.run("boot")
        assert modes(node) == ["Enabled, Enabled"]

    def test_warnings_are_errors_only_on_request(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40")
        add_client(tmp_path, "it", 7, "python", [0])
        assert (node.smi("-mig 1").rc, node.smi("-mig 1 -eow").rc) == (0, 255)


class TestHopper:
    def test_monitors_do_not_block_the_mode(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        add_client(tmp_path, "it", 7, "nvidia-device-plugin", [0])
        node.smi("-mig 1")
        assert modes(node) == ["Enabled, Enabled"]

    def test_compute_blocks_the_mode_and_nothing_is_pending(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H200-141")
        add_client(tmp_path, "it", 7, "python", [0])
        assert node.smi("-mig 1").rc == 0
        assert modes(node) == ["Disabled, Disabled"]

    def test_mode_and_instances_go_with_the_driver(self, tmp_path: Path) -> None:
        for way in ("boot", "reload"):
            node = with_instances(tmp_path / way, "H100-80")
            restart(node, way)
            assert modes(node) == ["Disabled, Disabled"]

    def test_instances_do_not_survive_a_reset(self, tmp_path: Path) -> None:
        node = with_instances(tmp_path, "H100-80")
        assert node.smi("--gpu-reset").rc == 0
        assert node.smi("mig -lgi").rc == 6


def restart(node: Node, way: str) -> None:
    if way == "boot":
        assert node.run("boot").rc == 0
        return
    assert node.run("modprobe -r nvidia_uvm nvidia_modeset nvidia").rc == 0
    assert node.run("modprobe nvidia").rc == 0


def test_mode_stays_while_instances_exist(tmp_path: Path) -> None:
    node = with_instances(tmp_path, "H100-80")
    assert "In use by another client" in node.smi("-mig 0").out
    assert modes(node) == ["Enabled, Enabled"]


def test_only_the_chosen_gpus_change(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80", count=4)
    uuid = node.smi("-i 3 --query-gpu=uuid --format=csv,noheader").out.strip()
    node.smi(f"-i 1,{uuid} -mig 1")
    assert modes(node) == ["Disabled, Disabled", "Enabled, Enabled"] * 2
    assert node.smi("-i 9 -mig 1").rc == 6


def test_a_held_mig_device_blocks_its_own_instance_only(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    node.smi("-mig 1")
    node.smi("mig -cgi 9,14 -C")
    device = node.smi("-L").out.split("UUID: MIG-")[1].split(")")[0]
    add_client(tmp_path, "pod", 7, "python", [f"MIG-{device}"])
    assert node.smi("mig -gi 2 -dci").rc == 19
    assert node.smi("mig -gi 3 -dci").rc == 0
    assert node.smi("mig -gi 3 -dgi").rc == 0
    assert node.smi("mig -cgi 19 -C").rc == 0


class TestDriver:
    def test_no_driver_on_disk(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80", driver="")
        assert node.smi("-L").rc == 127
        assert node.run("modprobe nvidia").rc == 1
        assert node.run("modinfo nvidia").rc == 1

    def test_module_not_loaded(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.run("rmmod nvidia_uvm nvidia_modeset nvidia")
        answer = node.smi("-L")
        assert (answer.out, answer.rc) == (refusal("driver not loaded", DRIVERS), 9)
        assert not (tmp_path / "proc/driver/nvidia").exists()

    def test_another_version_on_disk_than_loaded(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        (tmp_path / "usr/lib/gpu-simulator/version").write_text("580.173.02\n")
        (tmp_path / "usr/lib/gpu-simulator/module").write_text("580.173.02 open\n")
        answer = node.smi("-L")
        assert (answer.out, answer.rc) == (refusal("library/kernel mismatch", DRIVERS), 18)
        assert node.run("modinfo -F version nvidia").out == "580.173.02\n"
        node.run("boot")
        assert node.smi("-L").rc == 0
        assert (
            "Open Kernel Module for x86_64  580.173.02"
            in (tmp_path / "proc/driver/nvidia/version").read_text()
        )

    def test_module_in_use(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        refused = node.run("rmmod nvidia")
        assert refused.err in refusal("module unload refused", DRIVERS) and refused.rc == 1
        node.run("modprobe -r nvidia_modeset nvidia_uvm")
        add_client(tmp_path, "exporter", 7, "dcgm-exporter", [0])
        refused = node.run("modprobe -r nvidia")
        assert refused.err in refusal("module unload refused", DRIVERS) and refused.rc == 1
        assert "nvidia " in node.run("lsmod").out

    def test_other_modules_are_let_through(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "T4")
        assert node.run("modprobe overlay").rc == 0
        assert "overlay" in node.run("lsmod").out
        assert node.run("rmmod overlay").rc == 0


def test_a_gpu_off_the_bus_is_missing_everywhere_but_in_lspci(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80", count=3)
    lose_gpu(tmp_path, 1)
    out = node.smi("--query-gpu=index --format=csv,noheader").out.splitlines()
    assert out == [
        "Unable to determine the device handle for GPU1: 0000:02:00.0: Unknown Error", "0", "2",
    ]  # fmt: skip
    assert "Xid (PCI:0000:02:00): 79" in node.run("dmesg").out
    assert [line[-9:] for line in node.run("lspci -Dnnd 10de:").out.splitlines()] == [
        " (rev a1)", " (rev ff)", " (rev a1)",
    ]  # fmt: skip
    assert node.smi("--gpu-reset -i 1").rc == 15
    node.run("boot")
    assert len(node.smi("-L").out.splitlines()) == 3


def test_xids_reach_the_kernel_log(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    add_xid(tmp_path, 0, 63, "pid=1896, Row Remapper: New row marked for remapping")
    assert "NVRM: Xid (PCI:0000:01:00): 63, pid=1896, Row Remapper" in node.run("dmesg").out


def test_fuser_names_who_has_the_gpu_open(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80", count=2)
    assert node.run("fuser -v /dev/nvidia*").rc == 1
    add_client(tmp_path, "pod", 1484778, "nsys", [1])
    answer = node.run("fuser -v /dev/nvidia[0-9]*")
    assert "/dev/nvidia1:" in answer.err and "1484778 F...m nsys" in answer.err


class TestAllocatable:
    """What NVIDIA's device plugin offers."""

    @pytest.mark.parametrize("strategy", ["none", "single", "mixed"])
    def test_whole_gpus(self, strategy: str, tmp_path: Path) -> None:
        Node(tmp_path, "H100-80", count=4)
        assert allocatable(tmp_path, strategy) == {"nvidia.com/gpu": 4}

    def test_single_counts_instances(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80", count=2)
        node.smi("-mig 1")
        node.smi("mig -cgi 19,19,19,19,19,19,19 -C")
        assert allocatable(tmp_path) == {"nvidia.com/gpu": 14}
        assert allocatable(tmp_path, "mixed") == {"nvidia.com/gpu": 0, "nvidia.com/mig-1g.10gb": 14}
        assert allocatable(tmp_path, "none") == {"nvidia.com/gpu": 2}

    def test_single_offers_nothing_where_gpus_differ(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80", count=2)
        node.smi("-i 0 -mig 1")
        node.smi("mig -cgi 19 -C")
        assert allocatable(tmp_path) == {"nvidia.com/gpu": 0}
        node.smi("-i 1 -mig 1")
        node.smi("mig -i 1 -cgi 9 -C")
        assert allocatable(tmp_path) == {"nvidia.com/gpu": 0}
        assert allocatable(tmp_path, "mixed") == {
            "nvidia.com/gpu": 0,
            "nvidia.com/mig-1g.10gb": 1,
            "nvidia.com/mig-3g.40gb": 1,
        }

    def test_media_extensions_become_a_dot(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        node.smi("mig -cgi 20 -C")
        assert "nvidia.com/mig-1g.10gb.me" in allocatable(tmp_path, "mixed")

    def test_instance_without_compute_instance_is_no_device(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        node.smi("mig -cgi 19")
        assert allocatable(tmp_path) == {"nvidia.com/gpu": 0}

    def test_nothing_without_a_working_driver(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.run("rmmod nvidia_uvm nvidia_modeset nvidia")
        assert allocatable(tmp_path) == {"nvidia.com/gpu": 0}


class TestState:
    def test_a_recreated_node_has_the_same_gpus_and_another_node_others(
        self, tmp_path: Path
    ) -> None:
        first = Node(tmp_path / "gpu1/root", "H100-80", 2).smi("-L").out
        again = Node(tmp_path / "gpu1/root", "H100-80", 2).smi("-L").out
        other = Node(tmp_path / "gpu2/root", "H100-80", 2).smi("-L").out
        assert first == again
        assert not set(first.splitlines()) & set(other.splitlines())

    @pytest.mark.parametrize("model", MODELS)
    def test_every_model_reports(self, model: str, tmp_path: Path) -> None:
        node = Node(tmp_path, model, count=2)
        for request in ("", "-L", "-q", "-q -x", "--help-query-gpu", "--version", "-pm 0"):
            assert node.smi(request).rc == 0

    def test_unknown_model(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="unknown GPU model 'V100'; known are A100-40"):
            create(tmp_path, "V100", 1, "550.90.07")

    def test_no_state(self, tmp_path: Path) -> None:
        answer = run("nvidia-smi", ["-L"], tmp_path)
        assert answer.rc == 1 and "no simulated GPUs here" in answer.err

    def test_changes_at_the_same_time_are_all_kept(self, tmp_path: Path) -> None:
        Node(tmp_path, "H100-80")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: add_client(tmp_path, f"c{n}", n, "python", [0]), range(40)))
        asked = "--query-compute-apps=pid --format=csv,noheader"
        out = run("nvidia-smi", asked.split(), tmp_path).out
        assert sorted(map(int, out.split())) == list(range(40))

    def test_runs_as_a_program_with_nothing_but_the_standard_library(self, tmp_path: Path) -> None:
        Node(tmp_path, "A100-40")
        done = subprocess.run(
            [sys.executable, "-S", "-m", "gpu", "nvidia-smi", "-L"],
            env={
                "PYTHONPATH": str(Path(simulator.__file__).parent.parent),
                "GPU_SIMULATOR_ROOT": str(tmp_path),
            },
            cwd=os.sep,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-")
