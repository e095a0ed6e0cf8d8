"""A kernel module as it is: loaded, built in, there to be loaded, or unknown to this kernel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from shlex import quote
from typing import Literal, get_args

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

ModuleKind = Literal["loaded", "builtin", "available", "missing"]
_KINDS: dict[str, ModuleKind] = {kind: kind for kind in get_args(ModuleKind)}

PLANNED = "kernel module:planned"
"""Key of the modules that earlier tasks of the same plan will have loaded."""


@dataclass(frozen=True, slots=True)
class ModuleState:
    """A kernel module.

    `users`: how many hold it (/proc/modules); `named_in`: files that have it loaded at boot;
    `blacklisted_in`: files that keep it from being loaded for a device.
    """

    name: str
    kind: ModuleKind
    users: int = 0
    named_in: tuple[str, ...] = ()
    blacklisted_in: tuple[str, ...] = ()


def canonical(name: str) -> str:
    """A module's name as the kernel has it: - and _ mean the same."""
    return name.replace("-", "_")


def key(name: str) -> str:
    """The probe key of a module."""
    return f"kernel module:{canonical(name)}"


# modprobe's dry run finds modules of this kernel only, and tells of built-in ones as found.
_LOOK = r"""export LC_ALL=C
[ -r /proc/modules ] || exit 3
pattern=$(printf %s "$n" | sed 's/_/[-_]/g')
line=$(grep "^$n " /proc/modules || :)
if [ -n "$line" ]; then
  set -- $line
  echo "loaded $3"
elif grep -q "/$pattern\.ko" "/lib/modules/$(uname -r)/modules.builtin" 2> /dev/null; then
  echo builtin
elif ! command -v modprobe > /dev/null; then
  exit 127
elif modprobe -n -q -- "$n"; then
  echo available
else
  echo missing
fi
blank='[[:space:]]'
for f in /etc/modules /etc/modules-load.d/*.conf; do
  if [ -f "$f" ] && grep -q "^$blank*$pattern\($blank\|\$\)" "$f"; then echo "named $f"; fi
done
for f in /etc/modprobe.d/*.conf /lib/modprobe.d/*.conf; do
  if [ -f "$f" ] && grep -q "^$blank*blacklist$blank$blank*$pattern$blank*\$" "$f"; then
    echo "blacklisted $f"
  fi
done
"""


def probe(name: str, become: bool) -> Probe:
    """Look at one module."""
    shell = f"n={quote(canonical(name))}\n{_LOOK}"
    return Probe(key(name), shell, partial(parse, name), become=become)


def parse(name: str, result: Result) -> ModuleState:
    """What the probe printed, as a state."""
    if result.rc != 0:
        why = result.error_text or f"exit {result.rc}"
        if result.rc == 127:
            why = "this host has no modprobe"
        raise Unknown(f"kernel module {name}: whether it is loaded is not known: {why}")
    words = [line.partition(" ")[::2] for line in result.text.splitlines()]
    named = tuple(rest for word, rest in words if word == "named")
    blacklisted = tuple(rest for word, rest in words if word == "blacklisted")
    for word, rest in words:
        kind = _KINDS.get(word)
        if kind:
            # "-" where the kernel was built without unloading: nothing can be counted.
            users = int(rest.replace("-", "0") or 0)
            return ModuleState(canonical(name), kind, users, named, blacklisted)
    raise Unknown(f"kernel module {name}: the look at it printed {result.text!r}")


def planned_probe(become: bool) -> Probe:
    """Nothing is read: the key only carries what tasks of a plan leave for later ones."""
    return Probe(PLANNED, ":", _nothing_planned, become=become)


def _nothing_planned(result: Result) -> Collection[str]:
    return ()
