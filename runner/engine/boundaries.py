"""Steps that do not travel to the host with others: reboots, waits, evidence, actions of the
cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.engine.batches import cluster_actions, collects, host_waits, reboots
from runner.engine.ending import Interrupted
from runner.engine.evidence import collect
from runner.engine.planning import PlannedStep
from runner.engine.power import switch_power
from runner.engine.unwinding import Unwinding
from runner.engine.waiting import wait_on_host
from runner.errors import GpurunError, UnreachableError
from runner.hosts.errors import HostError
from runner.inventory.model import LOCALHOST
from runner.kube.state import ApplyObject, DeleteObject

if TYPE_CHECKING:
    from runner.engine.work import Work


def act(work: Work, step: PlannedStep) -> Mapping[str, Any]:
    """Do what such a step is there for.

    Returns:
        What it has to tell, for `register`.

    Raises:
        Interrupted: the run was stopped meanwhile.
        GpurunError: as the host or the cluster says.
    """
    if reboots(step):
        _reboot(work, step)
    elif collects(step):
        return _collect(work, step)
    elif host_waits(step):
        wait(work, step)
    else:
        return _ask_cluster(work, step)
    return {}


def wait(work: Work, step: PlannedStep) -> None:
    """Wait for what a step says of its host."""
    for each in host_waits(step):
        if each.look is not None and step.context is not None:
            each = replace(each, look=replace(each.look, user=step.context.user))
        try:
            wait_on_host(each, work.reached_by(step), work.stop)
        except GpurunError as error:
            if work.stop.is_set():
                raise Interrupted(error.message, error.hint) from error
            raise


def _ask_cluster(work: Work, step: PlannedStep) -> Mapping[str, Any]:
    work.marks.make(step)
    if not work.away:
        work.node.resume_pods()
    told: dict[str, Any] = {}
    for action in cluster_actions(step):
        work.touched = work.touched or bool(step.changes)
        if isinstance(action, ApplyObject | DeleteObject):
            # A pod that came back from a drain just before has not read it: it is to be restarted.
            work.since = datetime.now(UTC)
        told |= work.node.perform(action, work.since)
    for key in [key for key in work.observed if key.startswith("kubernetes:")]:
        del work.observed[key]
    return told


def _collect(work: Work, step: PlannedStep) -> Mapping[str, Any]:
    told: Mapping[str, Any] = {}
    for action in collects(step):
        host = work.subject.host.name
        kept = collect(action, host, work.connection, work.node.read_node())
        work.events.emit("progress", host, f"{step.label}: {kept}")
        told = kept.result()
    return told


def _reboot(work: Work, step: PlannedStep) -> None:
    for reboot in reboots(step):
        work.touched = True
        ask = None
        if reboot.power_cycle is not None:
            here = work.delegates.connection(LOCALHOST.name)
            ask = partial(switch_power, here, reboot.power_cycle)
        try:
            work.connection.reboot(reboot.timeout, ask)
        except UnreachableError as error:
            if not _rescues(work, step):
                raise
            work.away = True
            raise HostError(error.message, error.hint) from error
        work.away = False
    work.observed.clear()


def _rescues(work: Work, step: PlannedStep) -> bool:
    """Whether the play says what is to be done when the step fails."""
    tasks = work.subject.play.section(step.key.section)
    return Unwinding(tasks).catches(step.task)
