"""`dnf`: packages of RHEL and its relatives in a wanted version, locked there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from shlex import quote
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from runner.facts.dnf import UNLOCKED, RpmState, RpmStep, Transaction, look, parse
from runner.hosts.script import Command
from runner.modules.apt_risk import consequences
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
from runner.modules.dnf_shell import AS_PLANNED, transaction

Switch = Annotated[bool, Field(strict=True)]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class DnfArguments(Arguments):
    other_names: ClassVar[Mapping[str, str]] = {"package": "name", "pkg": "name", "hold": "lock"}
    name: tuple[str, ...] = Field(min_length=1, description="Package or list of packages.")
    version: str = Field(
        "",
        pattern=r"^(|[A-Za-z0-9][A-Za-z0-9._+~^:-]*)$",
        examples=["1.18.0", "1.18.0-1"],
        description="Version of all of them: `1.18.0`, or with its release, `1.18.0-1`.",
    )
    state: Literal["present", "absent"] = Field("present", description="Whether it is installed.")
    lock: Switch | None = Field(
        None, description="Whether their version is locked (`dnf versionlock`)."
    )
    update_cache: Switch = Field(
        False, description="Run `dnf makecache` where what the host knows does not offer it."
    )
    allow_downgrade: Switch = Field(False, description="May replace a newer version.")
    allow_removals: Switch = Field(
        False, description="May remove packages that are not named, when dnf needs that."
    )

    @field_validator("name", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _valid_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a package")
        if len(set(names)) < len(names):
            raise ValueError("a package is named twice")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> DnfArguments:
        if self.state == "absent" and (self.version or self.lock):
            raise ValueError("a package that is absent has no version and cannot be locked")
        return self

    def specs(self) -> tuple[str, ...]:
        """As rpm and dnf take them."""
        return tuple(f"{name}-{self.version}" if self.version else name for name in self.name)

    @property
    def erasing(self) -> str:
        return "--allowerasing" if self.allow_removals and self.state == "present" else ""


class Dnf(Module[DnfArguments]):
    """Installs, upgrades, downgrades, removes and locks packages with dnf.

    Tried with real dnf 4.14, rpm and versionlock on a lab node, with packages made for the test;
    not on RHEL itself, nor with dnf 5. Module streams (`dnf module enable`) are not managed:
    where dnf would enable or switch one, the task says so and stops.

    The plan shows what dnf itself would do (`dnf --assumeno`, with what the host knows of its
    repositories, and with that it is also done): every package with its version before and after,
    dependencies included. Refused are a version that is not offered, a downgrade without
    `allow_downgrade`, the removal of packages that are not named without `allow_removals`, and a
    change of packages that someone else locked. With `lock: true` the task owns the lock. There is
    no way back by itself: a transaction of dnf that fails its own test changes nothing.

    Where another dnf is at work it is waited for, two minutes at most. A scriptlet that fails fails
    the task, also a `%post`, of which dnf only warns: so a kernel module that dkms could not build
    is not overlooked. rpm does not remember it, so look at the host before you resume.

    Risk as with `apt`: driver packages are high and every GPU client must go first.
    """

    name = "dnf"
    arguments = DnfArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    free_form = "name"
    examples = (
        """\
- name: the container toolkit, one version of all four
  dnf:
    name:
      - nvidia-container-toolkit
      - nvidia-container-toolkit-base
      - libnvidia-container-tools
      - libnvidia-container1
    version: 1.18.0-1
    lock: true
