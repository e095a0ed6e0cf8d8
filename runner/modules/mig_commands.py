"""The commands that cut GPUs, as POSIX sh. Each looks at what it has done before it says so:
nvidia-smi exits with 0 on refusals ("Treating as warning and moving on"), and a list of instances
is created left to right without going back when one fails.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Sequence

from runner.facts.gpu_models import Profile, family_of, largest_first
from runner.facts.nvidia import Gpu
from runner.hosts.script import Command
from runner.modules.mig_geometry import UNPLACED, Step

TIMEOUT = 300.0
"""Seconds for a command: a reset takes seconds, eight GPUs without persistence mode a minute."""

_PRELUDE = """\
LC_ALL=C; export LC_ALL
fail() {
    printf '%s\\n' "$@" >&2
    {
        nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name --format=csv,noheader |
            sed 's/^/held by: /'
        fuser -v /dev/nvidia[0-9]* 2>&1 >/dev/null </dev/null | sed '1d; s/^/held by: /'
    } >&2 2>/dev/null
    exit 1
}
instances() {
    table=$(nvidia-smi mig -i "$1" -lgi 2>&1) || case $table in
    'No GPU instances found'* | 'No MIG-enabled devices found'*) ;;
    *) fail "MIG instances of $2 cannot be listed" "$table" ;;
    esac
    found=$(printf '%s\\n' "$table" | sed -n 's/^| *[0-9][0-9]* *MIG \\([^ ]*\\) .*|$/\\1/p' |
        sort | paste -s -d ' ' -)
}
"""

_CLEAR = """\
clear() {
    said=$(nvidia-smi mig -i "$1" $4 -dci 2>&1; nvidia-smi mig -i "$1" $4 -dgi 2>&1)
    instances "$1" "$2"
    [ "$found" = "$3" ] ||
        fail "$2 still has MIG instances: ${found:-none} (to stay: ${3:-none})" "$said"
}
"""

_CREATE = """\
create() {
    said=$(nvidia-smi mig -i "$1" -cgi "$4" -C 2>&1)
    instances "$1" "$2"
    [ "$found" = "$3" ] || fail "$2 has MIG instances: ${found:-none} (wanted: $3)" "$said"
}
"""

_MODE = """\
modes() {
    seen=$(nvidia-smi -i "$1" --query-gpu=uuid,mig.mode.current,mig.mode.pending \\
        --format=csv,noheader 2>&1) || fail 'MIG modes cannot be read' "$seen"
    wrong=$(printf '%s\\n' "$seen" | sed "/, $2, $2\\$/d; s/,.*//" | paste -s -d , -)
    pending=$(printf '%s\\n' "$seen" | sed -n "s/, $3, $2\\$//p" | paste -s -d , -)
}
switch() {
    said=$(nvidia-smi -i "$1" -mig "$2" 2>&1)
    modes "$1" "$3" "$4"
    if [ -n "$pending" ]; then
        said="$said
$(nvidia-smi -i "$pending" --gpu-reset 2>&1)"
        modes "$1" "$3" "$4"
    fi
    [ -n "$wrong" ] || return 0
    [ -z "$pending" ] || nvidia-smi -i "$pending" -mig "$5" >/dev/null 2>&1
    case $said in
    *'is not supported'*)
        fail "MIG mode is not $3 on $wrong and GPUs cannot be reset here (a virtual machine?)" \\
            "Run nvidia-smi -mig $2, reboot the host and apply again" "$said" ;;
    esac
    fail "MIG mode is not $3 on $wrong" "$said"
}
"""
# A mode left pending would take effect at the next reboot, so that a failure takes it back.


def _names(profiles: Iterable[str]) -> str:
    """Profile names as `instances` finds them."""
    return " ".join(sorted(profiles))


def _command(key: str, function: str, calls: Sequence[Sequence[str]]) -> Command:
    lines = [" ".join((call[0], *map(shlex.quote, call[1:]))) for call in calls]
    return Command(f"mig:{key}", _PRELUDE + function + "\n".join(lines) + "\n", timeout=TIMEOUT)


def _name(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.uuid})"


def _switch(gpus: Sequence[Gpu], on: bool, key: str) -> Command:
    uuids = ",".join(gpu.uuid for gpu in gpus)
    words = ("1", "Enabled", "Disabled", "0") if on else ("0", "Disabled", "Enabled", "1")
    return _command(key, _MODE, [("switch", uuids, *words)])


def _create(gpu: Gpu, profiles: Iterable[Profile | str], after: Iterable[str]) -> list[str]:
    names = ",".join(one if isinstance(one, str) else one.name for one in profiles)
    return ["create", gpu.uuid, _name(gpu), _names(after), names]


def commands(steps: Sequence[Step]) -> tuple[Command, ...]:
    """Destroy what is not wanted, set the mode, create what is missing."""
    done: list[Command] = []
    clear = [_clear_call(step) for step in steps if step.destroy]
    if clear:
        done.append(_command("clear", _CLEAR, clear))
    for on in (False, True):
        gpus = [step.gpu for step in steps if step.switch and step.on is on]
        if gpus:
            done.append(_switch(gpus, on, "enable" if on else "disable"))
    create = [_create(step.gpu, step.create, step.after) for step in steps if step.create]
    if create:
        done.append(_command("create", _CREATE, create))
    return tuple(done)


def _clear_call(step: Step) -> list[str]:
    """All instances where none stays, else those named by id."""
    call = ["clear", step.gpu.uuid, _name(step.gpu), _names(one.profile for one in step.keep)]
    if step.keep:
        call.append("-gi " + ",".join(str(one.id) for one in step.destroy))
    else:
        call.append("")
    return call


def undo(steps: Sequence[Step]) -> tuple[Command, ...]:
    """The way back to the geometry before; () where instances were split by hand, since parts of
    an instance are not recreated."""
    if any(not one.whole for step in steps for one in step.gpu.instances):
        return ()
    done: list[Command] = []
    clear = [["clear", s.gpu.uuid, _name(s.gpu), "", ""] for s in steps if s.create or s.keep]
    if clear:
        done.append(_command("undo-clear", _CLEAR, clear))
    for on in (False, True):
        gpus = [s.gpu for s in steps if s.switch and s.gpu.mig_mode_current is on]
        if gpus:
            done.append(_switch(gpus, on, f"undo-{'enable' if on else 'disable'}"))
    create = [
        _create(s.gpu, _in_order(s.gpu), [one.profile for one in s.gpu.instances])
        for s in steps
        if s.gpu.instances
    ]
    if create:
        done.append(_command("undo-create", _CREATE, create))
    return tuple(done)


def _in_order(gpu: Gpu) -> list[Profile | str]:
    """The GPU's profiles in order of creation."""
    family = family_of(gpu.device, gpu.product)
    profiles = [family.resolve(one.profile) for one in gpu.instances]
    return [*largest_first(profile for profile in profiles if profile is not None)]


