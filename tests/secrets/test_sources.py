"""Secrets from environment, files, commands and sops: read once, when used, and never told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runner.playbook.source import parse_yaml, read_yaml
from runner.playbook.templates import TemplateProblem, render
from runner.secrets import sources
from runner.secrets.redact import KNOWN
from runner.secrets.value import Secret, SecretError, Unread


def secret(folder: Path, text: str) -> Unread:
    """The variable `v` of a YAML file in the folder."""
    (folder / "vars.yml").write_text(f"v: {text}\n")
    document = read_yaml(folder / "vars.yml")
    assert document.problems == []
    found = document.value["v"]
    assert isinstance(found, Unread)
    return found


def refused(folder: Path, text: str) -> str:
    with pytest.raises(SecretError) as caught:
        secret(folder, text).read()
    where = f"{folder / 'vars.yml'}:1:4: "
    assert str(caught.value).startswith(where)
    return str(caught.value).removeprefix(where)


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGC_KEY", "nvapi-4711")
    found = secret(tmp_path, "!secret {env: NGC_KEY}")
    assert str(found) == "«secret:v»"
    value = found.read()
    assert isinstance(value, Secret)
    assert value == "nvapi-4711"
    assert KNOWN("key nvapi-4711") == "key «secret:v»"


def test_a_variable_of_the_environment_that_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NGC_KEY", raising=False)
    assert "NGC_KEY is not set\n    Set it" in refused(tmp_path, "!secret {env: NGC_KEY}")
    monkeypatch.setenv("NGC_KEY", "")
    assert "NGC_KEY is empty" in refused(tmp_path, "!secret {env: NGC_KEY}")


def test_from_a_file_beside_the_one_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("file-token\n\n")
    (tmp_path / "token").chmod(0o400)
    assert secret(tmp_path, "!secret {file: token}").read() == "file-token"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_may_read_or_write(tmp_path: Path, mode: int) -> None:
    (tmp_path / "token").write_text("file-token")
    (tmp_path / "token").chmod(mode)
    said = refused(tmp_path, "!secret {file: token}")
    assert f"others may read it (mode {mode:04o})" in said
    assert "chmod 600" in said
    assert "file-token" not in said


def test_files_that_hold_no_secret(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refused(tmp_path, "!secret {file: none}")
    assert "cannot be read: Is a directory" in refused(tmp_path, "!secret {file: .}")
    (tmp_path / "raw").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "raw").chmod(0o600)
    assert "is not UTF-8 text" in refused(tmp_path, "!secret {file: raw}")
    (tmp_path / "big").write_bytes(b"x" * (sources.MAX_BYTES + 1))
    assert "too large for a secret" in refused(tmp_path, "!secret {file: big}")


def test_from_a_command_run_once_without_a_shell(tmp_path: Path) -> None:
    program(tmp_path, "give", 'echo x >> ran; echo "$1"')
    found = secret(tmp_path, "!secret {command: [./give, '$HOME; a-token']}")
    assert found.read() == found.read() == "$HOME; a-token"
    assert (tmp_path / "ran").read_text() == "x\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo leaked-value; echo leaked-value >&2; exit 2", "give ended with exit code 2"),
        ("true", "give printed nothing"),
        ("printf '\\377'", "what give printed is not UTF-8 text"),
    ],
)
def test_a_command_that_gives_nothing(tmp_path: Path, text: str, said: str) -> None:
    program(tmp_path, "give", text)
    told = refused(tmp_path, "!secret {command: [./give]}")
    assert said in told
    assert "leaked-value" not in told


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere cannot be run: No such file" in refused(
        tmp_path, "!secret {command: [./nowhere]}"
    )


def test_a_command_that_hangs_with_a_child_on_its_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "COMMAND_SECONDS", 0.3)
    program(tmp_path, "hang", "echo $$ > pid; sleep 5 & wait")
    assert "hang did not end within 0.3 s" in refused(tmp_path, "!secret {command: [./hang]}")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_error_is_not_tried_again(tmp_path: Path) -> None:
    program(tmp_path, "give", "echo x >> ran; exit 1")
    found = secret(tmp_path, "!secret {command: [./give]}")
    for _ in range(3):
        with pytest.raises(SecretError):
            found.read()
    assert (tmp_path / "ran").read_text() == "x\n"


SOPS = """\
token: ENC[AES256_GCM,data:abc,iv:def,tag:ghi,type:str]
port: ENC[AES256_GCM,data:abc,iv:def,tag:ghi,type:int]
region_unencrypted: eu
nested:
  list: ["ENC[AES256_GCM,data:abc,type:str]", plain]
