"""Locks of packages, free disk space, a pending reboot, GPUs on the bus."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from runner.facts.base import Fact
from runner.facts.clock import CLOCK, parse_clock
from runner.facts.pci import PCI_GPUS, PciGpu, parse_pci_gpus
from runner.facts.readiness import (
    DISK,
    PACKAGE_MANAGER,
    REBOOT_REQUIRED,
    PackageManager,
    RebootRequired,
    parse_disk,
    parse_locks,
    parse_required,
)
from runner.hosts.script import Result
from runner.modules.base import Unknown


def run(fact: Fact, *edits: tuple[str, str]) -> Result:
    """The fact's look, run here with other paths."""
    assert fact.probe is not None
    shell = fact.probe.shell
    for old, new in edits:
        assert old in shell
        shell = shell.replace(old, new, 1)
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def test_the_holder_of_a_lock_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "lock-frontend"
    lock.touch()
    here = ("/var/lib/dpkg/lock-frontend", str(lock))
    assert parse_locks(run(PACKAGE_MANAGER, here)) == PackageManager()
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        ["python3", "-c", program, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = parse_locks(run(PACKAGE_MANAGER, here))
        holder.communicate(b"\n")
    assert found.busy
    assert found.holder.startswith(f"pid {holder.pid}: ") and "python3" in found.holder
    assert found.holder.endswith(f"holds {lock}")


def test_a_lock_of_another_kind_is_no_package_manager(tmp_path: Path) -> None:
    lock = tmp_path / "lock-frontend"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = parse_locks(run(PACKAGE_MANAGER, ("/var/lib/dpkg/lock-frontend", str(lock))))
    assert not found.busy


def test_a_dnf_that_lives_is_named_and_what_a_dead_one_left_is_not(tmp_path: Path) -> None:
    lock = tmp_path / "rpmdb_lock.pid"
    here = ("/var/lib/dnf/rpmdb_lock.pid", str(lock))
    for dead in ("", "4194305"):
        lock.write_text(dead)
        assert not parse_locks(run(PACKAGE_MANAGER, here)).busy
    lock.write_text(str(os.getpid()))
    found = parse_locks(run(PACKAGE_MANAGER, here))
    assert found.holder.startswith(f"pid {os.getpid()}: ") and found.holder.endswith(
        f"holds {lock}"
    )


@pytest.mark.parametrize(("rc", "out"), [(3, b""), (0, b""), (0, b"pid 1: apt holds x\n")])
def test_a_look_at_locks_that_broke_off_is_unknown(rc: int, out: bytes) -> None:
    with pytest.raises(Unknown, match="whether a package manager runs is not known"):
        parse_locks(Result(rc, out))


def test_free_space_of_each_place() -> None:
    found = parse_disk(run(DISK))
    assert set(found) >= {"/", "/tmp", "/usr", "/var"}
    assert parse_disk(Result(0, b"/ overlay 4194304 1048576 3145728 25% /\n")) == {"/": 3072}


@pytest.mark.parametrize("text", [b"", b"/ df: no\n", b"/ a b c d e f\n"])
def test_free_space_that_cannot_be_read_is_unknown(text: bytes) -> None:
    with pytest.raises(Unknown, match="free disk space is not known"):
        parse_disk(Result(0, text))


def test_a_pending_reboot_and_its_packages() -> None:
    assert parse_required(Result(0, b"no\n")) == RebootRequired(False)
    said = Result(0, b"yes\nlinux-base\nnvidia-dkms\nlinux-base\n")
    assert parse_required(said) == RebootRequired(True, ("linux-base", "nvidia-dkms"))
    with pytest.raises(Unknown):
        parse_required(Result(1))


NEEDED = b"""\
dnf 1
Core libraries or services have been updated since boot-up:
  * glibc
  * kernel

Reboot is required to fully utilize these updates.
More information: https://access.redhat.com/solutions/27943
"""


def test_a_pending_reboot_of_a_host_with_dnf() -> None:
    assert parse_required(Result(0, NEEDED)) == RebootRequired(True, ("glibc", "kernel"))
    said = b"dnf 0\nNo core libraries or services have been updated since boot-up.\n"
    assert parse_required(Result(0, said)) == RebootRequired(False)
    with pytest.raises(Unknown, match=r"No such command.*it comes with dnf-plugins-core"):
        parse_required(Result(0, b"dnf 1\nNo such command: needs-restarting.\n"))


def test_dnf_is_asked_only_where_there_is_no_dpkg(tmp_path: Path) -> None:
    (tmp_path / "dnf").write_text(
        f"#!/bin/sh\n/bin/cat <<'END'\n{NEEDED.decode()[6:]}END\nexit 1\n"
    )
    (tmp_path / "dnf").chmod(0o755)
    path = ("if [", f"PATH={tmp_path}\nif [")
    assert run(REBOOT_REQUIRED, path).text.startswith("dnf 1\nCore")
    (tmp_path / "dpkg").symlink_to("/bin/true")
    assert not parse_required(run(REBOOT_REQUIRED, path)).required


LSPCI = b"""\
0000:06:00.0 0302: 10de:2330 (rev a1)
0000:07:00.0 0302: 10de:2330 (rev ff)
0000:08:00.0 0300: 10de:1eb8
0000:09:00.0 0680: 10de:22a3 (rev a1)
"""


def test_gpus_on_the_bus_are_counted_without_a_driver_and_bridges_are_none() -> None:
    assert parse_pci_gpus(Result(0, LSPCI)) == (
        PciGpu("0000:06:00.0", "2330", True),
        PciGpu("0000:07:00.0", "2330", False),
        PciGpu("0000:08:00.0", "1EB8", True),
    )
    assert parse_pci_gpus(Result(0, b"")) == ()
    with pytest.raises(Unknown, match="no lspci"):
        parse_pci_gpus(Result(127))
    assert PCI_GPUS.name == "pci_gpus"


@pytest.mark.parametrize(
    ("timedatectl", "chronyc", "synchronized"),
    [
        ("echo yes", "exit 1", True),
        ("echo no", "exit 1", False),
        ("exit 1", "echo 'Leap status     : Normal'", True),
        ("exit 1", "echo 'Leap status     : Not synchronised'", False),
        ("exit 1", "exit 1", None),
    ],
)
def test_who_keeps_the_clock(
    tmp_path: Path, timedatectl: str, chronyc: str, synchronized: bool | None
) -> None:
    for name, text in (("timedatectl", timedatectl), ("chronyc", chronyc)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    found = run(CLOCK, ("export LC_ALL=C", f"export LC_ALL=C; PATH={tmp_path}:$PATH"))
    if synchronized is None:
        with pytest.raises(Unknown, match="neither timedatectl nor chronyc"):
            parse_clock(found)
    else:
        assert parse_clock(found).synchronized == synchronized
