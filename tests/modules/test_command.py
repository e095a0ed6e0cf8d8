"""The sh texts of `command` and `shell`, run by a real sh."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.hosts.script import Command
from runner.modules.base import Context
from runner.modules.command import CommandModule, ShellModule


def run(
    arguments: dict[str, Any], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Do what the planned command says."""
    module = ShellModule()
    args = module.arguments.model_validate(arguments)
    context = Context("gpu1", notified=True, environment=environment or {})
    observed = {probe.key: False for probe in module.probes(args, context)}
    change = module.plan(args, observed, context).changes[0]
    command = change.do[0]
    assert isinstance(command, Command)
    return subprocess.run(
        ["sh", "-c", command.shell], input=command.stdin.decode(), capture_output=True, text=True
    )


def test_environment_and_standard_input_share_one_stream() -> None:
    odd = "it's $HOME\n\n  `two` \\ lines\n"
    done = run(
        {"cmd": 'printf "%s|%s|" "$ODD" "$B"; cat', "stdin": "first\nsecond"}, {"ODD": odd, "B": ""}
    )
    assert done.stdout == f"{odd}||first\nsecond"


def test_environment_values_are_not_in_the_text() -> None:
    context = Context("gpu1", notified=True, environment={"TOKEN": "s3cret"})
    module = CommandModule()
    for read_only in (True, False):
        args = module.arguments.model_validate(
            {"cmd": "login", "stdin": "passw0rd", "read_only": read_only}
        )
        looks = [probe.command() for probe in module.probes(args, context)]
        changes = () if read_only else module.plan(args, {}, context).changes
        commands = [*looks, *(a for c in changes for a in c.do if isinstance(a, Command))]
        assert commands
        for command in commands:
            assert "s3cret" not in command.shell + command.key
            assert "passw0rd" not in command.shell + command.key
            assert command.stdin == b"export TOKEN=s3cret\npassw0rd"


@pytest.mark.parametrize(
    ("expect", "status", "ends"),
    [
        ([0], 0, 0),
        ([0], 3, 3),
        ([0, 3], 3, 0),
        ([0, 3], 4, 4),
        ([3], 3, 0),
        ([3], 0, 1),
        ([], 9, 0),
    ],
)
def test_only_expected_statuses_end_with_0(expect: list[int], status: int, ends: int) -> None:
    assert run({"cmd": f"exit {status}", "expect": expect}).returncode == ends


def test_folder_that_is_missing_fails_the_command(tmp_path: Path) -> None:
    assert run({"cmd": "pwd", "chdir": str(tmp_path)}).stdout == f"{tmp_path}\n"
    assert run({"cmd": "pwd", "chdir": f"{tmp_path}/no"}).returncode == 126


def test_work_done_by_an_earlier_change_is_not_repeated(tmp_path: Path) -> None:
    made = tmp_path / "made"
    arguments = {"cmd": f"echo run >> {made}", "creates": str(made)}
    run(arguments)
    run(arguments)
    assert made.read_text() == "run\n"


def test_equal_looks_are_made_once_and_different_ones_apart() -> None:
    module = ShellModule()

    def key(arguments: dict[str, Any], **context: Any) -> str:
        args = module.arguments.model_validate({"read_only": True, **arguments})
        return module.probes(args, Context("gpu1", **context))[0].key

    same = key({"cmd": "cat"})
    assert same == key({"cmd": "cat"})
    others = [
        key({"cmd": "cat -"}),
        key({"cmd": "cat", "stdin": "a"}),
        key({"cmd": "cat", "stdin": "b"}),
        key({"cmd": "cat", "chdir": "/"}),
        key({"cmd": "cat"}, become=False),
        key({"cmd": "cat"}, timeout=1.0),
        key({"cmd": "cat"}, environment={"A": "b"}),
    ]
    assert len({same, *others}) == len(others) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either cmd or argv"),
        ({"cmd": "a", "argv": ["a"]}, "give either cmd or argv"),
        ({"cmd": "a | b"}, "use `shell` for pipes"),
        ({"cmd": "a 'b"}, "cannot be split into words: No closing quotation"),
        ({"cmd": "a", "creates": "it"}, "must be an absolute path on the host"),
        ({"cmd": "a", "creates": "/it", "read_only": True}, "read_only: true runs in every look"),
        ({"cmd": "a", "read_only": "yes"}, "Input should be a valid boolean"),
        ({"cmd": "a", "create": "/it"}, "Extra inputs are not permitted"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message.replace("|", r"\|")):
        CommandModule.arguments.model_validate(arguments)
