"""gpurun apply: plan, gate and carry out."""

from __future__ import annotations

from dataclasses import replace

import click

from runner.cli.listing import asked_for, list_options, show
from runner.cli.options import (
    RunOptions,
    keep_copies_option,
    lock_timeout_option,
    rollout_lock_option,
    run_options,
)


@click.command()
@run_options
@list_options
@click.option("-y", "--yes", is_flag=True, help="Approve changes of medium and high risk.")
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Stop after the gates: as gpurun plan.")
@lock_timeout_option
@rollout_lock_option
@keep_copies_option
def apply(output: str, ask_become_pass: bool, dry: bool, playbook: str, **given: object) -> int:
    """Carry out PLAYBOOK: look, review, gate, cordon, drain, change, verify, uncordon.

    Exit codes: 0 done or nothing to do, 1 error, 2 partly failed, 3 drifted, 4 denied by a gate,
    130 stopped.
    """
    kinds = asked_for(given)
    options = RunOptions.of(playbook, **given)
    if kinds:
        return show(options, kinds, output)
    if dry:
        from runner.cli.plan import dry_run

        return dry_run(options, output, ask_become_pass)
    from runner.cli.work import taking_over
    from runner.journal.store import new_run_id

    return carry_out(taking_over(options), new_run_id(), output, ask_become_pass)


def carry_out(
    options: RunOptions,
    run: str,
    output: str,
    ask_become_pass: bool,
    pid: int | None = None,
    was_approved: bool = False,
) -> int:
    """Apply with a journal; shared with `resume`.

    Args:
        pid: of the process that had this run before; None: it is a new run.
        was_approved: an earlier try had `--yes`: it still counts for the same playbook.
    """
    from runner.cli.project import journal_path
    from runner.cli.recording import Recording
    from runner.cli.review import Review
    from runner.cli.work import (
        become_password,
        build,
        finish,
        say_not_undone,
        stopping,
        terminal,
        warn_of_short_secrets,
    )
    from runner.engine.events import Events
    from runner.engine.kept import Keeper
    from runner.journal.store import Journal
    from runner.secrets.redact import KNOWN

    password = become_password(ask_become_pass)
    say = terminal(output)
    journal = Journal(journal_path())
    try:
        with stopping(run) as stop:
            recording = Recording(
                lambda event: journal.record(run, event), stop, lambda text: say.line(text, "red")
            )
            events = Events([recording, say.event], KNOWN.data)
            review = Review(say, options.yes)
            keeper = Keeper(run, lambda kept: journal.keep(run, kept), options.keep_copies)
            work = build(options, run, events, review, stop, password, pid is not None, keeper)
            warn_of_short_secrets(say)
            say_not_undone(say, work)
            if was_approved and not options.yes:
                review.approve_again(options.digest == work.digest)
            if pid is None:
                begun = replace(options, digest=work.digest)
                arguments = begun.as_arguments()
                journal.begin(run, arguments["playbook"], arguments)
            else:
                journal.reopen(run, pid)
            try:
                states = work.apply()
            except KeyboardInterrupt:
                journal.end(run, "stopped")
                raise
            code = finish(output, say, run, states, True, work.not_undone)
            if recording.failed:
                return code or 1
            journal.end(run, _status(code, stop.is_set()))
            if options.rollback and code == 0 and not options.limit:
                journal.rolled_back(options.rollback)
        return 130 if stop.is_set() and code else code
    finally:
        journal.close()


def _status(code: int, stopped: bool) -> str:
    if code == 0:
        return "done"
    if stopped:
        return "stopped"
    return {2: "partly failed", 3: "drifted", 4: "denied"}.get(code, "failed")
