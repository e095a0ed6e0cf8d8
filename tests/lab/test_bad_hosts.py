"""Hosts and clusters in trouble: one clear message each, nothing half done, nothing left unsaid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.lab import api, faults, lifecycle
from tests.conftest import LabUnderTest
from tests.lab.program import PROJECT, Cluster, Program, read_until

pytestmark = pytest.mark.lab

SEVEN = "playbooks/mig-7x1g.yaml"
SLOW = {"metadata": {"annotations": {"lab.gpurun.dev/termination-seconds": "600"}}}
AT_ONCE = {"metadata": {"annotations": {"lab.gpurun.dev/termination-seconds": "0"}}}


def written(folder: Path, tasks: list[dict[str, Any]], **play: Any) -> str:
    """A playbook of one play; its path."""
    path = folder / "playbook.yaml"
    path.write_text(yaml.safe_dump([{"hosts": "all", "become": True, **play, "tasks": tasks}]))
    return str(path)


def by_host(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Host -> its status and reason."""
    return {host["host"]: (host["status"], host["reason"]) for host in report["hosts"]}


def inventory(folder: Path, lab: LabUnderTest, hosts: dict[str, dict[str, Any]]) -> Path:
    """An inventory of the given hosts with the lab's settings for all."""
    settings = yaml.safe_load(lab.inventory.read_text())["all"]["vars"]
    path = folder / "hosts.yaml"
    path.write_text(yaml.safe_dump({"all": {"vars": settings, "hosts": hosts}}))
    return path


