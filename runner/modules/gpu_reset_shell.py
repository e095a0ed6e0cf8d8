"""The command that resets GPUs, as POSIX sh: it looks who has them open before it tries, and what
nvidia-smi shows of them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from runner.facts.nvidia import Gpu


def script(gpus: Sequence[Gpu], stop: Sequence[str]) -> str:
    """sh that resets GPUs.

    Args:
        stop: units that hold them, to be stopped and started around it.
    """
    return _RESET.format(
        uuids=" ".join(quote(gpu.uuid) for gpu in gpus),
        buses=" ".join(quote(gpu.pci) for gpu in gpus),
        stop=" ".join(map(quote, stop)),
        start=" ".join(map(quote, reversed(stop))),
    )


_RESET = """\
LC_ALL=C; export LC_ALL
set -- {uuids}
ids=$(printf '%s,' "$@"); ids=${{ids%,}}
devices=$(
    for f in /proc/driver/nvidia/gpus/*/information; do
        case " $* " in
        *" $(sed -n 's/^GPU UUID:[[:space:]]*//p' "$f") "*)
            sed -n 's|^Device Minor:[[:space:]]*|/dev/nvidia|p' "$f" ;;
        esac
    done 2>/dev/null
)
: "${{devices:=/dev/nvidia[0-9]*}}"
advice() {{
    cgroup=$(cat "/proc/$1/cgroup" 2>/dev/null)
    case $cgroup in
    *kubepods*) echo "a container of a pod; delete the pod, or pause its DaemonSet" ;;
    *system.slice/*.service*)
        unit=${{cgroup##*system.slice/}}; echo "systemctl stop ${{unit%%.service*}}" ;;
    *) echo "end it: kill $1" ;;
    esac
}}
holders() {{
    {{
        nvidia-smi -i "$ids" --query-compute-apps=pid,process_name --format=csv,noheader |
            sed -n 's/^\\([0-9][0-9]*\\), /\\1 /p'
        fuser -v $devices 2>&1 >/dev/null </dev/null |
            sed -n '1d; s/^.* \\([0-9][0-9]*\\) [F.][^ ]* *\\(.*\\)$/\\1 \\2/p'
        for d in $devices; do
            find /proc/[0-9]*/fd -lname "$d" | cut -d / -f 3 | sort -u | while read -r pid; do
                echo "$pid $(cat "/proc/$pid/comm")"
            done
        done
    }} 2>/dev/null | sort -n -u -k 1,1 | while read -r pid name; do
        echo "held by: pid $pid $name ($(advice "$pid"))"
    done
}}
back() {{
    for u in $warm; do nvidia-smi -i "$u" -pm 1 >/dev/null 2>&1 || :; done
    for s in {start}; do systemctl start "$s" >/dev/null 2>&1 || :; done
}}
fail() {{ printf '%s\\n' "$@" >&2; holders >&2; back; exit 1; }}
warm=$(nvidia-smi -i "$ids" --query-gpu=uuid,persistence_mode --format=csv,noheader |
    sed -n 's/, Enabled$//p')
for s in {stop}; do
    said=$(systemctl stop "$s" 2>&1) || fail "$s could not be stopped" "$said"
done
nvidia-smi -i "$ids" -pm 0 >/dev/null 2>&1
held=$(holders)
[ -z "$held" ] || fail 'GPUs are in use: nothing was reset'
said=$(nvidia-smi -i "$ids" --gpu-reset 2>&1)
rc=$?
case $said in
*'is not supported'*)
    fail 'GPUs cannot be reset here (a virtual machine?); reboot the host instead' "$said" ;;
esac
[ "$rc" = 0 ] || fail "nvidia-smi --gpu-reset exited $rc" "$said"
for b in {buses}; do
    case $said in
    *"GPU $b was successfully reset"*) ;;
    *) fail "nvidia-smi does not say that GPU $b was reset" "$said" ;;
    esac
done
for u in "$@"; do
    seen=$(nvidia-smi -i "$u" --query-gpu=uuid --format=csv,noheader 2>&1)
    [ "$seen" = "$u" ] || fail "GPU $u is silent after its reset: a power cycle may help" "$seen"
done
back
tries=60
while nvidia-smi -q -i "$ids" | grep -A 1 '^ *Fabric$' | grep -q 'State *: In Progress'; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail 'the GPUs do not join their NVSwitches again' \\
        "$(nv-fabricmanager --version 2>&1 | head -n 1)" \\
        "driver: $(sed -n 's/^NVRM version: *//p' /proc/driver/nvidia/version)" \\
        'they have to be of one version: driver-upgrade.yaml; journalctl -u nvidia-fabricmanager'
    sleep 1
done
"""
