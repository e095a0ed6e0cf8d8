"""The container runtimes that run on a host, and which of them the kubelet uses.

Docker brings a containerd of its own, k3s, RKE2 and MicroK8s another: an edit of the wrong one's
configuration has no effect. Processes of other PID namespaces (a containerd in a container) are
left out.
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.facts.base import Fact
from runner.facts.containerd import CONFIG_PATH
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

KEY = "container-runtime"

CONTAINERD, CRIO, DOCKER = "containerd", "cri-o", "docker"
_PROGRAMS = {"containerd": CONTAINERD, "crio": CRIO, "dockerd": DOCKER}
"""The process's name (crio(8), dockerd(8)) -> the runtime."""
_CONFIGS = {CONTAINERD: CONFIG_PATH, CRIO: "/etc/crio/crio.conf", DOCKER: "/etc/docker/daemon.json"}
_SOCKETS = {
    CONTAINERD: "/run/containerd/containerd.sock",
    CRIO: "/run/crio/crio.sock",
    DOCKER: "/run/cri-dockerd.sock",
}
"""Where the kubelet finds each by default; Docker through cri-dockerd."""
_UNITS = {CONTAINERD: "containerd.service", CRIO: "crio.service", DOCKER: "docker.service"}

_DISTRIBUTIONS = {
    "/var/lib/rancher/k3s/": "k3s",
    "/var/lib/rancher/rke2/": "rke2",
    "/var/snap/microk8s/": "microk8s",
}
"""Folder of a containerd's configuration -> the distribution that runs it."""
_EMBEDDED = ("/run/k3s/", "/var/snap/microk8s/")
"""Where such a containerd listens; the kubelet is no process of its own there."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running container runtime: the configuration it was started with, socket and unit."""

    config: str
    address: str
    runtime: str = CONTAINERD
    unit: str = ""

    @property
    def distribution(self) -> str:
        """Of Kubernetes, where one runs it: k3s, rke2 or microk8s; else ""."""
        return next((n for f, n in _DISTRIBUTIONS.items() if self.config.startswith(f)), "")


@dataclass(frozen=True, slots=True)
class Daemons:
    """All of a host.

    `kubelet` is the socket of the kubelet's runtime, "" when none runs; `installed` are the
    runtimes whose program is there.
    """

    running: tuple[Daemon, ...]
    kubelet: str = ""
    installed: tuple[str, ...] = ()

    @property
    def used(self) -> Daemon | None:
        """The one that runs the pods; None where that is not known.

        Without a kubelet it is the only one that runs, or Docker, which uses the containerd that
        runs beside it. While none runs, it is the one that is installed; so it is where the
        kubelet's does not run.
        """
        here = {each.runtime for each in self.running}
        stopped = tuple(_stopped(name) for name in self.installed if name not in here)
        if self.kubelet:
            every = (*self.running, *stopped)
            return next((each for each in every if each.address == self.kubelet), None)
        running = self.running or stopped
        docker = [each for each in running if each.runtime == DOCKER]
        others = [each for each in running if each.runtime not in (DOCKER, CONTAINERD)]
        meant = docker if docker and not others else list(running)
        return meant[0] if len(meant) == 1 else None


def _stopped(runtime: str) -> Daemon:
    return Daemon(_CONFIGS[runtime], _SOCKETS[runtime], runtime, _UNITS[runtime])


_LOOK = r"""export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
mine=$(readlink /proc/self/ns/pid)
{
for process in /proc/[0-9]*; do
  read -r name < "$process/comm" || continue
  case $name in containerd | crio | dockerd | kubelet) ;; *) continue ;; esac
  [ "$(readlink "$process/ns/pid")" = "$mine" ] || continue
  file=$(tr '\0' '\n' < "$process/cmdline" |
    sed -n -e 's/^--\{0,1\}c\(onfig\)\{0,1\}=//p' -e '/^--\{0,1\}c\(onfig\)\{0,1\}$/{n;p;}' |
    head -n 1)
  [ -n "$file" ] || [ "$name" != containerd ] || file=DEFAULT
  unit=$(sed -n 's|^[0-9]*:\(name=systemd\)\{0,1\}:.*/\([^/]*\.service\).*$|\2|p' \
    "$process/cgroup" | head -n 1)
  printf '%s %s %s %s\n' "$name" "$(base64 -w0 < "$process/cmdline")" \
    "$([ ! -f "$file" ] || head -c 262144 "$file" | base64 -w0)" "$unit"
done
for name in containerd crio dockerd; do
  ! command -v "$name" > /dev/null || echo "installed $name"
done
} 2> /dev/null
echo looked
""".replace("DEFAULT", CONFIG_PATH)


