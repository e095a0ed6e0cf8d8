"""Who holds a host's GPUs open: processes with /dev/nvidia* and the pod, container or unit they
belong to, by their control group.

A pod that asks Kubernetes for no GPU may still use one: privileged, with a hostPath, or with
`NVIDIA_VISIBLE_DEVICES=all`. The node itself is the only place where that is seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

KEY = "gpu:users"


@dataclass(frozen=True, slots=True)
class GpuUser:
    """One process that has device files of the GPUs open.

    Args:
        user: its numeric user id.
        devices: the files, sorted.
        pod: UID of its pod as the kubelet knows it; "": no pod.
        container: id of its container; "": none.
        runtime: "containerd", "cri-o", "docker" or "podman", where the control group names it.
        unit: its systemd unit; "": none, or it is not known.
    """

    pid: int
    command: str
    user: int
    devices: tuple[str, ...] = ()
    pod: str = ""
    container: str = ""
    runtime: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid}) holds {', '.join(self.devices)}"


@dataclass(frozen=True, slots=True)
class GpuUsers:
    """All that was found. `complete`: the processes of every user could be looked at."""

    users: tuple[GpuUser, ...] = ()
    complete: bool = True

    def pods(self) -> dict[str, str]:
        """UID of a pod -> what it holds, in words."""
        found: dict[str, list[str]] = {}
        for user in self.users:
            if user.pod:
                found.setdefault(user.pod, []).append(str(user))
        return {uid: "; ".join(texts) for uid, texts in found.items()}

    def others(self) -> tuple[str, ...]:
        """Those that belong to no pod, so that no drain ends them, and what does."""
        return tuple(f"{user}: {ended_by(user)}" for user in self.users if not user.pod)


def ended_by(user: GpuUser) -> str:
    """What stops a process that no pod owns, as a sentence."""
    if user.container:
        what = f"container {user.container[:12]} of no pod"
        tool = {"docker": "docker", "podman": "podman"}.get(user.runtime, "nerdctl")
        return f"{what}, stopped with: {tool} stop {user.container[:12]}"
    if user.unit.endswith(".service") and not user.unit.startswith("user@"):
        return f"a service of the host, stopped with: systemctl stop {user.unit}"
    return f"a process of user {user.user} on the host; ask its owner, or end it with: kill"


def probe(become: bool, user: str = "root", proc: str = "/proc") -> Probe:
    """The look. Only root sees the files of all processes.

    Args:
        proc: where proc(5) is mounted.
    """
    return Probe(KEY, _LOOK.format(proc=proc), parse_gpu_users, become=become, user=user)


# `-q` writes what is not printable as "?": a file's name must not look like another line. With a
# second operand, `ls` names each folder. A process may end at any time: then it is left out.
_LOOK = """\
LC_ALL=C; export LC_ALL
cd {proc} && [ -r self/cgroup ] || exit 3
if [ "$(id -u)" = 0 ]; then echo all; else echo own; fi
ls -nq /dev/null [0-9]*/fd 2>/dev/null | sed -n -e '/^\\([0-9]*\\)\\/fd:$/{{s//\\1/;h;d;}}' \\
  -e '/ -> \\/dev\\/nvidia/{{s/.* -> \\(\\/dev\\/nvidia[^ ]*\\).*/\\1/;G' \\
  -e 's/\\(.*\\)\\n\\(.*\\)/\\2 \\1/p;}}' |
  sort -u | while read -r pid device; do
    if [ "$pid" != "$last" ]; then
      last=$pid group=
      group=$(sed 's/^/C /' "$pid/cgroup" 2>/dev/null) || continue
      name=$(tr -c '[:alnum:]_.:+/-' '?' <"$pid/comm" 2>/dev/null)
      printf 'P %s %s %s\\n%s\\n' "$pid" "$(stat -c %u "$pid" 2>/dev/null)" "${{name%\\?}}" "$group"
    fi
    [ -z "$group" ] || echo "D $device"
  done
echo end"""


def parse_gpu_users(result: Result) -> GpuUsers:
    """Lines `P pid uid command`, `C` and a line of /proc/PID/cgroup, `D device`."""
    lines = result.text.splitlines()
    if result.rc != 0 or len(lines) < 2 or lines[0] not in ("all", "own") or lines[-1] != "end":
        why = "no /proc" if result.rc == 3 else result.error_text[-200:] or "no answer"
        raise Unknown(f"which processes hold the GPUs is not known: {why}")
    blocks: list[tuple[list[str], list[str], list[str]]] = []
    for line in lines[1:-1]:
        kind, _, rest = line.partition(" ")
        if kind == "P":
            blocks.append((rest.split(" ", 2), [], []))
        elif kind in ("C", "D") and blocks:
            blocks[-1][1 if kind == "C" else 2].append(rest)
        else:
            raise Unknown(f"which processes hold the GPUs is not known: {line[:80]!r}")
    users = (_user(*block) for block in blocks)
    return GpuUsers(tuple(sorted(users, key=lambda user: user.pid)), lines[0] == "all")


def _user(head: list[str], groups: list[str], devices: list[str]) -> GpuUser:
    if len(head) != 3 or not (head[0].isdigit() and head[1].isdigit()):
        raise Unknown(f"which processes hold the GPUs is not known: P {' '.join(head)[:80]!r}")
    paths = control_groups(groups)
    runtime, container = _container(paths)
    return GpuUser(
        pid=int(head[0]),
        command=head[2],
        user=int(head[1]),
        devices=tuple(sorted(set(devices))),
        pod=pod_uid(paths),
        container=container,
        runtime=runtime,
        unit=_unit(paths),
    )


def control_groups(lines: Sequence[str]) -> list[str]:
    """The paths of a /proc/PID/cgroup (cgroups(7)), those that systemd manages first.

    Version 2 has one line `0::/path`, version 1 one for every hierarchy, a hybrid both.
    """
    found: list[tuple[int, str]] = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        order = {"name=systemd": 0, "": 1}.get(controllers, 2)
        found.append((order, path))
    return list(dict.fromkeys(path for _, path in sorted(found, key=lambda pair: pair[0])))


_UUID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}"
# The kubelet's cgroup drivers (pkg/kubelet/cm/cgroup_manager_linux.go): "cgroupfs" has
# kubepods/burstable/pod<uid>, "systemd" kubepods-burstable-pod<uid with _>.slice. A static pod has
# a digest for a UID. The leftmost match counts: a pod may run another kubelet inside.
_POD = re.compile(rf"kubepods\S*?[-/]pod({_UUID}|[0-9a-f]{{32}})(?=\.slice|[/:]|$)")
_CONTAINER = re.compile(r"(?:^|[/:])(?:([a-z-]+?)-)?([0-9a-f]{64})(?=\.scope|/|$)")
_RUNTIMES = {
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
}


def pod_uid(paths: Sequence[str]) -> str:
    """The UID of the pod a process belongs to; "" where it belongs to none."""
    for path in paths:
        if match := _POD.search(path):
            return match[1].replace("_", "-")
    return ""


def _container(paths: Sequence[str]) -> tuple[str, str]:
    """(runtime, id) of the innermost container."""
    for path in paths:
        if found := _CONTAINER.findall(path):
            prefix, container = found[-1]
            by_folder = next((f for f in ("docker", "libpod") if f"/{f}/" in path), "")
            return _RUNTIMES.get(prefix or by_folder, ""), container
    return "", ""


def _unit(paths: Sequence[str]) -> str:
    """The innermost systemd service or scope."""
    for path in paths:
        named = [part for part in path.split("/") if part.endswith((".service", ".scope"))]
        if named:
            return named[-1]
    return ""
