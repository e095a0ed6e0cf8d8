"""gpurun resume: finish a run that was killed or stopped."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from runner.cli.options import RunOptions, become_option, output_option, vault_options

if TYPE_CHECKING:
    from runner.journal.store import RunRecord


@click.command()
@click.argument("run", default="unfinished")
@click.option("-y", "--yes", is_flag=True, help="Approve changes of medium and high risk.")
@become_option
@vault_options
@output_option
def resume(run: str, yes: bool, ask_become_pass: bool, vault: tuple[str, ...], output: str) -> int:
    """Look at every host of RUN again (default: the newest that has not finished), do what is
    left, and give back every node that it took out of service.

    A run started with --yes is resumed as approved, unless its playbook has changed since, or
    another run came to undo it or to take its nodes over; that has to be named. Exit codes as
    gpurun apply.
    """
    from runner.cli.apply import carry_out
    from runner.cli.project import journal_path
    from runner.cli.work import terminal
    from runner.errors import GpurunError
    from runner.journal.store import ROLLED_BACK, Journal

    journal = Journal(journal_path())
    try:
        record = journal.run(run)
        successors = journal.successors(record.id)
    finally:
        journal.close()
    check_not_running(record)
    if record.status == ROLLED_BACK:
        raise GpurunError(
            f"run {record.id} was rolled back: resuming it would do again what was undone",
            "gpurun apply carries its playbook out again",
        )
    if record.status == "done":
        raise GpurunError(
            f"run {record.id} is done: nothing of it is left to resume",
            "gpurun apply carries its playbook out again",
        )
    options = RunOptions.from_arguments(record.arguments)
    if successors:
        terminal(output).line(
            f"Run {successors[0].id} came to undo this one or to take its nodes over: "
            "what that undid is done again.",
            "yellow",
        )
    return carry_out(
        replace(options, yes=yes, vault=vault or options.vault),
        record.id,
        output,
        ask_become_pass,
        record.pid,
        options.yes and not successors,
    )


def check_not_running(record: RunRecord) -> None:
    """Raise GpurunError while another process works on the run."""
    from runner.engine.unlocking import process_is_gpurun
    from runner.errors import GpurunError

    if not record.ended and record.pid != os.getpid() and process_is_gpurun(record.pid):
        raise GpurunError(
            f"run {record.id} is still being worked on by process {record.pid}",
            "wait for it, or stop it with Ctrl-C there",
        )
