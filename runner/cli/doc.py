"""gpurun doc: documentation of modules and facts."""

from __future__ import annotations

import click

from runner.cli import complete


@click.command()
@click.argument("module", required=False, shell_complete=complete.topics)
def doc(module: str | None) -> int:
    """Show the documentation of MODULE or of all facts (gpurun doc facts); or list all modules."""
    from difflib import get_close_matches

    from runner.errors import InputError, Problem
    from runner.modules.registry import MODULES, load_module, short_name
    from runner.reports.pages import facts_page, first_line, module_page

    if module is None:
        for name in MODULES:
            click.echo(f"{name:<20} {first_line(load_module(name))}")
        click.echo(f"{'facts':<20} What is true of a host, for templates and conditions.")
        return 0
    if module == "facts":
        click.echo(facts_page())
        return 0
    module = short_name(module)
    if module not in MODULES:
        near = get_close_matches(module, ["facts", *MODULES], 1)
        hint = f"did you mean '{near[0]}'?" if near else "gpurun doc lists them"
        raise InputError([Problem(f"there is no module '{module}'", hint=hint)])
    click.echo(module_page(module))
    return 0
