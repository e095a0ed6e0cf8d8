"""What a user reads when a file, a name or an option is wrong: one message, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.cli.main import main

Gpurun = Callable[..., tuple[int, str]]

GOOD = "- hosts: all\n  tasks:\n    - debug: {msg: hello}\n"
HOSTS = "all:\n  hosts:\n    gpu-1: {ansible_host: 127.0.0.1, ansible_port: 1}\n"


@pytest.fixture
def gpurun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Gpurun:
    """The program in a folder with good.yaml and inventory/hosts.yaml, without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPURUN_JOURNAL", str(tmp_path / "journal.sqlite"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.yaml").write_text(HOSTS)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gpurun", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        both = printed.out + printed.err
        assert "Traceback" not in both
        assert "internal error" not in both
        return int(ended.value.code or 0), both

    return run


PLAYBOOKS = {
    "empty": (b"", "x.yaml: error: the playbook is empty"),
    "no list": (b"hosts: all\n", "x.yaml:1:1: error: expected a list of plays, found a mapping"),
    "no text": (b"- hosts: \xff\n", "x.yaml:1:10: error: byte 0xff is not UTF-8 text"),
    "no YAML": (b"- hosts: [all\n", "x.yaml:"),
    "unknown module": (
        b"- hosts: all\n  tasks:\n    - cpoy: {dest: /x}\n",
        "x.yaml:3:7: error: there is no module cpoy\n"
        "  3 |     - cpoy: {dest: /x}\n            ^\n"
        "    Did you mean copy?",
    ),
    "unknown argument": (
        b"- hosts: all\n  tasks:\n    - copy: {sorce: a, dest: /x}\n",
        "x.yaml:3:14: error: copy has no argument sorce\n"
        "  3 |     - copy: {sorce: a, dest: /x}\n                   ^\n"
        "    Did you mean src?",
    ),
    "wrong type": (
        b"- hosts: all\n  tasks:\n    - file: {path: /x, state: [1]}\n",
        "x.yaml:3:31: error: file.state: input should be",
    ),
    "template syntax": (
        b'- hosts: all\n  tasks:\n    - debug: {msg: "{{ name"}\n',
        "x.yaml:3:20: error: template syntax: unexpected end of template",
    ),
    "no such host": (
        b"- hosts: web\n  tasks:\n    - debug: {msg: a}\n",
        "pattern 'web' matches no host and no group",
    ),
}


@pytest.mark.parametrize("verb", ["plan", "apply"])
@pytest.mark.parametrize("case", PLAYBOOKS)
def test_a_wrong_playbook(gpurun: Gpurun, tmp_path: Path, verb: str, case: str) -> None:
    text, message = PLAYBOOKS[case]
    (tmp_path / "x.yaml").write_bytes(text)
    code, printed = gpurun(verb, "x.yaml", "-i", "hosts")
    assert code == 1
    assert message in printed


@pytest.mark.parametrize("verb", ["plan", "lint"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.yaml", "missing.yaml: error: no such file"),
        ("inventory", "inventory: error: "),
        ("good.yaml/x", "good.yaml/x: error: cannot be read: Not a directory"),
    ],
)
def test_a_playbook_that_is_no_file(gpurun: Gpurun, verb: str, name: str, message: str) -> None:
    code, printed = gpurun(verb, name, *(["-i", "hosts"] if verb == "plan" else []))
    assert code == 1
    assert message in printed


