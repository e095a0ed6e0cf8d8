"""Looking: read what a plan needs, all of it in one exec, until the plan is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from runner.engine.planning import HostPlan, Needs, seen_as
from runner.errors import GpurunError
from runner.facts.kubernetes import NO_CLUSTER
from runner.facts.system import REACHABLE_KEY
from runner.hosts.errors import SilentError
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.kube.state import NODE, ClusterQuery
from runner.modules.base import Probe, Unknown

MOST_LOOKS = 12
"""A play that still needs something after so many looks is circular."""


class Hosts(Protocol):
    """What the engine asks of a connection to a host."""

    def look(self, commands: list[Command]) -> dict[str, Result]: ...
    def change(self, blocks: list[Block]) -> list[BlockResult]: ...
    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None: ...


def no_delegate(name: str) -> Hosts:
    """Where no other host can be reached."""
    raise GpurunError(f"delegate_to {name}: other hosts cannot be reached here")


def no_cluster(query: ClusterQuery) -> Any:
    """The answer to every look at a cluster where there is none."""
    return Unknown(NO_CLUSTER)


def observe(
    plan: Callable[[Mapping[str, Any]], HostPlan | Needs],
    observed: dict[str, Any],
    connection: Hosts,
    read_node: Callable[[], Any],
    read_object: Callable[[ClusterQuery], Any] = no_cluster,
    delegate: Callable[[str], Hosts] = no_delegate,
    also: Iterable[Probe] = (),
    also_there: Callable[[str], Sequence[Probe]] = lambda name: (),
    ignore_unreachable: bool = False,
) -> HostPlan:
    """The complete plan of one host; `observed` gains what was read for it.

    Args:
        plan: `plan_host` or `plan_verify` with everything but the observation.
        read_node: the cluster's view of the host, or an `Unknown`.
        read_object: the cluster's answer to a module's `ClusterProbe`, or an `Unknown`.
        delegate: the connection to another host, by its name.
        also: what the first look reads as well; no look is made for it alone.
        also_there: the same for the looks at another host.
        ignore_unreachable: go on where the host does not answer, as the plan must know.
    """
    seen = _look_or_not if ignore_unreachable else _look
    needed: list[str] = []
    for _ in range(MOST_LOOKS):
        answer = plan(observed)
        if isinstance(answer, HostPlan):
            return answer
        needed = [*answer.probes, *answer.objects, *answer.delegated]
        observed.update({key: read_object(p.query) for key, p in answer.objects.items()})
        if answer.cluster:
            observed[NODE] = read_node()
        if answer.probes:
            observed.update(seen(connection, [*answer.probes.values(), *also], observed))
            also = ()
        for name, probes in answer.delegated.items():
            there = {seen_as(probe.key, name): probe for probe in also_there(name)}
            wanted = {**there, **probes}
            found = look(delegate(name), wanted.values())
            observed.update({key: found[probe.key] for key, probe in wanted.items()})
    raise GpurunError(
        f"the plan still needs {', '.join(needed)} after {MOST_LOOKS} looks at the host",
        "a fact or variable of this play depends on itself",
    )


def _look(
    connection: Hosts, probes: Iterable[Probe], observed: Mapping[str, Any]
) -> dict[str, Any]:
    return look(connection, probes)


def _look_or_not(
    connection: Hosts, probes: Iterable[Probe], observed: Mapping[str, Any]
) -> dict[str, Any]:
    """As `look`; of a host that does not answer, what each probe says of such a host."""
    why = observed.get(REACHABLE_KEY, "")
    if not why:
        try:
            return look(connection, probes)
        except SilentError as error:
            why = error.message
    states = {p.key: Unknown(why) if p.unreached is None else p.unreached for p in probes}
    return {**states, REACHABLE_KEY: why}


def look(connection: Hosts, probes: Iterable[Probe]) -> dict[str, Any]:
    """Run probes in one exec: probe key -> parsed state, or the `Unknown` that its parser met."""
    wanted = {probe.key: probe for probe in probes}
    results = connection.look([probe.command() for probe in wanted.values()])
    return {key: parsed(probe, results[key]) for key, probe in wanted.items()}


def parsed(probe: Probe, result: Result) -> Any:
    """The state a probe's output stands for; `Unknown` when it cannot be told."""
    if result.timed_out:
        return Unknown(f"looking at {probe.key} did not end within {probe.timeout:g} s")
    if result.truncated:
        return Unknown(f"looking at {probe.key} gave more output than is kept")
    try:
        return probe.parse(result)
    except Unknown as unknown:
        return unknown
    except (ValueError, KeyError, IndexError) as error:
        return Unknown(f"{probe.key} cannot be understood: {error}")
