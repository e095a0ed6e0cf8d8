"""An ordinary user's lab: what it lacks is named, and it works as root's does."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.cli.rootless import VARIABLE, cross_over
from runner.errors import GpurunError, Origin
from runner.inventory.model import Host
from runner.lab import access, image, lifecycle, processes, requirements, rootless
from runner.lab.layout import DEFAULT_NODES, ROOTLESS, Node, find_lab, keeper_file

PROJECT = Path(__file__).parents[2]
USER = "gpurun-test"


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As in the namespaces of a user whose home is this folder."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(ROOTLESS, "1")
    return tmp_path


def test_a_rootless_lab_lies_in_the_users_home(inside: Path) -> None:
    lab = find_lab("lab")
    assert lab.folder == inside / ".local/state/gpurun/labs/lab"
    assert lab.cache == inside / ".cache/gpurun"
    assert lifecycle.default_profile() == "light"


def test_its_inventory_names_the_keeper_for_each_host(inside: Path) -> None:
    lab = find_lab("lab")
    nodes = [Node(lab, spec, i, "198.18.7", "light") for i, spec in enumerate(DEFAULT_NODES)]
    hosts = access.inventory(lab, nodes)["all"]["hosts"]
    assert {host[VARIABLE] for host in hosts.values()} == {str(keeper_file())}


def test_full_nodes_are_refused_with_the_way_to_get_them(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(GpurunError, match="light nodes only") as caught:
        requirements.check("full")
    assert "sudo gpurun lab up" in caught.value.hint


def host(name: str, **variables: object) -> Host:
    return Host(name=name, address=name, origin=Origin("lab.yaml"), variables=variables)


def test_hosts_elsewhere_are_reached_from_here() -> None:
    cross_over([host("a"), host("b")])


def test_a_rootless_lab_is_not_mixed_with_other_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ROOTLESS, raising=False)
    with pytest.raises(GpurunError, match="not all of these hosts"):
        cross_over([host("a"), host("b", gpurun_lab_namespace=str(tmp_path / "keeper"))])


def test_a_lab_whose_keeper_is_gone_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ROOTLESS, raising=False)
    file = tmp_path / "keeper"
    file.write_text(f"{os.getpid()} 1\n")  # this process, but begun at another time
    assert rootless.keeper(file) == 0
    with pytest.raises(GpurunError, match="does not run") as caught:
        cross_over([host("a", gpurun_lab_namespace=str(file))])
    assert "gpurun lab up" in caught.value.hint


def test_a_keeper_is_known_by_its_pid_and_start(tmp_path: Path) -> None:
    file = tmp_path / "keeper"
    file.write_text(f"{os.getpid()} {rootless.start_time(os.getpid())}\n")
    assert rootless.keeper(file) == os.getpid()
    assert rootless.keeper(tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("ann:100000:65536\n", []),
        ("", ["sudo usermod --add-subuids 100000-165535 ann"]),
        ("ann:100000:10\n", ["sudo usermod --add-subuids 100010-165545 ann"]),
        ("bob:100000:65536\n", ["sudo usermod --add-subuids 165536-231071 ann"]),
    ],
)
def test_missing_subordinate_ids(tmp_path: Path, content: str, expected: list[str]) -> None:
    file = tmp_path / "subuid"
    file.write_text(content)
    assert [remedy for _, remedy in requirements.subordinate_problems("ann", (file,))] == expected


def test_kernel_settings_that_forbid_it_are_named(tmp_path: Path) -> None:
    names = ("user/max_user_namespaces", "kernel/apparmor_restrict_unprivileged_userns")
    for name, text in zip(names, ("0\n", "1\n"), strict=True):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    remedies = [remedy for _, remedy in requirements.refusing_switches(names, tmp_path)]
    assert remedies == [
        "sudo sysctl -w user.max_user_namespaces=10000",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ]


def test_all_that_is_missing_is_named_with_its_remedy_and_the_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda tool, **_: None if "idmap" in tool else tool)
    monkeypatch.setattr(requirements, "subordinate_problems", lambda user: [("ids", "usermod x")])
    with pytest.raises(GpurunError, match="packages uidmap; ids") as caught:
        requirements.check_rootless()
    assert "apt-get install --no-install-recommends uidmap\n    usermod x" in caught.value.hint
    assert "docker run" in caught.value.hint


SEE_THROUGH = """
set -eu
umask 022
stage=$1 closed=$2
shift 2
mkdir -p "$stage"
number=0
for folder; do
  [ "$folder" != -- ] || break
  number=$((number + 1))
  mkdir -p "$stage/$number"
  mount --bind "$folder" "$stage/$number"
done
mount -t tmpfs -o mode=755 tmpfs "$closed"
number=0
while [ "$1" != -- ]; do
  number=$((number + 1))
  mkdir -p "$1"
  mount --move "$stage/$number" "$1"
  shift