def test_a_file_that_may_not_be_read(
    gpurun: Gpurun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root may read everything: the refusal is put where the kernel would give it."""
    opened = Path.open

    def refuse(self: Path, *arguments: Any) -> Any:
        if self.name == "good.yaml":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    code, printed = gpurun("plan", "good.yaml", "-i", "hosts")
    assert code == 1
    assert "good.yaml: error: cannot be read: Permission denied" in printed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "-i is empty"),
        (",", "the inventory has no hosts"),
        ("host", "there is no inventory host\n    Did you mean hosts?"),
        ("no.yaml", "there is no inventory no.yaml"),
        ("empty.yaml", "empty.yaml: error: the inventory is empty"),
        ("list.yaml", "list.yaml:1:1: error: an inventory is a mapping of groups, found a list"),
        ("port.yaml", "port.yaml:3:23: error: host a: ansible_port must be a number"),
    ],
)
def test_a_wrong_inventory(gpurun: Gpurun, tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty.yaml").touch()
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "port.yaml").write_text("all:\n  hosts:\n    a: {ansible_port: abc}\n")
    for verb in ("plan good.yaml", "facts"):
        code, printed = gpurun(*verb.split(), "-i", given)
        assert code == 1
        assert message in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-l", "nope"], "limit 'nope' matches no host and no group"),
        (["-l", ""], "the limit is empty"),
        (["-l", "!all"], "limit '!all' leaves no host"),
        (["-e", "x"], "-e x: neither name=value, JSON nor @file"),
        (["-e", "=3"], "-e =3: '' is no variable name"),
        (["-e", "a b=3"], "-e a b=3: 'a b' is no variable name"),
        (["-e", "ansible_user=root"], "Set ansible_user in the inventory, or give -u NAME."),
        (["-e", "kubeconfig=k"], "Set kubeconfig in the inventory, or give --kubeconfig FILE."),
        (["-e", '{"ansible_host": "a"}'], "-e: ansible_host says how a host is reached"),
        (["-e", "@none"], "none: error: no such file"),
        (["-e", "{a: "], "-e:"),
        (["-e", "@good.yaml"], "-e @good.yaml: a mapping of names to values is needed"),
        (["--kubeconfig", "none"], "--kubeconfig none: no such file"),
        (["-f", "0"], "0 is not in the range"),
        (["-f", "x"], "'x' is not a valid integer"),
        (["--connect-timeout", "nan"], "'nan' is not a time"),
        (["--connect-timeout", "inf"], "inf is not in the range"),
        (["-o", "xml"], "'xml' is not one of"),
        (["more.yaml"], "unexpected extra argument (more.yaml)"),
        (["--nope"], "No such option"),
    ],
)
def test_a_wrong_option_of_a_run(gpurun: Gpurun, options: list[str], message: str) -> None:
    code, printed = gpurun("apply", "good.yaml", "-i", "hosts", *options)
    assert code == 1
    assert message in printed


USES = '- hosts: all\n  vars: {size: 1}\n  tasks:\n    - debug: {msg: "{{ size }}"}\n'


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_every_mistyped_extra_variable_is_told_before_a_host_is_touched(
    gpurun: Gpurun, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "uses.yaml").write_text(USES)
    code, printed = gpurun(verb, "uses.yaml", "-i", "hosts", "-e", "sise=2", "-e", "colour=TEAL")
    assert code == 1
    assert "-e sise: nothing uses this variable\n    Did you mean size?" in printed
    assert "-e colour: nothing uses this variable\n    The playbook's variables: size." in printed
    assert "TEAL" not in printed
    assert "unreachable" not in printed


@pytest.mark.parametrize("given", ["@more.yaml", '{"sise": 2}'])
def test_unused_extra_variables_of_a_file_or_of_json_are_only_told(
    gpurun: Gpurun, tmp_path: Path, given: str
) -> None:
    (tmp_path / "uses.yaml").write_text(USES)
    (tmp_path / "more.yaml").write_text("sise: 2\nsize: 3\n")
    _, printed = gpurun("plan", "uses.yaml", "-i", "hosts", "-e", given)
    assert "gpurun: nothing uses these variables of -e: sise\n" in printed
    assert "1 unreachable" in printed


def test_a_variable_that_only_tasks_left_out_by_tags_use_is_used(
    gpurun: Gpurun, tmp_path: Path
) -> None:
    other = '    - {debug: {msg: "{{ other | default(1) }}"}, tags: b}\n'
    (tmp_path / "uses.yaml").write_text(f"{USES}      tags: a\n{other}")
    _, printed = gpurun("plan", "uses.yaml", "-i", "hosts", "-t", "a", "-e", "other=2")
    assert "nothing uses" not in printed
    assert "1 unreachable" in printed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("show", "there are no runs yet in"),
        ("resume", "there are no runs yet in"),
        ("show nope", "no run begins with 'nope'"),
        ("resume nope", "no run begins with 'nope'"),
        ("history -n 0", "0 is not in the range"),
        ("history x", "unexpected extra argument (x)"),
        ("doc nope", "there is no module 'nope'"),
        ("doc cpoy", "did you mean 'copy'?"),
        ("facts gpu -i hosts", "there is no fact, host or group 'gpu'"),
        ("inventory -i hosts --host nope", "the inventory has no host nope"),
        ("inventory -i hosts --blame nope", "the inventory has no host nope"),
        ("inventory -i hosts --list --graph", "Give one of"),
        ("inventory", "-i"),
        ("lint", "Missing argument"),
        ("schema x", "unexpected extra argument (x)"),
        ("lab nope", "No such command 'nope'"),
        ("--nope", "No such option"),
        ("nope", "No such command 'nope'"),
    ],
)
def test_a_wrong_word_or_name(gpurun: Gpurun, line: str, message: str) -> None:
    code, printed = gpurun(*line.split())
    assert code == 1
    assert message in printed


@pytest.mark.parametrize("name", ["folder", "good.yaml", "good.yaml/journal"])
@pytest.mark.parametrize("line", ["apply good.yaml -i hosts", "history", "show", "resume"])
def test_a_journal_that_cannot_be_used(
    gpurun: Gpurun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, line: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("GPURUN_JOURNAL", str(tmp_path / name))
    code, printed = gpurun(*line.split())
    assert code == 1
    assert f"the journal {tmp_path / name} cannot be used" in printed


def test_a_host_that_refuses_connections_is_named_with_its_port(gpurun: Gpurun) -> None:
    code, printed = gpurun("apply", "good.yaml", "-i", "hosts")
    assert code == 1
    assert "gpu-1 (127.0.0.1): 127.0.0.1:1 refuses connections" in printed
    assert printed.count("refuses connections") == 1


def test_a_password_is_not_asked_for_without_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    done = started(tmp_path, "plan", "good.yaml", "-i", "127.0.0.1,", "-K")
    assert done.returncode == 1
    assert "no terminal to ask for the sudo password" in done.stderr
    assert "GPURUN_BECOME_PASSWORD" in done.stderr


def test_a_reader_that_is_gone_changes_neither_work_nor_exit_code(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        for arguments in (["history"], ["plan", "good.yaml", "-i", "localhost:1,"], ["doc"]):
            done = started(tmp_path, *arguments, stdout=writing)
            assert "Traceback" not in done.stderr
            assert "Exception ignored" not in done.stderr
            assert done.returncode in (0, 1)
    finally:
        os.close(writing)


def test_a_full_disk_under_stdout_is_said(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.yaml").write_text(HOSTS)
    with Path("/dev/full").open("w") as full:
        done = started(
            tmp_path, "plan", "good.yaml", "-i", "hosts", "-o", "json", stdout=full.fileno()
        )
    assert done.returncode == 1
    assert "stdout cannot be written to: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def started(
    folder: Path, *arguments: str, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, without a terminal."""
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "runner.cli.main", *arguments],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": root,
            "HOME": str(folder),
            "GPURUN_JOURNAL": str(folder / "journal.sqlite"),
        },
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        start_new_session=True,
    )
