"""`service`: a systemd unit runs, is enabled, or takes up its new configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from runner.facts.apt import PLANNED, planned_probe
from runner.facts.paths import exists_key, exists_probe
from runner.facts.systemd import ServiceState, key, probe
from runner.hosts.script import Command
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

_SUFFIXES = (".service", ".socket", ".timer", ".target", ".mount", ".path", ".slice", ".automount")

Switch = Annotated[bool, Field(strict=True)]


class ServiceArguments(Arguments):
    other_names: ClassVar[Mapping[str, str]] = {
        "service": "name",
        "unit": "name",
        "daemon-reload": "daemon_reload",
    }
    name: str = Field(
        pattern=r"^[A-Za-z0-9:_.@\\-]+$",
        examples=["containerd"],
        description="Unit; `.service` may be left out.",
    )
    state: Literal["started", "stopped", "restarted", "reloaded"] | None = Field(
        None, description="`restarted` and `reloaded` act whenever the task or handler runs."
    )
    enabled: Switch | None = Field(None, description="Whether it starts at boot.")
    masked: Switch | None = Field(None, description="Whether it can be started at all.")
    daemon_reload: Switch = Field(
        False, description="Make systemd read changed unit files before anything else."
    )

    scope: Literal["system"] = Field(
        "system", description="Units of the system; those of users are not managed."
    )

    @field_validator("name")
    @classmethod
    def _no_option(cls, value: str) -> str:
        if value.startswith("-"):
            raise ValueError(f"{value!r} is not a unit name")
        return value

    @model_validator(mode="after")
    def _something_to_do(self) -> ServiceArguments:
        if self.state is None and self.enabled is None and self.masked is None:
            if not self.daemon_reload:
                raise ValueError("give at least one of state, enabled, masked, daemon_reload")
        elif self.masked and (self.enabled or self.state not in (None, "stopped")):
            raise ValueError("a masked unit can be neither enabled nor started")
        return self

    @property
    def unit(self) -> str:
        return self.name if self.name.endswith(_SUFFIXES) else f"{self.name}.service"


class Service(Module[ServiceArguments]):
    """Brings a systemd unit to the wanted state and sees that it stays there.

    `started`, `stopped`, `enabled` and `masked` change nothing when the unit is so already.
    `restarted` and `reloaded` are meant for handlers: they act whenever they are notified. As an
    ordinary task they act in every apply, which is not idempotent.

    A restart has succeeded only when the unit is active with a new invocation; otherwise the task
    fails and shows the last 10 lines of its journal. Running containers survive a restart of
    containerd, so the disruption is `service`; for a unit whose restart harms pods, set the
    task's `disruption`.

    `daemon_reload` acts when a unit file changed since systemd read it, or together with another
    change of the task. Care is needed where containers got their GPUs through the legacy runtime
    with systemd cgroups: a daemon-reload takes the devices away from them ("Failed to initialize
    NVML: Unknown Error", NVIDIA container toolkit's troubleshooting).
    """

    name = "service"
    arguments = ServiceArguments
    risk = Risk.MEDIUM
    disruption = Disruption.SERVICE
    examples = (
        """\
- name: containerd runs, also after a reboot
  service:
    name: containerd
    state: started
    enabled: true
""",
        """\
handlers:
  - name: restart containerd
    service:
      name: containerd
      state: restarted
    disruption: node
""",
    )

    def probes(self, args: ServiceArguments, context: Context) -> Sequence[Probe]:
        return (
            probe(args.unit, context.become),
            planned_probe(context.become),
            exists_probe(_unit_file(args.unit), context.become),
        )

    def plan(
        self, args: ServiceArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        state: ServiceState = observed[key(args.unit)]
        if state.load == "not-found" and not _is_gone_as_wanted(args):
            if observed[PLANNED] or observed[exists_key(_unit_file(args.unit))]:
                return Outcome(changes=(_once_installed(args, context),))
            raise Refused(
                f"{args.unit} does not exist on this host: install what brings it, or check the "
                "name with `systemctl list-unit-files`"
            )
        return Outcome(changes=tuple(_changes(args, state, context)), result=_plain(state))


def _unit_file(unit: str) -> str:
    """Where an administrator's unit files lie (systemd.unit(5))."""
    return f"/etc/systemd/system/{unit}"


def _is_gone_as_wanted(args: ServiceArguments) -> bool:
    return args.state in (None, "stopped") and not args.enabled and not args.masked


def _once_installed(args: ServiceArguments, context: Context) -> Change:
    """Earlier tasks write its unit file or install a package that may bring it."""
    verbs = {"started": "start", "restarted": "restart", "reloaded": "start", "stopped": "stop"}
    steps = ["daemon-reload"] + (["mask"] if args.masked else [])
    if args.enabled is not None:
        steps.append("enable" if args.enabled else "disable")
    if args.state:
        steps.append(verbs[args.state])
    after = ServiceState(
        args.unit,
        load="masked" if args.masked else "loaded",
        active="inactive" if args.state in (None, "stopped") else "active",
        file_state={None: "", True: "enabled", False: "disabled"}[args.enabled],
    )
    return Change(
        summary=f"{args.unit}: {', '.join(steps)} (once this play has brought the unit)",
        do=tuple(_command(verb, after, context) for verb in steps),
        risk=Risk.MEDIUM,
        disruption=Disruption.SERVICE,
        before={"load": "not-found"},
        after={"load": after.load, "active": after.active, "unit_file_state": after.file_state},
        overlay={key(args.unit): after},
        predictable=False,
    )


def _command(verb: str, state: ServiceState, context: Context) -> Command:
    timeout = context.seconds(120.0)
    unit = shlex.quote(state.unit)
    if verb in ("start", "stop", "restart", "reload"):
        shell = _script(verb, unit)
    else:
        shell = f"systemctl {verb}" + ("" if verb == "daemon-reload" else f" -- {unit}")
    return Command(verb, shell, b"", timeout, context.become)


def _changes(args: ServiceArguments, state: ServiceState, context: Context) -> Iterator[Change]:
    """The differences in the order they must be removed, each on top of the one before."""
    stale = state.needs_reload
    if args.daemon_reload:
        state = replace(state, needs_reload=False)
    fresh, changes = state, list[Change]()
    for difference in (_mask, _enable, _run):
        change = difference(args, state, context)
        if change:
            changes.append(change)
            state = change.overlay[key(args.unit)]
    alone = args.state is None and args.enabled is None and args.masked is None
    if args.daemon_reload and (stale or changes or (alone and context.notified)):
        yield _daemon_reload(stale, fresh, context)
    yield from changes


def _daemon_reload(stale: bool, after: ServiceState, context: Context) -> Change:
    return Change(
        summary="systemd: read changed unit files (daemon-reload)",
        do=(_command("daemon-reload", after, context),),
        risk=Risk.MEDIUM,
        disruption=Disruption.SERVICE,
        before={"needs_daemon_reload": stale},
        after={"needs_daemon_reload": False},
        overlay={key(after.unit): after},
    )


def _mask(args: ServiceArguments, state: ServiceState, context: Context) -> Change | None:
    masked = state.load == "masked"
    if args.masked is None or args.masked == masked:
        return None
    verb, inverse = ("mask", "unmask") if args.masked else ("unmask", "mask")
    after = replace(
        state,
        load="masked" if args.masked else "loaded",
        file_state="masked" if args.masked else "disabled",
    )
    return _unit_file_change(verb, inverse, state, after, context)


def _enable(args: ServiceArguments, state: ServiceState, context: Context) -> Change | None:
    if args.enabled is None:
        return None
    enabled = state.file_state in ("enabled", "alias", "generated")
    if args.enabled and not enabled:
        if state.file_state not in ("disabled", "enabled-runtime", "linked", "linked-runtime"):
            raise Refused(_why_not_enabled(state))
        return _unit_file_change(
            "enable", "disable", state, replace(state, file_state="enabled"), context
        )
    if not args.enabled and state.file_state in ("enabled", "enabled-runtime"):
        return _unit_file_change(
            "disable", "enable", state, replace(state, file_state="disabled"), context
        )
    return None


def _why_not_enabled(state: ServiceState) -> str:
    if state.load == "masked":
        return f"{state.unit} is masked and cannot be enabled; add `masked: false`"
    return (
        f"{state.unit} is {state.file_state or 'without a unit file'} and cannot be enabled: it "
        "has no [Install] section, other units start it; leave `enabled` out"
    )


def _unit_file_change(
    verb: str, inverse: str, before: ServiceState, after: ServiceState, context: Context
) -> Change:
    unit = shlex.quote(before.unit)
    now, then = before.file_state, after.file_state
    return Change(
        summary=f"{before.unit}: {verb} ({now or 'no unit file state'} -> {then})",
        do=(_command(verb, before, context),),
        guard=_guard(unit, "UnitFileState", now, then),
        before={"unit_file_state": now},
        after={"unit_file_state": then},
        overlay={key(before.unit): after},
        undo=(_command(inverse, before, context),),
    )


def _guard(unit: str, name: str, now: str, then: str) -> str:
    """As observed, or as wanted already: an earlier change may bring it along (a postinst)."""
    states = "|".join(shlex.quote(value) for value in dict.fromkeys((now, then)))
    return f'case "$(systemctl show -p {name} --value -- {unit})" in {states}) ;; *) exit 1;; esac'


def _run(args: ServiceArguments, state: ServiceState, context: Context) -> Change | None:
    if args.state is None:
        return None
    if args.state == "stopped":
        # "failed" is stopped too; "activating" is a unit on its way up.
        if state.active in ("inactive", "failed"):
            return None
        return _run_change("stop", state, replace(_stopped(state)), context)
    if state.load == "masked":
        raise Refused(f"{state.unit} is masked and cannot be started; add `masked: false`")
    if args.state == "restarted" and context.notified:
        return _run_change("restart", state, _started(state), context)
    if not state.runs:
        return _run_change("start", state, _started(state), context)
    if args.state == "reloaded" and context.notified:
        if not state.can_reload:
            raise Refused(f"{state.unit} cannot reload (no ExecReload); use `state: restarted`")
        return _run_change("reload", state, state, context)
    return None


def _stopped(state: ServiceState) -> ServiceState:
    return replace(state, active="inactive", sub="dead", main_pid=0)


def _started(state: ServiceState) -> ServiceState:
    """After a start; process and invocation are known after the change only."""
    return replace(
        state, load="loaded", active="active", sub="running", main_pid=0, invocation="", restarts=0
    )


def _run_change(verb: str, before: ServiceState, after: ServiceState, context: Context) -> Change:
    unit = shlex.quote(before.unit)
    now = f"{before.active}, PID {before.main_pid}" if before.main_pid else before.active
    inverse = {"start": "stop", "stop": "start"}.get(verb)
    return Change(
        summary=f"{before.unit}: {verb} ({now})",
        do=(_command(verb, before, context),),
        # A restart is right in whatever state the unit is by then.
        guard=_guard(unit, "ActiveState", before.active, after.active) if inverse else "",
        risk=Risk.LOW if verb == "start" else Risk.MEDIUM,
        disruption=Disruption.SERVICE,
        before={"active": before.active, "sub": before.sub, "main_pid": before.main_pid},
        after={"active": after.active, "sub": after.sub},
        overlay={key(before.unit): after},
        undo=(_command(inverse, before, context),) if inverse else (),
    )


_SCRIPT = """\
unit={unit}
get() {{ systemctl show -p "$1" --value -- "$unit"; }}
fail() {{
  echo "$unit: $1" >&2
  journalctl --no-pager -q -n 10 -o short-iso -u "$unit" >&2
  exit 1
}}
before=$(get InvocationID)
systemctl {verb} -- "$unit" || fail "{verb} failed (ActiveState=$(get ActiveState))"
{check}"""

_STOPPED = """\
case $(get ActiveState) in inactive|failed) ;; *) fail "still $(get ActiveState)";; esac
"""

# systemd calls a simple service started before its program has done anything.
_ACTIVE = """\
case $(get Type) in simple|exec|idle) sleep 1;; esac
state=$(get ActiveState)
case $state in
active|reloading) ;;
inactive) [ "$(get Type),$(get Result)" = oneshot,success ] || fail "ActiveState=$state" ;;
*) fail "ActiveState=$state" ;;
esac
"""

_NEW = """\
[ "$(get InvocationID)" != "$before" ] || fail 'was not restarted: same InvocationID'
"""


def _script(verb: str, unit: str) -> str:
    check = _STOPPED if verb == "stop" else _ACTIVE + (_NEW if verb == "restart" else "")
    return _SCRIPT.format(unit=unit, verb=verb, check=check)


def _plain(state: ServiceState) -> dict[str, Any]:
    return {
        "unit": state.unit,
        "active": state.active,
        "sub": state.sub,
        "enabled": state.file_state,
        "main_pid": state.main_pid,
        "restarts": state.restarts,
    }
