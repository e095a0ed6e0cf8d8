"""The packages of NVIDIA's driver on a Debian host, and what decides whether they can be changed.

Names are those of Ubuntu's archive (`nvidia-driver-570-server[-open]` and what it depends on) and
of NVIDIA's CUDA repository (`nvidia-open-570`, `cuda-drivers-570`; "Driver Installation Guide",
docs.nvidia.com/datacenter/tesla/driver-installation-guide).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Literal

from runner.facts import apt
from runner.facts.apt import FLAGS, Package, Simulation
from runner.facts.packages import FINISHED, INTERRUPTED
from runner.hosts.script import Result
from runner.modules.base import Unknown

Flavour = Literal["open", "proprietary"]
Source = Literal["ubuntu", "cuda"]

FAMILY = (
    "nvidia-(driver|open|headless|dkms|kernel|utils|compute-utils|fabricmanager|imex|persistenced)"
    "|libnvidia-(cfg1|common|compute|decode|encode|extra|fbc1|gl|gpucomp|nscq)"
    "|xserver-xorg-video-nvidia|cuda-drivers|libcuda1"
)
"""Beginnings of names, as an extended regular expression of grep and of Python."""
OTHER = "nvidia-driver-(pinning|assistant)"
"""Names that begin alike and are none of it."""
CUDA_NAMES = ("nvidia-open", "cuda-drivers")
_PART = re.compile(f"^({FAMILY})")
_OTHER = re.compile(f"^{OTHER}")
_UPSTREAM = re.compile(r"^(?:\d+:)?(\d{3}\.\d+(?:\.\d+)?)(?:-|$)")


def is_part(name: str) -> bool:
    """Whether a package is one of the driver's, which all have to be of one version."""
    return bool(_PART.match(name)) and not _OTHER.match(name)


def upstream(version: str) -> str:
    """The driver's version in a package's: 570.86.15-0ubuntu1 is 570.86.15; "" if it is none."""
    match = _UPSTREAM.match(version)
    return match[1] if match else ""


def of_branch(version: str, wanted: str) -> bool:
    """Whether 570.86.15 is what 570.86.15 or the branch 570 asks for."""
    return version == wanted or (version.startswith(f"{wanted}.") and "." not in wanted)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel for which the driver's module has to be built, and whether its headers are there."""

    release: str
    headers: bool


@dataclass(frozen=True, slots=True)
class DriverPackages:
    """The driver's packages and what apt would do to have the wanted ones.

    Args:
        parts: those installed, half installed ones included.
        held: all held packages of the host.
        unfinished: packages that dpkg left between two states; "dpkg" for its journal.
        runfile: a driver of NVIDIA's .run installer is there too.
        pinned: branch or version that a package of NVIDIA's repository pins the driver to, or "".
        kernels: the running one, and the newest if that is another.
        secure_boot: None where that could not be read.
        key_enrolled: the key with which dkms signs modules is known to the firmware.
        named: what was asked of apt, dependencies not included.
        available: installed part -> versions that sources offer.
        simulation: what apt would do.
        offered: the driver's versions that sources offer, newest first; only where apt refused.
    """

    parts: Mapping[str, Package]
    held: frozenset[str] = frozenset()
    unfinished: tuple[str, ...] = ()
    runfile: bool = False
    pinned: str = ""
    kernels: tuple[Kernel, ...] = ()
    secure_boot: bool | None = None
    key_enrolled: bool = False
    named: tuple[str, ...] = ()
    available: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    simulation: Simulation = field(default_factory=Simulation)
    offered: tuple[str, ...] = ()


def versions_of(packages: Mapping[str, str]) -> Mapping[str, str]:
    """Part -> the driver's version it is of, for those that must all have the same."""
    found = {name: upstream(version) for name, version in packages.items() if is_part(name)}
    return {name: version for name, version in found.items() if version}


def flavour_of(names: Iterable[str]) -> Flavour:
    """Of the kernel module that packages of these names bring."""
    is_open = any(name.endswith("-open") or name.startswith("nvidia-open") for name in names)
    return "open" if is_open else "proprietary"


def source_of(names: Iterable[str]) -> Source:
    """Whose packages these are, by the names that only NVIDIA's repository has."""
    return "cuda" if any(name.startswith(CUDA_NAMES) for name in names) else "ubuntu"


ALLOW = "--allow-downgrades --allow-change-held-packages --ignore-hold"
"""The driver is held, so that nothing else changes it: for apt to remove the old set, holds must
not count in what it solves. Which held packages would change is looked at in the result."""

