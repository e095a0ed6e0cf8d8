"""`delegate_to`: other hosts that a task looks at and changes instead of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from runner.engine.observe import Hosts
from runner.engine.planning import PENDING_STATUSES, PlannedStep
from runner.engine.subject import Subject
from runner.errors import GpurunError, UnreachableError
from runner.inventory.model import LOCALHOST, Host
from runner.modules.base import Disruption, Refused
from runner.modules.registry import load_module
from runner.playbook.document import Task
from runner.playbook.keywords import similar
from runner.playbook.templates import render


class Delegates:
    """The connections of a run to hosts that tasks are delegated to. Used by several threads.

    Args:
        connect: the run's connection to a host; raises `UnreachableError`.
        hosts: of the inventory.
    """

    def __init__(self, connect: Callable[[Host], Hosts], hosts: Mapping[str, Host]) -> None:
        self._connect = connect
        self._hosts = hosts
        self._turns: dict[str, threading.RLock] = {}
        self._unreachable: dict[str, str] = {}
        self._guard = threading.Lock()

    def connection(self, name: str) -> Hosts:
        """The connection to a host.

        Raises:
            GpurunError: it cannot be reached; each is tried once.
        """
        with self.held(name):
            if name not in self._unreachable:
                try:
                    return self._connect(found(name, self._hosts) or LOCALHOST)
                except UnreachableError as error:
                    self._unreachable[name] = str(error)
            raise GpurunError(f"delegate_to {name}: {self._unreachable[name]}")

    def held(self, name: str) -> AbstractContextManager[bool]:
        """Keeps a host to one thread between its look and its change."""
        with self._guard:
            return self._turns.setdefault(name, threading.RLock())


def found(name: str, hosts: Mapping[str, Host]) -> Host | None:
    """The host of the inventory, or this machine where it is called localhost and none is."""
    return hosts.get(name) or (LOCALHOST if name in ("localhost", "127.0.0.1") else None)


def delegate_of(subject: Subject, task: Task, variables: Mapping[str, object]) -> str:
    """The host that a task is delegated to; "": its own.

    Raises:
        Refused: there is no such host. NotYetKnown, TemplateProblem: as its template raised it.
    """
    if task.delegate_to:
        name = render(task.delegate_to, variables, task.origin)
    elif load_module(task.module).on_controller:
        name = LOCALHOST.name
    else:
        return ""
    if name == subject.host.name:
        return ""
    if not isinstance(name, str) or found(name, subject.hosts) is None:
        hint = similar(str(name), subject.hosts)
        raise Refused(f"delegate_to: there is no host {name!r} in the inventory. {hint}".strip())
    return name


def misplaced(subject: Subject, step: PlannedStep) -> str:
    """Why a step must not be done where it would be; "" where it may."""
    if step.status not in PENDING_STATUSES:
        return ""
    disruption = step.disruption.name.lower()
    elsewhere = bool(step.delegate) or (step.task.delegate_to and step.status != "change")
    if elsewhere and step.disruption >= Disruption.GPU:
        return (
            f"disruption {disruption} on another host: nobody drains that one here; write a "
            "play for it"
        )
    if subject.host.is_local and not step.delegate and step.disruption >= Disruption.NODE:
        return (
            f"disruption {disruption}: {subject.host.name} is the machine gpurun runs on "
            "(ansible_connection: local), which it does not drain or reboot under itself; "
            "reach it by SSH from another machine"
        )
    return ""