def guard(gpus: Sequence[Gpu]) -> str:
    """sh that exits 0 while these GPUs have the modes and instances they had when observed.

    Instances planned earlier in the same plan have no ids yet: then profiles alone are compared.
    """
    exact = all(one.placement != UNPLACED for gpu in gpus for one in gpu.instances)
    state = "\n".join([*map(_mode_line, gpus), *sorted(_instance_lines(gpus, exact))]) + "\n"
    uuids = ",".join(gpu.uuid for gpu in gpus)
    enabled = ",".join(gpu.uuid for gpu in gpus if gpu.mig_mode_current)
    fields = r"\1 \2 \3 \4" if exact else r"\1 \2"
    row = r"s/^| *\([0-9]*\) *MIG \([^ ]*\) *[0-9]* *\([0-9]*\) *\([0-9]*:[0-9]*\) *|$/"
    listing = ""
    if enabled:
        listing = (
            f"    nvidia-smi mig -i {shlex.quote(enabled)} -lgi | sed -n '{row}{fields}/p' | sort\n"
        )
    return (
        "LC_ALL=C; export LC_ALL\n"
        "state=$(\n"
        f"    nvidia-smi -i {shlex.quote(uuids)} --format=csv,noheader \\\n"
        "        --query-gpu=index,uuid,mig.mode.current,mig.mode.pending\n"
        f"{listing})\n"
        "seen=$(printf '%s\\n' \"$state\" | sha256sum)\n"
        f'[ "${{seen%% *}}" = {hashlib.sha256(state.encode()).hexdigest()} ] ||\n'
        "    { printf 'MIG state is now:\\n%s\\n' \"$state\" >&2; false; }\n"
    )


def _mode_line(gpu: Gpu) -> str:
    words = {True: "Enabled", False: "Disabled", None: "[N/A]"}
    return f"{gpu.index}, {gpu.uuid}, {words[gpu.mig_mode_current]}, {words[gpu.mig_mode_pending]}"


def _instance_lines(gpus: Sequence[Gpu], exact: bool) -> list[str]:
    return [
        f"{gpu.index} {one.profile}" + (f" {one.id} {one.placement}" if exact else "")
        for gpu in gpus
        for one in gpu.instances
    ]
