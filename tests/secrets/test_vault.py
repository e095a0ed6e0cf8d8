"""What the real ansible-vault has encrypted is read, and nothing else is."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.cli.options import extra_variables
from runner.engine.files import reader
from runner.errors import GpurunError, InputError
from runner.inventory.load import load_inventory
from runner.modules.base import Refused
from runner.playbook.encrypted import all_secret
from runner.playbook.load import load_playbook_text
from runner.playbook.source import parse_yaml, read_yaml
from runner.playbook.templates import TemplateProblem, render
from runner.secrets import passwords, vault
from runner.secrets.passwords import VaultPasswords
from runner.secrets.redact import KNOWN
from runner.secrets.value import Secret, SecretError, reveal

FIXTURES = Path(__file__).parent / "fixtures"
ONE, TWO = "correct horse", "staple battery"
"""The passwords of the fixtures: of those without a vault id, and of vault id prod."""
INLINE = (FIXTURES / "inline.yml").read_text()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the password files `one` and `two`."""
    for name, text in (("one", ONE), ("two", TWO)):
        private(tmp_path / name, f"{text}\n")
    return tmp_path


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def use(*sources: object, **options: Any) -> None:
    passwords.use(VaultPasswords([str(s) for s in sources], environment={}, **options))


@pytest.mark.parametrize("name", ["vars-1.1.yml", "vars-1.2.yml"])
def test_a_file_encrypted_as_a_whole(files: Path, name: str) -> None:
    use(files / "one", f"prod@{files / 'two'}")
    document = read_yaml(FIXTURES / name)
    assert document.problems == []
    assert document.value["db_password"] == "hunter2-Grüße"
    assert document.value["port"] == 5432
    assert document.value["nested"]["list"][1]["deep"] == "second-token-value"
    assert document.value.where("port").line == 2
    assert render(document.value["url"], {"db_host": "db1"}, None).endswith("@db1/x")
    shown = KNOWN(
        "hunter2-Grüße first-token-value second-token-value 12345678 "
        "postgres://app:s3cr3t-in-url@db1/x port 5432"
    )
    assert shown == (
        "«secret:db_password» «secret:list» «secret:deep» «secret:pin» «secret:url»db1/x port 5432"
    )


def test_inline_values_are_read_when_used_with_and_without_vault_id(files: Path) -> None:
    use(files / "one", f"prod@{files / 'two'}")
    variables = read_yaml(FIXTURES / "inline.yml").value
    assert str(variables) == "{'token': «secret:token», 'other': «secret:other»}"
    assert KNOWN("registry-token-4711") == "registry-token-4711"
    assert render("x {{ token }} {{ other }}", variables, None) == (
        "x registry-token-4711 registry-token-0815"
    )
    assert KNOWN("registry-token-4711") == "«secret:token»"
    assert repr(render("{{ token }}", variables, None)) == "«secret:token»"


def test_how_a_host_is_reached_is_no_secret_in_an_encrypted_file(files: Path) -> None:
    value = parse_yaml(
        "{ansible_user: ubuntu, ansible_become_pass: sesame, kind: latest}", "v"
    ).value
    all_secret(value, "v")
    assert KNOWN("ubuntu sesame latest") == ("ubuntu «secret:ansible_become_pass» «secret:kind»")
    assert KNOWN.found_in("the latest") == ""


def test_a_decrypted_text_is_never_a_template(tmp_path: Path) -> None:
    variables = {"token": Secret("{{ 1 + 1 }}", "token")}
    assert render("{{ token }}", variables, None) == "{{ 1 + 1 }}"
    assert render(variables["token"], variables, None) == "{{ 1 + 1 }}"


