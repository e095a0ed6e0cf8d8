"""`apt`: Debian packages in a wanted version, held there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from shlex import quote
from typing import Any

from runner.facts.apt import (
    FLAGS,
    ONLY,
    PLANNED,
    AptState,
    Package,
    Simulation,
    Step,
    look,
    parse,
    planned_probe,
)
from runner.hosts.script import Command
from runner.modules.apt_arguments import AptArguments
from runner.modules.apt_risk import consequences
from runner.modules.base import (
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
)
from runner.modules.loud_failure import loud_failure


class Apt(Module[AptArguments]):
    """Installs, upgrades, downgrades, removes and holds Debian packages.

    The plan shows what apt itself would do (`apt-get -s`): every package with its version before
    and after, dependencies included. Refused are: a version that no source offers, a downgrade
    without `allow_downgrade`, the removal of packages that are not named without
    `allow_removals`, a change of packages that someone else holds, and any work while dpkg has
    unfinished work. A host where all is as wanted is not asked any further.

    Plans are made with the package lists that the host has. Only where these do not offer what is
    wanted, `update_cache: true` runs `apt-get update` first; what apt does then is unpredictable.

    Packages that only fit together (the four of NVIDIA's container toolkit; driver, fabric
    manager and imex) have to be named together with one version: apt resolves a mixed set
    otherwise. Held packages are left alone by unattended-upgrades, the usual cause of "Driver/
    library version mismatch". With `hold: true` the task owns the hold: it may change the packages
    and holds them again.

    Risk: driver packages are high risk and every GPU client must go first; the container toolkit,
    containerd and the kubelet are medium; all else is low.
    """

    name = "apt"
    arguments = AptArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    free_form = "name"
    examples = (
        """\
- name: the container toolkit, one version of all four
  apt:
    name:
      - nvidia-container-toolkit
      - nvidia-container-toolkit-base
      - libnvidia-container-tools
      - libnvidia-container1
    version: 1.18.0-1
    hold: true
    update_cache: true
""",
        """\
- name: back to the driver that worked
  apt:
    name: nvidia-driver-570=570.86.15-1
    allow_downgrade: true
