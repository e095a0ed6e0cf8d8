"""MIG geometries that come back at boot: a file for each GPU, a script and a systemd unit.

No GPU instance survives a reboot, and Hopper and later GPUs lose MIG mode too (MIG User Guide,
"Getting Started with MIG"). The unit runs before the kubelet, so that the device plugin finds the
GPUs as they were. It needs a POSIX shell and nvidia-smi, and nothing of gpurun.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from shlex import quote

from runner.facts.gpu_models import family_of, place
from runner.facts.nvidia import Gpu
from runner.hosts.script import Command, Result
from runner.modules import mig_commands
from runner.modules.base import Change, Probe, Unknown
from runner.modules.mig_geometry import Geometry, label, resolve

FOLDER = "/etc/gpurun/mig"
"""One file for each GPU, named by its UUID: its instances in the order of creation."""
SCRIPT = "/usr/local/lib/gpurun/mig-at-boot"
UNIT = "gpurun-mig.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
ENABLED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
KEPT_KEY = "mig:kept"

UNIT_TEXT = f"""\
[Unit]
Description=MIG geometry that gpurun has set
ConditionDirectoryNotEmpty={FOLDER}
After=systemd-modules-load.service nvidia-persistenced.service nvidia-fabricmanager.service
Before=kubelet.service nvidia-dcgm.service dcgm-exporter.service nvidia-cdi-refresh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={SCRIPT}
TimeoutStartSec=600

[Install]
WantedBy=multi-user.target
"""
SCRIPT_TEXT = (
    "#!/bin/sh\n# Cuts GPUs as gpurun has been told to keep them; changes are overwritten.\n"
    + mig_commands.FUNCTIONS
    + rf"""profiles() {{
    for one in $1; do printf '%s\n' "${{one%@*}}"; done | sort | paste -s -d ' ' -
}}
restore() {{
    set -f
    modes "$1" Enabled Disabled
    [ -z "$wrong" ] || switch "$1" 1 Enabled Disabled 0
    instances "$1" "GPU $1"
    [ "$(profiles "$found")" != "$(profiles "$2")" ] || return 0
    partition "$1" "GPU $1" '' '' "$2"
}}
failed=0
for file in {FOLDER}/GPU-*; do
    [ ! -f "$file" ] || (restore "${{file##*/}}" "$(cat "$file")") || failed=1
done
exit "$failed"
"""
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a host keeps for its next boot.

    Args:
        gpus: UUID -> instances as `kept_text` writes them.
        unit: script and unit are there as this gpurun writes them, and enabled.
        there: a unit of that name is there, whatever it is.
        seen: what the probe printed.
    """

    gpus: Mapping[str, str] = field(default_factory=dict)
    unit: bool = False
    there: bool = False
    seen: str = ""


_SHELL = rf"""LC_ALL=C; export LC_ALL
look() {{
    for f in {SCRIPT} {UNIT_FILE}; do
        if [ -f "$f" ]; then sha256sum <"$f"; else echo none; fi
    done
    if [ -e {ENABLED} ]; then echo enabled; else echo disabled; fi
    for f in {FOLDER}/GPU-*; do
        [ ! -f "$f" ] || printf '%s %s\n' "${{f##*/}}" "$(cat "$f")"
    done
}}
"""
_GPU_LINE = re.compile(r"GPU-[0-9A-Za-z-]+ ?[0-9A-Za-z.+@: -]*")


def _sum(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()}  -"


def parse_kept(result: Result) -> Kept:
    """What the probe has read. Raises Unknown."""
    lines = result.text.splitlines()
    strange = [line for line in lines[3:] if not _GPU_LINE.fullmatch(line)]
    if result.rc or result.truncated or len(lines) < 3 or strange:
        shown = strange[0] if strange else result.error_text[:400]
        raise Unknown(f"what {FOLDER} keeps for the next boot cannot be read: {shown!r}")
    pairs = (line.partition(" ") for line in lines[3:])
    return Kept(
        {uuid: text.strip() for uuid, _, text in pairs},
        lines[:3] == [_sum(SCRIPT_TEXT), _sum(UNIT_TEXT), "enabled"],
        lines[1] != "none",
        result.text,
    )


