"""The commands that cut GPUs, as POSIX sh. Each looks at what it has done before it says so:
nvidia-smi exits with 0 on refusals ("Treating as warning and moving on"), and a list of instances
is created left to right without going back when one fails.

An instance is written PROFILE@START:SIZE. Each is made where the plan says ("1g.10gb:4", the
placement specifier of `nvidia-smi mig -cgi`), so that it finds its room whatever lies beside it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace

from runner.facts.gpu_models import Placed
from runner.facts.nvidia import Gpu, Instance
from runner.hosts.script import Command
from runner.modules.mig_geometry import Step

TIMEOUT = 300.0
"""Seconds for a command: a reset takes seconds, eight GPUs without persistence mode a minute."""

_PRELUDE = r"""LC_ALL=C; export LC_ALL
fail() {
    printf '%s\n' "$@" >&2
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
    rows=$(printf '%s\n' "$table" | sed -n \
        's/^| *[0-9][0-9]* *MIG \([^ ]*\) *[0-9]* *\([0-9]*\) *\([0-9]*:[0-9]*\) *|$/\1@\3 \2/p' |
        sort)
    found=$(printf '%s\n' "$rows" | sed 's/ .*//' | paste -s -d ' ' -)
}
"""

_PARTITION = r"""without() {
    for one in $1; do
        case " $2 " in *" $one "*) ;; *) printf '%s ' "$one" ;; esac
    done
}
destroy() {
    ids=$(for one in $3; do printf '%s\n' "$rows" | sed -n "s/^$one //p"; done | paste -s -d , -)
    said=$(nvidia-smi mig -i "$1" -gi "$ids" -dci 2>&1; nvidia-smi mig -i "$1" -gi "$ids" -dgi 2>&1)
    instances "$1" "$2"
}
partition() {
    instances "$1" "$2"
    strange=$(without "$found" "$3 $4 $5")
    [ -z "$strange" ] || fail "$2 has MIG instances that are not wanted and not known: $strange"
    surplus=$(without "$found" "$3")
    if [ -n "$surplus" ]; then
        destroy "$1" "$2" "$surplus"
        [ -z "$(without "$found" "$3")" ] ||
            fail "$2 still has MIG instances: $found (to stay: ${3:-none})" "$said"
    fi
    before=$found
    missing=$(without "$5" "$found")
    [ -n "$missing" ] || return 0
    places=$(printf '%s\n' $missing | sed 's/@\([0-9]*\):.*/:\1/' | paste -s -d , -)
    if said=$(nvidia-smi mig -i "$1" -cgi "$places" -C 2>&1); then
        instances "$1" "$2"
        [ -n "$(without "$missing" "$found")" ] || return 0
    fi
    answer=$said
    instances "$1" "$2"
    made=$(without "$found" "$before")
    [ -z "$made" ] || destroy "$1" "$2" "$made"
    fail "$2: MIG instances could not be created: $missing" "$answer" \
        "it has now: ${found:-none}"
}
"""
# What a failing list has made is destroyed again: a GPU that is cut in part offers nothing useful.

_MODE = r"""modes() {
    seen=$(nvidia-smi -i "$1" --query-gpu=uuid,mig.mode.current,mig.mode.pending \
        --format=csv,noheader 2>&1) || fail 'MIG modes cannot be read' "$seen"
    wrong=$(printf '%s\n' "$seen" | sed "/, $2, $2\$/d; s/,.*//" | paste -s -d , -)
    pending=$(printf '%s\n' "$seen" | sed -n "s/, $3, $2\$//p" | paste -s -d , -)
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
        fail "MIG mode is not $3 on $wrong and GPUs cannot be reset here (a virtual machine?)" \
            "Run nvidia-smi -mig $2, reboot the host and apply again" "$said" ;;
    esac
    fail "MIG mode is not $3 on $wrong" "$said"
}
"""
# A mode left pending would take effect at the next reboot, so that a failure takes it back.

FUNCTIONS = _PRELUDE + _PARTITION + _MODE


def _command(key: str, function: str, calls: Sequence[Sequence[str]]) -> Command:
    lines = [" ".join((call[0], *map(shlex.quote, call[1:]))) for call in calls]
    return Command(f"mig:{key}", _PRELUDE + function + "\n".join(lines) + "\n", timeout=TIMEOUT)


def _name(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.uuid})"


def _switch(gpus: Sequence[Gpu], on: bool, key: str) -> Command:
    uuids = ",".join(gpu.uuid for gpu in gpus)
    words = ("1", "Enabled", "Disabled", "0") if on else ("0", "Disabled", "Enabled", "1")
    return _command(key, _MODE, [("switch", uuids, *words)])


_PENDING = r"""pend() {
    said=$(nvidia-smi -i "$1" -mig "$2" 2>&1)
    left=$(nvidia-smi -i "$1" --query-gpu=uuid,mig.mode.pending --format=csv,noheader 2>&1 |
        sed "/, $3\$/d")
    [ -z "$left" ] || fail "MIG mode does not become $3: $left" "$said"
}
"""


def pending(gpus: Sequence[Gpu], on: bool, key: str) -> tuple[Command, ...]:
    """Set the mode that GPUs take now, if the driver can reset them, else at the next boot."""
    if not gpus:
        return ()
    uuids = ",".join(gpu.uuid for gpu in gpus)
    words = ("1", "Enabled") if on else ("0", "Disabled")
    return (_command(key, _PENDING, [("pend", uuids, *words)]),)


def _partition(
    gpu: Gpu, stay: Iterable[str] = (), go: Iterable[str] = (), create: Iterable[str] = ()
) -> list[str]:
    """A call that destroys what of `go` is there, then makes what of `create` is missing, in its
    order. An instance that may stay is in `stay`; any other makes it fail."""
    words = " ".join(sorted(stay)), " ".join(sorted(go)), " ".join(create)
    return ["partition", gpu.uuid, _name(gpu), *words]


def _there(instance: Instance) -> str:
    return f"{instance.profile}@{instance.placement}"


def _made(placed: Placed) -> str:
    profile, start = placed
    return f"{profile.name}@{start}:{profile.size}"


def commands(steps: Sequence[Step]) -> tuple[Command, ...]:
    """Destroy what is not wanted, set the mode, create what is missing."""
    clear = [
        _partition(step.gpu, go=map(_there, step.destroy))
        for step in steps
        if not step.on and step.destroy
    ]
    cut = [
        _partition(
            step.gpu,
            map(_there, step.keep),
            map(_there, step.destroy),
            map(_made, step.create),
        )
        for step in steps
        if step.on and (step.destroy or step.create)
    ]
    modes = [(step.gpu, step.on) for step in steps if step.switch]
    return _in_order("", clear, modes, cut)


def _in_order(
    prefix: str, clear: list[list[str]], modes: list[tuple[Gpu, bool]], cut: list[list[str]]
) -> tuple[Command, ...]:
    done: list[Command] = []
    if clear:
        done.append(_command(f"{prefix}clear", _PARTITION, clear))
    for on in (False, True):
        gpus = [gpu for gpu, wanted in modes if wanted is on]
        if gpus:
            done.append(_switch(gpus, on, f"{prefix}{'enable' if on else 'disable'}"))
    if cut:
        done.append(_command(f"{prefix}partition", _PARTITION, cut))
    return tuple(done)


def undo(steps: Sequence[Step]) -> tuple[Command, ...]:
    """The way back to the geometry before, from wherever the change has stopped; () where
    instances were split by hand, since parts of an instance are not recreated."""
    if any(not one.whole for step in steps for one in step.gpu.instances):
        return ()
    clear, cut, modes = [], [], []
    for step in steps:
        made = [_made(one) for one in step.create]
        if step.gpu.mig_mode_current is False:
            clear += [_partition(step.gpu, go=made)] if made else []
        elif step.destroy or made:
            before = [_there(one) for one in sorted(step.gpu.instances, key=_size)]
            cut.append(_partition(step.gpu, before, made, before))
        if step.switch and step.gpu.mig_mode_current is not None:
            modes.append((step.gpu, step.gpu.mig_mode_current))
    return _in_order("undo-", clear, modes, cut)


def _size(instance: Instance) -> int:
    """The largest first."""
    return -int(instance.placement.partition(":")[2])


def guard(gpus: Sequence[Gpu]) -> str:
    """sh that exits 0 while these GPUs have the modes and instances they had when observed.

    A mode that was pending may have come meanwhile, in a reboot of the same plan.
    """
    state = "\n".join([*map(_come, gpus), *sorted(_instance_lines(gpus))]) + "\n"
    uuids = ",".join(gpu.uuid for gpu in gpus)
    enabled = ",".join(gpu.uuid for gpu in gpus if gpu.mig_mode_current)
    row = r"s/^| *\([0-9]*\) *MIG \([^ ]*\) *[0-9]* *[0-9]* *\([0-9]*:[0-9]*\) *|$/\1 \2 \3/p"
    comes = [gpu for gpu in gpus if gpu.mig_mode_current != gpu.mig_mode_pending]
    come = "".join(f" |\n        sed 's/^{_mode_line(gpu)}$/{_come(gpu)}/'" for gpu in comes)
    listing = ""
    if enabled:
        listing = f"    nvidia-smi mig -i {shlex.quote(enabled)} -lgi | sed -n '{row}' | sort\n"
    return (
        "LC_ALL=C; export LC_ALL\n"
        "state=$(\n"
        f"    nvidia-smi -i {shlex.quote(uuids)} --format=csv,noheader \\\n"
        f"        --query-gpu=index,uuid,mig.mode.current,mig.mode.pending{come}\n"
        f"{listing})\n"
        "seen=$(printf '%s\\n' \"$state\" | sha256sum)\n"
        f'[ "${{seen%% *}}" = {hashlib.sha256(state.encode()).hexdigest()} ] ||\n'
        "    { printf 'MIG state is now:\\n%s\\n' \"$state\" >&2; false; }\n"
    )


def _mode_line(gpu: Gpu) -> str:
    words = {True: "Enabled", False: "Disabled", None: "[N/A]"}
    return f"{gpu.index}, {gpu.uuid}, {words[gpu.mig_mode_current]}, {words[gpu.mig_mode_pending]}"


def _come(gpu: Gpu) -> str:
    """The line once a pending mode has come."""
    return _mode_line(replace(gpu, mig_mode_current=gpu.mig_mode_pending))


def _instance_lines(gpus: Sequence[Gpu]) -> list[str]:
    return [f"{gpu.index} {one.profile} {one.placement}" for gpu in gpus for one in gpu.instances]
