"""The templates of which k3s, RKE2 and MicroK8s make containerd's configuration."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest

from runner.facts import containerd
from runner.facts.container_runtime import KEY, Daemon, Daemons
from runner.facts.containerd import ContainerdState
from runner.modules.base import Change, Context, Refused
from runner.modules.containerd_template import made
from runner.modules.files.state import FileState, ancestors, with_content
from runner.modules.registry import load_module

INPUT = Path(__file__).parent / "input"
K3S = "/var/lib/rancher/k3s/agent/etc/containerd"
MICROK8S = "/var/snap/microk8s/current/args"
RUNC = {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}}
BASE = '{{ template "base" . }}\n'


def planned(path: str, text: str | None, **arguments: Any) -> tuple[Change, ...]:
    module = load_module("containerd_runtime")
    args = module.arguments(**{"path": path, **arguments})
    found = made(path)
    assert found is not None
    running = Daemon(found.config, "/run/x.sock")
    observed: dict[str, Any] = {
        f"file:{each}": FileState(each, "directory", 0o755, "root", "root", 0, 0)
        for each in ancestors(path)
    }
    state = FileState(path, "absent", owner="root", group="root", uid=0, gid=0)
    observed[f"file:{path}"] = state if text is None else with_content(state, text.encode())
    observed[containerd.key(found.config)] = ContainerdState(
        True, found.config, "containerd", "1.7.27", (1, 7), runtimes={"runc": RUNC}
    )
    observed[KEY] = Daemons((running,), running.address)
    own = f"file:{arguments.get('drop_in')}"
    keys = {probe.key for probe in module.probes(args, Context("n"))} - {own}
    assert keys <= observed.keys()
    return module.plan(args, observed, Context(host="n")).changes


def after(path: str, text: str | None, **arguments: Any) -> str | None:
    """The template's text afterwards; planned again, nothing is left to do."""
    (change,) = planned(path, text, **arguments)
    assert change.diff is not None
    assert not planned(path, change.diff.after, **arguments)
    return change.diff.after


OWN = {"name": "gpu-dev", "binary": "/opt/dev/nvidia-container-runtime"}


@pytest.mark.parametrize(
    ("name", "plugin"),
    [
        ("config.toml.tmpl", 'plugins."io.containerd.grpc.v1.cri"'),
        ("config-v3.toml.tmpl", 'plugins."io.containerd.cri.v1.runtime"'),
    ],
)
def test_a_runtime_beside_those_of_k3s(name: str, plugin: str) -> None:
    text = after(f"{K3S}/{name}", None, **OWN)
    assert text is not None and text.startswith(BASE)
    assert f"[{plugin}.containerd.runtimes.gpu-dev]" in text
    assert "SystemdCgroup = true" in text and "runtimes.runc" not in text
    assert after(f"{K3S}/{name}", text, state="absent", **OWN) is None


TEMPLATE = """\
# ours
version = 3
root = "{{ .NodeConfig.Containerd.Root }}"
{{- if .NodeConfig.SELinux }}
oom_score = -999
{{- end }}

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

{{ range $k, $v := .NodeConfig.AgentConfig.Sysctls }}
{{ end -}}
"""


def test_all_of_a_whole_template_stays() -> None:
    text = after(f"{K3S}/config-v3.toml.tmpl", TEMPLATE)
    assert text is not None
    lines = difflib.ndiff(TEMPLATE.splitlines(), text.splitlines())
    assert not [line for line in lines if line.startswith("- ")]
    assert 'BinaryName = "/usr/bin/nvidia-container-runtime"' in text
    gone = after(f"{K3S}/config-v3.toml.tmpl", text, state="absent")
    assert gone == TEMPLATE


@pytest.mark.parametrize("distribution", ["k3s", "rke2"])
@pytest.mark.parametrize(
    "text", [None, BASE, '{{- template "base" . -}}\n', "a = 1 # ExtraRuntimes"]
)
def test_what_the_distribution_adds_itself_is_not_added_twice(
    distribution: str, text: str | None
) -> None:
    path = f"/var/lib/rancher/{distribution}/agent/etc/containerd/config.toml.tmpl"
    with pytest.raises(Refused, match=f"install the toolkit and restart {distribution}"):
        planned(path, text)


def test_a_table_of_the_built_in_template_is_not_written_twice() -> None:
    with pytest.raises(Refused, match="default-runtime: gpu-dev in /etc/rancher/k3s/config"):
        planned(f"{K3S}/config.toml.tmpl", BASE, set_as_default=True, **OWN)


def test_the_template_of_microk8s() -> None:
    text = (INPUT / "microk8s-template.txt").read_text()
    path = f"{MICROK8S}/containerd-template.toml"
    changed = after(path, text)
    assert changed is not None
    new = [line for line in changed.splitlines() if line not in text.splitlines()]
    assert [line.strip() for line in new if "=" in line] == [
        'BinaryName = "/usr/bin/nvidia-container-runtime"'
    ]
    assert after(path, changed, state="absent") == text
    with pytest.raises(Refused, match="which MicroK8s brings"):
        planned(path, None)


def test_an_action_in_the_midst_of_a_line_is_no_toml() -> None:
    with pytest.raises(Refused, match="line 1, column"):
        planned(f"{K3S}/config.toml.tmpl", "oom_score = {{ .Score }}\n")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{K3S}/config.toml", "k3s writes .*config.toml at every start"),
        ("/var/lib/rancher/rke2/agent/etc/containerd/config.toml", "rke2 writes"),
        (f"{MICROK8S}/containerd.toml", "MicroK8s makes it of .*containerd-template.toml"),
    ],
)
def test_what_is_made_is_not_edited(path: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        planned(path, "version = 2\n")


def test_a_template_takes_no_drop_in() -> None:
    with pytest.raises(Refused, match=f"set path to {K3S}/config.toml"):
        planned(f"{K3S}/config-v3.toml.tmpl", BASE, mode="drop_in", drop_in=f"{K3S}/99.toml", **OWN)
