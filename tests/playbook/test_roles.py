"""Roles: found, taken apart into tasks and handlers, and what their tasks see."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.playbook.document import Play
from runner.playbook.load import load_playbook
from tests.playbook.files import told, write

APP = {
    "roles/app/tasks/main.yaml": "- {name: Configure, command: x, notify: restart}\n",
    "roles/app/handlers/main.yml": "- {name: restart, command: y, listen: changed}\n",
    "roles/app/defaults/main.yaml": "{port: 80, user: app}\n",
    "roles/app/vars/main.yaml": "{folder: /srv}\n",
    "roles/app/templates/app.conf": "x",
}


def load(folder: Path, play: str, more: dict[str, str] | None = None) -> Play:
    files = {**APP, **(more or {}), "site.yaml": f"- hosts: all\n{play}"}
    return load_playbook(write(folder, files)).plays[0]


def names(play: Play) -> list[str]:
    return [task.name for task in play.tasks]


def test_the_tasks_of_a_play_come_in_ansibles_order(tmp_path: Path) -> None:
    text = """
  post_tasks: [{name: After, command: x}]
  tasks: [{name: Own, command: x}]
  roles: [app]
  pre_tasks: [{name: Before, command: x}]
"""
    assert names(load(tmp_path, text)) == ["Before", "app : Configure", "Own", "After"]


def test_a_role_gives_its_tasks_variables_and_folders(tmp_path: Path) -> None:
    (task,) = load(tmp_path, "  roles: [app]\n").tasks
    assert task.defaults == {"port": 80, "user": "app"}
    assert task.variables["folder"] == "/srv"
    assert task.variables["role_name"] == "app"
    assert task.variables["role_path"] == str(tmp_path / "roles" / "app")
    assert task.folders == (tmp_path / "roles" / "app",)


def test_what_stands_beside_a_role_goes_to_its_tasks_and_handlers(tmp_path: Path) -> None:
    entry = "{role: app, when: a, become: true, tags: [t], vars: {port: 8080, folder: /opt}}"
    play = load(tmp_path, f"  roles: [{entry}]\n")
    for task in (*play.tasks, *play.handlers):
        assert (task.when, task.become, task.tags) == (("a",), True, ("t",))
        assert (task.variables["port"], task.variables["folder"]) == (8080, "/opt")


def test_all_tasks_of_the_play_see_what_its_roles_define(tmp_path: Path) -> None:
    play = load(tmp_path, "  vars: {folder: /play}\n  tasks: [import_role: {name: app}]\n")
    assert play.variables["folder"] == "/srv"
    assert play.defaults == {"port": 80, "user": "app"}


def test_include_role_keeps_its_variables_to_itself(tmp_path: Path) -> None:
    play = load(tmp_path, "  tasks: [include_role: {name: app}]\n")
    assert (play.variables, play.defaults) == ({}, {})
    assert play.tasks[0].defaults["port"] == 80


def test_where_the_vars_beside_a_role_stand(tmp_path: Path) -> None:
    """`vars` of import_role are those of a block, of include_role those of an include."""
    text = """
  tasks:
    - import_role: {name: app}
      vars: {port: 1}
    - include_role: {name: app}
      vars: {port: 2}
"""
    imported, included = load(tmp_path, text).tasks
    assert (imported.variables["port"], imported.parameters) == (1, {})
    assert ("port" in included.variables, included.parameters) == (False, {"port": 2})


def test_vars_of_a_block_win_over_those_of_the_role_in_it(tmp_path: Path) -> None:
    text = "  tasks:\n    - vars: {folder: /b}\n      block: [import_role: {name: app}]\n"
    assert load(tmp_path, text).tasks[0].variables["folder"] == "/b"


def test_dependencies_come_first_once_and_give_their_variables(tmp_path: Path) -> None:
    more = {
        "roles/app/meta/main.yml": "{dependencies: [{role: base}], galaxy_info: {author: x}}\n",
        "roles/web/meta/main.yml": "dependencies: [base]\n",
        "roles/web/tasks/main.yml": "- {name: Web, command: x}\n",
        "roles/base/tasks/main.yml": "- {name: Base, command: x}\n",
        "roles/base/defaults/main.yml": "{port: 1, base: 2}\n",
    }
    text = "  roles: [{role: app, when: a}, web]\n"
    play = load(tmp_path, text, more)
    assert names(play) == ["base : Base", "app : Configure", "base (2) : Base", "web : Web"]
    assert play.tasks[0].when == ("a",)
    assert play.tasks[1].defaults == {"port": 80, "base": 2, "user": "app"}
    again = load(tmp_path, "  roles: [web, web]\n", more)
    assert names(again) == ["base : Base", "web : Web"]


@pytest.mark.parametrize(("allowed", "times"), [("false", 1), ("true", 2)])
def test_a_role_named_twice(tmp_path: Path, allowed: str, times: int) -> None:
    more = {"roles/app/meta/main.yml": f"allow_duplicates: {allowed}\n"}
    assert names(load(tmp_path, "  roles: [app, app]\n", more)) == ["app : Configure"] * times


def test_every_use_with_other_variables_notifies_handlers_of_its_own(tmp_path: Path) -> None:
    text = """
  roles: [{role: app, vars: {n: 1}}, {role: app, vars: {n: 2}}]
  tasks:
    - {name: By name, command: x, notify: restart}
    - {name: By topic, command: x, notify: changed}
    - {name: Of the role, command: x, notify: "app : restart"}
