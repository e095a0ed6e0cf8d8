"""gpurun lint: check playbooks without touching a host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import complete
from runner.cli.options import OneALine
from runner.cli.project import project_folder

if TYPE_CHECKING:
    from runner.errors import Problem
    from runner.inventory.model import Inventory
    from runner.playbook.document import Play
    from runner.playbook.undefined import Hosts


@click.command()
@click.argument("playbooks", nargs=-1, required=True, shell_complete=complete.playbooks)
@click.option(
    "-i",
    "--inventory",
    "inventories",
    multiple=True,
    metavar="NAME",
    shell_complete=complete.inventories,
    help="Check hosts and variables against this inventory as well (repeatable).",
)
@click.option(
    "-e",
    "--extra-vars",
    "extra",
    type=OneALine(),
    multiple=True,
    metavar="K=V|JSON|@FILE",
    help="Variables that a run will be given (repeatable).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif"]),
    default="text",
    help="json: a list on stdout; sarif: for code review tools.",
)
@click.option("--strict", is_flag=True, help="Exit code 1 for warnings too.")
def lint(
    playbooks: tuple[str, ...],
    inventories: tuple[str, ...],
    extra: tuple[str, ...],
    form: str,
    strict: bool,
) -> int:
    """Check PLAYBOOKS (paths, names, folders): every mistake with its place and a cure.

    An error keeps a playbook from running, or ends a run; a warning is advice. Exit codes: 1 when
    there is an error (with --strict: or a warning), else 0.
    """
    from runner.cli.options import extra_variables
    from runner.errors import InputError
    from runner.secrets import passwords
    from runner.secrets.redact import KNOWN

    passwords.use(passwords.VaultPasswords(required=False))
    project = project_folder()
    inventory = _inventory(inventories, project) if inventories else None
    names = list(extra_variables(extra))
    files: list[Path] = []
    found: list[Problem] = []
    for name in playbooks:
        try:
            files += _files(name, project)
        except InputError as error:
            found += error.problems
    for path in dict.fromkeys(files):
        found += _check(path, inventory, names)
    if form == "text":
        _say(found, len(files))
    else:
        import json

        click.echo(json.dumps(KNOWN.data(_data(found, form)), indent=2))
    return 1 if any(strict or problem.level == "error" for problem in found) else 0


def _inventory(sources: tuple[str, ...], project: Path) -> Inventory:
    from runner.inventory.load import load_inventory

    return load_inventory(sources, project)


def _files(name: str, project: Path) -> list[Path]:
    """A playbook, or all of a folder.

    Raises:
        InputError: there is none.
    """
    from runner.errors import InputError, Origin, Problem
    from runner.playbook.find import ENDINGS, find_playbook

    folder = Path(name)
    if not folder.is_dir():
        return [find_playbook(name, project)]
    paths = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
    chosen = [path for path in paths if _may_be_playbook(path)]
    if not chosen:
        hint = "Files of tasks or variables are checked with the playbook that names them."
        raise InputError([Problem("the folder has no playbook", Origin(name), hint)])
    return chosen


def _may_be_playbook(path: Path) -> bool:
    """Whether a YAML file is no list of tasks and no mapping of variables."""
    from runner.modules.registry import MODULES, short_name
    from runner.playbook.document import Map
    from runner.playbook.source import read_yaml

    value = read_yaml(path).value
    if isinstance(value, list):
        keys = {short_name(key) for item in value if isinstance(item, Map) for key in item}
        return "hosts" in keys or not keys & {*MODULES, "block", "import_tasks"}
    return not isinstance(value, Map)


def _check(path: Path, inventory: Inventory | None, extra: Iterable[str]) -> list[Problem]:
    from runner.engine.files import reader
    from runner.errors import InputError
    from runner.playbook.lint import lint as check
    from runner.playbook.load import load_playbook

    problems: list[Problem] = []
    hosts_of = _hosts_of(inventory, problems) if inventory else None
    try:
        found = check(load_playbook(path), hosts_of, extra, reader(path.parent))
    except InputError as error:
        return list(error.problems)
    return [*problems, *found]


def _hosts_of(inventory: Inventory, problems: list[Problem]) -> Callable[[Play], Hosts]:
    """The hosts of a play with the names of their variables; what is wrong is noted."""
    from runner.errors import InputError, Problem
    from runner.inventory.load import select

    def hosts_of(play: Play) -> Hosts:
        try:
            return {host.name: set(host.variables) for host in select(inventory, play.hosts)}
        except InputError as error:
            for problem in error.problems:
                origin = problem.origin or play.origin
                problems.append(Problem(problem.message, origin, problem.hint))
            return {}

    return hosts_of


def _say(found: list[Problem], files: int) -> None:
    from runner.reports.excerpts import as_text

    for problem in found:
        click.echo(as_text(problem))
    errors = sum(problem.level == "error" for problem in found)
    counts = (_count(errors, "error"), _count(len(found) - errors, "warning"))
    click.echo(f"{', '.join(counts)} in {_count(files, 'file')}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _data(found: list[Problem], form: str) -> object:
    from runner.reports.problems import as_json, as_sarif

    return as_json(found) if form == "json" else as_sarif(found)
