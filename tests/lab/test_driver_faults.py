"""driver-upgrade and driver-reload where apt or dkms hangs, and where the fabric manager does not
fit: the node stays cordoned, named and resumable, or is left alone; never half changed and in
service."""

from __future__ import annotations

from typing import Any

import pytest

from runner.lab.faults import NODE_FAULTS
from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program

pytestmark = pytest.mark.lab

UPGRADE = "playbooks/driver-upgrade.yaml"
RELOAD = "playbooks/driver-reload.yaml"
RESET = "playbooks/gpu-reset.yaml"
OLD, NEW = "550.90.07", "570.86.15"
RECORD = "/var/lib/gpurun/driver/gpus.json"


def fault(lab: LabUnderTest, node: str, name: str) -> None:
    NODE_FAULTS[name](lab.nodes[node])


def loaded(host: Any) -> str:
    done = host.run("nvidia-smi --query-gpu=driver_version --format=csv,noheader | sort -u")
    return str(done.stdout).strip()


def installed(host: Any) -> set[str]:
    """The driver's packages that are whole, with their versions."""
    wanted = "${Package}=${Version} ${db:Status-Status}\\n"
    found = host.check_output(f"dpkg-query -W -f='{wanted}' '*nvidia*'")
    return {line.split()[0] for line in found.splitlines() if line.endswith(" installed")}


def fabric(host: Any) -> set[str]:
    shown = host.check_output("nvidia-smi -q | grep -A 1 ' Fabric$' | grep State")
    return {line.split(":")[1].strip() for line in shown.splitlines()}


def status(report: dict[str, Any], node: str) -> tuple[str, str]:
    (found,) = [host for host in report["hosts"] if host["host"] == node]
    return found["status"], str(found)


@pytest.mark.parametrize(
    ("name", "cure", "hung", "last_words"),
    [
        ("slow-mirror", "fast-mirror", "fetch", "The following NEW packages will be installed"),
        ("dkms-hang", "dkms-ok", "install", "Building module nvidia/570.86.15"),
    ],
)
def test_what_hangs_is_ended_undone_and_named(
    fresh: LabUnderTest,
    program: Program,
    cluster: Cluster,
    name: str,
    cure: str,
    hung: str,
    last_words: str,
) -> None:
    host, one = fresh.host("gpu-a2"), ("--yes", "--limit", "gpu-a2")
    before = installed(host)
    fault(fresh, "gpu-a2", name)
    code, failed = program.json("apply", UPGRADE, *one, "-e", "apt_timeout=45")
    assert (code, status(failed, "gpu-a2")[0]) == (1, "failed"), failed
    (told,) = [one for one in failed["hosts"] if one["host"] == "gpu-a2"]
    for text in (f"its step '{hung}' did not end within 45 s", last_words, "was undone"):
        assert text in told["reason"]
    assert cluster.cordoned("gpu-a2")
    assert (loaded(host), installed(host)) == (OLD, before)
    assert host.run("pgrep -x 'apt-get|dpkg'").rc == 1, "nothing of it runs on"
    assert host.check_output("dpkg --audit") == "" and not host.file(RECORD).exists
    assert host.service("nvidia-persistenced").is_running

    fault(fresh, "gpu-a2", cure)
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert loaded(host) == NEW and installed(host).isdisjoint(before)
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


def test_a_fabric_manager_that_does_not_fit_comes_to_the_driver(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host, one = fresh.host("gpu-h1"), ("--yes", "--limit", "gpu-h1")
    fault(fresh, "gpu-h1", "fabric-mismatch")
    assert fabric(host) == {"In Progress"}
    assert not host.service("nvidia-fabricmanager").is_running

    code, denied = program.json("apply", RELOAD, *one, "-e", "force_reload=true")
    assert (code, status(denied, "gpu-h1")[0]) == (4, "denied"), denied
    assert "fabric manager is 570.86.15, the driver on disk 550.90.07" in str(denied)
    assert "driver_version=550.90.07" in str(denied), "the cure"
    assert not cluster.cordoned("gpu-h1") and not cluster.marks("gpu-h1")

    wanted = ("-e", f"driver_version={OLD}")
    code, plan = program.json("plan", UPGRADE, "--limit", "gpu-h1", *wanted)
    assert code == 2 and "start nvidia-fabricmanager" in str(plan)
    code, applied = program.json("apply", UPGRADE, *one, *wanted)
    assert code == 0, applied
    assert loaded(host) == OLD and fabric(host) == {"Completed"}
    assert host.service("nvidia-fabricmanager").is_running
    assert not cluster.cordoned("gpu-h1") and not cluster.marks("gpu-h1")
    code, again = program.json("apply", UPGRADE, *one, *wanted)
    assert (code, again["changes"]) == (0, []), again


def test_gpus_that_have_not_joined_are_not_given_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host, one = fresh.host("gpu-h1"), ("--yes", "--limit", "gpu-h1")
    fault(fresh, "gpu-h1", "fabric-mismatch")
    code, failed = program.json("apply", RESET, *one, "-e", "gpus=0", "-e", "because=case 4711")
    assert (code, status(failed, "gpu-h1")[0]) == (1, "failed"), failed
    for text in ("Fabric Manager version is : 570.86.15", "  550.90.07  ", "driver-upgrade.yaml"):
        assert text in status(failed, "gpu-h1")[1]
    assert cluster.cordoned("gpu-h1")

    code, up = program.json("apply", UPGRADE, *one, "--take-over", failed["run"])
    assert code == 0, up
    assert loaded(host) == NEW and fabric(host) == {"Completed"}
    assert not cluster.cordoned("gpu-h1") and not cluster.marks("gpu-h1")
