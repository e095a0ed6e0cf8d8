"""`dnf` and `package` with real dnf, rpm and versionlock, on a node without apt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Program
from tests.lab.rpm_host import REPOSITORY, become_rpm_host, installed, offer, write_source

pytestmark = pytest.mark.lab

LOCK = "/var/lib/dnf/rpmdb_lock.pid"


class Host:
    """The node, and plays on it of one task each."""

    def __init__(self, lab: LabUnderTest, program: Program, folder: Path) -> None:
        self.node = lab.host("gpu-t1")
        self.program = program
        self.folder = folder

    def play(self, verb: str, task: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Exit code and report of `plan` or `apply`."""
        file = self.folder / "play.yaml"
        file.write_text(json.dumps([{"hosts": "gpu-t1", "become": True, "tasks": [task]}]))
        more = ("--yes",) if verb == "apply" else ()
        return self.program.json(verb, str(file), *more)

    def done(self, **arguments: Any) -> str:
        """Apply `dnf`; the summary of what it did."""
        code, applied = self.play("apply", {"dnf": arguments})
        assert code == 0, applied
        (did,) = applied["changes"]
        return str(did["summary"])

    def refused(self, **arguments: Any) -> str:
        """Why `apply` leaves the host alone."""
        before = installed(self.node)
        code, report = self.play("apply", {"dnf": arguments})
        assert code == 4, report
        assert installed(self.node) == before
        return str(report["hosts"])

    def failed(self, **arguments: Any) -> str:
        code, report = self.play("apply", {"dnf": arguments})
        assert code == 1, report
        return str(report["hosts"])

    def locks(self) -> list[str]:
        return list(self.node.check_output("dnf -q -C versionlock list").split())


@pytest.fixture
def host(fresh: LabUnderTest, program: Program, tmp_path: Path) -> Host:
    found = Host(fresh, program, tmp_path)
    become_rpm_host(found.node)
    return found


def test_versions_go_up_and_down_and_away(host: Host) -> None:
    assert host.done(name="tool", version="1.0") == "tool (none) -> 1.0-1"
    assert host.done(name="tool", version="2.0-1") == "tool 1.0-1 -> 2.0-1"
    assert "this is a downgrade" in host.refused(name="tool", version="1.0")
    assert host.done(name="tool", version="1.0", allow_downgrade=True) == "tool 2.0-1 -> 1.0-1"
    code, plan = host.play("plan", {"dnf": "app"})
    assert code == 2
    assert host.done(name="app") == plan["changes"][0]["summary"] == "app, lib (none) -> 1.0-1"
    code, again = host.play("apply", {"dnf": "app"})
    assert (code, again["changes"]) == (0, []), again
    assert "would remove packages that are not named: app" in host.refused(
        name="lib", state="absent"
    )
    host.done(name="lib", state="absent", allow_removals=True)
    assert installed(host.node) == {"tool-1.0"}
    code, report = host.play("apply", {"package": {"name": "tool", "version": "2.0"}})
    assert code == 0, report
    assert installed(host.node) == {"tool-2.0"}
    assert "Unable to find a match: tool-9" in host.refused(name="tool", version="9")


def test_locks_are_owned_by_the_task_or_by_somebody_else(host: Host) -> None:
    host.done(name="tool", version="1.0", lock=True)
    assert host.locks() == ["tool-0:1.0-1.*"]
    host.done(name="tool", version="2.0", lock=True)
    assert host.locks() == ["tool-0:2.0-1.*"], "the lock goes along"
    assert "locked packages would change: tool" in host.refused(
        name="tool", version="1.0", allow_downgrade=True
    )
    host.done(name="tool", lock=False)
    assert host.locks() == []
    host.node.check_output("dnf -q -C versionlock add --raw 'to*-0:2*'")
    assert "locked packages would change: tool" in host.refused(name="tool", state="absent")
    host.node.check_output("mv /etc/dnf/plugins/versionlock.conf /opt/gone/")
    host.node.check_output("mv /usr/lib/python3/dist-packages/dnf-plugins/versionlock.py /opt/gone")
    assert "install python3-dnf-plugin-versionlock first" in host.refused(name="tool", lock=True)


