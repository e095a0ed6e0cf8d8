"""gpurun.toml: where it is found, what wins over it, and what is told when it is wrong."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest

from runner.cli.init import config_text
from runner.cli.main import VERBS, cli
from runner.cli.settings import SETTINGS, load_config
from runner.cli.work import terminal
from runner.inventory.load import load_inventory
from tests.project.conftest import Gpurun

HOSTS = "all:\n  hosts:\n    gpu-1: {ansible_host: 127.0.0.1, ansible_port: 1}\n"
CONFIG = """\
inventory = ["prod"]
lock_timeout = 5
[ssh]
forks = 7
[cluster]
kubeconfig = "kube/config"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    (folder / "inventory").mkdir()
    (folder / "inventory" / "prod.yaml").write_text(HOSTS)
    (folder / "gpurun.toml").write_text(CONFIG)
    return folder


def rows(printed: str) -> dict[str, dict[str, Any]]:
    return {row["setting"]: row for row in json.loads(printed)}


def test_flag_wins_over_environment_over_file_over_default(
    gpurun: Gpurun, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPURUN_LOCK_TIMEOUT", "60")
    monkeypatch.setenv("GPURUN_CONTEXT", "from-environment")
    code, printed = gpurun("config", "--context", "from-flag", "-o", "json")
    found = {key: (row["value"], row["source"]) for key, row in rows(printed).items()}
    assert code == 0
    assert found["cluster.context"] == ("from-flag", "--context")
    assert found["lock_timeout"] == (60.0, "$GPURUN_LOCK_TIMEOUT")
    assert found["ssh.forks"] == (7, f"{project}/gpurun.toml:4:1")
    assert found["ssh.connect_timeout"] == (10.0, "default")


def test_the_file_is_found_from_a_folder_below_and_its_paths_are_its_own(
    gpurun: Gpurun, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    found = rows(gpurun("config", "-o", "json")[1])
    assert found["cluster.kubeconfig"]["value"] == f"{project}/kube/config"
    code, printed = gpurun("inventory")
    assert (code, "gpu-1" in printed) == (0, True)


def test_config_as_text_names_each_place(gpurun: Gpurun, project: Path) -> None:
    lines = gpurun("config")[1].splitlines()
    assert [line.split()[0] for line in lines] == [setting.key for setting in SETTINGS]
    assert lines[0].split() == ["inventory", "prod", f"{project}/gpurun.toml:1:1"]


def test_without_a_file_and_without_i_the_choice_is_told(gpurun: Gpurun, tmp_path: Path) -> None:
    assert "There is no gpurun.toml" in gpurun("config")[1]
    (tmp_path / "work" / "inventory").mkdir()
    (tmp_path / "work" / "inventory" / "lab.yaml").write_text(HOSTS)
    code, printed = gpurun("plan", "mig-7x1g")
    assert code == 1
    assert "no inventory was named" in printed and "one of: lab" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inventry = 'x'", ":1:1: error: there is no setting inventry"),
        ("\nforks = 3", ":2:1: error: there is no setting forks"),
        ("[ssh]\nforks = '3'", ":2:1: error: ssh.forks: expected a whole number, found '3'"),
        ("[ssh]\nforks = true", ":2:1: error: ssh.forks: expected a whole number, found True"),
        ("[ssh]\nforks = 0", ":2:1: error: ssh.forks: 0 is not in the range 1<=x<=1000"),
        ("ssh.forks = 0", ":1:1: error: ssh.forks: 0 is not in the range"),
        ("ssh = 3", ":1:1: error: ssh is a section"),
        ("colour = 'red'", ":1:1: error: colour: 'red' is not one of"),
        ("inventory = []", ":1:1: error: inventory: expected text or a list of texts"),
        ("state = ''", ":1:1: error: state: expected a path"),
        ('[cluster]\ncontext = "a\\n"', ":2:1: error: cluster.context: expected a text"),
        ("[cluste]", ":1:2: error: there is no section cluste"),
        ("a = ", ":1:1: error: is not TOML: it ends in the middle of a value"),
        ("a = [1\nb = 2", ":2:1: error: is not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    gpurun: Gpurun, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "work" / "gpurun.toml").write_text(text)
    code, printed = gpurun("config")
    assert code == 1
    assert f"gpurun.toml{message}" in printed


def test_every_mistake_of_the_file_is_told_with_the_nearest_name(
    gpurun: Gpurun, tmp_path: Path
) -> None:
    (tmp_path / "work" / "gpurun.toml").write_text("inventry = 'x'\nforks = 3\n")
    printed = gpurun("history")[1]
    assert "Did you mean inventory?" in printed and "It is called ssh.forks." in printed


def test_a_file_that_everybody_may_write_is_refused(gpurun: Gpurun, project: Path) -> None:
    (project / "gpurun.toml").chmod(0o666)
    code, printed = gpurun("inventory")
    assert (code, "may be written by everybody" in printed) == (1, True)


def test_a_wrong_file_keeps_nobody_from_linting_or_reading_the_documentation(
    gpurun: Gpurun, tmp_path: Path
) -> None:
    (tmp_path / "work" / "gpurun.toml").write_text("nonsense")
    assert gpurun("lint", "mig-7x1g")[0] == 0
    assert gpurun("doc")[0] == 0


def test_a_wrong_value_of_a_variable_is_told_with_its_name(
    gpurun: Gpurun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPURUN_FORKS", "many")
    assert "The value stands in $GPURUN_FORKS." in gpurun("plan", "mig-7x1g", "-i", "a,")[1]


def test_every_option_of_every_verb_has_its_variable() -> None:
    def options(command: click.Command) -> list[click.Option]:
        inner = command.commands.values() if isinstance(command, click.Group) else []
        own = [option for option in command.params if isinstance(option, click.Option)]
        return own + [option for one in inner for option in options(one)]

    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        prefix = "GPURUN_LAB_" if verb == "lab" else "GPURUN_"
        for option in options(command):
            name = next(flag for flag in option.opts if flag.startswith("--"))
            assert option.envvar == prefix + name[2:].replace("-", "_").upper()


def test_values_with_blanks_stand_on_lines_of_their_own(
    gpurun: Gpurun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPURUN_EXTRA_VARS", '{"one": "a b"}\ntwo=c d')
    (tmp_path / "work" / "p.yaml").write_text(
        "- hosts: all\n  tasks:\n    - {name: Say, debug: '{{ one }} {{ two }}'}\n"
    )
    assert "0 errors, 0 warnings" in gpurun("lint", "p.yaml", "-i", "a,")[1]


def test_the_login_user_is_for_hosts_that_have_none(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("all: {hosts: {a: {ansible_user: own}, b: }}\n")
    inventory = load_inventory([str(tmp_path / "hosts.yaml")], tmp_path)
    assert [host.user for host in inventory.with_login("ops").hosts.values()] == ["own", "ops"]
    assert inventory.with_login(None) == inventory


@pytest.mark.parametrize(("colour", "coloured"), [("always", True), ("never", False)])
def test_colour(
    project: Path, monkeypatch: pytest.MonkeyPatch, colour: str, coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with click.Context(cli) as context, redirect_stdout(StringIO()) as out:
        context.params["colour"] = colour
        terminal("terminal").line("text", "red")
    assert ("\x1b[" in out.getvalue()) is coloured


def test_the_state_folder_holds_the_journal(gpurun: Gpurun, project: Path) -> None:
    (project / "gpurun.toml").write_text('inventory = "prod"\nstate = "kept"\n')
    (project / "p.yaml").write_text("- hosts: all\n  tasks:\n    - {name: Say, debug: hello}\n")
    assert gpurun("apply", "p.yaml")[0] == 1  # the host cannot be reached
    assert (project / "kept" / "journal.sqlite").exists()
    assert "p.yaml  -i prod" in gpurun("history")[1]
    assert "no runs yet" in gpurun("--state", "other", "history")[1]


def test_the_file_that_init_writes_sets_nothing_and_its_examples_are_right(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gpurun.toml"
    path.write_text(config_text())
    assert load_config(path).values == {}
    path.write_text(config_text().replace("\n#", "\n").replace("\n ", "\n# "))
    assert set(load_config(path).values) == {setting.option for setting in SETTINGS}
