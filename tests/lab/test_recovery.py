"""Playbooks that recover GPUs, and nodes out of service, on real nodes with simulated GPUs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.lab import faults
from runner.lab.faults import NODE_FAULTS
from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, read_until, until

pytestmark = pytest.mark.lab

RESET = "playbooks/gpu-reset.yaml"
PERSISTENCE = "playbooks/persistence-mode.yaml"
POWER = "playbooks/power-cycle.yaml"
ONLINE = "playbooks/gpu-online.yaml"
OFFLINE = "playbooks/gpu-offline.yaml"
RECORD = "/var/lib/gpurun/driver/gpus.json"
ONE = ("--yes", "--limit", "gpu-a2")
WHY = ("-e", "reason=GPU 0 lost, case 4711")


def fault(lab: LabUnderTest, node: str, name: str) -> None:
    NODE_FAULTS[name](lab.nodes[node])


def lose_power(lab: LabUnderTest, node: str) -> None:
    """Off and on again, until it can be logged in to."""
    fault(lab, node, "power-loss")

    def answers() -> bool:
        try:
            return bool(lab.host(node).run("true").rc == 0)
        except RuntimeError:  # ssh could not connect
            return False

    until(answers, f"{node} answers")


def asks(host: Any) -> int:
    """GPUs whose driver asks for a reset."""
    return int(host.check_output("nvidia-smi -q | grep -c 'Reset Required *: Yes' || :"))


def warm(host: Any) -> list[str]:
    shown = host.check_output("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader")
    return str(shown).splitlines()


def shown(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(c["host"], c["task"], c["summary"].split(" (pod")[0]) for c in report["changes"]}


def found(report: dict[str, Any], node: str = "gpu-a2") -> tuple[str, str]:
    (host,) = [host for host in report["hosts"] if host["host"] == node]
    return host["status"], str(host)


def test_the_gpu_that_asks_is_reset_and_all_is_as_before(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a1")
    program.json("apply", "playbooks/mig-7x1g.yaml", "--yes", "--limit", "gpu-a1")
    fault(fresh, "gpu-a1", "reset-needed")
    others = {name: cluster.pods(name) for name in fresh.nodes if name != "gpu-a1"}
    plugins = {name: uid for name, uid in cluster.pods("gpu-a1").items() if "device-plugin" in name}
    assert asks(host) == 1

    code, plan = program.json("plan", RESET)
    assert code == 2
    assert {change["host"] for change in plan["changes"]} == {"gpu-a1"}
    assert asks(host) == 1 and not cluster.cordoned("gpu-a1")

    code, applied = program.json("apply", RESET, "--yes")
    assert code == 0, applied
    assert shown(applied) == shown(plan)
    assert asks(host) == 0
    assert host.check_output("nvidia-smi -L").count("MIG 1g.") == 14
    assert cluster.allocatable("gpu-a1") == 14
    assert warm(host) == ["Enabled", "Enabled"]
    assert host.service("nvidia-persistenced").is_running
    assert not host.file(RECORD).exists
    assert not cluster.cordoned("gpu-a1") and not cluster.marks("gpu-a1")
    assert plugins and not plugins.items() & cluster.pods("gpu-a1").items(), "restarted"
    for name, pods in others.items():
        assert pods.items() <= cluster.pods(name).items(), "left alone"

    code, again = program.json("apply", RESET, "--yes")
    assert (code, again["changes"]) == (0, []), again


def test_a_gpu_in_use_is_not_reset_and_its_holder_is_named(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    fault(fresh, "gpu-a2", "reset-needed")
    fault(fresh, "gpu-a2", "driver-held")
    code, failed = program.json("apply", RESET, *ONE)
    assert (code, found(failed)[0]) == (1, "failed")
    assert "in use: nothing was reset" in found(failed)[1]
    assert "pid 815 /usr/lib/xorg/Xorg" in found(failed)[1]
    assert asks(host) == 1 and warm(host) == ["Enabled"]
    assert host.service("nvidia-persistenced").is_running
    assert cluster.cordoned("gpu-a2"), "not proven, so not given back"

    fault(fresh, "gpu-a2", "driver-free")
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert asks(host) == 0
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_killed_between_the_reset_and_what_it_lost(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    program.json("apply", "playbooks/mig-7x1g.yaml", *ONE)
    fault(fresh, "gpu-a2", "reset-needed")
    process = program.start("apply", RESET, *ONE)
    read_until(process, "Reset GPUs: done")
    process.kill()
    process.wait()
    assert cluster.cordoned("gpu-a2") and asks(host) == 0
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert host.check_output("nvidia-smi -L").count("MIG 1g.") == 7, "from what was kept"
    assert warm(host) == ["Enabled"] and not host.file(RECORD).exists
    assert cluster.allocatable("gpu-a2") == 7
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_where_no_reset_is_possible_the_node_stays_cordoned_until_it_is(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    fault(fresh, "gpu-a2", "no-reset")
    code, failed = program.json("apply", RESET, *ONE, "-e", "because=case 4711", "-e", "gpus=0")
    assert (code, found(failed)[0]) == (1, "failed")
    assert "cannot be reset here" in found(failed)[1]
    assert cluster.cordoned("gpu-a2")
    fault(fresh, "gpu-a2", "resets")
    assert program.run("resume", "--yes").returncode == 0
    assert not cluster.cordoned("gpu-a2") and not fresh.host("gpu-a2").file(RECORD).exists


def test_a_gpu_that_fell_off_the_bus_is_never_reset(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    faults.xid(fresh.nodes["gpu-a2"], 79, 0)
    code, denied = program.json("apply", RESET, *ONE, "-e", "because=Xid 79")
    assert (code, found(denied)[0]) == (4, "denied"), denied
    assert "power-cycle.yaml" in found(denied)[1]
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_persistence_mode_comes_with_its_daemon(fresh: LabUnderTest, program: Program) -> None:
    host = fresh.host("gpu-a2")
    host.check_output("systemctl stop nvidia-persistenced && nvidia-smi -pm 0")
    assert warm(host) == ["Disabled"]
    code, plan = program.json("plan", PERSISTENCE)
    assert (code, {change["host"] for change in plan["changes"]}) == (2, {"gpu-a2"})
    code, applied = program.json("apply", PERSISTENCE, "--yes")
    assert code == 0, applied
    assert shown(applied) == shown(plan)
    assert warm(host) == ["Enabled"] and host.service("nvidia-persistenced").is_running
    code, again = program.json("apply", PERSISTENCE, "--yes")
    assert (code, again["changes"]) == (0, []), again


def test_a_node_goes_out_of_service_and_stays_there(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    faults.xid(fresh.nodes["gpu-a2"], 79, 0)
    code, denied = program.json("apply", OFFLINE, *ONE)
    assert (code, found(denied)[0]) == (4, "denied")
    assert "say why" in found(denied)[1]

    code, plan = program.json("plan", OFFLINE, "--limit", "gpu-a2", *WHY)
    assert code == 2 and not cluster.cordoned("gpu-a2")
    code, applied = program.json("apply", OFFLINE, *ONE, *WHY)
    assert code == 0, applied
    assert shown(applied) == shown(plan)
    assert cluster.cordoned("gpu-a2") and not cluster.gpu_pods("gpu-a2")
    assert cluster.marks("gpu-a2") == {"gpurun.dev/cordon-reason": "GPU 0 lost, case 4711"}
    node = cluster.node("gpu-a2")
    assert node["metadata"]["labels"]["gpurun.dev/offline"] == "true"
    assert "gpurun.dev/offline" in {taint["key"] for taint in node["spec"]["taints"]}
    kept = host.file("/var/lib/gpurun/evidence/gpu-0-lost-case-4711/kernel-log.txt")
    assert "Xid (PCI:0000:01:00): 79" in kept.content_string

    code, again = program.json("apply", OFFLINE, *ONE, *WHY)
    assert (code, again["changes"]) == (0, []), again
    assert cluster.cordoned("gpu-a2")

    code, denied = program.json("apply", ONLINE, *ONE)
    assert (code, found(denied)[0]) == (4, "denied"), "a GPU is still lost"
    lose_power(fresh, "gpu-a2")
    code, back = program.json("apply", ONLINE, *ONE)
    assert code == 0, back
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
    node = cluster.node("gpu-a2")
    assert "gpurun.dev/offline" not in node["metadata"]["labels"]
    assert "gpurun.dev/offline" not in {t["key"] for t in node["spec"].get("taints") or ()}
    code, again = program.json("apply", ONLINE, "--yes")
    assert (code, again["changes"]) == (0, []), again


def switching(lab: LabUnderTest, folder: Path, *words: str) -> tuple[str, ...]:
    """Options with a command that does to gpu-a2 what a BMC would, and with a BMC's password."""
    command = [sys.executable, "-m", "runner.cli.main", "lab", "fault", *words, "--name", lab.name]
    check = 'case $IPMI_PASSWORD in *" word") exec "$@" ;; esac; exit 9'
    file = folder / "power.json"
    wanted = {"power_cycle_command": ["sh", "-c", check, "sh", *command]}
    file.write_text(json.dumps({**wanted, "bmc_password": "s3cret word"}))
    return "-e", f"@{file}"


