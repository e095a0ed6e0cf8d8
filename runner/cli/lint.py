"""gpurun lint: check playbooks without touching a host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runner.reports.problems import Found


@click.command()
@click.argument("playbooks", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif"]),
    default="text",
    help="json: a list on stdout; sarif: for code review tools.",
)
def lint(playbooks: tuple[str, ...], form: str) -> int:
    """Check PLAYBOOKS: every mistake with its place and a cure. Exit code 1 if there is any."""
    from runner.secrets import passwords
    from runner.secrets.redact import KNOWN

    passwords.use(passwords.VaultPasswords(required=False))
    found = [item for name in playbooks for item in _check(Path(name))]
    if form == "text":
        _say(found, len(playbooks))
    else:
        import json

        click.echo(json.dumps(KNOWN.data(_data(found, form)), indent=2))
    return 1 if found else 0


def _check(path: Path) -> list[Found]:
    from runner.errors import InputError
    from runner.playbook.lint import lint as check
    from runner.playbook.load import load_playbook

    try:
        return [("warning", problem) for problem in check(load_playbook(path))]
    except InputError as error:
        return [("error", problem) for problem in error.problems]


def _say(found: list[Found], files: int) -> None:
    from runner.cli.work import terminal

    say = terminal("terminal")
    for _, problem in found:
        say.line(str(problem))
    say.line(f"{len(found)} problem{'' if len(found) == 1 else 's'} in {files} file(s)")


def _data(found: list[Found], form: str) -> object:
    from runner.reports.problems import as_json, as_sarif

    return as_json(found) if form == "json" else as_sarif(found)
