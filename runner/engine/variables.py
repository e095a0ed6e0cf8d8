"""What templates may look up on a host: variables, facts read on demand, results not known yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from runner.engine.planning import Needs
from runner.engine.subject import Subject
from runner.facts.base import FACTS, load_fact
from runner.inventory.model import Host
from runner.kube.state import NODE
from runner.modules.base import Unknown
from runner.playbook.document import Task, TemplateText
from runner.playbook.lookups import OWN
from runner.playbook.templates import NotYetKnown, holds, render


class NeedsLook(NotYetKnown):
    """The host must be read once more before this value is known; `Needs` says what to read."""


class KnownAfterChange(NotYetKnown):
    """The value depends on a change that has not been made yet."""


class FactUnknown(NotYetKnown):
    """The host answered, but its answer could not be understood."""


class Facts(Mapping[str, Any]):
    """`facts.NAME`, read from what was observed; a missing one is noted in `needs`."""

    def __init__(
        self,
        observed: Mapping[str, Any],
        needs: Needs,
        become: bool = True,
        user: str = "root",
    ) -> None:
        self._observed = observed
        self._needs = needs
        self._become = become
        self._user = user

    def __getitem__(self, name: str) -> Any:
        if name not in FACTS:
            raise KeyError(name)
        fact = load_fact(name)
        key = fact.probe.key if fact.probe else NODE
        if key not in self._observed:
            if fact.probe:
                self._needs.probes[key] = replace(fact.probe, become=self._become, user=self._user)
            else:
                self._needs.cluster = True
            raise NeedsLook(f"facts.{name}")
        state = self._observed[key]
        if isinstance(state, Unknown):
            raise FactUnknown(f"facts.{name}: {state}")
        return fact.export(state)

    def __iter__(self) -> Iterator[str]:
        return iter(FACTS)

    def __len__(self) -> int:
        return len(FACTS)

    def __repr__(self) -> str:
        return repr(dict(self))


class Later(Mapping[str, Any]):
    """A registered result of a task that has not run: `changed` is known, the rest is not."""

    def __init__(self, name: str, known: Mapping[str, Any]) -> None:
        self._name = name
        self._known = known

    def with_known(self, more: Mapping[str, Any]) -> Later:
        """The same result of which more is known."""
        return Later(self._name, {**self._known, **more})

    def _refuse(self) -> KnownAfterChange:
        return KnownAfterChange(f"the result '{self._name}' is known after the change")

    def __getitem__(self, key: str) -> Any:
        if key in self._known:
            return self._known[key]
        raise self._refuse()

    def __iter__(self) -> Iterator[str]:
        raise self._refuse()

    def __len__(self) -> int:
        raise self._refuse()

    def __repr__(self) -> str:
        raise self._refuse()


class OtherHosts(Mapping[str, Any]):
    """`hostvars`: each host's inventory variables, and what earlier plays kept there."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __getitem__(self, name: str) -> Any:
        return _OfHost(self._subject, self._subject.hosts[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._subject.hosts)

    def __len__(self) -> int:
        return len(self._subject.hosts)


class _OfHost(Mapping[str, Any]):
    """One host's variables, each rendered when it is used."""

    def __init__(self, subject: Subject, host: Host) -> None:
        self._name = host.name
        self._values: dict[str, Any] = {
            **host.variables,
            **subject.kept.get(host.name, {}),
            **subject.extra,
            **_named(subject, host),
        }

    def __getitem__(self, name: str) -> Any:
        if name in ("facts", "ansible_facts"):
            raise ValueError(
                f"hostvars['{self._name}'].{name}: facts of other hosts are not read; keep what "
                "is needed with set_fact in an earlier play"
            )
        value = self._values[name]
        if isinstance(value, NotYetKnown):
            raise value
        if isinstance(value, str) and not isinstance(value, TemplateText):
            return value  # what a host printed, kept by `set_fact`: never a template
        return render(value, self._values, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _named(subject: Subject, host: Host) -> dict[str, Any]:
    """What every host has, of Ansible's special variables."""
    return {
        **host.magic,
        "kubernetes_node": host.node_name,
        "groups": subject.groups,
        "hostvars": OtherHosts(subject),
    }


def variables_of(
    subject: Subject, task: Task, kept: Mapping[str, Any], facts: Facts
) -> dict[str, Any]:
    """All variables a task sees, the later ones winning.

    Args:
        kept: what tasks before it registered and set.

    Raises:
        TemplateProblem: a condition of an `include_vars` fails.
    """
    play_hosts = list(subject.play_hosts)
    named = _named(subject, subject.host)
    below = {
        **subject.play.defaults,
        **task.defaults,
        **subject.host.variables,
        **subject.play.variables,
        **task.variables,
    }
    # What lookups may be given: the user's own text, not what a host said.
    own = {*below, *(name for part in task.included for name in part.values)} - set(kept)
    own |= {*task.parameters, *subject.extra, "playbook_dir", *named} - {"facts", "hostvars"}
    above = {
        **kept,
        **task.parameters,
        **subject.extra,
        **named,
        "ansible_play_hosts": play_hosts,
        "ansible_play_hosts_all": play_hosts,
        "play_hosts": play_hosts,
        "kubernetes_configured": subject.clustered,
        "playbook_dir": str(subject.playbook.parent.absolute()),
        "facts": facts,
        OWN: frozenset(own),
    }
    return _with_included(task, below, above)


def _with_included(
    task: Task, below: Mapping[str, Any], above: Mapping[str, Any]
) -> dict[str, Any]:
    """The variables of a task, those of each `include_vars` above it in their place.

    Where it is not known yet whether one counts, its variables are not known either.
    """
    found = dict(below)
    for part in task.included:
        values: Mapping[str, Any] = part.values
        try:
            if not all(holds(c, {**found, **above}, part.origin) for c in part.when):
                continue
        except NotYetKnown as error:
            values = dict.fromkeys(part.values, error)
        found.update(values)
    return {**found, **above}
