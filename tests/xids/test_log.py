"""Every form in which the driver reports an XID, and what a look at the kernel log makes of it."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from runner.facts.xids import XIDS, PodProcess, address, export, parse_lines, parse_log
from runner.hosts.script import Result
from runner.modules.base import Unknown

LOGS = Path(__file__).parent / "logs"
BOOT = "0a1b2c3d-0000-4000-8000-000000000000"


def test_every_form_of_a_report() -> None:
    found = parse_lines((LOGS / "formats.txt").read_text())
    assert [(x.code, x.pci) for x in found] == [
        (154, "0009:01:00"),
        (154, "0000:4e:00"),
        (154, "0000:4e:00"),
        (79, "0000:05:00"),
        (79, "0000:5f:00"),
        (119, "0000:9b:00"),
        (63, "0000:10:1c"),
        (149, "0009:01:00"),
        (145, "0009:01:00"),
        (79, "0000:29:00"),
        (14, "0000:03:00"),
        (79, "0000:18:00"),
    ]
    assert [x.recovery for x in found[:3]] == ["Drain and Reset", "Reset", "Reboot"]
    assert (found[0].seconds, found[-1].seconds) == (171167.621162, 12.34569)
    assert found[5].seconds is None, "a date says nothing of the time since boot"
    assert (found[3].pid, found[3].process, found[3].text) == (
        None,
        "",
        "GPU has fallen off the bus.",
    )
    assert (found[8].pid, found[8].process) == (876767, "ray::WorkerDict")
    assert (found[7].severity, found[8].severity, found[6].severity) == ("Fatal", "Nonfatal", "")
    assert found[6].text.startswith("Row Remapper") and found[10].text == "Channel 00000001"


def test_a_log_full_of_other_lines() -> None:
    found = parse_lines((LOGS / "xid-119.txt").read_text())
    assert Counter((x.code, x.pci) for x in found) == {(119, "0000:9b:00"): 5}
    assert {x.pid for x in found} == {2024380, 1263500, 1240590}


@pytest.mark.parametrize(
    "line",
    [
        "NVRM: Xid (PCI:0000:05:00): , GPU",
        "NVRM: Xid (PCI:zz): 79, GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0000:05:00): 154, GPU recovery action changed to something else",
        "NVRM: Xid (PCI:0000:05:00): 154, GPU recovery action changed from 0x0 (None) to 0x9 (New)",
    ],
)
def test_a_report_that_is_not_understood_is_unknown(line: str) -> None:
    with pytest.raises(Unknown):
        parse_lines(line)


@pytest.mark.parametrize("text", ["00000000:9B:00.0", "PCI:0000:9b:00", "9b:00.0", "0000:9b:00"])
def test_one_address_for_one_gpu(text: str) -> None:
    assert address(text) == "0000:9b:00"


def head(pids: str = "") -> str:
    return f"boot {BOOT}\nuptime 200.50\nclock 1790000000\n{pids}lines\n"


def test_which_pod_a_process_belongs_to() -> None:
    uid = "11111111-2222-3333-4444-555555555555"
    systemd = f"kubepods-burstable-pod{uid.replace('-', '_')}.slice/cri-containerd-abc.scope"
    pids = (
        f"pid 10 5000 100 0::/kubepods.slice/{systemd} \n"
        f"pid 11 6000 100 0::/kubepods/burstable/pod{uid}/abc \n"
        "pid 12 7000 100 0::/system.slice/dcgm.service \n"
    )
    log = parse_log(Result(0, head(pids).encode()))
    assert log.processes == {10: PodProcess(uid, 50.0), 11: PodProcess(uid, 60.0)}


def test_ages_and_meanings_for_templates() -> None:
    line = "[  100.500000] NVRM: Xid (PCI:0000:05:00): 31, pid=7, name=x, Ch 0\n"
    (one,) = export(parse_log(Result(0, (head() + line).encode())))
    assert (one["age"], one["meaning"], one["pid"]) == (100.0, "GPU memory page fault", 7)


@pytest.mark.parametrize("text", ["", "boot x\nlines\n", head().replace("lines\n", "")])
def test_a_look_that_broke_off_is_unknown(text: str) -> None:
    with pytest.raises(Unknown, match="XIDs in the kernel log are not known"):
        parse_log(Result(0, text.encode()))


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def look(folder: Path) -> Result:
    assert XIDS.probe is not None
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    shell = ["sh", "-c", XIDS.probe.shell]
    done = subprocess.run(shell, capture_output=True, env=environment, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


XID = "NVRM: Xid (PCI:0000:05:00): 31, pid=1, name=init, Ch 0"


def test_the_log_is_dmesgs_where_that_is_whole(tmp_path: Path) -> None:
    program(tmp_path, "dmesg", f"echo '[ 0.0] Linux version 6'; echo '[ 9.5] {XID}'")
    program(tmp_path, "journalctl", "exit 1")
    (xid,) = parse_log(look(tmp_path)).xids
    assert (xid.code, xid.pid, xid.seconds) == (31, 1, 9.5)


def test_the_journal_where_dmesg_has_lost_its_beginning(tmp_path: Path) -> None:
    program(tmp_path, "dmesg", "echo '[ 99.0] other'")
    program(tmp_path, "journalctl", f"echo '[ 9.5] node kernel: {XID}'")
    assert len(parse_log(look(tmp_path)).xids) == 1
    program(tmp_path, "journalctl", "exit 1")
    assert parse_log(look(tmp_path)).xids == ()


def test_no_log_at_all_is_unknown(tmp_path: Path) -> None:
    program(tmp_path, "dmesg", "exit 1")
    program(tmp_path, "journalctl", "exit 1")
    with pytest.raises(Unknown, match="neither dmesg nor journalctl"):
        parse_log(look(tmp_path))
