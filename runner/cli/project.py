"""The project a command works in: the folder of `gpurun.toml`, found upward from here."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource

CONFIG = "gpurun.toml"
COLOURS = ("auto", "always", "never")


def variable(flag: str, prefix: str = "GPURUN") -> str:
    """The environment variable of an option: `--lock-timeout` is GPURUN_LOCK_TIMEOUT."""
    return f"{prefix}_{flag.lstrip('-').replace('-', '_').upper()}"


def config_file() -> Path | None:
    """The nearest `gpurun.toml`: in this folder or in one above it."""
    here = Path.cwd()
    return next((f / CONFIG for f in (here, *here.parents) if (f / CONFIG).is_file()), None)


def project_folder() -> Path:
    """The folder that holds inventory/ and playbooks/: that of `gpurun.toml`, else this one."""
    found = config_file()
    return found.parent if found else Path.cwd()


def take_defaults(context: click.Context, verb: str) -> None:
    """Let `gpurun.toml`, where there is one, give the defaults of the verb's options.

    Raises:
        InputError: the file is wrong.
    """
    path = config_file()
    if path is None:
        return
    from runner.cli.settings import load_config

    context.obj = config = load_config(path)
    context.default_map = {verb: dict(config.values)}
    for name in ("colour", "state"):
        if context.get_parameter_source(name) is ParameterSource.DEFAULT and name in config.values:
            context.params[name] = config.values[name]
            context.set_parameter_source(name, ParameterSource.DEFAULT_MAP)


def colour() -> str:
    """auto, always or never: `--colour` of this command line, with its defaults."""
    context = click.get_current_context(silent=True)
    return str(context.find_root().params.get("colour") or "auto") if context else "auto"


def journal_path() -> Path:
    """The journal's file: `--state`, else $GPURUN_JOURNAL, else the project's state folder, else
    the user's own."""
    from runner.journal.store import default_path

    context = click.get_current_context(silent=True)
    root = context.find_root() if context else None
    state = root.params.get("state") if root else None
    if root is None or state is None:
        return default_path()
    given = root.get_parameter_source("state") is ParameterSource.COMMANDLINE
    if os.environ.get("GPURUN_JOURNAL") and not given:
        return default_path()
    return Path(state) / "journal.sqlite"
