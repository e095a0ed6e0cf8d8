"""gpurun rollback: bring back what a run has changed, as far as that is files."""

from __future__ import annotations

from dataclasses import replace

import click

from runner.cli.options import (
    RunOptions,
    become_option,
    limit_option,
    lock_timeout_option,
    output_option,
    vault_options,
)


@click.command()
@click.argument("run")
@limit_option
@click.option("-y", "--yes", is_flag=True, help="Approve changes of medium and high risk.")
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Show the plan and stop.")
@click.option("--force", is_flag=True, help="Also files that have changed since RUN.")
@lock_timeout_option
@become_option
@vault_options
@output_option
def rollback(
    run: str,
    limit: str | None,
    yes: bool,
    dry: bool,
    force: bool,
    lock_timeout: float,
    ask_become_pass: bool,
    vault: tuple[str, ...],
    output: str,
) -> int:
    """Put every file that RUN changed back as it was, and run the handlers that RUN notified,
    through the same gates as an apply. RUN may be "last".

    It is a run of its own: it can be resumed, and rolled back. What is not a file is listed as not
    undone. Exit codes as gpurun apply.
    """
    from runner.cli.apply import carry_out
    from runner.cli.plan import dry_run
    from runner.cli.project import journal_path
    from runner.cli.resume import check_not_running
    from runner.journal.store import Journal, new_run_id

    journal = Journal(journal_path())
    try:
        record = journal.run(run)
    finally:
        journal.close()
    check_not_running(record)
    given = RunOptions.from_arguments(record.arguments)
    options = replace(
        given,
        limit=limit,
        yes=yes,
        digest="",
        tags=(),
        skip_tags=(),
        lock_timeout=lock_timeout,
        vault=vault or given.vault,
        rollback=record.id,
        force=force,
    )
    if dry:
        return dry_run(options, output, ask_become_pass)
    return carry_out(options, new_run_id(), output, ask_become_pass)
