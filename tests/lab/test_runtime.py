"""runtime-install and containerd-nvidia-runtime against real apt, systemd and containerd."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program

pytestmark = pytest.mark.lab

INSTALL = "playbooks/runtime-install.yaml"
PATCH = "playbooks/containerd-nvidia-runtime.yaml"
ROLLBACK = "playbooks/runtime-rollback.yaml"
RUNTIME_CLASS = "/apis/node.k8s.io/v1/runtimeclasses/nvidia"
SET = (
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-container-toolkit-base",
    "nvidia-container-toolkit",
)


def test_the_toolkit_and_the_runtime_from_nothing(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    refused = program.on_lab("apply", PATCH, "--yes", "--limit", "gpu-a2")
    assert refused.returncode == 4, refused.stdout
    assert "runtime-install" in refused.stdout

    invocation = host.check_output("systemctl show containerd -p InvocationID --value")
    code, plan = program.json("plan", INSTALL, "--limit", "gpu-a2")
    assert code == 2
    assert not host.package("nvidia-container-toolkit").is_installed

    code, applied = program.json("apply", INSTALL, "--yes", "--limit", "gpu-a2")
    assert code == 0, applied
    assert [c["summary"] for c in applied["changes"]] == [c["summary"] for c in plan["changes"]]
    held = host.check_output("apt-mark showhold").split()
    for name in SET:
        assert host.package(name).version == "1.18.0-1"
        assert name in held
    assert "nvidia-container-runtime" in host.check_output("containerd config dump")
    assert host.service("containerd").is_running
    assert host.check_output("systemctl show containerd -p InvocationID --value") != invocation
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")

    after = host.check_output("systemctl show containerd -p InvocationID --value")
    for playbook in (INSTALL, PATCH):
        code, again = program.json("apply", playbook, "--yes", "--limit", "gpu-a2")
        assert (code, again["changes"]) == (0, []), again
    assert host.check_output("systemctl show containerd -p InvocationID --value") == after

    assert cluster.read(RUNTIME_CLASS)["handler"] == "nvidia"

    code, back = program.json("apply", ROLLBACK, "--yes", "--limit", "gpu-a2")
    assert code == 0, back
    assert "nvidia" not in host.check_output("containerd config dump")
    assert "nvidia" not in host.file("/etc/containerd/config.toml").content_string
    assert host.service("containerd").is_running
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
    code, again = program.json("apply", ROLLBACK, "--yes", "--limit", "gpu-a2")
    assert (code, again["changes"]) == (0, []), again


DROP_IN = "/etc/containerd/conf.d/99-nvidia.toml"


def test_the_runtime_in_a_file_of_its_own_and_no_trace_of_it_afterwards(
    fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    install(host)
    before = host.check_output("sha256sum /etc/containerd/config.toml")
    mode = ("--yes", "--limit", "gpu-a2", "-e", "mode=drop_in")

    code, applied = program.json("apply", PATCH, *mode)
    assert code == 0, applied
    assert host.file(DROP_IN).mode == 0o644
    main = host.file("/etc/containerd/config.toml").content_string
    assert "nvidia" not in main and "/etc/containerd/conf.d/*.toml" in main
    assert "nvidia-container-runtime" in host.check_output("containerd config dump")
    for more in (mode, mode[:3]):
        code, again = program.json("apply", PATCH, *more)
        assert (code, again["changes"]) == (0, []), again

    code, back = program.json("apply", ROLLBACK, *mode)
    assert code == 0, back
    assert not host.file(DROP_IN).exists
    assert host.check_output("sha256sum /etc/containerd/config.toml") == before
    assert "nvidia" not in host.check_output("containerd config dump")
    assert host.service("containerd").is_running and not cluster.cordoned("gpu-a2")


def install(host: Any) -> None:
    packages = " ".join(f"{name}=1.18.0-1" for name in SET)
    host.check_output(f"DEBIAN_FRONTEND=noninteractive apt-get -y -q install {packages}")


REFUSING = """\
[Service]
ExecStartPre=/bin/sh -c '! grep -rq nvidia /etc/containerd'
"""
"""A containerd that does not start with the runtime in its configuration."""


@pytest.mark.parametrize("mode", ["in_place", "drop_in"])
def test_a_containerd_that_does_not_start_runs_on_with_its_old_file(
    mode: str, fresh: LabUnderTest, program: Program, cluster: Cluster
) -> None:
    host = fresh.host("gpu-a2")
    install(host)
    drop_in = "/etc/systemd/system/containerd.service.d/refuse.conf"
    host.check_output(f"mkdir -p {drop_in.rpartition('/')[0]}")
    host.check_output(f"printf %s {quote(REFUSING)} > {drop_in} && systemctl daemon-reload")
    before = host.check_output("sha256sum /etc/containerd/config.toml")

    limit = ("--yes", "--limit", "gpu-a2", "-e", f"mode={mode}")
    code, applied = program.json("apply", PATCH, *limit)
    assert code == 1, applied
    (result,) = applied["hosts"]
    assert "as they were, and with them it succeeded" in str(result)
    assert host.check_output("sha256sum /etc/containerd/config.toml") == before
    assert not host.file(DROP_IN).exists
    assert host.service("containerd").is_running
    assert cluster.cordoned("gpu-a2"), "not proven, so not given back"

    host.check_output(f"rm {drop_in} && systemctl daemon-reload")
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "nvidia-container-runtime" in host.check_output("containerd config dump")
    assert host.file(DROP_IN).exists == (mode == "drop_in")
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")


BROKEN = """\
- name: a configuration that containerd does not understand
  hosts: gpu
  become: true
  tasks:
    - name: configuration
      toml:
        path: /etc/containerd/config.toml
        set: {oom_score: much}
        validate: containerd --config %s config dump
      notify: restart containerd
  handlers:
    - name: restart containerd
      service: {name: containerd, state: restarted}
      disruption: node
