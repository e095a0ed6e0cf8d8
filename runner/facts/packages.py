"""Debian packages that matter on a GPU node, and whether dpkg is in good order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.facts.base import Fact
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown


@dataclass(frozen=True, slots=True)
class Packages:
    """Installed packages whose names begin with nvidia, libnvidia, cuda or containerd."""

    installed: Mapping[str, str] = field(default_factory=dict)
    """Name to version."""
    held: tuple[str, ...] = ()
    """All packages that `apt-mark showhold` lists."""
    unfinished: tuple[str, ...] = ()
    """Packages between two states (unpacked, half-configured, …); "dpkg" for its journal."""

    @property
    def dpkg_broken(self) -> bool:
        return bool(self.unfinished)


FINISHED = frozenset({"installed", "config-files", "not-installed"})
"""Values of dpkg's `db:Status-Status` in which nothing is left to be done (dpkg-query(1))."""

INTERRUPTED = 'for f in /var/lib/dpkg/updates/[0-9]*; do [ ! -e "$f" ] || echo interrupted; done'
"""Shell: dpkg's journal of an interrupted run; apt refuses to work while there is one."""

_LOOK = (
    "dpkg-query -W -f='${Package} ${Version} ${db:Status-Want} ${db:Status-Status}\\n' "
    f"&& {{ {INTERRUPTED}; }}"
)

_PREFIXES = ("nvidia", "libnvidia", "cuda", "containerd")


def parse_packages(result: Result) -> Packages:
    """The whole of dpkg's database. Raises Unknown on hosts without dpkg."""
    if result.rc == 127:
        raise Unknown("packages are not known: this host has no dpkg")
    if result.rc != 0 or result.truncated:
        raise Unknown(f"packages are not known: dpkg-query: {result.error_text[-200:]}")
    installed: dict[str, str] = {}
    held: list[str] = []
    unfinished: list[str] = []
    for line in result.text.splitlines():
        if line == "interrupted":
            unfinished.append("dpkg")
            continue
        words = line.split(" ")
        if len(words) != 4:
            raise Unknown(f"packages are not known: dpkg-query printed {line[:200]!r}")
        name, version, want, status = words
        if want == "hold":
            held.append(name)
        if status not in FINISHED:
            unfinished.append(name)
        if status == "installed" and name.startswith(_PREFIXES):
            installed[name] = version
    return Packages(installed, _each_once(held), _each_once(unfinished))


def _each_once(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def export(packages: Packages) -> dict[str, object]:
    """As templates see it."""
    return {
        "installed": dict(packages.installed),
        "held": list(packages.held),
        "unfinished": list(packages.unfinished),
        "dpkg_broken": packages.dpkg_broken,
    }


PACKAGES = Fact(
    "packages",
    "`installed` (name to version of nvidia, libnvidia, cuda and containerd packages), `held`, "
    "`unfinished` (packages that dpkg left between two states), `dpkg_broken`.",
    Probe("packages", _LOOK, parse_packages),
    export,
)
