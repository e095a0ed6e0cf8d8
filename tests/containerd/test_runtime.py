"""`containerd_runtime` on this machine, with a small program in the place of containerd.

The program does what the module relies on: it accepts or refuses a file, prints the effective
configuration (an import's table in the place of the main file's, as containerd before 2.1), and
names its version.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.facts import containerd
from runner.facts.container_runtime import KEY, Daemons
from runner.facts.containerd import ContainerdState, ImportedFile
from runner.hosts.script import Command
from runner.modules.base import Disruption, Refused, Risk
from runner.modules.files.state import FileState, ancestors, with_content
from tests.files.local import Local, overlaid, run
from tests.programs import Answer, answer_for

MODULE = "containerd_runtime"
CRI = 'plugins."io.containerd.grpc.v1.cri"'

DEFAULT = f"""\
version = 2
[{CRI}.containerd]
default_runtime_name = "runc"
[{CRI}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = {{ SystemdCgroup = false }}
"""


def toml(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{" + ", ".join(json.dumps(k) + " = " + toml(v) for k, v in value.items()) + "}"


def containerd_says(_: str, arguments: Sequence[str]) -> Answer:
    """What `containerd ARGUMENTS` answers."""
    if arguments[0] == "--version":
        return 0, "containerd containerd.io 1.7.27 05044ec0a9a\n", ""
    if list(arguments) == ["config", "default"]:
        return 0, DEFAULT, ""
    try:
        text = Path(arguments[1]).read_text()
        data = tomllib.loads(text)
        patterns = [Path(pattern) for pattern in data.get("imports", [])]
        files = [str(f) for each in patterns for f in sorted(each.parent.glob(each.name))]
        for file in files:
            imported = tomllib.loads(Path(file).read_text())
            data.setdefault("plugins", {}).update(imported.get("plugins", {}))
    except (OSError, ValueError) as error:
        return 1, "", f"containerd: {error}\n"
    if "refuse" in text:
        return 1, "", "containerd: this line is refused\n"
    data["imports"] = [arguments[1], *files]
    return 0, "".join(f"{key} = {toml(value)}\n" for key, value in data.items()), ""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    programs = answer_for(["containerd"], tmp_path, containerd_says)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    root = tmp_path / "host"
    (root / "conf.d").mkdir(parents=True)
    return Local(root, extra={KEY: Daemons(())})


@pytest.fixture
def main_file(host: Local) -> Path:
    return write(host, RUNC)


def arguments(host: Local, **more: Any) -> dict[str, Any]:
    return {"path": str(host.root / "config.toml"), **more}


def dropped(host: Local, **more: Any) -> list[str]:
    """`applied` in mode drop_in."""
    return applied(host, mode="drop_in", drop_in=str(host.root / "new.d" / "nv.toml"), **more)


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
    assert "version = 2  # " in after
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


def test_a_copy_of_another_default_stays_one_once_it_is_the_default(host: Local) -> None:
    kata = f'[{CRI}.containerd.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"\n'
    path = write(host, RUNC + f'[{CRI}.containerd]\ndefault_runtime_name = "kata"\n' + kata)
    assert len(applied(host, set_as_default=True)) == 1
    assert path.read_text().count("io.containerd.kata.v2") == 2
    assert applied(host, set_as_default=True) == []


def test_a_missing_systemd_cgroup_is_pointed_out(host: Local) -> None:
    write(host, RUNC.replace("true", "false"))
    outcome = host.plan(MODULE, arguments(host), host.observe(MODULE, arguments(host)))
    assert any("SystemdCgroup" in message for message in outcome.messages)


def test_a_copy_that_runs_another_program_is_pointed_out(host: Local) -> None:
    kata = f'[{CRI}.containerd.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"\n'
    write(host, f'version = 2\n[{CRI}.containerd]\ndefault_runtime_name = "kata"\n' + kata)
    assert any("io.containerd.kata.v2 is not runc's" in message for message in messages(host))


def test_without_containerd_the_file_is_still_written(host: Local) -> None:
    path = write(host, RUNC)
    absent = ContainerdState(False, str(path))
    bare = Local(host.root, extra={KEY: Daemons(()), containerd.key(str(path)): absent})
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
    newer = Local(host.root, extra={KEY: Daemons(()), containerd.key(str(path)): state})
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
    other = Local(host.root, extra={KEY: Daemons(()), containerd.key(str(path)): blind})
    with pytest.raises(Refused, match="it has no runtime nvidia"):
        other.plan(MODULE, arguments(host), other.observe(MODULE, arguments(host)))


def test_a_drop_in_is_seen_in_effect_and_leaves_no_trace(host: Local, main_file: Path) -> None:
    folder, own, main = dropped(host)
    assert folder.startswith("create folder ROOT/new.d")
    assert own.startswith("ROOT/new.d/nv.toml: + version = 2")
    assert main.startswith('ROOT/config.toml: + imports = ["')
    state = host.observe(MODULE, arguments(host))[containerd.key(str(main_file))]
    assert state.runtimes["nvidia"]["options"]["SystemdCgroup"] is True
    assert dropped(host) == []
    assert applied(host) == [], "in place there is nothing to add"
    assert dropped(host, state="absent") == [
        "ROOT/config.toml: - imports",
        "remove ROOT/new.d/nv.toml",
    ]
    assert main_file.read_text() == RUNC
    assert not (host.root / "new.d" / "nv.toml").exists()
    assert dropped(host, state="absent") == []


@pytest.mark.parametrize("text", [None, "", "# only a comment\n"])
def test_a_drop_in_of_a_host_without_configuration(host: Local, text: str | None) -> None:
    if text is not None:
        write(host, text)
    assert len(dropped(host, set_as_default=True)) == 3
    assert dropped(host, set_as_default=True) == []
    assert len(dropped(host, state="absent")) == 2
    main = host.root / "config.toml"
    assert (main.read_text() if main.exists() else None) == text


def test_a_stale_drop_in_is_made_anew_and_said(host: Local, main_file: Path) -> None:
    dropped(host)
    edited = main_file.read_text() + f'\n[{CRI}]\n  sandbox_image = "new"\n'
    main_file.write_text(edited)
    assert any("hides settings" in message for message in messages(host))
    told = messages(host, mode="drop_in", drop_in=str(host.root / "new.d" / "nv.toml"))
    assert any(f"it hid: made anew (+ {CRI}.sandbox_image" in m for m in told) or any(
        "it hid: made anew (+ sandbox_image = " in m for m in told
    )
    assert len(dropped(host)) == 1
    assert 'sandbox_image = "new"' in (host.root / "new.d" / "nv.toml").read_text()
    assert main_file.read_text() == edited
    assert not messages(host)


def messages(host: Local, **more: Any) -> tuple[str, ...]:
    args = arguments(host, **more)
    return host.plan(MODULE, args, host.observe(MODULE, args)).messages


def test_another_file_of_the_folder_keeps_its_import(host: Local, main_file: Path) -> None:
    dropped(host)
    write(host, "version = 2\noom_score = -999\n", "new.d/oom.toml")
    assert len(dropped(host, state="absent")) == 1
    assert "imports" in main_file.read_text()


def test_an_import_that_was_there_before_stays(host: Local) -> None:
    text = f'imports = ["{host.root}/new.d/*.toml"]\n' + RUNC
    path = write(host, text)
    assert len(dropped(host)) == 2
    assert path.read_text() == text
    dropped(host, state="absent")
    assert path.read_text() == text


def test_two_runtimes_in_one_drop_in(host: Local, main_file: Path) -> None:
    dropped(host)
    dropped(host, name="nvidia-cdi", binary="/usr/bin/nvidia-container-runtime.cdi")
    assert dropped(host) == []
    dropped(host, name="nvidia-cdi", state="absent")
    assert dropped(host) == []
    dropped(host, state="absent")
    assert main_file.read_text() == RUNC


def test_a_file_read_after_the_drop_in_is_named(host: Local) -> None:
    write(host, f'imports = ["{host.root}/new.d/*.toml", "{host.root}/conf.d/*.toml"]\n' + RUNC)
    write(host, f'version = 2\n[{CRI}]\nsandbox_image = "old"\n', "conf.d/50.toml")
    with pytest.raises(Refused, match=r"would not decide about nvidia: .*conf\.d/50\.toml does"):
        dropped(host)


def test_settings_read_before_the_drop_in_are_copied_into_it(host: Local) -> None:
    write(host, f'imports = ["{host.root}/conf.d/*.toml", "{host.root}/new.d/*.toml"]\n' + RUNC)
    write(host, RUNC + f'[{CRI}]\nsandbox_image = "old"\n', "conf.d/50.toml")
    dropped(host)
    assert 'sandbox_image = "old"' in (host.root / "new.d" / "nv.toml").read_text()


def test_a_runtime_of_the_main_file_is_not_removed_by_its_drop_in(
    host: Local, main_file: Path
) -> None:
    applied(host)
    with pytest.raises(Refused, match="itself has the runtime nvidia"):
        dropped(host, state="absent")


def test_a_drop_in_with_more_in_it_is_not_removed(host: Local, main_file: Path) -> None:
    dropped(host)
    own = host.root / "new.d" / "nv.toml"
    own.write_text("oom_score = -999\n" + own.read_text())
    with pytest.raises(Refused, match=r"more than a runtime \(oom_score\)"):
        dropped(host, state="absent")


def test_version_1_is_edited_in_place(host: Local) -> None:
    write(host, '[plugins.cri.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v1"\n')
    args = arguments(host, mode="drop_in", drop_in=str(host.root / "new.d" / "nv.toml"))
    (change,) = host.plan(MODULE, args, host.observe(MODULE, args)).changes
    assert "config.toml: + plugins.cri.containerd.runtimes.nvidia" in change.summary


def test_an_import_that_hides_points_to_the_drop_in(host: Local) -> None:
    write(host, f'imports = ["{host.root}/new.d/*.toml"]\n' + RUNC)
    (host.root / "new.d").mkdir()
    write(host, f'version = 2\n[{CRI}]\nsandbox_image = "old"\n', "new.d/nv.toml")
    with pytest.raises(Refused, match="Take mode: drop_in"):
        applied(host, drop_in=str(host.root / "new.d" / "nv.toml"))


def test_a_generated_file_takes_a_drop_in_where_it_imports_one() -> None:
    """k3s since its pull request 13680: the generated file imports config-v3.toml.d."""
    folder = "/var/lib/rancher/k3s/agent/etc/containerd"
    main, own = f"{folder}/config.toml", f"{folder}/config-v3.toml.d/99-nvidia.toml"
    text = f'version = 3\nimports = ["{folder}/config-v3.toml.d/*.toml"]\n'
    file = FileState(main, "file", 0o644, "root", "root", 0, 0)
    observed: dict[str, Any] = {
        KEY: Daemons(()),
        f"file:{main}": with_content(file, text.encode()),
        f"file:{own}": FileState(own, "absent", owner="root", group="root", uid=0, gid=0),
        containerd.key(main): ContainerdState(False, main),
    }
    for above in {*ancestors(main), *ancestors(own)}:
        observed[f"file:{above}"] = FileState(above, "directory", 0o755, "root", "root", 0, 0)
    node = Local(Path("/"))
    outcome = node.plan(MODULE, {"path": main, "mode": "drop_in", "drop_in": own}, observed)
    assert [change.diff.path for change in outcome.changes if change.diff] == [own]
    observed[f"file:{main}"] = with_content(file, b"version = 3\n")
    with pytest.raises(Refused, match="is not edited"):
        node.plan(MODULE, {"path": main, "mode": "drop_in", "drop_in": own}, observed)
