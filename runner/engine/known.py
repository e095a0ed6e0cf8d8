"""What a walk over a play knows: what was observed, and what earlier tasks leave for later ones."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.engine.batches import reboots
from runner.engine.planning import PENDING_STATUSES, Needs, PlannedStep, Progress, seen_as
from runner.engine.subject import Subject
from runner.engine.variables import Facts, KnownAfterChange, variables_of
from runner.kube.state import NODE
from runner.modules.base import ClusterProbe, Probe, Unknown
from runner.playbook.document import Task


@dataclass(slots=True)
class Known:
    """Changes as the walk goes on.

    Args:
        view: what was observed, as earlier tasks would leave it.
        kept: what earlier tasks register and set.
        needs: what is missing in the view.
        pending_since: label of the first step that would change the host: looks after it wait.
        uncertain_since: label of the first pending step whose effect cannot be known.
        unsure: probe key -> label of the pending step after which its state is not known.
    """

    subject: Subject
    view: MutableMapping[str, Any]
    progress: Progress
    kept: dict[str, Any]
    needs: Needs = field(default_factory=Needs)
    pending_since: str = ""
    uncertain_since: str = ""
    unsure: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, subject: Subject, observed: Mapping[str, Any], progress: Progress | None = None
    ) -> Known:
        """What is known before the first task."""
        kept = dict(subject.kept.get(subject.host.name, {}))
        return cls(subject, ChainMap({}, dict(observed)), progress or Progress(), kept)

    def variables(self, task: Task) -> dict[str, Any]:
        """What the task's templates and conditions may name."""
        play = self.subject.play
        facts = Facts(self.view, self.needs, play.become, play.become_user or "root")
        return variables_of(self.subject, task, self.kept, facts)

    def missing(
        self,
        node: bool,
        probes: Sequence[Probe],
        objects: Sequence[ClusterProbe],
        delegate: str,
    ) -> bool:
        """Whether something that a task looks at has yet to be read; it is noted in `needs`."""
        keys = {seen_as(probe.key, delegate): probe for probe in probes}
        missing = {key: probe for key, probe in keys.items() if key not in self.view}
        if missing and delegate:
            self.needs.delegated.setdefault(delegate, {}).update(missing)
        else:
            self.needs.probes.update(missing)
        unseen = {p.key: p for p in objects if p.key not in self.view}
        self.needs.objects.update(unseen)
        if node and NODE not in self.view:
            self.needs.cluster = True
            return True
        return bool(missing or unseen)

    def states(
        self, node: bool, probes: Sequence[Probe | ClusterProbe], delegate: str
    ) -> dict[str, Any]:
        """What the probes saw.

        Raises:
            Unknown: one of them could not tell.
            KnownAfterChange: it will be otherwise, and how is not known.
        """
        keys = [p.key for p in probes] + ([NODE] if node else [])
        for key in keys:
            label = self.unsure.get(seen_as(key, delegate))
            # A folder of which only what is in it is looked at stays one.
            if label and not any(other.startswith(f"{key}/") for other in keys):
                raise KnownAfterChange(f"what '{label}' makes of {key.partition(':')[2]}")
        states = {key: self.view[seen_as(key, delegate)] for key in keys}
        for state in states.values():
            if isinstance(state, Unknown):
                raise state
        return states

    def leave(self, step: PlannedStep) -> None:
        """Let later tasks see what this one would leave behind."""
        for change in step.changes:
            overlay = {seen_as(key, step.delegate): s for key, s in change.overlay.items()}
            self.view.update(overlay)
            self.unsure.update({seen_as(key, step.delegate): step.label for key in change.unsure})
        if step.looks or step.status not in PENDING_STATUSES:
            return
        self.pending_since = self.pending_since or step.label
        # What a boot brings, such as another driver, is seen after it.
        if step.status != "change" or not all(c.predictable for c in step.changes) or reboots(step):
            self.uncertain_since = self.uncertain_since or step.label
