"""What dpkg and apt say of some packages: installed, available, and what an install would do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Literal

from runner.facts.packages import FINISHED, INTERRUPTED
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

FLAGS = "-y -q -o DPkg::Lock::Timeout=120"
"""Of every apt-get; 120 seconds for unattended-upgrades or another apt to end."""


ONLY = "-o APT::Architectures::="
"""Option that tells apt the only architecture, which it else asks dpkg for up to five times."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package as dpkg has it. `version` is "" when it is not installed."""

    version: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a simulation; `new` is "" for a removal, `old` is "" for a new package.

    `origin` is where apt has it from, in its own words: "Ubuntu:24.04/noble-updates".
    """

    name: str
    old: str
    new: str
    origin: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What apt-get would do. `error` is its own words when it would refuse."""

    steps: tuple[Step, ...] = ()
    downgraded: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    """Held packages that it would change."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class AptState:
    """Some packages of a host, all asked for at once.

    `available` maps a package to the versions that its sources offer, the best first, as far as
    they were asked for; packages that no source offers are missing. Empty, like `simulation`,
    when nothing has to be done. `architecture` is the host's where it has no foreign one; else,
    or when it was not asked, "".
    """

    packages: Mapping[str, Package]
    available: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    simulation: Simulation | None = None
    architecture: str = ""


PLANNED = "packages:planned"
"""Key of what earlier tasks of the same plan will have installed: name -> Package."""


def planned_probe(become: bool) -> Probe:
    """Nothing is read: the key only carries what tasks of a plan leave for later ones."""
    return Probe(PLANNED, ":", _nothing_planned, become=become)


def _nothing_planned(result: Result) -> Mapping[str, Package]:
    return {}


Goal = Literal["present", "latest", "absent"]

_SCRIPT = """\
export LC_ALL=C
nl='
'
q=$(dpkg-query -W -f='${{Package}}:${{Architecture}} ${{Version}} ${{db:Status-Want}} \
${{db:Status-Status}}\\n' -- dpkg {names} 2>/dev/null)
case $nl$q in
  *"${{nl}}dpkg:"*) arch=$nl$q; arch=${{arch##*"${{nl}}dpkg:"}}; arch=${{arch%% *}} ;;
  *) arch=$(dpkg --print-architecture) || exit 127 ;;
esac
printf '== arch %s\\n%s\\n' "$arch" "$q"
has=$nl
while read -r n v w s; do
  case $n:$s in *:"$arch":installed | *:all:installed) has=$has${{n%:*}}=$v$nl ;; esac
done <<END
$q
END
missing=
for s in {specs}; do
  case $has in *"$nl$s$nl"* | *"$nl$s="*) true ;; *) false ;; esac {present} missing="$missing $s"
done
[ -n "$missing" ] || exit 0
echo '== unfinished'
dpkg-query -W -f='${{db:Status-Status}} ${{Package}}\\n' | grep -Ev '^({finished}) '
{interrupted}
only=
if foreign=$(dpkg --print-foreign-architectures) && [ -z "$foreign" ]; then
  echo "== only $arch"
  only="{only}$arch"
fi
echo '== simulation'
out=$(ulimit -S -f unlimited # its caches are larger than what a look may write
apt-get -s {flags} $only --allow-downgrades --allow-change-held-packages {verb} -- $missing 2>&1)
rc=$?
printf '%s\\n== ended %s\\n' "$out" "$rc"
new=$nl
while read -r verb n v w; do
  case "$verb $v" in "Inst ("*) new=$new$n=${{v#"("}}$nl ;; Inst* | Remv* | Purg*) rc=1 ;; esac
done <<END
$out
END
for s in $missing; do
  case $new in *"$nl$s$nl"* | *"$nl$s="*) ;; *) rc=1 ;; esac
