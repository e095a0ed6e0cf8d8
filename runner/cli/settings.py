"""`gpurun.toml`: defaults of options for one project, checked before anything uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from runner.cli.options import FORKS, Seconds
from runner.cli.project import COLOURS, variable
from runner.errors import InputError, Origin, Problem
from runner.playbook.keywords import nearest

Kind = Literal["texts", "text", "path", "whole number", "number"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of `gpurun.toml`.

    Args:
        key: its name in the file; `ssh.forks` is `forks` in the section `[ssh]`.
        option: the option it is the default of, as click names its parameter.
        flag: that option on the command line.
        kind: what the file must hold. Paths are relative to the file.
        example: a value, as TOML, for the file that `gpurun init` writes.
        type: further rules, as the option has them.
    """

    key: str
    option: str
    flag: str
    kind: Kind
    meaning: str
    example: str
    type: click.ParamType[Any] | None = None

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return variable(self.flag)


SETTINGS = (
    Setting(
        "inventory",
        "inventories",
        "--inventory",
        "texts",
        "Inventories to use when no -i is given: names in inventory/, or paths.",
        '["prod"]',
    ),
    Setting("state", "state", "--state", "path", "Folder of the journal.", '"state"'),
    Setting(
        "colour",
        "colour",
        "--colour",
        "text",
        "auto, always or never.",
        '"auto"',
        click.Choice(COLOURS),
    ),
    Setting(
        "lock_timeout",
        "lock_timeout",
        "--lock-timeout",
        "number",
        "Seconds to wait for a node that another run works on.",
        "600",
        type=Seconds(0),
    ),
    Setting(
        "keep_copies",
        "keep_copies",
        "--keep-copies",
        "whole number",
        "Of how many runs a host keeps copies for a rollback.",
        "20",
        click.IntRange(1),
    ),
    Setting(
        "ssh.user",
        "user",
        "--user",
        "text",
        "Login user where the inventory names none.",
        '"ops"',
    ),
    Setting(
        "ssh.forks", "forks", "--forks", "whole number", "Hosts worked on at once.", "32", FORKS
    ),
    Setting(
        "ssh.connect_timeout",
        "connect_timeout",
        "--connect-timeout",
        "number",
        "Seconds until a host that does not answer counts as unreachable.",
        "10",
        type=Seconds(1),
    ),
    Setting(
        "cluster.kubeconfig",
        "kubeconfig",
        "--kubeconfig",
        "path",
        "The cluster the hosts belong to; over the inventory's kubeconfig.",
        '"~/.kube/config"',
    ),
    Setting(
        "cluster.context",
        "context",
        "--context",
        "text",
        "Context in the kubeconfig.",
        '"prod"',
    ),
)
_BY_KEY = {setting.key: setting for setting in SETTINGS}
_SECTIONS = {key.partition(".")[0] for key in _BY_KEY if "." in key}


@dataclass(frozen=True, slots=True)
class Config:
    """What a `gpurun.toml` sets: values by option, and where each key stands."""

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Origin] = field(default_factory=dict)


def load_config(path: Path) -> Config:
    """The settings of a file.

    Raises:
        InputError: with every mistake in it.
    """
    import tomlkit
    from tomlkit.exceptions import ParseError, TOMLKitError

    from runner.playbook.source import read_text

    text, problem = read_text(path)
    if problem or (problem := _open_to_others(path)):
        raise InputError([problem])
    try:
        document = tomlkit.parse(text).unwrap()
    except ParseError as error:
        said = re.sub(r" at line \d+ col \d+$", "", str(error))
        said = "it ends in the middle of a value" if r"\x00" in said else said
        where = Origin(str(path), error.line, error.col + 1)
        raise InputError([Problem(f"is not TOML: {said}", where)]) from error
    except TOMLKitError as error:
        raise InputError([Problem(f"is not TOML: {error}", Origin(str(path)))]) from error
    places = _places(text, path)
    problems: list[Problem] = []
    values = {
        _BY_KEY[key].option: made
        for key, value in _keys(document, places, problems)
        if (made := _checked(_BY_KEY[key], value, path, places, problems)) is not None
    }
    if problems:
        raise InputError(sorted(problems, key=lambda item: item.origin or Origin("")))
    return Config(path, values, places)