def probe(become: bool = True) -> Probe:
    """Look at all processes of container runtimes and of the kubelet."""
    return Probe(KEY, _LOOK, parse, become=become)


def parse(result: Result) -> Daemons:
    """What the probe printed. Raises `Unknown` for anything else."""
    lines = result.text.splitlines()
    if result.rc != 0 or result.truncated or result.timed_out or lines[-1:] != ["looked"]:
        why = result.error_text or "cut short"
        raise Unknown(f"the running container runtimes are not known: {why}")
    found: list[Daemon] = []
    installed: list[str] = []
    kubelet = ""
    for line in lines[:-1]:
        name, command, *rest = line.split(" ")
        if name == "installed":
            installed.append(_PROGRAMS[command])
            continue
        content, unit = rest
        words = _decoded(command).rstrip("\0").split("\0")
        if name == "kubelet":
            kubelet = kubelet or _endpoint(words, _decoded(content))
        elif "config" not in words:  # `containerd config dump` runs for a moment only
            found.append(_daemon(_PROGRAMS[name], words, _decoded(content), unit))
    embedded = [each.address for each in found if each.address.startswith(_EMBEDDED)]
    kubelet = kubelet or next(iter(embedded), "")
    return Daemons(tuple(dict.fromkeys(found)), kubelet, tuple(installed))


def _daemon(runtime: str, words: Sequence[str], content: str, unit: str) -> Daemon:
    options = {CONTAINERD: ("c", "config"), CRIO: ("c", "config"), DOCKER: ("config-file",)}
    config = _option(words, *options[runtime]) or _CONFIGS[runtime]
    address = _SOCKETS[runtime]
    if runtime == CONTAINERD:
        address = _option(words, "a", "address") or _configured(content) or address
    elif runtime == CRIO:
        address = _option(words, "listen") or address
    # A snap's folder of its revision, to which `current` is a link.
    config = re.sub(r"^/var/snap/microk8s/[^/]+/", "/var/snap/microk8s/current/", config)
    return Daemon(config, _path(address), runtime, unit or _UNITS[runtime])


def _configured(content: str) -> str:
    """The socket that containerd's configuration names."""
    try:
        settings: dict[str, Any] = tomllib.loads(content)
    except tomllib.TOMLDecodeError:
        return ""  # edited since its start; the module that reads it says so
    grpc = settings.get("grpc")
    return str(grpc.get("address") or "") if isinstance(grpc, Mapping) else ""


def _endpoint(words: Sequence[str], content: str) -> str:
    line = re.search(r"^containerRuntimeEndpoint:[ \t]*[\"']?([^\"'\s]+)", content, re.MULTILINE)
    configured = line.group(1) if line else ""
    named = _option(words, "container-runtime-endpoint") or configured
    return _path(named or _SOCKETS[CONTAINERD])


def _path(address: str) -> str:
    """A socket's path; /var/run is a link to /run."""
    return re.sub(r"^/var/run/", "/run/", address.removeprefix("unix://"))


def _option(words: Sequence[str], *names: str) -> str:
    """An option's value, as Go's flag packages read it: `-c X`, `--config X`, `--config=X`."""
    for number, word in enumerate(words):
        key, equals, value = word.partition("=")
        if key.startswith("-") and key.lstrip("-") in names:
            return value if equals else "".join(words[number + 1 : number + 2])
    return ""


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except binascii.Error as error:
        raise Unknown(f"what was read of the processes is damaged ({error})") from error


def export(state: Daemons) -> dict[str, Any]:
    """For templates: `facts.container_runtime.name`."""
    used = state.used
    return {
        "name": used.runtime if used else "",
        "config": used.config if used else "",
        "socket": used.address if used else "",
        "service": used.unit.removesuffix(".service") if used else "",
        "distribution": used.distribution if used else "",
        "running": [each.runtime for each in state.running],
    }


CONTAINER_RUNTIME = Fact(
    "container_runtime",
    "The container runtime that the kubelet uses; without a kubelet the only one that runs, or"
    " Docker beside its containerd; while none runs, the one that is installed",
    probe(),
    export,
    (
        ("name", "text", "`containerd`, `cri-o` or `docker`; empty: none, or several."),
        ("config", "text", "The configuration it was started with."),
        ("socket", "text", "Where the kubelet reaches it."),
        ("service", "text", "The systemd service that runs it: `containerd`, `k3s-agent`."),
        (
            "distribution",
            "text",
            "`k3s`, `rke2`, `microk8s`, which runs it; else empty.",
        ),
        ("running", "list", "Names of all that run."),
    ),
)
