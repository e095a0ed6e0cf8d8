"""`containerd_runtime` on this machine, with a small program in the place of containerd.

The program does what the module relies on: it accepts or refuses a file, prints the effective
configuration (an import's table in the place of the main file's, as containerd before 2.1), and
names its version.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from runner.facts import containerd
from runner.facts.containerd import ContainerdState, ImportedFile
from runner.hosts.script import Command
from runner.modules.base import Disruption, Refused, Risk
from tests.files.local import Local, overlaid, run

MODULE = "containerd_runtime"
CRI = 'plugins."io.containerd.grpc.v1.cri"'

PROGRAM = """#!{python} -IS
import glob, json, pathlib, sys, tomllib
def toml(value):
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{{" + ", ".join(json.dumps(k) + " = " + toml(v) for k, v in value.items()) + "}}"
if sys.argv[1] == "--version":
    print("containerd containerd.io 1.7.27 05044ec0a9a")
elif sys.argv[1:] == ["config", "default"]:
    print('version = 2')
    print('[{cri}.containerd]')
    print('default_runtime_name = "runc"')
    print('[{cri}.containerd.runtimes.runc]')
    print('runtime_type = "io.containerd.runc.v2"')
    print('options = {{ SystemdCgroup = false }}')
else:
    text = pathlib.Path(sys.argv[2]).read_text()
    data = tomllib.loads(text)
    if "refuse" in text:
        sys.exit("containerd: this line is refused")
    files = [f for pattern in data.get("imports", []) for f in sorted(glob.glob(pattern))]
    for file in files:
        imported = tomllib.loads(pathlib.Path(file).read_text())
        data.setdefault("plugins", {{}}).update(imported.get("plugins", {{}}))
    data["imports"] = [sys.argv[2], *files]
    for key, value in data.items():
        print(key, "=", toml(value))
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    program = tmp_path / "bin" / "containerd"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, cri=CRI.replace("'", '"')))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    root = tmp_path / "host"
    (root / "conf.d").mkdir(parents=True)
    return Local(root)


def arguments(host: Local, **more: Any) -> dict[str, Any]:
    return {"path": str(host.root / "config.toml"), **more}


def applied(host: Local, **more: Any) -> list[str]:
    """Plan, check the prediction, do, look again; the summaries of what was done."""
    args = arguments(host, **more)
    observed = host.observe(MODULE, args)
    outcome = host.plan(MODULE, args, observed)
    assert not host.plan(MODULE, args, overlaid(observed, outcome)).changes
    for change in outcome.changes:
        host.apply(change)
    assert not host.plan(MODULE, args, host.observe(MODULE, args)).changes
    return [change.summary.replace(str(host.root), "ROOT") for change in outcome.changes]


def write(host: Local, text: str, name: str = "config.toml") -> Path:
    path = host.root / name
    path.write_text(text)
    return path


RUNC = f"""# ours
version = 2

[{CRI}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [{CRI}.containerd.runtimes.runc.options]
    SystemdCgroup = true
"""


def test_added_and_seen_in_effect(host: Local) -> None:
    path = write(host, RUNC)
    assert applied(host) == [f"ROOT/config.toml: + {CRI}.containerd.runtimes.nvidia"]
    assert path.read_text().startswith(RUNC)
    state = host.observe(MODULE, arguments(host))[containerd.key(str(path))]
    assert state.runtimes["nvidia"]["options"] == {
        "SystemdCgroup": True,
        "BinaryName": "/usr/bin/nvidia-container-runtime",
    }
    assert applied(host) == []
    assert len(applied(host, state="absent")) == 1
    assert path.read_text() == RUNC


def test_risk_is_medium_and_the_write_itself_disturbs_nothing(host: Local) -> None:
    write(host, RUNC)
    (change,) = host.plan(MODULE, arguments(host), host.observe(MODULE, arguments(host))).changes
    assert (change.risk, change.disruption) == (Risk.MEDIUM, Disruption.NONE)
    assert change.diff is not None and change.diff.before == RUNC


@pytest.mark.parametrize("text", [None, "", "\n# only a comment\n"])
def test_absent_and_empty_files_become_a_minimal_valid_one(host: Local, text: str | None) -> None:
    if text is not None:
        write(host, text)
    assert len(applied(host, set_as_default=True, enable_cdi=True)) == 1
    after = (host.root / "config.toml").read_text()
    assert "version = 2\n" in after
    assert f"[{CRI}.containerd.runtimes.runc]" in after, "the built-in runtime stays usable"
    assert 'default_runtime_name = "nvidia"' in after and "enable_cdi = true" in after


def test_absent_from_a_file_that_does_not_exist(host: Local) -> None:
    assert applied(host, state="absent") == []


