"""gpurun history and gpurun show: what the journal knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import output_option

if TYPE_CHECKING:
    from runner.journal.store import RunRecord


@click.command()
@click.option("-n", "--number", type=click.IntRange(1), default=20, show_default=True)
@output_option
def history(number: int, output: str) -> int:
    """List the latest runs, newest first."""
    from dataclasses import asdict

    from runner.cli.project import journal_path
    from runner.cli.work import terminal
    from runner.journal.store import Journal

    journal = Journal(journal_path())
    runs = journal.runs(number)
    journal.close()
    if output == "json":
        click.echo(json.dumps([asdict(run) for run in runs], indent=2))
        return 0
    say = terminal(output)
    if not runs:
        say.line("no runs yet")
    for run in runs:
        status = run.status if run.ended else _unended(run.pid)
        where = " ".join(run.arguments.get("inventories", []))
        say.line(f"{run.id}  {run.started}  {status:<14}  {_what(run)}  -i {where}")
    return 0


@click.command()
@click.argument("run", default="last")
@output_option
def show(run: str, output: str) -> int:
    """Show RUN (default: the last one) step by step."""
    from dataclasses import asdict

    from runner.cli.project import journal_path
    from runner.cli.work import terminal
    from runner.journal.store import Journal

    journal = Journal(journal_path())
    try:
        record = journal.run(run)
        events = journal.events(record.id)
    finally:
        journal.close()
    if output == "json":
        made = {**asdict(record), "events": [asdict(event) for event in events]}
        click.echo(json.dumps(made, indent=2, default=str))
        return 0
    say = terminal(output)
    say.line(f"Run {record.id}: {record.status}", "bold")
    say.line(f"  {_what(record)} -i {' '.join(record.arguments.get('inventories', []))}")
    say.line(f"  started {record.started}, ended {record.ended or 'not'}")
    for event in events:
        detail = _detail(event.data)
        time = event.time.strftime("%H:%M:%S")
        say.line(
            f"  {time} {event.host or '-':<12} {event.kind:<13} {event.text} {detail}".rstrip()
        )
    return 0


def _what(run: RunRecord) -> str:
    """The playbook, and the run that was brought back or whose nodes were taken over."""
    if earlier := run.arguments.get("rollback"):
        return f"rollback of {earlier} ({run.playbook})"
    if earlier := run.arguments.get("take_over"):
        return f"{run.playbook}, taking over from {earlier}"
    return run.playbook


def _unended(pid: int) -> str:
    """A run without an end is being worked on, or was killed."""
    from runner.engine.unlocking import process_is_gpurun

    return f"running (process {pid})" if process_is_gpurun(pid) else "killed (gpurun resume)"


def _detail(data: Mapping[str, Any]) -> str:
    shown = {key: data[key] for key in ("status", "reason", "left") if data.get(key)}
    shown |= {"reason": "; ".join(data["reasons"])} if data.get("reasons") else {}
    return " ".join(f"{key}={value}" for key, value in shown.items())
