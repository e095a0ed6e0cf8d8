"""gpurun init: a folder with what a project of one's own begins with."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

MODELINE = "# yaml-language-server: $schema=../schemas/playbook.json\n"
_IGNORED = "/state/\n"
_README = """# Playbooks for our GPU nodes

    gpurun config                       # the settings in gpurun.toml, and what overrides them
    gpurun playbooks                    # what can be applied by its name
    gpurun lint playbooks/ -i prod      # every mistake, without touching a host
    gpurun plan  mig-7x1g -i prod       # the change review
    gpurun apply mig-7x1g -i prod       # look, review, ask, do, verify

- `inventory/`: hosts and groups. Copy `prod.example.yaml` to `prod.yaml` and put your hosts in.
- `playbooks/`: copies of those that gpurun brings along. They are yours: change them, or remove one
  to use gpurun's own by the same name.
- `schemas/`: for editors with yaml-language-server. After an update of gpurun:
  `gpurun schema > schemas/playbook.json`. `.vscode/settings.json` names it.
- `gpurun.toml`: defaults of options.
"""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> int:
    """Make DIR a project: an inventory example, the shipped playbooks, gpurun.toml, settings for
    editors, and a README. Nothing that is there already is overwritten."""
    from runner.errors import GpurunError, InputError, Origin, Problem

    wanted = _files()
    there = [folder / name for name in wanted if (folder / name).exists()]
    if there:
        hint = "Nothing was written. Choose another folder, or move it away."
        raise InputError([Problem("is there already", Origin(str(path)), hint) for path in there])
    try:
        for name, text in wanted.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        where = error.filename or folder
        raise GpurunError(f"{where} cannot be written: {error.strerror}") from None
    click.echo(_next(folder))
    return 0


def _files() -> dict[str, str]:
    """Every file of a new project, by its path."""
    from runner.playbook.schema import schema
    from runner.shipped import shipped

    files = {
        "README.md": _README,
        ".gitignore": _IGNORED,
        "gpurun.toml": config_text(),
        ".vscode/settings.json": _json(
            {"yaml.schemas": {"./schemas/playbook.json": ["playbooks/*.yaml"]}}
        ),
        "schemas/playbook.json": _json(schema()),
    }
    for folder in ("inventory", "playbooks", "templates"):
        for path in sorted((shipped() / folder).rglob("*")):
            is_own = folder != "inventory" or path.name.endswith(".example.yaml")
            if path.is_file() and is_own:
                files[str(path.relative_to(shipped()))] = _copied(path, folder)
    return files


def _copied(path: Path, folder: str) -> str:
    text = path.read_text(encoding="utf-8")
    is_playbook = folder == "playbooks" and path.parent.name == folder and path.suffix == ".yaml"
    return MODELINE + text if is_playbook else text


def config_text() -> str:
    """A `gpurun.toml` that sets nothing: every setting in a comment, with what it means."""
    from runner.cli.settings import SETTINGS

    lines = [
        "# Defaults of this project. Paths are relative to this file. An environment variable",
        "# (GPURUN_INVENTORY ...) wins over a line here, an option of the command over both:",
        "# gpurun config shows what holds and why.",
    ]
    section = ""
    for setting in SETTINGS:
        head, dot, name = setting.key.rpartition(".")
        if dot and head != section:
            section = head
            lines += ["", f"[{section}]"]
        lines += ["", f"# {setting.meaning} {setting.flag}", f"#{name} = {setting.example}"]
    return "\n".join(lines) + "\n"


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def _next(folder: Path) -> str:
    return "\n".join(
        (
            f"{folder} is a gpurun project. Next:",
            f"  cd {shlex.quote(str(folder))}",
            "  cp inventory/prod.example.yaml inventory/prod.yaml   # and put your hosts in",
            "  gpurun inventory -i prod",
            "  gpurun lint playbooks/ -i prod",
            "  gpurun plan mig-7x1g -i prod",
        )
    )