def _open_to_others(path: Path) -> Problem | None:
    """The file names programs and clusters: nobody but its owner's group may be able to set it."""
    for place in (path, path.parent):
        if place.stat().st_mode & 0o002:
            return Problem(
                f"{'the file' if place == path else 'its folder'} may be written by everybody",
                Origin(str(path)),
                f"chmod o-w {place}",
            )
    return None


def _places(text: str, path: Path) -> dict[str, Origin]:
    """Where each key of the file stands, sections included."""
    found: dict[str, Origin] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[+\s*([\w.\"-]+)\s*\]", line):
            section = f"{match[1]}."
            found.setdefault(match[1], Origin(str(path), number, match.start(1) + 1))
        elif match := re.match(r"\s*([\w.\"-]+)\s*=", line):
            name = match[1].replace('"', "")
            found.setdefault(section + name, Origin(str(path), number, match.start(1) + 1))
    return found


def _keys(
    document: Mapping[str, Any], places: Mapping[str, Origin], problems: list[Problem]
) -> Iterator[tuple[str, Any]]:
    """Every known key with its value; the others are noted."""
    for name, value in document.items():
        if name in _SECTIONS and isinstance(value, Mapping):
            yield from _section(name, value, places, problems)
        elif name in _SECTIONS:
            message = f"{name} is a section"
            problems.append(Problem(message, places.get(name), f"Write [{name}] on its own line."))
        elif name in _BY_KEY:
            yield name, value
        else:
            problems.append(_unknown(name, places.get(name), value))


def _section(
    name: str, values: Mapping[str, Any], places: Mapping[str, Origin], problems: list[Problem]
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if f"{name}.{key}" in _BY_KEY:
            yield f"{name}.{key}", value
        else:
            where = places.get(f"{name}.{key}") or places.get(name)
            problems.append(_unknown(f"{name}.{key}", where, value))


def _unknown(name: str, where: Origin | None, value: Any) -> Problem:
    kind = "section" if isinstance(value, Mapping) else "setting"
    known = [*_BY_KEY, *_SECTIONS]
    plain = [key for key in _BY_KEY if key.rpartition(".")[2] == name.rpartition(".")[2]]
    hint = f"It is called {plain[0]}." if plain else nearest(name, known)
    return Problem(f"there is no {kind} {name}", where, hint)


def _checked(
    setting: Setting,
    value: Any,
    path: Path,
    places: Mapping[str, Origin],
    problems: list[Problem],
) -> Any:
    """The value as the option takes it; None, and a problem, where it is wrong."""
    where = places.get(setting.key) or places.get(setting.key.partition(".")[0])
    wanted = _taken(setting.kind, value, path.parent)
    if wanted is None:
        expected = "text or a list of texts" if setting.kind == "texts" else f"a {setting.kind}"
        message = f"{setting.key}: expected {expected}, found {value!r}"
        hint = f"Write: {setting.key.rpartition('.')[2]} = {setting.example}"
        problems.append(Problem(message, where, hint))
        return None
    if setting.type is None:
        return wanted
    try:
        return setting.type.convert(wanted, None, None)
    except click.BadParameter as error:
        problems.append(Problem(f"{setting.key}: {error.message.rstrip('.')}", where))
        return None


def _taken(kind: Kind, value: Any, folder: Path) -> Any:
    """The value where it is of this kind, else None."""
    if kind == "texts":
        items = [value] if isinstance(value, str) else value
        good = isinstance(items, list) and items and all(isinstance(i, str) and i for i in items)
        return [_from(folder, item) for item in items] if good else None
    if kind in ("text", "path"):
        if not isinstance(value, str) or not value or not value.isprintable():
            return None
        return str(folder / Path(value).expanduser()) if kind == "path" else value
    numbers = (int,) if kind == "whole number" else (int, float)
    return value if isinstance(value, numbers) and not isinstance(value, bool) else None


def _from(folder: Path, source: str) -> str:
    """An inventory given by its path, as seen from the file's folder; a name stays one."""
    is_path = "/" in source and "," not in source
    return str(folder / Path(source).expanduser()) if is_path else source
