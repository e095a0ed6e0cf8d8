"""gpurun plan: the change review."""

from __future__ import annotations

import click

from runner.cli.listing import asked_for, list_options, show
from runner.cli.options import RunOptions, run_options


@click.command()
@run_options
@list_options
def plan(output: str, ask_become_pass: bool, playbook: str, **given: object) -> int:
    """Show what PLAYBOOK would change and how risky that is; change nothing.

    Exit codes: 0 nothing to do, 1 error, 2 changes pending, 4 denied by a gate.
    """
    kinds = asked_for(given)
    options = RunOptions.of(playbook, **given)
    return show(options, kinds, output) if kinds else dry_run(options, output, ask_become_pass)


def dry_run(options: RunOptions, output: str, ask_become_pass: bool) -> int:
    """Plan and gate; shared with `apply --dry-run`."""
    from runner.cli.work import (
        become_password,
        build,
        finish,
        say_not_undone,
        stopping,
        taking_over,
        terminal,
        warn_of_short_secrets,
    )
    from runner.engine.events import Events
    from runner.journal.store import new_run_id
    from runner.secrets.redact import KNOWN

    options = taking_over(options)
    password = become_password(ask_become_pass)
    say = terminal(output)
    run = new_run_id()
    with stopping() as stop:
        events = Events([], KNOWN.data)
        work = build(options, run, events, lambda asking: False, stop, password)
        warn_of_short_secrets(say)
        say_not_undone(say, work)
        states = work.plan()
        say.plans(states)
        code = finish(output, say, run, states, False, work.not_undone)
    return 130 if stop.is_set() else code
