"""`gpu_reset`: whom it resets, whom it refuses, and what its command does on simulated GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.facts import gpu_users
from runner.facts.driver_history import BEFORE_KEY, GPUS_SEEN_KEY
from runner.facts.gpu_links import LINKS_KEY, GpuLinks, parse_links
from runner.facts.gpu_users import GpuUser, GpuUsers
from runner.facts.nvidia import Gpus, Instance, Process
from runner.facts.pci import PCI_GPUS, PciGpu
from runner.hosts.script import Command, Result
from runner.lab.gpu import add_client, ask_for, expose_reset, lose_gpu
from runner.lab.gpu.state import changing, read
from runner.modules.base import Change, Context, Disruption, Outcome, Refused, Risk, Unknown
from runner.modules.registry import load_module
from tests.driver import states
from tests.driver.states import WORKING, gpu
from tests.mig.simulated import SimulatedHost

FINE: dict[str, Any] = {"recovery_action": "None"}
SICK: dict[str, Any] = {"recovery_action": "Reset"}
ON_BUS = (PciGpu("0000:01:00.0", "2330", True), PciGpu("0000:02:00.0", "2330", True))


def host(*gpus: Any, links: GpuLinks | None = None, **more: Any) -> dict[str, Any]:
    assert PCI_GPUS.probe
    seen = {
        PCI_GPUS.probe.key: ON_BUS,
        LINKS_KEY: links or GpuLinks(0, False),
        gpu_users.KEY: GpuUsers(),
    }
    return states.host(WORKING, Gpus(list(gpus)), more={**seen, **more.pop("more", {})}, **more)


def plan(observed: dict[str, Any], notified: bool = True, **arguments: Any) -> Outcome:
    module = load_module("gpu_reset")
    args = module.arguments.model_validate(arguments)
    return module.plan(args, observed, Context("gpu1", notified=notified))


def summary(outcome: Outcome) -> str:
    (change,) = outcome.changes
    return change.summary


# ---- which GPUs ------------------------------------------------------------------------------


def test_gpus_that_do_not_ask_are_left_alone() -> None:
    assert plan(host(gpu(0, **FINE), gpu(1, recovery_action="Drain P2P"))).changes == ()


def test_only_the_gpu_that_asks_is_reset_after_everybody_has_left_it() -> None:
    observed = host(gpu(0, **FINE), gpu(1, **SICK), active=("nvidia-persistenced",))
    (change,) = plan(observed).changes
    assert (change.risk, change.disruption) == (Risk.HIGH, Disruption.GPU)
    assert change.summary == (
        "GPU 1: reset, the driver asks for: Reset; stopping and starting nvidia-persistenced"
    )
    assert (change.before, change.after) == ({"1 GPU-1": "Reset"}, {"1 GPU-1": "None"})
    assert plan({**observed, **change.overlay}).changes == ()


def test_a_reason_resets_those_that_do_not_ask_once() -> None:
    observed = host(gpu(0, **FINE), gpu(1, recovery_action=None))
    assert summary(plan(observed, because="Xid 95")) == "GPU 0, 1: reset, Xid 95"
    assert plan(observed, because="Xid 95", notified=False).changes == ()
    assert summary(plan(observed, gpus="GPU-1", because="Xid 95")) == "GPU 1: reset, Xid 95"


def test_an_empty_list_is_nothing_to_do() -> None:
    assert plan(host(gpu(0, **SICK)), gpus=[]).changes == ()


def test_who_uses_a_gpu_is_said() -> None:
    used = gpu(0, processes=(Process(4242, "python3"),), **SICK)
    assert plan(host(used)).messages == ("GPU 0 is used by python3 (pid 4242)",)


# ---- refusals --------------------------------------------------------------------------------


def test_unknown_is_not_fine() -> None:
    with pytest.raises(Unknown, match="does not say whether GPU 0 needs a reset"):
        plan(host(gpu(0, recovery_action=None)))
    with pytest.raises(Unknown, match="'Bus Reset'"):
        plan(host(gpu(0, recovery_action="Bus Reset")))


def test_a_gpu_that_needs_a_reboot_is_not_reset_for_any_reason() -> None:
    with pytest.raises(Refused, match="asks for a reboot"):
        plan(host(gpu(0, recovery_action="Reboot")), because="ticket 12")


@pytest.mark.parametrize(
    ("links", "bus"),
    [
        (GpuLinks(0, False, frozenset({"0000:02:00"})), ON_BUS),
        (GpuLinks(0, False), (ON_BUS[0], replace(ON_BUS[1], answers=False))),
    ],
    ids=["kernel log", "lspci"],
)
def test_never_after_a_gpu_fell_off_the_bus(links: GpuLinks, bus: Any) -> None:
    assert PCI_GPUS.probe
    for seen in (Gpus([gpu(0, **SICK)]), None):
        more = {PCI_GPUS.probe.key: bus, GPUS_SEEN_KEY: seen}
        observed = {**host(links=links), **more}
        with pytest.raises(Refused, match=r"0000:02:00 has fallen off the bus .Xid 79.: no reset"):
            plan(observed, because="Xid 79")


def test_instances_that_were_split_by_hand_are_refused() -> None:
    parts = (Instance("3g.40gb", "0:4", 1, ("1c.3g.40gb", "2c.3g.40gb")),)
    with pytest.raises(Refused, match="split by hand"):
        plan(host(gpu(0, instances=parts, **SICK)))


NOTEBOOK = GpuUser(41, "python3", 1000, ("/dev/nvidia1",), unit="notebook.service")
DCGM = GpuUser(
    42, "nv-hostengine", 0, ("/dev/nvidia1", "/dev/nvidiactl"), unit="nvidia-dcgm.service"
)
SHELL = GpuUser(43, "python3", 1001, ("/dev/nvidia1",), unit="session-3.scope")
DOCKER = GpuUser(44, "tritonserver", 0, ("/dev/nvidia1",), container="ab" * 32, runtime="docker")


def used(*users: GpuUser, minor: int | None = 1, active: tuple[str, ...] = ()) -> dict[str, Any]:
    """Two GPUs, of which the second asks for a reset."""
    gpus = (gpu(0, minor=0, **FINE), gpu(1, minor=minor, **SICK))
    return host(*gpus, active=active, more={gpu_users.KEY: GpuUsers(users)})


@pytest.mark.parametrize(
    ("user", "ends"),
    [
        (NOTEBOOK, "python3 .pid 41. holds /dev/nvidia1: .* systemctl stop notebook.service"),
        (SHELL, "python3 .pid 43. .* a process of user 1001 .*, or end it with: kill"),
        (DOCKER, "tritonserver .pid 44. .* docker stop abababababab"),
        (DCGM, "nv-hostengine .pid 42. .* systemctl stop nvidia-dcgm.service"),
    ],
)
def test_what_no_drain_ends_is_refused_with_what_does(user: GpuUser, ends: str) -> None:
    with pytest.raises(Refused, match=f"GPU 1 cannot be reset, .*{ends}"):
        plan(used(user))


def test_who_goes_before_the_reset_is_no_obstacle() -> None:
    pod = replace(NOTEBOOK, pod="11111111-2222-3333-4444-555555555555")
    assert plan(used(pod)).changes, "a drain ends it"
    assert plan(used(DCGM, active=("nvidia-dcgm",))).changes, "the reset stops it itself"


def test_who_has_only_another_gpu_open_is_left_alone() -> None:
    other = replace(NOTEBOOK, devices=("/dev/nvidia0", "/dev/nvidiactl"))
    assert plan(used(other)).changes
    with pytest.raises(Refused, match="/dev/nvidia0"):
        plan(used(other, minor=None))
    assert plan(used(replace(other, devices=("/dev/nvidiactl",)), minor=None)).changes


# ---- GPUs that are joined --------------------------------------------------------------------


def test_ampere_behind_nvswitches_is_reset_together_unless_a_fabric_manager_runs() -> None:
    both = (gpu(0, "20B2", **FINE), gpu(1, "20B2", **SICK))
    switches = GpuLinks(6, True)
    assert summary(plan(host(*both, links=switches))).startswith("GPU 0, 1: reset (all, as they")
    managed = host(*both, links=switches, active=("nvidia-fabricmanager",))
    (change,) = plan(managed).changes
    assert change.summary == "GPU 1: reset, the driver asks for: Reset", "it is left running"
    hopper = host(gpu(0, **FINE), gpu(1, **SICK), links=switches)
    assert summary(plan(hopper)).startswith("GPU 1: reset, ")


def test_older_gpus_joined_by_nvlinks_are_reset_together() -> None:
    both = (gpu(0, "1DB5", **FINE), gpu(1, "1DB5", **SICK))
    assert summary(plan(host(*both, links=GpuLinks(0, True)))).startswith("GPU 0, 1: reset")
    assert summary(plan(host(*both, links=GpuLinks(0, False)))).startswith("GPU 1: reset")
    with pytest.raises(Unknown, match="joined by NVLinks"):
        plan(host(*both, links=GpuLinks(0, None)))


def test_the_kernel_log_names_gpus_in_all_its_ways() -> None:
    text = """\
