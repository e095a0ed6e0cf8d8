"""Whom a plan is for, and all that it depends on beside what is observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.engine.planning import StepKey
from runner.inventory.model import Host
from runner.playbook.document import Play, TemplateText


@dataclass(frozen=True, slots=True)
class Once:
    """Which host does the tasks that are done once, and what they kept there.

    `kept` has the key of each such task, of its first item.
    """

    host: str
    kept: Mapping[StepKey, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """One host of one play, with all that a plan of it depends on beside the observation.

    Args:
        extra: the run's `-e` settings.
        groups: the inventory's groups with their hosts.
        hosts: every host of the inventory, for `hostvars`.
        kept: host -> what tasks of earlier plays registered or set there.
        play_hosts: the hosts the play is for.
        clustered: a cluster is configured for the host.
        once: who does what is done once; None: this host.
    """

    host: Host
    play: Play
    playbook: Path
    extra: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hosts: Mapping[str, Host] = field(default_factory=dict)
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    play_hosts: Sequence[str] = ()
    clustered: bool = False
    once: Once | None = None


def as_the_inventory_says(play: Play, host: Host) -> Play:
    """The play with the host's own `ansible_become_user`, which wins as in Ansible, and `drain`."""
    play = replace(play, drain=replace(play.drain, **host.drain)) if host.drain else play
    user = host.variables.get("ansible_become_user")
    plain = isinstance(user, str) and not isinstance(user, TemplateText)
    return replace(play, become_user=user) if plain and user else play