def test_logins_that_fail_say_why_and_the_others_go_on(
    lab: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    one, two = lab.nodes["gpu-a1"].address, lab.nodes["gpu-a2"].address
    known, wrong, empty = lab.lab.known_hosts.read_text(), tmp_path / "wrong", tmp_path / "empty"
    other = next(line.split()[2] for line in known.splitlines() if line.startswith(f"{one},"))
    wrong.write_text(f"{two} ssh-ed25519 {other}\n")
    empty.touch()
    key = tmp_path / "key"
    key.write_text("no key\n")

    def known_hosts(path: Path) -> dict[str, str]:
        return {"ansible_host": two, "ansible_ssh_common_args": f"-o UserKnownHostsFile={path}"}

    hosts: dict[str, dict[str, Any]] = {
        "good": {"ansible_host": one, "kubernetes_node": "gpu-a1"},
        "port-closed": {"ansible_host": one, "ansible_port": 2},
        "wrong-user": {"ansible_host": one, "ansible_user": "nobody-here"},
        "no-sudo": {"ansible_host": one, "ansible_user": "viewer"},
        "wrong-password": {
            "ansible_host": one,
            "ansible_user": "deploy",
            "ansible_become_password": "certainly-wrong",
        },
        "new-host-key": known_hosts(wrong),
        "unknown-host-key": known_hosts(empty),
        "bad-key": {"ansible_host": two, "ansible_ssh_private_key_file": str(key)},
        "no-name": {"ansible_host": "does-not-exist.invalid"},
    }
    playbook = written(tmp_path, [{"file": {"path": "/etc/seen", "state": "touch"}}])
    done = program.run(
        "apply", playbook, "-i", str(inventory(tmp_path, lab, hosts)), "--output", "json"
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "certainly-wrong" not in done.stderr + done.stdout
    ended = by_host(json.loads(done.stdout))
    assert ended.pop("good")[0] == "changed"
    expected = {
        "port-closed": ("unreachable", "refuses connections"),
        "wrong-user": ("unreachable", "login as 'nobody-here' refused"),
        "no-sudo": ("failed", "sudo wants a password from 'viewer'"),
        "wrong-password": ("failed", "sudo refuses the password of 'deploy'"),
        "new-host-key": ("unreachable", "the host key has changed"),
        "unknown-host-key": ("unreachable", "the host key is unknown"),
        "bad-key": ("unreachable", f"{key} (not a private key that can be read)"),
        "no-name": ("unreachable", "'does-not-exist.invalid' is not found"),
    }
    for host, (status, words) in expected.items():
        assert ended[host][0] == status, host
        assert words in ended[host][1]
        assert host in ended[host][1]
    assert ended.keys() == expected.keys()
    lab.host("gpu-a1").check_output("rm /etc/seen")


def test_silent_and_lost_hosts_are_unreachable_and_the_others_go_on(
    lab: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    silent, lost = lab.nodes["gpu-a2"], lab.nodes["gpu-t1"]
    faults.slow_sshd(silent)
    faults.link_down(lost)
    try:
        code, report = program.json(
            "plan",
            written(tmp_path, [{"debug": {"msg": "here"}}]),
            "--connect-timeout",
            "5",
        )
    finally:
        faults.fast_sshd(silent)
        faults.link_up(lost)
    assert code == 1
    ended = by_host(report)
    assert ended["gpu-a1"][0] == ended["gpu-h1"][0] == "ok"
    for node in ("gpu-a2", "gpu-t1"):
        assert ended[node][0] == "unreachable"
        assert node in ended[node][1]


def test_a_command_that_never_ends_is_ended_on_the_host(
    lab: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    endless = {"name": "endless", "command": {"cmd": "sleep 98765"}, "timeout": 2}
    playbook = written(tmp_path, [endless])
    code, report = program.json("apply", playbook, "--yes", "--limit", "gpu-a1")
    assert code == 1
    status, reason = by_host(report)["gpu-a1"]
    assert status == "failed"
    assert "endless: did not end within 2 s" in reason
    assert lab.host("gpu-a1").run("pgrep -f 'sleep 9876[5]'").rc == 1


def test_any_output_is_only_data(lab: LabUnderTest, program: Program, tmp_path: Path) -> None:
    """A noisy shell, binary output, NULs, control codes, and more than anybody reads."""
    noise = "echo noise; echo noise >&2; printf '\\033[2J\\0'"
    host = lab.host("gpu-a1", sudo=False)
    host.check_output("cp ~/.bashrc ~/.bashrc.before")
    host.check_output(f"sed -i '1i {noise}' ~/.bashrc".replace("\\", "\\\\"))
    tasks = [
        {
            "name": "binary",
            "shell": {"cmd": "head -c 4096 /dev/urandom; printf '\\0\\033]0;x\\007\\377'"},
        },
        {"name": "large", "shell": {"cmd": "head -c 120000000 /dev/zero"}},
        {"name": "fails", "shell": {"cmd": "printf 'a\\0b\\033[2Jc\\377' >&2; exit 3"}},
    ]
    try:
        done = program.on_lab("apply", written(tmp_path, tasks), "--yes", "--limit", "gpu-a1")
    finally:
        host.check_output("mv ~/.bashrc.before ~/.bashrc")
    printed = done.stdout + done.stderr
    assert done.returncode == 1, printed
    assert "gpu-a1: binary: done" in printed
    assert "gpu-a1: failed: fails: failed with exit code 3: a" in printed
    assert "\0" not in printed
    assert "\033" not in printed
    assert "Traceback" not in printed


def test_a_full_disk_and_a_read_only_etc_leave_files_as_they_were(
    lab: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    full, fixed = lab.nodes["gpu-a1"], "gpu-a2"
    for node in (full.name, fixed):
        lab.host(node).check_output("echo before > /etc/kept")
    large = "x" * 8_000_000
    (tmp_path / "large").write_text(large)
    copy = {"name": "large file", "copy": {"src": str(tmp_path / "large"), "dest": "/etc/kept"}}
    playbook = written(tmp_path, [copy], rollout={"waves": ["100%"]})
    lab.host(fixed).check_output("mount --bind /etc /etc && mount -o remount,bind,ro /etc")
    faults.disk_full(full)
    try:
        code, report = program.json("apply", playbook, "--yes", "--limit", "gpu-a1,gpu-a2")
    finally:
        faults.disk_free(full)
        lab.host(fixed).check_output("umount -l /etc")
    assert code == 1
    ended = by_host(report)
    assert ended["gpu-a1"][0] == ended["gpu-a2"][0] == "failed"
    assert "No space left on device" in ended["gpu-a1"][1]
    assert "Read-only file system" in ended["gpu-a2"][1]
    for node in ("gpu-a1", "gpu-a2"):
        host = lab.host(node)
        assert host.check_output("cat /etc/kept") == "before"
        assert host.check_output("ls -A /etc | grep kept") == "kept"
        host.check_output("rm /etc/kept")


def test_a_cluster_that_is_down_or_forbids_stops_before_any_change(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    reader = fresh.kubeconfig.with_name("kubeconfig-reader")
    code, report = program.json(
        "apply", SEVEN, "--yes", "--limit", "gpu-h1", "--kubeconfig", str(reader)
    )
    assert code == 4
    status, reason = by_host(report)["gpu-h1"]
    assert status == "denied"
    assert "forbidden" in reason
    assert not cluster.cordoned("gpu-h1")
    assert not cluster.marks("gpu-h1")

    api.stop(fresh.lab)
    try:
        code, report = program.json("apply", SEVEN, "--yes", "--limit", "gpu-h1")
    finally:
        lifecycle.start_api(fresh.lab, lifecycle.load(fresh.lab), print)
    assert code == 1
    status, reason = by_host(report)["gpu-h1"]
    assert status == "unknown"
    assert "198." in reason
    assert "MIG 1g." not in fresh.host("gpu-h1").check_output("nvidia-smi -L")


def test_a_cluster_that_goes_down_in_mid_drain_is_said_and_resumed(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    shutil.copytree(PROJECT / "playbooks", tmp_path / "playbooks")
    impatient = tmp_path / SEVEN
    plays = yaml.safe_load(impatient.read_text())
    plays[0]["drain"]["timeout"] = 5
    impatient.write_text(yaml.safe_dump(plays))
    node = next(node for node in ("gpu-h1", "gpu-a1", "gpu-a2") if cluster.gpu_pods(node))
    pods = cluster.gpu_pods(node)
    for pod in pods:
        cluster.patch_pod(pod, SLOW)
    process = program.start("apply", str(impatient), "--yes", "--limit", node)
    try:
        read_until(process, "evicting")
        api.stop(fresh.lab)
        output, _ = process.communicate(timeout=300)
    finally:
        lifecycle.start_api(fresh.lab, lifecycle.load(fresh.lab), print)
    assert process.returncode == 1, output
    assert f"{node} stays cordoned" in output
    assert "gpurun resume" in output
    assert "Traceback" not in output
    for pod in set(pods) & set(cluster.gpu_pods(node)):
        cluster.patch_pod(pod, AT_ONCE)
    resumed = program.run("resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert not cluster.cordoned(node)
    assert not cluster.marks(node)
