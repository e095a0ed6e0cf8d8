"""`nvidia_driver`: the driver's packages, as one set of one version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

from runner.facts import apt, driver_history
from runner.facts.apt import Package, Simulation, Step
from runner.facts.driver_history import GPUS_SEEN_KEY, Before, Previous, Services
from runner.facts.driver_packages import (
    DriverPackages,
    flavour_of,
    is_part,
    look,
    of_branch,
    parse,
    upstream,
    versions_of,
)
from runner.facts.nvidia import DRIVER, DRIVER_KEY, GPUS_KEY, Driver
from runner.facts.system import BOOT_ID
from runner.hosts.script import Command
from runner.modules.base import (
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
    Unknown,
)
from runner.modules.driver_before import new_record, still_driven, works
from runner.modules.nvidia_driver_arguments import NvidiaDriverArguments
from runner.modules.nvidia_driver_shell import MERGE_JOURNAL, REPAIR, guard, install_words, says_why


class NvidiaDriver(Module[NvidiaDriverArguments]):
    """Installs NVIDIA's driver in one version, with all that has to match it, and holds it there.

    apt is asked first what it would do (`apt-get -s`); the plan has every package with its version
    before and after (`--output json`), and those very versions are what is installed. Fabric
    manager, nscq and imex go along where they are installed: they work only with a driver of the
    same version.

    Refused are: packages of another version than wanted (a transitional package leads to another
    branch, two repositories are mixed), a host that `nvidia-driver-pinning-…` pins to another one,
    removals of other packages than the driver's, a driver of the .run installer, missing kernel
    headers (for the running and for the newest kernel), Secure Boot without an enrolled key for
    what dkms builds, and an installed version that could not be installed again because no source
    offers it any more.

    What the node has is kept under `/var/lib/gpurun/driver`: the packages, for the way back
    (`facts.driver_previous`), and MIG geometry, persistence mode and services, for `gpu_restore`
    (`facts.gpus_before`). An installation that fails half way is undone: the packages from before
    are installed again.

    The new driver is not loaded: the running one stays, and nothing that starts on a GPU works
    until `driver_reload` or a reboot. High risk; every GPU client must go first.

    Tried with apt and dpkg on packages cut like Ubuntu's and like those of NVIDIA's CUDA repository
    (`nvidia-open-570`, `cuda-drivers-570`), and from one to the other.
    """

    name = "nvidia_driver"
    arguments = NvidiaDriverArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    examples = (
        """\
- name: one version of the driver everywhere
  nvidia_driver:
    version: 570.86.15
""",
        """\
- name: the open kernel module of a branch
  nvidia_driver:
    branch: "570"
    flavour: open