def boot(host: Any) -> str:
    return str(host.check_output("cat /proc/sys/kernel/random/boot_id"))


def test_a_lost_gpu_comes_back_with_the_power(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    host = fresh.host("gpu-a2")
    faults.xid(fresh.nodes["gpu-a2"], 79, 0)
    before = boot(host)
    code, denied = program.json("plan", POWER, "--limit", "gpu-a2")
    assert (code, found(denied)[0]) == (4, "denied")
    assert "set power_cycle_command" in found(denied)[1]

    power = switching(fresh, tmp_path, "power-loss", "gpu-a2")
    code, plan = program.json("plan", POWER, *power)
    assert code == 2 and boot(host) == before
    assert {change["host"] for change in plan["changes"]} == {"gpu-a2"}
    code, applied = program.json("apply", POWER, "--yes", *power)
    assert code == 0, applied
    assert shown(applied) == shown(plan)
    assert "s3cret" not in str(applied)
    assert boot(host) != before
    assert "(rev a1)" in host.check_output("lspci -D -n -d 10de:")
    assert host.file(f"/var/lib/gpurun/evidence/power-cycle-{before}/kernel-log.txt").exists
    assert cluster.allocatable("gpu-a2") == 1
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
    code, again = program.json("apply", POWER, "--yes", *power)
    assert (code, again["changes"]) == (0, []), again


def test_a_power_switch_that_fails_leaves_the_node_cordoned(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    faults.xid(fresh.nodes["gpu-a2"], 79, 0)
    wrong = switching(fresh, tmp_path, "power-loss", "no-such-node")
    code, failed = program.json("apply", POWER, *ONE, *wrong)
    assert (code, found(failed)[0]) == (1, "failed")
    assert "the command that switches the power exited 1" in found(failed)[1]
    assert cluster.cordoned("gpu-a2")
    lose_power(fresh, "gpu-a2")
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def mig(host: Any) -> int:
    return int(host.check_output("nvidia-smi -L").count("MIG 1g."))


def test_what_a_loss_of_power_takes_comes_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    host = fresh.host("gpu-h1")
    program.json("apply", "playbooks/mig-7x1g.yaml", "--yes", "--limit", "gpu-h1")
    before, had = boot(host), warm(host)
    assert (mig(host), cluster.allocatable("gpu-h1"), had) == (14, 14, ["Enabled", "Enabled"])
    power = switching(fresh, tmp_path, "power-loss", "gpu-h1")
    more = ("--limit", "gpu-h1", "-e", "because=case 4711", *power)
    code, plan = program.json("plan", POWER, *more)
    assert code == 2 and boot(host) == before
    code, applied = program.json("apply", POWER, "--yes", *more)
    assert code == 0, applied
    assert shown(applied) == shown(plan)
    assert boot(host) != before
    assert (mig(host), cluster.allocatable("gpu-h1"), warm(host)) == (14, 14, had)
    assert host.service("nvidia-persistenced").is_running
    assert not host.file(RECORD).exists
    assert not cluster.cordoned("gpu-h1") and not cluster.marks("gpu-h1")


def not_ready(cluster: Cluster, name: str) -> bool:
    conditions = cluster.node(name)["status"]["conditions"]
    return not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_a_node_that_is_off_comes_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    host = fresh.host("gpu-a1")
    before, pods = boot(host), set(cluster.gpu_pods("gpu-a1"))
    assert pods
    fault(fresh, "gpu-a1", "power-off")
    until(lambda: not_ready(cluster, "gpu-a1"), "gpu-a1 is not Ready")
    code, denied = program.json("plan", POWER, "--limit", "gpu-a1")
    assert (code, found(denied, "gpu-a1")[0]) == (4, "denied")
    assert "set power_cycle_command" in found(denied, "gpu-a1")[1]

    power = switching(fresh, tmp_path, "power-on", "gpu-a1")
    code, plan = program.json("plan", POWER, "--limit", "gpu-a1", *power)
    assert code == 2, plan
    assert "the host does not answer" in found(plan, "gpu-a1")[1]
    assert not cluster.cordoned("gpu-a1")
    text = program.on_lab("plan", POWER, "--limit", "gpu-a1", *power).stdout
    assert "what else is to be done is known once it is back" in text

    code, applied = program.json("apply", POWER, "--yes", "--limit", "gpu-a1", *power)
    assert code == 0, applied
    assert shown(applied) == shown(plan)
    assert boot(host) != before
    assert not pods & cluster.pods("gpu-a1").keys(), "they are elsewhere, or wait"
    assert not cluster.cordoned("gpu-a1") and not cluster.marks("gpu-a1")
    assert not not_ready(cluster, "gpu-a1") and cluster.allocatable("gpu-a1") == 2
    code, again = program.json("apply", POWER, "--yes", "--limit", "gpu-a1", *power)
    assert (code, again["changes"]) == (0, []), again


def test_a_node_that_hangs_is_not_given_back_before_it_has_booted(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    host = fresh.host("gpu-a2")
    before = boot(host)
    fault(fresh, "gpu-a2", "slow-sshd")
    useless = switching(fresh, tmp_path, "fast-sshd", "gpu-a2")
    code, denied = program.json("plan", POWER, "--limit", "gpu-a2", *useless)
    assert (code, found(denied)[0]) == (4, "denied"), "its kubelet is well"
    assert "its kubelet reports to the cluster that it is ready" in found(denied)[1]
    why = ("-e", "because=sshd hangs")
    code, failed = program.json("apply", POWER, *ONE, *useless, *why, "-e", "power_timeout=5")
    assert (code, found(failed)[0]) == (1, "unreachable"), failed
    assert "it still runs the old boot" in found(failed)[1]
    assert cluster.cordoned("gpu-a2") and boot(host) == before

    fault(fresh, "gpu-a2", "slow-sshd")
    run = failed["run"]
    power = switching(fresh, tmp_path, "power-loss", "gpu-a2")
    code, taken = program.json("apply", POWER, *ONE, *power, *why)
    assert code == 4 and f"gpurun resume {run}" in found(taken)[1]
    code, taken = program.json("apply", POWER, *ONE, *power, *why, "--take-over", run)
    assert code == 0, taken
    assert boot(host) != before
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