def test_what_ansible_encrypts_now_is_read(files: Path) -> None:
    path = private(files / "new.yml", "token: fresh-token-1\n")
    program = Path(sys.executable).with_name("ansible-vault")
    done = subprocess.run(
        [program, "encrypt", "--vault-id", f"lab@{files / 'one'}", path],
        env={"HOME": str(files), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert path.read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;lab")
    use(f"lab@{files / 'one'}")
    assert read_yaml(path).value == {"token": "fresh-token-1"}


def message(caught: pytest.ExceptionInfo[Any]) -> str:
    return str(caught.value)


def decrypted(text: str) -> bytes:
    return passwords.passwords().decrypt(text, None)


def test_the_wrong_password(files: Path) -> None:
    use(f"prod@{files / 'one'}", files / "one")
    with pytest.raises(SecretError) as caught:
        decrypted((FIXTURES / "vars-1.2.yml").read_text())
    assert "no vault password opens it (vault id prod); tried: prod, default" in message(caught)
    assert "another password, or was changed since" in message(caught)
    assert ONE not in message(caught)


def test_a_changed_text_is_not_decrypted(files: Path) -> None:
    use(files / "one")
    text = (FIXTURES / "vars-1.1.yml").read_text()
    # The last digit of the ciphertext, itself written in hexadecimal.
    changed = text.rstrip()[:-2] + ("31" if text.rstrip().endswith("30") else "30")
    with pytest.raises(SecretError, match="no vault password opens it"):
        decrypted(changed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$ANSIBLE_VAULT;1.0;AES\n00", "version 1.0 of ansible-vault is not known"),
        ("$ANSIBLE_VAULT;1.1;ROT13\n00", "cipher ROT13 of ansible-vault is not known"),
        ("$ANSIBLE_VAULT;1.1;AES256\nxyz", "damaged: it is not hexadecimal"),
        ("$ANSIBLE_VAULT;1.1;AES256\n3030", "damaged: salt, HMAC or content is missing"),
        ("$ANSIBLE_VAULT;1.1;AES256", "damaged: salt, HMAC or content is missing"),
        ("$ANSIBLE_VAULT;", "the first line must be"),
    ],
)
def test_a_damaged_text(text: str, said: str) -> None:
    with pytest.raises(vault.NotVault, match=said):
        vault.parse(text)


def test_without_a_password_the_file_is_named_with_every_way_to_give_one() -> None:
    use()
    problem = read_yaml(FIXTURES / "vars-1.2.yml").problems[0]
    assert "vars-1.2.yml:1:1: is encrypted with ansible-vault (vault id prod)" in str(problem)
    for way in ("--vault-password-file", "--ask-vault-pass", "GPURUN_VAULT_PASSWORD"):
        assert way in problem.hint


def test_lint_does_without_a_password(tmp_path: Path) -> None:
    use(required=False)
    assert read_yaml(FIXTURES / "vars-1.1.yml").value == {}


def test_decrypted_text_that_is_no_yaml_is_not_told(files: Path) -> None:
    use(files / "one")
    document = read_yaml(FIXTURES / "broken.yml")
    assert document.value is None
    assert "the decrypted file is not correct YAML in line" in str(document.problems[0])
    assert "unclosed" not in str(document.problems)


def test_sources_of_the_password(files: Path) -> None:
    text = (FIXTURES / "vars-1.1.yml").read_text()
    script = private(files / "get-pass", f"#!/bin/sh\necho '{ONE}'\n", 0o755)
    client = private(
        files / "my-client", f'#!/bin/sh\n[ "$1 $2" = "--vault-id prod" ] && echo {TWO}\n', 0o755
    )
    for source in (files / "one", script):
        use(source)
        assert b"hunter2" in decrypted(text)
    use(f"prod@{client}")
    assert b"hunter2" in decrypted((FIXTURES / "vars-1.2.yml").read_text())
    for environment in (
        {"GPURUN_VAULT_PASSWORD": ONE},
        {"GPURUN_VAULT_PASSWORD_FILE": str(files / "one")},
        {"ANSIBLE_VAULT_PASSWORD_FILE": str(script)},
    ):
        passwords.use(VaultPasswords(environment=environment))
        assert b"hunter2" in decrypted(text)


def test_a_person_is_asked_once_and_only_if_something_needs_it(files: Path) -> None:
    asked: list[str] = []

    def ask(label: str) -> str:
        asked.append(label)
        return TWO

    use("prod@prompt", files / "one", ask=ask)
    text = (FIXTURES / "vars-1.2.yml").read_text()
    assert asked == []
    decrypted((FIXTURES / "vars-1.1.yml").read_text())
    assert asked == []  # the other label's password was tried first, and fits
    decrypted(text)
    decrypted(text)
    assert asked == ["prod"]
    assert KNOWN(f"x {TWO}") == "x «secret:vault password»"


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (ONE, 0o644, "others may read it (mode 0644)"),
        (ONE, 0o640, "others may read it (mode 0640)"),
        ("\n", 0o600, "the vault password is empty"),
        ("#!/bin/sh\nexit 3\n", 0o700, "password ended with exit code 3"),
        ("#!/bin/sh\necho leaked-value >&2; exit 3\n", 0o700, "password ended with exit code 3"),
        ("#!/bin/sh\n", 0o700, "password printed nothing"),
        ("#!/no/such/shell\n", 0o700, "password cannot be run: No such file or directory"),
    ],
)
def test_a_password_file_that_will_not_do(
    tmp_path: Path, content: str, mode: int, said: str
) -> None:
    use(private(tmp_path / "password", content, mode))
    with pytest.raises(SecretError) as caught:
        decrypted((FIXTURES / "vars-1.1.yml").read_text())
    assert said in message(caught)
    assert "leaked-value" not in message(caught)


