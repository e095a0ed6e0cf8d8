"""Putting a run together: what plan, apply and resume have in common."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import RunOptions, extra_variables, is_one_variable
from runner.cli.rootless import cross_over
from runner.engine.stop import Stop
from runner.errors import GpurunError

if TYPE_CHECKING:
    from runner.engine.events import Events
    from runner.engine.kept import Keeper
    from runner.engine.rollback import NotUndone, Rollback
    from runner.engine.rolling_out import Review
    from runner.engine.run import Run
    from runner.engine.states import HostState
    from runner.inventory.model import Inventory
    from runner.playbook.document import Playbook
    from runner.reports.terminal import Terminal


def become_password(ask: bool) -> str | None:
    """From the prompt, else from $GPURUN_BECOME_PASSWORD."""
    if ask:
        return _asked("sudo password", "give it in the environment variable GPURUN_BECOME_PASSWORD")
    return os.environ.get("GPURUN_BECOME_PASSWORD")


def use_vault(sources: Sequence[str]) -> None:
    """Let what is encrypted be read with the vault passwords of these sources (label@place)."""
    from runner.secrets import passwords

    def ask(label: str) -> str:
        named = "" if label == "default" else f" ({label})"
        return _asked(f"vault password{named}", "give --vault-password-file FILE instead")

    passwords.use(passwords.VaultPasswords(sources, ask))


def _asked(what: str, otherwise: str) -> str:
    from getpass import GetPassWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            value: str = click.prompt(what, hide_input=True, err=True)
    except GetPassWarning:
        message = f"there is no terminal to ask for the {what}"
        raise GpurunError(message, otherwise) from None
    return value


def terminal(output: str) -> Terminal:
    """Where people read: stdout, or stderr when stdout is for JSON."""
    from rich.console import Console

    from runner.cli.project import colour
    from runner.reports.terminal import Terminal

    forced = {"always": True, "never": False}.get(colour())
    console = Console(
        stderr=output == "json",
        highlight=False,
        force_terminal=True if forced else None,
        no_color=True if forced is False else None,
    )
    return Terminal(console)


@contextmanager
def stopping(run: str = "RUN") -> Iterator[Stop]:
    """A request to stop, set by Ctrl-C, SIGTERM or a lost terminal.

    While nothing has been changed yet, the signal ends the run at once (KeyboardInterrupt). Later
    the first one lets every host finish its current step, and the second one ends at once.
    """
    stop = Stop()

    def asked(number: int, frame: FrameType | None) -> None:
        if not stop.gentle:
            raise KeyboardInterrupt
        if stop.is_set():
            text = f"\ngpurun: ended at once; nodes may be out of service: gpurun resume {run}\n"
            _say_at_once(text.encode())
            os._exit(130)
        stop.set()
        _say_at_once(b"\ngpurun: stopping after the current step of every host (again: at once)\n")

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, asked) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_at_once(text: bytes) -> None:
    """From a signal handler; the terminal may be gone, which is often why the signal came."""
    with suppress(OSError):
        os.write(2, text)


def build(
    options: RunOptions,
    run: str,
    events: Events,
    review: Review,
    stop: Stop,
    password: str | None,
    resumed: bool = False,
    keeper: Keeper | None = None,
) -> Run:
    """Load everything a run needs, secrets included; raises before any host is touched.

    Raises:
        InputError: playbook, inventory or variables are wrong, or a secret cannot be read.
    """
    from runner.engine.run import Run
    from runner.engine.secrets import check_arguments
    from runner.engine.settings import Settings
    from runner.inventory.load import load_inventory
    from runner.playbook.load import load_playbook
    from runner.playbook.tags import select_tags
    from runner.secrets.redact import KNOWN

    if options.kubeconfig is not None and not Path(options.kubeconfig).expanduser().is_file():
        raise GpurunError(f"--kubeconfig {options.kubeconfig}: no such file")
    KNOWN.add(password, "sudo password", everyday=True)
    use_vault(options.vault)
    extra = extra_variables(options.extra)
    whole = load_playbook(Path(options.playbook), extra)
    playbook = select_tags(whole, options.tags, options.skip_tags)
    beside = Path(options.playbook).parent
    inventory = load_inventory(options.inventories, Path(options.project), beside)
    inventory = inventory.with_login(options.user)
    not_undone: tuple[NotUndone, ...] = ()
    heirs: frozenset[str] = frozenset()
    if options.rollback:
        made = _rolled_back(options, playbook, inventory)
        playbook, inventory, not_undone = made.playbook, made.inventory, made.not_undone
        heirs = made.heirs
    elif options.take_over:
        _check_proof(playbook)
        heirs = frozenset(inventory.hosts)
    cross_over(inventory.hosts.values())
    settings = Settings(
        run=run,
        limit=options.limit,
        extra=extra,
        kubeconfig=Path(options.kubeconfig).expanduser() if options.kubeconfig else None,
        context=options.context,
        forks=options.forks,
        connect_timeout=options.connect_timeout,
        lock_timeout=options.lock_timeout,
        rollout_lock=options.rollout_lock,
        become_password=password,
        resumed=resumed,
        predecessor=options.rollback or options.take_over,
        heirs=heirs,
    )
    work = Run(playbook, inventory, settings, events, review, stop, keeper, not_undone)
    work.read_secrets()
    check_arguments(options.extra)
    if not (resumed or options.rollback):
        _check_used(options.extra, extra, whole, inventory)
    return work


def _check_used(
    given: Sequence[str], extra: Mapping[str, Any], playbook: Playbook, inventory: Inventory
) -> None:
    """Refuse variables of `-e NAME=VALUE` that nothing uses; of files and JSON, which are often
    made for several playbooks, they are only told.

    Raises:
        InputError: with every such variable.
    """
    from runner.engine.unused import unused, unused_problem
    from runner.errors import InputError

    hosts = inventory.hosts.values()
    found = unused(playbook, hosts, extra) if extra else []
    typed = {text.partition("=")[0].strip() for text in given if is_one_variable(text)}
    problems = [unused_problem(name, playbook, hosts) for name in found if name in typed]
    if problems:
        raise InputError(problems)
    if found:
        click.echo(f"gpurun: nothing uses these variables of -e: {', '.join(found)}", err=True)


def taking_over(options: RunOptions) -> RunOptions:
    """The options with the whole id of the run whose nodes are to be taken over.

    Raises:
        GpurunError: there is no such run, or it is still being worked on.
    """
    from runner.cli.project import journal_path
    from runner.cli.resume import check_not_running
    from runner.journal.store import Journal

    if not options.take_over:
        return options
    journal = Journal(journal_path())
    try:
        record = journal.run(options.take_over)
    finally:
        journal.close()
    check_not_running(record)
    return replace(options, take_over=record.id)


def _check_proof(playbook: Playbook) -> None:
    """A node that a run left half done is given back only by a play that proves it."""
    for play in playbook.plays:
        if not play.verify:
            raise GpurunError(
                f"--take-over: the play '{play.name}' has no `verify`, which would prove that a "
                "node may be given back",
                "gpurun resume RUN finishes the nodes of RUN",
            )


def _rolled_back(options: RunOptions, playbook: Playbook, inventory: Inventory) -> Rollback:
    """What brings a run back, and what of it stays as it is."""
    from runner.cli.project import journal_path
    from runner.engine.rollback import roll_back
    from runner.journal.store import Journal

    run, journal = options.rollback, Journal(journal_path())
    try:
        kept, events = journal.kept(run), journal.events(run)
    finally:
        journal.close()
    return roll_back(run, kept, events, playbook, inventory, force=options.force)


def say_not_undone(say: Terminal, work: Run) -> None:
    """What a rollback leaves as it is."""
    from runner.hosts.display import names

    for each in work.not_undone:
        say.line(f"not undone: {names(each.hosts)}: {each.what}", "yellow")


def warn_of_short_secrets(say: Terminal) -> None:
    """Name the secrets that are so short that replacing them would hide half of every text."""
    from runner.secrets.redact import KNOWN

    for name in sorted(KNOWN.short):
        say.line(f"The secret {name} is too short to be taken out of what is shown.", "yellow")


def finish(
    output: str,
    say: Terminal,
    run: str,
    states: Sequence[HostState],
    applied: bool,
    not_undone: Sequence[NotUndone] = (),
) -> int:
    """Print the end and give the exit code.

    Args:
        not_undone: what a rollback leaves as it is.
    """
    from runner.reports.data import exit_code, report, summary
    from runner.secrets.redact import KNOWN

    code = exit_code(summary(states, applied), applied)
    say.end(run, states, applied)
    if output == "json":
        import json
        from dataclasses import asdict

        try:
            more = {"not_undone": [asdict(each) for each in not_undone]} if not_undone else {}
            made = KNOWN.data({**report(run, states, applied), **more})
            click.echo(json.dumps(made, indent=2, default=str))
        except OSError as error:
            say.line(f"gpurun: stdout cannot be written to: {error.strerror}", "bold red")
            return code or 1
    return code