""",
    )

    def probes(self, args: DnfArguments, context: Context) -> Sequence[Probe]:
        wanted = dict(zip(args.name, args.specs(), strict=True))
        shell = look(args.state, wanted, args.erasing, args.lock is not None)
        return (Probe(_key(args), shell, partial(parse, wanted), 120.0, become=context.become),)

    def plan(self, args: DnfArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        state: RpmState = observed[_key(args)]
        if args.lock is not None and state.locked is None:
            raise Refused("versions cannot be locked: install python3-dnf-plugin-versionlock first")
        change = _change(args, state, context) or _locks_only(args, state, context)
        return Outcome((change,) if change else (), result={"versions": dict(state.packages)})


def _key(args: DnfArguments) -> str:
    return f"dnf:{args.state}:{args.erasing}:{','.join(args.specs())}"


def _change(args: DnfArguments, state: RpmState, context: Context) -> Change | None:
    """The change of versions, if any is needed."""
    found = state.transaction
    if found is None:
        return None
    if found.error:
        if args.update_cache and args.state == "present":
            return _after_update(args, state, context)
        raise Refused(
            f"dnf cannot do this: {found.error}; check name, version and repositories, or "
            "refresh what the host knows of them (`update_cache: true`)"
        )
    _refuse_surprises(args, state, found)
    steps = found.steps
    risk, disruption = consequences(step.name for step in steps)
    named = [step for step in steps if step.name in state.missing]
    return Change(
        summary=_moves(steps),
        do=(_transaction(args, [_exact(step, args) for step in named], context),
            *_lock(args, context)),
        guard=_guard(state),
        risk=risk,
        disruption=disruption,
        before={step.name: step.old or None for step in steps},
        after={step.name: step.new or None for step in steps},
        overlay={_key(args): _after(args, state, {s.name: s.new for s in steps})},
    )  # fmt: skip


def _refuse_surprises(args: DnfArguments, state: RpmState, planned: Transaction) -> None:
    changed = {step.name for step in planned.steps}
    silent = set(state.missing) - changed
    if silent:
        raise Refused(
            f"dnf would leave {_list(silent)} as it is, though it is not as wanted: does another "
            "package replace it (`dnf repoquery --whatobsoletes`), or an exclude of dnf.conf or a "
            "modular repository hide it?"
        )
    locked = {name for name in state.locked or () if name in changed}
    others = locked if args.lock is None else locked - set(args.name)
    if others:
        raise Refused(
            f"locked packages would change: {_list(others)}; whoever locked them had a reason "
            "(`dnf versionlock list`). Name them with `lock: true` to own the lock"
        )
    if planned.downgraded and not args.allow_downgrade:
        down = [step for step in planned.steps if step.name in planned.downgraded]
        raise Refused(f"this is a downgrade: {_moves(down)}; set `allow_downgrade: true`")
    wanted = set(args.name) if args.state == "absent" else set()
    gone = {step.name for step in planned.steps if not step.new} - wanted
    if gone and not args.allow_removals:
        raise Refused(
            f"dnf would remove packages that are not named: {_list(gone)}; set `allow_removals: "
            "true` if that is meant"
        )


def _exact(step: RpmStep, args: DnfArguments) -> str:
    """The package and version that the plan shows, as dnf takes it."""
    return step.name if args.state == "absent" else f"{step.name}-{step.new}"


def _transaction(args: DnfArguments, specs: Iterable[str], context: Context) -> Command:
    verb = "install" if args.state == "present" else "remove"
    words = [AS_PLANNED, UNLOCKED, *args.erasing.split(), verb, "--", *specs]
    return context.command(verb, transaction(words), 900.0)


def _lock(args: DnfArguments, context: Context) -> tuple[Command, ...]:
    """A lock is of the version that is installed: an older one is taken out first."""
    if args.lock is None:
        return ()
    names = " ".join(args.name)
    versionlock = "dnf -q -C --disablerepo='*' versionlock"
    shell = f"{versionlock} delete {names} >/dev/null 2>&1"
    shell += f"; {versionlock} add {names}" if args.lock else "; true"
    return (context.command("lock", shell, 900.0),)


def _locks_only(args: DnfArguments, state: RpmState, context: Context) -> Change | None:
    """The versions are right and only the lock is not."""
    wrong = [name for name in args.name if (name in (state.locked or ())) is not args.lock]
    if args.lock is None or not wrong:
        return None
    return Change(
        summary=f"{'lock' if args.lock else 'unlock'} {_list(wrong)}",
        do=_lock(args, context),
        before={name: {"locked": not args.lock} for name in wrong},
        after={name: {"locked": args.lock} for name in wrong},
        overlay={_key(args): _after(args, state, {})},
    )


def _after_update(args: DnfArguments, state: RpmState, context: Context) -> Change:
    """What the host knows is too old to plan with: what dnf will do is not known."""
    specs = [spec for n, spec in zip(args.name, args.specs(), strict=True) if n in state.missing]
    risk, disruption = consequences(state.missing)
    return Change(
        summary=f"dnf makecache, then install {' '.join(specs)} (not known of yet)",
        do=(
            context.command("update", transaction(["makecache", "--refresh"]), 900.0),
            _transaction(args, specs, context),
            *_lock(args, context),
        ),
        guard=_guard(state),
        risk=risk,
        disruption=disruption,
        before={name: state.packages[name] or None for name in state.missing},
        after=dict.fromkeys(state.missing, args.version or "known after change"),
        overlay={_key(args): _after(args, state, {})},
        predictable=False,
    )


def _after(args: DnfArguments, state: RpmState, versions: Mapping[str, str]) -> RpmState:
    packages = {name: versions.get(name, has) for name, has in state.packages.items()}
    locked = state.locked
    if args.lock is not None:
        locked = frozenset(locked or ()) - set(args.name) | (set(args.name) if args.lock else set())
    return replace(state, packages=packages, locked=locked, transaction=None, missing=())


def _guard(state: RpmState) -> str:
    """The named packages are as observed."""
    has = "\n".join(
        sorted(f"{name} {version}" for name, version in state.packages.items() if version)
    )
    names = " ".join(map(quote, state.packages))
    return (
        f"[ \"$(rpm -q --qf '%{{NAME}} %{{EPOCHNUM}}:%{{VERSION}}-%{{RELEASE}}\\n' -- {names} |\n"
        f"    grep -v ' is not installed$' | LC_ALL=C sort)\" = {quote(has)} ]"
    )


def _moves(steps: Sequence[RpmStep]) -> str:
    """One phrase for all packages that make the same move."""
    names: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        names.setdefault((step.old, step.new), []).append(step.name)
    return "; ".join(
        f"{', '.join(each)} {_plain(old)} -> {_plain(new)}" for (old, new), each in names.items()
    )


def _plain(version: str) -> str:
    return version.removeprefix("0:") or "(none)"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
