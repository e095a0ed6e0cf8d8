"""A whole run with secrets everywhere: none of them comes out anywhere, in any form."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from runner.cli import main as program
from runner.engine import run as engine
from runner.engine import survey
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.inventory.model import Host
from runner.secrets import passwords
from tests.engine.local_host import LocalHost

FIXTURES = Path(__file__).parent / "fixtures"
TOKEN = "t0ken/with'quote\"and&more=" + "x" * 40
OLD = "former-token-of-the-host"
KEY = "first line of the key\nsecond line of the key"
PASSWORD = "sudo-password-1"
VAULT = "correct horse"
SECRETS = (
    TOKEN,
    OLD,
    KEY,
    PASSWORD,
    VAULT,
    "registry-token-4711",
    "hunter2-Grüße",
    "s3cr3t-in-url",
    "first-token-value",
    "second-token-value",
    "12345678",
)

PLAYBOOK = """\
- name: secrets
  hosts: all
  vars_files: vars.yml
  vars:
    token: !secret {env: A_TOKEN}
    key: !secret {file: key}
    given: !secret {command: [./give]}
    db_host: db1
  environment: {FROM_PLAY: "{{ given }}"}
  preconditions:
    - name: known
      assert: {that: "token | length > 5", msg: "the token is {{ token }}"}
  tasks:
    - name: look
      shell:
        cmd: |
          echo "$T"; printf %s "$T" | base64 -w 11; echo; echo "$K"; echo "$FROM_PLAY" >&2
        read_only: true
      environment: {T: "{{ token }}", K: "{{ key }}"}
      register: looked
    - name: told
      debug: {msg: "{{ looked.stdout }} {{ looked | to_json }} {{ nested.pin }}"}
    - name: each
      debug: {msg: "{{ item | b64encode }}"}
      loop: ["{{ token }}", "{{ nested }}"]
      when: item is string
    - name: new file
      copy: {content: "{{ key }}\\n", dest: "FOLDER/new"}
    - name: changed file
      copy:
        content: "# head\\ntoken={{ token }}\\nurl={{ url }}\\n"
        dest: FOLDER/old
        mode: "0644"
    - name: rendered
      template: {src: all.j2, dest: FOLDER/rendered, mode: "0644"}
    - name: fails
      shell:
        cmd: cat; echo "$T" | fold -w 9 >&2; exit 3
        stdin: "{{ db_password }} {{ token }}"
      environment: {T: "{{ token | urlencode }}"}
      ignore_errors: true
    - name: fails for good
      shell: {cmd: 'printf "%s" "$T"; exit 4'}
      environment: {T: "{{ token }}"}
"""
TEMPLATE = """\
{{ token }} {{ token | urlencode }} {{ token | to_json }} {{ token | b64encode }}
{{ ("u:" ~ token) | b64encode }} {{ token | quote }} {{ token | e }}
{{ url }} {{ nested.list[0] }} {{ nested.list[1].deep }} {{ registry }}
"""


class Local(LocalHost):
    """The host; notes the text of every command, which is what `ps` could show there."""

    texts: list[str] = []
    expects: str | None = PASSWORD

    def __init__(self, host: Host, become_password: str | None = None, **_: Any) -> None:
        super().__init__()
        assert become_password == Local.expects

    def open(self) -> None: ...

    def close(self) -> None: ...

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        Local.texts += [command.shell for command in commands]
        return super().look(commands)

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        for block in blocks:
            commands = [*block.do, *block.reread, *([block.guard] if block.guard else [])]
            Local.texts += [command.shell for command in commands]
        return super().change(blocks)


Gpurun = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Local.texts = []
    monkeypatch.setattr(engine, "Connection", Local)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPURUN_JOURNAL", str(tmp_path / "state" / "journal.sqlite"))
    monkeypatch.setenv("A_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("KUBECONFIG", "GPURUN_BECOME_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    files = {
        "p.yaml": PLAYBOOK.replace("FOLDER", str(tmp_path)),
        "all.j2": TEMPLATE,
        "vars.yml": (FIXTURES / "vars-1.1.yml").read_text(),
        "key": KEY + "\n",
        "give": f"#!/bin/sh\necho {OLD}-2\n",
        "old": f"# head\ntoken={OLD}\nurl=none\n",
        "vault-password": VAULT,
        "hosts.yaml": "gpu:\n  hosts: {gpu-1: {}}\n  vars:\n"
        "    sudo: !secret {env: A_SUDO}\n    ansible_become_password: '{{ sudo }}'\n"
        + "".join(
            f"    {line}\n"
            for line in (FIXTURES / "inline.yml")
            .read_text()
            .replace("token:", "registry:")
            .splitlines()
        ),
    }
    monkeypatch.setenv("A_SUDO", PASSWORD)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700 if name == "give" else 0o600)
    (tmp_path / "old").chmod(0o644)
    return tmp_path


@pytest.fixture
def gpurun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Gpurun:
    """The program in this process: exit code, and all it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gpurun", *arguments])
        with pytest.raises(SystemExit) as done:
            program.main()
        printed = capfd.readouterr()
        return int(done.value.code or 0), printed.out + printed.err

    return run


