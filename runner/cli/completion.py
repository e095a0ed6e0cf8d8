"""gpurun completion: what a shell needs to complete verbs, options and names."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> int:
    """Print the completion of SHELL.

    \b
    bash: add to ~/.bashrc   eval "$(gpurun completion bash)"
    zsh:  add to ~/.zshrc    eval "$(gpurun completion zsh)"
    fish: gpurun completion fish > ~/.config/fish/completions/gpurun.fish
    """
    from click.shell_completion import get_completion_class

    from runner.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click has no completion for {shell}")
    click.echo(found(cli, {}, "gpurun", "_GPURUN_COMPLETE").source())
    return 0
