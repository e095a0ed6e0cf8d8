"""How a host is reached: Ansible's connection variables as settings of ours."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from runner.errors import Origin, Problem
from runner.playbook.document import TemplateText
from runner.playbook.source import TEMPLATE_MARK
from runner.playbook.templates import TemplateProblem, render
from runner.playbook.unread import needed
from runner.secrets.redact import KNOWN
from runner.secrets.value import SecretError, Unread

_ALIASES = {
    "address": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "key_file": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "become_password": ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
}
_SSH_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args")
_OPTIONS = {
    "user": "-u NAME",
    "become_password": "-K",
    "kubeconfig": "--kubeconfig FILE",
    "kubernetes_context": "--context NAME",
}
_TAKES_VALUE = "BbcDEeFIiJLlmOopQRSWw"


def instead_of_extra(name: str) -> str:
    """What to do instead of `-e NAME=...`, for a variable that only the inventory gives a host;
    "": it may be given so."""
    settings = {alias: setting for setting, names in _ALIASES.items() for alias in names}
    own = ("kubeconfig", "kubernetes_context", "kubernetes_node", "kubernetes_labels")
    settings |= {each: each for each in (*_SSH_ARGUMENTS, *own)}
    if name not in settings:
        return ""
    option = _OPTIONS.get(settings[name])
    return f"Set {name} in the inventory" + (f", or give {option}." if option else ".")


@dataclass(frozen=True, slots=True)
class Reach:
    """Settings of one host; None: as ~/.ssh/config or the default says."""

    address: str
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    proxy_jump: str | None = None
    known_hosts: str | None = None
    become_password: str | Unread | None = None


class _Reader:
    def __init__(
        self,
        host: str,
        variables: Mapping[str, Any],
        magic: Mapping[str, Any],
        origins: Mapping[str, Origin],
        at: Origin,
    ) -> None:
        self.host = host
        self.variables = variables
        self.magic = magic
        self.origins = origins
        self.at = at
        self.problems: list[Problem] = []

    def note(self, name: str, message: str, hint: str = "") -> None:
        origin = self.origins.get(name, self.at)
        self.problems.append(Problem(f"host {self.host}: {message}", origin, hint))

    def value(self, setting: str) -> tuple[str, Any]:
        """The variable that gives a setting and its rendered value."""
        for name in _ALIASES[setting]:
            if name in self.variables:
                return name, self.rendered(name)
        return _ALIASES[setting][0], None

    def rendered(self, name: str) -> Any:
        value = self.variables[name]
        if isinstance(value, str) and not isinstance(value, TemplateText):
            if TEMPLATE_MARK.search(value):
                self.note(
                    name,
                    f"{name} has a template, and what a program or a cluster says is not "
                    f"evaluated: {value}",
                    "Set it in a file: host_vars, or vars of a group.",
                )
                return None
            return value
        known = {**self.variables, **self.magic}
        try:
            return render(value, known, self.origins.get(name, self.at))
        except TemplateProblem as error:
            self.problems.append(error.problem)
            return None

    def text(self, setting: str) -> str | None:
        name, value = self.value(setting)
        if value is None:
            return None
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
        empty = isinstance(value, str)
        self.note(
            name, f"{name} is {'empty' if empty else 'not text'}", "Write a value or remove it."
        )
        return None

    def password(self) -> str | Unread | None:
        """The sudo password; one that comes from a secret is read when it is used."""
        name = next((n for n in _ALIASES["become_password"] if n in self.variables), "")
        if not name or not needed([name], self.variables):
            text = self.text("become_password")
            KNOWN.add(text, "sudo password", everyday=True)
            return text
        origin = self.origins.get(name, self.at)
        known = {"inventory_hostname": self.host, **self.variables}
        return Unread(name, origin, partial(_password, name, known, origin))

    def port(self) -> int | None:
        name, value = self.value("port")
        if value is None:
            return None
        if str(value).isdigit() and 0 < int(value) < 65536:
            return int(value)
        self.note(name, f"{name} must be a number from 1 to 65535, found {value!r}")
        return None


def _password(name: str, variables: Mapping[str, Any], origin: Origin) -> str:
    try:
        return str(render(variables[name], variables, origin)).strip()
    except TemplateProblem as error:
        raise SecretError(error.problem) from None


def reach(
    host: str,
    variables: Mapping[str, Any],
    magic: Mapping[str, Any],
    origins: Mapping[str, Origin],
    at: Origin,
) -> tuple[Reach, list[Problem]]:
    """The connection settings of a host's variables, and what is wrong with them.

    Args:
        magic: what every host has besides (inventory_hostname, inventory_dir ...).
        origins: where each variable was set.
        at: where the host was named.
    """
    reader = _Reader(host, variables, magic, origins, at)
    options: dict[str, str] = {}
    for name in _SSH_ARGUMENTS:
        if name in variables:
            for key, value in _ssh_options(reader, name).items():
                options.setdefault(key, value)
    result = Reach(
        address=reader.text("address") or host,
        port=reader.port(),
        user=reader.text("user"),
        key_file=_home(reader.text("key_file") or options.get("identityfile")),
        proxy_jump=options.get("proxyjump"),
        known_hosts=_home(options.get("userknownhostsfile")),
        become_password=reader.password(),
    )
    return result, reader.problems


def _home(path: str | None) -> str | None:
    """The path with ~ expanded."""
    return os.path.expanduser(path) if path else None  # noqa: PTH111 - keeps the text otherwise


def _ssh_options(reader: _Reader, name: str) -> dict[str, str]:
    """OpenSSH's options that gpurun honours, by their names in small letters."""
    text = reader.rendered(name)
    if text is None:
        return {}
    try:
        words = shlex.split(str(text))
    except ValueError as error:
        reader.note(name, f"{name} cannot be split into words: {error}")
        return {}
    found: dict[str, str] = {}
    for flag, value in _flags(words):
        if flag == "J":
            found.setdefault("proxyjump", value)
        elif flag == "i":
            found.setdefault("identityfile", value)
        elif flag == "o":
            key, *rest = re.split(r"\s*=\s*|\s+", value.strip(), maxsplit=1)
            found.setdefault(key.lower(), rest[0] if rest else "")
    command = found.pop("proxycommand", "")
    if command and command.lower() != "none":
        jump = _jump_of(command)
        if jump:
            found.setdefault("proxyjump", jump)
        else:
            reader.note(
                name,
                f"ProxyCommand is not offered: {command}",
                "Use -o ProxyJump=user@bastion, or put the command into ~/.ssh/config.",
            )
    return found


def _flags(words: list[str]) -> list[tuple[str, str]]:
    """OpenSSH's one-letter flags with their values, written together or apart."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if len(word) < 2 or word[0] != "-":
            continue
        flag, value = word[1], word[2:]
        if flag in _TAKES_VALUE and not value and position < len(words):
            value = words[position]
            position += 1
        found.append((flag, value))
    return found


def _jump_of(command: str) -> str:
    """The jump host of `ssh -W %h:%p [-q] [-p PORT] [USER@]HOST`, the usual ProxyCommand."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if not words or words[0].rpartition("/")[2] != "ssh":
        return ""
    flags = _flags(words[1:])
    values = {value for flag, value in flags if flag in _TAKES_VALUE}
    if ("W", "%h:%p") not in flags or any(flag not in "WqpTlA" for flag, _ in flags):
        return ""
    targets = [word for word in words[1:] if not word.startswith("-") and word not in values]
    if len(targets) != 1:
        return ""
    settings = dict(flags)
    user = f"{settings['l']}@" if "l" in settings and "@" not in targets[0] else ""
    port = f":{settings['p']}" if "p" in settings else ""
    return f"{user}{targets[0]}{port}"
