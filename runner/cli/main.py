"""The command line. One file per verb; a verb's file is imported when the verb is used."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from difflib import get_close_matches

import click

from runner.errors import GpurunError

VERBS = {
    "plan": ("runner.cli.plan:plan", "Show what a playbook would change; change nothing."),
    "apply": ("runner.cli.apply:apply", "Plan, gate and carry out a playbook."),
    "resume": ("runner.cli.resume:resume", "Finish a run that was killed or stopped."),
    "history": ("runner.cli.history:history", "List earlier runs."),
    "show": ("runner.cli.history:show", "Show one run, step by step."),
    "nodes": ("runner.cli.nodes:nodes", "Show nodes: cordons, locks, GPUs used and offered."),
    "unlock": ("runner.cli.nodes:unlock", "End the lock that a dead run left on a node."),
    "facts": ("runner.cli.facts:facts", "Show what is true of hosts."),
    "inventory": ("runner.cli.inventory:inventory", "Show hosts, groups and variables."),
    "lint": ("runner.cli.lint:lint", "Check playbooks without touching a host."),
    "doc": ("runner.cli.doc:doc", "Show the documentation of a module."),
    "schema": ("runner.cli.schema:schema", "Print the JSON Schema of playbooks."),
    "lab": ("runner.cli.lab:lab", "Run simulated GPU nodes on this machine."),
}
"""Verb -> (where its command is, one line of help)."""


class _Verbs(click.Group):
    """Loads a verb's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        path, _, attribute = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(path), attribute)
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


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpurun")
def cli() -> None:
    """Remediation playbooks for the GPU nodes of Kubernetes clusters."""


def main() -> None:
    """Entry point of `gpurun`: errors of the user end in a message and exit code 1."""
    # Imports leave no garbage: looking for it every 700 objects takes a tenth of the start.
    gc.set_threshold(200_000, 10, 10)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character of a diff must not end a run.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.Abort:
        code = _fail("stopped", 130)
    except click.ClickException as error:
        error.show()
        code = 1
    except GpurunError as error:
        code = _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("stopped; nothing was begun that is not finished", 130)
        # Threads that still wait for a host must not hold the terminal.
        sys.stderr.flush()
        os._exit(130)
    except BrokenPipeError:
        code = 1
    except Exception as error:
        code = _fail(_internal(error), 1)
    _flush()
    sys.exit(code if isinstance(code, int) else 0)


def _internal(error: Exception) -> str:
    """A defect of this program in one line, with its place."""
    if os.environ.get("GPURUN_TRACEBACK"):
        raise error
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


def _fail(message: str, code: int) -> int:
    from runner.hosts.display import printable

    click.echo(f"gpurun: {printable(message)}", err=True)
    return code


if __name__ == "__main__":
    main()
