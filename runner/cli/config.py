"""gpurun config: what every setting is, and where that was said."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from runner.cli.options import (
    connect_timeout_option,
    context_option,
    forks_option,
    keep_copies_option,
    kubeconfig_option,
    lock_timeout_option,
    output_option,
    user_option,
)
from runner.cli.project import CONFIG, project_folder
from runner.cli.settings import SETTINGS, Config, Setting


@click.command()
@click.option("-i", "--inventory", "inventories", multiple=True, metavar="NAME")
@lock_timeout_option
@keep_copies_option
@user_option
@forks_option
@connect_timeout_option
@kubeconfig_option
@context_option
@output_option
def config(output: str, **_: Any) -> int:
    """Show each setting of this project: its value, and where that came from.

    A flag wins over the environment, the environment over gpurun.toml, that over the default.
    """
    context = click.get_current_context()
    rows = [_row(setting, context) for setting in SETTINGS]
    if output == "json":
        import json

        shown = [{key: row[key] for key in row if key != "shown"} for row in rows]
        click.echo(json.dumps(shown, indent=2))
        return 0
    widths = [max(len(row[key]) for row in rows) + 2 for key in ("setting", "shown")]
    for row in rows:
        click.echo(f"{row['setting']:<{widths[0]}}{row['shown']:<{widths[1]}}{row['source']}")
    if context.find_root().obj is None:
        click.echo(f"There is no {CONFIG} in {project_folder()} or above; gpurun init writes one.")
    return 0


def _row(setting: Setting, context: click.Context) -> dict[str, Any]:
    """One setting as data, JSON's types only."""
    owner = context if setting.option in context.params else context.find_root()
    value = owner.params[setting.option]
    value = list(value) if isinstance(value, tuple) else value
    listed = value if isinstance(value, list) else [value]
    shown = "-" if value in (None, []) else " ".join(map(str, listed))
    source = owner.get_parameter_source(setting.option)
    return {
        "setting": setting.key,
        "value": value,
        "shown": shown,
        "source": _source(setting, source, context.find_root().obj),
        "variable": setting.variable,
        "flag": setting.flag,
    }


def _source(setting: Setting, source: ParameterSource | None, config: Config | None) -> str:
    if source is ParameterSource.COMMANDLINE:
        return setting.flag
    if source is ParameterSource.ENVIRONMENT:
        return f"${setting.variable}"
    if source is ParameterSource.DEFAULT_MAP and config:
        return str(config.places.get(setting.key, config.path))
    return "default"