"""


def test_what_containerd_refuses_never_comes_to_a_restart(
    fresh: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    host = fresh.host("gpu-a2")
    show = "sha256sum /etc/containerd/config.toml; systemctl show containerd -p InvocationID"
    before = host.check_output(show)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    code, applied = program.json(
        "apply", str(tmp_path / "broken.yaml"), "--yes", "--limit", "gpu-a2"
    )
    assert code == 1, applied
    assert "was refused by its validation" in str(applied["hosts"])
    assert host.check_output(show) == before


def test_what_containerd_refuses_of_our_own_edit_never_comes_to_a_restart(
    fresh: LabUnderTest, program: Program
) -> None:
    host = fresh.host("gpu-a2")
    install(host)
    real = host.check_output("command -v containerd")
    host.check_output(f"mv {real} {real}.real")
    host.check_output(f"printf %s {quote(PICKY)} > {real} && chmod 755 {real}")
    show = "sha256sum /etc/containerd/config.toml; systemctl show containerd -p InvocationID"
    before = host.check_output(show)
    code, applied = program.json("apply", PATCH, "--yes", "--limit", "gpu-a2")
    assert code == 1, applied
    assert "no runtime of NVIDIA's here" in str(applied["hosts"])
    assert host.check_output(show) == before


PICKY = """\
#!/bin/sh
if [ "$1 $3" = "--config config" ] && grep -q BinaryName.*nvidia "$2"; then
  echo "containerd: no runtime of NVIDIA's here" >&2
  exit 1
fi
exec "$0.real" "$@"
"""


CONFIG = "/etc/containerd/config.toml"
IN_THE_WAY = {
    "is a directory": f"rm {CONFIG} && mkdir {CONFIG}",
    "leads nowhere": f"ln -sf config.toml {CONFIG}",
    "not UTF-8": rf"printf '# f\374r\n' >> {CONFIG}",
    "(at line": rf"printf '[[[\n' >> {CONFIG}",
}
FULL = (
    "mount -t tmpfs -o size=12k tmpfs /etc/containerd && cp /tmp/kept /etc/containerd/config.toml;"
    " cat /dev/zero > /etc/containerd/x"
)


def immutable(on: bool) -> str:
    """`chattr +i` or `-i` of the configuration; nodes have Perl, but no chattr(1)."""
    flags = "unpack('L!', $f) | 16" if on else "unpack('L!', $f) & ~16"
    steps = (
        "open(F, '<', $ARGV[0]) or die $!",
        "$f = pack('L!', 0)",
        "ioctl(F, 0x80086601, $f) or die $!",  # FS_IOC_GETFLAGS, 16 is FS_IMMUTABLE_FL
        f"$f = pack('L!', {flags})",
        "ioctl(F, 0x40086602, $f) or die $!",  # FS_IOC_SETFLAGS
    )
    return f"perl -e {quote('; '.join(steps))} {CONFIG}"


def test_what_stands_in_the_way_is_told_and_nothing_is_restarted(
    fresh: LabUnderTest, program: Program
) -> None:
    host = fresh.host("gpu-a2")
    install(host)
    show = f"systemctl show containerd -p InvocationID; sha256sum {CONFIG} 2>&1; ls -ld {CONFIG}"
    host.check_output(f"cp {CONFIG} /tmp/kept")
    limit = ("--yes", "--limit", "gpu-a2")
    for told, way in IN_THE_WAY.items():
        host.run(way)
        before = host.check_output(f"{show}; true")
        code, applied = program.json("apply", PATCH, *limit)
        assert code == 4 and told in str(applied), applied
        assert host.check_output(f"{show}; true") == before
        host.check_output(f"rm -rf {CONFIG} && cp /tmp/kept {CONFIG}")

    host.check_output(immutable(True))
    before = host.check_output(show)
    code, applied = program.json("apply", PATCH, *limit)
    assert code == 1 and "Operation not permitted" in str(applied), applied
    assert host.check_output(show) == before
    host.check_output(immutable(False))
    resumed = program.run("resume", "--yes")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr

    host.check_output(f"cp {CONFIG} /tmp/kept")
    host.run(FULL)
    before = host.check_output(show)
    code, applied = program.json("apply", ROLLBACK, *limit)
    assert code == 1 and "No space left on device" in str(applied), applied
    assert host.check_output(show) == before


def test_a_reboot_is_a_new_boot_and_the_node_comes_back(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    playbook = tmp_path / "reboot.yaml"
    playbook.write_text(
        """
- name: a setting that needs a reboot
  hosts: gpu
  become: true
  drain: {mode: full}
  tasks:
    - name: setting
      copy: {content: "on\\n", dest: /etc/lab-setting}
      notify: reboot
  handlers:
    - name: reboot
      reboot: {timeout: 300}
  verify:
    - name: it is there after the reboot
      command: {cmd: cat /etc/lab-setting, read_only: true}
"""
    )
    host = fresh.host("gpu-a2")
    boot = host.check_output("cat /proc/sys/kernel/random/boot_id")
    code, applied = program.json("apply", str(playbook), "--yes", "--limit", "gpu-a2")
    assert code == 0, applied
    assert host.check_output("cat /proc/sys/kernel/random/boot_id") != boot
    assert not cluster.cordoned("gpu-a2") and not cluster.marks("gpu-a2")
    code, again = program.json("apply", str(playbook), "--yes", "--limit", "gpu-a2")
    assert (code, again["changes"]) == (0, []), again