_SCRIPT = """\
export LC_ALL=C
q=$(dpkg-query -W -f='${{Package}} ${{Version}} ${{db:Status-Want}} ${{db:Status-Status}}\\n') ||
  exit 127
echo '== packages'
printf '%s\\n' "$q" | grep -E '^({family})' | grep -Ev ' (not-installed|config-files)$'
echo '== unfinished'
printf '%s\\n' "$q" | grep -Ev ' ({finished})$' | cut -d ' ' -f 1
{interrupted}
echo '== held'
printf '%s\\n' "$q" | sed -n 's/ [^ ]* hold [^ ]*$//p'
echo '== host'
[ ! -e /usr/bin/nvidia-uninstall ] || echo runfile
printf '%s\\n' "$q" | sed -n 's/^nvidia-driver-pinning-\\([0-9.]*\\) .* installed$/pinned \\1/p'
newest=$(ls /boot/vmlinuz-* 2>/dev/null | sed 's,.*/vmlinuz-,,' | sort -V | tail -n 1)
running=$(uname -r)
for k in "$running" "$newest"; do
  [ -n "$k" ] || continue
  if [ -e "/lib/modules/$k/build" ]; then echo "kernel $k headers"; else echo "kernel $k none"; fi
done
if command -v mokutil >/dev/null; then
  echo "secure-boot $(mokutil --sb-state 2>&1 | head -n 1)"
  for key in /var/lib/shim-signed/mok/MOK.der /var/lib/dkms/mok.pub; do
    ! mokutil --test-key "$key" 2>&1 | grep -q 'already enrolled' || echo enrolled
  done
else
  sb=/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
  if [ ! -e "$sb" ]; then echo 'secure-boot disabled'
  elif [ "$(od -An -tu1 -j4 -N1 "$sb" | tr -d ' ')" = 0 ]; then echo 'secure-boot disabled'
  else echo 'secure-boot enabled'; fi
fi
have=$(printf '%s\\n' "$q" | sed -n 's/ [^ ]* [^ ]* installed$//p' | grep -E '^({family})' |
  grep -Ev '^{other}' | sort -u)
has() {{ printf '%s\\n' "$have" | grep -Eq "$1"; }}
open={open}
if [ -z "$open" ]; then
  open=-open
  ! has . || has '(-open$|^nvidia-open)' || open=no
fi
[ "$open" != no ] || open=
branch={branch} wanted={wanted} source={source}
if [ -z "$source" ] && has '^({cuda_names})'; then source=cuda; fi
case $source in
cuda) if [ -n "$open" ]; then named=nvidia-open-$branch; else named=cuda-drivers-$branch; fi ;;
*)
  named=nvidia-driver-$branch-server$open
  ! has '^nvidia-headless-[0-9]' || has '^nvidia-driver-[0-9]' ||
    named="nvidia-headless-$branch-server$open nvidia-utils-$branch-server"
  ;;
esac
for part in nvidia-fabricmanager libnvidia-nscq nvidia-imex; do
  has "^$part" || case " {extra} " in *" $part "*) ;; *) continue ;; esac
  found=$part-$branch
  # From 580 on NVIDIA's have no branch in their names, and Ubuntu's have.
  if [ "$source" = cuda ]; then names="$part $part-$branch"; else names="$part-$branch $part"; fi
  for n in $names; do
    ! apt-cache madison "$n" 2>/dev/null | grep -Fq " | $wanted" || {{ found=$n; break; }}
  done
  named="$named $found"
done
printf '== named\\n%s\\n' "$named"
# What belongs to another branch or flavour has to be named to go: apt keeps the two from excluding
# each other by keeping what is installed.
gone=
for n in $have; do
  case " $named " in *" $n "*) continue ;; esac
  case $n in
  nvidia-firmware-*) ;;
  nvidia-driver-[0-9]* | nvidia-headless-* | nvidia-open* | cuda-drivers*) gone="$gone $n-" ;;
  nvidia-fabricmanager | libnvidia-nscq | nvidia-imex) gone="$gone $n-" ;;
  *-"$branch" | *-"$branch"-*) ;;
  *-[0-9][0-9][0-9] | *-[0-9][0-9][0-9]-*) gone="$gone $n-" ;;
  esac
done
pins=/dev/null
if [ {branch} != {version} ]; then
  pins=$(mktemp -p /run 2>/dev/null || mktemp) || exit 1
  trap 'rm -f "$pins"' EXIT
  # Whatever of NVIDIA's has that version becomes apt's choice, also past newer ones.
  printf 'Package: *nvidia* cuda-drivers* libcuda1*\\nPin: version %s-*\\nPin-Priority: 1001\\n' \\
    {version} >"$pins"
fi
echo '== simulation'
out=$(ulimit -S -f unlimited # its caches are larger than what a look may write
apt-get -s {flags} -o Dir::Log::Planner=/dev/null -o Dir::Etc::Preferences="$pins" \\
  {allow} install -- $named $gone 2>&1)
rc=$?
printf '%s\\n== ended %s\\n' "$out" "$rc"
echo '== policy'
[ -z "$have" ] || apt-cache policy -- $have
[ "$rc" != 0 ] || exit 0
echo '== offered'
names=$(apt-cache pkgnames | grep -E '^(nvidia-driver-[0-9]+-server|cuda-drivers-[0-9]+)$')
[ -z "$names" ] || apt-cache madison $names | cut -d '|' -f 2 | tr -d ' ' | sort -urV | head -n 8
exit 0
"""