"""
    play = load(tmp_path, text)
    both = ("app : restart", "app (2) : restart")
    assert [handler.name for handler in play.handlers] == [*both]
    assert [handler.variables["n"] for handler in play.handlers] == [1, 2]
    assert [task.notify for task in play.tasks] == [both[:1], both[1:], both, both, both]


def test_handlers_of_several_roles_by_the_same_name(tmp_path: Path) -> None:
    other = {"roles/web/handlers/main.yml": "- {name: restart, command: w}\n"}
    roles = "  roles: [app, web]\n"
    text = roles + '  tasks: [{command: x, notify: "web : restart"}]\n'
    assert load(tmp_path, text, other).tasks[-1].notify == ("web : restart",)
    path = tmp_path / "site.yaml"
    path.write_text(f"- hosts: all\n{roles}  tasks: [{{command: x, notify: restart}}]\n")
    assert told(load_playbook, path) == ['more than one role has a handler "restart"']


def test_a_handler_of_the_play_comes_before_those_of_roles(tmp_path: Path) -> None:
    text = (
        "  roles: [app]\n  tasks: [{command: x, notify: restart}]\n"
        "  handlers: [{name: restart, command: p}]\n"
    )
    play = load(tmp_path, text)
    assert [task.notify for task in play.tasks] == [("app : restart",), ("restart",)]


def test_other_files_of_a_role(tmp_path: Path) -> None:
    more = {
        "roles/app/tasks/other.yml": "- {name: Other, command: x, notify: late}\n",
        "roles/app/vars/other.yml": "{folder: /other}\n",
        "roles/app/defaults/other.yml": "{port: 3}\n",
        "roles/app/handlers/other.yml": "- {name: late, command: x}\n",
    }
    parts = ", ".join(f"{part}_from: other" for part in ("tasks", "vars", "defaults", "handlers"))
    play = load(tmp_path, f"  tasks: [include_role: {{name: app, {parts}}}]\n", more)
    (task,) = play.tasks
    assert (task.name, task.variables["folder"]) == ("app : Other", "/other")
    assert (task.defaults, task.notify) == ({"port": 3}, ("app : late",))


def test_files_of_tasks_are_looked_up_in_the_role(tmp_path: Path) -> None:
    more = {
        "roles/app/tasks/main.yaml": "- import_tasks: deep/one.yaml\n",
        "roles/app/tasks/deep/one.yaml": "- include_tasks: two.yaml\n",
        "roles/app/tasks/two.yaml": "- {name: Two, command: x}\n",
        "two.yaml": "- {name: Wrong, command: x}\n",
    }
    assert names(load(tmp_path, "  roles: [app]\n", more)) == ["app : Two"]


def test_a_loop_over_a_role(tmp_path: Path) -> None:
    text = "  tasks:\n    - include_role: {name: app}\n      loop: [a, b]\n"
    play = load(tmp_path, text)
    assert names(play) == ["app : Configure (a)", "app (2) : Configure (b)"]
    assert [task.parameters["item"] for task in play.tasks] == ["a", "b"]
    assert [task.notify for task in play.tasks] == [
        ("app : restart",),
        ("app (2) : restart",),
    ]


@pytest.mark.parametrize("place", ["roles", "../roles", "elsewhere"])
def test_where_roles_are_found(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPURUN_ROLES_PATH", f"{tmp_path / 'plays' / 'elsewhere'}:/nowhere")
    folder = tmp_path / "plays"
    path = write(
        folder,
        {
            f"{place}/app/tasks/main.yml": "- {name: One, command: x}\n",
            "site.yaml": "- {hosts: all, roles: [app]}\n",
        },
    )
    assert names(load_playbook(path).plays[0]) == ["app : One"]


def test_a_change_of_a_role_is_a_change_of_the_playbook(tmp_path: Path) -> None:
    files = {**APP, "site.yaml": "- {hosts: all, roles: [app], vars_files: [v.yaml]}\n"}
    text = load_playbook(write(tmp_path, {**files, "v.yaml": "{a: 1}\n"})).text
    assert "name: Configure" in text and "{a: 1}" in text and "port: 80" in text
