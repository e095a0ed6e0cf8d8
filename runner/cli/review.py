"""The change review in apply, and the question before changes of medium and high risk."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runner.engine.states import HostState
    from runner.reports.terminal import Terminal


class Review:
    """Shows a play's plans, then asks, unless `--yes` was given or nobody can answer."""

    def __init__(self, say: Terminal, yes: bool) -> None:
        self._say = say
        self._yes = yes

    def approve_again(self, unchanged: bool) -> None:
        """A resumed run: its approval holds as long as its playbook is the same."""
        self._yes = unchanged
        if not unchanged:
            self._say.line("The playbook has changed since this run was approved.", "yellow")

    def __call__(self, states: Sequence[HostState]) -> bool:
        self._say.plans(states)
        asking = [s.host.name for s in states if s.waits_for_work and s.gate.verdict == "ask"]
        if not asking or self._yes:
            return True
        if not sys.stdin or not sys.stdin.isatty():
            return False
        return click.confirm(f"Change {', '.join(asking)}?", default=False, err=True)
