"""XIDs in the kernel log: what NVIDIA's driver reported of GPUs since the host started.

Formats: what the driver writes since R390, as gpud's and NVSentinel's public test data show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runner.facts.base import Fact, plain
from runner.facts.xid_catalog import shipped
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

XIDS_KEY = "xids"
OFF_THE_BUS, RECOVERY_ACTION = 79, 154

RECOVERY_ACTIONS = (
    "None",
    "Reset",
    "Reboot",
    "Drain P2P",
    "Drain and Reset",
    "Recover IMEX Domain",
    "Bus Reset",
    "System Reboot",
)
"""By their numbers (NVML's nvmlDeviceGpuRecoveryAction_t), as nvidia-smi spells the first five."""


@dataclass(frozen=True, slots=True)
class Xid:
    """One report.

    Args:
        code: the XID. Texts of a GPU that has fallen off the bus have no number: they count as 79.
        pci: address of the GPU, "0000:9b:00": lower case, no function.
        seconds: since the host started; None where the log has another kind of time.
        pid, process: who used the GPU; None and "" where the driver does not say.
        severity: "Fatal" or "Nonfatal", of NVLink's XIDs 144 to 150; else "".
        recovery: of XID 154 what the driver asks for now; else "".
    """

    code: int
    pci: str
    text: str
    seconds: float | None = None
    pid: int | None = None
    process: str = ""
    severity: str = ""
    recovery: str = ""


@dataclass(frozen=True, slots=True)
class PodProcess:
    """A process of a pod. `started`: seconds since the host started."""

    pod: str
    """UID."""
    started: float


@dataclass(frozen=True, slots=True)
class KernelLog:
    """The reports of this boot, oldest first, and the clocks they are to be read by.

    Args:
        uptime: seconds since the host started.
        clock: the host's time, seconds since 1970.
        processes: pid -> the pod it belongs to, of processes that a report names and that live.
    """

    xids: tuple[Xid, ...]
    boot_id: str
    uptime: float
    clock: int
    processes: Mapping[int, PodProcess] = field(default_factory=dict)

    def age(self, xid: Xid) -> float | None:
        """Seconds since the report; None where its time is not known."""
        return None if xid.seconds is None else max(0.0, self.uptime - xid.seconds)


_STAMP = re.compile(r"^\[\s*(\d+\.\d+)\]")
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?(?P<pci>[0-9a-fA-F:.]+)\)[^:]*: (?P<code>\d+)(?:,\s*|$)(?P<rest>.*)"
)
_LOST = re.compile(
    r"NVRM: GPU (?:at )?(?:PCI:)?(?P<pci>[0-9a-fA-F:.]+): GPU has fallen off the bus"
)
_LOST_BEGINS = re.compile(r"NVRM: The NVIDIA GPU (?P<pci>[0-9a-fA-F:.]+)")
_LOST_ENDS = re.compile(r"NVRM:\s*fallen off the bus and is not responding")
_PID = re.compile(r"pid='?(?P<pid>\d+|<unknown>)'?(?:,\s*|$)")
_NAME = re.compile(r"name='?(?P<name>.*?)'?(?:,\s+|$)")
_SEVERITY = re.compile(r"\b(Fatal|Nonfatal)\b")
_RECOVERY = re.compile(r"to 0x([0-9a-fA-F]+)\b")
_ADDRESS = re.compile(
    r"(?:(?P<domain>[0-9a-f]{4,8}):)?(?P<bus>[0-9a-f]{2}):(?P<device>[0-9a-f]{2})(?:\.[0-7])?"
)


def address(text: str) -> str:
    """A PCI address as everything else here writes it: `00000000:9B:00.0` is `0000:9b:00`.

    Raises:
        Unknown: it is none.
    """
    found = _ADDRESS.fullmatch(text.lower().removeprefix("pci:"))
    if found is None:
        raise Unknown(f"{text!r} is no PCI address")
    return f"{int(found['domain'] or '0', 16):04x}:{found['bus']}:{found['device']}"


def parse_lines(text: str) -> tuple[Xid, ...]:
    """The reports in lines of the kernel log; other lines are passed over.

    Raises:
        Unknown: a line has an XID and cannot be understood.
    """
    return tuple(_reports(text))


def _reports(text: str) -> Iterator[Xid]:
    falling = ""
    for line in text.splitlines():
        stamp = _STAMP.match(line)
        seconds = float(stamp[1]) if stamp else None
        if "NVRM: Xid" in line:
            yield replace(_xid(line), seconds=seconds)
        elif found := _LOST.search(line):
            yield Xid(OFF_THE_BUS, address(found["pci"]), _message(line), seconds)
        elif found := _LOST_BEGINS.search(line):
            falling = found["pci"]
        elif falling and _LOST_ENDS.search(line):
            yield Xid(OFF_THE_BUS, address(falling), _message(line), seconds)
            falling = ""


def _message(line: str) -> str:
    return line.partition("NVRM:")[2].strip()