def forms(secret: str) -> set[str]:
    """What must not be found: lines, notations, and the digits of base64 that are the secret's."""
    found = set()
    for line in secret.splitlines():
        found |= {line, json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1]}
        found |= {quote(line), quote(line, safe=""), quote_plus(line), shlex.quote(line)}
        found |= {html.escape(line), html.escape(line, quote=False), repr(line)[1:-1]}
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        found.add(coded[4 if before else 0 : -1])
    return found


def leaks(raw: bytes) -> list[str]:
    """Secrets in the bytes, or in them without line breaks, indentation and signs of a diff."""
    texts = [raw.decode("utf-8", "replace")]
    texts.append(re.sub(r"\s*\n[-+]?\s*", "", texts[0]))
    texts += [re.sub(r"\\+n[-+]?\s*", "", texts[0]), texts[0].replace("\\", "")]
    return [s for s in SECRETS if any(form in text for form in forms(s) for text in texts)]


def journal(folder: Path) -> bytes:
    files = sorted((folder / "state").iterdir())
    assert files
    return b"".join(path.read_bytes() for path in files)


def test_the_leaks_would_be_seen() -> None:
    for secret in SECRETS:
        assert leaks(f"x{secret.splitlines()[-1]}x".encode()) == [secret]
        assert leaks(json.dumps({"a": base64.b64encode(secret.encode()).decode()}).encode())
    assert leaks(b"registry-\n+      token-4711") == ["registry-token-4711"]


ARGUMENTS = ("p.yaml", "-i", "hosts.yaml", "--vault-password-file", "vault-password")


def test_a_plan_shows_no_secret_and_says_what_changes(gpurun: Gpurun) -> None:
    code, shown = gpurun("plan", *ARGUMENTS)
    assert leaks(shown.encode()) == []
    assert code == 2
    assert "new (mode 0600," in shown
    assert "-token=«secret:token, before»" in shown
    assert "+token=«secret:token»" in shown
    assert "+url=«secret:url»db1/x" in shown
    for name in ("token", "key", "given", "url", "registry"):
        assert f"«secret:{name}»" in shown
    code, shown = gpurun("plan", *ARGUMENTS, "-o", "json")
    assert (code, leaks(shown.encode())) == (2, [])
    assert "sha256" not in shown


def test_an_apply_keeps_its_secrets_from_every_sink(gpurun: Gpurun, folder: Path) -> None:
    said = [gpurun("apply", *ARGUMENTS, "-y", "-o", "json")]
    assert said[0][0] == 1
    assert "fails for good" in said[0][1]
    said += [gpurun("show"), gpurun("show", "-o", "json"), gpurun("history", "-o", "json")]
    said += [gpurun("resume", "-y")]
    assert leaks("".join(text for _, text in said).encode()) == []
    assert leaks(journal(folder)) == []
    assert b"\xc2\xabsecret:token\xc2\xbb" in journal(folder)
    assert leaks("\n".join(Local.texts).encode()) == []
    assert (folder / "new").read_text() == KEY + "\n"
    assert (folder / "new").stat().st_mode & 0o777 == 0o600
    assert TOKEN in (folder / "old").read_text()
    rendered = (folder / "rendered").read_text()
    assert f"{TOKEN} " in rendered
    assert "registry-token-4711" in rendered


