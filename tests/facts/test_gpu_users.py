"""Who holds the GPUs is read from the node itself, whatever runtime and cgroup driver it has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runner.facts.gpu_users import (
    GpuUser,
    GpuUsers,
    control_groups,
    ended_by,
    parse_gpu_users,
    pod_uid,
    probe,
)
from runner.hosts.script import Result
from runner.modules.base import Unknown

UID = "7a3f1c52-0d5e-4f0a-9a7e-3c1d2b4e5f60"
ESCAPED = UID.replace("-", "_")
STATIC = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
BOX = "c0ffee" * 10 + "beef"
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{ESCAPED}.slice"

V1 = """\
12:devices:/kubepods/burstable/pod{uid}/{box}
5:memory:/kubepods/burstable/pod{uid}/{box}
1:name=systemd:/kubepods/burstable/pod{uid}/{box}"""

PODS = {
    "v2, systemd, containerd": f"0::{SLICE}/cri-containerd-{BOX}.scope",
    "v2, systemd, cri-o": f"0::{SLICE}/crio-{BOX}.scope",
    "v2, systemd, cri-o with a child": f"0::{SLICE}/crio-{BOX}.scope/container",
    "v2, systemd, docker": f"0::{SLICE}/docker-{BOX}.scope",
    "v2, systemd, guaranteed": (
        f"0::/kubepods.slice/kubepods-pod{ESCAPED}.slice/cri-containerd-{BOX}.scope"
    ),
    "v2, cgroupfs": f"0::/kubepods/besteffort/pod{UID}/{BOX}",
    "v1, cgroupfs": V1.format(uid=UID, box=BOX),
    "hybrid": f"4:devices:{SLICE}/cri-containerd-{BOX}.scope\n0::/system.slice/containerd.service",
    "containerd without SystemdCgroup below a kubelet with it": (
        f"0::/system.slice/containerd.service/kubepods-burstable-pod{ESCAPED}.slice"
        f":cri-containerd:{BOX}"
    ),
    "a kubelet in a container": f"0::/docker/{'a' * 64}/kubelet/kubepods/burstable/pod{UID}/{BOX}",
    "kind": (
        f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{ESCAPED}.slice"
        f"/cri-containerd-{BOX}.scope"
    ),
}


@pytest.mark.parametrize("text", PODS.values(), ids=PODS)
def test_a_process_belongs_to_the_pod_of_its_control_group(text: str) -> None:
    assert pod_uid(control_groups(text.splitlines())) == UID


def test_a_static_pod_has_a_digest_for_a_uid() -> None:
    group = f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/x"
    assert pod_uid(control_groups([group])) == STATIC


@pytest.mark.parametrize(
    "text",
    [
        "0::/system.slice/nvidia-persistenced.service",
        "0::/user.slice/user-1000.slice/session-3.scope",
        f"0::/system.slice/docker-{BOX}.scope",
        f"0::/home/pod{UID}/x",
        "0::/kubepods.slice/kubepods-podwhatever.slice/x",
        "0::/",
        "",
        "garbage",
    ],
)
def test_others_belong_to_none(text: str) -> None:
    assert pod_uid(control_groups(text.splitlines())) == ""


def look(lines: str) -> GpuUsers:
    return parse_gpu_users(Result(0, f"all\n{lines}end\n".encode()))


class TestParse:
    def test_pods_and_others(self) -> None:
        users = look(
            f"P 71 0 python3\nC {PODS['v2, systemd, cri-o']}\nD /dev/nvidia0\nD /dev/nvidiactl\n"
            "P 8 0 nvidia-persiste\nC 0::/system.slice/nvidia-persistenced.service\n"
            "D /dev/nvidia0\n"
            f"P 9 0 trtserver\nC 0::/system.slice/docker-{BOX}.scope\nD /dev/nvidia-uvm\n"
            "P 10 1000 python\nC 0::/user.slice/user-1000.slice/session-3.scope\nD /dev/nvidia1\n"
        )
        assert users.pods() == {UID: "python3 (pid 71) holds /dev/nvidia0, /dev/nvidiactl"}
        assert users.others() == (
            "nvidia-persiste (pid 8) holds /dev/nvidia0: a service of the host, stopped with: "
            "systemctl stop nvidia-persistenced.service",
            f"trtserver (pid 9) holds /dev/nvidia-uvm: container {BOX[:12]} of no pod, stopped "
            f"with: docker stop {BOX[:12]}",
            "python (pid 10) holds /dev/nvidia1: a process of user 1000 on the host; ask its "
            "owner, or end it with: kill",
        )
        assert users.users[3].runtime == "cri-o" and users.users[3].container == BOX

    def test_a_session_of_a_user_is_no_service(self) -> None:
        group = "0::/user.slice/user-1000.slice/user@1000.service/app.slice"
        (user,) = look(f"P 1 1000 python\nC {group}\nD /dev/nvidia0\n").users
        assert "ask its owner" in ended_by(user)

    def test_who_is_not_root_sees_its_own_only(self) -> None:
        assert not parse_gpu_users(Result(0, b"own\nend\n")).complete

    @pytest.mark.parametrize(
        "result",
        [
            Result(0),
            Result(3),
            Result(127, b"", b"ls: not found"),
            Result(0, b"all\n"),
            Result(0, b"all\nP 1 0 x\n"),
            Result(0, b"all\nX 1\nend\n"),
            Result(0, b"all\nP x y z\nend\n"),
            Result(0, b"all\nD /dev/nvidia0\nend\n"),
        ],
    )
    def test_what_is_not_understood_is_unknown(self, result: Result) -> None:
        with pytest.raises(Unknown, match="which processes hold the GPUs is not known"):
            parse_gpu_users(result)


class TestLook:
    """The shell on a folder that looks like proc(5)."""

    def process(self, proc: Path, pid: int, name: str, group: str, *files: str) -> None:
        (proc / str(pid) / "fd").mkdir(parents=True)
        (proc / str(pid) / "comm").write_text(f"{name}\n")
        if group:
            (proc / str(pid) / "cgroup").write_text(f"{group}\n")
        for number, file in enumerate(files):
            (proc / str(pid) / "fd" / str(number)).symlink_to(file)

    def look(self, proc: Path) -> GpuUsers:
        (proc / "self").mkdir()
        (proc / "self/cgroup").write_text("0::/\n")
        shell = probe(True, proc=str(proc)).shell
        done = subprocess.run(["sh", "-c", shell], capture_output=True, timeout=30, check=False)
        return parse_gpu_users(Result(done.returncode, done.stdout, done.stderr))

    def test_processes_with_device_files_are_found(self, tmp_path: Path) -> None:
        group = PODS["v2, systemd, containerd"]
        self.process(tmp_path, 12, "sh", "0::/", "/dev/null", "/dev/nvidia0x/y")
        self.process(
            tmp_path, 345, "python3", group, "/dev/nvidiactl", "pipe:[7]", "/dev/nvidia0",
            "/dev/nvidia0 (deleted)", "/dev/nvidia0",
        )  # fmt: skip
        self.process(tmp_path, 4, "we ird", "0::/", "/dev/nvidia-caps/nvidia-cap1")
        self.process(tmp_path, 5, "bash", "0::/", "/dev/null", "/home/dev/nvidia0", "/dev/zero")
        assert [(u.pid, u.command, u.devices, u.pod) for u in self.look(tmp_path).users] == [
            (4, "we?ird", ("/dev/nvidia-caps/nvidia-cap1",), ""),
            (12, "sh", ("/dev/nvidia0x/y",), ""),
            (345, "python3", ("/dev/nvidia0", "/dev/nvidiactl"), UID),
        ]

    def test_one_process_alone(self, tmp_path: Path) -> None:
        self.process(tmp_path, 7, "x", "0::/", "/dev/nvidia0")
        assert [user.pid for user in self.look(tmp_path).users] == [7]

    def test_a_file_name_cannot_blame_another_process(self, tmp_path: Path) -> None:
        self.process(tmp_path, 6, "evil", "0::/", "/tmp/a\n99/fd:\nl 9 -> /dev/nvidia0")
        self.process(tmp_path, 99, "good", PODS["v2, cgroupfs"], "/dev/null")
        assert [user.pid for user in self.look(tmp_path).users] == [6]

    def test_a_process_that_ends_meanwhile_is_left_out(self, tmp_path: Path) -> None:
        self.process(tmp_path, 6, "gone", "", "/dev/nvidia0", "/dev/nvidiactl")
        assert self.look(tmp_path).users == ()

    def test_without_proc_it_is_unknown(self, tmp_path: Path) -> None:
        shell = probe(True, proc=str(tmp_path / "none")).shell
        done = subprocess.run(["sh", "-c", shell], capture_output=True, timeout=30, check=False)
        with pytest.raises(Unknown, match="no /proc"):
            parse_gpu_users(Result(done.returncode, done.stdout, done.stderr))

    def test_the_real_proc_is_read(self) -> None:
        shell = probe(False).shell
        done = subprocess.run(["sh", "-c", shell], capture_output=True, timeout=30, check=False)
        users = parse_gpu_users(Result(done.returncode, done.stdout, done.stderr))
        assert all(isinstance(user, GpuUser) for user in users.users)