def test_a_disabled_cri_is_enabled_and_said_so(host: Local) -> None:
    write(host, 'disabled_plugins = ["cri", "x"]\n')
    outcome = host.plan(MODULE, arguments(host), host.observe(MODULE, arguments(host)))
    assert any("CRI plugin was disabled" in message for message in outcome.messages)
    applied(host)
    assert 'disabled_plugins = ["x"]\n' in (host.root / "config.toml").read_text()


def test_a_missing_systemd_cgroup_is_pointed_out(host: Local) -> None:
    write(host, RUNC.replace("true", "false"))
    outcome = host.plan(MODULE, arguments(host), host.observe(MODULE, arguments(host)))
    assert any("SystemdCgroup" in message for message in outcome.messages)


def test_without_containerd_the_file_is_still_written(host: Local) -> None:
    path = write(host, RUNC)
    absent = ContainerdState(False, str(path))
    bare = Local(host.root, extra={containerd.key(str(path)): absent})
    assert len(applied(bare)) == 1


def test_an_import_that_hides_the_change_is_named_and_nothing_is_planned(host: Local) -> None:
    write(host, f'imports = ["{host.root}/conf.d/*.toml"]\n' + RUNC)
    write(host, f'version = 2\n[{CRI}]\nsandbox_image = "old"\n', "conf.d/99-nvidia.toml")
    with pytest.raises(Refused, match=r"conf\.d/99-nvidia\.toml, whose settings for the CRI"):
        host.plan(MODULE, arguments(host), host.observe(MODULE, arguments(host)))


def test_an_import_without_cri_settings_is_no_obstacle(host: Local) -> None:
    write(host, f'imports = ["{host.root}/conf.d/*.toml"]\n' + RUNC)
    write(host, "version = 2\noom_score = -999\n", "conf.d/oom.toml")
    assert len(applied(host)) == 1


def test_a_runtime_that_an_import_already_brings_is_left_alone(host: Local) -> None:
    """The node was set up by nvidia-ctk with its drop-in."""
    write(host, f'imports = ["{host.root}/conf.d/*.toml"]\n' + RUNC)
    nvidia = RUNC.replace("runc]", "nvidia]").replace("runc.options]", "nvidia.options]")
    nvidia = nvidia.replace("version = 2", "")
    nvidia += '    BinaryName = "/usr/bin/nvidia-container-runtime"\n'
    write(host, RUNC + nvidia, "conf.d/99-nvidia.toml")
    assert applied(host) == []
    with pytest.raises(Refused, match="99-nvidia"):
        applied(host, state="absent")


def test_since_2_1_tables_of_imports_are_merged(host: Local) -> None:
    path = write(host, RUNC)
    imported = ImportedFile("/x.toml", f'version = 2\n[{CRI}]\nsandbox_image = "new"\n')
    state = ContainerdState(True, str(path), "containerd", "2.1.0", (2, 1), imports=(imported,))
    newer = Local(host.root, extra={containerd.key(str(path)): state})
    assert len(newer.plan(MODULE, arguments(host), newer.observe(MODULE, arguments(host))).changes)


def test_what_containerd_refuses_never_replaces_the_file(host: Local) -> None:
    path = write(host, RUNC)
    args = arguments(host, binary="/opt/refuse")
    (change,) = host.plan(MODULE, args, host.observe(MODULE, args)).changes
    (command,) = change.do
    assert isinstance(command, Command)
    result = run(command.shell, command.stdin)
    assert result.rc != 0
    assert "refused by its validation" in result.error_text
    assert "this line is refused" in result.error_text
    assert path.read_text() == RUNC and [p.name for p in host.root.iterdir() if p.is_file()] == [
        "config.toml"
    ]


def test_a_file_containerd_does_not_accept_is_not_built_upon(host: Local) -> None:
    write(host, RUNC + "# refuse\n")
    with pytest.raises(Refused, match="as it is: containerd: this line is refused"):
        host.plan(MODULE, arguments(host), host.observe(MODULE, arguments(host)))


def test_broken_toml_names_line_and_column(host: Local) -> None:
    write(host, "version = 2\n[plugins\n")
    with pytest.raises(Refused, match="at line 2, column 9"):
        host.plan(MODULE, arguments(host), host.observe(MODULE, arguments(host)))


def test_done_means_seen(host: Local) -> None:
    """The file is right, containerd shows something else: never reported as fine."""
    path = write(host, RUNC)
    applied(host)
    blind = ContainerdState(True, str(path), "containerd", "1.7.27", (1, 7))
    other = Local(host.root, extra={containerd.key(str(path)): blind})
    with pytest.raises(Refused, match="it has no runtime nvidia"):
        other.plan(MODULE, arguments(host), other.observe(MODULE, arguments(host)))


@pytest.mark.parametrize(
    "path",
    [
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        "/var/snap/microk8s/current/args/containerd.toml",
    ],
)
def test_generated_files_are_not_edited(path: str) -> None:
    with pytest.raises(Refused, match="is not edited"):
        Local(Path("/")).plan(MODULE, {"path": path}, {})
