"""`driver_reload`: the NVIDIA kernel module on disk is the one that is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from pydantic import Field, StrictBool

from runner.facts import driver_history
from runner.facts.driver_history import (
    BEFORE_KEY,
    GPUS_SEEN_KEY,
    SERVICES_KEY,
    Before,
    Services,
)
from runner.facts.nvidia import DRIVER, DRIVER_KEY, GPUS_KEY, Driver, Gpus
from runner.facts.system import BOOT_ID
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
)
from runner.modules.driver_before import new_record, reloaded, remembered


class DriverReloadArguments(Arguments):
    force: StrictBool = Field(
        False, description="Reload also the driver that is loaded already: in every apply."
    )


class DriverReload(Module[DriverReloadArguments]):
    """Loads the NVIDIA kernel module that is on disk, in place of the one that is loaded.

    What holds the driver is stopped first (nvidia-persistenced, fabric manager, imex, dcgm, nvsm,
    a display manager: those that are active), the modules are unloaded from nvidia_drm to nvidia
    and loaded again, and what was active is started. A module that is in use does not let itself
    be unloaded: then the loaded driver stays, and the task fails with the names of the holders. A
    `rescue` that reboots goes on from there.

    MIG instances are lost with the driver on every GPU, on Hopper and later MIG mode too, and
    persistence mode where no daemon keeps it: what there was is kept, and `gpu_restore` makes it
    again. The disruption is `gpu`, the risk high.

    Sources: the order is that of NVIDIA's k8s-driver-manager; rmmod(8).
    """

    name = "driver_reload"
    arguments = DriverReloadArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    examples = (
        """\
- name: the driver that is installed is the one that runs
  driver_reload: {}
