"""xid-remediate, collect-evidence, dcgm-diag and require on real nodes with simulated GPUs."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from runner.lab import faults, gpu
from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, until

pytestmark = pytest.mark.lab

REMEDIATE = "playbooks/xid-remediate.yaml"
HISTORY = "/var/lib/gpurun/xids.json"
HANDED_OVER = {"gpurun.dev/cordon-reason": "XID 79"}


def shown(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return sorted((c["host"], c["task"], c["summary"]) for c in report["changes"])


def tasks(report: dict[str, Any]) -> list[str]:
    return [change["task"] for change in report["changes"]]


def bad(report: dict[str, Any]) -> str:
    """The hosts that did not end well."""
    return json.dumps([h for h in report["hosts"] if h["status"] not in ("ok", "changed")])


def boot(host: Any) -> str:
    return str(host.check_output("cat /proc/sys/kernel/random/boot_id"))


def attempts(host: Any) -> list[tuple[str, int, str, bool]]:
    kept = json.loads(host.check_output(f"cat {HISTORY}"))
    return [(a["gpu"], a["code"], a["action"], a["done"]) for a in kept]


def archives(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar.gz"))


@pytest.mark.parametrize("code", [63, 95, 119])
def test_that_gpu_is_reset_and_nothing_else(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path, code: int
) -> None:
    host = fresh.host("gpu-a1")
    faults.xid(fresh.nodes["gpu-a1"], code, 1)
    before, offered = boot(host), cluster.allocatable("gpu-a1")
    more = ("-e", f"evidence_folder={tmp_path}/evidence")

    status, plan = program.json("plan", REMEDIATE, *more)
    assert status == 2, plan
    assert {change["host"] for change in plan["changes"]} == {"gpu-a1"}
    assert "Reboot" not in tasks(plan)
    assert not host.file(HISTORY).exists and not archives(tmp_path / "evidence")

    status, applied = program.json("apply", REMEDIATE, "--yes", *more)
    assert status == 0, bad(applied)
    assert [
        c["summary"].split(",")[0] for c in applied["changes"] if "GPU 1: reset" in c["summary"]
    ]
    assert attempts(host) == [("0000:02:00", code, "reset_gpu", True)]
    assert "Yes" not in host.check_output("nvidia-smi -q | grep -e Required -e Pending: || :")
    assert boot(host) == before
    assert not cluster.cordoned("gpu-a1") and not cluster.marks("gpu-a1")
    assert cluster.allocatable("gpu-a1") == offered
    assert len(archives(tmp_path / "evidence")) == 1
    assert shown(applied) == shown(plan)

    status, again = program.json("apply", REMEDIATE, "--yes", *more)
    assert (status, again["changes"]) == (0, []), again


def test_a_lost_gpu_means_a_reboot_and_then_a_person(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    host = fresh.host("gpu-a2")
    more = ("-e", f"evidence_folder={tmp_path}/evidence", "-e", "max_reboots=1")
    faults.xid(fresh.nodes["gpu-a2"], 79, 0)
    before = boot(host)
    status, plan = program.json("plan", REMEDIATE, *more)
    status, applied = program.json("apply", REMEDIATE, "--yes", *more)
    assert status == 0, bad(applied)
    assert shown(applied) == shown(plan)
    assert "The GPUs that ask for it are reset" not in tasks(applied)
    assert boot(host) != before
    assert host.check_output("nvidia-smi -L").startswith("GPU 0")
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
    assert attempts(host) == [("0000:01:00", 79, "reboot", False)]
    status, again = program.json("apply", REMEDIATE, "--yes", *more)
    assert (status, again["changes"]) == (0, []), again

    faults.xid(fresh.nodes["gpu-a2"], 79, 0)
    before = boot(host)
    status, plan = program.json("plan", REMEDIATE, *more)
    status, applied = program.json("apply", REMEDIATE, "--yes", *more)
    assert status == 0, bad(applied)
    assert shown(applied) == shown(plan)
    assert "once rebooted for it in 24 h" in json.dumps(plan)
    assert boot(host) == before
    assert cluster.cordoned("gpu-a2") and not cluster.gpu_pods("gpu-a2")
    assert cluster.marks("gpu-a2") == HANDED_OVER
    assert cluster.node("gpu-a2")["metadata"]["labels"]["gpurun.dev/offline"] == "true"
    kept = archives(tmp_path / "evidence")
    assert len(kept) == 2, "before each remedy"
    assert "Xid (PCI:0000:01:00): 79" in member(kept[1], "kernel/dmesg.txt")
    status, again = program.json("apply", REMEDIATE, "--yes", *more)
    assert (status, again["changes"]) == (0, []), again
    assert cluster.cordoned("gpu-a2")


def member(archive: Path, name: str) -> str:
    with tarfile.open(archive) as opened:
        (found,) = [one for one in opened.getnames() if one.endswith(f"/{name}")]
        file = opened.extractfile(found)
        assert file is not None
        return file.read().decode()


def switched(lab: LabUnderTest, folder: Path, fault: str, node: str) -> tuple[str, ...]:
    """Options with a command that switches a node's power."""
    program = [sys.executable, "-m", "runner.cli.main", "lab", "fault"]
    file = folder / "power.json"
    file.write_text(
        json.dumps({"power_cycle_command": [*program, fault, node, "--name", lab.name]})
    )
    return "-e", f"@{file}"