def test_a_missing_password_file_and_no_terminal(tmp_path: Path) -> None:
    use(tmp_path / "absent")
    with pytest.raises(SecretError, match="absent cannot be read: No such file"):
        decrypted((FIXTURES / "vars-1.1.yml").read_text())
    use("default@prompt")
    with pytest.raises(GpurunError, match="cannot be asked for here"):
        decrypted((FIXTURES / "vars-1.1.yml").read_text())


def test_files_of_inventory_playbook_and_command_line(files: Path) -> None:
    use(files / "one", f"prod@{files / 'two'}")
    (files / "hosts.yaml").write_text("gpu: {hosts: {a: {x: 1}}}\n")
    for folder in ("group_vars", "host_vars"):
        (files / folder).mkdir()
    encrypted = (FIXTURES / "vars-1.1.yml").read_text()
    (files / "group_vars" / "gpu.yml").write_text(encrypted)
    (files / "host_vars" / "a.yml").write_text(INLINE + 'ansible_become_password: "{{ token }}"\n')
    host = load_inventory([str(files / "hosts.yaml")], files).hosts["a"]
    assert host.variables["db_password"] == "hunter2-Grüße"
    assert "registry-token" not in repr(host)
    assert reveal(host.become_password) == "registry-token-4711"
    (files / "secret.yml").write_text(encrypted)
    play = load_playbook_text("- hosts: all\n  vars_files: secret.yml\n", files / "p.yaml").plays[0]
    assert play.variables["nested"]["pin"] == 12345678
    assert extra_variables((f"@{files / 'secret.yml'}",))["db_password"] == "hunter2-Grüße"


def test_the_sudo_password_of_a_host_that_is_not_chosen_is_not_read(tmp_path: Path) -> None:
    use()
    text = "gpu:\n  hosts: {a: {}}\n  vars:\n    ansible_become_password: !secret {env: NO_SUCH}\n"
    (tmp_path / "hosts.yaml").write_text(text)
    host = load_inventory([str(tmp_path / "hosts.yaml")], tmp_path).hosts["a"]
    with pytest.raises(SecretError, match="NO_SUCH is not set"):
        reveal(host.become_password)


def test_a_default_is_no_cure_for_a_secret_that_cannot_be_read(files: Path) -> None:
    use()
    variables = {**read_yaml(FIXTURES / "inline.yml").value, "through": "x"}
    for template in ("{{ token | default('') }}", "{{ token is defined }}"):
        with pytest.raises(TemplateProblem, match="no vault password is given"):
            render(template, variables, None)


def test_a_file_that_is_encrypted_may_be_readable_by_all(files: Path) -> None:
    use(files / "one")
    path = private(files / "key", (FIXTURES / "key.vault").read_text(), 0o644)
    (files / "v.yml").write_text("key: !secret {file: key}\n")
    key = read_yaml(files / "v.yml").value["key"].read()
    assert key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert key.endswith("-----END OPENSSH PRIVATE KEY-----")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_src_that_is_encrypted_is_decrypted_as_with_ansible(files: Path) -> None:
    (files / "id").write_text((FIXTURES / "key.vault").read_text())
    use(files / "one")
    assert reader(files)("id").endswith(b"\n-----END OPENSSH PRIVATE KEY-----\n")
    assert KNOWN("a bm90LWEtcmVhbC1rZXktanVzdC1hLWxpbmUtb2YtYmFzZTY0") == "a «secret:id»"
    use()
    with pytest.raises(Refused, match="no vault password is given"):
        reader(files)("id")


def test_a_wrong_playbook_says_which_file_is_encrypted(tmp_path: Path) -> None:
    use()
    (tmp_path / "v.yml").write_text((FIXTURES / "vars-1.1.yml").read_text())
    with pytest.raises(InputError) as caught:
        load_playbook_text("- hosts: all\n  vars_files: v.yml\n", tmp_path / "p.yaml")
    assert "v.yml:1:1: vars_files: is encrypted with ansible-vault" in message(caught)
    assert "--vault-password-file" in message(caught)