def test_a_package_that_replaces_another_is_shown(host: Host) -> None:
    host.done(name="lib")
    offer(host.node, {"newlib-2.0": "Obsoletes: lib < 2\nProvides: lib = 2.0"})
    host.node.check_output("dnf -q -y makecache --refresh")
    assert "would remove packages that are not named: lib" in host.refused(name="newlib")
    host.done(name="newlib", allow_removals=True)
    assert installed(host.node) == {"newlib-2.0"}
    assert "does another package replace it" in host.refused(name="lib")


def test_a_scriptlet_that_fails_fails_the_task_also_where_dnf_calls_it_a_warning(
    host: Host,
) -> None:
    for name, left in (("fails-before", set()), ("fails-after", {"fails-after-1.0"})):
        said = host.failed(name=name)
        assert "the disk of the build is on fire" in said
        assert installed(host.node) == left


def test_a_plan_is_made_and_done_with_the_same_lists(host: Host) -> None:
    offer(host.node, {"tool-3.0": "", "lib-1.1": ""})
    host.node.check_output("touch -d 2000-01-01 /var/cache/dnf/*.solv")
    host.node.check_output("echo metadata_expire=1 >>/etc/yum.repos.d/lab.repo")
    assert host.done(name="app") == "app, lib (none) -> 1.0-1", "1.1 is not known of yet"
    assert "Unable to find a match: tool-3.0" in host.refused(name="tool", version="3.0")
    code, report = host.play(
        "apply", {"dnf": {"name": "tool", "version": "3.0", "update_cache": True}}
    )
    assert code == 0, report
    assert "tool-3.0" in installed(host.node)


def test_repositories_that_cannot_be_used_are_named(host: Host) -> None:
    write_source(host.node, "gpgcheck=1")
    assert "no key is known" in host.refused(name="tool", version="1.0")
    write_source(host.node, "gpgcheck=1", "gpgkey=file:///opt/nothing")
    assert "Package tool-1.0-1.noarch.rpm is not signed" in host.failed(name="tool", version="1.0")
    write_source(host.node, "gpgcheck=0")
    host.node.check_output(f"mv {REPOSITORY} /opt/gone/")
    assert "tool-1.0-1.noarch.rpm" in host.failed(name="tool", version="1.0")
    assert installed(host.node) == set()
    host.node.check_output("rm -r /var/cache/dnf")
    assert "no cache for 'lab'" in host.refused(name="tool", version="1.0")
    host.node.check_output(f"mv /opt/gone/rpms {REPOSITORY}")


def test_another_dnf_at_work_is_named_and_waited_for(host: Host) -> None:
    task = {"dnf": {"name": "tool", "version": "1.0"}}
    holder = f"echo $$ >{LOCK}; exec sleep 3600"
    host.node.check_output(f"sh -c '{holder}' >/dev/null 2>&1 & until [ -s {LOCK} ]; do :; done")
    code, report = host.play("plan", {"require": {"no_package_manager": True}})
    assert code == 4 and f"sleep 3600 holds {LOCK}" in str(report["hosts"]), report
    # It ends once the task is seen to wait between two tries.
    ends = f"until pgrep -fx 'sleep 5'; do sleep 0.1; done; kill $(cat {LOCK})"
    host.node.check_output(f'sh -c "{ends}" >/dev/null 2>&1 &')
    code, report = host.play("apply", task)
    assert code == 0, report
    assert installed(host.node) == {"tool-1.0"}


def test_a_kernel_that_waits_for_a_reboot_is_seen(host: Host) -> None:
    wait = {"require": {"no_pending_reboot": True}}
    code, report = host.play("plan", wait)
    assert code == 0, report
    host.done(name="kernel")
    code, report = host.play("plan", wait)
    assert code == 4 and "kernel" in str(report["hosts"]), report
