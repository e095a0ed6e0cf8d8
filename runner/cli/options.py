"""Options that several verbs share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from runner.cli import complete
from runner.errors import InputError, Problem

if TYPE_CHECKING:
    from runner.playbook.source import Document


class Seconds(click.FloatRange):
    """A time from `least` seconds to a day. NaN passes every comparison, and is refused here."""

    def __init__(self, least: float) -> None:
        super().__init__(least, 86_400)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if isnan(seconds):
            self.fail(f"{value!r} is not a time.", param, ctx)
        return seconds


class OneALine(click.types.StringParamType):
    """Text that may hold blanks: in an environment variable each value has a line of its own."""

    envvar_list_splitter = "\n"


FORKS = click.IntRange(1, 1000)
PROMPT = "prompt"
"""The place of a vault password that a person is asked for."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What plan and apply were asked for; kept in the journal so that `resume` can go on."""

    playbook: str
    inventories: tuple[str, ...]
    project: str
    limit: str | None = None
    extra: tuple[str, ...] = ()
    kubeconfig: str | None = None
    context: str | None = None
    forks: int = 32
    connect_timeout: float = 10.0
    lock_timeout: float = 0.0
    rollout_lock: bool = True
    yes: bool = False
    digest: str = ""
    """SHA-256 of the playbook that was approved; empty before it is loaded."""
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    user: str | None = None
    vault: tuple[str, ...] = ()
    """Where vault passwords come from, each label@place; never a password."""
    rollback: str = ""
    """The run that is brought back."""
    force: bool = False
    """Also files that have changed since that run."""
    keep_copies: int = 20
    """Of how many runs a host keeps copies for a rollback."""
    take_over: str = ""
    """The run whose nodes are taken over, where it left them out of service."""

    def as_arguments(self) -> dict[str, Any]:
        """For the journal: files by their whole path, as `resume` may run in another folder."""
        here = Path.cwd()
        inventories = [_whole(source, Path(self.project)) for source in self.inventories]
        extra = [f"@{here / text[1:]}" if text.startswith("@") else text for text in self.extra]
        kubeconfig = self.kubeconfig and str(here / Path(self.kubeconfig).expanduser())
        playbook = str(here / self.playbook)
        return {
            **asdict(self),
            "playbook": playbook,
            "inventories": inventories,
            "extra": extra,
            "kubeconfig": kubeconfig,
            "vault": [_whole_place(here, each) for each in self.vault],
        }

    @classmethod
    def of(cls, playbook: str, **given: Any) -> RunOptions:
        """What a command line asks for, in the project that this folder belongs to.

        Raises:
            InputError: there is no such playbook.
        """
        from runner.cli.project import project_folder
        from runner.playbook.find import find_playbook

        project = project_folder()
        return cls(str(find_playbook(playbook, project)), project=str(project), **given)

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> RunOptions:
        names = ("inventories", "extra", "tags", "skip_tags", "vault")
        lists = {key: tuple(arguments.get(key, ())) for key in names}
        return cls(**{**arguments, **lists})


def _whole(source: str, project: Path) -> str:
    """An inventory given by its path as a whole path; names and lists of hosts stay."""
    from runner.inventory.sources import find

    path = Path(source)
    is_path = "," not in source and path.exists() and find(source, project) == path
    return str(path.absolute()) if is_path else source


