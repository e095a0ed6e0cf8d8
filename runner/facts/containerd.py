"""containerd on a host: version and the configuration that is in effect.

What is in effect is asked of `containerd config dump`: it reads the file, its imports and its
defaults as the daemon would at its next start. The daemon itself may still run on an older file.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from shlex import quote
from typing import Any

from runner.facts.base import Fact, plain
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

CONFIG_PATH = "/etc/containerd/config.toml"

CRI_PLUGINS = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri")
"""The CRI plugin's names, of configuration version 3 (and later), 2 and 1."""


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """A file that the configuration imports."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class ContainerdState:
    """containerd and its effective configuration.

    `version` is as printed ("1.7.27"), `release` its first two numbers. `error` is what containerd
    says about a configuration that it does not accept; all that follows is then empty.
    `default_runtime_name` is "" when nothing names one.
    """

    installed: bool
    config_path: str
    program: str = ""
    version: str = ""
    release: tuple[int, int] = (0, 0)
    error: str = ""
    config_version: int = 0
    default_runtime_name: str = ""
    runtimes: Mapping[str, Any] = field(default_factory=dict)
    disabled_plugins: tuple[str, ...] = ()
    imports: tuple[ImportedFile, ...] = ()


_LOOK = r"""export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
program=$(command -v containerd) || { echo absent; exit 0; }
encode() { base64 -w0; }
printf 'program %s\n' "$(printf %s "$program" | encode)"
printf 'version %s\n' "$("$program" --version 2>&1 | head -n 1)"
if [ -e "$p" ]; then set -- --config "$p" config dump; else set -- config default; fi
if ! dump=$("$program" "$@" 2> /dev/null); then
  printf 'error %s\n' "$("$program" "$@" 2>&1 | grep -v level=warning | tail -n 3 | encode)"
  exit 0
fi
printf 'dump %s\n' "$(printf '%s\n' "$dump" | encode)"
printf '%s\n' "$dump" | sed -n 's/^imports = \[\(.*\)\]$/\1/p' | tr ',' '\n' |
  sed "s/^ *[\"']//; s/[\"'] *\$//" | while IFS= read -r pattern; do
    case $pattern in '' | "$p") continue ;; /*) ;; *) pattern=$d/$pattern ;; esac
    IFS=
    for file in $pattern; do
      [ -f "$file" ] && [ "$file" != "$p" ] || continue
      printf 'import %s %s\n' "$(printf %s "$file" | encode)" "$(encode < "$file")"
    done
  done
"""


_OWN_PROGRAMS = {
    "/var/lib/rancher/k3s/": "/var/lib/rancher/k3s/data/current/bin",
    "/var/lib/rancher/rke2/": "/var/lib/rancher/rke2/bin",
    "/var/snap/microk8s/": "/snap/microk8s/current/bin",
}
"""Folder of a configuration -> where the distribution has its containerd."""


def key(path: str) -> str:
    """The probe key of a configuration file."""
    return f"containerd:{path}"


def probe(path: str = CONFIG_PATH, become: bool = True) -> Probe:
    """Look at containerd with the configuration at `path`."""
    names = f"p={quote(path)}; d={quote(posixpath.dirname(path))}\n"
    own = next((each for above, each in _OWN_PROGRAMS.items() if path.startswith(above)), "")
    names += f"PATH={own}:$PATH\n" if own else ""
    return Probe(key(path), names + _LOOK, partial(parse, path), become=become)


def parse(path: str, result: Result) -> ContainerdState:
    """What the probe printed. Raises `Unknown` for anything else."""
    if result.rc != 0 or result.truncated or result.timed_out:
        raise Unknown(f"containerd cannot be looked at: {result.error_text or 'cut short'}")
    lines = result.text.splitlines()
    if lines == ["absent"]:
        return ContainerdState(False, path)
    words = [line.partition(" ")[::2] for line in lines]
    notes = dict(words)
    if "program" not in notes or not ("dump" in notes or "error" in notes):
        raise Unknown(f"the look at containerd printed {result.text[:200]!r}")
    release = re.search(r"\sv?(\d+)\.(\d+)\.\S*", notes.get("version", ""))
    version = release.group().strip().removeprefix("v") if release else ""
    numbers = (int(release.group(1)), int(release.group(2))) if release else (0, 0)
    program = _decoded(notes["program"])
    if "error" in notes:
        error = _decoded(notes["error"]).strip() or "it says nothing"
        return ContainerdState(True, path, program, version, numbers, error)
    imports = tuple(_imports(rest for word, rest in words if word == "import"))
    return _effective(
        ContainerdState(True, path, program, version, numbers, imports=imports),
        _decoded(notes["dump"]),
    )


def _imports(lines: Iterator[str]) -> Iterator[ImportedFile]:
    for line in lines:
        name, _, content = line.partition(" ")
        yield ImportedFile(_decoded(name), _decoded(content))


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except binascii.Error as error:
        raise Unknown(f"what was read of containerd is damaged ({error})") from error


def _effective(state: ContainerdState, dump: str) -> ContainerdState:
    try:
        data = tomllib.loads(dump)
    except tomllib.TOMLDecodeError as error:
        raise Unknown(f"`containerd config dump` printed no TOML: {error}") from error
    table = cri_table(data).get("containerd", {})
    return ContainerdState(
        True,
        state.config_path,
        state.program,
        state.version,
        state.release,
        config_version=data.get("version", 1),
        default_runtime_name=table.get("default_runtime_name", ""),
        runtimes=table.get("runtimes", {}),
        disabled_plugins=tuple(data.get("disabled_plugins", ())),
        imports=state.imports,
    )


def cri_table(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The CRI plugin's table, by whichever of its names has runtimes; {} when there is none."""
    plugins = data.get("plugins", {})
    tables = [plugins[name] for name in CRI_PLUGINS if isinstance(plugins.get(name), Mapping)]
    return next((table for table in tables if "containerd" in table), tables[0] if tables else {})


def export(state: ContainerdState) -> dict[str, Any]:
    """For templates: `facts.containerd.runtimes.nvidia.options.BinaryName`."""
    data: dict[str, Any] = plain(state)
    del data["release"], data["program"]
    data["imports"] = [file.path for file in state.imports]
    return data


CONTAINERD = Fact(
    "containerd",
    "containerd: installed, version, and the runtimes that its configuration gives it",
    probe(),
    export,
    (
        ("installed", "boolean", "There is a containerd."),
        ("version", "text", "As it prints it, `1.7.27`."),
        ("config_path", "text", "The file that was looked at."),
        ("config_version", "number", "Version of its configuration: 1, 2 or 3."),
        ("error", "text", "What it says of a configuration it does not accept; else empty."),
        ("default_runtime_name", "text", "Empty: none is named."),
        ("runtimes", "mapping", "Name of each runtime to its settings, as in effect."),
        ("disabled_plugins", "list", "Names."),
        ("imports", "list", "Files that its configuration imports."),
    ),
)
