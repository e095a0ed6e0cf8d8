"""A systemd unit as it is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from typing import Any

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A unit as `systemctl show` tells it (org.freedesktop.systemd1(5))."""

    unit: str
    load: str
    active: str
    sub: str = ""
    file_state: str = ""
    main_pid: int = 0
    invocation: str = ""
    restarts: int = 0
    needs_reload: bool = False
    type: str = ""
    result: str = ""
    can_reload: bool = False

    @property
    def runs(self) -> bool:
        """Active; or, of a one-shot, done with success since boot."""
        finished = self.active == "inactive" and self.result == "success" and self.invocation
        return self.active in ("active", "reloading") or bool(self.type == "oneshot" and finished)


_PROPERTIES = {
    "LoadState": "load",
    "ActiveState": "active",
    "SubState": "sub",
    "UnitFileState": "file_state",
    "MainPID": "main_pid",
    "InvocationID": "invocation",
    "NRestarts": "restarts",
    "NeedDaemonReload": "needs_reload",
    "Type": "type",
    "Result": "result",
    "CanReload": "can_reload",
}


def key(unit: str) -> str:
    """The probe key of a unit."""
    return f"service:{unit.removesuffix('.service')}"


def probe(unit: str, become: bool = True) -> Probe:
    """Look at one unit (name with suffix)."""
    shell = f"systemctl show --no-pager -p {','.join(_PROPERTIES)} -- {shlex.quote(unit)}"
    return Probe(key(unit), shell, partial(parse, unit), become=become)


def parse(unit: str, result: Result) -> ServiceState:
    """The printed properties as a state. Raises Unknown without systemd or for odd output."""
    if result.rc != 0:
        why = result.error_text or f"systemctl exited {result.rc}"
        if result.rc == 127 or "not been booted with systemd" in why:
            why = "this host does not run systemd"
        raise Unknown(f"{unit}: its state is not known: {why}")
    pairs = dict(line.partition("=")[::2] for line in result.text.splitlines() if "=" in line)
    values: dict[str, Any] = {
        field: pairs[name] for name, field in _PROPERTIES.items() if name in pairs
    }
    if "load" not in values or "active" not in values:
        raise Unknown(f"{unit}: systemctl show gave no LoadState and ActiveState")
    for number in ("main_pid", "restarts"):
        text = values.get(number, "0")
        values[number] = int(text) if text.isdecimal() else 0
    for flag in ("needs_reload", "can_reload"):
        values[flag] = values.get(flag) == "yes"
    return ServiceState(unit, **values)