done
shift
exec "$@"
"""
"""In a mount namespace of its own: of a closed folder (/root), only these folders are seen."""


def closed(folder: Path) -> Path | None:
    """The first folder on the way there that other users may not pass."""
    ways = [*reversed(folder.parents), folder]
    return next((way for way in ways if not way.stat().st_mode & 0o001), None)


def as_user(user: str, stage: Path) -> list[str]:
    """Prefix of a command that runs as `user` and can read Python, its packages and the project."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), PROJECT}
    hidden: dict[Path, list[Path]] = {}
    for folder in sorted(prefixes):
        if (way := closed(folder)) is not None:
            hidden.setdefault(way, []).append(folder)
    prefix: list[str] = []
    for number, (way, folders) in enumerate(hidden.items()):
        prefix += ["unshare", "--mount", "/bin/sh", "-c", SEE_THROUGH, "see-through"]
        prefix += [str(stage / str(number)), str(way), *map(str, folders), "--"]
    return [*prefix, "runuser", "-u", user, "--"]


@dataclass(frozen=True, slots=True)
class OrdinaryUser:
    """A user without sudo.

    Args:
        prefix: of commands that run as that user.
    """

    home: Path
    prefix: list[str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        given = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.run(
            [*self.prefix, "env", "-i", f"--chdir={self.home}", *given, *command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def gpurun(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "runner.cli.main", *arguments)


@pytest.fixture
def somebody(tmp_path: Path) -> Iterator[OrdinaryUser]:
    """An ordinary user made for the test, with root's base image ready for the taking."""
    if shutil.which("newuidmap") is None:
        pytest.skip("allowed: there is no newuidmap (package uidmap)")
    if refusing := requirements.refusing_switches(requirements.SWITCHES):
        pytest.skip(f"allowed: {refusing[0][0]}")
    remove_user()
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True)
    home = Path(pwd.getpwnam(USER).pw_dir)
    user = OrdinaryUser(home, as_user(USER, tmp_path / "stage"))
    cache = home / ".cache/gpurun"
    assert user.run("mkdir", "-p", str(cache)).returncode == 0
    _, base = image.layers(find_lab("lab").cache, print)
    archive = image.base_archive(cache, image.host_recipe())
    subprocess.run(["tar", "--numeric-owner", "-C", base, "-cf", archive, "."], check=True)
    yield user
    user.gpurun("lab", "down", "--all")
    remove_user()


def remove_user() -> None:
    """Remove the test's user with home and processes, also of a killed run."""
    try:
        number = pwd.getpwnam(USER).pw_uid
    except KeyError:
        return
    processes.end(lambda: [pid for pid in processes.all_pids() if runs_as(pid, number)])
    subprocess.run(["userdel", "--force", "--remove", USER], check=True, capture_output=True)


def runs_as(pid: int, number: int) -> bool:
    status = processes.read(pid, "status").splitlines()
    owner = next((line.split()[1] for line in status if line.startswith(b"Uid:")), b"")
    return owner == str(number).encode() and processes.is_alive(pid)


@pytest.mark.lab
def test_an_ordinary_user_partitions_gpus_in_a_lab_of_its_own(somebody: OrdinaryUser) -> None:
    up = somebody.gpurun("lab", "up", "gpu-a1=A100-80:1", "gpu-t1=T4:1")
    assert up.returncode == 0, up.stderr
    assert up.stdout.count("running\n") == 2
    assert "Kubernetes API answers" in up.stdout

    playbook = str(PROJECT / "playbooks/mig-7x1g.yaml")
    applied = somebody.gpurun("apply", playbook, "-i", "lab", "--limit", "a100", "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    seen = somebody.gpurun("lab", "shell", "gpu-a1", "nvidia-smi", "-L")
    assert seen.stdout.count("MIG 1g.10gb") == 7, seen.stderr
    assert somebody.gpurun("plan", playbook, "-i", "lab", "--limit", "t4").returncode == 4
    facts = somebody.gpurun("facts", "driver", "-i", "lab")
    assert '"loaded": "550.90.07"' in facts.stdout, facts.stderr

    assert somebody.gpurun("lab", "reset", "gpu-a1").returncode == 0
    again = somebody.gpurun("lab", "shell", "gpu-a1", "nvidia-smi", "-L")
    assert "MIG" not in again.stdout.replace("MIG-", "")
    assert again.stdout.startswith("GPU 0"), again.stderr

    assert somebody.gpurun("lab", "down").returncode == 0
    number = pwd.getpwnam(USER).pw_uid
    deadline = time.monotonic() + 60
    while left := [pid for pid in processes.all_pids() if runs_as(pid, number)]:
        assert time.monotonic() < deadline, f"processes outlive the lab: {left}"
        time.sleep(0.05)
    assert somebody.gpurun("lab", "status").returncode == 1
