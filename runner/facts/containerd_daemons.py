"""The containerds that run on a host, and which of them the kubelet uses.

Docker brings a containerd of its own, k3s and RKE2 another: an edit of the wrong one's
configuration has no effect. Processes of other PID namespaces (containerds in containers) are
left out.
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.facts.containerd import CONFIG_PATH
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

KEY = "containerd-daemons"

_SOCKET = "/run/containerd/containerd.sock"
"""The default of containerd, and of the kubelet's --container-runtime-endpoint."""
_EMBEDDED = "/run/k3s/"
"""Where the containerd of k3s and RKE2 listens; their kubelet is no process of its own."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running containerd: the configuration it was started with and its socket."""

    config: str
    address: str


@dataclass(frozen=True, slots=True)
class Daemons:
    """All of a host. `kubelet` is the socket of the kubelet's runtime; "" when none runs."""

    running: tuple[Daemon, ...]
    kubelet: str = ""


_LOOK = r"""export LC_ALL=C
mine=$(readlink /proc/self/ns/pid)
{
for process in /proc/[0-9]*; do
  read -r name < "$process/comm" || continue
  case $name in containerd | kubelet) ;; *) continue ;; esac
  [ "$(readlink "$process/ns/pid")" = "$mine" ] || continue
  file=$(tr '\0' '\n' < "$process/cmdline" |
    sed -n -e 's/^--\{0,1\}c\(onfig\)\{0,1\}=//p' -e '/^--\{0,1\}c\(onfig\)\{0,1\}$/{n;p;}' |
    head -n 1)
  [ -n "$file" ] || [ "$name" = kubelet ] || file=DEFAULT
  printf '%s %s %s\n' "$name" "$(base64 < "$process/cmdline" | tr -d '\n')" \
    "$([ ! -f "$file" ] || head -c 262144 "$file" | base64 | tr -d '\n')"
done
} 2> /dev/null
echo looked
""".replace("DEFAULT", CONFIG_PATH)


def probe(become: bool = True) -> Probe:
    """Look at all processes named containerd or kubelet."""
    return Probe(KEY, _LOOK, parse, become=become)


def parse(result: Result) -> Daemons:
    """What the probe printed. Raises `Unknown` for anything else."""
    lines = result.text.splitlines()
    if result.rc != 0 or result.truncated or result.timed_out or lines[-1:] != ["looked"]:
        raise Unknown(f"the running containerds are not known: {result.error_text or 'cut short'}")
    found: list[Daemon] = []
    kubelet = ""
    for line in lines[:-1]:
        name, command, content = line.split(" ")
        words = _decoded(command).rstrip("\0").split("\0")
        if name == "kubelet":
            kubelet = kubelet or _endpoint(words, _decoded(content))
        elif "config" not in words:  # `containerd config dump` runs for a moment only
            found.append(_daemon(words, _decoded(content)))
    embedded = [each.address for each in found if each.address.startswith(_EMBEDDED)]
    return Daemons(tuple(dict.fromkeys(found)), kubelet or next(iter(embedded), ""))


def _daemon(words: Sequence[str], content: str) -> Daemon:
    try:
        settings: dict[str, Any] = tomllib.loads(content)
    except tomllib.TOMLDecodeError:
        settings = {}  # edited since its start; the module that reads it says so
    grpc = settings.get("grpc")
    configured = grpc.get("address") if isinstance(grpc, dict) else ""
    address = _option(words, "a", "address") or str(configured or "") or _SOCKET
    return Daemon(_option(words, "c", "config") or CONFIG_PATH, _path(address))


def _endpoint(words: Sequence[str], content: str) -> str:
    line = re.search(r"^containerRuntimeEndpoint:[ \t]*[\"']?([^\"'\s]+)", content, re.MULTILINE)
    configured = line.group(1) if line else ""
    return _path(_option(words, "container-runtime-endpoint") or configured or _SOCKET)


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
        raise Unknown(f"what was read of containerd's processes is damaged ({error})") from error