def test_a_node_that_stays_away_after_its_reboot_gets_its_power_switched(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    host, node = fresh.host("gpu-a2"), fresh.nodes["gpu-a2"]
    power = switched(fresh, tmp_path, "power-on", "gpu-a2")
    more = ("--limit", "gpu-a2", "-e", f"evidence_folder={tmp_path}/evidence", *power)
    more = (*more, "-e", "reboot_timeout=10")
    faults.xid(node, 79, 0)
    faults.no_reboot(node)
    before = boot(host)
    status, plan = program.json("plan", REMEDIATE, *more)
    assert "Power off and on, as it stays away" in json.dumps(plan), "what may follow is shown"
    status, applied = program.json("apply", REMEDIATE, "--yes", *more)
    assert status == 0, bad(applied)
    assert shown(applied) == shown(plan)
    assert "rescued: Reboot: gpu-a2: has not come back" in json.dumps(applied)
    assert boot(host) != before
    assert attempts(host) == [
        ("0000:01:00", 79, "reboot", False),
        ("0000:01:00", 79, "power_cycle", False),
    ]
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
    assert cluster.allocatable("gpu-a2") == 1
    status, again = program.json("apply", REMEDIATE, "--yes", *more)
    assert (status, again["changes"]) == (0, []), again

    faults.xid(node, 79, 0)
    faults.no_reboot(node)
    status, failed = program.json("apply", REMEDIATE, "--yes", *more)
    assert status == 1 and "its power was switched for this XID before" in bad(failed)
    handed_over(cluster)
    run = failed["run"]

    power = switched(fresh, tmp_path, "power-on", "gpu-a2")
    one = ("--yes", "--limit", "gpu-a2", *power)
    status, back = program.json("apply", "playbooks/power-cycle.yaml", *one, "--take-over", run)
    assert status == 0, bad(back)
    assert cluster.marks("gpu-a2") == {"gpurun.dev/cordon-reason": NO_BOOT}
    status, online = program.json("apply", "playbooks/gpu-online.yaml", *one[:3])
    assert status == 0, bad(online)
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


NO_BOOT = "XID 79, and no boot afterwards"


def handed_over(cluster: Cluster) -> None:
    assert cluster.cordoned("gpu-a2") and not cluster.gpu_pods("gpu-a2")
    assert cluster.marks("gpu-a2")["gpurun.dev/cordon-reason"] == NO_BOOT
    node = cluster.node("gpu-a2")
    assert node["metadata"]["labels"]["gpurun.dev/offline"] == "true"


def test_without_a_power_switch_a_node_that_stays_away_is_handed_over(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    node = fresh.nodes["gpu-a2"]
    more = ("--limit", "gpu-a2", "-e", f"evidence_folder={tmp_path}/evidence")
    faults.xid(node, 79, 0)
    faults.no_reboot(node)
    arguments = ("--yes", *more, "-e", "reboot_timeout=10")
    status, failed = program.json("apply", REMEDIATE, *arguments)
    assert status == 1, failed
    for text in ("has not come back", "power_cycle_command", "Look at its console or BMC"):
        assert text in bad(failed)
    handed_over(cluster)
    assert len(archives(tmp_path / "evidence")) == 1, "from before the reboot"

    assert program.run("resume", "--yes").returncode != 0, "it is still away"
    faults.power_on(node)
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert cluster.marks("gpu-a2") == {"gpurun.dev/cordon-reason": NO_BOOT}
    handed_over(cluster)


def test_the_workload_that_met_it_starts_anew(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    host, node = fresh.host("gpu-a1"), fresh.nodes["gpu-a1"]
    more = ("--limit", "gpu-a1", "-e", f"evidence_folder={tmp_path}/evidence")
    faults.xid(node, 43, 0)
    faults.xid(node, 13, 0)
    status, plan = program.json("plan", REMEDIATE, *more)
    assert (status, plan["changes"]) == (0, []), "43 is only observed; who met 13 has ended"
    assert "the process that is named has ended" in json.dumps(plan)

    name = cluster.gpu_pods("gpu-a1")[0]
    uid = cluster.pods("gpu-a1")[name]
    unit = f"kubepods-burstable-pod{uid.replace('-', '_')}"
    host.check_output(f"systemd-run --unit={unit} sleep 900")
    pid = host.check_output(f"systemctl show -p MainPID --value {unit}")
    gpu.add_xid(node.root, 0, 13, f"pid={pid}, name=python3, Graphics Exception: ESR 0x404490")
    status, plan = program.json("plan", REMEDIATE, *more)
    status, applied = program.json("apply", REMEDIATE, "--yes", *more)
    assert status == 0, bad(applied)
    assert shown(applied) == shown(plan)
    assert [c["summary"] for c in applied["changes"]][-1] == f"node gpu-a1: evict {name}"
    assert uid not in cluster.pods("gpu-a1").values()
    host.check_output(f"systemctl stop {unit}")  # as the kubelet has ended the pod's processes
    assert not cluster.cordoned("gpu-a1") and not host.file(HISTORY).exists
    status, again = program.json("apply", REMEDIATE, "--yes", *more)
    assert (status, again["changes"]) == (0, []), again


def test_evidence_is_whole_and_nothing_on_the_node_is_changed(
    fresh: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    host = fresh.host("gpu-h1")
    before = host.check_output("find /etc /var/lib /root -newer /proc/1 -type f | sort")
    folder = tmp_path / "evidence"
    more = ("--limit", "gpu-h1", "-e", f"folder={folder}")
    status, applied = program.json("apply", "playbooks/collect-evidence.yaml", "--yes", *more)
    assert status == 0, bad(applied)
    (archive,) = archives(folder)
    assert (archive.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert host.check_output("find /etc /var/lib /root -newer /proc/1 -type f | sort") == before
    manifest = json.loads(member(archive, "manifest.json"))
    assert manifest["host"] == "gpu-h1"
    for row in manifest["files"]:
        body = member(archive, row["file"]).encode()
        assert (row["bytes"], row["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    ended = {row["file"]: row.get("exit") for row in manifest["files"]}
    assert ended["nvidia-smi/query.txt"] == 0 and ended["dcgm/health.txt"] == 127
    assert "GPU 00000000:02:00.0" in member(archive, "nvidia-smi/query.txt")
    assert '"name": "gpu-h1"' in member(archive, "kubernetes/node.json")


DCGMI = """\
#!/bin/sh
[ "$1 $2 $3 $4" = "diag -r 2 -j" ] || exit 64
echo '{"DCGM Diagnostic": {"test_categories": [{"tests": [{"results": [{"status" : "%s"}]}]}]}}'
"""


def test_diagnostics_where_dcgmi_is_there(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    def put(status: str) -> None:
        file = fresh.nodes["gpu-a2"].root / "usr/local/bin/dcgmi"
        file.write_text(DCGMI % status)
        file.chmod(0o755)

    more = ("playbooks/dcgm-diag.yaml", "--yes", "--limit", "gpu-a2", "-e", "level=2")
    status, denied = program.json("apply", *more)
    assert status == 4 and "this host has no dcgmi" in json.dumps(denied)
    put("Pass")
    status, applied = program.json("apply", *more)
    assert status == 0, bad(applied)
    assert not cluster.cordoned("gpu-a2")
    put("Fail")
    status, failed = program.json("apply", *more)
    assert status == 1 and cluster.cordoned("gpu-a2"), failed


REQUIRE = """\
- hosts: gpu
  become: true
  preconditions:
    - require:
        driver_at_least: "550"
        driver_at_most: "550.90.07"
        gpus_on_bus: true
        memory_healthy: true
        disk_mib: {/: 10, /var: 10}
        no_package_manager: true
        no_pending_reboot: true
        kubernetes_at_least: "1.20"
        other_nodes_ready: true
        not_last_of_its_kind: true
  tasks:
    - copy: {dest: /etc/required, content: "yes\\n"}
"""


def test_preconditions_by_name(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    playbook = tmp_path / "require.yaml"
    playbook.write_text(REQUIRE)
    kind = "nvidia.com/gpu.product"
    product = cluster.node("gpu-a1")["metadata"]["labels"][kind]
    cluster.patch_node("gpu-a2", {"metadata": {"labels": {kind: product}}})
    _, plan = program.json("plan", str(playbook))
    assert {change["host"] for change in plan["changes"]} == {"gpu-a1", "gpu-a2"}, bad(plan)
    assert json.dumps(plan).count("this is the last one") >= 2, "gpu-h1 and gpu-t1 are alone"
    cluster.patch_node("gpu-a1", {"spec": {"unschedulable": True}})
    _, plan = program.json("plan", str(playbook), "--limit", "gpu-a2")
    assert not plan["changes"] and "no other node with" in json.dumps(plan)
    faults.power_off(fresh.nodes["gpu-t1"])
    until(lambda: not ready(cluster, "gpu-t1"), "gpu-t1 is NotReady")
    _, plan = program.json("plan", str(playbook), "--limit", "gpu-a1")
    assert re.search("other GPU nodes are not Ready: gpu-t1", json.dumps(plan))


def ready(cluster: Cluster, name: str) -> bool:
    conditions = cluster.node(name)["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