done
[ "$rc" = 0 ] || {{ echo '== policy'; apt-cache policy -- {names}; }}
exit 0
"""
"""Which versions there are is only asked where a good simulation does not tell: when more is done
than to install what was named, an undo needs to know whether there is a way back."""


def look(goal: Goal, specs: Sequence[str]) -> str:
    """Shell that reads the packages and, unless all is as wanted, simulates what is missing.

    Args:
        specs: "name" or "name=version".
    """
    names = " ".join(quote(spec.partition("=")[0]) for spec in specs)
    # "latest" always needs the simulation; "absent" those that are installed.
    present = {"present": "||", "absent": "&&", "latest": ";"}[goal]
    return _SCRIPT.format(
        names=names,
        specs=" ".join(quote(spec) for spec in specs),
        present=present,
        finished="|".join(sorted(FINISHED)),
        interrupted=INTERRUPTED,
        # A look leaves no trace: as root it would write a log for apt's own developers, slowly.
        only=ONLY,
        flags=f"{FLAGS} -o Dir::Log::Planner=/dev/null",
        verb="remove" if goal == "absent" else "install",
    )


def parse(names: Sequence[str], result: Result) -> AptState:
    """What `look` printed. Raises Unknown without dpkg or for output that broke off."""
    if result.rc == 127:
        raise Unknown("packages are not known: this host has no dpkg and apt (RHEL: module dnf)")
    if result.timed_out or result.truncated or result.rc != 0:
        raise Unknown(f"packages are not known: {result.error_text[-300:] or 'cut short'}")
    parts = parts_of(result.text)
    packages = _packages(names, parts)
    if "simulation" not in parts:
        return AptState(packages)
    simulation = simulation_of(parts["simulation"], status_of(parts))
    new = {step.name: (step.new,) for step in simulation.steps if step.new}
    return AptState(
        packages,
        dict(available_in(parts["policy"])) if "policy" in parts else new,
        tuple(dict.fromkeys(line.split(" ")[-1] for line in parts["unfinished"] if line)),
        simulation,
        "".join(parts.get("only", [])),
    )


def parts_of(text: str) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("== "):
            word, _, rest = line[3:].partition(" ")
            lines = parts[word] = [rest] if rest else []
        else:
            lines.append(line)
    return parts


def status_of(parts: Mapping[str, list[str]]) -> int:
    try:
        return int(parts["ended"][0])
    except (KeyError, IndexError, ValueError):
        raise Unknown("packages are not known: the look at apt broke off") from None


def _packages(names: Sequence[str], parts: Mapping[str, list[str]]) -> dict[str, Package]:
    found = {name: Package() for name in names}
    arch, *lines = parts.get("arch", [""])
    for line in filter(None, lines):
        words = line.split(" ")
        if len(words) < 4:
            raise Unknown(f"packages are not known: dpkg-query printed {line[:200]!r}")
        name, _, of = words[0].partition(":")
        if of in (arch, "all") and name in found:
            version = words[1] if words[-1] == "installed" else ""
            found[name] = Package(version, words[-2] == "hold")
    return found


_VERSION = re.compile(r" (?:\*\*\*|   ) (\S+)(?: -?\d+)?")
_SOURCE = re.compile(r" {8,}-?\d+ (.*)")


def available_in(lines: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """apt-cache policy: a version counts if anything but dpkg's own database has it."""
    name, version, versions = "", "", dict[str, None]()
    for line in [*lines, "end:"]:
        if line and not line.startswith(" "):
            if versions:
                yield name, tuple(versions)
            name, versions = line.rstrip(":"), {}
        elif match := _VERSION.match(line):
            version = match[1]
        elif (match := _SOURCE.match(line)) and not match[1].endswith("/dpkg/status"):
            versions[version] = None


_INST = re.compile(r"Inst (\S+) (?:\[(\S+)\] )?\((\S+) (.*?) ?\[")
_REMV = re.compile(r"(?:Remv|Purg) (\S+) \[(\S+)\]")


def simulation_of(lines: Sequence[str], status: int) -> Simulation:
    if status != 0:
        return Simulation(error=_refusal(lines))
    steps = []
    for line in lines:
        if match := _INST.match(line):
            steps.append(Step(match[1], match[2] or "", match[3], match[4]))
        elif match := _REMV.match(line):
            steps.append(Step(match[1], match[2], ""))
    return Simulation(
        tuple(steps),
        _listed(lines, "The following packages will be DOWNGRADED:"),
        _listed(lines, "The following held packages will be changed:"),
    )


def _listed(lines: Sequence[str], heading: str) -> frozenset[str]:
    names: set[str] = set()
    inside = False
    for line in lines:
        inside = line == heading or (inside and line.startswith(" "))
        if inside and line != heading:
            names.update(line.split())
    return frozenset(names)


def _refusal(lines: Sequence[str]) -> str:
    """apt's reasons: its errors, and the dependencies that it could not meet."""
    unmet = [
        line.strip() for line in lines if re.match(r" .* : \S+: ", line) or "but it is" in line
    ]
    errors = [line[3:] for line in lines if line.startswith("E: ")]
    return "; ".join([*dict.fromkeys(unmet), *errors]) or "apt-get gave no reason"
