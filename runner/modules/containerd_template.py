"""Templates of which a Kubernetes distribution makes containerd's configuration at every start.

k3s and RKE2 (docs.k3s.io/advanced#configuring-containerd, docs.rke2.io/advanced): Go templates
`config.toml.tmpl` for containerd 1.7 and `config-v3.toml.tmpl` for 2.0, which may take over the
built-in one by `{{ template "base" . }}`. That one adds the nvidia runtimes whose programs are
there when the distribution starts. MicroK8s: `containerd-template.toml`, where `${NAME}` in texts
is filled in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from runner.modules.base import Refused
from runner.modules.containerd_config import Patch, Request
from runner.modules.files.toml_edit import edit, parse

_RANCHER = re.compile(r"(/var/lib/rancher/(k3s|rke2)/.*/)config(-v3)?\.toml(\.tmpl)?")
_MICROK8S = re.compile(r"(/var/snap/microk8s/[^/]+/args/)containerd(-template)?\.toml")

_FOUND_BY_ITSELF = ("nvidia", "nvidia-cdi", "nvidia-experimental")
"""Runtimes that k3s and RKE2 add where they find the program."""
_BASE = re.compile(r'\{\{-?\s*template\s+"base"')
_ACTION = re.compile(r"^[ \t]*\{\{.*\}\}[ \t]*\r?$", re.MULTILINE)
_MARK = "#gpurun-action#"
_START = '{{ template "base" . }}\n'


@dataclass(frozen=True, slots=True)
class Made:
    """A configuration that a distribution makes, or its template.

    Args:
        config: what is made of the template, and read by containerd.
        version: of the template's configuration; 0 where it says so itself.
    """

    distribution: str
    config: str
    template: str
    version: int = 0


def made(path: str) -> Made | None:
    """What a path is of; None for a configuration that nobody makes."""
    if match := _RANCHER.fullmatch(path):
        folder, name, third, _ = match.groups()
        version = 3 if third else 2
        template = f"{folder}config{third or ''}.toml.tmpl"
        return Made(name, f"{folder}config.toml", template, version)
    if match := _MICROK8S.fullmatch(path):
        folder = match.group(1)
        return Made("microk8s", f"{folder}containerd.toml", f"{folder}containerd-template.toml")
    return None


def check_written(found: Made, path: str) -> None:
    """Raises `Refused` for a configuration that is made anew at every start."""
    if path == found.template:
        return
    if found.version:
        raise Refused(f"{path} is not edited: {_itself(found)}")
    raise Refused(f"{path} is not edited: MicroK8s makes it of {found.template}: change that one")


def _itself(found: Made) -> str:
    return (
        f"{found.distribution} writes {found.config} at every start and adds the nvidia runtimes"
        " itself where it finds their programs: install the toolkit and restart"
        f" {found.distribution}; default-runtime: nvidia in"
        f" /etc/rancher/{found.distribution}/config.yaml makes it the default"
    )


def check_addition(found: Made, text: str, request: Request) -> None:
    """Raises `Refused` for what the distribution writes as well: twice, it is no TOML any more."""
    if not request.present or not found.version:
        return
    base = has_base(text or _START)
    if request.name in _FOUND_BY_ITSELF and (base or "ExtraRuntimes" in text):
        raise Refused(f"{found.template} gets no runtime {request.name}: {_itself(found)}")
    if base and (request.set_as_default or request.enable_cdi is not None):
        raise Refused(
            f"{found.template} takes over the built-in template, which has the table of"
            f" set_as_default and enable_cdi already; default-runtime: {request.name} in"
            f" /etc/rancher/{found.distribution}/config.yaml makes it the default"
        )


def has_base(text: str) -> bool:
    """Whether a template takes over the distribution's own one."""
    return _BASE.search(text) is not None


def says_nothing(text: str) -> bool:
    """Whether a template is no more than the distribution's own one."""
    return text.strip() == _START.strip()


def start(found: Made) -> str:
    """The text of a template that does not exist yet. `Refused` where one has to be there."""
    if found.version:
        return _START
    raise Refused(f"there is no {found.template}, which MicroK8s brings: is it installed?")


def parse_template(found: Made, text: str, name: str) -> dict[str, Any]:
    """What a template says of itself, its actions left out. Raises `Refused`."""
    data = parse(_masked(text), name)
    return {"version": found.version, **data} if found.version else data


def edit_template(text: str, patch: Patch, name: str) -> str:
    """As `edit` of TOML, with lines of actions as they are."""
    after = edit(_masked(text), wanted=patch.wanted, remove=patch.remove, name=name)
    return after.replace(_MARK, "")


def _masked(text: str) -> str:
    """Lines that hold nothing but actions as comments."""
    return _ACTION.sub(lambda match: _MARK + match.group(), text)