def look(
    version: str,
    source: Source | None,
    flavour: Flavour | None,
    extra: Sequence[str] = (),
) -> str:
    """Shell that reads the driver's packages and lets apt simulate the wanted version or branch.

    Args:
        version: "570.86.15", or a branch "570".
        source: None: as installed, and Ubuntu's where nothing is.
        flavour: None: as installed, and open where nothing is.
        extra: parts that are wanted beside the driver even where they are not installed.
    """
    branch = version.partition(".")[0]
    return _SCRIPT.format(
        family=FAMILY,
        other=OTHER,
        finished="|".join(sorted(FINISHED)),
        interrupted=INTERRUPTED,
        open={"open": "-open", "proprietary": "no", None: "''"}[flavour],
        branch=quote(branch),
        version=quote(version),
        wanted=quote(f"{version}." if branch == version else f"{version}-"),
        source=source or "''",
        cuda_names="|".join(CUDA_NAMES),
        extra=" ".join(map(quote, extra)),
        flags=FLAGS,
        allow=ALLOW,
    )


def parse(result: Result) -> DriverPackages:
    """What `look` printed. Raises Unknown without dpkg, or for output that broke off."""
    if result.rc == 127:
        raise Unknown("the driver's packages are not known: this host has no dpkg and apt")
    if result.rc != 0 or result.timed_out or result.truncated:
        why = result.error_text[-300:] or "cut short"
        raise Unknown(f"the driver's packages are not known: {why}")
    parts = apt.parts_of(result.text)
    status = apt.status_of(parts)
    host = parts["host"]
    found = [_package(line) for line in parts["packages"]]
    kernels = [line.split(" ") for line in host if line.startswith("kernel ")]
    return DriverPackages(
        parts={name: package for name, package in found if is_part(name)},
        held=frozenset(parts["held"]),
        unfinished=tuple(dict.fromkeys(_UNFINISHED.get(n, n) for n in parts["unfinished"])),
        runfile="runfile" in host,
        pinned="".join(line[7:] for line in host if line.startswith("pinned ")),
        kernels=tuple(dict.fromkeys(Kernel(w[1], w[2] == "headers") for w in kernels)),
        secure_boot=_secure_boot(host),
        key_enrolled="enrolled" in host,
        named=tuple(" ".join(parts["named"]).split()),
        available=dict(apt.available_in(parts["policy"])),
        simulation=apt.simulation_of(parts["simulation"], status),
        offered=tuple(filter(None, map(upstream, parts.get("offered", ())))),
    )


def _package(line: str) -> tuple[str, Package]:
    words = line.split(" ")
    if len(words) != 4:
        raise Unknown(f"the driver's packages are not known: dpkg-query printed {line[:200]!r}")
    name, version, want, _ = words
    return name, Package(version, want == "hold")


_UNFINISHED = {"interrupted": "dpkg"}
"""dpkg's journal of an interrupted run, as `INTERRUPTED` and as the fact `packages` call it."""

_SECURE_BOOT = {
    "enabled": True,
    "disabled": False,
    "not supported": False,
    "doesn't support": False,
}
"""What mokutil --sb-state says, by a part of it."""


def _secure_boot(lines: Sequence[str]) -> bool | None:
    said = next((line for line in lines if line.startswith("secure-boot ")), "")
    return next((value for words, value in _SECURE_BOOT.items() if words in said), None)