sops:
  mac: ENC[AES256_GCM,data:x,type:str]
  version: 3.9.0
"""
PLAIN = {
    "token": "sops-token-1",
    "port": 8443,
    "region_unencrypted": "eu",
    "nested": {"list": ["sops-item-1", "plain"]},
}


@pytest.fixture
def fake_sops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `sops` that notes its arguments and prints what tmp_path/plain.json holds."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "plain.json").write_text(json.dumps(PLAIN))
    text = f'echo "$*" >> {tmp_path}/asked; cat {tmp_path}/plain.json'
    made = program(tmp_path / "bin", "sops", text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return made


def test_a_file_of_sops_is_known_by_its_key_and_decrypted_once_when_used(
    tmp_path: Path, fake_sops: Path
) -> None:
    (tmp_path / "vars.yaml").write_text(SOPS)
    variables = read_yaml(tmp_path / "vars.yaml").value
    assert not (tmp_path / "asked").exists()
    assert "sops" not in variables
    assert variables["region_unencrypted"] == "eu"
    assert render("{{ token }}:{{ port + 1 }}", variables, None) == "sops-token-1:8444"
    assert render("{{ nested.list }}", variables, None) == ["sops-item-1", "plain"]
    assert KNOWN("sops-token-1 sops-item-1 8443") == "«secret:token» «secret:list» 8443"
    asked = (tmp_path / "asked").read_text()
    assert asked == f"-d --output-type json {tmp_path / 'vars.yaml'}\n"


def test_one_value_of_a_file_of_sops(tmp_path: Path, fake_sops: Path) -> None:
    (tmp_path / "s.yaml").write_text(SOPS)
    assert secret(tmp_path, "!secret {sops: s.yaml, key: nested.list.0}").read() == "sops-item-1"
    assert "s.yaml has no value nested.none" in refused(
        tmp_path, "!secret {sops: s.yaml, key: nested.none}"
    )
    assert "key must name one value" in refused(tmp_path, "!secret {sops: s.yaml, key: nested}")
    assert "absent.yaml: no such file" in refused(tmp_path, "!secret {sops: absent.yaml, key: a}")


def test_a_binary_file_of_sops_has_one_value(tmp_path: Path, fake_sops: Path) -> None:
    (tmp_path / "plain.json").write_text(json.dumps({"data": "whole-content"}))
    (tmp_path / "licence.bin").write_text("{}")
    assert secret(tmp_path, "!secret {sops: licence.bin}").read() == "whole-content"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'no key could decrypt' >&2; exit 128", "exit code 128: no key could decrypt"),
        ("echo sops-token-1", "sops gave no JSON for"),
    ],
)
def test_sops_fails(tmp_path: Path, fake_sops: Path, text: str, said: str) -> None:
    program(tmp_path / "bin", "sops", text)
    (tmp_path / "s.yaml").write_text(SOPS)
    told = refused(tmp_path, "!secret {sops: s.yaml, key: token}")
    assert said in told
    assert "sops-token-1" not in told


def test_without_sops_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "vars.yaml").write_text(SOPS)
    variables = read_yaml(tmp_path / "vars.yaml").value
    assert render("{{ region_unencrypted }}", variables, None) == "eu"
    with pytest.raises(TemplateProblem) as caught:
        render("{{ token }}", variables, None)
    assert "is encrypted with sops, and there is no program sops in PATH" in str(caught.value)


@pytest.mark.parametrize("value", ["{mac: x}", "text", "[a]"])
def test_a_key_sops_alone_makes_no_file_of_sops(tmp_path: Path, value: Any) -> None:
    (tmp_path / "v.yaml").write_text(f"a: 1\nsops: {value}\n")
    is_of_sops = value == "{mac: x}"
    assert ("sops" in read_yaml(tmp_path / "v.yaml").value) is not is_of_sops


def test_a_secret_in_a_list_is_named_by_its_source() -> None:
    found = parse_yaml("[!secret {env: A_TOKEN}, !secret {file: dir/b}]", "v.yml").value
    assert [str(each) for each in found] == ["«secret:A_TOKEN»", "«secret:b»"]
