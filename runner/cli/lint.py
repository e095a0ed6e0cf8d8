"""gpurun lint: check playbooks without touching a host."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("playbooks", nargs=-1, required=True, type=click.Path())
def lint(playbooks: tuple[str, ...]) -> int:
    """Check PLAYBOOKS: every mistake with its place and a cure. Exit code 1 if there is any."""
    from runner.cli.work import terminal
    from runner.errors import InputError
    from runner.playbook.lint import lint as check
    from runner.playbook.load import load_playbook

    say = terminal("terminal")
    found = 0
    for name in playbooks:
        try:
            problems = list(check(load_playbook(Path(name))))
        except InputError as error:
            problems = list(error.problems)
        for problem in problems:
            say.line(str(problem))
        found += len(problems)
    say.line(f"{found} problem{'' if found == 1 else 's'} in {len(playbooks)} file(s)")
    return 1 if found else 0