_LOOK = f"{_SHELL}look\n"
PROBE = Probe(KEPT_KEY, _LOOK, parse_kept)


def kept_text(gpu: Gpu, wanted: Geometry) -> str | None:
    """The instances that a GPU shall have after a boot; None where it needs none and no MIG."""
    if not wanted.on:
        return None
    made = place(family_of(gpu.device, label(gpu)), resolve(wanted, gpu)) or ()
    return " ".join(f"{profile.name}@{start}:{profile.size}" for profile, start in made)


def change_of_kept(
    kept: Kept, wanted: Mapping[str, tuple[Gpu, str | None]], persist: bool | None
) -> Change | None:
    """What has to be written for the next boot.

    Args:
        wanted: UUID -> GPU and `kept_text` of what it is cut into.
        persist: None: geometries that are kept follow, no other is kept.
    """
    after = dict(kept.gpus)
    for uuid, (_, text) in wanted.items():
        if persist is False or text is None:
            after.pop(uuid, None)
        elif persist or uuid in after:
            after[uuid] = text
    needs_unit = bool(after) and not kept.unit
    if after == kept.gpus and not needs_unit:
        return None
    indexes = [gpu.index for uuid, (gpu, _) in wanted.items() if after.get(uuid) is not None]
    which = ", ".join(map(str, indexes))
    summary = f"MIG of GPU {which} comes back at boot" if indexes else "no MIG at boot"
    overlay = replace(kept, gpus=after, unit=kept.unit or needs_unit, seen="")
    undo = _files(after, kept.gpus) + ("" if kept.there or not needs_unit else _REMOVE_UNIT)
    return Change(
        summary=f"{summary} ({UNIT})",
        do=(Command("mig:keep", _files(kept.gpus, after) + (_ADD_UNIT if needs_unit else "")),),
        guard=_guard(kept),
        before=dict(kept.gpus),
        after=after,
        overlay={KEPT_KEY: overlay},
        undo=(Command("mig:undo-keep", undo),),
    )


def _guard(kept: Kept) -> str:
    if not kept.seen:  # Written earlier in the same plan.
        return ""
    digest = hashlib.sha256(kept.seen.encode()).hexdigest()
    return (
        f"{_SHELL}seen=$(look | sha256sum)\n"
        f'[ "${{seen%% *}}" = {digest} ] ||\n'
        "    { echo 'what is kept of MIG for the next boot is now:' >&2; look >&2; false; }\n"
    )


_WRITE = r"""umask 022
write() {
    mkdir -p "${1%/*}" && printf '%s\n' "$2" >"$1.new" && sync "$1.new" &&
        mv "$1.new" "$1" || exit 1
}
"""
_ADD_UNIT = (
    f"write {SCRIPT} {quote(SCRIPT_TEXT.rstrip())}\n"
    f"chmod 755 {SCRIPT} || exit 1\n"
    f"write {UNIT_FILE} {quote(UNIT_TEXT.rstrip())}\n"
    f"systemctl --no-reload enable {UNIT} || exit 1\n"
)
# Without a reload of systemd: it is not needed before the next boot, and takes GPUs from containers
# that have them through the legacy runtime (NVIDIA container toolkit, "Troubleshooting").
_REMOVE_UNIT = f"systemctl --no-reload disable {UNIT}\nrm -f {UNIT_FILE} {SCRIPT}\n"


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    gone = [f"rm -f {FOLDER}/{uuid} || exit 1\n" for uuid in sorted(before.keys() - after.keys())]
    written = [
        f"write {FOLDER}/{uuid} {quote(text)}\n"
        for uuid, text in sorted(after.items())
        if before.get(uuid) != text
    ]
    return _WRITE + "".join([*gone, *written])