""",
    )

    def probes(self, args: DriverReloadArguments, context: Context) -> Sequence[Probe]:
        assert DRIVER.probe and BOOT_ID.probe
        become = context.become
        return (
            dataclasses.replace(DRIVER.probe, become=become),
            driver_history.gpus_seen_probe(become),
            driver_history.services_probe(become),
            driver_history.before_probe(become),
            dataclasses.replace(BOOT_ID.probe, become=become),
        )

    def plan(
        self, args: DriverReloadArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        driver: Driver = observed[DRIVER_KEY]
        result = {"loaded": driver.loaded, "installed": driver.installed}
        _refuse_hopeless(driver, observed[SERVICES_KEY])
        if is_loaded(driver) and not (args.force and context.notified):
            return Outcome(result=result)
        change = _change(driver, observed, context)
        messages: tuple[str, ...] = ()
        if change.overlay.get(BEFORE_KEY, observed[BEFORE_KEY]) is None:
            messages = (
                "what MIG geometry the GPUs had is not known, as nvidia-smi does not show them; "
                "apply your MIG playbook afterwards",
            )
        return Outcome((change,), result=result, messages=messages)


def is_loaded(driver: Driver) -> bool:
    """Whether the module on disk is the loaded one."""
    flavours = {driver.installed_flavour, driver.loaded_flavour} - {""}
    return driver.installed == driver.loaded and len(flavours) < 2


def _refuse_hopeless(driver: Driver, services: Services) -> None:
    if not driver.installed:
        raise Refused(
            f"there is no NVIDIA kernel module on disk ({driver.reason or 'none is installed'}); "
            "install the driver first, and see `dkms status`"
        )
    if "nouveau" in services.modules:
        raise Refused(
            "the kernel has loaded nouveau, which keeps NVIDIA's driver off the GPUs: put it on "
            "modprobe's blacklist and reboot"
        )
    if is_loaded(driver) and driver.mismatch:
        raise Refused(
            f"the module on disk and the loaded one are both {driver.loaded}, the libraries are "
            f"not ({driver.reason}): a reload does not help; the driver's packages are mixed"
        )


def _change(driver: Driver, observed: Mapping[str, Any], context: Context) -> Change:
    services: Services = observed[SERVICES_KEY]
    record: Before | None = new_record(observed)
    known: Before | None = observed[BEFORE_KEY] or record
    start = _in_order({*services.active, *(known.services if known else ())})
    keep = (driver_history.keep("gpus.json", record, context.become),) if record else ()
    reload = context.command("reload", _script(start), 300.0)
    before = driver.loaded or "none"
    return Change(
        summary=f"load NVIDIA driver {driver.installed} in place of {before}"
        + (f", stopping and starting {', '.join(start)}" if start else ""),
        do=(*keep, reload),
        guard=_guard(driver),
        risk=Risk.HIGH,
        disruption=Disruption.GPU,
        before={"loaded": before, "flavour": driver.loaded_flavour},
        after={"loaded": driver.installed, "flavour": driver.installed_flavour},
        overlay={
            DRIVER_KEY: dataclasses.replace(
                driver,
                loaded=driver.installed,
                loaded_flavour=driver.installed_flavour,
                mismatch=False,
                reason="",
            ),
            SERVICES_KEY: dataclasses.replace(services, active=start),
            **_gpus_after(observed, known, start),
            **({BEFORE_KEY: record} if record else {}),
        },
    )


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in driver_history.SERVICES if name in names)


def _gpus_after(
    observed: Mapping[str, Any], known: Before | None, services: Sequence[str]
) -> dict[str, Any]:
    """The GPUs as they come out of a reload; nothing where they were never seen."""
    seen: Gpus | None = observed[GPUS_SEEN_KEY]
    if not seen and known is None:
        return {}
    gpus = seen or Gpus([remembered(gpu) for gpu in (known.gpus if known else ())])
    after = Gpus([reloaded(gpu, "nvidia-persistenced" in services) for gpu in gpus])
    return {GPUS_SEEN_KEY: after, GPUS_KEY: after}


def _guard(driver: Driver) -> str:
    """Nobody else reloaded it meanwhile, and the module is there that shall be loaded."""
    loaded = f'*" {driver.loaded} "*' if driver.loaded else '""'
    return (
        f'[ "$(modinfo -F version nvidia)" = {driver.installed} ] || exit 1\n'
        "now=$(sed -n '/^NVRM version:/{p;q;}' /proc/driver/nvidia/version 2>/dev/null)\n"
        f'case "$now" in {loaded}) ;; *) false ;; esac'
    )


def _script(start: Sequence[str]) -> str:
    return _RELOAD.format(
        services=" ".join(map(quote, driver_history.SERVICES)), start=" ".join(map(quote, start))
    )


_RELOAD = """\
LC_ALL=C; export LC_ALL
order='nvidia_drm nvidia_modeset nvidia_uvm nvidia_peermem nvidia_fs gdrdrv nvidia_vgpu_vfio nvidia'
loaded() {{ lsmod | grep -q "^$1 "; }}
start() {{ for s in {start} $stopped; do systemctl start "$s" >/dev/null 2>&1 || :; done; }}
holders() {{
    fuser -v /dev/nvidia* 2>&1 >/dev/null </dev/null | sed '1d; s/^/held by: /'
    find /proc/[0-9]*/fd -lname '/dev/nvidia*' 2>/dev/null | cut -d / -f 3 | sort -u |
        while read -r pid; do echo "held by: pid $pid $(cat "/proc/$pid/comm")"; done
}}
fail() {{ printf '%s\\n' "$@" >&2; holders >&2 2>/dev/null; back; exit 1; }}
back() {{ for m in $was; do loaded "$m" || modprobe "$m" >/dev/null 2>&1 || :; done; start; }}
was= stopped=
for m in $order; do ! loaded "$m" || was="$m $was"; done
if [ -d /run/systemd/system ]; then
    for s in {services}; do
        systemctl is-active -q "$s" || continue
        stopped="$stopped $s"
        said=$(systemctl stop "$s" 2>&1) || fail "$s could not be stopped" "$said"
    done
fi
for m in $order; do
    loaded "$m" || continue
    said=$(rmmod "$m" 2>&1) || fail "the driver could not be unloaded" "$said"
done
for m in ${{was:-nvidia nvidia_uvm}}; do
    loaded "$m" || said=$(modprobe "$m" 2>&1) ||
        fail "the new driver could not be loaded" "$said" "$(dmesg | grep NVRM | tail -n 5)"
done
[ ! -d /run/systemd/system ] || start
"""