""",
    )

    def probes(self, args: AptArguments, context: Context) -> Sequence[Probe]:
        names = tuple(args.wanted())
        shell = look(args.state, args.specs())
        return (
            Probe(_key(args), shell, partial(parse, names), 120.0, become=context.become),
            planned_probe(context.become),
        )

    def plan(self, args: AptArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        state: AptState = observed[_key(args)]
        planned: Mapping[str, Package] = observed[PLANNED]
        packages = {name: planned.get(name, has) for name, has in state.packages.items()}
        task = _Task(args, replace(state, packages=packages), planned, context)
        versions = {name: package.version for name, package in packages.items()}
        change = task.change() or task.holds_only()
        return Outcome((change,) if change else (), result={"versions": versions})


def _key(args: AptArguments) -> str:
    return f"apt:{args.state}:{','.join(args.specs())}"


@dataclass(frozen=True, slots=True)
class _Task:
    """One task against what was observed, earlier tasks of the plan included."""

    args: AptArguments
    state: AptState
    planned: Mapping[str, Package]
    context: Context

    def change(self) -> Change | None:
        """The change of versions, if any is needed."""
        missing = self._missing()
        if not missing:
            return None
        simulation = self._simulation()
        self._refuse_unfinished()
        if self.args.update_cache and self._not_offered(missing):
            return self._after_update(missing)
        self._refuse_unavailable(missing)
        if simulation.error:
            raise Refused(f"apt cannot do this: {simulation.error}")
        steps = self._steps(simulation)
        self._refuse_surprises(simulation, steps)
        return self._install(steps, simulation)

    def _missing(self) -> list[str]:
        """Names whose version is not as wanted."""
        has = {name: package.version for name, package in self.state.packages.items()}
        if self.args.state == "absent":
            return [name for name in has if has[name]]
        if self.args.state == "latest":
            simulation = self.state.simulation or Simulation()
            changed = {step.name for step in self._steps(simulation)}
            return [n for n in has if not has[n] or n in changed or simulation.error]
        return [n for n, v in self.args.wanted().items() if not has[n] or v not in ("", has[n])]

    def _steps(self, simulation: Simulation) -> tuple[Step, ...]:
        """The simulated steps, without those that earlier tasks of the plan have taken."""
        return tuple(
            step
            for step in simulation.steps
            if step.name not in self.planned or self.planned[step.name].version != step.new
        )

    def _simulation(self) -> Simulation:
        simulation = self.state.simulation
        if simulation is None:
            raise Refused(
                "an earlier task of this play plans another version of the same packages: "
                + ", ".join(sorted(set(self.planned) & set(self.state.packages)))
            )
        return simulation

    def _refuse_unfinished(self) -> None:
        if self.state.unfinished:
            names = ", ".join(self.state.unfinished)
            raise Refused(
                f"dpkg has unfinished work ({names}); look at `dpkg --audit`, then run "
                "`dpkg --configure -a` on the host"
            )

    def _not_offered(self, missing: Sequence[str]) -> list[str]:
        if self.args.state == "absent":
            return []
        wanted = self.args.wanted()
        offered = self.state.available
        return [n for n in missing if n not in offered or wanted[n] not in ("", *offered[n])]

    def _refuse_unavailable(self, missing: Sequence[str]) -> None:
        wanted = self.args.wanted()
        reasons = []
        for name in self._not_offered(missing):
            version = f" {wanted[name]}" if wanted[name] else ""
            there = ", ".join(self.state.available.get(name, ())) or "no version"
            reasons.append(f"{name}{version} is not available here (offered: {there})")
        if reasons:
            raise Refused(
                "; ".join(reasons)
                + "; check name, version and apt sources, or refresh the host's package lists ("
                + ("`update_cache: true`)" if self.args.state == "present" else "`apt-get update`)")
            )

    def _refuse_surprises(self, simulation: Simulation, steps: Sequence[Step]) -> None:
        named = self.state.packages
        held = {n for n in simulation.held if self.args.hold is None or n not in named}
        if held:
            raise Refused(
                f"held packages would change: {_list(held)}; whoever held them had a reason "
                "(`apt-mark showhold`). Name them with `hold: true` to own the hold"
            )
        down = [s for s in steps if s.name in simulation.downgraded]
        if down and not self.args.allow_downgrade:
            raise Refused(f"this is a downgrade: {_moves(down)}; set `allow_downgrade: true`")
        gone = [s.name for s in steps if not s.new and not self._wants_gone(s.name)]
        if gone and not self.args.allow_removals:
            raise Refused(
                f"apt would remove packages that are not named: {_list(gone)}; set "
                "`allow_removals: true` if that is meant"
            )

    def _wants_gone(self, name: str) -> bool:
        return self.args.state == "absent" and name in self.state.packages

    def _install(self, steps: Sequence[Step], simulation: Simulation) -> Change:
        risk, disruption = consequences(step.name for step in steps)
        return Change(
            summary=_moves(steps),
            do=self._commands(steps, simulation),
            guard=self._guard(),
            risk=risk,
            disruption=disruption,
            before={step.name: step.old or None for step in steps},
            after={step.name: step.new or None for step in steps},
            overlay=self._overlay({step.name: step.new for step in steps}),
            undo=self._undo(steps),
        )

    def _commands(self, steps: Sequence[Step], simulation: Simulation) -> tuple[Command, ...]:
        by_name = {step.name: step for step in steps}
        named = [by_name[name] for name in self.state.packages if name in by_name]
        flags = []
        if simulation.held:
            flags.append("--allow-change-held-packages")
        if simulation.downgraded:
            flags.append("--allow-downgrades")
        if self.args.state == "absent":
            return (self._apt("remove", flags, [s.name for s in named]), *self._holds())
        if all(step.new for step in steps):
            flags.append("--no-remove")
        install = self._apt("install", flags, [f"{s.name}={s.new}" for s in named])
        return (install, *self._holds())

    def _apt(self, verb: str, flags: Sequence[str], specs: Sequence[str]) -> Command:
        if self.state.architecture:
            flags = [f"{ONLY}{self.state.architecture}", *flags]
        words = " ".join([*flags, verb, "--", *map(quote, specs)])
        options = f"{FLAGS} {FAST_LOG} {KEEP_FILES} {NO_TERMINAL}"
        return self._command(verb, loud_failure(f"{QUIET} apt-get {options} {words}"))

    def _command(self, key: str, shell: str) -> Command:
        return self.context.command(key, shell, 900.0)

    def _holds(self) -> tuple[Command, ...]:
        if self.args.hold is None:
            return ()
        return (self._mark("hold" if self.args.hold else "unhold", self.state.packages),)

    def _mark(self, verb: str, names: Iterable[str]) -> Command:
        return self._command(verb, f"apt-mark {verb} {' '.join(names)}")

    def _guard(self) -> str:
        """The named packages are as observed; their dependencies may move with other tasks."""
        has = sorted(f"{n}={p.version}" for n, p in self.state.packages.items() if p.version)
        return _GUARD.format(has=quote(f" {' '.join(has)} "), names=" ".join(self.state.packages))

    def _undo(self, steps: Sequence[Step]) -> tuple[Command, ...]:
        """Back to the versions before, where the sources still offer all of them."""
        for step in steps:
            offered = self.state.available.get(step.name, ())
            if step.name not in self.state.packages or (step.old and step.old not in offered):
                return ()
        specs = [f"{s.name}={s.old}" if s.old else f"{s.name}-" for s in steps]
        undo = self._apt("install", ["--allow-downgrades", "--allow-change-held-packages"], specs)
        held = [name for name, package in self.state.packages.items() if package.held]
        free = [name for name in self.state.packages if self.args.hold and name not in held]
        marks = [("hold", held), ("unhold", free)]
        return (undo, *(self._mark(verb, names) for verb, names in marks if names))

    def _overlay(self, versions: Mapping[str, str]) -> dict[str, Any]:
        hold = self.args.hold
        after = {
            name: Package(versions.get(name, has.version), has.held if hold is None else hold)
            for name, has in self.state.packages.items()
        }
        others = {name: Package(new) for name, new in versions.items() if name not in after}
        state = replace(self.state, packages=after, simulation=Simulation(), unfinished=())
        return {_key(self.args): state, PLANNED: {**self.planned, **others, **after}}

    def _after_update(self, missing: Sequence[str]) -> Change:
        """The package lists are too old to plan with: what apt will do is not known."""
        wanted = self.args.wanted()
        specs = [f"{n}={wanted[n]}" if wanted[n] else n for n in missing]
        risk, disruption = consequences(missing)
        flags = ["--no-remove"] if not self.args.allow_removals else []
        if self.args.allow_downgrade:
            flags.append("--allow-downgrades")
        if self.args.hold is not None:
            flags.append("--allow-change-held-packages")
        known = {n: wanted[n] or "known after change" for n in missing}
        return Change(
            summary=f"apt-get update, then install {' '.join(specs)} (not in the lists yet)",
            do=(
                self._command("update", f"apt-get {FLAGS} update"),
                self._apt("install", flags, specs),
                *self._holds(),
            ),
            guard=self._guard(),
            risk=risk,
            disruption=disruption,
            before={n: self.state.packages[n].version or None for n in missing},
            after=known,
            overlay=self._overlay(known),
            predictable=False,
        )

    def holds_only(self) -> Change | None:
        """The versions are right and only the hold is not."""
        hold = self.args.hold
        wrong = [n for n, p in self.state.packages.items() if p.held is not hold]
        if hold is None or not wrong:
            return None
        verb, inverse = ("hold", "unhold") if hold else ("unhold", "hold")
        return Change(
            summary=f"{verb} {_list(wrong)}",
            do=(self._mark(verb, wrong),),
            before={name: {"held": not hold} for name in wrong},
            after={name: {"held": hold} for name in wrong},
            overlay=self._overlay({}),
            undo=(self._mark(inverse, wrong),),
        )


QUIET = "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none"
"""No questions, and no restart of services that the plan does not show (needrestart(1))."""

_GUARD = """\
has={has} seen=
while read -r n v s; do
  case $s$has in
    installed*" $n=$v "*) seen="$seen $n=$v " ;;
    installed*) exit 1 ;;
  esac
done <<END
$(dpkg-query -W -f='${{Package}} ${{Version}} ${{db:Status-Status}}\\n' -- {names} 2>/dev/null)
END
for p in $has; do case $seen in *" $p "*) ;; *) exit 1 ;; esac; done"""
"""What is installed was so before, and what was so before is installed."""

FAST_LOG = "-o APT::Compressor::xz::CompressArg=-0"
"""eipp.log.xz, for apt's own developers, takes a seventh of an installation at the usual level."""

KEEP_FILES = "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
NO_TERMINAL = "-o Dpkg::Use-Pty=0"
"""With a terminal of its own dpkg would live on when apt is ended because time is up."""


def _moves(steps: Sequence[Step]) -> str:
    """One phrase for all packages that make the same move."""
    names: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        names.setdefault((step.old, step.new), []).append(step.name)
    return "; ".join(
        f"{', '.join(each)} {old or '(none)'} -> {new or '(none)'}"
        for (old, new), each in names.items()
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
