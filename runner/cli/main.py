"""The command line. One file per verb; a verb's file is imported when the verb is used."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from difflib import get_close_matches

import click
from click.core import ParameterSource

from runner.cli.project import COLOURS, take_defaults, variable
from runner.errors import GpurunError, InputError

VERBS = {
    "plan": ("runner.cli.plan:plan", "Show what a playbook would change; change nothing."),
    "apply": ("runner.cli.apply:apply", "Plan, gate and carry out a playbook."),
    "resume": ("runner.cli.resume:resume", "Finish a run that was killed or stopped."),
    "rollback": ("runner.cli.rollback:rollback", "Put the files that a run changed back."),
    "history": ("runner.cli.history:history", "List earlier runs."),
    "show": ("runner.cli.history:show", "Show one run, step by step."),
    "nodes": ("runner.cli.nodes:nodes", "Show nodes: cordons, locks, GPUs used and offered."),
    "capacity": ("runner.cli.capacity:capacity", "Show GPUs offered, used and free."),
    "unlock": ("runner.cli.nodes:unlock", "End the lock that a dead run left on a node."),
    "facts": ("runner.cli.facts:facts", "Show what is true of hosts."),
    "inventory": ("runner.cli.inventory:inventory", "Show hosts, groups and variables."),
    "playbooks": ("runner.cli.playbooks:playbooks", "List the playbooks found by name."),
    "lint": ("runner.cli.lint:lint", "Check playbooks without touching a host."),
    "doc": ("runner.cli.doc:doc", "Show the documentation of a module or of facts."),
    "rbac": ("runner.cli.rbac:rbac", "Print the manifest of what gpurun must be allowed."),
    "schema": ("runner.cli.schema:schema", "Print the JSON Schema of playbooks."),
    "init": ("runner.cli.init:init", "Make a folder for a project of your own."),
    "config": ("runner.cli.config:config", "Show each setting and where it came from."),
    "completion": ("runner.cli.completion:completion", "Print what a shell needs to complete."),
    "lab": ("runner.cli.lab:lab", "Run simulated GPU nodes on this machine."),
}
"""Verb -> (where its command is, one line of help)."""
WITHOUT_PROJECT = ("lint", "doc", "rbac", "schema", "init", "completion", "lab")
"""Verbs that work, and behave the same, whatever `gpurun.toml` says."""


class _Verbs(click.Group):
    """Loads a verb's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        path, _, attribute = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(path), attribute)
        with_variables(command, "GPURUN_LAB" if cmd_name == "lab" else "GPURUN")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], VERBS, 1)
            if not near:
                raise
            message = f"No such command '{args[0]}'. Did you mean '{near[0]}'?"
            raise click.UsageError(message, ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


def with_variables(command: click.Command, prefix: str) -> None:
    """Give every option its environment variable: --lock-timeout is GPURUN_LOCK_TIMEOUT."""
    for option in command.params:
        if isinstance(option, click.Option) and not option.envvar:
            option.envvar = variable(next(flag for flag in option.opts if flag[:2] == "--"), prefix)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_variables(inner, prefix)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--colour",
    "--color",
    envvar="GPURUN_COLOUR",
    type=click.Choice(COLOURS),
    default="auto",
    help="auto: when a terminal reads it and $NO_COLOR is not set.",
)
@click.option(
    "--state",
    envvar="GPURUN_STATE",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Where the journal is.",
)
@click.version_option(package_name="gpurun")
@click.pass_context
def cli(context: click.Context, colour: str, state: str | None) -> None:
    """Remediation playbooks for the GPU nodes of Kubernetes clusters.

    Defaults of options may stand in gpurun.toml (gpurun init) and in environment variables:
    GPURUN_LOCK_TIMEOUT is --lock-timeout. gpurun config shows them.
    """
    verb = context.invoked_subcommand
    if verb and verb not in WITHOUT_PROJECT and not context.resilient_parsing:
        take_defaults(context, verb)


def main() -> None:
    """Entry point of `gpurun`: errors of the user end in a message and exit code 1."""
    # What a command makes lives to its end: looking for garbage less often saves a tenth of a lint.
    gc.set_threshold(100_000)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character of a diff must not end a run.
            stream.reconfigure(errors="backslashreplace")
    code = _run()
    _flush()
    sys.exit(code if isinstance(code, int) else 0)


def _run() -> object:
    """The verb's exit code, or that of the error it ended with."""
    try:
        return cli.main(prog_name="gpurun", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return _fail("stopped", 130)
    except click.ClickException as error:
        return _wrong_words(error)
    except InputError as error:
        return _mistakes(error)
    except GpurunError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("stopped; nothing was begun that is not finished", 130)
        # Threads that still wait for a host must not hold the terminal.
        sys.stderr.flush()
        os._exit(130)
    except BrokenPipeError:
        return 1
    except Exception as error:
        return _fail(_internal(error), 1)


def _wrong_words(error: click.ClickException) -> int:
    """What click found wrong on the command line, or in a variable that gives an option."""
    error.show()
    if isinstance(error, click.BadParameter) and error.ctx and error.param:
        source = error.ctx.get_parameter_source(str(error.param.name))
        if source is ParameterSource.ENVIRONMENT:
            click.echo(f"The value stands in ${error.param.envvar}.", err=True)
    return 1


def _internal(error: Exception) -> str:
    """A defect of this program in one line, with its place."""
    if os.environ.get("GPURUN_TRACEBACK"):
        import traceback

        return "".join(traceback.format_exception(error))
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    place = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else "?"
    return (
        f"internal error: {type(error).__name__}: {error} ({place})\n"
        "    This is a defect of gpurun; with GPURUN_TRACEBACK=1 it says more."
    )


def _flush() -> None:
    """Write what is left; a reader that is gone, or a full disk, changes no exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _mistakes(error: InputError) -> int:
    """Every mistake with its place first, as editors and terminals follow it, and its line."""
    from runner.reports.excerpts import as_text

    for problem in error.problems:
        if problem.origin:
            click.echo(as_text(problem), err=True)
        else:
            _fail(str(problem), 1)
    return 1


def _fail(message: str, code: int) -> int:
    from runner.hosts.display import printable
    from runner.secrets.redact import KNOWN

    click.echo(f"gpurun: {printable(KNOWN(message))}", err=True)
    return code


if __name__ == "__main__":
    main()