def _xid(line: str) -> Xid:
    found = _XID.search(line)
    if found is None:
        raise Unknown(f"a line of the kernel log is not understood: {line[:300]!r}")
    code, rest = int(found["code"]), found["rest"].strip()
    pid, name = None, ""
    if said := _PID.match(rest):
        pid = int(said["pid"]) if said["pid"].isdigit() else None
        rest = rest[said.end() :]
    if said := _NAME.match(rest):
        name = "" if said["name"] == "<unknown>" else said["name"]
        rest = rest[said.end() :]
    severity = _SEVERITY.search(rest) if 144 <= code <= 150 else None
    return Xid(
        code,
        address(found["pci"]),
        rest,
        pid=pid,
        process=name,
        severity=severity[1] if severity else "",
        recovery=_recovery(rest) if code == RECOVERY_ACTION else "",
    )


def _recovery(text: str) -> str:
    found = _RECOVERY.search(text)
    number = int(found[1], 16) if found else len(RECOVERY_ACTIONS)
    if number >= len(RECOVERY_ACTIONS):
        raise Unknown(f"XID 154: what the driver asks for is not understood: {text[:200]!r}")
    return RECOVERY_ACTIONS[number]


# A log that begins with the kernel's first line is whole; of one that has wrapped around the
# journal may have more. pid lines: who started when, in clock ticks since boot (proc_pid_stat(5)).
_LOOK = """\
export LC_ALL=C
log=$(dmesg 2>/dev/null) || log=
case $log in
*'] Linux version '*) ;;
*) kept=$(journalctl -k -b -o short-monotonic --no-pager -q 2>/dev/null) && [ -n "$kept" ] &&
     log=$kept ;;
esac
[ -n "$log" ] || { echo 'neither dmesg nor journalctl shows the kernel log' >&2; exit 1; }
ticks=$(getconf CLK_TCK 2>/dev/null || echo 100)
read -r up rest </proc/uptime
echo "boot $(cat /proc/sys/kernel/random/boot_id)"
echo "uptime $up"
echo "clock $(date +%s)"
lines=$(printf '%s\\n' "$log" | grep 'NVRM:' |
  grep -e 'NVRM: Xid' -e 'fallen off the bus' -e 'NVRM: The NVIDIA GPU' | tail -n 2000)
for pid in $(printf '%s\\n' "$lines" | sed -n "s/.*pid='*\\([0-9][0-9]*\\).*/\\1/p" | sort -u); do
  stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
  set -- ${stat##*) }
  echo "pid $pid ${20} $ticks $(tr '\\n' ' ' <"/proc/$pid/cgroup" 2>/dev/null)"
done
echo lines
printf '%s\\n' "$lines"
"""
_HEAD = re.compile(
    r"boot (?P<boot>[0-9a-f-]{36})\nuptime (?P<up>[\d.]+)\nclock (?P<clock>\d+)\n"
    r"(?P<pids>(?:pid .*\n)*)lines\n(?P<lines>[\s\S]*)"
)
_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")


def parse_log(result: Result) -> KernelLog:
    """What `_LOOK` prints. Raises Unknown for what cannot be read."""
    found = _HEAD.fullmatch(result.text)
    if result.rc != 0 or result.truncated or found is None:
        why = result.error_text[-300:] or "no answer"
        raise Unknown(f"the XIDs in the kernel log are not known: {why}")
    pids = [line.split(" ", 4) for line in found["pids"].splitlines()]
    return KernelLog(
        parse_lines(found["lines"]),
        found["boot"],
        float(found["up"]),
        int(found["clock"]),
        {int(pid): PodProcess(uid, started) for pid, uid, started in map(_process, pids) if uid},
    )


def _process(words: list[str]) -> tuple[str, str, float]:
    """pid, UID of its pod ("": of none), when it started."""
    _, pid, started, ticks, cgroup = words
    pod = _POD.search(cgroup)
    return pid, pod[1].replace("_", "-") if pod else "", int(started) / int(ticks)


def export(log: KernelLog) -> list[dict[str, Any]]:
    """The reports as plain data, each with its age and what it means."""
    known = shipped()
    return [
        {
            **plain(xid),
            "age": log.age(xid),
            "meaning": known[xid.code].meaning if xid.code in known else "",
        }
        for xid in log.xids
    ]


XIDS = Fact(
    "xids",
    "XIDs in the kernel log of this boot, oldest first",
    Probe(XIDS_KEY, _LOOK, parse_log),
    export,
    (
        ("code", "number", "The XID; 79 also for the texts of a lost GPU that have no number."),
        ("pci", "text", "Address of the GPU, `0000:9b:00`."),
        ("meaning", "text", "What NVIDIA's catalogue says; empty: it does not know the number."),
        ("text", "text", "The rest of the line."),
        ("seconds", "number or none", "When, in seconds since the host started."),
        ("age", "number or none", "How long ago, in seconds."),
        ("pid", "number or none", "Process that used the GPU, as the driver says."),
        ("process", "text", "Its name."),
        ("severity", "text", "`Fatal` or `Nonfatal`, of 144 to 150."),
        ("recovery", "text", "Of XID 154: what the driver asks for since then."),
    ),
)
