"""The playbook xid-remediate, planned on hosts as they are observed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.engine.pending import PENDING
from runner.engine.planner import plan_host
from runner.engine.planning import HostPlan
from runner.engine.subject import Subject
from runner.errors import Origin
from runner.facts import gpu_users
from runner.facts.gpu_health import HEALTH_KEY, GpuHealth, Health
from runner.facts.nvidia import Gpus
from runner.facts.readiness import PACKAGE_MANAGER, REQUIRED_KEY, PackageManager, RebootRequired
from runner.facts.system import REACHABLE_KEY
from runner.facts.xid_history import HISTORY_KEY, Attempt
from runner.facts.xids import XIDS_KEY, KernelLog, Xid
from runner.inventory.model import Host
from runner.modules.base import Disruption
from runner.modules.power_cycle import BOOT_KEY
from runner.playbook.load import load_playbook
from tests.driver.states import WORKING, gpu, host

PLAYBOOK = Path(__file__).parent.parent.parent / "playbooks/xid-remediate.yaml"
PCI = "0000:01:00"
KEPT = "keep on the node what GPU 0 and the driver's services are like"


def plan(reboots: int, recovery: str = "Reboot", **variables: Any) -> HostPlan:
    """The remedy of a node whose driver asks for something, after some reboots for it."""
    assert PACKAGE_MANAGER.probe
    seen = GpuHealth(PCI, True, True, "GPU-0", "H100", recovery, False, False)
    log = KernelLog((Xid(119, PCI, "text", 100.0, pid=7),), "boot", 200.0, 10_000, {})
    tried = [Attempt(PCI, 119, "reboot", str(n), 100.0, 9_000) for n in range(reboots)]
    cut_up = gpu(0, slices=7, recovery_action=recovery)
    observed = host(WORKING, Gpus([cut_up])) | {
        XIDS_KEY: log,
        HEALTH_KEY: Health((seen,)),
        HISTORY_KEY: tuple(tried),
        PACKAGE_MANAGER.probe.key: PackageManager(),
        REQUIRED_KEY: RebootRequired(False),
        gpu_users.KEY: gpu_users.GpuUsers(),
        PENDING: {},
        BOOT_KEY: "boot",
        REACHABLE_KEY: "",
    }
    _, play = load_playbook(PLAYBOOK).plays
    here = Host("gpu-1", "192.0.2.1", Origin("hosts.yaml"), variables=variables)
    found = plan_host(Subject(here, play, PLAYBOOK, {"in_cluster": False}), observed)
    assert isinstance(found, HostPlan), found
    assert found.problem is None, found.problem
    return found


def shown(found: HostPlan) -> list[str]:
    steps = [step for step in found.steps if step.status in ("change", "deferred")]
    return [step.changes[0].summary if step.changes else step.label for step in steps]


BEHIND = ["MIG, persistence mode and services as before"]


def test_mig_comes_back_after_a_reboot() -> None:
    found = plan(0)
    record, *rest = shown(found)
    assert record.startswith("keep on the node: reboot of GPU 0000:01:00")
    assert rest[:3] == [KEPT, "reboot", *BEHIND]
    assert found.disruption is Disruption.REBOOT


def test_the_power_is_switched_where_the_inventory_says_how() -> None:
    record, *rest = shown(plan(2, power_cycle_command=["bmcctl", "cycle"]))
    assert record.startswith("keep on the node: power cycle of GPU 0000:01:00")
    assert rest[:3] == [KEPT, "power cycle, from here: bmcctl cycle", *BEHIND]


def test_without_a_command_a_person_is_next() -> None:
    found = plan(2)
    assert shown(found) == []
    assert found.disruption < Disruption.REBOOT
