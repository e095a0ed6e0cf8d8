"""Why there is no shell: what sudo, the login shell or the host itself said, as an error."""

from __future__ import annotations

from runner.hosts.display import printable
from runner.hosts.errors import BecomeError, HostError

# What sudo says in the C locale (sudo 1.8 to 1.9; sudo-rs where it differs) → cause and cure.
_SUDO = (
    (
        (
            "a password is required",
            "a terminal is required",
            "interactive authentication is required",
        ),
        "sudo wants a password from '{user}', and none was given",
        "Set ansible_become_password, or allow it without: '{user} ALL=(ALL) NOPASSWD: ALL'.",
    ),
    (
        (
            "incorrect password",
            "Sorry, try again",
            "Authentication failed",
            "no password was provided",
        ),
        "sudo refuses the password of '{user}'",
        "Check ansible_become_password; it is the password of the login user.",
    ),
    (
        ("must have a tty",),
        "sudo wants a terminal (requiretty) from '{user}'",
        "Add to sudoers there: 'Defaults:{user} !requiretty'.",
    ),
    (
        ("is not in the sudoers file", "is not allowed", "may not run sudo", "I'm sorry"),
        "'{user}' may not become {target} with sudo",
        "Add to sudoers there: '{user} ALL=(ALL) NOPASSWD: ALL', or log in as another user.",
    ),
    (
        ("account validation failure", "account or password is expired", "password expired"),
        "sudo refuses '{user}': the account or its password has expired",
        "Renew it there: chage -l {user}.",
    ),
    (
        (
            "sudo: not found",
            "sudo: command not found",
            "sudo': No such file",
            "sudo’: No such file",
        ),
        "sudo is not installed, and '{user}' is not root",
        "Install sudo there, or log in as root.",
    ),
)


def no_shell(host: str, user: str, become: bool, said: str, target: str = "root") -> HostError:
    """The error for a remote shell that did not start.

    Args:
        host, user: where, and who logged in.
        become: sudo was asked.
        said: what came from the host, untrusted.
        target: whom sudo was asked to become.
    """
    shown = printable(said).strip()
    if become:
        for words, text, hint in _SUDO:
            if any(word in said for word in words):
                return BecomeError(
                    f"{host}: {text.format(user=user, target=target)} ({_last_line(shown)})",
                    hint.format(user=user),
                )
        if "sudo" in said:
            return BecomeError(
                f"{host}: sudo fails for '{user}': {_last_line(shown)}",
                f"Try it by hand: ssh {host} sudo -n true",
            )
    return HostError(
        f"{host}: no shell for '{user}' to run steps in: {shown or 'it ended without a word'}",
        f"Try it by hand: ssh {host} sh -c true; look at the login shell in /etc/passwd, "
        "at a forced command, and at free space.",
    )


def wrong_password(host: str, user: str) -> BecomeError:
    """The error for a password that sudo did not take."""
    _, text, hint = _SUDO[1]
    return BecomeError(f"{host}: {text.format(user=user)}", hint)


def _last_line(text: str) -> str:
    return text.splitlines()[-1] if text else "no word why"