""",
    )

    def probes(self, args: NvidiaDriverArguments, context: Context) -> Sequence[Probe]:
        assert DRIVER.probe and BOOT_ID.probe
        extra = ("nvidia-fabricmanager",) if args.fabric_manager else ()
        shell = look(args.wanted, args.source, args.flavour, extra)
        become = context.become
        return (
            Probe(_key(args), shell, parse, 120.0, become=become),
            replace(DRIVER.probe, become=become),
            driver_history.gpus_seen_probe(become),
            driver_history.services_probe(become),
            driver_history.before_probe(become),
            driver_history.previous_probe(become),
            replace(BOOT_ID.probe, become=become),
            apt.planned_probe(become),
        )

    def plan(
        self, args: NvidiaDriverArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        task = _Task(args, observed[_key(args)], observed, context)
        change = task.change()
        installed = sorted(set(versions_of(task.versions()).values()))
        return Outcome((change,) if change else (), result={"versions": installed})


def _key(args: NvidiaDriverArguments) -> str:
    words = (args.wanted, args.source or "", args.flavour or "", str(args.fabric_manager))
    return f"driver:packages:{':'.join(words)}"


@dataclass(frozen=True, slots=True)
class _Task:
    """One task against what was observed."""

    args: NvidiaDriverArguments
    state: DriverPackages
    observed: Mapping[str, Any]
    context: Context

    def versions(self) -> dict[str, str]:
        """The parts that are installed now."""
        return {name: package.version for name, package in self.state.parts.items()}

    def change(self) -> Change | None:
        if self.state.runfile:
            raise Refused(
                "a driver of NVIDIA's .run installer is on this host (/usr/bin/nvidia-uninstall); "
                "packages beside it break both: run nvidia-uninstall first"
            )
        self._refuse_pin()
        half_done = any(is_part(name) for name in self.state.unfinished)
        if self._is_wanted(self.versions()) and not half_done:
            return self._holds_only()
        self._refuse_unfinished()
        steps, error = self.state.simulation.steps, self.state.simulation.error
        if error:
            raise Refused(f"apt cannot do this: {error}{_advice(error, self.state.offered)}")
        after = self._after(steps)
        self._refuse_result(steps, after)
        self._refuse_build(steps)
        self._refuse_no_way_back(steps)
        return self._install(steps, after)

    def _refuse_pin(self) -> None:
        """A pin lets apt bring the driver back to another version, or keeps it from this one."""
        pinned, wanted = self.state.pinned, self.args.wanted
        if pinned and not of_branch(wanted, pinned) and not of_branch(pinned, wanted):
            raise Refused(
                f"nvidia-driver-pinning-{pinned} is installed, which keeps the driver at {pinned}: "
                f"remove it, or install the one of {wanted.partition('.')[0]}"
            )

    def _is_wanted(self, versions: Mapping[str, str]) -> bool:
        """Whether all parts are of one version, the wanted one, and what was asked for is there."""
        found = set(_matching(versions).values())
        return (
            len(found) == 1
            and all(of_branch(version, self.args.wanted) for version in found)
            and all(name in versions for name in self.state.named)
        )

    def _refuse_unfinished(self) -> None:
        """Of the driver's own packages unfinished work is finished; that of others is not ours."""
        others = [n for n in self.state.unfinished if n != "dpkg" and not is_part(n)]
        if others:
            raise Refused(
                f"dpkg has unfinished work ({', '.join(others)}); look at `dpkg --audit`, then run "
                "`dpkg --configure -a` on the host"
            )

    def _after(self, steps: Sequence[Step]) -> dict[str, str]:
        """All parts and their versions once the steps are done."""
        after = self.versions() | {step.name: step.new for step in steps if is_part(step.name)}
        return {name: version for name, version in after.items() if version}

    def _refuse_result(self, steps: Sequence[Step], after: Mapping[str, str]) -> None:
        wrong = {n: v for n, v in _matching(after).items() if not of_branch(v, self.args.wanted)}
        if wrong:
            shown = ", ".join(f"{name} {version}" for name, version in sorted(wrong.items()))
            raise Refused(
                f"apt would not come to {self.args.wanted}: {shown}. A package may only lead to "
                "another branch, or come from another repository; all of the driver has to be of "
                "one version"
            )
        if len(set(_matching(after).values())) > 1:
            shown = ", ".join(f"{n} {v}" for n, v in sorted(after.items()))
            raise Refused(f"the driver would be of several versions: {shown}")
        origins = {s.origin for s in steps if s.new and is_part(s.name)}
        if len(origins) > 1:
            raise Refused(
                f"the driver would come from several sources ({'; '.join(sorted(origins))}), which "
                "do not fit together; leave one of them on this host"
            )
        gone = [s.name for s in steps if not s.new and not is_part(s.name)]
        if gone:
            raise Refused(f"apt would remove other packages: {', '.join(sorted(gone))}")
        held = sorted(s.name for s in steps if s.name in self.state.held and not is_part(s.name))
        if held:
            raise Refused(
                f"held packages would change: {', '.join(held)}; whoever held them had a reason "
                "(`apt-mark showhold`)"
            )

    def _refuse_build(self, steps: Sequence[Step]) -> None:
        """dkms builds the module on the host: that has to be possible, and of use."""
        if not any(step.new and "dkms" in step.name for step in steps):
            return
        bare = [k.release for k in self.state.kernels if not k.headers]
        if bare:
            names = " ".join(f"linux-headers-{release}" for release in bare)
            raise Refused(
                f"the kernel module cannot be built for {', '.join(bare)}: no headers; install "
                f"{names} (the newest kernel counts, the next boot takes it)"
            )
        if self.state.secure_boot is None:
            raise Unknown("whether Secure Boot is on is not known: see `mokutil --sb-state`")
        if self.state.secure_boot and not self.state.key_enrolled:
            raise Refused(
                "Secure Boot is on and the key of dkms is not enrolled: the kernel would not load "
                "what dkms builds. Enroll it at the console (`mokutil --import`), or use Ubuntu's "
                "signed linux-modules-nvidia packages"
            )

    def _refuse_no_way_back(self, steps: Sequence[Step]) -> None:
        offered = self.state.available
        changed = [step for step in steps if is_part(step.name) and upstream(step.old)]
        lost = [f"{s.name}={s.old}" for s in changed if s.old not in offered.get(s.name, ())]
        if lost and not self.args.without_way_back:
            raise Refused(
                f"there would be no way back: no source of this host offers {', '.join(lost)} any "
                "more. Add one that does (a mirror or snapshot), or set `without_way_back: true`"
            )

    # -- the change ---------------------------------------------------------------------------

    def _install(self, steps: Sequence[Step], after: Mapping[str, str]) -> Change:
        new = next(iter(_matching(after).values()))
        history = self._history(new)
        return Change(
            summary=self._summary(new, steps),
            do=(
                *(driver_history.keep(*kept, self.context.become) for kept in history.items()),
                *self._commands(steps, after),
                *self._holds("hold" if self.args.hold else "", after),
            ),
            guard=guard(self.versions()),
            risk=Risk.HIGH,
            disruption=Disruption.GPU,
            before={step.name: step.old or None for step in steps},
            after={step.name: step.new or None for step in steps},
            overlay={
                **self._overlay(after),
                **{driver_history.KEYS[name]: value for name, value in history.items()},
                **self._running(new, after),
            },
            undo=self._undo(steps, history),
        )

    def _summary(self, new: str, steps: Sequence[Step]) -> str:
        old = "/".join(sorted(set(_matching(self.versions()).values()))) or "none"
        if not steps:
            return f"finish what dpkg has begun with the NVIDIA driver {new}"
        flavour = flavour_of(step.name for step in steps if step.new)
        named = set(self.state.named)
        more = sum(1 for step in steps if step.new and step.name not in named)
        gone = [step.name for step in steps if not step.new]
        text = f"NVIDIA driver {old} -> {new} ({flavour}): installs {', '.join(sorted(named))}"
        text += f" and {more} more that they need" if more else ""
        return text + (f"; removes {', '.join(sorted(gone))}" if gone else "")

    def _history(self, new: str) -> dict[str, Before | Previous]:
        """Files to keep what there is before the change; "gpus.json" only of a working driver."""
        found: dict[str, Before | Previous] = {}
        record = new_record(self.observed)
        if record is not None:
            found["gpus.json"] = record
        previous: Previous | None = self.observed[driver_history.PREVIOUS_KEY]
        now = set(_matching(self.versions()).values())
        # Going back keeps the way back as it is, so that it leads to the same driver again.
        goes_back = previous is not None and previous.version == new
        if works(self.observed) and len(now) == 1 and now != {new} and not goes_back:
            versions = self.versions()
            found["previous.json"] = Previous(now.pop(), flavour_of(versions), versions)
        return found

    def _running(self, new: str, after: Mapping[str, str]) -> dict[str, Any]:
        """The driver once the packages are there: libraries of the loaded version end a mismatch,
        and nvidia-smi shows the GPUs again."""
        driver: Driver = self.observed[DRIVER_KEY]
        driver = replace(driver, installed=new, installed_flavour=flavour_of(after))
        if new != driver.loaded:
            return {DRIVER_KEY: replace(driver, mismatch=bool(driver.loaded))}
        if not driver.mismatch:
            return {DRIVER_KEY: driver}
        found: dict[str, Any] = {DRIVER_KEY: replace(driver, mismatch=False, reason="")}
        gpus = still_driven(self.observed)
        return found | ({GPUS_SEEN_KEY: gpus, GPUS_KEY: gpus} if gpus else {})

    def _commands(self, steps: Sequence[Step], after: Mapping[str, str]) -> tuple[Command, ...]:
        """Fetched as a whole before anything is unpacked, then installed as the plan shows it."""
        specs = [f"{step.name}={step.new}" if step.new else f"{step.name}-" for step in steps]
        specs = specs or [f"{name}={after[name]}" for name in self.state.named]
        commands = [
            self._apt("fetch", ["--download-only"], specs),
            self._apt("install", [], specs),
        ]
        if self.state.unfinished:
            commands.insert(0, self._command("repair", REPAIR))
        return tuple(commands)

    def _apt(self, key: str, flags: Sequence[str], specs: Iterable[str]) -> Command:
        return self._command(key, says_why(install_words(flags, specs)))

    def _command(self, key: str, shell: str) -> Command:
        return self.context.command(key, shell, self.args.timeout)

    def _holds(self, verb: str, names: Iterable[str]) -> tuple[Command, ...]:
        words = " ".join(map(quote, sorted(names)))
        return (self._command(verb, f"apt-mark {verb} {words}"),) if verb and words else ()

    def _undo(self, steps: Sequence[Step], kept: Mapping[str, Any]) -> tuple[Command, ...]:
        """The packages from before, also from half way; () where no source has them."""
        offered = self.state.available
        if any(s.old and s.old not in offered.get(s.name, ()) for s in steps if is_part(s.name)):
            return ()
        specs = [f"{s.name}={s.old}" if s.old else f"{s.name}-" for s in steps]
        back = install_words([], specs)
        shell = says_why(f"{{ {MERGE_JOURNAL}; {back} || {{ {REPAIR}; {back}; }}; }}")
        held = [name for name, package in self.state.parts.items() if package.held]
        services: Services = self.observed[driver_history.SERVICES_KEY]
        # Maintainer scripts stop them; what was kept of the GPUs goes only when all is as before.
        after = [f"systemctl start {name}" for name in services.active]
        after += [f"rm -f {driver_history.FOLDER}/gpus.json"] if "gpus.json" in kept else []
        # previous.json stays: what the host has then is the driver from before, and driver-rollback
        # proves it and gives the node back.
        return (
            self._command("back", shell),
            *self._holds("hold", held),
            *((self._command("as before", " && ".join(after)),) if after else ()),
        )

    def _overlay(self, after: Mapping[str, str]) -> dict[str, Any]:
        parts = {
            name: Package(version, self.args.hold or self._held(name))
            for name, version in after.items()
        }
        state = replace(self.state, parts=parts, unfinished=(), simulation=Simulation())
        planned: Mapping[str, Package] = self.observed[apt.PLANNED]
        gone = {name: Package() for name in self.state.parts if name not in parts}
        return {_key(self.args): state, apt.PLANNED: {**planned, **gone, **parts}}

    def _held(self, name: str) -> bool:
        return self.state.parts.get(name, Package()).held

    def _holds_only(self) -> Change | None:
        """The versions are right; the module has to be built and the holds to be set."""
        driver: Driver = self.observed[DRIVER_KEY]
        (version,) = set(_matching(self.versions()).values())
        if driver.installed != version:
            raise Refused(
                f"the packages are of {version}, but the kernel module on disk is of "
                f"{driver.installed or 'none'}: dkms has not built it (`dkms status`; are the "
                "kernel's headers there?)"
            )
        free = [name for name in self.state.parts if not self._held(name)]
        if not self.args.hold or not free:
            return None
        return Change(
            summary=f"hold {', '.join(sorted(free))}",
            do=self._holds("hold", free),
            before={name: {"held": False} for name in free},
            after={name: {"held": True} for name in free},
            overlay=self._overlay(self.versions()),
            undo=self._holds("unhold", free),
        )


def _matching(versions: Mapping[str, str]) -> Mapping[str, str]:
    """The driver's version of each part that has to match. Firmware is there for each version."""
    found = versions_of(versions)
    return {name: v for name, v in found.items() if not name.startswith("nvidia-firmware-")}


def _advice(error: str, offered: Sequence[str]) -> str:
    if "Unable to locate" not in error and "was not found" not in error:
        return ""
    known = f" Sources offer {', '.join(offered)}" if offered else ""
    return f"; are the package lists new (`apt-get update`), and is its source there?{known}"