switches 6
links known
links up
Xid (PCI:0000:05:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
GPU 0000:29:00.0: GPU has fallen off the bus.
The NVIDIA GPU 0000:18:00.0
fallen off the bus and is not responding to commands.
"""
    fallen = frozenset({"0000:05:00", "0000:29:00", "0000:18:00"})
    assert parse_links(Result(0, text.encode())) == GpuLinks(6, True, fallen)
    assert parse_links(Result(0, b"switches 0\n")) == GpuLinks(0, None)
    with pytest.raises(Unknown, match="kernel log cannot be read"):
        parse_links(Result(3))


# ---- on simulated GPUs -----------------------------------------------------------------------


class Node(SimulatedHost):
    def seen(self) -> dict[str, Any]:
        module = load_module("gpu_reset")
        args = module.arguments.model_validate({})
        probes = module.probes(args, Context("gpu1"))
        observed = {one.key: one.parse(self.sh(one.shell)) for one in probes}
        return {**observed, BEFORE_KEY: None, gpu_users.KEY: GpuUsers()}

    def change(self, **arguments: Any) -> Change:
        (change,) = plan(self.seen(), **arguments).changes
        assert self.sh(change.guard).rc == 0
        return change

    def reset(self, change: Change) -> Result:
        command = change.do[-1]
        assert isinstance(command, Command)
        # Nor do processes of this machine count here.
        return self.sh(command.shell.replace("/proc/[0-9]", f"{self.root}/proc/[0-9]"))


def test_a_reset_cures_the_gpu_and_nothing_is_left_to_do(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80", 2)
    ask_for(node.root, 1, "Drain and Reset")
    with changing(node.root) as state:
        state["gpus"][0]["persistence"] = False
    done = node.reset(node.change())
    assert done.rc == 0, done.error_text
    assert plan(node.seen()).changes == ()
    assert [one["persistence"] for one in read(node.root)["gpus"]] == [False, True], "as it was"


def test_who_holds_a_gpu_is_named_and_nothing_is_reset(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-40", 2)
    ask_for(node.root, 0, "Reset")
    add_client(node.root, "x", 999_999_815, "/usr/lib/xorg/Xorg", [0])
    done = node.reset(node.change())
    assert done.rc == 1
    assert "in use: nothing was reset" in done.error_text
    assert "held by: pid 999999815 /usr/lib/xorg/Xorg (end it: kill 999999815)" in done.error_text
    assert read(node.root)["gpus"][0]["persistence"], "as it was"


def test_where_resets_are_not_exposed_that_is_said(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-40")
    ask_for(node.root, 0, "Reset")
    expose_reset(node.root, False)
    assert "cannot be reset here" in node.reset(node.change()).error_text


def test_a_lost_gpu_of_the_simulator_is_refused(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80", 2)
    lose_gpu(node.root, 1)
    with pytest.raises(Refused, match="0000:02:00 has fallen off the bus"):
        node.change(because="Xid 79")


def test_the_simulator_resets_ampere_behind_switches_only_together(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-80", 2)
    with changing(node.root) as state:
        state["switches"] = 6
    refused = node.smi("-i", "1", "--gpu-reset")
    assert (refused.rc, "Not Supported" in refused.text) == (255, True)
    ask_for(node.root, 1, "Reset")
    change = node.change()
    assert change.summary.startswith("GPU 0, 1: reset (all, as they are behind NVSwitches")
    assert node.reset(change).rc == 0


@pytest.mark.parametrize(("model", "links"), [("H100-80", True), ("A100-80", True), ("T4", False)])
def test_links_that_are_up_are_seen(model: str, links: bool, tmp_path: Path) -> None:
    found = Node(tmp_path, model).seen()[LINKS_KEY]
    assert (found.switches, found.active) == (0, links)
