"""The planned sh run against the simulator: what it does, and what it says when it cannot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.facts.nvidia import DRIVER, GPUS_KEY, Driver, Gpus
from runner.hosts.script import Command
from runner.lab.gpu import add_client, remove_client
from runner.lab.gpu.commands import run
from runner.lab.gpu.state import changing
from runner.modules.base import Change
from tests.mig.simulated import SimulatedHost


def only_change(host: SimulatedHost, **arguments: Any) -> Change:
    (change,) = host.plan(**arguments).changes
    return change


def profiles(host: SimulatedHost) -> list[Counter[str]]:
    gpus: Gpus = host.observe()[GPUS_KEY]
    return [Counter(one.profile for one in gpu.instances if one.whole) for gpu in gpus]


@pytest.mark.parametrize("model", ["A100-40", "H200-141"])
def test_cut_cut_again_and_off(model: str, tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, model, 2)
    for geometry in ("7x1g", "1x3g,4x1g", "off"):
        assert host.enact(only_change(host, geometry=geometry)) is None
        assert host.plan(geometry=geometry).changes == ()
    assert profiles(host) == [Counter(), Counter()]


def test_undo_is_the_way_back(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "A100-80", 2)
    host.smi("-i", "1", "-mig", "1")
    host.smi("mig", "-cgi", "1g.10gb,3g.40gb", "-C")
    before = profiles(host)
    change = only_change(host, geometry="2x3g")
    assert host.enact(change) is None
    assert host.commands(change.undo) is None
    assert profiles(host) == before
    modes = [gpu.mig_mode_current for gpu in host.observe()[GPUS_KEY]]
    assert modes == [False, True]


def test_undo_of_a_change_that_never_began(tmp_path: Path) -> None:
    host = SimulatedHost(tmp_path, "H100-80")
    change = only_change(host, geometry="7x1g")
    assert host.commands(change.undo) is None
    assert host.plan(geometry="off").changes == ()


class TestGuard:
    def test_holds_while_nothing_changed(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80", 2)
        host.smi("-i", "0", "-mig", "1")
        host.smi("mig", "-cgi", "3g.40gb,1g.10gb", "-C")
        change = only_change(host, geometry="7x1g")
        add_client(host.root, "pod", 7, "python", [1])
        assert host.sh(change.guard).rc == 0

    @pytest.mark.parametrize(
        "drift",
        [
            ("-i", "1", "-mig", "1"),
            ("mig", "-i", "0", "-cgi", "1g.10gb", "-C"),
        ],
    )
    def test_a_change_by_somebody_else_is_seen_and_shown(
        self, drift: tuple[str, ...], tmp_path: Path
    ) -> None:
        host = SimulatedHost(tmp_path, "H100-80", 2)
        host.smi("-i", "0", "-mig", "1")
        change = only_change(host, geometry="7x1g")
        host.smi(*drift)
        result = host.sh(change.guard)
        assert result.rc == 1 and "MIG state is now:" in result.error_text

    def test_a_gpu_the_change_does_not_touch_may_change(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80", 2)
        change = only_change(host, geometry="7x1g", gpus=0)
        host.smi("-i", "1", "-mig", "1")
        assert host.sh(change.guard).rc == 0

    def test_no_driver_any_more(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80")
        change = only_change(host, geometry="7x1g")
        (host.root / "usr/lib/gpu-simulator/version").write_text("580.173.02\n")
        (host.root / "usr/lib/gpu-simulator/module").write_text("580.173.02 open\n")
        assert host.sh(change.guard).rc == 1


def test_two_tasks_of_one_plan_on_the_same_gpu(tmp_path: Path) -> None:
    """The second is planned on what the first will have made."""
    host = SimulatedHost(tmp_path, "H100-80")
    observed = host.observe()
    planned = []
    for geometry in ("1x3g,4x1g", "2x3g", "7x1g"):
        (change,) = host.plan(observed, geometry=geometry).changes
        observed = {**observed, **change.overlay}
        planned.append(change)
    for change in planned:
        assert host.enact(change) is None
    assert profiles(host) == [Counter({"1g.10gb": 7})]


class TestFailuresAreNamed:
    def test_ampere_and_a_plugin_that_holds_the_gpu(self, tmp_path: Path) -> None:
        """nvidia-smi exits with 0; a pending mode would come at the next reboot."""
        host = SimulatedHost(tmp_path, "A100-40", 2)
        add_client(host.root, "plugin", 4711, "nvidia-device-plugin", [1])
        failed = host.enact(only_change(host, geometry="7x1g"))
        assert failed is not None
        said = failed.error_text
        uuid = host.observe()[GPUS_KEY][1].uuid
        assert f"MIG mode is not Enabled on {uuid}" in said
        assert "In use by another client" in said
        held = [line for line in said.splitlines() if line.startswith("held by: ")]
        assert len(held) == 1  # A monitor is no compute process: only fuser finds it.
        assert held[0].split()[-3:] == ["4711", "F...m", "nvidia-device-plugin"]
        (gpu0, gpu1) = host.observe()[GPUS_KEY]
        assert (gpu0.mig_mode_current, gpu1.mig_mode_current) == (True, False)
        assert gpu1.mig_mode_pending is False
        remove_client(host.root, "plugin")
        assert host.enact(only_change(host, geometry="7x1g")) is None

    def test_only_gpus_with_a_pending_mode_are_reset(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "A100-40", 2)
        host.smi("-i", "0", "-mig", "1")
        host.smi("mig", "-cgi", "3g.20gb", "-C")
        with changing(host.root) as state:
            state["gpus"][1]["mig_pending"] = True
        assert host.enact(only_change(host, geometry="1x3g")) is None
        assert profiles(host) == [Counter({"3g.20gb": 1})] * 2

    def test_hopper_and_a_process_outside_kubernetes(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80")
        add_client(host.root, "shell", 815, "/usr/bin/python3", [0])
        failed = host.enact(only_change(host, geometry="7x1g"))
        assert failed is not None
        assert "Unable to enable MIG Mode" in failed.error_text
        assert "815, /usr/bin/python3" in failed.error_text

    def test_an_instance_in_use(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80")
        host.smi("-mig", "1")
        host.smi("mig", "-cgi", "3g.40gb", "-C")
        device = host.smi("-L").text.split("UUID: MIG-")[1].split(")")[0]
        add_client(host.root, "pod", 815, "train", [f"MIG-{device}"])
        failed = host.enact(only_change(host, geometry="7x1g"))
        assert failed is not None
        assert "still has MIG instances: 3g.40gb@4:4 (to stay: none)" in failed.error_text
        assert "815, train" in failed.error_text

    def test_a_list_created_in_part_is_destroyed_again(self, tmp_path: Path) -> None:
        """The driver refuses the second of two, as if another card were smaller than it is."""
        host = SimulatedHost(tmp_path, "H100-80")
        host.smi("-mig", "1")
        host.smi("mig", "-cgi", "1g.10gb:0", "-C")
        change = only_change(host, geometry="1x3g,2x1g")
        broken = [
            replace(command, shell=command.shell.replace("1g.10gb@1:1", "1g.10gb@7:1"))
            for command in change.do
            if isinstance(command, Command)
        ]
        failed = host.commands(broken)
        assert failed is not None
        assert "MIG instances could not be created: 3g.40gb@4:4 1g.10gb@7:1" in failed.error_text
        assert "Insufficient Resources" in failed.error_text
        assert "it has now: 1g.10gb@0:1" in failed.error_text
        assert profiles(host) == [Counter({"1g.10gb": 1})]
        assert host.commands(change.do) is None

    def test_an_instance_that_somebody_else_has_made_meanwhile(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80")
        host.smi("-mig", "1")
        change = only_change(host, geometry="7x1g")
        host.smi("mig", "-cgi", "1g.10gb+me", "-C")  # after the guard
        failed = host.commands(change.do)
        assert failed is not None
        assert (
            "has MIG instances that are not wanted and not known: 1g.10gb+me@6:1"
            in failed.error_text
        )
        assert profiles(host) == [Counter({"1g.10gb+me": 1})]

    def test_carried_out_again_after_it_was_killed_half_way(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80")
        host.smi("-mig", "1")
        host.smi("mig", "-cgi", "2g.20gb:0,1g.10gb:6", "-C")
        change = only_change(host, geometry="2x3g")
        host.smi("mig", "-gi", "3", "-dci")
        host.smi("mig", "-gi", "3", "-dgi")
        host.smi("mig", "-cgi", "3g.40gb:0", "-C")
        assert host.commands(change.undo) is None
        assert profiles(host) == [Counter({"2g.20gb": 1, "1g.10gb": 1})]
        host.smi("mig", "-gi", "3", "-dci")
        host.smi("mig", "-gi", "3", "-dgi")
        assert host.commands(change.do) is None
        assert profiles(host) == [Counter({"3g.40gb": 2})]

    def test_a_reset_that_is_not_exposed(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "A100-40")
        with changing(host.root) as state:
            state["gpus"][0]["resettable"] = False
        failed = host.enact(only_change(host, geometry="7x1g"))
        assert failed is not None
        assert "Run nvidia-smi -mig 1, reboot the host and apply again" in failed.error_text

    def test_the_driver_went_away(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80")
        host.smi("-mig", "1")
        change = only_change(host, geometry="7x1g")
        (host.root / "usr/lib/gpu-simulator/version").write_text("580.173.02\n")
        (host.root / "usr/lib/gpu-simulator/module").write_text("580.173.02 open\n")
        failed = host.commands(change.do)
        assert failed is not None
        assert "Driver/library version mismatch" in failed.error_text


class TestDriverProbe:
    def read(self, host: SimulatedHost) -> Driver:
        assert DRIVER.probe is not None
        driver: Driver = DRIVER.probe.parse(host.sh(DRIVER.probe.shell))
        return driver

    def test_working(self, tmp_path: Path) -> None:
        driver = self.read(SimulatedHost(tmp_path, "T4"))
        assert (driver.installed, driver.reason) == ("550.90.07", "")

    def test_not_loaded(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "T4")
        with changing(host.root) as state:
            state["modules"] = {}
        assert self.read(host).reason == "the NVIDIA driver is not loaded"
        assert host.observe()[GPUS_KEY].reason == "the NVIDIA driver is not loaded"

    def test_upgraded_and_not_reloaded(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "T4")
        (host.root / "usr/lib/gpu-simulator/version").write_text("580.173.02\n")
        (host.root / "usr/lib/gpu-simulator/module").write_text("580.173.02 open\n")
        driver = self.read(host)
        assert (driver.installed, driver.mismatch) == ("580.173.02", True)

    def test_nothing_installed(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "T4")
        for tool in ("nvidia-smi", "modinfo"):
            (host.bin / tool).unlink()
        (host.bin / "modinfo").write_text("#!/bin/sh\nexit 1\n")
        assert self.read(host).reason == "no NVIDIA driver is installed"
        assert host.observe()[GPUS_KEY].reason == "nvidia-smi is not installed"


class TestModeByReboot:
    def test_where_gpus_cannot_be_reset(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "A100-40", 2)
        with changing(host.root) as state:
            for gpu in state["gpus"]:
                gpu["resettable"] = False
        assert host.enact(only_change(host, geometry="7x1g", pending=True)) is None
        assert host.plan(geometry="7x1g", pending=True).changes == ()
        modes = [(g.mig_mode_current, g.mig_mode_pending) for g in host.observe()[GPUS_KEY]]
        assert modes == [(False, True)] * 2
        run("boot", [], host.root)
        assert host.enact(only_change(host, geometry="7x1g")) is None
        assert profiles(host) == [Counter({"1g.5gb": 7})] * 2

    @pytest.mark.parametrize("geometry", ["7x1g", "off"])
    def test_planned_in_one_with_what_comes_after_the_boot(
        self, geometry: str, tmp_path: Path
    ) -> None:
        host = SimulatedHost(tmp_path, "A100-40")
        if geometry == "off":
            host.smi("-mig", "1")
            host.smi("mig", "-cgi", "3g.20gb", "-C")
        with changing(host.root) as state:
            state["gpus"][0]["resettable"] = False
        observed = host.observe()
        (first,) = host.plan(observed, geometry=geometry, pending=True).changes
        (second,) = host.plan({**observed, **first.overlay}, geometry=geometry).changes
        assert host.enact(first) is None
        run("boot", [], host.root)
        assert host.enact(second) is None
        assert host.plan(geometry=geometry).changes == ()

    def test_where_they_can_be_the_mode_is_there_at_once(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "A30")
        change = only_change(host, geometry="2x2g", pending=True)
        assert host.enact(change) is None
        assert host.observe()[GPUS_KEY][0].mig_mode_current is True
        assert host.commands(change.undo) is None
        assert host.observe()[GPUS_KEY][0].mig_mode_current is False

    def test_nothing_for_gpus_that_lose_the_mode_in_a_boot(self, tmp_path: Path) -> None:
        host = SimulatedHost(tmp_path, "H100-80")
        assert host.plan(geometry="7x1g", pending=True).changes == ()
