"""Plays for engine tests, from YAML text, planned and enacted on the local machine."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.engine.delegates import Delegates
from runner.engine.enact import HostRun
from runner.engine.ending import HostResult
from runner.engine.events import Event, Events
from runner.engine.kept import Keeper
from runner.engine.maintenance import Maintenance
from runner.engine.observe import observe
from runner.engine.planner import plan_host
from runner.engine.planning import HostPlan
from runner.engine.subject import Subject
from runner.engine.work import Work
from runner.errors import Origin
from runner.inventory.model import Host
from runner.modules.base import Unknown
from runner.playbook.document import Play
from runner.playbook.load import load_playbook
from tests.engine.local_host import LocalHost


def subject(folder: Path, text: str, **variables: Any) -> Subject:
    """The first play of a playbook text on one host."""
    path = folder / "playbook.yaml"
    path.write_text(text)
    play = load_playbook(path).plays[0]
    host = Host("gpu-1", "192.0.2.1", Origin("hosts.yaml", 1, 1), variables=variables)
    return Subject(host, play, path)


class OneHost:
    """A play on one host, from plan to result."""

    def __init__(self, folder: Path, text: str, **variables: Any) -> None:
        self.subject = subject(folder, text, **variables)
        self.local = LocalHost()
        self.observed: dict[str, Any] = {}
        self.happened: list[Event] = []
        self.node: Any = Unknown("no cluster in this test")
        self.stop = threading.Event()
        self.keeper: Keeper | None = None

    def instead(self, play: Play, host: Host) -> OneHost:
        """The same machine with another play, and nothing observed yet."""
        other = OneHost.__new__(OneHost)
        other.__dict__ = {**self.__dict__, "observed": {}, "happened": [], "keeper": None}
        other.subject = replace(self.subject, play=play, host=host)
        return other

    def plan(self) -> HostPlan:
        return observe(
            lambda seen: plan_host(self.subject, seen),
            self.observed,
            self.local,
            lambda: self.node,
            ignore_unreachable=self.subject.play.ignore_unreachable,
        )

    def apply(
        self,
        plan: HostPlan | None = None,
        node: Maintenance | None = None,
        delegates: Delegates | None = None,
    ) -> HostResult:
        approved = plan or self.plan()
        work = Work(
            self.subject,
            approved,
            self.observed,
            self.local,
            node or Maintenance(),
            Events([self.happened.append]),
            self.stop,
            keeper=self.keeper,
        )
        work.delegates = delegates or work.delegates
        return HostRun(work).run()

    def again(self) -> HostPlan:
        """A fresh look and plan."""
        self.observed.clear()
        return self.plan()


def statuses(plan: HostPlan) -> list[str]:
    return [step.status for step in plan.steps]