def _named(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """At least one inventory; an error lists those the project has."""
    if value or context.resilient_parsing:
        return value
    from runner.cli.project import project_folder
    from runner.inventory.sources import available

    names = available(project_folder())
    first = f"Add -i NAME, one of: {', '.join(names)}" if names else "Add -i FILE"
    hint = f'{first}; or set inventory = ["NAME"] in gpurun.toml.'
    raise InputError([Problem("no inventory was named", None, hint)])


def _whole_place(here: Path, source: str) -> str:
    """A vault password's source with the whole path of its file."""
    label, at, place = source.rpartition("@")
    return source if place == PROMPT else f"{label}{at}{here / Path(place).expanduser()}"


inventory_option = click.option(
    "-i",
    "--inventory",
    "inventories",
    multiple=True,
    callback=_named,
    metavar="NAME",
    shell_complete=complete.inventories,
    help="Inventory: NAME in inventory/, a path, or host1,host2, (repeatable).",
)
user_option = click.option(
    "-u",
    "--user",
    metavar="NAME",
    help="Log in as this user where the inventory names none (ansible_user).",
)
forks_option = click.option(
    "-f",
    "--forks",
    type=FORKS,
    default=32,
    show_default=True,
    help="Hosts worked on at once.",
)
connect_timeout_option = click.option(
    "--connect-timeout",
    type=Seconds(1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Until a host that does not answer counts as unreachable.",
)
lock_timeout_option = click.option(
    "--lock-timeout",
    type=Seconds(0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long for a node that another run works on.",
)
rollout_lock_option = click.option(
    "--rollout-lock/--no-rollout-lock",
    default=True,
    help="Whether to be the only run that takes nodes of a cluster out of service: the waves of "
    "two runs do not know of each other. Default: to be.",
)
keep_copies_option = click.option(
    "--keep-copies",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="RUNS",
    help="Of how many runs a host keeps the copies of private, secret and large files that a "
    "rollback needs.",
)
kubeconfig_option = click.option(
    "--kubeconfig", metavar="FILE", help="The cluster the hosts belong to."
)
context_option = click.option("--context", metavar="NAME", help="Context in the kubeconfig.")
limit_option = click.option("-l", "--limit", metavar="PATTERN", help="Only these hosts or groups.")
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["terminal", "json"]),
    default="terminal",
    help="json: one object on stdout, progress on stderr.",
)
become_option = click.option(
    "-K", "--ask-become-pass", is_flag=True, help="Ask for the sudo password (never an argument)."
)


def vault_options(command: F) -> F:
    """The options that say where vault passwords come from; the command takes them as `vault`."""

    @functools.wraps(command)
    def gathered(
        *args: Any, vault_ids: tuple[str, ...], vault_files: tuple[str, ...], ask: bool, **rest: Any
    ) -> Any:
        prompt = (f"default@{PROMPT}",) if ask else ()
        files = tuple(f"default@{file}" for file in vault_files)
        return command(*args, vault=(*vault_ids, *files, *prompt), **rest)

    for option in (
        click.option(
            "-J",
            "--ask-vault-pass",
            "--ask-vault-password",
            "ask",
            is_flag=True,
            help="Ask for the vault password.",
        ),
        click.option(
            "--vault-id",
            "vault_ids",
            multiple=True,
            metavar="LABEL@SOURCE",
            help="Vault password of a label: from a file, a program, or 'prompt' (repeatable).",
        ),
        click.option(
            "--vault-password-file",
            "vault_files",
            multiple=True,
            metavar="FILE",
            help="File that holds, or program that prints, the vault password.",
        ),
    ):
        gathered = option(gathered)
    return cast(F, gathered)


def run_options(command: F) -> F:
    """The options of plan and apply."""
    for option in reversed(
        (
            click.argument("playbook", shell_complete=complete.playbooks),
            inventory_option,
            limit_option,
            click.option(
                "-e",
                "--extra-vars",
                "extra",
                type=OneALine(),
                multiple=True,
                metavar="K=V|JSON|@FILE",
                help="Variables that win over all others (repeatable).",
            ),
            click.option(
                "-t",
                "--tags",
                multiple=True,
                metavar="TAG",
                help="Only tasks with one of these tags (a,b or repeated).",
            ),
            click.option(
                "--skip-tags",
                multiple=True,
                metavar="TAG",
                help="Not the tasks with one of these tags.",
            ),
            click.option(
                "--take-over",
                default="",
                metavar="RUN",
                help="Go on with the nodes that RUN left out of service, instead of resuming it.",
            ),
            user_option,
            kubeconfig_option,
            context_option,
            forks_option,
            connect_timeout_option,
            become_option,
            vault_options,
            output_option,
        )
    ):
        command = option(command)
    return command


def extra_variables(given: tuple[str, ...]) -> dict[str, Any]:
    """`-e` values: name=value (text), a JSON object, or @file with YAML or JSON."""
    from runner.inventory.connection import instead_of_extra
    from runner.playbook.templates import source

    found: dict[str, Any] = {}
    for text in given:
        values = _values(text)
        for name in values:
            if not name.isidentifier():
                hint = "Letters, digits and underscores, no digit first; one -e for each name."
                raise InputError([Problem(f"-e {text}: '{name}' is no variable name", hint=hint)])
            if hint := instead_of_extra(name):
                why = f"-e: {name} says how a host is reached, which only the inventory does"
                raise InputError([Problem(why, hint=hint)])
        found.update(values)
    made: dict[str, Any] = source(found)
    return dict(made)


def is_one_variable(text: str) -> bool:
    """Whether a `-e` is name=value, not a file and not JSON."""
    return not text.startswith("@") and not text.lstrip().startswith("{")


def _values(text: str) -> dict[str, Any]:
    from runner.playbook.source import parse_yaml, read_yaml

    if text.startswith("@"):
        return _mapping(read_yaml(Path(text[1:])), text)
    if text.lstrip().startswith("{"):
        return _mapping(parse_yaml(text, "-e"), text)
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError([Problem(f"-e {text}: neither name=value, JSON nor @file")])
    return {name.strip(): value}


def _mapping(document: Document, text: str) -> dict[str, Any]:
    if document.problems:
        raise InputError(document.problems)
    if not isinstance(document.value, Mapping):
        raise InputError([Problem(f"-e {text}: a mapping of names to values is needed")])
    return {str(key): item for key, item in document.value.items()}
