"""Becoming root, past a sudo of our own that stands before the real one and shows all moods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.hosts.become import no_shell
from runner.hosts.connection import BecomeError, Connection
from runner.hosts.errors import HostError
from runner.hosts.script import Block, Command
from tests.hosts.conftest import Sshd

# Behaves as sudo 1.9 does with -n and -S: asks up to three times, reads lines of its input.
_SUDO = """\
#!/bin/sh
mood=$(cat {folder}/sudo-mood)
printf '%s ' "$@" >>{folder}/sudo-arguments
if [ "$1" = -n ]; then
  case $mood in
    free) shift 2; IS_ROOT=yes exec "$@" ;;
    "") echo 'sudo: a password is required' >&2; exit 1 ;;
    *) echo "$mood" >&2; exit 1 ;;
  esac
fi
prompt=$3
shift 4
[ "$mood" != free ] || IS_ROOT=yes exec "$@"
[ -z "$mood" ] || {{ echo "$mood: $*" >&2; exit 1; }}
for try in 1 2 3; do
  printf '%s' "$prompt" >&2
  read -r line
  printf '%s\\n' "$line" >>{folder}/sudo-heard
  [ "$line" != open-sesame ] || IS_ROOT=yes exec "$@"
  echo 'Sorry, try again.' >&2
done
echo 'sudo: 3 incorrect password attempts' >&2
exit 1
"""

WHO = Command("who", "echo ${IS_ROOT:-no}; cat", stdin=b"body")


class Sudo:
    """The sudo on the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mood(self, text: str) -> None:
        """ "" wants the password; "free" lets in; anything else is what it refuses with."""
        (self.folder / "sudo-mood").write_text(text)

    def text(self, name: str) -> str:
        """What it noted down: `arguments` or what it `heard` on standard input."""
        return (self.folder / f"sudo-{name}").read_text()


@pytest.fixture
def sudo(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sudo]:
    """Puts it first on the server's PATH; and lets root ask for it too."""
    (sshd.folder / "bin").mkdir(exist_ok=True)
    script = sshd.folder / "bin/sudo"
    script.write_text(_SUDO.format(folder=sshd.folder))
    script.chmod(0o755)
    for note in ("sudo-arguments", "sudo-heard"):
        (sshd.folder / note).write_text("")
    monkeypatch.setattr(
        Connection, "_user_for", lambda self, step: step.user if step.become else ""
    )
    yield Sudo(sshd.folder)
    script.unlink()


def become(sshd: Sshd, password: str | None = None) -> str:
    """What a step as root prints."""
    with Connection(sshd.host(), become_password=password) as connection:
        return connection.look([WHO])["who"].text


def test_without_a_password(sshd: Sshd, sudo: Sudo) -> None:
    sudo.mood("free")
    assert become(sshd) == "yes\nbody"


def test_with_the_right_password(sshd: Sshd, sudo: Sudo) -> None:
    sudo.mood("")
    assert become(sshd, "open-sesame") == "yes\nbody"
    assert sudo.text("heard") == "open-sesame\n"
    assert "sesame" not in sudo.text("arguments")


def test_the_inventorys_password_is_the_default(sshd: Sshd, sudo: Sudo) -> None:
    sudo.mood("")
    with Connection(sshd.host(become_password="open-sesame")) as connection:
        assert connection.look([WHO])["who"].text == "yes\nbody"


def test_a_password_that_is_not_asked_for_is_not_sent(sshd: Sshd, sudo: Sudo) -> None:
    sudo.mood("free")
    assert become(sshd, "touch /tmp/never") == "yes\nbody"
    assert sudo.text("heard") == ""


def test_with_a_wrong_password_nothing_else_is_told_to_sudo(sshd: Sshd, sudo: Sudo) -> None:
    sudo.mood("")
    with pytest.raises(BecomeError, match="sudo refuses the password of") as caught:
        become(sshd, "guess")
    assert "node-1" in caught.value.message
    assert "guess" not in str(caught.value)
    assert sudo.text("heard").split() == ["guess"]


def test_with_no_password_where_one_is_wanted(sshd: Sshd, sudo: Sudo) -> None:
    sudo.mood("")
    with pytest.raises(BecomeError, match="sudo wants a password") as caught:
        become(sshd)
    assert "ansible_become_password" in caught.value.hint


@pytest.mark.parametrize("password", [None, "open-sesame"])
@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("ops is not in the sudoers file.", "may not become root"),
        ("Sorry, user ops is not allowed to execute this", "may not become"),
        ("sudo: sorry, you must have a tty to run sudo", "requiretty"),
        ("sudo: account validation failure, is your account locked?", "expired"),
        ("sudo: unable to open /etc/sudoers: Input/output error\x1b[0m", r"error\\x1b\[0m"),
    ],
)
def test_every_refusal_has_its_own_sentence(
    sshd: Sshd, sudo: Sudo, said: str, text: str, password: str | None
) -> None:
    sudo.mood(said)
    with pytest.raises(BecomeError, match=text) as caught:
        become(sshd, password)
    assert caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        "sh: 1: sudo: not found",
        "env: 'sudo': No such file or directory",
        "env: ‘sudo’: No such file or directory",
        "bash: line 1: sudo: command not found",
    ],
)
def test_sudo_is_not_installed(said: str) -> None:
    error = no_shell("gpu-1", "ops", True, said)
    assert isinstance(error, BecomeError)
    assert error.message.startswith("gpu-1: sudo is not installed, and 'ops' is not root")


def test_the_same_words_mean_nothing_when_sudo_was_not_asked() -> None:
    error = no_shell("gpu-1", "ops", False, "sudo: a password is required")
    assert type(error) is HostError


def test_both_privileges_in_one_look(sshd: Sshd, sudo: Sudo) -> None:
    sudo.mood("free")
    with Connection(sshd.host()) as connection:
        results = connection.look(
            [Command(key, "echo ${IS_ROOT:-no}", become=key == "root") for key in ("me", "root")]
        )
        assert [(key, result.text) for key, result in results.items()] == [
            ("me", "no\n"),
            ("root", "yes\n"),
        ]
        (done,) = connection.change(
            [
                Block(
                    "b",
                    Command("guard", "test -z $IS_ROOT", become=False),
                    (Command("do", "echo $IS_ROOT"),),
                )
            ]
        )
    assert (done.status, done.do[0].text) == ("done", "yes\n")