def test_resume_knows_where_the_vault_password_is_and_not_what_it_is(
    gpurun: Gpurun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpurun("apply", *ARGUMENTS, "-y")
    assert str(folder / "vault-password").encode() in journal(folder)
    passwords.use(None)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    code, shown = gpurun("resume", "-y")
    assert "fails for good" in shown
    (folder / "vault-password").unlink()
    code, shown = gpurun("resume", "-y")
    assert code == 1
    assert "vault-password cannot be read: No such file" in shown


def test_the_vault_password_is_asked_for_once_and_before_a_host_is_touched(
    gpurun: Gpurun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def prompt(what: str, **_: Any) -> str:
        asked.append(what)
        assert Local.texts == []
        return VAULT

    monkeypatch.setattr("click.prompt", prompt)
    code, shown = gpurun("plan", *ARGUMENTS[:3], "--ask-vault-pass")
    assert (code, asked) == (2, ["vault password"])
    assert leaks(shown.encode()) == []


def test_nobody_is_asked_when_nothing_is_encrypted(
    gpurun: Gpurun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.prompt", None)
    monkeypatch.setattr(Local, "expects", None)
    (folder / "q.yaml").write_text("- hosts: all\n  tasks:\n    - debug: {msg: hello}\n")
    assert gpurun("plan", "q.yaml", "-i", "one,", "-J")[0] == 0


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--format", "json"), 0)])
def test_lint_needs_no_password_for_encrypted_files(
    gpurun: Gpurun, folder: Path, arguments: tuple[str, ...], code: int
) -> None:
    (folder / "q.yaml").write_text(
        "- hosts: all\n  vars_files: vars.yml\n  tasks:\n    - name: n\n      debug: {msg: x}\n"
    )
    assert gpurun("lint", "q.yaml", *arguments)[0] == code


@pytest.mark.parametrize("view", ["--list", "--host=gpu-1", "--blame=gpu-1"])
def test_an_inventory_shows_names_and_reads_nothing(
    gpurun: Gpurun, view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_SUDO")
    code, shown = gpurun("inventory", "-i", "hosts.yaml", view)
    assert code == 0
    assert "secret:registry" in shown
    assert leaks(shown.encode()) == []


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ('command: "curl -H {{ token | quote }} h"', "«secret:token» would stand in the text"),
        ('command: {argv: [a, "{{ token | b64encode }}"]}', "«secret:token» would stand"),
        ('shell: {cmd: "true", unless: "echo {{ registry }}"}', "«secret:registry» would stand"),
        ('command: {cmd: "a {{ registry }}", read_only: true}', "«secret:registry» would stand"),
        ('file: {path: "/tmp/{{ registry }}", state: absent}', "«secret:registry» would stand"),
        ('copy: {content: "x", dest: "{{ token }}"}', "must be an absolute path"),
        ('command: {cmd: "true", timeout_: "{{ token }}"}', "no argument timeout_"),
        ('debug: {msg: "{{ token | from_json }}"}', "from_json"),
        ('debug: {msg: "{{ token | int }}"}', "is not a whole number"),
        ('assert: {that: "token", msg: x}', "not true or false"),
    ],
)
def test_what_goes_wrong_is_told_without_the_secret(
    gpurun: Gpurun, folder: Path, task: str, said: str
) -> None:
    text = "- hosts: all\n  vars: {token: !secret {env: A_TOKEN}}\n  tasks:\n    - name: t\n"
    (folder / "q.yaml").write_text(f"{text}      {task}\n")
    code, shown = gpurun("plan", "q.yaml", *ARGUMENTS[1:])
    assert said in re.sub(r"\s+", " ", shown)
    assert code in (1, 4)
    assert leaks(shown.encode()) == []
    assert leaks("\n".join(Local.texts).encode()) == []


def test_all_that_cannot_be_read_is_told_at_once_before_a_host_is_touched(
    gpurun: Gpurun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A_TOKEN", "A_SUDO"):
        monkeypatch.delenv(name)
    (folder / "key").chmod(0o644)
    code, shown = gpurun("apply", *ARGUMENTS, "-y")
    assert code == 1
    for said in (
        "p.yaml:5:12: error: the environment variable A_TOKEN is not set",
        "A_SUDO",
        "mode 0644",
    ):
        assert said in shown
    assert Local.texts == []


def test_a_secret_on_the_command_line_is_refused(gpurun: Gpurun, folder: Path) -> None:
    code, shown = gpurun("apply", *ARGUMENTS, "-e", f"x={TOKEN}")
    assert code == 1
    assert "-e x=«secret:token»: «secret:token» is on the command line" in shown
    assert leaks(shown.encode()) == []
    assert leaks(journal(folder)) == []


def test_a_short_secret_is_named(gpurun: Gpurun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abc")
    _, shown = gpurun("plan", *ARGUMENTS)
    assert "The secret token is too short to be taken out" in shown


@pytest.mark.parametrize("traceback", ["", "1"])
def test_a_defect_of_gpurun_tells_no_secret(
    gpurun: Gpurun, folder: Path, monkeypatch: pytest.MonkeyPatch, traceback: str
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError(f"cannot use {TOKEN!r} {base64.b64encode(TOKEN.encode())!r}")

    monkeypatch.setenv("GPURUN_TRACEBACK", traceback)
    for owner, name in ((survey, "plan_host"), (engine.Run, "apply")):
        monkeypatch.setattr(owner, name, broken)
        code, shown = gpurun("apply", *ARGUMENTS, "-y", "-o", "json")
        assert code == 1
        assert "internal error: RuntimeError" in shown or "Traceback" in shown
        assert re.search(r"cannot use .{1,3}«secret:token»", shown)
        assert leaks(shown.encode() + journal(folder)) == []
