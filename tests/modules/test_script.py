"""`script`: a local program, run by a real sh as a host would."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.hosts.script import Command, Result
from runner.modules.base import Context, Refused
from runner.modules.script import Script, ScriptArguments
from tests.engine.plays import OneHost

SCRIPTS = {
    "show.sh": b'#!/bin/sh\nprintf "%s|" "$@" "$ODD" "$PWD"; cat; ls "$TMPDIR"\n',
    "plain": b"echo $1 of perl or sh\n",
    "large": b"#!/bin/sh\n" + b"# filler\n" * 200_000 + b"echo end\n",
    "fails": b"#!/bin/sh\necho wrong >&2; exit 3\n",
}


def context(folder: Path, **more: Any) -> Context:
    environment = {"TMPDIR": str(folder), "ODD": "it's $HOME"}
    return Context("n", read=SCRIPTS.__getitem__, notified=True, environment=environment, **more)


def run(
    folder: Path, arguments: dict[str, Any], cut: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    args = ScriptArguments.model_validate(arguments)
    observed = {p.key: False for p in Script().probes(args, context(folder))}
    (change,) = Script().plan(args, observed, context(folder)).changes
    assert not change.predictable
    (command,) = change.do
    assert isinstance(command, Command)
    return subprocess.run(
        ["sh", "-c", command.shell], input=command.stdin[:cut], capture_output=True, check=False
    )


def test_arguments_environment_and_folder_arrive_and_nothing_is_left(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = run(temporary, {"cmd": "show.sh 'a b' $X", "chdir": str(work)})
    words = done.stdout.decode().split("|")
    assert words[:4] == ["a b", "$X", "it's $HOME", str(work)]
    assert words[4].strip().startswith("tmp.")
    assert list(temporary.iterdir()) == []


def test_an_interpreter_may_be_named(tmp_path: Path) -> None:
    assert run(tmp_path, {"cmd": "plain one", "executable": "sh -e"}).stdout == (
        b"one of perl or sh\n"
    )


def test_a_large_script_arrives_whole_or_is_not_run(tmp_path: Path) -> None:
    assert run(tmp_path, {"cmd": "large"}).stdout == b"end\n"
    cut = run(tmp_path, {"cmd": "large"}, cut=-100)
    assert (cut.returncode, cut.stdout) == (126, b"")
    assert b"did not arrive whole" in cut.stderr


def test_its_status_is_the_commands(tmp_path: Path) -> None:
    done = run(tmp_path, {"cmd": "fails"})
    assert (done.returncode, done.stderr) == (3, b"wrong\n")
    assert run(tmp_path, {"cmd": "fails", "expect": [0, 3]}).returncode == 0


def test_a_plan_names_the_script_by_its_digest(tmp_path: Path) -> None:
    args = ScriptArguments.model_validate({"cmd": "plain one"})
    (change,) = Script().plan(args, {}, context(tmp_path)).changes
    assert change.summary == "run script plain one (sha256 56252f7e2b06)"


def test_a_script_that_holds_a_secret_is_not_told_by_its_digest(tmp_path: Path) -> None:
    args = ScriptArguments.model_validate({"cmd": "plain one"})
    hides = context(tmp_path, secret_in=lambda text: "a secret")
    (change,) = Script().plan(args, {}, hides).changes
    assert change.summary == "run script plain one"


def test_a_read_only_script_runs_while_looking(tmp_path: Path) -> None:
    args = ScriptArguments.model_validate(
        {"cmd": "plain two", "executable": "sh", "read_only": True}
    )
    (probe,) = Script().probes(args, context(tmp_path))
    done = subprocess.run(
        ["sh", "-c", probe.shell], input=probe.stdin, capture_output=True, check=True
    )
    observed = {probe.key: probe.parse(Result(0, done.stdout))}
    outcome = Script().plan(args, observed, context(tmp_path))
    assert (outcome.changes, outcome.result["stdout"]) == ((), "two of perl or sh")
    other = ScriptArguments.model_validate(
        {"cmd": "large two", "executable": "sh", "read_only": True}
    )
    assert Script().probes(other, context(tmp_path))[0].key != probe.key


def test_a_script_that_is_not_there_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    host = OneHost(tmp_path, "- hosts: all\n  tasks:\n    - script: nowhere.sh\n")
    (step,) = host.plan().steps
    assert step.status == "refused"
    assert "the file 'nowhere.sh' is not there" in step.reason
    with pytest.raises(Refused, match="cannot be read here"):
        Script().plan(ScriptArguments.model_validate({"cmd": "a"}), {}, Context("n", notified=True))


def test_a_play_runs_it(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "make.sh").write_text('#!/bin/sh\necho "$1" > "$2"\n')
    made = tmp_path / "made"
    task = f"    - script: make.sh one {made}\n      args: {{creates: {made}}}\n"
    host = OneHost(tmp_path, f"- hosts: all\n  tasks:\n{task}")
    assert host.apply().status == "changed"
    assert made.read_text() == "one\n"
    assert not host.again().pending


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"cmd": "a 'b"}, "cannot be split"), ({"cmd": "  "}, "names no script"), ({}, "required")],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScriptArguments.model_validate(arguments)
